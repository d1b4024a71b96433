//! The one part of a consumer's subscription that brokers read: which topics it names.

use crate::internal::fields::{Fields, Malformed};

/// The protocol type under which consumers join.
pub const PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription, read as version 0: every later version begins with it.
// Kafka: ConsumerProtocol.deserializeSubscription(buffer, 0), so that the broker knows no others.
pub fn subscribed_topics(subscription: &[u8]) -> Result<Vec<&str>, Malformed> {
    let (version, mut fields) = Fields::open(subscription, i16::MAX)?;
    if version < 0 {
        return Err(Malformed::Version(version));
    }
    let count = fields.count(2)?.ok_or(Malformed::Length)?;
    let topics = (0..count)
        .map(|_| fields.text())
        .collect::<Result<Vec<&str>, _>>()?;
    fields.bytes_or_null()?;
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version() {
        let bytes = [
            0, 1, 0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b', 255, 255, 255, 255, 9, 9,
        ];
        assert_eq!(subscribed_topics(&bytes), Ok(vec!["a", "b"]));
        assert_eq!(subscribed_topics(&bytes[..12]), Err(Malformed::Short));
        assert_eq!(subscribed_topics(b""), Err(Malformed::Short));
        assert_eq!(subscribed_topics(&[255, 255]), Err(Malformed::Version(-1)));
    }
}
