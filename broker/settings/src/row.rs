//! One key's row: everything Kafka knows about it, and what this broker does with it.

use crate::value::{self, Fault, Kind, Value};

/// How much Kafka's documentation thinks a key matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Who may change a key, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only by the file, before the start.
    ReadOnly,
    /// While running, for one broker at a time.
    PerBroker,
    /// While running, for one broker or as the cluster's default.
    ClusterWide,
    /// While running, for each topic.
    Topic,
}

/// What this broker does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Obeyed; names the plain field that carries it to whoever obeys.
    Works(&'static str),
    /// Nothing here could obey it; says why.
    NoMeaning(&'static str),
    /// Not yet: setting it away from its default is told by name.
    Later,
}

/// What a value must satisfy besides being of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    Free,
    AtLeast(i64),
    Between(i64, i64),
    BetweenReal(f64, f64),
    /// `-1` or between 1 and 9.
    GzipLevel,
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    EachOneOf(&'static [&'static str]),
    NonNull,
    NonEmpty,
    /// A released version of Kafka's internals, `2.8` or `2.8-IV1`.
    Version,
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
    /// `-1` or at least 1.
    MinusOneOrPositive,
}

/// One key. Built by [`row`], in the tables of [`crate::keys`] only.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// The text of the default; `None` is null.
    pub default: Option<&'static str>,
    pub bounds: Bounds,
    pub importance: Importance,
    pub scope: Scope,
    /// Kafka shows an internal key only where somebody set it.
    pub internal: bool,
    pub state: State,
    /// One sentence of our own.
    pub doc: &'static str,
    /// For a topic's key: the broker's key it falls back to.
    pub broker_key: Option<&'static str>,
}

/// A row of the broker's table.
pub(crate) const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    bounds: Bounds,
    importance: Importance,
    scope: Scope,
    state: State,
    doc: &'static str,
) -> Row {
    Row {
        name,
        kind,
        default,
        bounds,
        importance,
        scope,
        internal: false,
        state,
        doc,
        broker_key: None,
    }
}

impl Row {
    pub(crate) const fn internal(mut self) -> Row {
        self.internal = true;
        self
    }

    pub(crate) const fn over(mut self, broker_key: &'static str) -> Row {
        self.broker_key = Some(broker_key);
        self
    }

    /// Whether its value is never shown.
    pub fn sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// The parsed default.
    pub fn default_value(&self) -> Value {
        match self.default {
            None => Value::Null,
            Some(text) => value::parse(self.name, text, self.kind)
                .expect("a test reads every default of the tables"),
        }
    }

    /// Parses `text` and holds it against the bounds.
    pub fn read(&self, text: &str) -> Result<Value, Fault> {
        let value = value::parse(self.name, text, self.kind)?;
        self.check(&value)?;
        Ok(value)
    }

    fn check(&self, value: &Value) -> Result<(), Fault> {
        let shown = || value.text().unwrap_or_else(|| "null".to_owned());
        let refuse = |reason: String| Err(Fault::of(self.name, shown(), reason));
        match self.bounds {
            Bounds::Free | Bounds::NonNull => Ok(()),
            Bounds::AtLeast(min) => match value.whole() {
                Some(n) if n < min => refuse(format!("Value must be at least {min}")),
                _ => Ok(()),
            },
            Bounds::Between(min, max) => match value.whole() {
                Some(n) if n < min => refuse(format!("Value must be at least {min}")),
                Some(n) if n > max => refuse(format!("Value must be no more than {max}")),
                _ => Ok(()),
            },
            Bounds::BetweenReal(min, max) => match value {
                Value::Double(n) if *n < min => refuse(format!("Value must be at least {min}")),
                Value::Double(n) if *n > max => refuse(format!("Value must be no more than {max}")),
                _ => Ok(()),
            },
            Bounds::GzipLevel => match value.whole() {
                Some(-1 | 1..=9) => Ok(()),
                _ => refuse("Value must be between 1 and 9 or equal to -1".to_owned()),
            },
            Bounds::MinusOneOrPositive => match value.whole() {
                Some(n) if n == -1 || n > 0 => Ok(()),
                _ => refuse("Value can be -1 or greater than 0".to_owned()),
            },
            Bounds::OneOf(names) => match value {
                Value::Text(text) if !names.contains(&text.as_ref()) => {
                    refuse(format!("String must be one of: {}", names.join(", ")))
                }
                _ => Ok(()),
            },
            Bounds::OneOfIgnoringCase(names) => match value {
                Value::Text(text) if !names.iter().any(|name| name.eq_ignore_ascii_case(text)) => {
                    refuse(format!(
                        "String must be one of (case insensitive): {}",
                        names.join(", ")
                    ))
                }
                _ => Ok(()),
            },
            Bounds::EachOneOf(names) => match value {
                Value::List(items) => {
                    match items.iter().find(|item| !names.contains(&item.as_str())) {
                        Some(bad) => Err(Fault::of(
                            self.name,
                            bad.as_str(),
                            format!("String must be one of: {}", names.join(", ")),
                        )),
                        None => Ok(()),
                    }
                }
                _ => Ok(()),
            },
            Bounds::NonEmpty => match value {
                Value::Text(text) if text.is_empty() => {
                    refuse("String must be non-empty".to_owned())
                }
                _ => Ok(()),
            },
            Bounds::Version => match value {
                Value::Text(text) if crate::versions::known(text).is_none() => {
                    refuse(format!("Version {text} is not a valid version"))
                }
                _ => Ok(()),
            },
            Bounds::ThrottledReplicas => match value {
                Value::List(items) if !throttled(items) => Err(Fault::of(
                    self.name,
                    format!("[{}]", items.join(", ")),
                    format!(
                        "{} must be the literal '*' or a list of replicas in the following format: \
                         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                        self.name
                    ),
                )),
                _ => Ok(()),
            },
        }
    }
}

/// Kafka: `ThrottledReplicaListValidator`: a lone `*`, or pairs, among which empty items pass.
fn throttled(items: &[String]) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let pair = |item: &str| {
        item.is_empty()
            || item
                .split_once(':')
                .is_some_and(|(a, b)| number(a) && number(b))
    };
    let trimmed: Vec<&str> = items.iter().map(|item| value::java_trim(item)).collect();
    trimmed.concat() == "*" || trimmed.iter().all(|item| pair(item))
}
