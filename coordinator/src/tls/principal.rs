//! Which texts Java reads as the name of somebody a certificate may be for (`X500Principal`): only those
//! may stand in access lists of the scheme `x509`.

use crate::tls::der::part;

/// Kinds of attributes that have a name; others go by their number.
const KEYWORDS: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// What may stand behind a backslash in quotes; outside of them a space as well.
const ESCAPED: &str = ",=\n+<>#;\\\"";
/// What must not stand without a backslash, outside of quotes.
const BARE_NEVER: &str = ",+<>;\"";

/// Whether `text` is such a name.
pub(crate) fn is_one(text: &str) -> bool {
    text.is_empty()
        || split(text, &[',', ';'], is_escaped)
            .into_iter()
            .flat_map(|names| split(names, &['+'], follows_backslash))
            .all(is_attribute)
}

/// The parts of `text` between `separators` that are neither escaped nor in quotes.
fn split<'a>(
    text: &'a str,
    separators: &[char],
    is_escaped: impl Fn(&str, usize) -> bool,
) -> Vec<&'a str> {
    let (mut parts, mut begin, mut searched, mut quotes) = (Vec::new(), 0, 0, 0);
    for (at, _) in text.match_indices(separators) {
        quotes += count_quotes(&text[searched..at]);
        // As Java: a quotation that has begun and not ended is one sign, not an odd number of them.
        if quotes != 1 && !is_escaped(&text[..at], searched) {
            parts.push(&text[begin..at]);
            begin = at + 1;
            quotes = 0;
        }
        searched = at + 1;
    }
    parts.push(&text[begin..]);
    parts
}

fn count_quotes(text: &str) -> usize {
    let quotes = text.match_indices('"');
    quotes
        .filter(|(at, _)| !text[..*at].ends_with('\\'))
        .count()
}

/// Whether what follows `before` is escaped. As Java: of several backslashes all since the last
/// separator count, wherever they stand.
fn is_escaped(before: &str, searched: usize) -> bool {
    if before.ends_with("\\\\") {
        return before[searched.min(before.len())..].matches('\\').count() % 2 == 1;
    }
    before.ends_with('\\')
}

/// As Java: one backslash before it is enough, and so is nothing before it.
fn follows_backslash(before: &str, _searched: usize) -> bool {
    before.is_empty() || before.ends_with('\\')
}

/// `kind=value`.
fn is_attribute(text: &str) -> bool {
    let Some((kind, value)) = text.split_once('=') else {
        return false;
    };
    is_kind(kind) && is_value(value.trim_start_matches([' ', '\n']))
}

fn is_kind(kind: &str) -> bool {
    let kind = kind.to_uppercase();
    let kind = kind.trim_matches(|c: char| c <= ' ');
    KEYWORDS.contains(&kind) || is_number(kind.strip_prefix("OID.").unwrap_or(kind))
}

/// An object identifier: the first two parts make one number.
fn is_number(text: &str) -> bool {
    let parts: Option<Vec<u128>> = text
        .split('.')
        .map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        })
        .collect();
    match parts.as_deref() {
        Some([first, second, ..]) => *first < 2 && *second < 40 || *first == 2,
        _ => false,
    }
}

fn is_value(value: &str) -> bool {
    let mut letters = value.chars();
    match letters.next() {
        None => true,
        Some('#') => is_hex_of_a_value(letters.as_str()),
        Some('"') => is_rest_of_quotation(letters.as_str()),
        Some(_) => is_bare(value),
    }
}

/// The bytes of one value as they stand in a certificate.
fn is_hex_of_a_value(digits: &str) -> bool {
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let Some(digits) = digits.filter(|digits| digits.len().is_multiple_of(2)) else {
        return false;
    };
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect();
    part(&bytes).is_some_and(|(_, rest)| rest.is_empty())
}

/// What follows a backslash: two digits, or something that `allowed` names. What comes after it.
fn after_escape<'a>(text: &'a str, allowed: &[&str]) -> Option<&'a str> {
    let mut letters = text.chars();
    let first = letters.next()?;
    if first.is_ascii_hexdigit() {
        return letters
            .next()
            .filter(char::is_ascii_hexdigit)
            .map(|_| letters.as_str());
    }
    allowed
        .iter()
        .any(|letters| letters.contains(first))
        .then_some(letters.as_str())
}

fn is_rest_of_quotation(text: &str) -> bool {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '"' => return rest.trim_matches([' ', '\n']).is_empty(),
            '\\' => match after_escape(rest, &[ESCAPED]) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => {}
        }
    }
    false
}

fn is_bare(text: &str) -> bool {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        // As Java: nobody looks at what stands behind a separator that was taken for an escaped one.
        if rest.len() < text.len() && matches!(letter, ',' | '+' | ';') {
            return true;
        }
        rest = &rest[letter.len_utf8()..];
        if letter == '\\' {
            match after_escape(rest, &[ESCAPED, " "]) {
                Some(after) => rest = after,
                None => return false,
            }
        } else if BARE_NEVER.contains(letter) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `new X500Principal(text)` says.
    #[test]
    fn names_are_read_as_java_reads_them() {
        for name in [
            "",
            "CN=a",
            "cn=a",
            "CN=",
            "CN=a=b",
            "CN= a ,O= b ",
            "CN=a,O=b",
            "CN=a;O=b",
            "CN=a+OU=b",
            "CN=a\\,b",
            "CN=a\\41",
            "CN=\"a,b\",O=c",
            "CN=\"a\" ",
            "CN=#0c0161",
            "OID.1.2.3=a",
            "1.2=a",
            "2.999=a",
            "O=\\\\+b",
            "emailAddress=a@b",
        ] {
            assert!(is_one(name), "{name:?}");
        }
        for not in [
            "user",
            "CN",
            "=a",
            "nope=a",
            "1=a",
            "3.1=a",
            "1.40=a",
            "CN=a,",
            "+CN=a",
            "CN=a+",
            "CN=a<b",
            "CN=a\"b",
            "CN=a\\",
            "CN=a\\z",
            "CN=a\\4",
            "CN=\"a",
            "CN=\"a\" b",
            "CN=#",
            "CN=#zz",
            "CN=#0c02",
        ] {
            assert!(!is_one(not), "{not:?}");
        }
    }
}
