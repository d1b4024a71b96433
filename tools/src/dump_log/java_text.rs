//! Bytes as the Java virtual machine reads them into a string.

/// Decodes UTF-8, replacing what is malformed as Java does: as everybody today, but for half a
/// surrogate pair, which is one replacement there and three here.
pub(crate) fn java_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        rest = &rest[chunk.valid().len()..];
        let invalid = chunk.invalid().len();
        if invalid == 0 {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &rest[surrogate_len(rest).unwrap_or(invalid)..];
    }
    text
}

/// How many bytes at the front are (the beginning of) an encoded surrogate.
fn surrogate_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => Some(3),
        [0xed, 0xa0..=0xbf, ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_bytes_become_as_many_marks_as_in_java() {
        assert_eq!(java_text("grün".as_bytes()), "grün");
        assert_eq!(java_text(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
        assert_eq!(java_text(b"\xed\xa0\x80x"), "\u{fffd}x");
        assert_eq!(java_text(b"\xed\xb8&"), "\u{fffd}&");
        assert_eq!(java_text(b"\xf0\x9f\x98x"), "\u{fffd}x");
    }
}
