//! The versions that `inter.broker.protocol.version` and `message.format.version` may name.
//!
//! Kafka: `MetadataVersion`. A version is written short (`2.8`, meaning its last step), with its
//! step (`2.8-IV1`), or with a bug-fix number that is ignored (`2.8.2`).

/// Every step, oldest first.
pub const STEPS: &[&str] = &[
    "0.8.0",
    "0.8.1",
    "0.8.2",
    "0.9.0",
    "0.10.0-IV0",
    "0.10.0-IV1",
    "0.10.1-IV0",
    "0.10.1-IV1",
    "0.10.1-IV2",
    "0.10.2-IV0",
    "0.11.0-IV0",
    "0.11.0-IV1",
    "0.11.0-IV2",
    "1.0-IV0",
    "1.1-IV0",
    "2.0-IV0",
    "2.0-IV1",
    "2.1-IV0",
    "2.1-IV1",
    "2.1-IV2",
    "2.2-IV0",
    "2.2-IV1",
    "2.3-IV0",
    "2.3-IV1",
    "2.4-IV0",
    "2.4-IV1",
    "2.5-IV0",
    "2.6-IV0",
    "2.7-IV0",
    "2.7-IV1",
    "2.7-IV2",
    "2.8-IV0",
    "2.8-IV1",
    "3.0-IV0",
    "3.0-IV1",
    "3.1-IV0",
    "3.2-IV0",
    "3.3-IV0",
    "3.3-IV1",
    "3.3-IV2",
    "3.3-IV3",
    "3.4-IV0",
    "3.5-IV0",
    "3.5-IV1",
    "3.5-IV2",
    "3.6-IV0",
    "3.6-IV1",
    "3.6-IV2",
    "3.7-IV0",
    "3.7-IV1",
    "3.7-IV2",
    "3.7-IV3",
    "3.7-IV4",
    "3.8-IV0",
    "3.9-IV0",
    "4.0-IV0",
    "4.0-IV1",
];

/// The step that `text` means, with its place in [`STEPS`]; later steps compare greater.
pub fn known(text: &str) -> Option<(usize, &'static str)> {
    let segments = if text.starts_with("0.") { 3 } else { 2 };
    let key = match text.match_indices('.').nth(segments - 1) {
        Some((at, _)) => &text[..at],
        None => text,
    };
    let step = |(_, step): &(usize, &&str)| {
        **step == key
            || step
                .split_once("-IV")
                .is_some_and(|(short, _)| short == key)
    };
    STEPS
        .iter()
        .enumerate()
        .rev()
        .find(step)
        .map(|(at, step)| (at, *step))
}

/// Whether the version named by `text` is at least `step`. An unknown version is not.
pub fn at_least(text: &str, step: &str) -> bool {
    match (known(text), known(step)) {
        (Some((is, _)), Some((asked, _))) => is >= asked,
        _ => false,
    }
}

/// Since when there are records in the format of the version named by `text`. Kafka:
/// `MetadataVersion.minSupportedFor`.
pub fn records_since(text: &str) -> &'static str {
    match text {
        _ if at_least(text, "0.11.0-IV0") => "0.11.0-IV0",
        _ if at_least(text, "0.10.0-IV0") => "0.10.0-IV0",
        _ => "0.8.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_full_and_bug_fix_versions_name_a_step() {
        for (text, step) in [
            ("2.8", "2.8-IV1"),
            ("2.8-IV0", "2.8-IV0"),
            ("2.8.2", "2.8-IV1"),
            ("0.10.1", "0.10.1-IV2"),
            ("0.9.0.1", "0.9.0"),
            ("3.9", "3.9-IV0"),
        ] {
            assert_eq!(known(text).map(|(_, step)| step), Some(step), "{text}");
        }
        assert_eq!(known("2.9"), None);
        assert_eq!(known(""), None);
        assert!(at_least("3.9-IV0", "2.8") && !at_least("2.6", "2.8"));
        assert_eq!(records_since("3.0-IV1"), "0.11.0-IV0");
        assert_eq!(records_since("0.10.2"), "0.10.0-IV0");
        assert_eq!(records_since("0.9.0"), "0.8.0");
    }
}
