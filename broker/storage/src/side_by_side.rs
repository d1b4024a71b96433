//! The same work for several things at a time, each on a thread of its own: a slow disk does not
//! hold up the others'.

use std::panic::resume_unwind;
use std::thread::Builder;

use parking_lot::Mutex;

/// How many syncs at a time bring a disk the most without taking it from everybody else.
pub(crate) const AT_A_TIME: usize = 16;

/// As [`side_by_side`], for any number of things that wait for the same disk.
pub(crate) fn few_at_a_time<I: Sync, T: Send>(
    things: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let rounds = things.chunks(AT_A_TIME);
    rounds.flat_map(|few| side_by_side(few, &work)).collect()
}

/// The results, in the order of the things; a panic goes on in the caller. A single thing needs no
/// thread; for whom none is to be had, the caller does it.
pub(crate) fn side_by_side<I: Send, T: Send>(
    things: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let mut things: Vec<I> = things.into_iter().collect();
    let count = things.len();
    if count < 2 {
        return things.pop().map(work).into_iter().collect();
    }
    let waiting = Mutex::new(things.into_iter().enumerate());
    let do_one = || {
        let (number, thing) = waiting.lock().next()?;
        Some((number, work(thing)))
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let start = |_| Builder::new().spawn_scoped(scope, do_one).ok();
        let started: Vec<_> = (0..count).map_while(start).collect();
        let mut done: Vec<_> = (started.len()..count).filter_map(|_| do_one()).collect();
        for thread in started {
            done.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_once_and_comes_back_in_order() {
        let things: Vec<usize> = (0..AT_A_TIME * 2 + 3).collect();
        let doubled: Vec<usize> = things.iter().map(|thing| thing * 2).collect();
        assert_eq!(few_at_a_time(&things, |thing| thing * 2), doubled);
    }
}
