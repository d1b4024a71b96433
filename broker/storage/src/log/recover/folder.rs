//! A replica's folder as it is found: what lies in it, what a crash left half done, what is nobody's.
//!
//! Kafka: `LogLoader.removeTempFilesAndCollectSwapFiles`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::disk::Disk;
use protocol::ids::TopicId;

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::scan::Heads;
use crate::segment::KINDS;

/// What lies in a replica's folder.
#[derive(Debug, Default)]
pub(in crate::log::recover) struct Folder {
    /// Base offset → size.
    pub(in crate::log::recover) logs: BTreeMap<i64, u64>,
    pub(in crate::log::recover) offset_indexes: Vec<i64>,
    pub(in crate::log::recover) txn_indexes: Vec<i64>,
    pub(in crate::log::recover) snapshots: Vec<i64>,
    /// Of segments whose bytes were being put in the place of others.
    pub(in crate::log::recover) swapped: BTreeSet<i64>,
    /// Of segments that stand in the place of others, which wait to be removed.
    pub(in crate::log::recover) replaced: BTreeSet<i64>,
    pub(in crate::log::recover) has_epochs: bool,
    pub(in crate::log::recover) has_topic_id: bool,
}

/// Lists the folder, ends what a crash left half done, and removes what is nobody's.
pub(in crate::log::recover) fn sort_folder(disk: &dyn Disk, path: &Path) -> Result<Folder> {
    let mut names = list(disk, path)?;
    let mut folder = Folder::default();
    if names.iter().any(|name| has_ending(name)) {
        folder.swapped = logs_with(&names, files::SWAP);
        folder.replaced = replaced(disk, path, &names)?;
        end_swaps(disk, path, &names)?;
        names = list(disk, path)?;
    }
    for name in &names {
        if let Some(base) = files::parse_base(name, files::LOG) {
            let file = path.join(name);
            let facts = disk
                .facts(&file)
                .map_err(|e| Error::io("look at", &file, e))?;
            folder.logs.insert(base, facts.len);
        } else if let Some(at) = files::parse_base(name, files::SNAPSHOT) {
            folder.snapshots.push(at);
        }
        folder.has_epochs |= name == files::LEADER_EPOCH_CHECKPOINT;
        folder.has_topic_id |= name == files::PARTITION_METADATA;
    }
    folder.snapshots.sort_unstable();
    for name in &names {
        let indexes = [files::OFFSET_INDEX, files::TIME_INDEX, files::TXN_INDEX];
        let Some((kind, base)) = indexes
            .into_iter()
            .find_map(|kind| Some((kind, files::parse_base(name, kind)?)))
        else {
            continue;
        };
        if !folder.logs.contains_key(&base) {
            // Kafka: an index without its log is of no use.
            remove(disk, &path.join(name))?;
        } else if kind == files::OFFSET_INDEX {
            folder.offset_indexes.push(base);
        } else if kind == files::TXN_INDEX {
            folder.txn_indexes.push(base);
        }
    }
    Ok(folder)
}

fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<String>> {
    let entries = disk.list(path).map_err(|e| Error::io("list", path, e))?;
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .map(|entry| entry.name)
        .collect())
}

