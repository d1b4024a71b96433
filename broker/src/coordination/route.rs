//! Which partition of an internal topic a group or a transactional id belongs to.

/// Java's `String.hashCode`: over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The partition of `id` among `count`.
// Kafka: Utils.abs(id.hashCode) % count, where the absolute value of the smallest number is 0.
pub fn partition_for(id: &str, count: i32) -> i32 {
    java_hash(id).checked_abs().unwrap_or(0) % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fall_where_javas_hash_puts_them() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("group"), 98_629_247);
        assert_eq!(java_hash("grüße"), 98_768_023);
        assert_eq!(partition_for("group", 50), 47);
        // "polygenelubricants" hashes to the smallest number.
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
    }
}
