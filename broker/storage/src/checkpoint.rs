//! The text checkpoint files: a version, a count, then one entry a line.
//!
//! Kafka: `CheckpointFile`. A file of no bytes holds no entries; anything else that is not exactly
//! right is an error, never a shorter list.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use base::disk::Disk;
use base::durable;
use protocol::ids::{Offset, TopicPartition};

use crate::error::{Damage, Error, Result};
use crate::files::CHECKPOINT_BYTES_MAX;

const VERSION: &str = "0";

/// `topic partition offset` a line.
pub type PartitionOffsets = BTreeMap<TopicPartition, Offset>;

/// The entries of a checkpoint of partitions; none where the file is missing.
pub fn read_partition_offsets(disk: &dyn Disk, path: &Path) -> Result<PartitionOffsets> {
    let mut offsets = PartitionOffsets::new();
    let Some(text) = read_text(disk, path)? else {
        return Ok(offsets);
    };
    parse(&text, path, |words| {
        let [topic, partition, offset] = *words else {
            return None;
        };
        let partition = partition
            .parse()
            .ok()
            .filter(|partition: &i32| *partition >= 0)?;
        offsets.insert(
            TopicPartition::new(topic, partition),
            Offset(offset.parse().ok()?),
        );
        Some(())
    })?;
    Ok(offsets)
}

/// The bytes of a checkpoint of partitions.
pub fn encode_partition_offsets<'a>(
    offsets: impl ExactSizeIterator<Item = (&'a TopicPartition, Offset)>,
) -> Vec<u8> {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for (tp, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", tp.topic, tp.partition);
    }
    text.into_bytes()
}

/// Replaces a checkpoint of partitions; it survives a power cut once this returns.
pub fn write_partition_offsets(
    disk: &dyn Disk,
    path: &Path,
    offsets: &PartitionOffsets,
) -> Result<()> {
    let bytes = encode_partition_offsets(offsets.iter().map(|(tp, offset)| (tp, *offset)));
    durable::replace(disk, path, &bytes).map_err(|e| Error::io("write", path, e))
}

/// `epoch startOffset` a line, as they stand.
pub(crate) fn read_epochs(disk: &dyn Disk, path: &Path) -> Result<Vec<(i32, i64)>> {
    let mut epochs = Vec::new();
    let Some(text) = read_text(disk, path)? else {
        return Ok(epochs);
    };
    parse(&text, path, |words| {
        let [epoch, start] = *words else { return None };
        epochs.push((epoch.parse().ok()?, start.parse().ok()?));
        Some(())
    })?;
    Ok(epochs)
}

pub(crate) fn encode_epochs(epochs: &[(i32, i64)]) -> Vec<u8> {
    let mut text = format!("{VERSION}\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        let _ = writeln!(text, "{epoch} {start}");
    }
    text.into_bytes()
}

fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>> {
    let bytes = match disk.read_small(path, CHECKPOINT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Error::corrupt("read", path, Damage::Line { line: 1 }))
}

fn parse(text: &str, path: &Path, mut entry: impl FnMut(&[&str]) -> Option<()>) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let wrong = |line| Error::corrupt("read", path, Damage::Line { line });
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some(VERSION) {
        return Err(wrong(1));
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| wrong(2))?;
    let mut seen = 0;
    for line in lines {
        let words: smallvec::SmallVec<[&str; 3]> = line.split_whitespace().collect();
        entry(&words).ok_or_else(|| wrong(seen + 3))?;
        seen += 1;
    }
    if seen == count {
        Ok(())
    } else {
        Err(wrong(seen + 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::SystemDisk;

    #[test]
    fn a_checkpoint_reads_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let offsets = PartitionOffsets::from([
            (TopicPartition::new("a-b", 0), Offset(7)),
            (TopicPartition::new("c", 12), Offset(0)),
        ]);
        assert!(
            read_partition_offsets(&SystemDisk, &path)
                .unwrap()
                .is_empty()
        );
        write_partition_offsets(&SystemDisk, &path, &offsets).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0\n2\na-b 0 7\nc 12 0\n");
        assert_eq!(read_partition_offsets(&SystemDisk, &path).unwrap(), offsets);
    }

    #[test]
    fn anything_not_exactly_right_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        for junk in [
            "1\n0\n",
            "0\n2\na 0 7\n",
            "0\n1\na 0\n",
            "0\n1\na 0 7 8\n",
            "0\n",
            "0\nx\n",
            "0\n1\n\n",
        ] {
            std::fs::write(&path, junk).unwrap();
            assert!(
                read_partition_offsets(&SystemDisk, &path).is_err(),
                "{junk:?}"
            );
        }
        std::fs::write(&path, "").unwrap();
        assert!(
            read_partition_offsets(&SystemDisk, &path)
                .unwrap()
                .is_empty()
        );
    }
}
