//! Of things that are named more often the last counts, as where a list is read into a map. Pure.

use std::collections::HashSet;
use std::hash::Hash;

/// The last of each, in the order in which those came.
pub fn last_of_each<T, K: Eq + Hash>(mut all: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut named = HashSet::with_capacity(all.len());
    all.reverse();
    all.retain(|one| named.insert(key(one)));
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_named_twice_the_last_counts_however_much_there_is() {
        let index = |one: &(i32, i64)| one.0;
        let asked = vec![(3, 1), (1, 2), (3, 4), (2, 5)];
        assert_eq!(last_of_each(asked, index), [(1, 2), (3, 4), (2, 5)]);
        // Looked at in pairs, these would take minutes.
        let many: Vec<_> = (0..400_000).map(|number| (number, 0)).collect();
        assert_eq!(last_of_each(many.clone(), index).len(), many.len());
    }
}
