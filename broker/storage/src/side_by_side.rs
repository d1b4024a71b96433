//! The same work for several things at a time, each on a thread of its own: a slow disk does not
//! hold up the others'.

/// The results, in the order of the things; a panic goes on in the caller.
pub(crate) fn side_by_side<I: Send, T: Send>(
    things: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let things = things.into_iter();
        let running: Vec<_> = things
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
