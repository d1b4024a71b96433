//! The files beside a log: indexes, compared with it, and what is known of producers and epochs.

use std::io::Write;

use protocol::batch::NO_TIMESTAMP;
use storage::inspect::{
    OffsetEntry, aborted_entries, offset_entries, producer_entries, time_entries,
};

use crate::dump_log::files::DumpedFile;
use crate::dump_log::log::{DECOMPRESSED_BYTES_MAX, optional};
use crate::dump_log::options::Options;
use crate::dump_log::{Faults, Stop};

pub(crate) fn dump_offsets(
    file: &DumpedFile,
    options: &Options,
    faults: &mut Faults,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let base = file.base()?;
    let log = file.sibling(".log");
    let log_file = log.open()?;
    let bytes = file.read()?;
    let entries: Vec<OffsetEntry> = offset_entries(&bytes, base).collect();
    let Some(last) = entries.last() else {
        writeln!(out, "{file} is empty.")?;
        return Ok(());
    };
    if options.sanity_only {
        if last.offset < base {
            return Err(corrupt(
                file,
                &format!(
                    "which has non-zero size but the last offset is {} which is less than the base offset {base}",
                    last.offset
                ),
            ));
        }
        check_length(file, bytes.len(), 8)?;
        writeln!(out, "{file} passed sanity check.")?;
        return Ok(());
    }
    for (number, entry) in entries.iter().enumerate() {
        // Room that was made and never used reads as zeros.
        if entry.offset == base && number > 0 {
            return Ok(());
        }
        let position = u64::try_from(entry.position)
            .map_err(|_| Stop::Content(format!("Invalid position: {} in read", entry.position)))?;
        let end = position.saturating_add(options.max_message_bytes);
        let mut walk = log.walk(log_file.clone(), position, end)?;
        let Some((_, batch)) = walk.step().map_err(|e| log.walk_stop(e))? else {
            return Err(Stop::Content(format!(
                "no batch at position {position} of {log}, where {file} points to"
            )));
        };
        if batch.last_offset().0 != entry.offset {
            faults
                .offset_index
                .note(file, (entry.offset, batch.last_offset().0));
        }
        if !options.verify_only {
            writeln!(out, "offset: {} position: {}", entry.offset, entry.position)?;
        }
    }
    Ok(())
}

pub(crate) fn dump_times(
    file: &DumpedFile,
    options: &Options,
    faults: &mut Faults,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let base = file.base()?;
    let log = file.sibling(".log");
    let log_file = log.open()?;
    let index = file.sibling(".index").read_if_there()?;
    let positions: Vec<OffsetEntry> = offset_entries(&index, base).collect();
    let bytes = file.read()?;
    if options.sanity_only {
        check_times(file, &bytes, base)?;
        writeln!(out, "{file} passed sanity check.")?;
        return Ok(());
    }
    let mut previous_ms = NO_TIMESTAMP;
    for (number, entry) in time_entries(&bytes, base).enumerate() {
        if entry.offset == base && number > 0 {
            return Ok(());
        }
        let below = positions.partition_point(|known| known.offset <= entry.offset);
        let position = below.checked_sub(1).map_or(0, |at| positions[at].position);
        let position = u64::try_from(position).unwrap_or(0);
        let mut walk = log.walk(log_file.clone(), position, u64::MAX)?;
        let found = loop {
            match walk.step().map_err(|e| log.walk_stop(e))? {
                Some((_, batch)) if batch.last_offset().0 < entry.offset => {}
                other => break other,
            }
        };
        match found {
            None => faults.offsets_not_found.note(file, (entry.offset, -1)),
            Some((_, batch)) if batch.last_offset().0 != entry.offset => {
                faults
                    .offsets_not_found
                    .note(file, (entry.offset, batch.last_offset().0));
            }
            Some((_, batch)) => {
                let mut largest_ms = NO_TIMESTAMP;
                for record in batch
                    .records(DECOMPRESSED_BYTES_MAX)
                    .map_err(Stop::content)?
                {
                    largest_ms = largest_ms.max(record.map_err(Stop::content)?.timestamp_ms);
                }
                if largest_ms != entry.timestamp_ms {
                    faults
                        .time_mismatches
                        .note(file, (entry.timestamp_ms, largest_ms));
                }
                if previous_ms >= entry.timestamp_ms {
                    faults
                        .time_disorder
                        .note(file, (entry.timestamp_ms, previous_ms));
                }
            }
        }
        if !options.verify_only {
            writeln!(
                out,
                "timestamp: {} offset: {}",
                entry.timestamp_ms, entry.offset
            )?;
        }
        previous_ms = entry.timestamp_ms;
    }
    Ok(())
}

