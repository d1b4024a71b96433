//! A segment whose offsets have outgrown its name, taken apart into several.
//!
//! Offsets in an index are relative to the segment's base and 32 bits long. Compaction of Kafka
//! before 1.0 could merge segments until the last of their offsets did not fit; whoever rebuilds
//! the index of such a segment meets it. Kafka: `LogLoader.retryOnOffsetOverflow`,
//! `UnifiedLog.splitOverflowedSegment`.
//!
//! ```text
//! 0.log.cleaned  5e9.log.cleaned     the pieces, on the disk
//! 0.log.cleaned  5e9.log.swap        renamed from the highest down: complete once none is cleaned
//! 0.log.swap     5e9.log.swap        the next look at the folder puts them in the old one's place
//! ```
//!
//! These are the names and the order in which a compaction ends, so a start that dies on the way is
//! made good by the next as that is: undone while a piece is `.cleaned`, carried through after.

use std::sync::Arc;

use base::disk::{DiskFile, Open};

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::log::Log;
use crate::scan::Heads;

const CHUNK: u64 = 1 << 20;

/// One of the segments to be: its base, and where it begins and ends in the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    base: i64,
    from: u64,
    to: u64,
}

/// Whether an index of a segment that begins at `base` can speak of `offset`.
pub(in crate::log) fn fits(base: i64, offset: i64) -> bool {
    offset - base <= i64::from(i32::MAX)
}

impl Log {
    /// Writes the pieces of the segment at `base`, which is `size` bytes long and whose offsets lie
    /// below `next`. Nothing of the log is in use yet, and its folder is looked at again afterwards.
    pub(in crate::log) fn split_overflowed(&self, base: i64, size: u64, next: i64) -> Result<()> {
        let disk = &*self.place.handles.disk;
        let path = self.place.join(&files::segment_file(base, files::LOG));
        let failed = |act| {
            let path = path.clone();
            move |e| Error::io(act, &path, e)
        };
        let file = disk.open(&path, Open::Write).map_err(failed("open"))?;
        let pieces = plan(&*file, (base, next), size).map_err(failed("read"))?;
        if pieces.len() < 2 {
            // No chain of batches leads to the one that did not fit.
            let damage = Damage::Batch { position: 0 };
            return Err(Error::corrupt("split", &path, damage));
        }
        tracing::warn!(
            path = %path.display(),
            pieces = pieces.len(),
            "the offsets in a segment do not fit its index; it is split"
        );
        let modified_ms = disk.facts(&path).map_err(failed("look at"))?.modified_ms;
        for piece in &pieces {
            self.write_piece(&*file, *piece, modified_ms)?;
        }
        for piece in pieces.iter().rev() {
            let name = files::segment_file(piece.base, files::LOG);
            let from = self.place.join(&(name.clone() + files::CLEANED));
            disk.rename(&from, &self.place.join(&(name + files::SWAP)))
                .map_err(|e| Error::io("rename", &from, e))?;
        }
        self.sync_folder()
    }

    fn write_piece(&self, old: &dyn DiskFile, piece: Piece, modified_ms: i64) -> Result<()> {
        let name = files::segment_file(piece.base, files::LOG) + files::CLEANED;
        let path = self.place.join(&name);
        let new: Arc<dyn DiskFile> = (self.place.handles.disk)
            .open(&path, Open::Create)
            .map_err(|e| Error::io("create", &path, e))?;
        copy(old, piece, &*new)
            .and_then(|()| new.set_modified_ms(modified_ms))
            .map_err(|e| Error::io("write", &path, e))?;
        self.directory.sync(vec![new], &path)
    }
}

/// Each piece takes what fits; the first keeps the old name, though it may be empty. A piece begins
/// where the one before ends, so that there is no gap between them that was none; after a hole too
/// wide for that, at its first batch. What follows the last batch that is in order goes with the
/// last piece, for the scan to judge.
fn plan(file: &dyn DiskFile, (base, next): (i64, i64), size: u64) -> std::io::Result<Vec<Piece>> {
    let mut pieces = vec![Piece {
        base,
        from: 0,
        to: size,
    }];
    let mut end = base;
    let mut heads = Heads::new(file, 0, size);
    while let Some(head) = heads.next()? {
        let Some(open) = pieces.last_mut() else { break };
        if head.first_known() < end || head.last_offset >= next {
            break;
        }
        if !fits(open.base, head.last_offset) {
            // Of v0 and v1 only the last offset is known here: a base below it holds them all.
            let first = match head.magic {
                2.. => head.base_offset,
                _ => head.last_offset - i64::from(i32::MAX),
            };
            let begins = if fits(end, head.last_offset) {
                end
            } else {
                first
            };
            let next = Piece {
                base: begins,
                from: head.position,
                to: size,
            };
            open.to = head.position;
            pieces.push(next);
        }
        end = head.last_offset + 1;
    }
    Ok(pieces)
}

fn copy(old: &dyn DiskFile, piece: Piece, new: &dyn DiskFile) -> std::io::Result<()> {
    new.truncate(0)?;
    let mut at = piece.from;
    let mut chunk = Vec::new();
    while at < piece.to {
        let len = usize::try_from((piece.to - at).min(CHUNK)).unwrap_or(0);
        chunk.resize(len, 0);
        let got = old.read_at(&mut chunk, at)?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        new.write_at(chunk.get(..got).unwrap_or_default(), at - piece.from)?;
        at += got as u64;
    }
    Ok(())
}
