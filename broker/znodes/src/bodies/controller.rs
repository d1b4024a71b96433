//! `/controller` and `/controller_epoch`: who decides, and in which epoch.

use super::json::{BodyError, Fields, Object};

/// Who holds the controllership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub broker: i32,
    pub timestamp: i64,
    /// Above 0 once a KRaft controller has taken over.
    pub kraft_epoch: i32,
}

impl Controller {
    pub fn encode(&self) -> String {
        Object::new()
            .number("version", 2)
            .number("brokerid", self.broker)
            .text("timestamp", &self.timestamp.to_string())
            .number("kraftControllerEpoch", self.kraft_epoch)
            .end()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        Ok(Controller {
            broker: fields.i32("brokerid")?,
            timestamp: fields.text_i64("timestamp").unwrap_or(-1),
            kraft_epoch: fields.i32_or("kraftControllerEpoch", -1)?,
        })
    }
}

/// The epoch's node holds plain decimal text.
pub fn decode_epoch(bytes: &[u8]) -> Result<i32, BodyError> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(BodyError::Field("controller_epoch"))
}
