//! Java's `.properties` files, exactly as `java.util.Properties.load` reads them.
//!
//! Lines end in `\n`, `\r` or `\r\n`; an odd number of backslashes before the end continues the
//! line, and the white space that begins the next is dropped; `#` and `!` begin comments; a key
//! ends at the first unescaped `=`, `:` or white space; `\uXXXX`, `\t`, `\n`, `\r` and `\f` are
//! characters, any other escaped character is itself. A later line wins over an earlier one.
//!
//! Java reads such a file as Latin-1. A file that is valid UTF-8 beyond ASCII was surely meant so: it
//! is read as UTF-8, and as Latin-1 otherwise.

/// Text in which a `\u` has no four hexadecimal digits behind it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: behind \\u stand four hexadecimal digits, and \\\\ is a backslash")]
pub struct BadEscape(String);

/// A file's keys and values, in order of their first line.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, BadEscape> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for line in logical_lines(&text) {
        let (key, value) = split(&line)?;
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => found.push((key, value)),
        }
    }
    Ok(found)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Comments and blank lines dropped, continued lines joined; escapes are left as they are.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for raw in natural_lines(text) {
        let line = raw.trim_start_matches(is_space);
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        let slashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        if slashes % 2 == 1 {
            whole.push_str(&line[..line.len() - 1]);
            open = Some(whole);
        } else {
            whole.push_str(line);
            lines.push(whole);
        }
    }
    // A file may end in a continuation: what was gathered still counts.
    lines.extend(open);
    lines.retain(|line| !line.is_empty());
    lines
}

fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        match now.find(['\n', '\r']) {
            None => {
                rest = None;
                Some(now)
            }
            Some(end) => {
                let crlf = now[end..].starts_with("\r\n");
                rest = Some(&now[end + if crlf { 2 } else { 1 }..]);
                Some(&now[..end])
            }
        }
    })
}

fn split(line: &str) -> Result<(String, String), BadEscape> {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if matches!(c, '=' | ':') || is_space(c) {
            end = at;
            break;
        }
    }
    let rest = line[end..].trim_start_matches(is_space);
    let rest = match rest.strip_prefix(['=', ':']) {
        Some(value) => value.trim_start_matches(is_space),
        None => rest,
    };
    Ok((unescape(&line[..end])?, unescape(rest)?))
}

fn unescape(text: &str) -> Result<String, BadEscape> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let push = |c: char, units: &mut Vec<u16>| {
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(c, &mut units);
            continue;
        }
        match chars.next() {
            None => {}
            Some('t') => push('\t', &mut units),
            Some('n') => push('\n', &mut units),
            Some('r') => push('\r', &mut units),
            Some('f') => push('\x0c', &mut units),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then(|| u16::from_str_radix(&digits, 16).ok())
                    .flatten()
                    .ok_or_else(|| BadEscape(text.to_owned()))?;
                units.push(unit);
            }
            Some(other) => push(other, &mut units),
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn keys_end_where_java_ends_them() {
        let text = "a=1\nb : 2\nc 3\n  d\t=\t4 \ne\nf==x\ng\\=h\\ i=j\n";
        let want = pairs(&[
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4 "),
            ("e", ""),
            ("f", "=x"),
            ("g=h i", "j"),
        ]);
        assert_eq!(read(text), want);
    }

    #[test]
    fn lines_continue_after_an_odd_number_of_backslashes() {
        assert_eq!(read("a=1,\\\n   2,\\\r\n\t3"), pairs(&[("a", "1,2,3")]));
        assert_eq!(read("a=c:\\\\\nb=2"), pairs(&[("a", "c:\\"), ("b", "2")]));
        assert_eq!(read("a=1\\"), pairs(&[("a", "1")]));
        assert_eq!(read("# c \\\na=1"), pairs(&[("a", "1")]));
        assert_eq!(
            read("a=\\\n# not a comment"),
            pairs(&[("a", "# not a comment")])
        );
    }

    #[test]
    fn escapes_are_characters_and_strangers_are_themselves() {
        assert_eq!(
            read("a=\\u00e9\\t\\q\\ud83d\\ude00"),
            pairs(&[("a", "é\tq😀")])
        );
        assert!(parse(b"a=\\u12").is_err());
    }

    #[test]
    fn utf8_is_read_as_utf8_and_other_bytes_as_latin_1() {
        assert_eq!(read("a=é"), pairs(&[("a", "é")]));
        assert_eq!(parse(b"a=\xe9").unwrap(), pairs(&[("a", "é")]));
    }

    #[test]
    fn the_last_line_of_a_key_wins() {
        assert_eq!(
            read("! x\n\na=1\nb=2\na=3"),
            pairs(&[("a", "3"), ("b", "2")])
        );
    }
}
