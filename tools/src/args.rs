//! Command lines in the form Kafka's scripts take: `--flag value`, `--flag=value`, `--switch`.
//!
//! Flags are declared once, as a table: the same rows read the line, print the usage and feed the
//! shells' completions. As in Kafka's tools there are no abbreviations, a flag may be given twice
//! where its row says so, and any misuse prints the usage and ends with exit code 1.

use std::collections::HashMap;
use std::str::FromStr;

use crate::failure::Failure;

/// The Kafka it answers like, and its own.
pub(crate) const VERSION: &str = concat!("3.9.2-rotpeter-", env!("CARGO_PKG_VERSION"), "\n");

/// Flags that tools of Kafka's have and none has here, and why.
const ABSENT: [(&str, &str); 2] = [
    (
        "bootstrap-controller",
        "a cluster in ZooKeeper mode has no controllers to ask; --bootstrap-server asks its brokers",
    ),
    (
        "zk-tls-config-file",
        "the tools reach ZooKeeper without TLS; zookeeper-shell has it",
    ),
];

/// One flag: its name without dashes, what its value is (`None` for a switch), one sentence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) value: Option<&'static str>,
    pub(crate) help: &'static str,
    /// Whether it may be given several values, each in its turn.
    pub(crate) many: bool,
}

/// A flag with a value.
pub(crate) const fn valued(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value: Some(value),
        help,
        many: false,
    }
}

/// A flag with a value, which may be there several times.
pub(crate) const fn repeated(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        many: true,
        ..valued(name, value, help)
    }
}

/// A flag that is there or not.
pub(crate) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value: None,
        help,
        many: false,
    }
}

/// What one tool takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
}

/// A command line that was read.
#[derive(Debug)]
pub(crate) struct Args {
    usage: Usage,
    values: HashMap<&'static str, Vec<String>>,
    pub(crate) rest: Vec<String>,
    pub(crate) whole: Vec<String>,
}

impl Args {
    /// Reads a line and refuses what is there twice. `--help` and `--version` are answered here, through
    /// the failure.
    pub(crate) fn read(usage: Usage, line: &[String]) -> Result<Args, Failure> {
        let args = Args::read_last(usage, line)?;
        args.once()?;
        Ok(args)
    }

    /// Refuses a flag that is there twice and may not be.
    pub(crate) fn once(&self) -> Result<(), Failure> {
        let single = self.usage.flags.iter();
        let single = single.filter(|flag| flag.value.is_some() && !flag.many);
        self.once_of(&single.map(|flag| flag.name).collect::<Vec<_>>())
    }

    /// The same for some flags.
    pub(crate) fn once_of(&self, names: &[&str]) -> Result<(), Failure> {
        match names.iter().find(|name| self.all(name).len() > 1) {
            Some(name) => Err(Failure::said(format!(
                "Found multiple arguments for option {name}, but you asked for only one"
            ))),
            None => Ok(()),
        }
    }

