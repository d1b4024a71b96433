//! Writing an answer piece by piece: small things into one buffer, record bytes beside it.

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

use crate::ids::TopicId;
use crate::kafka::apis::Api;
use crate::kafka::codec::CodecError;
use crate::kafka::data::NodeEndpoint;
use crate::kafka::header;
use crate::kafka::reply::{Part, Reply};
use crate::limits::{LENGTH_PREFIX_BYTES, STRING_BYTES_MAX};

/// Record bytes up to this many are copied into the head: one more piece costs more than they do.
const COPY_BYTES_MAX: usize = 512;

pub(super) struct Writer {
    api: Api,
    version: i16,
    pub(super) flexible: bool,
    pub(super) head: Vec<u8>,
    /// Parts that lie beside the head, each with the head's length where it belongs.
    beside: Vec<(usize, Part)>,
}

impl Writer {
    pub(super) fn new(api: Api, version: i16, correlation_id: i32, bytes_guess: usize) -> Self {
        let mut head = Vec::with_capacity(bytes_guess);
        head.put_i32(0);
        header::write_answer_header(&mut head, api, version, correlation_id);
        let flexible = api.is_flexible(version);
        Writer {
            api,
            version,
            flexible,
            head,
            beside: Vec::new(),
        }
    }

    pub(super) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.head.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.put_u8(value as u8);
    }

    fn length(&mut self, length: usize) {
        // What does not fit an i32 cannot fit the frame either; `finish` refuses it.
        let length = u32::try_from(length).unwrap_or(i32::MAX as u32);
        if self.flexible {
            self.varint(length.saturating_add(1));
        } else {
            self.head.put_i32(length as i32);
        }
    }

    pub(super) fn count(&mut self, count: usize) {
        self.length(count);
    }

    /// A null array.
    pub(super) fn null_list(&mut self) {
        if self.flexible {
            self.head.put_u8(0)
        } else {
            self.head.put_i32(-1)
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        // Names longer than the wire allows exist nowhere; an over-long message is cut.
        let mut end = text.len().min(STRING_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if self.flexible {
            self.varint(end as u32 + 1);
        } else {
            self.head.put_i16(end as i16);
        }
        self.head.put_slice(&text.as_bytes()[..end]);
    }

    pub(super) fn text_or_null(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None if self.flexible => self.head.put_u8(0),
            None => self.head.put_i16(-1),
        }
    }

    pub(super) fn topic_id(&mut self, id: TopicId) {
        self.head.put_slice(id.0.as_bytes());
    }

    /// The end of a struct that has no tagged fields to tell.
    pub(super) fn no_tags(&mut self) {
        if self.flexible {
            self.head.put_u8(0);
        }
    }

    /// Record bytes with their length before them.
    pub(super) fn records(&mut self, parts: &[Part]) {
        let length: usize = parts.iter().map(Part::len).sum();
        self.length(length);
        for part in parts {
            match part {
                Part::Bytes(bytes) if bytes.len() <= COPY_BYTES_MAX => self.head.put_slice(bytes),
                part if part.is_empty() => {}
                part => self.beside.push((self.head.len(), part.clone())),
            }
        }
    }

    /// Where brokers listen, as the one tagged field of an answer; nothing when there are none.
    pub(super) fn node_endpoints(&mut self, has_tag: bool, nodes: &[NodeEndpoint]) {
        if !has_tag || nodes.is_empty() {
            return self.no_tags();
        }
        let mut field = Writer {
            head: Vec::new(),
            beside: Vec::new(),
            ..*self
        };
        field.count(nodes.len());
        for node in nodes {
            field.head.put_i32(node.node_id);
            field.text(&node.host);
            field.head.put_i32(node.port);
            field.text_or_null(node.rack.as_deref());
            field.no_tags();
        }
        self.head.put_slice(&[1, 0]);
        self.varint(field.head.len() as u32);
        self.head.put_slice(&field.head);
    }

    /// Puts the length in and lays the parts in order.
    pub(super) fn finish(mut self) -> Result<Reply, CodecError> {
        let beside: usize = self.beside.iter().map(|(_, part)| part.len()).sum();
        let bytes = self.head.len() - LENGTH_PREFIX_BYTES + beside;
        let length = i32::try_from(bytes).map_err(|_| CodecError::TooLong {
            api: self.api,
            version: self.version,
            bytes,
        })?;
        self.head[..LENGTH_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        let mut head = Bytes::from(self.head);
        let mut parts = SmallVec::with_capacity(self.beside.len() * 2 + 1);
        let mut taken = 0;
        for (at, part) in self.beside {
            if at > taken {
                parts.push(Part::Bytes(head.split_to(at - taken)));
                taken = at;
            }
            parts.push(part);
        }
        if !head.is_empty() {
            parts.push(Part::Bytes(head));
        }
        Ok(Reply { parts })
    }
}
