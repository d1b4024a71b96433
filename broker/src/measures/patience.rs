//! How long whoever measures waits for logs that somebody is at.
//!
//! Where a disk hangs, what is locked stays so. After a few logs of a directory were waited for in
//! vain, the others there are only tried: a look at a thousand of them takes no thousand waits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For an order that is being obeyed or an append that is written.
const WAIT: Duration = Duration::from_millis(100);
/// How many logs of a directory are waited for so long in vain.
const MISSED_MAX: usize = 10;

/// The patience of one look at all directories.
#[derive(Debug, Default)]
pub struct Patience {
    missed: HashMap<PathBuf, usize>,
}

impl Patience {
    /// Measures something in `directory`, with the time that it may wait.
    pub fn measure<T>(
        &mut self,
        directory: &Path,
        measure: impl FnOnce(Duration) -> Option<T>,
    ) -> Option<T> {
        let missed = self.missed.get(directory).copied().unwrap_or(0);
        let wait = if missed < MISSED_MAX {
            WAIT
        } else {
            Duration::ZERO
        };
        let measured = measure(wait);
        if measured.is_none() {
            *self.missed.entry(directory.to_path_buf()).or_default() += 1;
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_hangs_is_waited_for_a_few_times_and_another_as_before() {
        let mut patience = Patience::default();
        let mut waited = Duration::ZERO;
        for _ in 0..1_000 {
            let missed: Option<()> = patience.measure(Path::new("/hangs"), |wait| {
                waited += wait;
                None
            });
            assert!(missed.is_none());
        }
        assert_eq!(waited, WAIT * 10);
        assert_eq!(patience.measure(Path::new("/works"), Some), Some(WAIT));
    }
}
