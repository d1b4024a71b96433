//! Messages by the names of their fields: JSON to bytes and back, for any API and version.
//!
//! Read from `fields.jsonl` and from nothing that the broker uses, so that what the broker writes is read by another hand.
//! Numbers are numbers, texts are texts, bytes, records and ids are hexadecimal; what a version lacks is left out,
//! what a body does not name has its default.

use std::collections::HashMap;

use protocol::kafka::apis::Api;
use serde_json::{Map, Value, json};

/// The versions a field has something to do with.
#[derive(Clone, Copy)]
struct Versions(i16, i16);

impl Versions {
    fn read(text: &str) -> Versions {
        let number = |text: &str| text.parse().unwrap();
        match text.split_once('-') {
            _ if text == "none" => Versions(1, 0),
            Some((low, high)) => Versions(number(low), number(high)),
            None if text.ends_with('+') => Versions(number(text.trim_end_matches('+')), i16::MAX),
            None => Versions(number(text), number(text)),
        }
    }

    fn has(self, version: i16) -> bool {
        (self.0..=self.1).contains(&version)
    }
}

pub(crate) struct Field {
    pub(crate) name: String,
    kind: String,
    versions: Versions,
    nullable: Versions,
    tag: Option<(u32, Versions)>,
    pub(crate) default: Value,
    pub(crate) fields: Vec<Field>,
}

impl Field {
    pub(crate) fn is_bytes(&self) -> bool {
        matches!(self.kind.as_str(), "bytes" | "records")
    }

    fn read(row: &Value) -> Field {
        let word = |at: usize| row[at].as_str().unwrap().to_owned();
        let kind = word(1);
        let default = default_of(&kind, row[5].as_str(), &row[5]);
        Field {
            name: word(0),
            versions: Versions::read(&word(2)),
            nullable: Versions::read(&word(3)),
            tag: row[4].as_array().map(|tag| {
                let number = u32::try_from(tag[0].as_u64().unwrap()).unwrap();
                (number, Versions::read(tag[1].as_str().unwrap()))
            }),
            default,
            fields: row[6]
                .as_array()
                .map(|rows| rows.iter().map(Field::read).collect())
                .unwrap_or_default(),
            kind,
        }
    }

    fn tag_at(&self, version: i16) -> Option<u32> {
        self.tag
            .filter(|(_, versions)| versions.has(version))
            .map(|(tag, _)| tag)
    }
}

fn default_of(kind: &str, text: Option<&str>, raw: &Value) -> Value {
    match (kind, text) {
        (_, Some("null")) => Value::Null,
        (array, _) if array.starts_with("[]") => json!([]),
        ("struct", _) => json!({}),
        ("bool", _) => json!(text == Some("true") || raw == &Value::Bool(true)),
        ("float64", _) => json!(0.0),
        ("string", _) => json!(text.unwrap_or("")),
        ("bytes" | "records", _) => json!(""),
        ("uuid", _) => json!("0".repeat(32)),
        (_, text) => {
            let number = text.map_or(raw.as_i64().unwrap_or(0), |text| {
                match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
                    None => text.parse().unwrap(),
                }
            });
            json!(number)
        }
    }
}

/// Every message's fields.
pub(crate) struct Messages {
    requests: HashMap<i16, Vec<Field>>,
    responses: HashMap<i16, Vec<Field>>,
}

impl Messages {
    pub(crate) fn load() -> Messages {
        let mut made = Messages {
            requests: HashMap::new(),
            responses: HashMap::new(),
        };
        for line in include_str!("fields.jsonl").lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let key = i16::try_from(row["key"].as_i64().unwrap()).unwrap();
            let fields = row["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(Field::read)
                .collect();
            let way = if row["way"] == "request" {
                &mut made.requests
            } else {
                &mut made.responses
            };
            way.insert(key, fields);
        }
        made
    }

    pub(crate) fn response(&self, api: Api) -> &[Field] {
        &self.responses[&api.key()]
    }

