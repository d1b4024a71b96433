//! The order of Java's hash maps. Kafka's tools print many a table straight out of one, so lines
//! come in this order there, and here.

/// `String.hashCode`.
pub(crate) fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// `TopicPartition.hashCode`.
pub(crate) fn partition_hash(topic: &str, partition: i32) -> i32 {
    31i32
        .wrapping_add(partition)
        .wrapping_mul(31)
        .wrapping_add(string_hash(topic))
}

/// Puts things in the order in which a `HashMap` made with room for `capacity` of them and filled
/// in their present order would give them out.
pub(crate) fn order<T>(mut things: Vec<T>, capacity: usize, hash: impl Fn(&T) -> i32) -> Vec<T> {
    let mut buckets = capacity.max(1).next_power_of_two();
    while things.len() > buckets * 3 / 4 {
        buckets *= 2;
    }
    let bucket = |thing: &T| {
        let hash = hash(thing) as u32;
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    // Within a bucket things keep the order in which they came; the sort is stable.
    things.sort_by_key(bucket);
    things
}

/// The room a Java map has if nobody asks for another.
pub(crate) const CAPACITY: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(string_hash("foo"), 101574);
        assert_eq!(string_hash(""), 0);
        assert_eq!(partition_hash("a", 1), 32 * 31 + 97);
        assert_eq!(
            order(vec!["b", "a"], CAPACITY, |text| string_hash(text)),
            ["a", "b"]
        );
    }
}
