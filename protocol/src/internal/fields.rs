//! The primitive fields of internal records, read within bounds and written plainly.

use bytes::{BufMut, Bytes, BytesMut};

/// A record that does not have the shape its version promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the record ends inside a field")]
    Short,
    #[error("a length or count is negative or larger than the record")]
    Length,
    #[error("a text is not valid UTF-8")]
    Text,
    #[error("version {0} of this record is not known")]
    Version(i16),
}

/// A cursor over one key or value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Fields<'a> {
    /// Reads the leading version; `flexible_from` is the first version with compact lengths.
    pub(crate) fn open(bytes: &'a [u8], flexible_from: i16) -> Result<(i16, Self), Malformed> {
        let mut fields = Fields {
            rest: bytes,
            flexible: false,
        };
        let version = fields.i16()?;
        fields.flexible = version >= flexible_from;
        Ok((version, fields))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, Malformed> {
        self.take().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.take().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.take().map(i64::from_be_bytes)
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take::<1>()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Length)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(head)
    }

    /// `None` for null: −1, or 0 where lengths are compact.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            let plus_one = self.varint()?;
            return Ok((plus_one as usize).checked_sub(1));
        }
        let length = if wide {
            self.i32()?
        } else {
            i32::from(self.i16()?)
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_negative| Malformed::Length),
        }
    }

    pub(crate) fn text_or_null(&mut self) -> Result<Option<&'a str>, Malformed> {
        let Some(length) = self.length(false)? else {
            return Ok(None);
        };
        let bytes = self.slice(length)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_not_utf8| Malformed::Text)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.text_or_null()?.ok_or(Malformed::Length)
    }

    pub(crate) fn bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(length) = self.length(true)? else {
            return Ok(None);
        };
        self.slice(length).map(Some)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.bytes_or_null()?.ok_or(Malformed::Length)
    }

    /// How many elements follow, each at least `size_min` bytes long; `None` for a null array.
    pub(crate) fn count(&mut self, size_min: usize) -> Result<Option<usize>, Malformed> {
        let Some(count) = self.length(true)? else {
            return Ok(None);
        };
        if count > self.rest.len() / size_min.max(1) {
            return Err(Malformed::Length);
        }
        Ok(Some(count))
    }

    /// Passes over tagged fields; none exist where lengths are not compact.
    pub(crate) fn tags(&mut self) -> Result<(), Malformed> {
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()? as usize;
                self.slice(length)?;
            }
        }
        Ok(())
    }
}

/// A key or value being written, in the old form: the form every version still written has.
#[derive(Debug)]
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn open(version: i16, size_hint: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(size_hint.saturating_add(2));
        buffer.put_i16(version);
        Writer(buffer)
    }

    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.0.put_i8(value);
        self
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.put_i16(value);
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.put_i32(value);
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.put_i64(value);
        self
    }

    /// A text; one longer than its 16-bit length can say is cut at a character. Whatever is
    /// written here came from a request with the same limit, except ids put together of two.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let mut length = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.0.put_i16(i16::try_from(length).unwrap_or(i16::MAX));
        self.0.put_slice(&text.as_bytes()[..length]);
        self
    }

    pub(crate) fn text_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.put_slice(bytes);
        self
    }

    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.i32(i32::try_from(count).expect("a record is smaller than 2 GiB"))
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_the_bytes_could_not_hold_is_refused() {
        let bytes = [0, 3, 0x7f, 0xff, 0xff, 0xff];
        let (version, mut fields) = Fields::open(&bytes, 4).unwrap();
        assert_eq!(version, 3);
        assert_eq!(fields.count(1), Err(Malformed::Length));
    }

    #[test]
    fn compact_null_and_empty_differ() {
        let (_, mut fields) = Fields::open(&[0, 4, 0, 1, 2, b'x'], 4).unwrap();
        assert_eq!(fields.text_or_null(), Ok(None));
        assert_eq!(fields.text_or_null(), Ok(Some("")));
        assert_eq!(fields.text_or_null(), Ok(Some("x")));
        assert_eq!(fields.text_or_null(), Err(Malformed::Short));
    }

    #[test]
    fn an_endless_varint_is_refused() {
        let (_, mut fields) = Fields::open(&[0, 4, 255, 255, 255, 255, 255, 255], 4).unwrap();
        assert_eq!(fields.text(), Err(Malformed::Length));
    }
}
