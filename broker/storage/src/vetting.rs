//! Bytes that were in a segment before this start are looked at once, when they are first read.
//!
//! ```text
//! [ seen: read before ][ unseen ][ seen ][ unseen ]|[ appended since: checked at the door ]
//! ```
//!
//! What is held against what: each batch's checksum; and for the fields no checksum covers, the order:
//! offsets and epochs rise from the batch before to the batch after. A disk that spoils a byte after it
//! was looked at is not noticed before the next start.
//!
//! Kafka: a broker serves what it finds, and each consumer meets the damage for itself.

use base::disk::DiskFile;
use smallvec::SmallVec;

use crate::error::Damage;
use crate::scan::{Batches, Head, Heads};

/// The ranges nobody has looked at, in order; both ends of each are borders of batches.
#[derive(Debug, Default)]
pub(crate) struct Unseen(SmallVec<[(u64, u64); 1]>);

impl Unseen {
    pub(crate) fn whole(size: u64) -> Unseen {
        Unseen((size > 0).then_some((0, size)).into_iter().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first unseen range that begins below `to` and ends above `from`.
    pub(crate) fn first_in(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let found = self.0.iter().find(|(low, high)| *low < to && *high > from);
        found.copied()
    }

    /// [from, to) has been looked at.
    pub(crate) fn note_seen(&mut self, from: u64, to: u64) {
        let rest = self.0.iter().flat_map(|&(low, high)| {
            let below = (low, high.min(from));
            let above = (low.max(to), high);
            [below, above].into_iter().filter(|(low, high)| low < high)
        });
        self.0 = rest.collect();
    }

    /// The file ends at `size`: what is written behind it is known.
    pub(crate) fn cut(&mut self, size: u64) {
        self.note_seen(size, u64::MAX);
    }
}

/// What is known of the surroundings of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// No batch begins below.
    pub(crate) base: i64,
    /// No batch reaches it.
    pub(crate) end: i64,
    /// No batch is of a later epoch; −1: not known.
    pub(crate) epoch: i32,
    /// The bytes of the file.
    pub(crate) size: u64,
}

/// Why a range cannot be served: bytes that are wrong, or a disk that does not answer.
pub(crate) enum Fault {
    Damage(Damage),
    Disk(std::io::Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::Disk(error)
    }
}

/// Looks at all batches that lie wholly in [from, to); gives where they end.
pub(crate) fn vet(file: &dyn DiskFile, from: u64, to: u64, bounds: Bounds) -> Result<u64, Fault> {
    let mut before = Before {
        next: bounds.base,
        epoch: -1,
    };
    let mut batches = Batches::new(file, from, to);
    while let Some((head, _)) = batches.read_next()? {
        before.admit(&head, &bounds)?;
    }
    let reached = batches.position();
    // What follows must follow; and where the range ended early, it must be for its size.
    match Heads::new(file, reached, bounds.size).next()? {
        Some(head) => {
            if reached + head.size as u64 <= to {
                return Err(Fault::Damage(Damage::Batch { position: reached }));
            }
            before.admit(&head, &bounds)?;
        }
        None if reached < bounds.size => {
            return Err(Fault::Damage(Damage::Batch { position: reached }));
        }
        None => {}
    }
    Ok(reached)
}

/// What the batches so far leave for the next.
struct Before {
    next: i64,
    epoch: i32,
}

impl Before {
    fn admit(&mut self, head: &Head, bounds: &Bounds) -> Result<(), Fault> {
        let misplaced = |found, expected| Fault::Damage(Damage::OffsetOrder { expected, found });
        if head.base_offset < self.next {
            return Err(misplaced(head.base_offset, self.next));
        }
        if head.last_offset >= bounds.end {
            return Err(misplaced(head.last_offset, bounds.end));
        }
        self.next = head.last_offset + 1;
        if head.magic < 2 || head.leader_epoch == -1 {
            return Ok(());
        }
        let is_late = bounds.epoch >= 0 && head.leader_epoch > bounds.epoch;
        if head.leader_epoch < self.epoch || head.leader_epoch < 0 || is_late {
            return Err(Fault::Damage(Damage::Batch {
                position: head.position,
            }));
        }
        self.epoch = head.leader_epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_not_looked_at_again() {
        let mut unseen = Unseen::whole(100);
        assert_eq!(unseen.first_in(40, 60), Some((0, 100)));
        unseen.note_seen(40, 60);
        assert_eq!(unseen.first_in(40, 60), None);
        assert_eq!(unseen.first_in(30, 60), Some((0, 40)));
        assert_eq!(unseen.first_in(50, 70), Some((60, 100)));
        unseen.cut(70);
        assert_eq!(unseen.first_in(70, 200), None);
        unseen.note_seen(0, 70);
        assert!(unseen.is_empty());
        assert!(Unseen::whole(0).is_empty());
    }
}
