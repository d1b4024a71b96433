//! `/log_dir_event_notification/…`: a broker says that one of its log directories failed.

use super::json::{BodyError, Fields, Object};

pub fn encode_log_dir_failure(broker: i32) -> String {
    Object::new()
        .number("version", 1)
        .number("broker", broker)
        .number("event", 1)
        .end()
}

/// The broker, where the body is a failure event.
pub fn decode_log_dir_failure(bytes: &[u8]) -> Result<i32, BodyError> {
    let fields = Fields::parse(bytes)?;
    match fields.i32("event")? {
        1 => fields.i32("broker"),
        _ => Err(BodyError::Field("event")),
    }
}
