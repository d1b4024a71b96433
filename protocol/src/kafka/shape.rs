//! Every count and length in a message, compared with the bytes that are there, before anything
//! is decoded.
//!
//! `kafka-protocol`'s decoder reserves memory by counts as they come from the wire; four bytes
//! can ask it for hundreds of gigabytes. This walk goes over the same bytes first and reserves
//! nothing. It knows each message only as a shape: how many bytes, what is repeated, what may be
//! null, which tags there are. The shapes are `protocol/schemas/shapes.txt`, written by
//! `shapes.py` beside it from Kafka 3.9's schemas; its first lines say how to read them. A shape
//! is compiled for one version at its first use and kept.
//!
//! Invariant: whatever passes `check` makes the decoder reserve at most what `check` tells. That
//! is up to some hundred times the frame's own size: an element of one byte on the wire is a struct
//! of many fields in memory, so whoever decodes has to ask for that memory first.

use std::sync::OnceLock;

use crate::kafka::apis::{self, Api};
use crate::limits::STRING_BYTES_MAX;

static SHAPES: &str = include_str!("../../schemas/shapes.txt");

/// More versions than any API has.
const VERSIONS_MAX: usize = 20;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("message ends at byte {at} where {wanted} more are due")]
    Short { at: usize, wanted: usize },
    #[error("count {count} at byte {at} is more than the bytes that follow can hold")]
    Count { at: usize, count: i64 },
    #[error("length {length} at byte {at} is not allowed there")]
    Length { at: usize, length: i64 },
    #[error("null at byte {at} where a value is due")]
    Null { at: usize },
    #[error("variable-length number at byte {at} does not end")]
    Varint { at: usize },
    #[error("tagged field at byte {at} is not as long as it says")]
    Tag { at: usize },
    #[error("text at byte {at} is not UTF-8")]
    NotText { at: usize },
    #[error("version {version} of API {api:?} is unknown")]
    Version { api: Api, version: i16 },
}

/// What a message that can be decoded takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// On the wire.
    pub bytes: usize,
    /// Decoded, at most, what its texts share with the frame left out.
    pub memory: usize,
    /// How many plain numbers lie in arrays: partitions without a struct of their own, mostly.
    pub numbers: usize,
}

/// A slice of the frame in memory.
const SLICE_MEMORY: usize = 32;
/// An array in memory, and the map of unknown tags that each struct has.
const LIST_MEMORY: usize = 24;
/// The first unknown tag of a struct brings a node of the map, each later one its share of more.
const FIRST_TAG_MEMORY: usize = 512;
const TAG_MEMORY: usize = 96;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// Checks a request's body.
pub fn check(api: Api, version: i16, body: &[u8]) -> Result<Extent, Malformed> {
    check_message(Direction::Request, api, version, body)
}

/// Checks a body of either direction.
pub fn check_message(
    direction: Direction,
    api: Api,
    version: i16,
    body: &[u8],
) -> Result<Extent, Malformed> {
    let shape = compiled(direction, api, version)?;
    let mut walk = Walk::new(body);
    walk.fields(&shape.fields, shape.flexible)?;
    Ok(Extent {
        bytes: walk.at(),
        memory: walk.memory.saturating_add(shape.fields.memory),
        numbers: walk.numbers,
    })
}

/// A message's shape in one version.
struct Shape {
    flexible: bool,
    fields: Struct,
}

/// What a struct is made of: its fields in order, and those that come as tagged ones.
#[derive(Default)]
struct Struct {
    plain: Vec<Field>,
    tagged: Vec<(u32, Field)>,
    /// The fewest bytes it can take up; at least one, so that a count of them is bounded.
    bytes_min: usize,
    /// What it takes up decoded, without what its fields point to. The decoder's structs have the
    /// fields of all versions.
    memory: usize,
}

struct Field {
    kind: Kind,
    nullable: bool,
}

enum Kind {
    Fixed(usize),
    Text,
    Bytes,
    Array(Box<Kind>),
    Struct(Struct),
}

impl Kind {
    fn memory(&self) -> usize {
        match self {
            // In front of wider fields a narrow one takes as much as they do.
            Kind::Fixed(bytes) => bytes.next_multiple_of(8),
            Kind::Struct(fields) => fields.memory,
            Kind::Text | Kind::Bytes => SLICE_MEMORY,
            Kind::Array(_) => LIST_MEMORY,
        }
    }

    fn bytes_min(&self, flexible: bool) -> usize {
        match self {
            Kind::Fixed(bytes) => *bytes,
            Kind::Struct(fields) => fields.bytes_min,
            _ if flexible => 1,
            Kind::Text => 2,
            Kind::Bytes | Kind::Array(_) => 4,
        }
    }
}