    /// Reads a line in which the last of several values counts.
    pub(crate) fn read_last(usage: Usage, line: &[String]) -> Result<Args, Failure> {
        let mut args = Args {
            usage,
            values: HashMap::new(),
            rest: Vec::new(),
            whole: line.to_vec(),
        };
        let mut words = line.iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                args.rest.push(word.clone());
                continue;
            };
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (name, None),
            };
            if name == "help" {
                return Err(Failure::Help(usage.text()));
            }
            if name == "version" {
                return Err(Failure::Help(VERSION.to_string()));
            }
            let Some(flag) = usage.flags.iter().find(|flag| flag.name == name) else {
                if let Some((_, why)) = ABSENT.iter().find(|(known, _)| *known == name) {
                    return Err(Failure::said(format!("--{name} is not there: {why}")));
                }
                return Err(args.misuse(format!("{name} is not a recognized option")));
            };
            let value = match (flag.value, inline) {
                (None, _) => String::new(),
                (Some(_), Some(value)) => value,
                // A value that may be left out: the next word is one unless it is a flag.
                (Some(what), None) if what.starts_with('?') => match words.as_slice().first() {
                    Some(next) if !next.starts_with('-') => {
                        words.next();
                        next.clone()
                    }
                    _ => String::new(),
                },
                (Some(_), None) => match words.next() {
                    Some(value) => value.clone(),
                    None => return Err(args.misuse(format!("Option {name} requires an argument"))),
                },
            };
            args.values.entry(flag.name).or_default().push(value);
        }
        Ok(args)
    }

    /// The usage with a sentence before it.
    pub(crate) fn misuse(&self, message: impl Into<String>) -> Failure {
        Failure::Misuse {
            message: message.into(),
            usage: self.usage.text(),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
    }

    /// Every value given, in order.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| self.misuse(format!("Missing required argument \"[{name}]\"")))
    }

    /// A value in its type.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let wrong = || self.misuse(format!("Cannot parse argument '{text}' of option {name}"));
        text.trim().parse().map(Some).map_err(|_| wrong())
    }

    /// Refuses flags that make no sense beside `name`.
    pub(crate) fn exclude(&self, name: &str, others: &[&str]) -> Result<(), Failure> {
        if !self.has(name) {
            return Ok(());
        }
        match others.iter().find(|other| self.has(other)) {
            Some(other) => Err(self.misuse(format!(
                "Option \"[{name}]\" can't be used with option \"[{other}]\""
            ))),
            None => Ok(()),
        }
    }
}

impl Usage {
    /// The usage: one line a flag, the help beside it.
    pub(crate) fn text(&self) -> String {
        let left: Vec<String> = self
            .flags
            .iter()
            .map(|flag| match flag.value {
                Some(value) => match value.strip_prefix('?') {
                    Some(value) => format!("--{} [{value}]", flag.name),
                    None => format!("--{} <{value}>", flag.name),
                },
                None => format!("--{}", flag.name),
            })
            .collect();
        let width = left
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .clamp(10, 44);
        let mut text = format!(
            "{}\n\n{:width$}  Description\n{:width$}  -----------\n",
            self.about, "Option", "------"
        );
        for (left, flag) in left.iter().zip(self.flags) {
            let mut lines = wrapped(flag.help, 78usize.saturating_sub(width).max(30)).into_iter();
            if left.len() > width {
                text.push_str(&format!("{left}\n"));
            } else {
                text.push_str(&format!(
                    "{left:width$}  {}\n",
                    lines.next().unwrap_or_default()
                ));
            }
            for line in lines {
                text.push_str(&format!("{:width$}  {line}\n", ""));
            }
        }
        text
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("it begins with one line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_string());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage {
        about: "A test.",
        flags: &[
            repeated("topic", "topic", "Which."),
            valued("group", "group", "Whose."),
            switch("list", "All."),
        ],
    };

    fn read(line: &[&str]) -> Result<Args, Failure> {
        Args::read(
            USAGE,
            &line.iter().map(|word| word.to_string()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn flags_are_read_in_both_forms() {
        let args = read(&["--topic", "a", "--list", "--topic=b", "rest"]).expect("legal");
        assert_eq!(args.all("topic"), ["a", "b"]);
        assert_eq!(args.get("topic"), Some("b"));
        assert!(args.has("list"));
        assert_eq!(args.rest, ["rest"]);
    }

    #[test]
    fn what_is_there_twice_is_refused_or_the_last_counts() {
        let twice = ["--group", "a", "--list", "--list", "--group", "b"];
        let said = read(&twice).expect_err("twice").to_string();
        assert_eq!(
            said,
            "Found multiple arguments for option group, but you asked for only one"
        );
        let line = twice.map(str::to_owned);
        let args = Args::read_last(USAGE, &line).expect("legal");
        assert_eq!(args.get("group"), Some("b"));
    }

    #[test]
    fn misuse_says_what_and_shows_the_usage() {
        let failure = read(&["--nothing"]).expect_err("unknown");
        assert!(matches!(failure, Failure::Misuse { message, usage }
            if message == "nothing is not a recognized option" && usage.contains("--topic <topic>")));
        assert!(matches!(read(&["--topic"]), Err(Failure::Misuse { .. })));
        assert!(matches!(read(&["--help"]), Err(Failure::Help(_))));
    }
}
