//! Reading a side's ZooKeeper: a session of its own, one question after the other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes, on a loaded machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const EXISTS: i32 = 3;
const GET: i32 = 4;
const GET_ACL: i32 = 6;
const LIST: i32 = 8;
/// An answer's xid, zxid and error.
const HEADER_BYTES: usize = 16;
/// Stat's first field is where a node was created; its version is behind four of eight bytes.
const VERSION_AT: usize = 32;

/// A session.
pub(crate) struct ZooKeeper(TcpStream);

impl ZooKeeper {
    pub(crate) fn at(port: u16) -> ZooKeeper {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let mut zookeeper = ZooKeeper(socket);
        // A new session: version, last zxid, timeout, id, empty password.
        let hello = [
            &[0; 12][..],
            &60_000i32.to_be_bytes(),
            &[0; 8],
            &16i32.to_be_bytes(),
            &[0; 16],
        ];
        zookeeper.exchange(&hello.concat());
        zookeeper
    }

    /// The transaction that made a node.
    pub(crate) fn created(&mut self, path: &str) -> i64 {
        let stat = self.ask(EXISTS, path, &[0]);
        i64::from_be_bytes(stat[..8].try_into().unwrap())
    }

    /// Every node beneath a path, in order: path, data as text, version, access rules.
    pub(crate) fn tell(&mut self, path: &str) -> String {
        let answer = self.ask(GET, path, &[0]);
        let mut reader = Fields(&answer);
        let data = reader.buffer();
        let version = i32::from_be_bytes(reader.0[VERSION_AT..VERSION_AT + 4].try_into().unwrap());
        let data = data.map(|data| String::from_utf8_lossy(data).into_owned());
        let rules = self.ask(GET_ACL, path, &[]);
        let mut reader = Fields(&rules);
        let rules = (0..reader.int()).map(|_| {
            let perms = reader.int();
            let (scheme, id) = (reader.text(), reader.text());
            format!("{scheme}:{id}:{perms}")
        });
        let rules = rules.collect::<Vec<_>>().join(",");
        let mut told = format!("{path} {data:?} version {version} {rules}\n");
        let children = self.ask(LIST, path, &[0]);
        let mut reader = Fields(&children);
        let mut names: Vec<String> = (0..reader.int()).map(|_| reader.text()).collect();
        names.sort();
        for name in names {
            told += &self.tell(&format!("{path}/{name}"));
        }
        told
    }

    /// Asks about a path; what follows the answer's header.
    fn ask(&mut self, operation: i32, path: &str, more: &[u8]) -> Vec<u8> {
        let asked = [
            &1i32.to_be_bytes()[..],
            &operation.to_be_bytes(),
            &(path.len() as i32).to_be_bytes(),
            path.as_bytes(),
            more,
        ];
        let mut answer = self.exchange(&asked.concat());
        let error = &answer[HEADER_BYTES - 4..HEADER_BYTES];
        assert_eq!(error, [0; 4], "operation {operation} on {path}");
        answer.split_off(HEADER_BYTES)
    }

    fn exchange(&mut self, body: &[u8]) -> Vec<u8> {
        self.0
            .write_all(&(body.len() as i32).to_be_bytes())
            .unwrap();
        self.0.write_all(body).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }
}

/// The rest of an answer.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn int(&mut self) -> i32 {
        let (int, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        i32::from_be_bytes(*int)
    }

    /// `None` where it is null.
    fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()).ok()?;
        let (buffer, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(buffer)
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.buffer().unwrap_or_default()).into_owned()
    }
}
