//! A recorded scenario: commands on one cluster, in order, with what Apache's tools answered.
//!
//! ```text
//! @brokers 2                 how many brokers (1 where nothing is said)
//! @set num.partitions=3      a property of every broker
//! @file name text            a file in the scenario's folder; \n and \t stand for themselves
//! @until text … text         the next command is repeated until its output holds the texts
//! @gone text                 … until its output no longer holds it
//! $ kafka-topics --list      a command of 3.9; `$2.8 …` one of 2.8
//! < text                     a line of its standard input
//! > text                     a line of its standard output; `\` after it: its end was missing
//! ! text                     the first line of its standard error, where it is a sentence
//! = 0                        its exit code
//! ```
//!
//! In commands, files and outputs BROKER, BROKER2 …, ZOOKEEPER, LOGS and DIR stand for the addresses
//! and folders of the run.

/// How often a command is asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Repeat {
    Once,
    Until(String),
    Gone(String),
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) stdout: String,
    pub(crate) stderr: Option<String>,
    pub(crate) code: i32,
}

/// One recorded command.
#[derive(Debug)]
pub(crate) struct Step {
    /// Whose tool: `3.9` or `2.8`.
    pub(crate) release: &'static str,
    pub(crate) line: String,
    pub(crate) stdin: String,
    pub(crate) repeat: Repeat,
    pub(crate) answer: Answer,
    /// The comments and blank lines before it, kept when the file is written again.
    before: String,
}

#[derive(Debug)]
pub(crate) struct Scenario {
    head: String,
    pub(crate) brokers: i32,
    pub(crate) overrides: Vec<String>,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

impl Scenario {
    pub(crate) fn read(text: &str) -> Scenario {
        let mut made = Scenario {
            head: String::new(),
            brokers: 1,
            overrides: Vec::new(),
            files: Vec::new(),
            steps: Vec::new(),
        };
        let (mut before, mut repeat) = (String::new(), Repeat::Once);
        for line in text.lines() {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            if matches!(mark, "$" | "$2.8") {
                made.steps.push(Step {
                    release: if mark == "$" { "3.9" } else { "2.8" },
                    line: rest.to_owned(),
                    stdin: String::new(),
                    repeat: std::mem::replace(&mut repeat, Repeat::Once),
                    answer: Answer::default(),
                    before: std::mem::take(&mut before),
                });
                continue;
            }
            match mark {
                "" | "#" => before.push_str(&format!("{line}\n")),
                "@until" => repeat = Repeat::Until(rest.to_owned()),
                "@gone" => repeat = Repeat::Gone(rest.to_owned()),
                "@brokers" => made.brokers = rest.parse().unwrap(),
                "@set" => made.overrides.push(rest.to_owned()),
                "@file" => {
                    let (name, body) = rest.split_once(' ').unwrap();
                    let body = body.replace("\\n", "\n").replace("\\t", "\t");
                    made.files.push((name.to_owned(), body));
                }
                _ => made
                    .steps
                    .last_mut()
                    .expect("a command first")
                    .take(mark, rest),
            }
            if matches!(mark, "@until" | "@gone")
                || (mark.starts_with('@') && made.steps.is_empty())
            {
                before.push_str(&format!("{line}\n"));
            }
        }
        if let Some(first) = made.steps.first_mut() {
            made.head = std::mem::take(&mut first.before);
        }
        made
    }

    /// The file's text, as `read` takes it.
    pub(crate) fn text(&self) -> String {
        let mut text = self.head.clone();
        for step in &self.steps {
            text.push_str(&step.before);
            let mark = if step.release == "3.9" { "$" } else { "$2.8" };
            text.push_str(&format!("{mark} {}\n", step.line));
            for line in step.stdin.lines() {
                text.push_str(&format!("< {line}\n"));
            }
            text.push_str(&step.answer.text());
        }
        text
    }
}

impl Answer {
    /// One line of an answer.
    pub(crate) fn take(&mut self, mark: &str, rest: &str) {
        match mark {
            ">" => self.stdout.push_str(&format!("{rest}\n")),
            "\\" => {
                self.stdout.pop();
            }
            "!" => self.stderr = Some(rest.to_owned()),
            "=" => self.code = rest.parse().unwrap(),
            other => panic!("no such mark: {other:?} {rest}"),
        }
    }

    /// Its lines, as `take` takes them.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in self.stdout.lines() {
            text.push_str(&format!("> {line}\n").replace("> \n", ">\n"));
        }
        if !self.stdout.is_empty() && !self.stdout.ends_with('\n') {
            text.push_str("\\\n");
        }
        if let Some(line) = &self.stderr {
            text.push_str(&format!("! {line}\n"));
        }
        text + &format!("= {}\n", self.code)
    }
}

impl Step {
    fn take(&mut self, mark: &str, rest: &str) {
        match mark {
            "<" => self.stdin.push_str(&format!("{rest}\n")),
            other => self.answer.take(other, rest),
        }
    }

    /// The words of the line; single quotes hold spaces together.
    pub(crate) fn words(&self) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
        for letter in self.line.chars() {
            match letter {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                other => word.get_or_insert_default().push(other),
            }
        }
        words.extend(word);
        words
    }

    pub(crate) fn satisfied_by(&self, answer: &Answer) -> bool {
        let complaint = answer.stderr.as_deref().unwrap_or_default();
        let holds = |text: &str| answer.stdout.contains(text) || complaint.contains(text);
        match &self.repeat {
            Repeat::Once => true,
            Repeat::Until(texts) => texts.split(" … ").all(holds),
            Repeat::Gone(text) => !holds(text),
        }
    }
}

/// The first line of what was complained, unless it is a log line or a Java stack.
pub(crate) fn sentence(stderr: &str) -> Option<String> {
    let first = stderr.lines().find(|line| !line.trim().is_empty())?;
    let noise = first.starts_with("[20")
        || first.starts_with("Exception in thread")
        || first.starts_with("java.")
        || first.starts_with("org.")
        || first.starts_with("com.")
        || first.starts_with("usage:");
    (!noise).then(|| first.to_owned())
}
