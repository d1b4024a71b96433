//! Answers on their way to the socket: bytes in memory and ranges of files, in order.
//!
//! Hot path: file ranges leave by `sendfile` and never enter our memory; bytes that stand before a
//! range are sent with a hint that more follows, so that header and records share packets. Each
//! piece of a range is probed before it is sent, so that no worker sleeps on a disk here.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use base::disk::DiskFile;
use bytes::Buf;
use replication::cold::{Ahead, ColdPiece};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::api::answer::Part;

/// How much of a file is copied at once where there is no real file to send from.
const COPY_BYTES: usize = 256 * 1024;

/// What is still to be written on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Part>,
    /// Bytes of those parts that lie in memory.
    held_bytes: usize,
    /// Of the first part, where that is a range of a file.
    ahead: Ahead,
    /// All that ever left.
    sent_bytes: u64,
}

/// How far writing got.
#[derive(Debug)]
pub(crate) enum Written {
    All,
    /// The socket takes no more just now.
    Blocked,
    /// This must be warmed before writing can go on.
    Cold(ColdPiece),
}

impl Outbox {
    pub(crate) fn push(&mut self, part: Part) {
        if let Part::Bytes(bytes) = &part {
            self.held_bytes += bytes.len();
        }
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    /// Nobody takes what is in it any more.
    pub(crate) fn clear(&mut self) {
        *self = Outbox {
            sent_bytes: self.sent_bytes,
            ..Outbox::default()
        };
    }

    /// How many bytes ever left.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// How much memory the client has not taken yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Writes until all is gone, the socket takes no more, or a disk would have to be waited for.
    pub(crate) fn write_to(&mut self, stream: &TcpStream) -> io::Result<Written> {
        while let Some(first) = self.parts.front_mut() {
            let wrote = match first {
                Part::Bytes(_) => self.write_bytes(stream),
                Part::File {
                    file,
                    position,
                    len,
                    lane,
                    probed_ms,
                } => {
                    if let Some(at_ms) = probed_ms.take() {
                        self.ahead.note_probed(*position, *len, at_ms);
                    }
                    match self.ahead.piece(file, *position, *len, lane) {
                        Ok(piece) => self.write_file(stream, piece),
                        Err(cold) => return Ok(Written::Cold(cold)),
                    }
                }
            };
            match wrote {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Written::All)
    }

    pub(crate) fn note_warm(&mut self, piece: &ColdPiece) {
        self.ahead.note_warm(piece);
    }

    fn write_bytes(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut slices: smallvec::SmallVec<[io::IoSlice<'_>; 16]> = smallvec::SmallVec::new();
        let mut file_follows = false;
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) if slices.len() < 64 => slices.push(io::IoSlice::new(bytes)),
                Part::Bytes(_) => break,
                Part::File { .. } => {
                    file_follows = true;
                    break;
                }
            }
        }
        let wrote = stream.try_io(Interest::WRITABLE, || {
            let mut flags = SendFlags::NOSIGNAL;
            flags.set(SendFlags::MORE, file_follows);
            Ok(match &slices[..] {
                [one] => rustix::net::send(stream, one, flags)?,
                many => rustix::net::sendmsg(
                    stream,
                    many,
                    &mut rustix::net::SendAncillaryBuffer::default(),
                    flags,
                )?,
            })
        })?;
        drop(slices);
        self.wrote_bytes(wrote);
        Ok(())
    }

    fn wrote_bytes(&mut self, mut wrote: usize) {
        self.sent_bytes += wrote as u64;
        while wrote > 0 {
            match self.parts.front_mut() {
                Some(Part::Bytes(bytes)) if bytes.len() > wrote => {
                    bytes.advance(wrote);
                    self.held_bytes -= wrote;
                    return;
                }
                Some(Part::Bytes(bytes)) => {
                    let len = bytes.len();
                    wrote -= len;
                    self.held_bytes -= len;
                    self.parts.pop_front();
                }
                Some(Part::File { .. }) | None => return,
            }
        }
    }

    fn write_file(&mut self, stream: &TcpStream, piece: u64) -> io::Result<()> {
        let Some(Part::File {
            file,
            position,
            len,
            ..
        }) = self.parts.front_mut()
        else {
            return Ok(());
        };
        let sent = match file.real() {
            Some(real) => stream.try_io(Interest::WRITABLE, || {
                let asked = usize::try_from(piece).unwrap_or(usize::MAX);
                let mut from = *position;
                Ok(rustix::fs::sendfile(
                    stream.as_fd(),
                    real.as_fd(),
                    Some(&mut from),
                    asked,
                )?)
            })?,
            None => copy_from(file.as_ref(), stream, *position, piece)?,
        };
        if sent == 0 {
            // The range was planned under the log's lock and files only shrink by truncation:
            // the client must not take what follows for records, so the connection ends.
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "file is shorter than planned",
            ));
        }
        let sent = sent as u64;
        self.sent_bytes += sent;
        if sent >= *len {
            self.parts.pop_front();
            self.ahead.forget();
        } else {
            *position += sent;
            *len -= sent;
        }
        Ok(())
    }
}

