//! The recorded lines that our tools are known to answer otherwise, from `differs.txt`: each with its reason, and
//! with our answer.
//!
//! ```text
//! scenario | command | reason
//! > text        our answer, as in the scenarios, the masks over it
//! = 1
//! ```
//!
//! A line that has become equal fails, so that the list shrinks; so does one that differs otherwise than it
//! did. `BLESS=1` writes our answers anew.

use std::path::PathBuf;
use std::sync::Mutex;

use crate::run::difference;
use crate::scenario::Answer;

/// One command of a scenario.
#[derive(Clone)]
pub(crate) struct Known {
    scenario: String,
    command: String,
    reason: String,
    /// The brokers lack what it asks for, and it would wait for that in vain.
    pub(crate) not_run: bool,
    /// Its answer has no order, or is another's each time.
    not_compared: bool,
    answer: Answer,
}

/// Those of one scenario.
pub(crate) struct Differs {
    known: Vec<Known>,
    /// Whose brokers answer: our recorded answers are those on ours.
    judged: bool,
    blessed: Option<PathBuf>,
}

/// Scenarios are replayed beside each other, and write the one file.
static WRITING: Mutex<()> = Mutex::new(());

/// The comments the file begins with, and its lines.
fn read(text: &str) -> (String, Vec<Known>) {
    let (mut head, mut known) = (String::new(), Vec::<Known>::new());
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if known.is_empty() && matches!(mark, "#" | "") {
            head.push_str(&format!("{line}\n"));
        } else if matches!(mark, ">" | "!" | "=" | "\\") {
            known
                .last_mut()
                .expect("a command first")
                .answer
                .take(mark, rest);
        } else {
            let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [scenario, command, reason] = fields[..] else {
                panic!("a difference needs scenario, command and reason: {line}");
            };
            assert!(!reason.is_empty(), "{line}");
            known.push(Known {
                scenario: scenario.to_owned(),
                command: command.to_owned(),
                reason: reason.to_owned(),
                not_run: reason.starts_with("not run"),
                not_compared: reason.starts_with("not compared"),
                answer: Answer::default(),
            });
        }
    }
    (head, known)
}

fn text(head: &str, known: &[Known]) -> String {
    let mut text = head.to_owned();
    for one in known {
        text.push_str(&format!(
            "{} | {} | {}\n",
            one.scenario, one.command, one.reason
        ));
        if !one.not_run && !one.not_compared {
            text.push_str(&one.answer.text());
        }
    }
    text
}

impl Differs {
    /// The file's lines of a scenario. On Apache's brokers (`judged` is false) what `not run` names is there, and
    /// the others may be equal.
    pub(crate) fn new(file: PathBuf, scenario: &str, judged: bool) -> Differs {
        let (_, mut known) = read(&std::fs::read_to_string(&file).unwrap());
        known.retain(|one| one.scenario == scenario && (judged || !one.not_run));
        let blessed = std::env::var_os("BLESS").map(|_| file);
        Differs {
            known,
            judged,
            blessed,
        }
    }

    pub(crate) fn of(&self, command: &str) -> Option<&Known> {
        self.known.iter().find(|one| one.command == command)
    }

    /// What is wrong with the entry of a line that was answered so.
    pub(crate) fn judge(&mut self, command: &str, equal: bool, made: &Answer) -> Option<String> {
        if !self.judged {
            return None;
        }
        let not_compared = |one: &Known| one.command == command && one.not_compared;
        if self.known.iter().any(not_compared) {
            return None;
        }
        if equal {
            return Some(format!(
                "$ {command}\nis answered as Apache's does: take it out of differs.txt"
            ));
        }
        let one = self.known.iter_mut().find(|one| one.command == command)?;
        if one.answer == *made {
            return None;
        }
        if let Some(file) = &self.blessed {
            let _alone = WRITING.lock().unwrap();
            let (head, mut all) = read(&std::fs::read_to_string(file).unwrap());
            let own = |it: &&mut Known| it.scenario == one.scenario && it.command == command;
            all.iter_mut().find(own)?.answer = made.clone();
            std::fs::write(file, text(&head, &all)).unwrap();
            one.answer = made.clone();
            return None;
        }
        Some(difference(
            command,
            "ours as differs.txt has it",
            &one.answer,
            made,
        ))
    }
}

#[test]
fn a_known_difference_must_stay_and_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("differs.txt");
    let written = "# why\n\ns | a b | ours is better\n> x\n= 1\ns | c | not run: no\n";
    std::fs::write(&file, written).unwrap();
    let (head, known) = read(written);
    assert_eq!(text(&head, &known), written);
    let mut differs = Differs::new(file.clone(), "s", true);
    differs.blessed = None;
    let answer = |stdout: &str| Answer {
        stdout: stdout.to_owned(),
        stderr: None,
        code: 1,
    };
    assert_eq!(differs.judge("a b", false, &answer("x\n")), None);
    assert!(differs.judge("a b", true, &answer("x\n")).is_some());
    assert!(differs.judge("a b", false, &answer("y\n")).is_some());
    differs.blessed = Some(file.clone());
    assert_eq!(differs.judge("a b", false, &answer("y\n")), None);
    let blessed = std::fs::read_to_string(&file).unwrap();
    assert_eq!(blessed, written.replace("> x", "> y"));
    assert!(Differs::new(file, "s", false).of("c").is_none());
}
