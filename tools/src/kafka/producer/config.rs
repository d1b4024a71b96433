//! The settings of Java's producer, under their names.

use protocol::batch::Codec;

use crate::failure::Failure;
use crate::properties::Properties;

pub(crate) struct Config {
    pub(crate) acks: i16,
    pub(crate) linger_ms: i64,
    pub(crate) batch_bytes: usize,
    pub(crate) codec: Codec,
    pub(crate) retries: i64,
    pub(crate) retry_backoff_ms: i64,
    pub(crate) delivery_timeout_ms: i64,
    pub(crate) request_timeout_ms: i32,
    pub(crate) max_block_ms: i64,
    pub(crate) metadata_age_ms: i64,
    pub(crate) request_bytes_max: usize,
    pub(crate) buffer_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) idempotent: bool,
    pub(crate) transactional: Option<String>,
    pub(crate) transaction_timeout_ms: i32,
}

impl Config {
    pub(crate) fn read(properties: &Properties) -> Result<Config, Failure> {
        let acks = match properties.get("acks").unwrap_or("all") {
            "all" | "-1" => -1,
            "0" => 0,
            "1" => 1,
            other => {
                return Err(Failure::said(format!(
                    "Invalid value {other} for configuration acks: String must be one of: all, -1, 0, 1"
                )));
            }
        };
        let name = properties.get("compression.type").unwrap_or("none");
        let codec = Codec::from_name(name).ok_or_else(|| {
            Failure::said(format!("Invalid value {name} for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd"))
        })?;
        let transactional = properties.get("transactional.id").map(str::to_owned);
        if transactional.is_some() && acks != -1 {
            return Err(Failure::said(
                "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.",
            ));
        }
        let size = |key, default| -> Result<usize, Failure> {
            Ok(usize::try_from(properties.number(key, default)?)
                .unwrap_or(0)
                .max(1))
        };
        let millis = i64::from(i32::MAX);
        let linger_ms = properties.number("linger.ms", 0)?.clamp(0, millis);
        let request_timeout_ms = properties.number("request.timeout.ms", 30_000)?.min(millis);
        // Java: a batch may linger and be asked for once, whatever the default says.
        let least = linger_ms.saturating_add(request_timeout_ms).min(millis);
        let delivery_timeout_ms = match properties.get("delivery.timeout.ms") {
            None => least.max(120_000),
            Some(_) => properties.number("delivery.timeout.ms", 0)?,
        };
        if delivery_timeout_ms < least {
            return Err(Failure::said(
                "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms",
            ));
        }
        Ok(Config {
            acks,
            linger_ms,
            batch_bytes: size("batch.size", 16_384)?,
            codec,
            retries: properties.number("retries", i64::from(i32::MAX))?,
            retry_backoff_ms: properties.number("retry.backoff.ms", 100)?,
            delivery_timeout_ms,
            request_timeout_ms: i32::try_from(request_timeout_ms).unwrap_or(i32::MAX),
            max_block_ms: properties.number("max.block.ms", 60_000)?,
            metadata_age_ms: properties.number("metadata.max.age.ms", 300_000)?,
            request_bytes_max: size("max.request.size", 1_048_576)?,
            buffer_bytes_max: size("buffer.memory", 33_554_432)?,
            in_flight_max: size("max.in.flight.requests.per.connection", 5)?,
            idempotent: transactional.is_some()
                || acks == -1 && properties.is_true("enable.idempotence", true),
            transactional,
            transaction_timeout_ms: i32::try_from(
                properties.number("transaction.timeout.ms", 60_000)?,
            )
            .unwrap_or(i32::MAX),
        })
    }
}
