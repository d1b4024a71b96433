//! Whether planned bytes are in the page cache, and bringing them there.
//!
//! `sendfile` of a range that is not cached sleeps on the disk, and with it the worker that
//! carries hundreds of other connections. So a plan is probed first, for the price of two system
//! calls that never sleep, and a cold one is warmed on a thread of its directory.

use std::fs::File;
use std::io::IoSliceMut;

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use storage::log::{Range, ReadPlan};

/// How much is warmed at one go; what lies beyond is left to the kernel's read-ahead.
const WARM_BYTES_MAX: usize = 4 << 20;
const CHUNK_BYTES: usize = 128 * 1024;

/// Whether sending this plan would sleep on a disk.
pub fn is_cold(plan: &ReadPlan) -> bool {
    plan.ranges.iter().any(|range| {
        let last = range.position + (range.len as u64).saturating_sub(1);
        range.len > 0
            && range
                .file
                .real()
                .is_some_and(|file| byte_is_cold(file, range.position) || byte_is_cold(file, last))
    })
}

fn byte_is_cold(file: &File, position: u64) -> bool {
    let mut byte = [0];
    let got = preadv2(
        file,
        &mut [IoSliceMut::new(&mut byte)],
        position,
        ReadWriteFlags::NOWAIT,
    );
    // Where the file system cannot say, the bytes count as warm: so does everyone else's server.
    matches!(got, Err(Errno::AGAIN))
}

/// Reads the plan's bytes so that they are cached. Blocks; errors are left to whoever sends.
pub fn warm(plan: &ReadPlan) {
    let mut left = WARM_BYTES_MAX;
    let mut scratch = vec![0; CHUNK_BYTES];
    for Range {
        file,
        position,
        len,
    } in &plan.ranges
    {
        let end = position + (*len).min(left) as u64;
        let mut at = *position;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(CHUNK_BYTES)
                .min(CHUNK_BYTES);
            match file.read_at(&mut scratch[..want], at) {
                Ok(got) if got > 0 => at += got as u64,
                Ok(_) | Err(_) => return,
            }
        }
        left = left.saturating_sub(*len);
    }
}
