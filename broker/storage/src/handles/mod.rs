//! Open files, bounded: opened when first needed, closed when others need the room.
//!
//! A broker may hold 50,000 partitions and a kernel grants perhaps 1,024 descriptors. Each file has a
//! [`Slot`]; the slots that are open stand in a ring, and a hand goes round: a slot used since its
//! last visit gets another turn, an idle one is closed. A file that somebody holds stays open: whoever
//! must not fail half-way for want of a descriptor takes what he needs first.

mod roomy;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::disk::{Disk, DiskFile, Open};
use parking_lot::Mutex;

use crate::handles::roomy::Roomy;

/// How many bytes of an index are read and kept at once.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// 4 MiB of index blocks over all logs.
const BLOCKS_MAX: usize = 1024;

/// All open files of a store.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) disk: Arc<dyn Disk>,
    open: Arc<OpenFiles>,
    blocks: Mutex<Blocks>,
    next_id: AtomicU64,
}

/// The ring of slots that are open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    max: usize,
    ring: Mutex<VecDeque<Weak<Slot>>>,
    /// How many were closed to make room.
    closed: AtomicU64,
}

/// One file that may be open or not.
#[derive(Debug)]
pub(crate) struct Slot {
    id: AtomicU64,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    used: AtomicBool,
}

/// Blocks of indexes read before, the oldest forgotten first.
#[derive(Debug, Default)]
struct Blocks {
    bytes: HashMap<(u64, u32), Arc<[u8]>>,
    order: VecDeque<(u64, u32)>,
}

impl Handles {
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> Arc<Self> {
        let open = Arc::new(OpenFiles {
            max: open_max.max(8),
            ring: Mutex::default(),
            closed: AtomicU64::new(0),
        });
        Arc::new(Handles {
            disk: Arc::new(Roomy::new(disk, Arc::clone(&open))),
            open,
            blocks: Mutex::default(),
            next_id: AtomicU64::new(1),
        })
    }

    pub(crate) fn slot(&self) -> Arc<Slot> {
        Arc::new(Slot {
            id: AtomicU64::new(self.next_id.fetch_add(1, Ordering::Relaxed)),
            file: Mutex::new(None),
            used: AtomicBool::new(false),
        })
    }

    /// The open file of `slot`, opened at `path` where it is not.
    ///
    /// Hot path: one uncontended lock and no call of the kernel where it is open.
    pub(crate) fn get(
        &self,
        slot: &Arc<Slot>,
        how: Open,
        path: impl Fn() -> PathBuf,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut file = slot.file.lock();
        slot.used.store(true, Ordering::Relaxed);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = self.disk.open(&path(), how)?;
        *file = Some(Arc::clone(&opened));
        drop(file);
        self.open.add(slot);
        Ok(opened)
    }

    /// How many files were closed that nobody had asked to close.
    pub(crate) fn closed(&self) -> u64 {
        self.open.closed.load(Ordering::Acquire)
    }

    /// A block of an index file, of which the file is known to hold `len` bytes; kept, and read again
    /// once it is longer.
    pub(crate) fn block(
        &self,
        slot: &Slot,
        file: &dyn DiskFile,
        block: u32,
        len: usize,
    ) -> io::Result<Arc<[u8]>> {
        let key = (slot.id.load(Ordering::Relaxed), block);
        let kept = self.blocks.lock().bytes.get(&key).map(Arc::clone);
        if let Some(bytes) = kept.filter(|bytes| bytes.len() >= len) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; len];
        let got = file.read_at(&mut bytes, u64::from(block) * BLOCK_BYTES as u64)?;
        bytes.truncate(got);
        let bytes: Arc<[u8]> = bytes.into();
        if got == len {
            self.blocks.lock().keep(key, Arc::clone(&bytes));
        }
        Ok(bytes)
    }

    /// The file was cut or rewritten: blocks read before say nothing any more.
    pub(crate) fn forget_blocks(&self, slot: &Slot) {
        slot.id.store(
            self.next_id.fetch_add(1, Ordering::Relaxed),
            Ordering::Relaxed,
        );
    }
}

impl Blocks {
    fn keep(&mut self, key: (u64, u32), bytes: Arc<[u8]>) {
        if self.bytes.insert(key, bytes).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > BLOCKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes.remove(&oldest);
        }
    }
}

impl OpenFiles {
    fn add(&self, slot: &Arc<Slot>) {
        let over = {
            let mut ring = self.ring.lock();
            ring.push_back(Arc::downgrade(slot));
            ring.len().saturating_sub(self.max)
        };
        if over > 0 {
            self.close_idle(over);
        }
    }

