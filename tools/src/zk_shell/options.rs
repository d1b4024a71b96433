//! Command lines as ZooKeeper's shell takes them: words, flags, and what is wrong with them.

/// One flag: its letter or name, the word its value is shown by (empty without one), its meaning.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) takes: bool,
    pub(crate) meaning: &'static str,
}

pub(crate) const fn flag(name: &'static str, meaning: &'static str) -> Flag {
    Flag {
        name,
        takes: false,
        meaning,
    }
}

pub(crate) const fn value(name: &'static str, meaning: &'static str) -> Flag {
    Flag {
        name,
        takes: true,
        meaning,
    }
}

/// A command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    given: Vec<(&'static str, String)>,
    pub(crate) words: Vec<String>,
}

const PARSING: &str = "org.apache.commons.cli";

impl Line {
    /// Flags may stand anywhere; what follows `--` is words. The error is a whole sentence.
    pub(crate) fn read(flags: &'static [Flag], rest: &[String]) -> Result<Line, String> {
        let mut line = Line::default();
        let mut wants: Option<&'static Flag> = None;
        let mut only_words = false;
        for word in rest {
            let is_flag = !only_words && is_flag(flags, word);
            if let Some(flag) = wants
                && !is_flag
                && word != "--"
            {
                line.given.push((flag.name, word.clone()));
                wants = None;
                continue;
            }
            if let Some(flag) = wants {
                return Err(missing(flag));
            }
            match word.as_str() {
                _ if only_words => line.words.push(word.clone()),
                "--" => only_words = true,
                "-" => line.words.push(word.clone()),
                text if text.starts_with('-') => wants = line.take(flags, text)?,
                _ => line.words.push(word.clone()),
            }
        }
        match wants {
            Some(flag) => Err(missing(flag)),
            None => Ok(line),
        }
    }

    /// One word of flags; the flag whose value is still to come.
    fn take(
        &mut self,
        flags: &'static [Flag],
        word: &str,
    ) -> Result<Option<&'static Flag>, String> {
        let unknown =
            || format!("{PARSING}.UnrecognizedOptionException: Unrecognized option: {word}");
        let (name, attached) = match word.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.trim_start_matches('-'), None),
        };
        if let Some(flag) = flags.iter().find(|flag| flag.name == name) {
            return match (flag.takes, attached) {
                (true, None) => Ok(Some(flag)),
                (true, Some(value)) => {
                    self.given.push((flag.name, value.to_owned()));
                    Ok(None)
                }
                (false, None) => {
                    self.given.push((flag.name, String::new()));
                    Ok(None)
                }
                (false, Some(_)) => Err(unknown()),
            };
        }
        // Several letters in one word; a value may follow the last.
        let letters = &word[1..];
        for (at, letter) in letters.char_indices() {
            let flag = flags
                .iter()
                .find(|flag| flag.name.chars().eq([letter]))
                .ok_or_else(unknown)?;
            let rest = &letters[at + letter.len_utf8()..];
            if !flag.takes {
                self.given.push((flag.name, String::new()));
            } else if rest.is_empty() {
                return Ok(Some(flag));
            } else {
                self.given.push((flag.name, rest.to_owned()));
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The flags given, in order.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        self.given.iter().map(|(name, _)| *name)
    }

    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }
}

fn missing(flag: &Flag) -> String {
    format!(
        "{PARSING}.MissingArgumentException: Missing argument for option: {}",
        flag.name
    )
}

/// A word that begins with a dash, unless it is a negative number.
fn is_flag(flags: &[Flag], word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else {
        return false;
    };
    let known = flags.iter().any(|flag| rest.starts_with(flag.name));
    !rest.is_empty() && (known || word.parse::<f64>().is_err())
}

/// What is said of a misuse: the form of the command, and its flags where `flags` names any.
pub(crate) fn usage(form: &str, flags: &[Flag]) -> String {
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| format!("-{}{}", flag.name, if flag.takes { " <arg>" } else { "" }))
        .collect();
    let width = heads.iter().map(String::len).max().unwrap_or_default();
    let mut text = form.to_owned();
    for (head, flag) in heads.iter().zip(flags) {
        text.push_str(&format!("\n {head:width$}   {}", flag.meaning));
    }
    if !flags.is_empty() {
        text.push('\n');
    }
    text
}

/// Splits a line as ZooKeeper's shell does: at blanks; quotes keep words together and fall off.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut made = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = ['"', '\'']
            .into_iter()
            .filter(|mark| *mark == first)
            .find_map(|mark| rest[1..].find(mark));
        let (word, len) = match quoted {
            Some(len) => (&rest[1..=len], len + 2),
            None => {
                let len = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (&rest[..len], len)
            }
        };
        made.push(word.to_owned());
        rest = rest[len..].trim_start();
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        flag("s", "stats"),
        value("v", "a version"),
        flag("R", "all"),
    ];

    fn read(line: &str) -> Result<Line, String> {
        Line::read(FLAGS, &words(line))
    }

    #[test]
    fn flags_stand_anywhere_and_together() {
        let line = read("/a -sR data -v 3 -- -x").unwrap_or_default();
        assert_eq!(line.words, ["/a", "data", "-x"]);
        assert!(line.has("s") && line.has("R"));
        assert_eq!(line.value("v"), Some("3"));
        assert_eq!(read("-v7 /a").unwrap_or_default().value("v"), Some("7"));
        assert_eq!(read("-v -7 /a").unwrap_or_default().value("v"), Some("-7"));
    }

    #[test]
    fn what_is_wrong_is_said_as_javas_parser_says_it() {
        let unknown = "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -x";
        assert_eq!(read("-x /a"), Err(unknown.to_owned()));
        let missing =
            "org.apache.commons.cli.MissingArgumentException: Missing argument for option: v";
        assert_eq!(read("/a -v"), Err(missing.to_owned()));
        assert_eq!(read("-v -s /a"), Err(missing.to_owned()));
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(
            words(" set /a \"two words\" '' x"),
            ["set", "/a", "two words", "", "x"]
        );
        assert_eq!(words("a \"open"), ["a", "\"open"]);
    }

    #[test]
    fn usage_lists_flags_in_columns() {
        let text = usage("set path", FLAGS);
        assert_eq!(
            text,
            "set path\n -s         stats\n -v <arg>   a version\n -R         all\n"
        );
    }
}
