//! `/cluster/id`.

use super::json::{BodyError, Fields, Object};

pub fn encode(id: &str) -> String {
    Object::new().text("version", "1").text("id", id).end()
}

pub fn decode(bytes: &[u8]) -> Result<String, BodyError> {
    Ok(Fields::parse(bytes)?.text("id")?.to_owned())
}
