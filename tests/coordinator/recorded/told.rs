//! Replies as text: what may differ between two runs is named, never left out.
//!
//! `T` is a time of this run, `S1` the first session. All else, zxids too, stands as it came.

use std::fmt::Write;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Malformed, Reader};
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Stat;

use super::language::{Op, hex, perms_text};

/// The sessions seen so far, in order.
#[derive(Default)]
pub(crate) struct Names {
    sessions: Vec<i64>,
}

impl Names {
    pub(crate) fn session(&mut self, id: i64) -> String {
        if id == 0 {
            return "0".to_owned();
        }
        let at = self.sessions.iter().position(|&one| one == id);
        let at = at.unwrap_or_else(|| {
            self.sessions.push(id);
            self.sessions.len() - 1
        });
        format!("S{}", at + 1)
    }

    /// Session numbers in a text of a four-letter word.
    pub(crate) fn in_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, id) in self.sessions.iter().enumerate() {
            text = text.replace(&format!("0x{id:x}"), &format!("S{}", at + 1));
        }
        text
    }
}

fn time(ms: i64) -> String {
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    if ms.abs_diff(now_ms) < 3_600_000 {
        "T".to_owned()
    } else {
        ms.to_string()
    }
}

fn bytes(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() > 200 => format!("{} bytes", bytes.len()),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("0x{}", hex(bytes)),
        },
    }
}

fn stat(stat: &Stat, names: &mut Names) -> String {
    format!(
        "{{czxid {} mzxid {} pzxid {} ctime {} mtime {} version {} cversion {} aversion {} owner {} \
         length {} children {}}}",
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        time(stat.ctime),
        time(stat.mtime),
        stat.version,
        stat.cversion,
        stat.aversion,
        names.session(stat.ephemeral_owner),
        stat.data_length,
        stat.num_children
    )
}

fn field(letter: char, reader: &mut Reader<'_>, names: &mut Names) -> Result<String, Malformed> {
    Ok(match letter {
        'p' | 'd' => bytes(reader.buffer()?),
        'i' => reader.int()?.to_string(),
        's' => stat(&Stat::read(reader)?, names),
        'N' => {
            let mut found: Vec<String> = reader
                .strings()?
                .into_iter()
                .map(|name| format!("{name:?}"))
                .collect();
            found.sort();
            format!("[{}]", found.join(" "))
        }
        'A' => {
            let count = reader.int()?;
            let mut list = Vec::new();
            for _ in 0..count {
                let perms = reader.int()?;
                let (scheme, id) = (reader.string()?, reader.string()?);
                let (scheme, id) = (scheme.unwrap_or_default(), id.unwrap_or_default());
                list.push(format!("{scheme}:{id}:{}", perms_text(perms)));
            }
            format!("[{}]", list.join(" "))
        }
        'W' => {
            let count = reader.int()?;
            let mut list = Vec::new();
            for _ in 0..count {
                let (scheme, id) = (reader.string()?, reader.string()?);
                list.push(format!("{}:{}", scheme.unwrap(), id.unwrap()));
            }
            list.sort();
            format!("[{}]", list.join(" "))
        }
        'M' => results(reader, names)?,
        other => panic!("{other}"),
    })
}

/// What a `multi` or `multiRead` came to.
fn results(reader: &mut Reader<'_>, names: &mut Names) -> Result<String, Malformed> {
    let mut text = String::new();
    loop {
        let (op, done, error) = (reader.int()?, reader.bool()?, reader.int()?);
        if done {
            let _infallible = write!(text, "\n    end {op} {error}");
            return Ok(text);
        }
        let fields = match op {
            ops::CREATE => "p",
            ops::CREATE2 => "ps",
            ops::SET_DATA => "s",
            ops::GET_DATA => "ds",
            ops::GET_CHILDREN => "N",
            ops::ERROR => "i",
            _ => "",
        };
        let _infallible = write!(text, "\n    part {op} {error}");
        for letter in fields.chars() {
            let told = match (letter, op) {
                ('i', ops::ERROR) => Code(reader.int()?).to_string(),
                _ => field(letter, reader, names)?,
            };
            let _infallible = write!(text, " {told}");
        }
    }
}

/// A reply's header and body.
pub(crate) fn reply(op: Option<&Op>, xid: i32, frame: &[u8], names: &mut Names) -> String {
    if op.is_some_and(|op| op.number == ops::CREATE_SESSION) && frame.len() == 37 {
        return "welcomed".to_owned();
    }
    let mut reader = Reader::new(frame);
    let mut header = || -> Result<(i32, i64, i32), Malformed> {
        Ok((reader.int()?, reader.long()?, reader.int()?))
    };
    let Ok((answered, zxid, code)) = header() else {
        return format!("a short frame {}", hex(frame));
    };
    let mut text = format!("{} zxid {zxid}", Code(code));
    if answered != xid {
        let _infallible = write!(text, " xid {answered}");
    }
    let mut reader = Reader::new(&frame[16..]);
    if code == 0
        && let Some(op) = op
        && reader.remaining() > 0
    {
        for letter in op.reply.chars() {
            match field(letter, &mut reader, names) {
                Ok(told) => {
                    let _infallible = write!(text, " {told}");
                }
                Err(why) => {
                    let _infallible = write!(text, " ({why})");
                    break;
                }
            }
        }
    }
    if reader.remaining() > 0 {
        let rest = reader.take(reader.remaining()).unwrap_or_default();
        let _infallible = write!(text, " +0x{}", hex(rest));
    }
    text
}

/// A watch event, or `None` where the frame is a reply.
pub(crate) fn event(frame: &[u8]) -> Option<String> {
    let mut reader = Reader::new(frame);
    let read = |reader: &mut Reader<'_>| -> Result<Option<String>, Malformed> {
        let (xid, zxid, code) = (reader.int()?, reader.long()?, reader.int()?);
        if xid != ops::XID_NOTIFICATION {
            return Ok(None);
        }
        let (kind, state) = (reader.int()?, reader.int()?);
        let path = reader.string()?.unwrap_or_default().into_owned();
        let kind = match kind {
            1 => "created",
            2 => "deleted",
            3 => "data changed",
            4 => "children changed",
            _ => "of no kind",
        };
        Ok(Some(format!(
            "{kind} {path:?} zxid {zxid} state {state} code {code}"
        )))
    };
    read(&mut reader).unwrap_or(None)
}
