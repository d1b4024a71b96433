//! Java's properties: files of `key=value` lines, and pairs on the command line.

use std::collections::BTreeMap;

use crate::failure::Failure;

#[derive(Clone, Debug, Default)]
pub(crate) struct Properties(pub(crate) BTreeMap<String, String>);

impl Properties {
    /// The file that a flag names, where it is given.
    pub(crate) fn load(path: Option<&str>) -> Result<Properties, Failure> {
        let Some(path) = path else {
            return Ok(Properties::default());
        };
        let text = std::fs::read(path).map_err(Failure::reading(path))?;
        Properties::parse(&text)
    }

    fn parse(bytes: &[u8]) -> Result<Properties, Failure> {
        let pairs = base::properties::parse(bytes).map_err(|why| Failure::said(why.to_string()))?;
        Ok(Properties(pairs.into_iter().collect()))
    }

    /// Adds `key=value` pairs as given by a repeated flag; a pair without `=` has an empty value.
    pub(crate) fn add_pairs(&mut self, pairs: &[String]) -> Result<(), Failure> {
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key.trim().is_empty() {
                return Err(Failure::said(format!(
                    "Invalid command line properties: {pair}"
                )));
            }
            self.0
                .insert(key.trim().to_string(), value.trim_start().to_string());
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn is_true(&self, key: &str, default: bool) -> bool {
        self.get(key)
            .map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
    }

    pub(crate) fn number(&self, key: &str, default: i64) -> Result<i64, Failure> {
        let Some(text) = self.get(key) else {
            return Ok(default);
        };
        let wrong = || {
            Failure::said(format!(
                "Invalid value {text} for configuration {key}: Not a number of type INT"
            ))
        };
        text.trim().parse().map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_files_are_read() {
        let read =
            Properties::parse(b"# no\na=1\n b : two words\nc\\ d=\\\n  x\nempty\n").expect("legal");
        let all: Vec<_> = read.0.iter().map(|(k, v)| format!("{k}|{v}")).collect();
        assert_eq!(all, ["a|1", "b|two words", "c d|x", "empty|"]);
    }
}
