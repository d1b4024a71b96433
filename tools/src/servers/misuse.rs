//! What is wrong with a server's command line, said before anything starts: a server in the background
//! would say it where nobody looks.

/// Flags of our own that have a value, beside Kafka's `--override`.
const BROKERS: [&str; 4] = ["override", "zookeeper", "data-dir", "volume"];
const COORDINATORS: [&str; 3] = ["config", "data-dir", "port"];

pub(super) fn of_broker(words: &[String]) -> Option<String> {
    found(words, &BROKERS)
}

pub(super) fn of_coordinator(words: &[String]) -> Option<String> {
    found(words, &COORDINATORS)
}

/// One file, and flags with their values around it.
fn found(words: &[String], known: &[&str]) -> Option<String> {
    let mut files = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            // A system property of Java's, or a file.
            if !word.starts_with("-D") {
                files.push(word.as_str());
            }
            continue;
        };
        let (name, inline) = flag
            .split_once('=')
            .map_or((flag, false), |(name, _)| (name, true));
        if !known.contains(&name) && flag != "help" {
            return Some(format!("{name} is not a recognized option"));
        }
        if flag != "help" && !inline && words.next().is_none() {
            return Some(format!("Option {name} requires an argument"));
        }
    }
    let more = files.get(1..).unwrap_or_default();
    (!more.is_empty()).then(|| format!("Found non argument parameters: {}", more.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_flags_with_values_are_all() {
        let said = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            of_broker(&words)
        };
        for line in [
            "a",
            "a --override x=y --override=z=1",
            "--data-dir d a",
            "--help",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
        for (line, words) in [
            ("a b c", "Found non argument parameters: b,c"),
            ("a --override", "Option override requires an argument"),
            ("a --nonsense", "nonsense is not a recognized option"),
            ("a --port 1", "port is not a recognized option"),
        ] {
            assert_eq!(said(line).as_deref(), Some(words), "{line}");
        }
    }
}
