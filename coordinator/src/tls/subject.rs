//! The subject of a certificate as Java names it (RFC 2253), for access lists of the scheme `x509`.

use crate::tls::der::{FIRST, Part, part, parts};

/// Who signed a certificate and whom it names, as their bytes stand in it; `None` where the bytes are
/// no certificate.
pub(crate) fn issuer_and_subject(certificate: &[u8]) -> Option<[&[u8]; 2]> {
    let (whole, _) = part(certificate)?;
    let (signed, _) = part(whole.1)?;
    // The version is there or not; then come number, algorithm, issuer, dates and subject.
    let fields = parts(signed.1)?;
    let from = usize::from(fields.first()?.0 == FIRST);
    let name = |at: usize| fields.get(from + at).map(|(_, content)| *content);
    Some([name(2)?, name(4)?])
}

/// The name of a certificate's subject; `None` where the bytes are no certificate.
pub(crate) fn name(certificate: &[u8]) -> Option<String> {
    let [_, subject] = issuer_and_subject(certificate)?;
    let mut names = Vec::new();
    for relative in parts(subject)? {
        let attributes: Option<Vec<String>> =
            parts(relative.1)?.into_iter().map(attribute).collect();
        names.push(attributes?.join("+"));
    }
    names.reverse();
    Some(names.join(","))
}

fn attribute(pair: Part<'_>) -> Option<String> {
    let (kind, value_bytes) = part(pair.1)?;
    let (value, _) = part(value_bytes)?;
    let keyword = match kind.1 {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        _ => {
            let hex: String = value_bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            return Some(format!("{}=#{hex}", dotted(kind.1)?));
        }
    };
    Some(format!("{keyword}={}", escaped(&text(value)?)))
}

/// UTF-8, printable, IA5 and numeric strings; UCS-2 for the BMP kind, Latin-1 for the old one.
fn text((tag, bytes): Part<'_>) -> Option<String> {
    match tag {
        0x1e => {
            let pairs = bytes.chunks_exact(2);
            let units: Vec<u16> = pairs
                .map(|two| u16::from_be_bytes([two[0], two[1]]))
                .collect();
            String::from_utf16(&units).ok()
        }
        0x14 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    let (leading, body) = text.split_at(text.len() - text.trim_start_matches(' ').len());
    let (body, trailing) = body.split_at(body.trim_end_matches(' ').len());
    out.push_str(&"\\ ".repeat(leading.len()));
    for letter in body.chars() {
        if ",=+<>#;\"\\".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push_str(&"\\ ".repeat(trailing.len()));
    out
}

fn dotted(bytes: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in bytes {
        number = number
            .checked_mul(128)?
            .checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, rest) = numbers.split_first()?;
    let top = (*first / 40).min(2);
    let mut text = format!("{top}.{}", first - top * 40);
    for number in rest {
        text.push_str(&format!(".{number}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../tests/golden/tls/client.der");

    #[test]
    fn a_subject_is_named_backwards_and_escaped() {
        let expected = "CN=alice,OU=tests,O=Rotpeter\\, Inc.,C=XX";
        assert_eq!(name(CERTIFICATE).as_deref(), Some(expected));
        assert_eq!(escaped(" a=b  "), "\\ a\\=b\\ \\ ");
        let mail = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
        assert_eq!(dotted(&mail).as_deref(), Some("1.2.840.113549.1.9.1"));
    }

    #[test]
    fn broken_certificates_have_no_name_and_do_no_harm() {
        for end in 0..200.min(CERTIFICATE.len()) {
            let _none = name(&CERTIFICATE[..end]);
        }
        for at in 0..CERTIFICATE.len() {
            let mut bytes = CERTIFICATE.to_vec();
            bytes[at] ^= 0xff;
            let _any = name(&bytes);
        }
    }
}
