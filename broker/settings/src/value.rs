//! What a key may hold: kinds, parsed values, and the words Kafka refuses a bad one with.
//!
//! Kafka: `ConfigDef.parseType` and `ConfigDef.convertToString`, down to the spaces. Parsing
//! trims what Java's `trim` trims; a number is what `Integer.parseInt` takes.

use std::fmt;
use std::sync::Arc;

/// What kind of value a key holds, as `DescribeConfigs` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// The number `DescribeConfigs` carries since version 3.
    pub fn wire(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }
}

/// A parsed value. `Null` is a key without a default that nobody set.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    /// Strings, class names and passwords.
    Text(Arc<str>),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>),
}

impl Value {
    /// The text `DescribeConfigs` answers with; `None` for a null.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Value::Null => return None,
            Value::Boolean(b) => b.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Short(n) => n.to_string(),
            Value::Long(n) => n.to_string(),
            Value::Double(n) => java_double(*n),
            Value::List(items) => items.join(","),
        })
    }

    /// Whole numbers of every width, for bounds and getters.
    pub fn whole(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(i64::from(*n)),
            Value::Short(n) => Some(i64::from(*n)),
            Value::Long(n) => Some(*n),
            _ => None,
        }
    }
}

/// One value that cannot stand, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Empty where the fault lies between keys, or in the file itself.
    pub key: String,
    /// `None` where the words do not quote a value.
    pub value: Option<String>,
    pub reason: String,
}

impl Fault {
    pub fn of(key: &str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault {
            key: key.to_owned(),
            value: Some(value.into()),
            reason: reason.into(),
        }
    }

    /// A contradiction between keys, told in one sentence.
    pub fn between(key: &str, reason: impl Into<String>) -> Self {
        Fault {
            key: key.to_owned(),
            value: None,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Fault {
    /// Kafka: `ConfigException(name, value, message)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => {
                write!(f, "Invalid value {value} for configuration {}", self.key)?;
                if self.reason.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", self.reason)
                }
            }
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Fault {}

/// What Java's `String.trim` takes off: everything up to the space character.
pub fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Reads `text` as a value of `kind`.
///
/// Kafka: a class name must be loadable there; here it is any name, because none is ever loaded.
pub fn parse(key: &str, text: &str, kind: Kind) -> Result<Value, Fault> {
    let trimmed = java_trim(text);
    let not_a_number = || Fault::of(key, text, format!("Not a number of type {}", kind.name()));
    Ok(match kind {
        Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
        Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
        Kind::Boolean => {
            return Err(Fault::of(
                key,
                text,
                "Expected value to be either true or false",
            ));
        }
        Kind::String | Kind::Class | Kind::Password => Value::Text(trimmed.into()),
        Kind::Int => Value::Int(trimmed.parse().map_err(|_| not_a_number())?),
        Kind::Short => Value::Short(trimmed.parse().map_err(|_| not_a_number())?),
        Kind::Long => Value::Long(trimmed.parse().map_err(|_| not_a_number())?),
        Kind::Double => Value::Double(parse_java_double(trimmed).ok_or_else(not_a_number)?),
        Kind::List if trimmed.is_empty() => Value::List(Vec::new()),
        Kind::List => Value::List(split_list(trimmed)),
    })
}

/// Kafka: splits at `\s*,\s*`, keeping empty items.
fn split_list(trimmed: &str) -> Vec<String> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    let mut items: Vec<&str> = trimmed.split(',').collect();
    let last = items.len() - 1;
    for (at, item) in items.iter_mut().enumerate() {
        if at > 0 {
            *item = item.trim_start_matches(space);
        }
        if at < last {
            *item = item.trim_end_matches(space);
        }
    }
    items.into_iter().map(str::to_owned).collect()
}

/// `Double.parseDouble` without its hexadecimal form: `1`, `1.5e3`, `2d`, `NaN`, `-Infinity`.
fn parse_java_double(text: &str) -> Option<f64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match rest {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = rest.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(rest);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| sign * number)
}

/// The text Java gives a double: `0.5`, `200.0`, `1.7976931348623157E308`.
pub fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        };
    }
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let scientific = format!("{number:e}");
    match scientific.split_once('e') {
        Some((digits, power)) if digits.contains('.') => format!("{digits}E{power}"),
        Some((digits, power)) => format!("{digits}.0E{power}"),
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_java_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (200.0, "200.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e7, "1.0E7"),
            (0.0001, "1.0E-4"),
            (0.0, "0.0"),
            (2_147_483_647.0, "2.147483647E9"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn a_bad_value_is_refused_in_kafkas_words() {
        let said = |key, text, kind| parse(key, text, kind).unwrap_err().to_string();
        assert_eq!(
            said("num.partitions", "many", Kind::Int),
            "Invalid value many for configuration num.partitions: Not a number of type INT"
        );
        assert_eq!(
            said("a", "yes", Kind::Boolean),
            "Invalid value yes for configuration a: Expected value to be either true or false"
        );
        assert_eq!(
            said("a", "99999999999", Kind::Int),
            "Invalid value 99999999999 for configuration a: Not a number of type INT"
        );
        assert!(parse("a", "inf", Kind::Double).is_err());
    }

    #[test]
    fn lists_lose_the_space_around_commas_and_keep_empty_items() {
        let list = |text| parse("a", text, Kind::List).unwrap();
        assert_eq!(
            list(" compact , delete "),
            Value::List(vec!["compact".into(), "delete".into()])
        );
        assert_eq!(
            list("a,,b"),
            Value::List(vec!["a".into(), String::new(), "b".into()])
        );
        assert_eq!(list("  "), Value::List(vec![]));
    }
}
