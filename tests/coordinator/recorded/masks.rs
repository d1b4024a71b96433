//! What the four-letter words may differ in: `masks.txt` beside the scripts, each with its reason.
//!
//! `words | pattern | instead | reason` replaces; `only words | pattern | reason` leaves out all
//! lines but those, and puts them in order.

use regex::Regex;

use super::folder;

struct Mask {
    /// The words it is for; `*` is every one.
    words: String,
    pattern: Regex,
    /// `None`: lines that do not match are left out.
    instead: Option<String>,
}

pub(crate) struct Masks(Vec<Mask>);

impl Masks {
    pub(crate) fn load() -> Masks {
        let text = std::fs::read_to_string(folder().join("masks.txt")).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line: &str| {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let (words, pattern, instead, reason) = match parts.as_slice() {
                [words, pattern, instead, reason] => (*words, pattern, Some(*instead), reason),
                [words, pattern, reason] => {
                    let words = words.strip_prefix("only ").unwrap();
                    (words, pattern, None, reason)
                }
                _ => panic!("neither three parts nor four: {line}"),
            };
            assert!(!reason.is_empty(), "no reason: {line}");
            Mask {
                words: words.to_owned(),
                pattern: Regex::new(&format!("(?m){pattern}")).unwrap(),
                instead: instead.map(str::to_owned),
            }
        };
        Masks(lines.map(read).collect())
    }

    /// The answer to a word with its masks applied, and lines that come from a set in order.
    pub(crate) fn hide(&self, word: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for mask in &self.0 {
            if mask.words != "*" && !mask.words.split(' ').any(|one| one == word) {
                continue;
            }
            text = match &mask.instead {
                Some(instead) => mask.pattern.replace_all(&text, instead).into_owned(),
                None => {
                    let kept = |line: &&str| mask.pattern.is_match(line);
                    let mut lines: Vec<&str> = text.lines().filter(kept).collect();
                    lines.sort_unstable();
                    lines.join("\n")
                }
            };
        }
        let mut lines: Vec<&str> = text.lines().collect();
        let from_a_set = |line: &str| line.starts_with('\t') || line.starts_with(" /");
        for run in lines.chunk_by_mut(|one, next| from_a_set(one) && from_a_set(next)) {
            run.sort_unstable();
        }
        let mut groups: Vec<&[&str]> = lines.chunk_by(|_, next| next.starts_with('\t')).collect();
        for run in groups.chunk_by_mut(|one, next| from_a_map(one) && from_a_map(next)) {
            run.sort_unstable();
        }
        groups.concat().join("\n")
    }
}

/// Whether a line, with those indented beneath it, is of a session or a path.
fn from_a_map(group: &&[&str]) -> bool {
    let head = group.first().copied().unwrap_or_default();
    let session = head.strip_prefix('S').unwrap_or_default();
    head.starts_with('/')
        || session
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
}
