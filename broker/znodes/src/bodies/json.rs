//! Reading JSON strictly and writing it in a given order.

use serde_json::{Map, Value};

/// Why a node's body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("not a JSON object")]
    NotJson,
    #[error("field `{0}` is missing or of the wrong kind")]
    Field(&'static str),
    #[error("version {0} is not supported")]
    Version(i64),
}

/// A parsed object whose fields are asked for by name and kind.
#[derive(Clone, Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            _ => Err(BodyError::NotJson),
        }
    }

    pub fn from_value(value: &Value) -> Result<Self, BodyError> {
        value
            .as_object()
            .cloned()
            .map(Fields)
            .ok_or(BodyError::NotJson)
    }

    /// The field, unless missing or null.
    pub fn get(&self, name: &'static str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn i32(&self, name: &'static str) -> Result<i32, BodyError> {
        self.get(name)
            .and_then(number)
            .ok_or(BodyError::Field(name))
    }

    pub fn i32_or(&self, name: &'static str, default: i32) -> Result<i32, BodyError> {
        self.get(name).map_or(Ok(default), |value| {
            number(value).ok_or(BodyError::Field(name))
        })
    }

    pub fn i64(&self, name: &'static str) -> Result<i64, BodyError> {
        self.get(name)
            .and_then(Value::as_i64)
            .ok_or(BodyError::Field(name))
    }

    pub fn text(&self, name: &'static str) -> Result<&str, BodyError> {
        self.get(name)
            .and_then(Value::as_str)
            .ok_or(BodyError::Field(name))
    }

    pub fn text_or_none(&self, name: &'static str) -> Result<Option<&str>, BodyError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(BodyError::Field(name)),
        }
    }

    /// A number spelled as text, as Kafka spells its times.
    pub fn text_i64(&self, name: &'static str) -> Result<i64, BodyError> {
        self.text(name)?.parse().map_err(|_| BodyError::Field(name))
    }

    pub fn list(&self, name: &'static str) -> Result<&[Value], BodyError> {
        self.get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .ok_or(BodyError::Field(name))
    }

    pub fn object(&self, name: &'static str) -> Result<&Map<String, Value>, BodyError> {
        self.get(name)
            .and_then(Value::as_object)
            .ok_or(BodyError::Field(name))
    }

    pub fn i32s(&self, name: &'static str) -> Result<Vec<i32>, BodyError> {
        numbers(self.get(name).ok_or(BodyError::Field(name))?).ok_or(BodyError::Field(name))
    }

    pub fn texts(&self, name: &'static str) -> Result<Vec<String>, BodyError> {
        self.list(name)?
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or(BodyError::Field(name))
            })
            .collect()
    }
}

/// A whole number that fits.
pub fn number(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok())
}

/// A list of whole numbers.
pub fn numbers(value: &Value) -> Option<Vec<i32>> {
    value.as_array()?.iter().map(number).collect()
}

/// An object written field by field.
#[derive(Debug)]
pub struct Object(String);

impl Default for Object {
    fn default() -> Self {
        Object::new()
    }
}

impl Object {
    pub fn new() -> Self {
        Object("{".to_owned())
    }

    fn key(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_text(&mut self.0, name);
        self.0.push(':');
    }

    /// A field whose value is JSON already.
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        self.key(name);
        self.0.push_str(json);
        self
    }

    pub fn number(self, name: &str, number: impl Into<i64>) -> Self {
        let number: i64 = number.into();
        self.raw(name, &number.to_string())
    }

    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.key(name);
        push_text(&mut self.0, text);
        self
    }

    pub fn numbers(mut self, name: &str, numbers: &[i32]) -> Self {
        self.key(name);
        push_numbers(&mut self.0, numbers);
        self
    }

    pub fn texts<T: AsRef<str>>(mut self, name: &str, texts: &[T]) -> Self {
        self.key(name);
        self.0.push('[');
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            push_text(&mut self.0, text.as_ref());
        }
        self.0.push(']');
        self
    }

    /// A field that holds a list of objects.
    pub fn objects(mut self, name: &str, objects: impl IntoIterator<Item = Object>) -> Self {
        self.key(name);
        self.0.push('[');
        for (at, object) in objects.into_iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.0.push_str(&object.end());
        }
        self.0.push(']');
        self
    }

    pub fn object(self, name: &str, object: Object) -> Self {
        self.raw(name, &object.end())
    }

    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn push_numbers(out: &mut String, numbers: &[i32]) {
    out.push('[');
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&number.to_string());
    }
    out.push(']');
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}
