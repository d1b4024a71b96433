//! A script is played against one server: every line asked, what came of it written beneath.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use protocol::zookeeper::jute::{Reader, Writer};
use protocol::zookeeper::ops;

use super::language::{self, unhex};
use super::masks::Masks;
use super::told::{self, Names};
use crate::raw::{frame, read_frame};

/// A loaded machine may be slow; nothing here is told by how long it took.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an answer begins after which ZooKeeper closes the connection in its own time: that end is
/// waited for, lest a ping be answered before it.
const PARTING: [&str; 2] = ["UNIMPLEMENTED zxid -1", "AUTH_FAILED"];

struct Talker {
    name: String,
    /// `None` once the server has closed it.
    socket: Option<TcpStream>,
    session: i64,
    password: Vec<u8>,
    xid: i32,
    events: Vec<String>,
    /// Its end was seen right behind an answer, and is not told yet.
    seen_off: bool,
}

pub(crate) struct Stage<'a> {
    address: SocketAddr,
    masks: &'a Masks,
    talkers: Vec<Talker>,
    names: Names,
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// `None` where the server closed the connection; silence is a failure of the test.
fn next_frame(socket: &mut TcpStream) -> Option<Vec<u8>> {
    match read_frame(socket) {
        Ok(bytes) => Some(bytes),
        Err(cause) => {
            let silent = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
            assert!(
                !silent.contains(&cause.kind()),
                "no answer within {PATIENCE:?}"
            );
            None
        }
    }
}

