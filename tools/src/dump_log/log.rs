//! Batches and records of a `.log` file.

use std::io::Write;

use protocol::batch::{BatchView, Fault, Record, TimestampType};
use protocol::internal::markers::{self, ControlKind};

use crate::dump_log::decode::Shown;
use crate::dump_log::files::DumpedFile;
use crate::dump_log::java_text::java_text;
use crate::dump_log::options::Options;
use crate::dump_log::{Faults, Stop};

/// A batch may decompress to what Java could hold of it.
pub(crate) const DECOMPRESSED_BYTES_MAX: u64 = i32::MAX as u64;

pub(crate) fn dump(
    file: &DumpedFile,
    options: &Options,
    faults: &mut Faults,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    if file.suffix() == ".log" {
        writeln!(out, "Log starting offset: {}", file.base()?)?;
    }
    let bytes_max = options.max_bytes.unwrap_or(u64::MAX);
    let mut walk = file.walk(file.open()?, 0, bytes_max)?;
    let mut last_offset = -1i64;
    while let Some((position, batch)) = walk.step().map_err(|e| file.walk_stop(e))? {
        print_batch(&batch, position, out)?;
        if options.deep {
            for record in records(&batch)? {
                let record = record.map_err(Stop::content)?;
                let offset = record.offset.0;
                if last_offset != -1 && last_offset.checked_add(1) != Some(offset) {
                    faults.not_consecutive.note(file, (last_offset, offset));
                }
                last_offset = offset;
                print_record(&batch, &record, options, out)?;
            }
        }
    }
    let trailing = walk.trailing_bytes();
    if trailing > 0 && options.max_bytes.is_none() {
        writeln!(
            out,
            "Found {trailing} invalid bytes at the end of {}",
            file.name()
        )?;
    }
    Ok(())
}

type Each = Box<dyn Iterator<Item = Result<Record, Fault>>>;

/// Kafka: what is compressed is read to its end before the first record of it is shown.
fn records(batch: &BatchView) -> Result<Each, Stop> {
    let records = batch
        .records(DECOMPRESSED_BYTES_MAX)
        .map_err(Stop::content)?;
    if !batch.is_compressed() {
        return Ok(Box::new(records));
    }
    let all = records
        .collect::<Result<Vec<Record>, Fault>>()
        .map_err(Stop::content)?;
    Ok(Box::new(all.into_iter().map(Ok)))
}

fn print_batch(batch: &BatchView, position: u64, out: &mut dyn Write) -> Result<(), Stop> {
    if batch.magic >= 2 {
        write!(
            out,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} \
             producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} \
             isControl: {} deleteHorizonMs: {}",
            batch.base_offset,
            batch.last_offset(),
            batch.count,
            batch.base_sequence,
            batch.last_sequence(),
            batch.producer_id,
            batch.producer_epoch,
            batch.leader_epoch,
            batch.is_transactional(),
            batch.is_control(),
            optional(batch.delete_horizon_ms()),
        )?;
    } else {
        write!(out, "offset: {}", batch.last_offset())?;
    }
    let codec = batch.codec().map_err(Stop::content)?;
    writeln!(
        out,
        " position: {position} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
        time_name(batch),
        batch.max_timestamp_ms,
        batch.size,
        batch.magic,
        codec.name(),
        batch.crc,
        batch.check_crc().is_ok(),
    )?;
    Ok(())
}

fn print_record(
    batch: &BatchView,
    record: &Record,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let mut prefix = "| ";
    if !options.skip_record_metadata {
        let size = |bytes: &Option<bytes::Bytes>| {
            bytes
                .as_ref()
                .map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
        };
        write!(
            out,
            "| offset: {} {}: {} keySize: {} valueSize: {}",
            record.offset,
            time_name(batch),
            record.timestamp_ms,
            size(&record.key),
            size(&record.value),
        )?;
        prefix = " ";
        if batch.magic >= 2 {
            let keys: Vec<String> = record
                .headers
                .iter()
                .map(|(key, _)| java_text(&key))
                .collect();
            write!(
                out,
                " sequence: {} headerKeys: [{}]",
                record.sequence,
                keys.join(",")
            )?;
        }
        if let Some(mark) = record.message {
            // Kafka: the closing brace is Apache's slip.
            write!(
                out,
                " isValid: {} crc: {}}}",
                mark.crc == mark.crc_computed,
                mark.crc
            )?;
        }
        if batch.is_control() {
            print_control(record, out)?;
        }
    }
    if options.print_content && !batch.is_control() {
        let Shown { key, payload } = options.decoder.show(record)?;
        if let Some(key) = key {
            write!(out, "{prefix}key: {key}")?;
        }
        if let Some(payload) = payload {
            write!(out, " payload: {payload}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn print_control(record: &Record, out: &mut dyn Write) -> Result<(), Stop> {
    let key = record.key.as_deref().unwrap_or_default();
    let value = record.value.as_deref().unwrap_or_default();
    let end = |name: &str| -> Result<String, Stop> {
        let epoch = markers::read_value(value).map_err(Stop::content)?;
        Ok(format!(" endTxnMarker: {name} coordinatorEpoch: {epoch}"))
    };
    let text = match ControlKind::read(key).map_err(Stop::content)? {
        ControlKind::Abort => end("ABORT")?,
        ControlKind::Commit => end("COMMIT")?,
        ControlKind::Other(kind) => {
            let name = match kind {
                2 => "LEADER_CHANGE",
                3 => "SNAPSHOT_HEADER",
                4 => "SNAPSHOT_FOOTER",
                5 => "KRAFT_VERSION",
                6 => "KRAFT_VOTERS",
                _ => "UNKNOWN",
            };
            format!(" controlType: {name}({kind})")
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn time_name(batch: &BatchView) -> &'static str {
    match batch.timestamp_type() {
        _ if batch.magic == 0 => "NoTimestampType",
        TimestampType::Create => "CreateTime",
        TimestampType::LogAppend => "LogAppendTime",
    }
}

/// As `OptionalLong` prints itself.
pub(crate) fn optional(number: Option<i64>) -> String {
    number.map_or("OptionalLong.empty".to_owned(), |number| {
        format!("OptionalLong[{number}]")
    })
}
