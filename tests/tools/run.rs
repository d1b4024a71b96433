//! Where a scenario runs, and our tools run there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::process::program;
use harness::tool;

use crate::differs::Differs;
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

/// Runs all steps with our tools; returns what differs from the recording, and what is not as `differs` has it.
pub(crate) fn faults(
    scenario: &Scenario,
    place: &Place,
    masks: &Masks,
    differs: &mut Differs,
) -> Vec<String> {
    place.files(scenario);
    let mut faults = Vec::new();
    for step in &scenario.steps {
        let known = differs.of(&step.line);
        if known.is_some_and(|one| one.not_run) {
            continue;
        }
        let limit = if known.is_some() { KNOWN_LIMIT } else { LIMIT };
        let made = masked(&asked(step, limit, || ours(step, place)), step, masks);
        let wanted = masked(&step.answer, step, masks);
        let silent = wanted.stderr.is_none();
        let equal = wanted.stdout == made.stdout
            && wanted.code == made.code
            && (silent || wanted.stderr == made.stderr);
        faults.extend(match known {
            Some(_) => differs.judge(&step.line, equal, &made),
            None if equal => None,
            None => Some(difference(&step.line, "Apache's", &wanted, &made)),
        });
    }
    faults
}

/// An answer with every allowed difference taken out of it.
fn masked(answer: &Answer, step: &Step, masks: &Masks) -> Answer {
    let stderr = answer.stderr.as_deref();
    Answer {
        stdout: masks.over(&step.line, &answer.stdout),
        stderr: stderr
            .map(|text| masks.over(&step.line, text))
            .filter(|text| !text.trim().is_empty()),
        code: answer.code,
    }
}

/// Two answers to one line, for whoever has to find out why.
pub(crate) fn difference(line: &str, whose: &str, wanted: &Answer, made: &Answer) -> String {
    let said = |answer: &Answer| {
        let text = answer.stderr.as_ref();
        text.map(|text| format!(", said {text:?}"))
            .unwrap_or_default()
    };
    format!(
        "$ {line}\n--- {whose}, exit {}{}\n{}--- ours, exit {}{}\n{}",
        wanted.code,
        said(wanted),
        wanted.stdout,
        made.code,
        said(made),
        made.stdout
    )
}
