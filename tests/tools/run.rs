//! Where a scenario runs, and our tools run there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::process::program;
use harness::tool;

use crate::masks::Masks;
use crate::scenario::{Answer, Scenario, Step, sentence};

/// How long a command may be asked again.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// The same where it is known to differ, so that what is waited for may never come.
const KNOWN_LIMIT: Duration = Duration::from_secs(30);

/// What the tokens of a scenario stand for, the longer ones first.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    tokens: Vec<(String, String)>,
}

impl Place {
    /// `logs` is the log directory of the first broker.
    pub(crate) fn new(dir: &Path, brokers: &[String], zookeeper: &str, logs: &Path) -> Place {
        let mut tokens = vec![("ZOOKEEPER".to_owned(), zookeeper.to_owned())];
        for (at, address) in brokers.iter().enumerate().skip(1).rev() {
            tokens.push((format!("BROKER{}", at + 1), address.clone()));
        }
        tokens.push(("BROKER".to_owned(), brokers[0].clone()));
        tokens.push(("LOGS".to_owned(), logs.display().to_string()));
        tokens.push(("DIR".to_owned(), dir.display().to_string()));
        Place {
            dir: dir.to_owned(),
            tokens,
        }
    }

    pub(crate) fn filled(&self, text: &str) -> String {
        let fill = |text: String, (token, value): &(String, String)| text.replace(token, value);
        self.tokens.iter().fold(text.to_owned(), fill)
    }

    pub(crate) fn emptied(&self, text: &str) -> String {
        let empty = |text: String, (token, value): &(String, String)| text.replace(value, token);
        self.tokens.iter().fold(text.to_owned(), empty)
    }

    pub(crate) fn files(&self, scenario: &Scenario) {
        for (name, body) in &scenario.files {
            std::fs::write(self.dir.join(name), self.filled(body)).unwrap();
        }
    }
}

/// Asks until the step's condition holds, or for so long.
pub(crate) fn asked(step: &Step, limit: Duration, mut ask: impl FnMut() -> Answer) -> Answer {
    let deadline = std::time::Instant::now() + limit;
    loop {
        let answer = ask();
        if step.satisfied_by(&answer) || std::time::Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Our tool's answer to a step.
pub(crate) fn ours(step: &Step, place: &Place) -> Answer {
    let mut command = Command::new(program("kafka"));
    command
        .args(step.words().iter().map(|word| place.filled(word)))
        .current_dir(&place.dir);
    let output = tool::run(&mut command, &place.filled(&step.stdin));
    let text = |bytes: &[u8]| place.emptied(&String::from_utf8_lossy(bytes));
    Answer {
        stdout: text(&output.stdout),
        stderr: sentence(&text(&output.stderr)),
        code: output.status.code().unwrap_or(-1),
    }
}

/// A command that is known to differ.
pub(crate) struct Known {
    pub(crate) command: String,
    /// The brokers lack what it asks for, and it would wait for that in vain.
    pub(crate) not_run: bool,
}

/// Runs all steps with our tools; returns what differs from the recording, but for the `known` ones.
pub(crate) fn faults(
    scenario: &Scenario,
    place: &Place,
    masks: &Masks,
    known: &[Known],
) -> Vec<String> {
    place.files(scenario);
    let mut faults = Vec::new();
    for step in &scenario.steps {
        let known = known.iter().find(|one| one.command == step.line);
        if known.is_some_and(|one| one.not_run) {
            continue;
        }
        let limit = if known.is_some() { KNOWN_LIMIT } else { LIMIT };
        let made = asked(step, limit, || ours(step, place));
        if known.is_some() {
            continue;
        }
        let over = |answer: &Answer| {
            let stderr = answer
                .stderr
                .as_deref()
                .map(|text| masks.over(&step.line, text));
            (masks.over(&step.line, &answer.stdout), stderr)
        };
        let ((wanted, complaint), (printed, complained)) = (over(&step.answer), over(&made));
        let silent = complaint.as_ref().is_none_or(|text| text.trim().is_empty());
        let complained = complained.filter(|_| !silent);
        let complaint = complaint.filter(|_| !silent);
        if wanted != printed || complaint != complained || made.code != step.answer.code {
            faults.push(format!(
                "$ {}\n--- Apache's, exit {}{}\n{wanted}--- ours, exit {}{}\n{printed}",
                step.line,
                step.answer.code,
                complaint
                    .map(|text| format!(", said {text:?}"))
                    .unwrap_or_default(),
                made.code,
                complained
                    .map(|text| format!(", said {text:?}"))
                    .unwrap_or_default(),
            ));
        }
    }
    faults
}