    /// A request's body. Panics on a field that no version of the message has.
    pub(crate) fn request_body(&self, api: Api, version: i16, body: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        put_struct(
            &self.requests[&api.key()],
            body,
            version,
            api.is_flexible(version),
            &mut out,
        );
        out
    }

    /// An answer's body by its names. Says what is wrong with bytes that are not one answer and nothing else, in the
    /// one form Kafka writes it.
    pub(crate) fn read_response(
        &self,
        api: Api,
        version: i16,
        body: &[u8],
    ) -> Result<Value, String> {
        let fields = self.response(api);
        let flexible = api.is_flexible(version);
        let mut reader = Reader { bytes: body, at: 0 };
        let value = reader.read_struct(fields, version, flexible)?;
        if reader.at != body.len() {
            return Err(format!("{} bytes too many", body.len() - reader.at));
        }
        let mut again = Vec::new();
        put_struct(fields, &value, version, flexible, &mut again);
        if again != body {
            return Err("defaults written where Kafka leaves them out".to_owned());
        }
        Ok(value)
    }
}

fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f | 0x80) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_struct(fields: &[Field], body: &Value, version: i16, flexible: bool, out: &mut Vec<u8>) {
    static NONE: Value = Value::Null;
    let empty = Map::new();
    let body = body.as_object().unwrap_or(&empty);
    for name in body.keys() {
        assert!(
            fields.iter().any(|field| &field.name == name),
            "no field {name}"
        );
    }
    let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
    for field in fields.iter().filter(|field| field.versions.has(version)) {
        let value = body.get(&field.name);
        if let Some(tag) = field.tag_at(version) {
            if value.is_some_and(|value| !is_default(field, value)) {
                let mut bytes = Vec::new();
                put(
                    field,
                    &field.kind,
                    value.unwrap_or(&NONE),
                    version,
                    flexible,
                    &mut bytes,
                );
                tagged.push((tag, bytes));
            }
        } else {
            put(
                field,
                &field.kind,
                value.unwrap_or(&field.default),
                version,
                flexible,
                out,
            );
        }
    }
    if flexible {
        tagged.sort();
        put_varint(tagged.len() as u32, out);
        for (tag, bytes) in tagged {
            put_varint(tag, out);
            put_varint(bytes.len() as u32, out);
            out.extend(bytes);
        }
    }
}

/// Whether a value says no more than leaving it out would.
pub(crate) fn is_default(field: &Field, value: &Value) -> bool {
    match value {
        Value::Object(map) if field.kind == "struct" => {
            !field.default.is_null()
                && field.fields.iter().all(|inner| {
                    map.get(&inner.name)
                        .is_none_or(|value| is_default(inner, value))
                })
        }
        _ => *value == field.default,
    }
}

