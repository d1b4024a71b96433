//! The primitive codec: a reader that cannot run past its bytes and a writer that appends.
//!
//! Invariant: no allocation is larger than the bytes that were received for it.

use std::borrow::Cow;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("ends after {have} bytes where {need} more are needed")]
    Short { have: usize, need: usize },
    #[error("length {0} is negative")]
    Length(i32),
    #[error("count {0} is more than the bytes that follow can hold")]
    Count(i32),
    #[error("value {0} is none that this field may have")]
    Value(i32),
}

/// Reads from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(Malformed::Short {
                have: self.rest.len(),
                need: len,
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(Malformed::Short {
                have: self.rest.len(),
                need: N,
            }),
        }
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn bool(&mut self) -> Result<bool, Malformed> {
        self.byte().map(|byte| byte != 0)
    }

    pub fn int(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn long(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A buffer; `None` where the length is −1.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let len = self.int()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| Malformed::Length(len))?;
        self.take(len).map(Some)
    }

    /// A string; bytes that are not UTF-8 become U+FFFD, as Java reads them.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(self.buffer()?.map(String::from_utf8_lossy))
    }

    /// The count of a vector whose items take at least `item_min` bytes each; `None` for −1.
    pub fn count(&mut self, item_min: usize) -> Result<Option<usize>, Malformed> {
        let count = self.int()?;
        if count < 0 {
            // Jute: any other negative count reads as an empty vector.
            return Ok((count != -1).then_some(0));
        }
        let wanted = usize::try_from(count).map_err(|_| Malformed::Count(count))?;
        if wanted.saturating_mul(item_min.max(1)) > self.rest.len() {
            return Err(Malformed::Count(count));
        }
        Ok(Some(wanted))
    }

    /// A vector of strings; an absent one reads as empty, an absent string as the empty one.
    pub fn strings(&mut self) -> Result<Vec<Cow<'a, str>>, Malformed> {
        let count = self.count(4)?.unwrap_or(0);
        self.counted_strings(count)
    }

    /// The same, where the vector must not be absent.
    pub fn some_strings(&mut self) -> Result<Vec<Cow<'a, str>>, Malformed> {
        let count = self.count(4)?.ok_or(Malformed::Length(-1))?;
        self.counted_strings(count)
    }

    fn counted_strings(&mut self, count: usize) -> Result<Vec<Cow<'a, str>>, Malformed> {
        let mut strings = Vec::with_capacity(count);
        for _ in 0..count {
            strings.push(self.string()?.unwrap_or_default());
        }
        Ok(strings)
    }
}

/// Appends to a byte vector.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.byte(u8::from(value))
    }

    pub fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A length or count.
    ///
    /// # Panics
    /// Never for what came in through a frame: those are shorter than 2 GB.
    pub fn len(&mut self, len: usize) -> &mut Self {
        self.int(i32::try_from(len).expect("what is written came in frames shorter than 2 GB"))
    }

    pub fn buffer(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.int(-1),
            Some(bytes) => {
                self.len(bytes.len());
                self.0.extend_from_slice(bytes);
                self
            }
        }
    }

    pub fn string(&mut self, text: &str) -> &mut Self {
        self.buffer(Some(text.as_bytes()))
    }

    pub fn strings<I>(&mut self, strings: I) -> &mut Self
    where
        I: IntoIterator,
        I::IntoIter: ExactSizeIterator,
        I::Item: AsRef<str>,
    {
        let strings = strings.into_iter();
        self.len(strings.len());
        for text in strings {
            self.string(text.as_ref());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_allocated() {
        let mut bytes = 0x7fff_ffff_i32.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 16]);
        assert_eq!(
            Reader::new(&bytes).strings(),
            Err(Malformed::Count(0x7fff_ffff))
        );
    }

    #[test]
    fn a_negative_length_is_refused_and_minus_one_is_none() {
        assert_eq!(
            Reader::new(&(-2_i32).to_be_bytes()).buffer(),
            Err(Malformed::Length(-2))
        );
        assert_eq!(Reader::new(&(-1_i32).to_be_bytes()).buffer(), Ok(None));
    }
}