impl Talker {
    /// Sends what was framed already; a server that is gone is seen when its answer is read.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(socket) = &mut self.socket {
            let _closed = socket.write_all(bytes);
        }
    }

    /// The next reply; events before it are kept.
    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let bytes = next_frame(self.socket.as_mut()?);
            match bytes.as_deref().map(told::event) {
                None => {
                    self.socket = None;
                    return None;
                }
                Some(Some(event)) => self.events.push(event),
                Some(None) => return bytes,
            }
        }
    }

    /// Reads to the end that the server is about to make.
    fn see_off(&mut self) {
        while self.receive().is_some() {}
        self.seen_off = true;
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(address: SocketAddr, masks: &'a Masks) -> Self {
        Stage {
            address,
            masks,
            talkers: Vec::new(),
            names: Names::default(),
        }
    }

    /// The script with what this server answers: lines that begin with blanks are replaced.
    ///
    /// `soon` before a request: the server may go on by itself before anybody asks again, so what the
    /// connections hear is told with the next line.
    pub(crate) fn play(mut self, script: &str) -> String {
        let mut text = String::new();
        for line in script.lines().filter(|line| !line.starts_with(' ')) {
            text.push_str(line);
            text.push('\n');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (asked, heard_later) = match line.strip_prefix("soon ") {
                Some(asked) => (asked, true),
                None => (line, false),
            };
            let answer = self.act(asked);
            let heard = if heard_later {
                String::new()
            } else {
                self.heard()
            };
            for answer in answer.lines().chain(heard.lines()) {
                let answer = if answer.is_empty() { "(blank)" } else { answer };
                text.push_str("  ");
                text.push_str(answer);
                text.push('\n');
            }
        }
        text
    }

    fn talker(&mut self, name: &str) -> &mut Talker {
        let found = self.talkers.iter_mut().find(|talker| talker.name == name);
        found.unwrap_or_else(|| panic!("{name} is not connected"))
    }

    fn act(&mut self, line: &str) -> String {
        let words = language::words(line);
        let (first, rest) = words.split_first().unwrap();
        match first.as_str() {
            "open" => self.open(&rest[0], &rest[1..]),
            "greet" => self.greet(&rest[0]),
            "drop" => {
                self.talkers.retain(|talker| talker.name != rest[0]);
                String::new()
            }
            "await" => self.wait_for(rest),
            "word" => self.word(rest),
            name => self.ask(name, rest),
        }
    }

    /// `open NAME [key=value …]`: the handshake.
    fn open(&mut self, name: &str, options: &[String]) -> String {
        let option = |key: &str| {
            options
                .iter()
                .find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
        };
        let number = |key, default: i64| option(key).map_or(default, |text| text.parse().unwrap());
        let (mut session, mut password) = (number("session", 0), vec![0; 16]);
        if let Some(other) = option("resume") {
            let other = self.talker(other);
            (session, password) = (other.session, other.password.clone());
        }
        if let Some(word) = option("password") {
            password = if word == "null" {
                Vec::new()
            } else {
                unhex(word)
            };
        }
        let mut body = Vec::new();
        let mut w = Writer(&mut body);
        w.int(number("version", 0) as i32).long(number("seen", 0));
        w.int(number("timeout", 30_000) as i32).long(session);
        w.buffer((option("password") != Some("null")).then_some(&password));
        if option("readonly") != Some("absent") {
            w.bool(option("readonly") == Some("yes"));
        }
        let mut socket = dial(self.address);
        socket.write_all(&frame(&body)).unwrap();
        let Some(answer) = next_frame(&mut socket) else {
            return "closed".to_owned();
        };
        let mut reader = Reader::new(&answer);
        let (version, timeout_ms) = (reader.int().unwrap(), reader.int().unwrap());
        let session = reader.long().unwrap();
        let password = reader.buffer().unwrap().unwrap().to_vec();
        let rest = language::hex(reader.take(reader.remaining()).unwrap());
        let told = format!(
            "version {version} timeout {timeout_ms} session {} password {} rest {rest}",
            self.names.session(session),
            if password.iter().all(|byte| *byte == 0) {
                "of zeros".to_owned()
            } else {
                format!("of {} bytes", password.len())
            },
        );
        self.talkers.retain(|talker| talker.name != name);
        self.talkers.push(Talker {
            name: name.to_owned(),
            socket: Some(socket),
            session,
            password,
            xid: 0,
            events: Vec::new(),
            seen_off: false,
        });
        if session == 0 {
            self.talker(name).see_off();
        }
        told
    }

    /// `greet HEX`: bytes as the first of a connection; the server is to close it.
    fn greet(&self, bytes: &str) -> String {
        let mut socket = dial(self.address);
        // It may be closed before all is sent.
        let _closed = socket.write_all(&unhex(bytes));
        match next_frame(&mut socket) {
            Some(answer) => format!("answers {}", language::hex(&answer)),
            None => "closed".to_owned(),
        }
    }

    /// `NAME OPERATION …`, `NAME op NUMBER HEX` or `NAME bytes HEX`; `NAME#XID` chooses the number.
    fn ask(&mut self, name: &str, rest: &[String]) -> String {
        let (name, chosen) = name
            .split_once('#')
            .map_or((name, None), |(name, xid)| (name, Some(xid)));
        let (what, words) = rest.split_first().unwrap();
        let talker = self.talker(name);
        talker.xid += 1;
        let xid = chosen.map_or(talker.xid, |xid| xid.parse().unwrap());
        let op = language::find(what);
        let mut body = Vec::new();
        let mut w = Writer(&mut body);
        match (op, what.as_str()) {
            (Some(op), _) => {
                w.int(xid).int(op.number);
                language::write(op, words, &mut w);
            }
            (None, "op") => {
                w.int(xid).int(words[0].parse().unwrap());
                let more = words.get(1).map_or("", String::as_str);
                w.0.extend(unhex(more));
            }
            (None, "bytes") => {
                talker.send(&unhex(&words[0]));
                return match talker.receive() {
                    Some(answer) => format!("answers {}", language::hex(&answer)),
                    None => "closed".to_owned(),
                };
            }
            (None, other) => panic!("no operation {other}"),
        }
        talker.send(&frame(&body));
        let Some(answer) = talker.receive() else {
            return "closed".to_owned();
        };
        let told = told::reply(op, xid, &answer, &mut self.names);
        let closes = matches!(rest, [what, ..] if what == "closeSession")
            || matches!(rest, [what, number, ..] if what == "op" && number == "-11");
        if PARTING.iter().any(|word| told.starts_with(word)) || closes && told.starts_with("OK") {
            self.talker(name).see_off();
        }
        told
    }

    /// Asks again until the answer is none of success: something that time brings.
    fn wait_for(&mut self, rest: &[String]) -> String {
        let (name, request) = rest.split_first().unwrap();
        for _ in 0..PATIENCE.as_millis() / 20 {
            let answer = self.ask(name, request);
            if !answer.starts_with("OK") {
                return answer;
            }
            // Nobody else's session may run out meanwhile.
            self.ping_all();
            nap();
        }
        panic!("{rest:?} still succeeds after {PATIENCE:?}");
    }

    /// `word NAME [HEX]`: a four-letter word, what follows it on the wire, its answer masked.
    fn word(&mut self, rest: &[String]) -> String {
        let mut said = rest[0].as_bytes().to_vec();
        if let Some(more) = rest.get(1) {
            said.extend(unhex(more));
        }
        let mut socket = dial(self.address);
        // In one piece: Apache's server reads the eight bytes behind `stmk` once, without waiting.
        socket.write_all(&said).unwrap();
        let mut text = Vec::new();
        socket.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let whole = text.is_empty() || text.ends_with('\n');
        let mut told = self.masks.hide(&rest[0], &self.names.in_text(&text));
        if !whole {
            told.push_str("\n(no line end)");
        }
        told
    }

    /// What the connections heard meanwhile, and which were closed: a ping's answer comes after.
    fn heard(&mut self) -> String {
        let open = |talker: &Talker| talker.socket.is_some();
        let before: Vec<bool> = self.talkers.iter().map(open).collect();
        self.ping_all();
        let mut told = String::new();
        for (talker, was_open) in self.talkers.iter_mut().zip(before) {
            talker.events.sort();
            for event in talker.events.drain(..) {
                told.push_str(&format!("{}: {event}\n", talker.name));
            }
            let seen_off = std::mem::take(&mut talker.seen_off);
            if seen_off || was_open && talker.socket.is_none() {
                told.push_str(&format!("{}: closed\n", talker.name));
            }
        }
        told
    }

    fn ping_all(&mut self) {
        for talker in &mut self.talkers {
            let mut ping = Vec::new();
            Writer(&mut ping).int(ops::XID_PING).int(ops::PING);
            talker.send(&frame(&ping));
            // Where the server has closed it, that is noted.
            let _answer = talker.receive();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process is waited for; there is no event"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(20));
}
