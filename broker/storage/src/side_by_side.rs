//! The same work for several things at a time, each on a thread of its own: a slow disk does not
//! hold up the others'.

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
