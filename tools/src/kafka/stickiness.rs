//! Where records without a key go, as Java 3.9 decides: a partition is kept until a batch's worth went
//! there and its last batch is closed, or two batches' worth at the latest; the next one is drawn by
//! chance, those with less waiting more often.

/// What a batch without records is counted as.
const BATCH_OVERHEAD: usize = 61;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sticky {
    pub(crate) partition: i32,
    bytes: usize,
}

impl Sticky {
    pub(crate) fn new(partition: i32) -> Sticky {
        Sticky {
            partition,
            bytes: 0,
        }
    }

    /// Whether to go elsewhere before the next record; `room` says whether it fits into the batch that
    /// is open.
    pub(crate) fn is_done(&self, room: bool, batch_bytes: usize) -> bool {
        !room && self.bytes >= batch_bytes
    }

    /// Counts a record; whether to go elsewhere after it.
    pub(crate) fn count(&mut self, bytes: usize, fresh: bool, batch_bytes: usize) -> bool {
        self.bytes += bytes;
        if fresh {
            self.bytes += BATCH_OVERHEAD;
        }
        self.bytes >= batch_bytes * 2
    }
}

/// Draws a partition. `waiting` has the batches that wait for each one; `None` is one without leader.
pub(crate) fn drawn(waiting: &[Option<usize>], random: u64) -> i32 {
    let led: Vec<(usize, usize)> = waiting
        .iter()
        .enumerate()
        .filter_map(|(at, queue)| queue.map(|queue| (at, queue)))
        .collect();
    let longest = led.iter().map(|(_, queue)| *queue).max();
    let Some(longest) = longest else {
        // Nobody leads any: all are as good.
        return (random % waiting.len().max(1) as u64) as i32;
    };
    let weight = |queue: usize| (longest + 1 - queue) as u64;
    let whole: u64 = led.iter().map(|(_, queue)| weight(*queue)).sum();
    let mut left = random % whole.max(1);
    for (at, queue) in &led {
        match left.checked_sub(weight(*queue)) {
            Some(rest) => left = rest,
            None => return *at as i32,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The partitions of so many records of a size, in batches of 1000 bytes.
    fn walk(count: usize, size: usize) -> Vec<usize> {
        let (mut runs, mut run) = (Vec::new(), 0);
        let (mut sticky, mut batch) = (Sticky::new(0), 0);
        for _ in 0..count {
            let room = batch > 0 && batch + size <= 1000;
            if sticky.is_done(room, 1000) {
                runs.push(std::mem::take(&mut run));
                (sticky, batch) = (Sticky::new(0), 0);
            }
            let room = batch > 0 && batch + size <= 1000;
            if !room {
                batch = BATCH_OVERHEAD;
            }
            batch += size;
            run += 1;
            if sticky.count(size, !room, 1000) {
                runs.push(std::mem::take(&mut run));
                (sticky, batch) = (Sticky::new(0), 0);
            }
        }
        runs
    }

    #[test]
    fn a_partition_is_kept_for_one_to_two_batches_worth() {
        // 9 records of 100 make 961 bytes, less than a batch's worth: the second batch is filled too.
        assert_eq!(walk(60, 100), [18, 18, 18]);
        // 939 bytes fill a batch to the last byte: it is enough.
        assert_eq!(walk(6, 939), [1, 1, 1, 1, 1]);
        // One that is larger than two batches is enough by itself.
        assert_eq!(walk(3, 2000), [1, 1, 1]);
    }

    #[test]
    fn those_with_less_waiting_are_drawn_more_often() {
        let waiting = [Some(0), Some(3), Some(1)];
        let places: Vec<i32> = (0..8).map(|random| drawn(&waiting, random)).collect();
        assert_eq!(places, [0, 0, 0, 0, 1, 2, 2, 2]);
        let places: Vec<i32> = (0..4)
            .map(|at| drawn(&[Some(2), None, Some(2)], at))
            .collect();
        assert_eq!(places, [0, 2, 0, 2]);
        assert_eq!(drawn(&[None, None], 3), 1);
    }
}