/// The shape of one message and version, compiled once.
fn compiled(direction: Direction, api: Api, version: i16) -> Result<&'static Shape, Malformed> {
    type Cells = [[OnceLock<Option<Shape>>; VERSIONS_MAX]; apis::COUNT];
    static REQUESTS: Cells = [const { [const { OnceLock::new() }; VERSIONS_MAX] }; apis::COUNT];
    static RESPONSES: Cells = [const { [const { OnceLock::new() }; VERSIONS_MAX] }; apis::COUNT];
    let cells = match direction {
        Direction::Request => &REQUESTS,
        Direction::Response => &RESPONSES,
    };
    let unknown = Malformed::Version { api, version };
    if !api.has_version(version) {
        return Err(unknown);
    }
    let cell = usize::try_from(version)
        .ok()
        .and_then(|at| cells[api.index()].get(at));
    cell.and_then(|cell| {
        cell.get_or_init(|| compile(direction, api, version))
            .as_ref()
    })
    .ok_or(unknown)
}

fn compile(direction: Direction, api: Api, version: i16) -> Option<Shape> {
    let sign = match direction {
        Direction::Request => ">",
        Direction::Response => "<",
    };
    let key = api.key().to_string();
    let line = SHAPES.lines().find(|line| {
        let mut words = line.split(' ');
        words.next() == Some(key.as_str()) && words.nth(1) == Some(sign)
    })?;
    let flexible = api.is_flexible(version);
    let words: Vec<&str> = line
        .split(' ')
        .skip(5)
        .filter(|word| !word.is_empty())
        .collect();
    let mut reader = Reader {
        words: &words,
        version,
        flexible,
    };
    Some(Shape {
        flexible,
        fields: reader.fields(),
    })
}

/// Reads a line of the shapes for one version.
struct Reader<'a> {
    words: &'a [&'a str],
    version: i16,
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn word(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// Reads fields up to a closing bracket or the end.
    fn fields(&mut self) -> Struct {
        let mut made = Struct {
            memory: LIST_MEMORY,
            ..Struct::default()
        };
        while let Some(word) = self.word() {
            if word == ")" {
                break;
            }
            let kind = self.kind(word);
            made.memory += kind.memory();
            let (there, nullable, tag) = self.versions();
            match (there, tag) {
                (false, _) => {}
                (true, Some(tag)) => made.tagged.push((tag, Field { kind, nullable })),
                (true, None) => made.plain.push(Field { kind, nullable }),
            }
        }
        let tags = usize::from(self.flexible);
        let bytes: usize = made
            .plain
            .iter()
            .map(|f| f.kind.bytes_min(self.flexible))
            .sum();
        made.bytes_min = (bytes + tags).max(1);
        made
    }

    fn kind(&mut self, word: &str) -> Kind {
        if let Some(element) = word.strip_prefix('[') {
            return Kind::Array(Box::new(self.kind(element)));
        }
        match word {
            "(" => Kind::Struct(self.fields()),
            "s" => Kind::Text,
            "y" | "r" => Kind::Bytes,
            fixed => Kind::Fixed(
                fixed
                    .parse()
                    .expect("shapes.py writes digits for fixed kinds"),
            ),
        }
    }

    /// Reads `3+?4+#0:3+`: is the field there, may it be null, is it tagged.
    fn versions(&mut self) -> (bool, bool, Option<u32>) {
        let word = self.word().unwrap_or("");
        let (word, tagged) = word.split_once('#').unwrap_or((word, ""));
        let (there, null) = word.split_once('?').unwrap_or((word, ""));
        let tag = tagged.split_once(':').and_then(|(tag, versions)| {
            self.within(versions)
                .then(|| tag.parse().expect("shapes.py writes digits for tags"))
        });
        (self.within(there), self.within(null), tag)
    }

    fn within(&self, range: &str) -> bool {
        let number = |text: &str| {
            text.parse::<i16>()
                .expect("shapes.py writes digits in ranges")
        };
        if range.is_empty() {
            return false;
        }
        match range.split_once('-') {
            Some((low, high)) => (number(low)..=number(high)).contains(&self.version),
            None => self.version >= number(range.trim_end_matches('+')),
        }
    }
}