fn put(field: &Field, kind: &str, value: &Value, version: i16, flexible: bool, out: &mut Vec<u8>) {
    let number = || {
        value
            .as_i64()
            .unwrap_or_else(|| panic!("{}: {value} is no number", field.name))
    };
    let put_len = |len: Option<usize>, short: bool, out: &mut Vec<u8>| match (flexible, len) {
        (true, len) => put_varint(len.map_or(0, |len| len as u32 + 1), out),
        (false, len) if short => out.extend((len.map_or(-1, |len| len as i16)).to_be_bytes()),
        (false, len) => out.extend((len.map_or(-1, |len| len as i32)).to_be_bytes()),
    };
    if let Some(element) = kind.strip_prefix("[]") {
        put_len(value.as_array().map(Vec::len), false, out);
        for one in value.as_array().into_iter().flatten() {
            put(field, element, one, version, flexible, out);
        }
        return;
    }
    match kind {
        "struct" if field.kind == "struct" && field.nullable.has(version) && value.is_null() => {
            out.push(0xff)
        }
        "struct" => {
            if field.kind == "struct" && field.nullable.has(version) {
                out.push(1);
            }
            put_struct(&field.fields, value, version, flexible, out);
        }
        "bool" => out.push(u8::from(value.as_bool().unwrap())),
        "int8" => out.push(number() as u8),
        "int16" | "uint16" => out.extend((number() as i16).to_be_bytes()),
        "int32" | "uint32" => out.extend((number() as i32).to_be_bytes()),
        "int64" => out.extend(number().to_be_bytes()),
        "float64" => out.extend(value.as_f64().unwrap().to_be_bytes()),
        "uuid" => out.extend(unhex(value.as_str().unwrap())),
        "string" => {
            put_len(value.as_str().map(str::len), true, out);
            out.extend(value.as_str().unwrap_or("").bytes());
        }
        _ => {
            let bytes = value.as_str().map(unhex);
            put_len(bytes.as_ref().map(Vec::len), false, out);
            out.extend(bytes.unwrap_or_default());
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text} is no hexadecimal");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let from = self.at;
        let end = from
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len());
        self.at =
            end.ok_or_else(|| format!("{count} bytes wanted at {from} of {}", self.bytes.len()))?;
        Ok(&self.bytes[from..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N).map(|bytes| bytes.try_into().unwrap())
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number that does not end".to_owned())
    }

    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, String> {
        let length = match (flexible, short) {
            (true, _) => self.varint()? as i64 - 1,
            (false, true) => i64::from(i16::from_be_bytes(self.array()?)),
            (false, false) => i64::from(i32::from_be_bytes(self.array()?)),
        };
        Ok(usize::try_from(length).ok())
    }

    fn read_struct(
        &mut self,
        fields: &[Field],
        version: i16,
        flexible: bool,
    ) -> Result<Value, String> {
        let mut made = Map::new();
        for field in fields.iter().filter(|field| field.versions.has(version)) {
            if field.tag_at(version).is_none() {
                let value = self.read(field, &field.kind, version, flexible)?;
                made.insert(field.name.clone(), value);
            }
        }
        if flexible {
            for _ in 0..self.varint()? {
                let (tag, length) = (self.varint()?, self.varint()?);
                let end = self.at + length;
                let known = fields.iter().find(|field| {
                    field.versions.has(version)
                        && field
                            .tag_at(version)
                            .is_some_and(|known| known as usize == tag)
                });
                let field = known.ok_or_else(|| format!("nobody knows tag {tag}"))?;
                let value = self.read(field, &field.kind, version, flexible)?;
                if self.at != end {
                    return Err(format!("tag {tag} is not as long as it says"));
                }
                made.insert(field.name.clone(), value);
            }
        }
        Ok(Value::Object(made))
    }

    fn read(
        &mut self,
        field: &Field,
        kind: &str,
        version: i16,
        flexible: bool,
    ) -> Result<Value, String> {
        if let Some(element) = kind.strip_prefix("[]") {
            let Some(count) = self.length(flexible, false)? else {
                return Ok(Value::Null);
            };
            return (0..count)
                .map(|_| self.read(field, element, version, flexible))
                .collect();
        }
        Ok(match kind {
            "struct" => {
                if field.kind == "struct"
                    && field.nullable.has(version)
                    && self.array::<1>()? == [0xff]
                {
                    return Ok(Value::Null);
                }
                self.read_struct(&field.fields, version, flexible)?
            }
            "bool" => json!(self.array::<1>()? != [0]),
            "int8" => json!(i8::from_be_bytes(self.array()?)),
            "int16" => json!(i16::from_be_bytes(self.array()?)),
            "uint16" => json!(u16::from_be_bytes(self.array()?)),
            "int32" => json!(i32::from_be_bytes(self.array()?)),
            "uint32" => json!(u32::from_be_bytes(self.array()?)),
            "int64" => json!(i64::from_be_bytes(self.array()?)),
            "float64" => json!(f64::from_be_bytes(self.array()?)),
            "uuid" => json!(hex(self.take(16)?)),
            "string" => match self.length(flexible, true)? {
                Some(length) => json!(String::from_utf8_lossy(self.take(length)?)),
                None => Value::Null,
            },
            _ => match self.length(flexible, false)? {
                Some(length) => json!(hex(self.take(length)?)),
                None => Value::Null,
            },
        })
    }
}
