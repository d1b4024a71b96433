//! The order of Java's hash maps, and its numbers as text. Kafka's tools print many a table straight
//! out of a map, so lines come in this order there, and here.

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

/// A number as Java's `Double.toString` writes it.
pub(crate) fn double(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    scientific(format!("{value:E}"))
}

/// The same of `Float.toString`.
pub(crate) fn float(value: f32) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    scientific(format!("{value:E}"))
}

fn scientific(text: String) -> String {
    match text.split_once('E') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
        _ => text.replace("inf", "Infinity"),
    }
}

/// The room a copy of a map of so many entries asks for.
pub(crate) fn room_of_copy(count: usize) -> usize {
    count * 4 / 3 + 1
}

/// Why Java does not take a text for an id, in its words.
pub(crate) fn no_id(text: &str) -> String {
    if text.len() > 24 {
        let start: String = text.chars().take(24).collect();
        return format!(
            "Input string with prefix `{start}` is too long to be decoded as a base64 UUID"
        );
    }
    if text.len() < 2 {
        return "Input byte[] should at least have 2 bytes for base64 bytes".to_owned();
    }
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=".contains(byte);
    if let Some(wrong) = text.bytes().find(|byte| !legal(byte)) {
        return format!("Illegal base64 character {wrong:x}");
    }
    let letters = text.trim_end_matches('=').len();
    if letters % 4 == 1 {
        return "Last unit does not have enough valid bits".to_owned();
    }
    let count = letters * 3 / 4;
    format!(
        "Input string `{text}` decoded as {count} bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID"
    )
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
        assert_eq!(room_of_copy(3), 5);
    }

    #[test]
    fn numbers_and_wrong_ids_are_told_as_java_tells_them() {
        assert_eq!(double(1024.0), "1024.0");
        assert_eq!(double(1e8), "1.0E8");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
        assert_eq!((float(1e-4), float(2.5)), ("1.0E-4".into(), "2.5".into()));
        for (text, words) in [
            ("x", "Input byte[] should at least"),
            ("a+b", "Illegal base64 character 2b"),
            ("abcde", "Last unit"),
            ("abcd", "Input string `abcd` decoded as 3 bytes"),
        ] {
            assert!(no_id(text).starts_with(words), "{text}");
        }
    }
}
