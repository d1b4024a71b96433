//! Zeros ahead of the end of a busy log in the durable mode, so that its syncs are short.
//!
//! ```text
//! [ batches ........................ ][ zeros: the room ]
//!                        appends go  ^ here, into blocks the file has already
//! ```
//!
//! A sync after a write that made the file longer commits the file system's journal, and waits for
//! whatever others have in it; one after a write into blocks that are there writes those. So a log
//! that syncs often and little at a time has room; it is given back where the segment ends, where
//! the log stops, and where nothing came from one pass of upkeep to the next.
//!
//! Invariant: behind the last batch of the active segment lie zeros or nothing; every other
//! segment's file is as long as its batches, on the disk too. A crash leaves the zeros, and
//! recovery takes them for what they are. Kafka: `preallocate` leaves the same, to the same ends.

use std::io::IoSlice;

use base::disk::DiskFile;

use crate::error::{Error, Result};
use crate::files;
use crate::log::{Log, State};

/// A log is busy once so much came without a pause.
const BUSY_BYTES: u64 = 64 << 10;
/// How much is written ahead at most: one journal commit for so many bytes.
const ROOM_MAX: u64 = 1 << 20;
/// Where one sync has more than this to write, the journal's share is small and room is not worth
/// its own bytes.
const SYNC_BYTES_MAX: u64 = 64 << 10;
const BLOCK: u64 = 4096;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What lies behind the end of the active segment.
#[derive(Debug, Default)]
pub(in crate::log) struct Room {
    /// Where the zeros end; there are none where the segment's size has come to it.
    end: u64,
    /// What the log had taken ([`State::written`]) when there was no room last.
    since: u64,
    /// What it had taken at the last pass of upkeep.
    looked_at: u64,
    /// The log stops, or the disk would not have it.
    is_barred: bool,
}

impl Room {
    /// The file holds no zeros behind its batches.
    pub(in crate::log) fn none(written: u64) -> Room {
        Room {
            since: written,
            looked_at: written,
            ..Room::default()
        }
    }
}

impl Log {
    /// Before a sync: writes zeros ahead where that makes the next ones shorter.
    pub(in crate::log) fn make_room(&self, state: &mut State) {
        let config = self.config();
        let taken = state.written - state.room.since;
        if !config.is_durable()
            || state.room.is_barred
            || taken < BUSY_BYTES
            || state.written - state.synced > SYNC_BYTES_MAX
            || self.is_future()
        {
            return;
        }
        let size = state.active().size();
        let step = taken.min(ROOM_MAX);
        if state.room.end.saturating_sub(size) >= step / 8 {
            return;
        }
        let end = (size + step).next_multiple_of(BLOCK);
        let end = end.min(u64::from(config.segment_bytes));
        let from = state.room.end.max(size);
        if end <= from {
            return;
        }
        // However far the zeros come: what is behind the batches is to be given back.
        state.room.end = end;
        let written = state.active().log_file().and_then(|file| {
            let path = || state.active().path(files::LOG);
            write_zeros(&*file, from, end).map_err(|e| Error::io("write to", &path(), e))
        });
        if let Err(e) = written {
            // The appends themselves will tell whether the disk is at an end.
            tracing::debug!(partition = %self.partition, error = %e, "no room was made");
            state.room.is_barred = true;
        }
    }

    /// The file becomes as long as its batches; with `sync` on the disk too.
    pub(in crate::log) fn give_room_back(&self, state: &mut State, sync: bool) -> Result<()> {
        let active = state.active();
        if state.room.end > active.size() {
            active.cut_at_size()?;
            if sync {
                let file = active.log_file()?;
                self.directory.sync(vec![file], &self.place.path())?;
            }
        }
        state.room = Room::none(state.written);
        Ok(())
    }

    /// As [`Log::give_room_back`], and none is made again: the log is about to stop.
    pub(in crate::log) fn give_room_back_for_good(&self, state: &mut State) -> Result<()> {
        self.give_room_back(state, false)?;
        state.room.is_barred = true;
        Ok(())
    }

    /// One pass of upkeep: a log to which nothing came since the last one is not busy any more.
    pub(crate) fn give_idle_room_back(&self) -> Result<()> {
        let result = {
            let mut state = self.state.lock();
            let is_busy = state.room.looked_at != state.written;
            state.room.looked_at = state.written;
            if state.room.end == 0 || is_busy || state.condition != crate::log::Condition::Open {
                return Ok(());
            }
            self.give_room_back(&mut state, true)
        };
        self.conclude(result)
    }
}

fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<()> {
    let mut parts = Vec::new();
    let mut rest = to.saturating_sub(from);
    while rest > 0 {
        let part = usize::try_from(rest).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
        parts.push(IoSlice::new(&ZEROS[..part]));
        rest -= part as u64;
    }
    file.write_vectored_at(&mut parts, from)
}

/// Whether [from, to) is nothing but room.
pub(in crate::log) fn is_room(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<bool> {
    let mut piece = vec![0; ZEROS.len()];
    let mut at = from;
    while at < to {
        let got = file.read_at(&mut piece, at)?;
        let looked_at = usize::try_from(to - at).map_or(got, |rest| rest.min(got));
        let is_zero = piece
            .get(..looked_at)
            .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
        if got == 0 || !is_zero {
            return Ok(got == 0);
        }
        at += got as u64;
    }
    Ok(true)
}