/// For files that live in memory, as in tests.
fn copy_from(
    file: &dyn DiskFile,
    stream: &TcpStream,
    position: u64,
    len: u64,
) -> io::Result<usize> {
    let mut buf = vec![0; usize::try_from(len).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
    let got = file.read_at(&mut buf, position)?;
    if got == 0 {
        Ok(0)
    } else {
        stream.try_write(&buf[..got])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use std::path::Path;

    use base::clock::Clock;
    use base::disk::{Disk, Open, SystemDisk};
    use base::faulty_disk::FaultyDisk;
    use bytes::Bytes;
    use replication::lanes::{Lane, LaneTable};
    use tokio::io::AsyncReadExt;

    fn lane(clock: &Clock) -> Arc<Lane> {
        LaneTable::new(clock.clone(), 2).lane(Path::new("/"))
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap());
        let reader = reader.await.unwrap();
        (listener.accept().await.unwrap().0, reader)
    }

    #[tokio::test]
    async fn nobody_who_writes_waits_for_a_disk() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/log"), Open::Create).unwrap();
        let content: Vec<u8> = (0..24_000_000_u32).map(|n| n as u8).collect();
        file.write_at(&content, 0).unwrap();
        let (stream, mut reader) = pair().await;
        let clock = Clock::by_hand(0);
        let mut outbox = Outbox::default();
        outbox.push(Part::File {
            file,
            position: 0,
            len: 24_000_000,
            lane: lane(&clock),
            probed_ms: None,
        });
        let (mut got, mut begun) = (Vec::new(), false);
        // It freezes in the middle.
        loop {
            match outbox.write_to(&stream).unwrap() {
                Written::All => break,
                Written::Blocked => {
                    if !std::mem::replace(&mut begun, true) {
                        disk.freeze("/log");
                        // What was known is long ago.
                        clock.advance(1_000);
                    }
                    // That there is room again may be heard only when all has been read.
                    tokio::select! {
                        room = stream.writable() => room.unwrap(),
                        read = reader.read_buf(&mut got) => assert_ne!(read.unwrap(), 0),
                    }
                }
                Written::Cold(piece) => {
                    let mut warming = std::pin::pin!(piece.warm());
                    tokio::select! { biased;
                        _ = &mut warming => panic!("the disk hangs"),
                        () = tokio::task::yield_now() => {}
                    }
                    disk.thaw();
                    outbox.note_warm(&warming.await.unwrap());
                }
            }
        }
        assert!(begun);
        drop(stream);
        reader.read_to_end(&mut got).await.unwrap();
        assert!(got == content);
    }

    #[tokio::test]
    async fn bytes_and_ranges_arrive_in_order_through_a_slow_reader() {
        let dir = tempfile::tempdir().unwrap();
        let file = SystemDisk
            .open(&dir.path().join("log"), Open::Create)
            .unwrap();
        let content: Vec<u8> = (0..3_000_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 3])
            .collect();
        file.write_at(&content, 0).unwrap();
        let (stream, mut reader) = pair().await;
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for round in 0..4_u64 {
            outbox.push(Part::Bytes(Bytes::from(vec![round as u8; 100])));
            outbox.push(Part::Bytes(Bytes::new()));
            outbox.push(Part::File {
                file: Arc::clone(&file),
                position: round * 7,
                len: 700_000,
                lane: lane(&Clock::by_hand(0)),
                probed_ms: None,
            });
            expected.extend(vec![round as u8; 100]);
            expected.extend_from_slice(&content[round as usize * 7..][..700_000]);
        }
        let writing = async {
            loop {
                match outbox.write_to(&stream).unwrap() {
                    Written::All => return,
                    Written::Blocked => stream.writable().await.unwrap(),
                    Written::Cold(piece) => outbox.note_warm(&piece.warm().await.unwrap()),
                }
            }
        };
        let mut got = vec![0; expected.len()];
        let (read, ()) = tokio::join!(reader.read_exact(&mut got), writing);
        read.unwrap();
        assert!(got == expected);
        assert_eq!(outbox.held_bytes(), 0);
    }
}
