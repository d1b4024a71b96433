//! Whether planned bytes are in the page cache, and bringing them there.
//!
//! Few bytes that are there are rather copied than probed and sent from the file
//! (`docs/decisions/0008-few-bytes-are-copied.md`).
//!
//! `sendfile` of a range that is not cached sleeps on the disk, and with it the worker that
//! carries hundreds of other connections. So a range is probed first, by system calls that never
//! sleep, and what is cold is warmed on a thread of its directory: the beginning of an answer's plan
//! before there is an answer, and what follows or was missed piece by piece, as it is sent.

use std::io;
use std::sync::Arc;

use base::disk::DiskFile;
use bytes::Bytes;
use storage::log::{Range, ReadPlan};

use crate::lanes::Lane;

/// How much of a plan is warmed before it is answered: so much may be sent before the client has
/// taken any of it.
const AHEAD_BYTES_MAX: usize = 4 << 20;
/// How much is sent, and warmed, at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// How far apart it is asked: twice the window in which the kernel reads ahead.
const STRIDE_BYTES: u64 = 256 * 1024;
/// For how long what was probed counts as cached: a client that takes a piece in several goes
/// costs one probing.
const KNOWN_FOR_MS: i64 = 100;

/// The plan's bytes, if all of them can be read without sleeping.
pub fn read_cached(plan: &ReadPlan) -> Option<Bytes> {
    let mut bytes = vec![0; plan.len()];
    let mut rest = &mut bytes[..];
    for Range {
        file,
        position,
        len,
    } in &plan.ranges
    {
        let (piece, behind) = rest.split_at_mut_checked(*len)?;
        if file.read_cached(piece, *position).ok()? < *len {
            return None;
        }
        rest = behind;
    }
    Some(bytes.into())
}

/// Whether the first piece of any of its ranges is cold. Then the plan's beginning is warmed before it
/// is answered.
pub fn is_cold(plan: &ReadPlan) -> bool {
    let is_cold = |range: &Range| {
        let piece = (range.len as u64).min(PIECE_BYTES);
        has_cold(&*range.file, range.position, piece)
    };
    plan.ranges.iter().any(is_cold)
}

/// Reads the plan's beginning so that it is cached. Blocks; errors are left to whoever sends.
pub fn warm(plan: &ReadPlan) {
    let mut left = AHEAD_BYTES_MAX;
    for Range {
        file,
        position,
        len,
    } in &plan.ranges
    {
        let len = (*len).min(left);
        left -= len;
        read_through(&**file, *position, len as u64);
    }
}

/// How far a range that is being sent is known to be cached, and how it gets on.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Up to where of the file that is sent just now, and at which monotonic millisecond it was.
    warm_to: Option<(u64, i64)>,
}

/// A piece that whoever sends must have warmed first.
#[derive(Clone, Debug)]
pub struct ColdPiece {
    file: Arc<dyn DiskFile>,
    position: u64,
    len: u64,
    lane: Arc<Lane>,
}

impl Ahead {
    /// At this monotonic millisecond the first piece of a range was [not cold](is_cold). Said
    /// before anything of it is sent.
    pub fn note_probed(&mut self, position: u64, len: u64, at_ms: i64) {
        self.warm_to = Some((position + len.min(PIECE_BYTES), at_ms));
    }

    /// How many bytes from here on can be sent without sleeping, or what must be warmed before.
    pub fn piece(
        &mut self,
        file: &Arc<dyn DiskFile>,
        position: u64,
        len: u64,
        lane: &Arc<Lane>,
    ) -> Result<u64, ColdPiece> {
        let now_ms = lane.clock().monotonic_ms();
        if let Some((to, since_ms)) = self.warm_to
            && to > position
            && now_ms - since_ms < KNOWN_FOR_MS
        {
            return Ok(len.min(to - position));
        }
        let len = len.min(PIECE_BYTES);
        if has_cold(&**file, position, len) {
            return Err(ColdPiece {
                file: Arc::clone(file),
                position,
                len,
                lane: Arc::clone(lane),
            });
        }
        self.warm_to = Some((position + len, now_ms));
        Ok(len)
    }

    /// That piece has been warmed: it is sent without another look at first, whatever became of it.
    pub fn note_warm(&mut self, piece: &ColdPiece) {
        let now_ms = piece.lane.clock().monotonic_ms();
        self.warm_to = Some((piece.position + piece.len, now_ms));
    }

    /// Another file is next.
    pub fn forget(&mut self) {
        self.warm_to = None;
    }
}

impl ColdPiece {
    /// Warms it on a thread of its directory.
    pub async fn warm(self) -> io::Result<ColdPiece> {
        let lane = Arc::clone(&self.lane);
        let warming = move || {
            read_through(&*self.file, self.position, self.len);
            self
        };
        lane.run_read(warming).await.map_err(io::Error::other)
    }
}

fn has_cold(file: &dyn DiskFile, position: u64, len: u64) -> bool {
    let strides = (0..len).step_by(STRIDE_BYTES as usize);
    let mut offsets = strides.chain(len.checked_sub(1));
    offsets.any(|offset| !file.is_cached(position + offset))
}

fn read_through(file: &dyn DiskFile, position: u64, len: u64) {
    let mut scratch = vec![0; len.min(STRIDE_BYTES) as usize];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(STRIDE_BYTES) as usize;
        match file.read_at(&mut scratch[..want], position + done) {
            Ok(got) if got > 0 => done += got as u64,
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use base::clock::Clock;
    use base::disk::{Disk, Open};
    use base::faulty_disk::FaultyDisk;

    use crate::lanes::LaneTable;

    #[test]
    fn what_was_probed_is_known_for_a_while_and_for_a_piece() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/log"), Open::Create).unwrap();
        file.write_at(&vec![0; 3 << 20], 0).unwrap();
        let clock = Clock::by_hand(0);
        let lane = LaneTable::new(clock.clone(), 2).lane(Path::new("/"));
        disk.freeze("/log");
        let mut ahead = Ahead::default();
        let asked = |ahead: &mut Ahead, position| ahead.piece(&file, position, 2 << 20, &lane);
        assert!(asked(&mut ahead, 0).is_err());
        ahead.note_probed(0, 3 << 20, 0);
        assert_eq!(asked(&mut ahead, 0).unwrap(), PIECE_BYTES);
        assert!(asked(&mut ahead, PIECE_BYTES).is_err());
        clock.advance(KNOWN_FOR_MS);
        assert!(asked(&mut ahead, 0).is_err());
    }
}
