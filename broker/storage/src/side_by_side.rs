//! The same work for several things at a time, each on a thread of its own: a slow disk does not
//! hold up the others'.

/// How many syncs at a time bring a disk the most without taking it from everybody else.
const FEW: usize = 16;

/// As [`side_by_side`], for any number of things that wait for the same disk.
pub(crate) fn few_at_a_time<I: Sync, T: Send>(
    things: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let rounds = things.chunks(FEW);
    rounds.flat_map(|few| side_by_side(few, &work)).collect()
}

/// The results, in the order of the things; a panic goes on in the caller. A single thing needs no
/// thread.
pub(crate) fn side_by_side<I: Send, T: Send>(
    things: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let mut things: Vec<I> = things.into_iter().collect();
    if things.len() < 2 {
        return things.pop().map(work).into_iter().collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let running: Vec<_> = things
            .into_iter()
            .map(|thing| scope.spawn(move || work(thing)))
            .collect();
        let joined = running.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    })
}