/// A place in bytes that were not written by us. Nothing here panics or reserves.
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What the decoder will reserve for what was walked over.
    memory: usize,
    numbers: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Walk {
            bytes,
            at: 0,
            memory: 0,
            numbers: 0,
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        if count > self.left() {
            return Err(Malformed::Short {
                at: self.at,
                wanted: count,
            });
        }
        self.at += count;
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
        {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(Malformed::Short {
                at: self.at,
                wanted: N,
            }),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// An unsigned number in groups of seven bits, at most five of them.
    pub(crate) fn varint(&mut self) -> Result<u32, Malformed> {
        let from = self.at;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint { at: from })
    }

    /// A length or count as it stands: `None` for null.
    pub(crate) fn length(
        &mut self,
        flexible: bool,
        short: bool,
    ) -> Result<Option<usize>, Malformed> {
        let at = self.at;
        let length = match (flexible, short) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match length {
            // Kafka: any negative number is null in the old form; only lengths past the largest
            // signed one are wrong in the compact form.
            ..0 => Ok(None),
            length if length > i64::from(i32::MAX) => Err(Malformed::Length { at, length }),
            length => Ok(Some(length as usize)),
        }
    }

    /// The length of a string, held against both bounds: what strings may have, what is there.
    pub(crate) fn text_length(&mut self, flexible: bool) -> Result<Option<usize>, Malformed> {
        let at = self.at;
        let length = self.length(flexible, true)?;
        match length {
            Some(length) if length > STRING_BYTES_MAX => Err(Malformed::Length {
                at,
                length: length as i64,
            }),
            Some(length) if length > self.left() => Err(Malformed::Short {
                at: self.at,
                wanted: length,
            }),
            length => Ok(length),
        }
    }

    /// A count of things of at least `bytes_each`, held against what is there.
    pub(crate) fn count(
        &mut self,
        flexible: bool,
        bytes_each: usize,
    ) -> Result<Option<usize>, Malformed> {
        let at = self.at;
        let count = self.length(flexible, false)?;
        match count {
            Some(count) if count > self.left() / bytes_each.max(1) => Err(Malformed::Count {
                at,
                count: count as i64,
            }),
            count => Ok(count),
        }
    }

    /// Walks over tagged fields none of which are known.
    pub(crate) fn unknown_tags(&mut self) -> Result<(), Malformed> {
        self.tags(&[], true)
    }

    fn fields(&mut self, fields: &Struct, flexible: bool) -> Result<(), Malformed> {
        for field in &fields.plain {
            self.value(&field.kind, field.nullable, flexible)?;
        }
        if flexible {
            self.tags(&fields.tagged, flexible)
        } else {
            Ok(())
        }
    }

    fn value(&mut self, kind: &Kind, nullable: bool, flexible: bool) -> Result<(), Malformed> {
        let at = self.at;
        let null = || {
            if nullable {
                Ok(())
            } else {
                Err(Malformed::Null { at })
            }
        };
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            // Kafka: a struct that may be null has a byte before it, negative for null.
            Kind::Struct(_) if nullable && (self.u8()? as i8) < 0 => Ok(()),
            Kind::Struct(fields) => self.fields(fields, flexible),
            Kind::Text => match self.text_length(flexible)? {
                Some(length) => self.skip(length),
                None => null(),
            },
            Kind::Bytes => match self.length(flexible, false)? {
                Some(length) => self.skip(length),
                None => null(),
            },
            Kind::Array(element) => match self.count(flexible, element.bytes_min(flexible))? {
                Some(count) => self.elements(element, count, flexible),
                None => null(),
            },
        }
    }

    fn elements(&mut self, element: &Kind, count: usize, flexible: bool) -> Result<(), Malformed> {
        if let Kind::Fixed(bytes) = element {
            self.memory = self.memory.saturating_add(count.saturating_mul(*bytes));
            self.numbers = self.numbers.saturating_add(count);
            return self.skip(count.saturating_mul(*bytes));
        }
        let memory = count.saturating_mul(element.memory());
        self.memory = self.memory.saturating_add(memory);
        for _ in 0..count {
            self.value(element, false, flexible)?;
        }
        Ok(())
    }

    fn tags(&mut self, known: &[(u32, Field)], flexible: bool) -> Result<(), Malformed> {
        let at = self.at;
        let count = self.varint()?;
        // A tagged field has at least its tag and its size.
        if count as usize > self.left() / 2 {
            return Err(Malformed::Count {
                at,
                count: i64::from(count),
            });
        }
        let mut tag_memory = FIRST_TAG_MEMORY;
        for _ in 0..count {
            let at = self.at;
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            let from = self.at;
            match known.iter().find(|(number, _)| *number == tag) {
                Some((_, field)) => {
                    self.value(&field.kind, field.nullable, flexible)?;
                    if self.at - from != size {
                        return Err(Malformed::Tag { at });
                    }
                }
                None => {
                    self.memory = self.memory.saturating_add(tag_memory);
                    tag_memory = TAG_MEMORY;
                    self.skip(size)?;
                }
            }
        }
        Ok(())
    }
}
