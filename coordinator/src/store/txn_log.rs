//! The transaction log's format: one entry to bytes, and a file back to entries.
//!
//! A reader tells three ends apart: the padding after the last entry, a torn entry (a crash while
//! it was written; nobody was told of it), and damage, where whole entries follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::disk::{Disk, DiskFile, Open};
use protocol::zookeeper::jute::{Malformed, Reader, Writer};
use protocol::zookeeper::txns::{Txn, TxnDigest, TxnHeader};

use crate::error::{Damage, Error};
use crate::store::checksum::adler;

const MAGIC: &[u8; 4] = b"ZKLG";
/// Magic, version and database number.
pub(crate) const HEADER_LEN: usize = 16;
/// Checksum and length before an entry, one byte after it.
const AROUND: usize = 13;
const ENTRY_END: u8 = b'B';

/// One transaction as it stands in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    pub header: TxnHeader,
    pub txn: Txn,
    pub digest: Option<TxnDigest>,
}

/// Whether these first bytes are those of a header that was never finished: a part of it, then
/// nothing or zeros. What was never synced holds no acknowledged transaction.
fn is_torn(header: &[u8]) -> bool {
    let whole = file_header();
    let same = header
        .iter()
        .zip(&whole)
        .take_while(|(here, there)| here == there)
        .count();
    header.len() < HEADER_LEN || same < MAGIC.len() && header[same..].iter().all(|byte| *byte == 0)
}

/// What every log begins with.
pub(crate) fn file_header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(MAGIC);
    header[7] = 2;
    header
}

/// Appends one entry.
pub(crate) fn encode(out: &mut Vec<u8>, header: &TxnHeader, txn: &Txn, digest: Option<&TxnDigest>) {
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    let mut writer = Writer(out);
    header.write(&mut writer);
    txn.write(header.op, &mut writer);
    if let Some(digest) = digest {
        writer.int(digest.version).long(digest.tree);
    }
    let body = start + 12;
    let len = u32::try_from(out.len() - body).expect("a transaction is shorter than a frame");
    let sum = adler(&out[body..]);
    out[start..start + 8].copy_from_slice(&sum.to_be_bytes());
    out[start + 8..body].copy_from_slice(&len.to_be_bytes());
    out.push(ENTRY_END);
}

fn decode(bytes: &[u8]) -> Result<LogEntry, Malformed> {
    let mut reader = Reader::new(bytes);
    let header = TxnHeader::read(&mut reader)?;
    let txn = Txn::read(header.op, &mut reader)?;
    let digest = if reader.remaining() >= 12 {
        Some(TxnDigest {
            version: reader.int()?,
            tree: reader.long()?,
        })
    } else {
        None
    };
    Ok(LogEntry {
        header,
        txn,
        digest,
    })
}

/// Why there is no entry at a place.
enum Stop {
    /// Zeros: the padding, or the end of the file.
    Padding,
    Bad(Damage),
}

/// The entry at `at`, and where the next one begins.
fn entry_at(bytes: &[u8], at: usize) -> Result<(LogEntry, usize), Stop> {
    let rest = &bytes[at.min(bytes.len())..];
    if rest.iter().take(12).all(|byte| *byte == 0) {
        return Err(Stop::Padding);
    }
    let mut reader = Reader::new(rest);
    let (sum, len) = match (reader.long(), reader.int()) {
        (Ok(sum), Ok(len)) => (sum, len),
        _ => return Err(Stop::Bad(Damage::Cut)),
    };
    let Some(body) = usize::try_from(len).ok().filter(|len| *len > 0) else {
        return Err(Stop::Bad(Damage::Checksum));
    };
    let Ok(body) = reader.take(body) else {
        return Err(Stop::Bad(Damage::Cut));
    };
    match reader.byte() {
        Ok(ENTRY_END) => {}
        Ok(_) => return Err(Stop::Bad(Damage::Checksum)),
        Err(_) => return Err(Stop::Bad(Damage::Cut)),
    }
    if adler(body) != sum {
        return Err(Stop::Bad(Damage::Checksum));
    }
    let entry = decode(body).map_err(|malformed| Stop::Bad(Damage::Malformed(malformed)))?;
    Ok((entry, at + AROUND + body.len()))
}

