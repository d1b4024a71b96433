//! Producers as they were at an offset: the newest good snapshot, then the heads after it.

use base::disk::DiskFile;

use crate::error::{Error, Result};
use crate::files;
use crate::log::{Log, State};
use crate::producer_snapshot;
use crate::producers::{Producers, read_marker};
use crate::scan::{Head, Heads};
use crate::segment::Segment;

impl Log {
    /// Kafka: of the snapshots that belong to no segment only the newest, above the last base, stays.
    pub(in crate::log::recover) fn remove_stray_snapshots(&self, state: &mut State) -> Result<()> {
        let bases: Vec<i64> = state
            .segments
            .iter()
            .map(|segment| segment.base_offset())
            .collect();
        let last = bases.last().copied().unwrap_or(0);
        let newest = state
            .snapshots
            .iter()
            .rfind(|at| !bases.contains(at))
            .copied();
        self.remove_snapshots(state, |at| {
            !bases.contains(&at) && (Some(at) != newest || at < last)
        })
    }

    /// The log ends at `upto`, and so do its producers.
    pub(in crate::log) fn rebuild_producers(&self, state: &mut State, upto: i64) -> Result<()> {
        self.remove_snapshots(state, |at| at > upto)?;
        state.producers = self.producers_at(state, upto)?;
        Ok(())
    }

    /// The producers as they were at `upto`: the newest good snapshot, then the heads after it. Of what
    /// is above nothing is looked at.
    pub(in crate::log) fn producers_at(&self, state: &mut State, upto: i64) -> Result<Producers> {
        let now_ms = self.clock.wall_ms();
        let mut producers = None;
        while let Some(at) = state.snapshots.iter().rfind(|at| **at <= upto).copied() {
            let path = self.place.join(&files::segment_file(at, files::SNAPSHOT));
            if let Some(entries) = producer_snapshot::read(&*self.place.handles.disk, &path)? {
                let expiration_ms = self.producer_expiration_ms;
                producers = Some(Producers::from_snapshot(at, entries, now_ms, expiration_ms));
                break;
            }
            tracing::warn!(path = %path.display(), "a producer snapshot is damaged; using the one before");
            self.remove_snapshots(state, |other| other == at)?;
        }
        let mut producers = producers.unwrap_or_else(|| {
            let first = state
                .segments
                .first()
                .map_or(0, |segment| segment.base_offset());
            Producers::starting_at(first.min(upto))
        });
        let from = producers.end;
        if from < upto {
            let first = state.segment_index(from);
            for segment in state.segments.iter().skip(first) {
                if segment.base_offset() < upto {
                    replay_segment(&mut producers, segment, from, upto)?;
                }
            }
        }
        producers.end = upto;
        Ok(producers)
    }
}

/// Replays the heads of one segment that lie in [from, upto).
fn replay_segment(
    producers: &mut Producers,
    segment: &Segment,
    from: i64,
    upto: i64,
) -> Result<()> {
    let path = segment.path(files::LOG);
    let size = segment.size();
    let Some(first) = segment.find(from, size)? else {
        return Ok(());
    };
    let file = segment.log_file()?;
    let mut heads = Heads::new(&*file, first.position, size);
    while let Some(head) = heads.next().map_err(|e| Error::io("read", &path, e))? {
        if head.base_offset >= upto {
            break;
        }
        if head.producer < 0 || head.last_offset < from {
            continue;
        }
        if !head.is_control() {
            producers.note_batch(&head);
            continue;
        }
        let marker = read_batch(&*file, &head).map_err(|e| Error::io("read", &path, e))?;
        if let Some(marker) = read_marker(&marker, &head)
            && let Some(done) = producers.note_marker(&head, &marker)
        {
            producers.complete(&done);
        }
    }
    Ok(())
}

fn read_batch(file: &dyn DiskFile, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; head.size];
    let got = file.read_at(&mut bytes, head.position)?;
    bytes.truncate(got);
    Ok(bytes)
}
