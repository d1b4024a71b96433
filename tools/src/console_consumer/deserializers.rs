//! How bytes become text: Java's deserializers by their classes, and what their values look like there.

use crate::failure::Failure;
use crate::java;

const PACKAGE: &str = "org.apache.kafka.common.serialization.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deserializer {
    Boolean,
    /// As they are. Java shows the identity of an array, which says nothing.
    ByteArray,
    ByteBuffer,
    Bytes,
    Double,
    Float,
    Integer,
    Long,
    Short,
    Text,
    Uuid,
    Void,
}

impl Deserializer {
    pub(super) fn named(class: &str) -> Result<Deserializer, Failure> {
        let name = class.strip_prefix(PACKAGE).unwrap_or_default();
        Ok(
            match name.strip_suffix("Deserializer").unwrap_or_default() {
                "Boolean" => Deserializer::Boolean,
                "ByteArray" => Deserializer::ByteArray,
                "ByteBuffer" => Deserializer::ByteBuffer,
                "Bytes" => Deserializer::Bytes,
                "Double" => Deserializer::Double,
                "Float" => Deserializer::Float,
                "Integer" => Deserializer::Integer,
                "Long" => Deserializer::Long,
                "Short" => Deserializer::Short,
                "String" => Deserializer::Text,
                "UUID" => Deserializer::Uuid,
                "Void" => Deserializer::Void,
                _ => return Err(Failure::Absent(format!("the deserializer {class}"))),
            },
        )
    }

    /// What is printed of a value; or why it is none, as Java says it.
    pub(super) fn text(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let size = bytes.len();
        let text = match self {
            Deserializer::ByteArray => return Ok(bytes.to_vec()),
            Deserializer::Boolean => match bytes {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                [other] => {
                    let signed = other.cast_signed();
                    return wrong(&format!(
                        "Unexpected byte received by BooleanDeserializer: {signed}"
                    ));
                }
                _ => return sized("BooleanDeserializer", 1),
            },
            Deserializer::ByteBuffer => {
                format!("java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]")
            }
            Deserializer::Bytes => bytes.iter().map(|byte| escaped(*byte)).collect(),
            Deserializer::Double => match bytes.try_into() {
                Ok(bytes) => java::double(f64::from_be_bytes(bytes)),
                Err(_) => return sized("Deserializer", 8),
            },
            Deserializer::Float => match bytes.try_into() {
                Ok(bytes) => java::float(f32::from_be_bytes(bytes)),
                Err(_) => return sized("Deserializer", 4),
            },
            Deserializer::Integer => match bytes.try_into() {
                Ok(bytes) => i32::from_be_bytes(bytes).to_string(),
                Err(_) => return sized("IntegerDeserializer", 4),
            },
            Deserializer::Long => match bytes.try_into() {
                Ok(bytes) => i64::from_be_bytes(bytes).to_string(),
                Err(_) => return sized("LongDeserializer", 8),
            },
            Deserializer::Short => match bytes.try_into() {
                Ok(bytes) => i16::from_be_bytes(bytes).to_string(),
                Err(_) => return sized("ShortDeserializer", 2),
            },
            Deserializer::Text => String::from_utf8_lossy(bytes).into_owned(),
            Deserializer::Uuid => match uuid(&String::from_utf8_lossy(bytes)) {
                Some(text) => text,
                None => return wrong("Error parsing data into UUID"),
            },
            Deserializer::Void => {
                return Err(
                    "java.lang.IllegalArgumentException: Data should be null for a VoidDeserializer."
                        .to_owned(),
                );
            }
        };
        Ok(text.into_bytes())
    }
}

fn wrong(why: &str) -> Result<Vec<u8>, String> {
    Err(format!(
        "org.apache.kafka.common.errors.SerializationException: {why}"
    ))
}

fn sized(class: &str, size: usize) -> Result<Vec<u8>, String> {
    wrong(&format!("Size of data received by {class} is not {size}"))
}

fn escaped(byte: u8) -> String {
    match byte {
        b' '..=b'~' if byte != b'\\' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02X}"),
    }
}

/// Five groups of hexadecimal digits. Java takes shorter ones too and fills them up.
fn uuid(text: &str) -> Option<String> {
    const DIGITS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    if text.len() > 36 || groups.len() != DIGITS.len() {
        return None;
    }
    let filled = groups.iter().zip(DIGITS).map(|(group, digits)| {
        // Of a longer one the last digits count.
        let value = u64::from_str_radix(group, 16)
            .ok()
            .filter(|_| !group.starts_with('+'))?;
        let kept = value & (u64::MAX >> (64 - digits * 4));
        Some(format!("{kept:0digits$x}"))
    });
    Some(filled.collect::<Option<Vec<_>>>()?.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, bytes: &[u8]) -> String {
        let class = format!("{PACKAGE}{name}Deserializer");
        let made = Deserializer::named(&class).expect("there").text(bytes);
        match made {
            Ok(text) => String::from_utf8(text).expect("text"),
            Err(why) => format!("! {why}"),
        }
    }

    #[test]
    fn values_look_as_in_java() {
        for (name, bytes, text) in [
            ("Boolean", b"\x01".as_slice(), "true"),
            (
                "ByteBuffer",
                b"abc",
                "java.nio.HeapByteBuffer[pos=0 lim=3 cap=3]",
            ),
            ("Bytes", b"a\\\n\xff", "a\\x5C\\x0A\\xFF"),
            ("Double", b"abcdefgh", "1.2926117907728089E161"),
            ("Float", b"abcd", "2.6100788E20"),
            ("Integer", b"null", "1853189228"),
            ("Long", b"abcdefgh", "7017280452245743464"),
            ("Short", b"\xff\xfe", "-2"),
            ("String", b"a\xffb", "a\u{fffd}b"),
            ("UUID", b"1-2-3-4-A", "00000001-0002-0003-0004-00000000000a"),
        ] {
            assert_eq!(shown(name, bytes), text, "{name}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_in_javas_words() {
        for (name, bytes, words) in [
            ("Integer", b"abc".as_slice(), "IntegerDeserializer is not 4"),
            ("Double", b"abc", "received by Deserializer is not 8"),
            ("Boolean", b"\xff", "BooleanDeserializer: -1"),
            ("UUID", b"abc", "Error parsing data into UUID"),
            ("UUID", b"1-2-3-4-+5", "Error parsing data into UUID"),
            ("Void", b"", "Data should be null"),
        ] {
            let said = shown(name, bytes);
            assert!(said.starts_with("! ") && said.contains(words), "{said}");
        }
        for class in [
            "IntegerDeserializer",
            "org.apache.kafka.common.serialization.ListDeserializer",
        ] {
            let said = Deserializer::named(class).expect_err("absent").to_string();
            assert_eq!(said, format!("the deserializer {class} is not there yet"));
        }
    }
}
