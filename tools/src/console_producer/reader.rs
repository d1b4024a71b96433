//! How a line becomes a record: keys, headers and nulls, as Apache's line reader takes them apart.

use crate::args::Args;
use crate::failure::Failure;
use crate::kafka::producer::Message;
use crate::properties::Properties;

pub(super) struct Reader {
    pub(super) topic: String,
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
}

impl Reader {
    pub(super) fn read(args: &Args, topic: String) -> Result<Reader, Failure> {
        let mut properties = Properties::load(args.get("reader-config"))?;
        properties.add_pairs(args.all("property"))?;
        let word = |key: &str, default: &str| properties.get(key).unwrap_or(default).to_string();
        let made = Reader {
            topic,
            parse_key: properties.is_true("parse.key", false),
            parse_headers: properties.is_true("parse.headers", false),
            ignore_error: properties.is_true("ignore.error", false),
            key_separator: word("key.separator", "\t"),
            headers_delimiter: word("headers.delimiter", "\t"),
            headers_separator: word("headers.separator", ","),
            headers_key_separator: word("headers.key.separator", ":"),
            null_marker: properties.get("null.marker").map(str::to_string),
        };
        let clash = made.headers_delimiter == made.headers_separator
            || made.headers_separator == made.headers_key_separator
            || made.headers_delimiter == made.headers_key_separator
            || made.parse_key
                && made.headers_delimiter == made.key_separator
                && made.key_separator != "\t";
        if made.parse_headers && clash {
            return Err(Failure::said(
                "headers.delimiter, headers.separator, headers.key.separator and key.separator must differ",
            ));
        }
        Ok(made)
    }

    pub(super) fn message(&self, line: &[u8], number: u64) -> Result<Message, Failure> {
        let mut message = Message {
            topic: self.topic.clone(),
            ..Message::default()
        };
        let mut rest = line;
        if self.parse_headers {
            match self.cut(rest, &self.headers_delimiter, "headers delimiter", number)? {
                (Some(headers), after) => {
                    message.headers = self.headers(headers, number)?;
                    rest = after;
                }
                (None, after) => rest = after,
            }
        }
        if self.parse_key {
            match self.cut(rest, &self.key_separator, "key separator", number)? {
                (Some(key), after) => {
                    message.key = self.or_null(key);
                    rest = after;
                }
                (None, after) => rest = after,
            }
        }
        message.value = self.or_null(rest);
        Ok(message)
    }

    /// What lies before a mark, and what behind it.
    fn cut<'a>(
        &self,
        text: &'a [u8],
        mark: &str,
        what: &str,
        number: u64,
    ) -> Result<(Option<&'a [u8]>, &'a [u8]), Failure> {
        match find(text, mark.as_bytes()) {
            Some(at) => Ok((Some(&text[..at]), &text[at + mark.len()..])),
            None if self.ignore_error => Ok((None, text)),
            None => Err(Failure::said(format!(
                "No {what} found on line number {number}: '{}'",
                String::from_utf8_lossy(text)
            ))),
        }
    }

    fn headers(
        &self,
        text: &[u8],
        number: u64,
    ) -> Result<Vec<(Vec<u8>, Option<Vec<u8>>)>, Failure> {
        if self
            .null_marker
            .as_deref()
            .is_some_and(|marker| marker.as_bytes() == text)
        {
            return Ok(Vec::new());
        }
        let mut made = Vec::new();
        let text = String::from_utf8_lossy(text);
        for pair in text.split(&self.headers_separator) {
            match pair.split_once(self.headers_key_separator.as_str()) {
                Some((key, value)) => {
                    made.push((key.as_bytes().to_vec(), self.or_null(value.as_bytes())))
                }
                None if self.ignore_error => made.push((pair.as_bytes().to_vec(), None)),
                None => {
                    return Err(Failure::said(format!(
                        "No header key separator found in pair '{pair}' on line number {number}"
                    )));
                }
            }
        }
        Ok(made)
    }

    fn or_null(&self, text: &[u8]) -> Option<Vec<u8>> {
        let null = self
            .null_marker
            .as_deref()
            .is_some_and(|marker| marker.as_bytes() == text);
        (!null).then(|| text.to_vec())
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    (!mark.is_empty()).then(|| text.windows(mark.len()).position(|window| window == mark))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console_producer::USAGE;

    fn reader(pairs: &[&str]) -> Reader {
        let line: Vec<String> = pairs
            .iter()
            .flat_map(|pair| ["--property".to_string(), pair.to_string()])
            .collect();
        let args = Args::read(USAGE, &line).expect("legal");
        Reader::read(&args, "t".to_string()).expect("legal")
    }

    #[test]
    fn lines_become_records_as_apaches_reader_makes_them() {
        let plain = reader(&[]).message(b"a\tb", 1).expect("legal");
        assert_eq!((plain.key, plain.value), (None, Some(b"a\tb".to_vec())));
        let keyed = reader(&["parse.key=true", "key.separator=:", "null.marker=NULL"]);
        let message = keyed.message(b"k:NULL", 1).expect("legal");
        assert_eq!((message.key, message.value), (Some(b"k".to_vec()), None));
        assert_eq!(
            keyed
                .message(b"nothing", 7)
                .expect_err("no separator")
                .to_string(),
            "No key separator found on line number 7: 'nothing'"
        );
        let all = reader(&["parse.key=true", "parse.headers=true"]);
        let message = all.message(b"h1:v1,h2:v2\tkey\tvalue", 1).expect("legal");
        assert_eq!(message.headers.len(), 2);
        assert_eq!(message.headers[1], (b"h2".to_vec(), Some(b"v2".to_vec())));
        assert_eq!(message.key, Some(b"key".to_vec()));
    }
}