/// Whether a whole entry lies anywhere in `bytes` from `from` on.
fn any_entry_after(bytes: &[u8], from: usize) -> bool {
    (from..bytes.len().saturating_sub(AROUND)).any(|at| {
        // A sum is below 2^32 and a length below 2^31: cheap to rule most places out.
        bytes[at..at + 4] == [0; 4]
            && bytes[at + 8] & 0x80 == 0
            && bytes[at + 8..at + 12] != [0; 4]
            && entry_at(bytes, at).is_ok()
    })
}

/// How much is read at a time.
const WINDOW: usize = 256 * 1024;

/// One log file; entries come out in order. Only a window of it is in memory.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
    at: u64,
    /// What is wrong where the entries end, once that is reached.
    torn: Option<Damage>,
}

impl LogFile {
    /// A file shorter than its header is that of a server that died making it: no entries.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        let wrong = |cause| Error::Read {
            path: path.to_path_buf(),
            cause,
        };
        let file = disk.open(path, Open::Read).map_err(wrong)?;
        let len = file.len().map_err(wrong)?;
        LogFile::begin(path, Some(file), len, Vec::new())
    }

    fn begin(
        path: &Path,
        file: Option<Arc<dyn DiskFile>>,
        len: u64,
        window: Vec<u8>,
    ) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let mut log = LogFile {
            path,
            file,
            len,
            window,
            window_at: 0,
            at: 0,
            torn: None,
        };
        log.extend(HEADER_LEN)?;
        let header = &log.window[..log.window.len().min(HEADER_LEN)];
        let unfinished = is_torn(header);
        if !unfinished && header[..4] != *MAGIC {
            return Err(Error::Magic { path: log.path });
        }
        log.at = if unfinished { len } else { HEADER_LEN as u64 };
        Ok(log)
    }

    /// Whether not even the header was finished.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.at == self.len
            && self.window_at == 0
            && is_torn(&self.window[..self.window.len().min(HEADER_LEN)])
    }

    /// Makes the window hold at least `need` bytes from [`LogFile::at`] on, or all there are.
    /// False where it held them, or all, before.
    fn extend(&mut self, need: usize) -> Result<bool, Error> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let have = (self.window_at + self.window.len() as u64).saturating_sub(self.at);
        let left = self.len.saturating_sub(self.at);
        if have >= left || have >= need as u64 {
            return Ok(false);
        }
        let want = left.min(need.max(WINDOW) as u64);
        self.window.clear();
        self.window.resize(usize::try_from(want).unwrap_or(0), 0);
        let got = file
            .read_at(&mut self.window, self.at)
            .map_err(|cause| Error::Read {
                path: self.path.clone(),
                cause,
            })?;
        self.window.truncate(got);
        self.window_at = self.at;
        if (got as u64) < want {
            self.len = self.at + got as u64;
        }
        Ok(true)
    }

    /// The next entry; `None` at the end, torn or not.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, Error> {
        if self.torn.is_some() || self.at >= self.len {
            return Ok(None);
        }
        let stop = loop {
            let from = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
            match entry_at(&self.window, from) {
                Ok((entry, next)) => {
                    self.at = self.window_at + next as u64;
                    return Ok(Some(entry));
                }
                Err(stop) => {
                    let rest = &self.window[from.min(self.window.len())..];
                    if !self.extend(entry_len(rest))? {
                        break stop;
                    }
                }
            }
        };
        let what = match stop {
            Stop::Padding => Damage::Hole,
            Stop::Bad(what) => what,
        };
        self.judge_end(what)
    }

    /// There is no entry here: the end, a torn end, or damage.
    fn judge_end(&mut self, what: Damage) -> Result<Option<LogEntry>, Error> {
        let rest = self.rest()?;
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if any_entry_after(&rest, 1) {
            return Err(Error::Damaged {
                path: self.path.clone(),
                offset: self.at,
                what,
            });
        }
        self.torn = Some(what);
        Ok(None)
    }

    /// All bytes that are left.
    fn rest(&self) -> Result<Vec<u8>, Error> {
        let Some(file) = &self.file else {
            return Ok(self.window[usize::try_from(self.at).unwrap_or(0)..].to_vec());
        };
        let wrong = |cause| Error::Read {
            path: self.path.clone(),
            cause,
        };
        let mut rest = Vec::new();
        let mut piece = vec![0; WINDOW];
        let mut at = self.at;
        while at < self.len {
            let got = file.read_at(&mut piece, at).map_err(wrong)?;
            if got == 0 {
                break;
            }
            // Padding is zeros: as long as there is nothing else, none of it need be kept.
            if !rest.is_empty() || piece[..got].iter().any(|byte| *byte != 0) {
                rest.resize(usize::try_from(at - self.at).unwrap_or(0), 0);
                rest.extend_from_slice(&piece[..got]);
            }
            at += got as u64;
        }
        Ok(rest)
    }

    /// Where the whole entries end, once [`LogFile::next_entry`] has given `None`.
    pub(crate) fn end(&self) -> u64 {
        self.at
    }

    pub(crate) fn torn(&self) -> Option<Damage> {
        self.torn
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// How long the entry at the front of `rest` says it is.
fn entry_len(rest: &[u8]) -> usize {
    let len = rest
        .get(8..12)
        .and_then(|len| len.try_into().ok())
        .map_or(0, i32::from_be_bytes);
    usize::try_from(len).unwrap_or(0).saturating_add(AROUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::chance::Chance;

    fn header(zxid: i64) -> TxnHeader {
        TxnHeader {
            session_id: 7,
            cxid: 1,
            zxid,
            time_ms: 5,
            op: protocol::zookeeper::ops::DELETE,
        }
    }

    fn file(count: i64) -> Vec<u8> {
        let mut bytes = file_header().to_vec();
        for zxid in 1..=count {
            encode(
                &mut bytes,
                &header(zxid),
                &Txn::Delete {
                    path: "/some/node".into(),
                },
                None,
            );
        }
        bytes.extend_from_slice(&[0; 300]);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(usize, Option<Damage>), Error> {
        let mut log = LogFile::begin(Path::new("log.1"), None, bytes.len() as u64, bytes.to_vec())?;
        let mut count = 0;
        while log.next_entry()?.is_some() {
            count += 1;
        }
        Ok((count, log.torn()))
    }

    #[test]
    fn padding_is_the_end() {
        assert_eq!(read(&file(3)).unwrap(), (3, None));
        assert_eq!(read(&file_header()).unwrap(), (0, None));
        assert_eq!(read(b"").unwrap(), (0, None));
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_tears() {
        let whole = file(3);
        let len = (whole.len() - 300 - HEADER_LEN) / 3;
        for cut in 1..len {
            let mut bytes = whole[..HEADER_LEN + 2 * len + cut].to_vec();
            assert_eq!(read(&bytes).unwrap().0, 2, "cut after {cut} bytes");
            bytes.extend_from_slice(&[0; 200]);
            assert_eq!(read(&bytes).unwrap().0, 2, "padded after {cut} bytes");
        }
    }

    #[test]
    fn damage_before_whole_entries_is_refused_with_its_offset() {
        let whole = file(3);
        let len = (whole.len() - 300 - HEADER_LEN) / 3;
        for at in 0..len {
            let mut bytes = whole.clone();
            bytes[HEADER_LEN + len + at] ^= 0x55;
            match read(&bytes) {
                Err(Error::Damaged { offset, .. }) => assert_eq!(offset, (HEADER_LEN + len) as u64),
                other => panic!("byte {at}: {other:?}"),
            }
        }
        let mut bytes = whole;
        bytes[HEADER_LEN + len..HEADER_LEN + 2 * len].fill(0);
        assert!(matches!(
            read(&bytes),
            Err(Error::Damaged {
                what: Damage::Hole,
                ..
            })
        ));
    }

    #[test]
    fn random_bytes_never_panic() {
        let chance = Chance::seeded(11);
        for _ in 0..2_000 {
            let mut bytes = file(3);
            for _ in 0..=chance.below(8) {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] = chance.next_u64() as u8;
            }
            bytes.truncate(chance.below(bytes.len() as u64 + 1) as usize);
            let _outcome = read(&bytes);
        }
    }
}
