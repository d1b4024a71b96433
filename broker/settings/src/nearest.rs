//! The known name a mistyped one most resembles.

/// The name among `names` nearest to `typed`, if one is near enough to be meant.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['_', '-'], ".").to_ascii_lowercase();
    let typed = plain(typed);
    let allowed = (typed.len() / 4).clamp(1, 6);
    names
        .filter(|name| name.len().abs_diff(typed.len()) <= allowed)
        .map(|name| (distance(typed.as_bytes(), plain(name).as_bytes()), name))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_nonsense_finds_none() {
        let names = [
            "num.partitions",
            "log.retention.hours",
            "log.retention.ms",
            "listeners",
        ];
        let near = |typed| nearest(typed, names.iter().copied());
        assert_eq!(near("num.partition"), Some("num.partitions"));
        assert_eq!(near("log.retention.horus"), Some("log.retention.hours"));
        assert_eq!(near("NUM_PARTITIONS"), Some("num.partitions"));
        assert_eq!(near("listener"), Some("listeners"));
        assert_eq!(near("my.own.plugin.key"), None);
    }
}
