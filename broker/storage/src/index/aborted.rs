//! `.txnindex`: the aborted transactions of a segment, by the offset of their marker. The file exists
//! only where there is one.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::index::{At, Glance, IndexFile};

pub(crate) const ENTRY: usize = 34;
const VERSION: i16 = 0;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AbortedEntry {
    pub(crate) producer: i64,
    pub(crate) first_offset: i64,
    /// Of the marker.
    pub(crate) last_offset: i64,
    /// The last stable offset once this transaction was over.
    pub(crate) last_stable_offset: i64,
}

impl AbortedEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        entry[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields = [
            self.producer,
            self.first_offset,
            self.last_offset,
            self.last_stable_offset,
        ];
        for (place, field) in entry[2..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        entry
    }

    /// `None` for a version we do not know and for offsets that cannot be.
    pub(crate) fn decode(entry: &[u8; ENTRY]) -> Option<AbortedEntry> {
        let (version, fields) = entry.split_at(2);
        if version != VERSION.to_be_bytes() {
            return None;
        }
        let mut numbers = fields
            .chunks_exact(8)
            .map(|field| field.try_into().map(i64::from_be_bytes).unwrap_or(-1));
        let entry = AbortedEntry {
            producer: numbers.next()?,
            first_offset: numbers.next()?,
            last_offset: numbers.next()?,
            last_stable_offset: numbers.next()?,
        };
        (0 <= entry.first_offset && entry.first_offset <= entry.last_offset).then_some(entry)
    }

    /// What holds of every transaction, beside what [`AbortedEntry::decode`] asks for. The stable offset
    /// may lie well above the marker: a follower of Apache's knows all transactions that begin in what
    /// it was sent at once before it ends the first of them.
    fn can_be(&self) -> bool {
        self.producer >= 0 && self.last_stable_offset >= 0
    }
}

#[derive(Debug)]
pub(crate) struct AbortedIndex {
    pub(crate) file: IndexFile<ENTRY>,
}

impl AbortedIndex {
    pub(crate) fn new(file: IndexFile<ENTRY>) -> Self {
        AbortedIndex { file }
    }

    /// Written through: they are few, and a reader of committed records depends on each. The caller
    /// has asked for their number.
    pub(crate) fn push(&mut self, at: At<'_>, entry: &AbortedEntry) -> Result<()> {
        let pushed = self.file.push(at, entry.encode());
        match pushed.and_then(|()| self.file.write_out(at)) {
            // It waits in memory, where readers find it too, with however many others.
            Err(Error::TooManyFiles { .. }) => Ok(()),
            other => other,
        }
    }

    /// Whether every entry can be true of a segment that has its markers among `markers`: where not,
    /// it is scanned again.
    pub(crate) fn is_sound(&mut self, at: At<'_>, markers: &Range<i64>) -> Result<bool> {
        let mut count = 0;
        visit(&self.file.glance(), at, |entry| {
            let can_be = entry.can_be() && markers.contains(&entry.last_offset);
            count += u32::from(can_be);
            can_be
        })?;
        Ok(count == self.file.len(at)?)
    }

    /// Drops transactions that ended at or above `offset`.
    pub(crate) fn truncate_to(&mut self, at: At<'_>, offset: i64) -> Result<()> {
        let keep = self.count_below(at, offset)?;
        self.file.truncate(at, keep)
    }

    /// All entries will be pushed again, and [`AbortedIndex::end_anew`] follows. Until then those that are
    /// not there yet stay in the file: who dies on the way leaves no index that looks sound and lacks some.
    pub(crate) fn begin_anew(&mut self, at: At<'_>) {
        self.file.write_over(at);
    }

    /// Nothing stays in the file but what was pushed.
    pub(crate) fn end_anew(&mut self, at: At<'_>) -> Result<()> {
        self.file.write_out(at)?;
        let len = self.file.len(at)?;
        self.file.truncate(at, len)
    }

    /// A spoilt entry among those below stays with them, or the next start would find a sound index that
    /// lacks what followed it.
    fn count_below(&self, at: At<'_>, offset: i64) -> Result<u32> {
        let (mut number, mut count) = (0, 0);
        self.file.glance().visit(at, |entry| {
            number += 1;
            match AbortedEntry::decode(entry) {
                Some(entry) if entry.last_offset >= offset => false,
                Some(_) => {
                    count = number;
                    true
                }
                None => true,
            }
        })?;
        Ok(count)
    }
}

/// Hands over all entries, as far as they can be read and rise, until one is not wanted.
pub(crate) fn visit(
    entries: &Glance<ENTRY>,
    at: At<'_>,
    mut is_wanted: impl FnMut(AbortedEntry) -> bool,
) -> Result<Option<u32>> {
    let mut last_offset = -1;
    entries.visit(at, |entry| match AbortedEntry::decode(entry) {
        Some(entry) if entry.last_offset > last_offset => {
            last_offset = entry.last_offset;
            is_wanted(entry)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_what_they_write_and_refuse_other_versions() {
        let entry = AbortedEntry {
            producer: 7,
            first_offset: 10,
            last_offset: 20,
            last_stable_offset: 21,
        };
        let mut bytes = entry.encode();
        assert_eq!(AbortedEntry::decode(&bytes), Some(entry));
        bytes[1] = 1;
        assert_eq!(AbortedEntry::decode(&bytes), None);
    }

    #[test]
    fn an_entry_of_a_follower_can_be_and_one_below_zero_cannot() {
        let entry = AbortedEntry {
            producer: 7,
            first_offset: 3,
            last_offset: 10,
            last_stable_offset: 16,
        };
        assert!(entry.can_be());
        let spoilt = [
            AbortedEntry {
                producer: -1,
                ..entry
            },
            AbortedEntry {
                last_stable_offset: -1,
                ..entry
            },
        ];
        assert!(spoilt.iter().all(|entry| !entry.can_be()));
    }
}