fn check_times(file: &DumpedFile, bytes: &[u8], base: i64) -> Result<(), Stop> {
    let mut entries = time_entries(bytes, base);
    if let Some(first) = entries.next() {
        let last = entries.next_back().unwrap_or(first);
        if last.timestamp_ms < first.timestamp_ms {
            return Err(corrupt(
                file,
                &format!(
                    "which has non-zero size but the last timestamp is {} which is less than the first timestamp {}",
                    last.timestamp_ms, first.timestamp_ms
                ),
            ));
        }
        if last.offset < base {
            return Err(corrupt(
                file,
                &format!(
                    "which has non-zero size but the last offset is {} which is less than the first offset {base}",
                    last.offset
                ),
            ));
        }
    }
    check_length(file, bytes.len(), 12)
}

fn check_length(file: &DumpedFile, len: usize, entry: usize) -> Result<(), Stop> {
    if len.is_multiple_of(entry) {
        return Ok(());
    }
    Err(corrupt(
        file,
        &format!("has {len} bytes which is neither positive nor a multiple of {entry}"),
    ))
}

fn corrupt(file: &DumpedFile, what: &str) -> Stop {
    Stop::Content(format!(
        "Corrupt index found, index file ({}) {what}.",
        file.absolute()
    ))
}

pub(crate) fn dump_aborted(file: &DumpedFile, out: &mut dyn Write) -> Result<(), Stop> {
    file.base()?;
    for entry in aborted_entries(&file.read()?) {
        if entry.version > 0 {
            return Err(Stop::Content(format!(
                "Unexpected aborted transaction version {} in transaction index {}, current version is 0",
                entry.version,
                file.absolute()
            )));
        }
        writeln!(
            out,
            "version: {} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            entry.version,
            entry.producer_id,
            entry.first_offset,
            entry.last_offset,
            entry.last_stable_offset
        )?;
    }
    Ok(())
}

pub(crate) fn dump_producers(
    file: &DumpedFile,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Stop> {
    let entries = match producer_entries(&file.read()?) {
        Ok(entries) => entries,
        Err(fault) => {
            out.flush()?;
            writeln!(err, "{fault}")?;
            return Ok(());
        }
    };
    for entry in entries {
        write!(
            out,
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} \
             lastTimestamp: {} ",
            entry.producer_id,
            entry.producer_epoch,
            entry.coordinator_epoch,
            optional(
                (entry.current_txn_first_offset >= 0).then_some(entry.current_txn_first_offset)
            ),
            entry.timestamp_ms
        )?;
        // Kafka: a producer of which only markers were seen has no batch to tell of.
        if entry.last_offset >= 0 {
            let back = entry.last_sequence.wrapping_sub(entry.offset_delta);
            let first = if entry.last_sequence < entry.offset_delta {
                back.wrapping_add(i32::MAX).wrapping_add(1)
            } else {
                back
            };
            write!(
                out,
                "firstSequence: {first} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                entry.last_sequence, entry.last_offset, entry.offset_delta, entry.timestamp_ms
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Apache's tool passes over this file; ours shows what it holds.
pub(crate) fn dump_epochs(file: &DumpedFile, out: &mut dyn Write) -> Result<(), Stop> {
    let bytes = file.read()?;
    let text = String::from_utf8_lossy(&bytes);
    for line in text.lines().skip(2) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(epoch), Some(start), None) => {
                writeln!(out, "epoch: {epoch} startOffset: {start}")?;
            }
            _ => {
                return Err(Stop::Content(format!(
                    "Malformed line in checkpoint file ({file}): '{line}'"
                )));
            }
        }
    }
    Ok(())
}
