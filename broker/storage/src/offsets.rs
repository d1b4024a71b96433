//! The offsets every log keeps, and their order.
//!
//! ```text
//! start ≤ stable ≤ watermark ≤ end        start ≤ recovery ≤ end
//! ```
//!
//! The watermark is told to the log by replication, never decided here.

use protocol::ids::Offset;

/// A log's offsets at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that may be read.
    pub start: Offset,
    /// Everything below is on the disk, not only in the page cache.
    pub recovery: Offset,
    /// Everything below is decided: no open transaction begins there.
    pub stable: Offset,
    /// Everything below is on all in-sync replicas.
    pub watermark: Offset,
    /// The next offset to be written.
    pub end: Offset,
}

impl Offsets {
    /// Checks the order.
    ///
    /// # Panics
    /// Where it does not hold: a defect of this crate.
    pub fn check(&self) {
        assert!(
            self.stable <= self.watermark,
            "stable ≤ watermark: {self:?}"
        );
        assert!(self.watermark <= self.end, "watermark ≤ end: {self:?}");
        assert!(self.start <= self.end, "start ≤ end: {self:?}");
        assert!(self.recovery <= self.end, "recovery ≤ end: {self:?}");
    }
}
