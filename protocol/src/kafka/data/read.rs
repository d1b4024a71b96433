//! Taking values out of a frame without a copy; a [`Walk`] that knows its `Bytes`.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::ids::TopicId;
use crate::kafka::shape::{Malformed, Walk};

/// Topics and partitions that one request may name: more than any cluster has. Two bytes of a frame
/// could be one of them, and each takes a hundred in memory.
pub(super) const ELEMENTS_MAX: usize = 200_000;

pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    elements_left: usize,
    pub(super) walk: Walk<'a>,
    pub(super) flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a Bytes, flexible: bool) -> Self {
        Reader {
            frame,
            elements_left: ELEMENTS_MAX,
            walk: Walk::new(frame),
            flexible,
        }
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, Malformed> {
        let from = self.walk.at();
        self.walk.skip(length)?;
        Ok(self.frame.slice(from..self.walk.at()))
    }

    pub(super) fn text_or_null(&mut self) -> Result<Option<StrBytes>, Malformed> {
        let Some(length) = self.walk.text_length(self.flexible)? else {
            return Ok(None);
        };
        let at = self.walk.at();
        let bytes = self.slice(length)?;
        StrBytes::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Malformed::NotText { at })
    }

    pub(super) fn text(&mut self) -> Result<StrBytes, Malformed> {
        let at = self.walk.at();
        self.text_or_null()?.ok_or(Malformed::Null { at })
    }

    pub(super) fn records(&mut self) -> Result<Option<Bytes>, Malformed> {
        let length = self.walk.length(self.flexible, false)?;
        length.map(|length| self.slice(length)).transpose()
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, Malformed> {
        self.walk
            .array()
            .map(|bytes| TopicId(Uuid::from_bytes(bytes)))
    }

    /// Reads as many elements as the count before them says; `bytes_each` is the least one takes,
    /// and bounds what is reserved.
    pub(super) fn list<T>(
        &mut self,
        bytes_each: usize,
        element: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let at = self.walk.at();
        let count = self
            .walk
            .count(self.flexible, bytes_each)?
            .ok_or(Malformed::Null { at })?;
        self.elements_left = (self.elements_left.checked_sub(count)).ok_or(Malformed::Count {
            at,
            count: count as i64,
        })?;
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            made.push(element(self)?);
        }
        Ok(made)
    }

    /// Reads tagged fields where the form has them; `known` reads those it knows and says so.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        let at = self.walk.at();
        let count = self.walk.varint()?;
        if count as usize > self.walk.left() / 2 {
            return Err(Malformed::Count {
                at,
                count: i64::from(count),
            });
        }
        for _ in 0..count {
            let at = self.walk.at();
            let tag = self.walk.varint()?;
            let size = self.walk.varint()? as usize;
            let from = self.walk.at();
            if !known(self, tag)? {
                self.walk.skip(size)?;
            } else if self.walk.at() - from != size {
                return Err(Malformed::Tag { at });
            }
        }
        Ok(())
    }

    pub(super) fn no_tags(&mut self) -> Result<(), Malformed> {
        self.tags(|_, _| Ok(false))
    }
}
