//! `/kafka-acl/…`: who may do what, and the notices of changes.

use super::json::{BodyError, Fields, Object};

/// One entry; all words in Kafka's PascalCase (`Allow`, `DescribeConfigs`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// `User:alice`.
    pub principal: String,
    pub permission: String,
    pub host: String,
    pub operation: String,
}

pub fn encode(entries: &[AclEntry]) -> String {
    let entries = entries.iter().map(|entry| {
        Object::new()
            .text("principal", &entry.principal)
            .text("permissionType", &entry.permission)
            .text("host", &entry.host)
            .text("operation", &entry.operation)
    });
    Object::new()
        .objects("acls", entries)
        .number("version", 1)
        .end()
}

/// Empty bytes are no entries. Kafka: `AclEntry.fromBytes`.
pub fn decode(bytes: &[u8]) -> Result<Vec<AclEntry>, BodyError> {
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let fields = Fields::parse(bytes)?;
    match fields.i32("version")? {
        1 => {}
        other => return Err(BodyError::Version(i64::from(other))),
    }
    fields
        .list("acls")?
        .iter()
        .map(|one| {
            let one = Fields::from_value(one)?;
            Ok(AclEntry {
                principal: one.text("principal")?.to_owned(),
                permission: one.text("permissionType")?.to_owned(),
                host: one.text("host")?.to_owned(),
                operation: one.text("operation")?.to_owned(),
            })
        })
        .collect()
}

/// A notice about a literal name: `TOPIC:name`.
pub fn encode_literal_change(resource_type: &str, name: &str) -> String {
    format!("{resource_type}:{name}")
}

/// Splits at the first colon and raises the type, as Kafka does.
pub fn decode_literal_change(bytes: &[u8]) -> Result<(String, String), BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BodyError::Field("resourceType"))?;
    let (kind, name) = text
        .split_once(':')
        .ok_or(BodyError::Field("resourceType"))?;
    Ok((kind.to_ascii_uppercase(), name.to_owned()))
}

/// A notice about a name with another pattern type (`PREFIXED`).
pub fn encode_extended_change(resource_type: &str, name: &str, pattern_type: &str) -> String {
    Object::new()
        .number("version", 1)
        .text("resourceType", resource_type)
        .text("name", name)
        .text("patternType", pattern_type)
        .end()
}

/// Type, name and pattern type. An unknown key makes the notice unreadable, as with Kafka.
pub fn decode_extended_change(bytes: &[u8]) -> Result<(String, String, String), BodyError> {
    let fields = Fields::parse(bytes)?;
    if fields
        .keys()
        .any(|key| !["version", "resourceType", "name", "patternType"].contains(&key))
    {
        return Err(BodyError::Field("resourceType"));
    }
    if fields.i32("version")? > 1 {
        return Err(BodyError::Version(i64::from(fields.i32("version")?)));
    }
    Ok((
        fields.text("resourceType")?.to_ascii_uppercase(),
        fields.text("name")?.to_owned(),
        fields.text("patternType")?.to_owned(),
    ))
}
