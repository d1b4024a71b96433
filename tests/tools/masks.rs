//! The differences that are allowed, each a named field with its reason, from `masks.txt`.

use regex::Regex;

/// One allowed difference.
struct Mask {
    command: String,
    change: Change,
}

enum Change {
    Replace(Regex, String),
    LeaveOut(Regex),
    Sort,
    /// The lines, and within each what commas, spaces, brackets and braces part.
    SortWords,
}

pub(crate) struct Masks(Vec<Mask>);

impl Mask {
    fn is_for(&self, line: &str) -> bool {
        match self.command.strip_suffix('$') {
            Some(whole) => line == whole,
            None if self.command == "*" => true,
            None => self.command.split(" … ").all(|part| line.contains(part)),
        }
    }
}

impl Masks {
    pub(crate) fn read(text: &str) -> Masks {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        Masks(lines.map(mask).collect())
    }

    /// The output of `line` with every allowed difference taken out.
    pub(crate) fn over(&self, line: &str, output: &str) -> String {
        let mut text = output.to_owned();
        for mask in &self.0 {
            if !mask.is_for(line) {
                continue;
            }
            text = match &mask.change {
                Change::Replace(from, to) => from.replace_all(&text, to).into_owned(),
                Change::LeaveOut(gone) => joined(text.lines().filter(|line| !gone.is_match(line))),
                Change::Sort => sorted(text.lines()),
                Change::SortWords => {
                    let lines: Vec<String> = text.lines().map(words_sorted).collect();
                    sorted(lines.iter().map(String::as_str))
                }
            };
        }
        text
    }
}

/// `\n`, `\s` and `\e` stand for a line's end, a space and nothing.
fn replacement(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\s", " ")
        .replace("\\e", "")
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    joined(lines.into_iter())
}

fn words_sorted(line: &str) -> String {
    let apart = |letter: char| letter.is_whitespace() || ",{}[]".contains(letter);
    let mut words: Vec<&str> = line.split(apart).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| format!("{line}\n")).collect()
}

fn mask(line: &str) -> Mask {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [name, command, change, reason] = fields[..] else {
        panic!("a mask needs name, command, change and reason: {line}");
    };
    assert!(!name.is_empty() && !reason.is_empty(), "{line}");
    let regex = |text: &str| Regex::new(&format!("(?m){text}")).unwrap();
    let change = match change.split_once(" => ") {
        Some((from, to)) => Change::Replace(regex(from), replacement(to)),
        None if change == "any order" => Change::Sort,
        None if change == "any order of words" => Change::SortWords,
        None => Change::LeaveOut(regex(change)),
    };
    Mask {
        command: command.to_owned(),
        change,
    }
}