    /// The process has no descriptors left, whoever took them.
    pub(crate) fn make_room(&self) {
        let open = self.ring.lock().len();
        self.close_idle(open / 4 + 1);
    }

    /// Lets the hand go round until `count` files are closed, twice around at most.
    fn close_idle(&self, count: usize) {
        let mut closed = Vec::with_capacity(count);
        let mut ring = self.ring.lock();
        let mut steps = ring.len() * 2;
        while closed.len() < count && steps > 0 {
            steps -= 1;
            let Some(weak) = ring.pop_front() else { break };
            let Some(slot) = weak.upgrade() else {
                closed.push(None);
                continue;
            };
            if slot.used.swap(false, Ordering::Relaxed) {
                ring.push_back(weak);
                continue;
            }
            let taken = match slot.file.try_lock() {
                // Closing what somebody holds would give no descriptor back.
                Some(mut file) if !is_held(&file) => file.take(),
                _ => {
                    ring.push_back(weak);
                    continue;
                }
            };
            closed.push(taken);
        }
        drop(ring);
        let files = closed.iter().flatten().count();
        self.closed.fetch_add(files as u64, Ordering::AcqRel);
        // Closing may sleep; it happens here, with no lock held.
        drop(closed);
    }
}

/// Whether anybody but its slot has it.
fn is_held(file: &Option<Arc<dyn DiskFile>>) -> bool {
    let file = file.as_ref();
    file.is_some_and(|file| Arc::strong_count(file) > 1)
}

impl Slot {
    pub(crate) fn close(&self) {
        let file = self.file.lock().take();
        drop(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::faulty_disk::{Fault, FaultyDisk, Operation};

    #[test]
    fn no_more_files_are_open_than_allowed_and_all_can_be_read() {
        let disk = FaultyDisk::new(1);
        let handles = Handles::new(disk.shared(), 8);
        let slots: Vec<_> = (0..50).map(|_| handles.slot()).collect();
        for round in 0..3u8 {
            for (number, slot) in slots.iter().enumerate() {
                let path = || PathBuf::from(format!("/f{number}"));
                let file = handles.get(slot, Open::Create, path).unwrap();
                file.write_at(&[round], 0).unwrap();
            }
        }
        let open = slots
            .iter()
            .filter(|slot| slot.file.lock().is_some())
            .count();
        assert!(open <= 8, "{open} are open");
    }

    #[test]
    fn running_out_of_descriptors_is_met_by_closing_idle_files() {
        let disk = FaultyDisk::new(1);
        let handles = Handles::new(disk.shared(), 100);
        let slots: Vec<_> = (0..10).map(|_| handles.slot()).collect();
        for (number, slot) in slots.iter().enumerate().take(9) {
            handles
                .get(slot, Open::Create, || format!("/f{number}").into())
                .unwrap();
        }
        disk.plan(Operation::Create, "f9", Fault::TooManyFiles, 0, true);
        handles
            .get(&slots[9], Open::Create, || "/f9".into())
            .unwrap();
        assert!(slots.iter().any(|slot| slot.file.lock().is_none()));
    }

    #[test]
    fn a_file_that_somebody_holds_need_not_be_opened_anew() {
        let disk = FaultyDisk::new(1);
        let handles = Handles::new(disk.shared(), 8);
        let held = handles.slot();
        let open = || handles.get(&held, Open::Create, || "/held".into());
        let file = open().unwrap();
        let others: Vec<_> = (0..50).map(|_| handles.slot()).collect();
        for (number, slot) in others.iter().enumerate() {
            let path = || PathBuf::from(format!("/f{number}"));
            handles.get(slot, Open::Create, path).unwrap();
        }
        disk.plan(Operation::Create, "held", Fault::TooManyFiles, 0, false);
        assert!(Arc::ptr_eq(&open().unwrap(), &file));
        drop(file);
        (0..10).for_each(|_| handles.open.make_room());
        assert!(open().is_err());
    }

    #[test]
    fn a_block_is_read_once_until_it_has_grown() {
        let disk = FaultyDisk::new(1);
        let handles = Handles::new(disk.shared(), 8);
        let slot = handles.slot();
        let file = handles.get(&slot, Open::Create, || "/f".into()).unwrap();
        let block = |len| handles.block(&slot, &*file, 0, len).unwrap().to_vec();
        file.write_at(&[1; 8], 0).unwrap();
        assert_eq!(block(8), [1; 8]);
        // Entries never change; that these do shows who reads the file.
        file.write_at(&[2; 16], 0).unwrap();
        assert_eq!(block(8), [1; 8]);
        assert_eq!(block(16), [2; 16]);
        assert_eq!(block(8), [2; 16]);
        handles.forget_blocks(&slot);
        assert_eq!(block(8), [2; 8]);
    }
}