fn has_ending(name: &str) -> bool {
    [
        files::DELETED,
        files::CLEANED,
        files::SWAP,
        files::TEMPORARY,
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

/// The bases of logs under another ending.
fn logs_with(names: &[String], ending: &str) -> BTreeSet<i64> {
    let plain = names.iter().filter_map(|name| name.strip_suffix(ending));
    plain
        .filter_map(|name| files::parse_base(name, files::LOG))
        .collect()
}

/// The bases of logs that stand in the place of those that are called deleted.
///
/// A truncation calls files so too, and the log may go on in a new one of the same name. But what
/// is only rewritten is no younger than the last it was made of, and what is new is: it was written
/// after the others were put away.
/// Kafka: `Cleaner.cleanSegments` and `UnifiedLog.splitOverflowedSegment` set the time so too.
fn replaced(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<BTreeSet<i64>> {
    let facts = |base: i64, ending: &str| {
        let name = files::segment_file(base, files::LOG) + ending;
        let file = path.join(&name);
        disk.facts(&file)
            .map_err(|e| Error::io("look at", &file, e))
    };
    let (plain, deleted) = (logs_with(names, ""), logs_with(names, files::DELETED));
    let mut found = BTreeSet::new();
    for base in deleted.intersection(&plain) {
        let next = plain.range(base + 1..).next().copied();
        let mut youngest_ms = i64::MIN;
        for old in deleted.range(base..&next.unwrap_or(i64::MAX)) {
            youngest_ms = youngest_ms.max(facts(*old, files::DELETED)?.modified_ms);
        }
        if facts(*base, "")?.modified_ms <= youngest_ms {
            found.insert(*base);
        }
    }
    Ok(found)
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.remove_file(path)
        .map_err(|e| Error::io("remove", path, e))
}

/// Kafka: `LogLoader.removeTempFilesAndCollectSwapFiles`. A swap that was complete (no `.cleaned`
/// at or below it) is carried through, any other is undone.
fn end_swaps(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<()> {
    let base_of = |name: &str, ending: &str| {
        let plain = name.strip_suffix(ending)?;
        KINDS.iter().find_map(|kind| files::parse_base(plain, kind))
    };
    let cleaned_min = names
        .iter()
        .filter_map(|name| base_of(name, files::CLEANED))
        .min();
    let mut swaps = Vec::new();
    // What says that a swap is to be undone goes last: who dies on the way must find it again.
    let (cleaned, others): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| name.ends_with(files::CLEANED));
    for name in others.into_iter().chain(cleaned) {
        let undone = match base_of(name, files::SWAP) {
            Some(base) => cleaned_min.is_some_and(|min| base >= min),
            None => {
                name.ends_with(files::CLEANED)
                    || name.ends_with(files::DELETED)
                    || name.ends_with(files::TEMPORARY)
            }
        };
        if undone {
            remove(disk, &path.join(name))?;
        } else if let Some(base) = base_of(name, files::SWAP) {
            swaps.push((base, name.as_str()));
        }
    }
    for (base, name) in &swaps {
        if !name.ends_with(&format!("{}{}", files::LOG, files::SWAP)) {
            continue;
        }
        let end = swap_end(disk, &path.join(name), *base)?;
        for other in names {
            let replaced = KINDS.iter().find_map(|kind| files::parse_base(other, kind));
            if replaced.is_some_and(|other| (*base..end.max(base + 1)).contains(&other)) {
                remove(disk, &path.join(other))?;
            }
        }
    }
    for (_, name) in &swaps {
        let plain = name.strip_suffix(files::SWAP).unwrap_or(name);
        base::durable::rename(disk, &path.join(name), &path.join(plain))
            .map_err(|e| Error::io("rename", &path.join(name), e))?;
    }
    Ok(())
}

/// Where the log in a swap file ends.
fn swap_end(disk: &dyn Disk, path: &Path, base: i64) -> Result<i64> {
    let failed = |e| Error::io("read", path, e);
    let file = disk.open(path, base::disk::Open::Read).map_err(failed)?;
    let mut heads = Heads::new(&*file, 0, file.len().map_err(failed)?);
    let mut end = base;
    while let Some(head) = heads.next().map_err(failed)? {
        end = end.max(head.last_offset + 1);
    }
    Ok(end)
}

/// The topic's id, out of `partition.metadata`.
pub(crate) fn read_topic_id(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>> {
    let bytes = disk
        .read_small(path, 4096)
        .map_err(|e| Error::io("read", path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    let wrong = |line| Error::corrupt("read", path, Damage::Line { line });
    let mut lines = text.lines();
    if lines
        .next()
        .and_then(|line| line.strip_prefix("version:"))
        .map(str::trim)
        != Some("0")
    {
        return Err(wrong(1));
    }
    let id = lines
        .next()
        .and_then(|line| line.strip_prefix("topic_id:"))
        .map(str::trim);
    let id = id
        .and_then(TopicId::parse)
        .filter(|id| !id.is_zero())
        .ok_or_else(|| wrong(2))?;
    Ok(Some(id))
}
