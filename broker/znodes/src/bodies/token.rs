//! `/delegation_token/tokens/<id>`: who may log in with a token, and until when.
//!
//! The secret itself is not stored; it follows from the id and the brokers' shared key.

use super::json::{BodyError, Fields, Object};
use crate::paths::{desanitize, sanitize};

/// A token's terms. Principals are plain text here (`User:alice`), escaped in the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub owner: String,
    pub requester: String,
    pub renewers: Vec<String>,
    pub issue_timestamp: i64,
    pub expiry_timestamp: i64,
    pub max_timestamp: i64,
}

impl Token {
    pub fn encode(&self) -> String {
        let renewers: Vec<String> = self.renewers.iter().map(|name| sanitize(name)).collect();
        Object::new()
            .number("issueTimestamp", self.issue_timestamp)
            .texts("renewers", &renewers)
            .text("tokenRequester", &sanitize(&self.requester))
            .text("tokenId", &self.id)
            .text("owner", &sanitize(&self.owner))
            .number("expiryTimestamp", self.expiry_timestamp)
            .number("maxTimestamp", self.max_timestamp)
            .number("version", 3)
            .end()
    }

    /// Versions 1 to 3; before 3 the requester is the owner.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        let version = fields.i32("version")?;
        if !(1..=3).contains(&version) {
            return Err(BodyError::Version(i64::from(version)));
        }
        let principal =
            |name: &'static str| desanitize(fields.text(name)?).ok_or(BodyError::Field(name));
        let owner = principal("owner")?;
        let requester = match version {
            3 => principal("tokenRequester")?,
            _ => owner.clone(),
        };
        let renewers = fields
            .texts("renewers")?
            .iter()
            .map(|name| desanitize(name).ok_or(BodyError::Field("renewers")))
            .collect::<Result<_, _>>()?;
        Ok(Token {
            id: fields.text("tokenId")?.to_owned(),
            owner,
            requester,
            renewers,
            issue_timestamp: fields.i64("issueTimestamp")?,
            expiry_timestamp: fields.i64("expiryTimestamp")?,
            max_timestamp: fields.i64("maxTimestamp")?,
        })
    }
}
