//! A session with a ZooKeeper server as its shell keeps it: one request at a time, watches heard
//! meanwhile, the connection made anew where it is lost.
//!
//! A thread reads; it also pings, so that the session lives while nobody types. Watches are noted
//! here as well as at the server: after a reconnect they are set again, and one that is not noted
//! cannot be removed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Malformed, Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::ReplyHeader;

use crate::zk_shell::watched::{Kind, Watches};

/// A reply is never longer: ZooKeeper's own bound for a client.
const FRAME_MAX: usize = 64 << 20;
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the servers are and how to ask them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As it was written, for prompts.
    pub(crate) text: String,
    pub(crate) timeout_ms: i32,
    pub(crate) read_only: bool,
}

impl Target {
    fn hosts(&self) -> Vec<&str> {
        let hosts = self
            .text
            .split_once('/')
            .map_or(&*self.text, |(hosts, _)| hosts);
        hosts.split(',').map(str::trim).collect()
    }

    /// The path all others lie beneath; empty for the root.
    fn chroot(&self) -> &str {
        self.text
            .find('/')
            .map_or("", |at| self.text[at..].trim_end_matches('/'))
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Connected,
    Closed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::Closed => "CLOSED",
        }
    }
}

type Answer = Result<Vec<u8>, Code>;

struct Inner {
    state: State,
    socket: Option<TcpStream>,
    session: i64,
    password: Vec<u8>,
    last_zxid: i64,
    xid: i32,
    waiting: VecDeque<mpsc::Sender<Answer>>,
    watches: Watches,
    /// What `addauth` said, to be said again.
    auths: Vec<(String, Option<Vec<u8>>)>,
}

struct Shared {
    target: Target,
    inner: Mutex<Inner>,
    changed: Condvar,
    closing: AtomicBool,
    print: Arc<AtomicBool>,
}

/// A session; closing it ends its ephemerals.
pub(crate) struct Session {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch's message, as ZooKeeper's shell prints it.
fn tell(print: &AtomicBool, state: &str, kind: &str, path: &str, zxid: i64) {
    if !print.load(Ordering::Relaxed) {
        return;
    }
    let text =
        format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}\n");
    let mut out = io::stdout().lock();
    // Whoever closed the pipe has seen enough.
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn framed(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    body(&mut Writer(&mut bytes));
    let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

fn read_frame(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::new();
    socket.take(len as u64).read_to_end(&mut body)?;
    if body.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

impl Session {
    /// Begins to connect; whoever asks something waits for it.
    pub(crate) fn open(target: &Target, print: &Arc<AtomicBool>) -> io::Result<Session> {
        let shared = Arc::new(Shared {
            target: target.clone(),
            inner: Mutex::new(Inner {
                state: State::Connecting,
                socket: None,
                session: 0,
                password: vec![0; 16],
                last_zxid: 0,
                xid: 0,
                waiting: VecDeque::new(),
                watches: Watches::default(),
                auths: Vec::new(),
            }),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            print: Arc::clone(print),
        });
        let reads = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("zk-session".to_owned())
            .spawn(move || reads.run())?;
        Ok(Session {
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.shared.inner).state
    }

    pub(crate) fn text(&self) -> &str {
        &self.shared.target.text
    }

    /// Waits until connected, as long as a session lasts; whether it is.
    pub(crate) fn wait_connected(&self) -> bool {
        let patience =
            Duration::from_millis(self.shared.target.timeout_ms.max(1).unsigned_abs().into());
        let inner = lock(&self.shared.inner);
        let waits = |inner: &mut Inner| inner.state == State::Connecting;
        let (inner, _) = self
            .shared
            .changed
            .wait_timeout_while(inner, patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        inner.state == State::Connected
    }

    /// The path as the server knows it.
    pub(crate) fn whole(&self, path: &str) -> String {
        match (self.shared.target.chroot(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// The path as the shell shows it.
    pub(crate) fn shown<'a>(&self, path: &'a str) -> &'a str {
        shown(self.shared.target.chroot(), path)
    }

    /// Asks, and waits for the answer: what follows the reply's header.
    pub(crate) fn ask(&self, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> Answer {
        if !self.wait_connected() {
            return Err(match self.state() {
                State::Closed => Code::SESSION_EXPIRED,
                _ => Code::CONNECTION_LOSS,
            });
        }
        let (sender, answer) = mpsc::channel();
        {
            let mut inner = lock(&self.shared.inner);
            inner.xid = inner.xid.wrapping_add(1).max(1);
            let xid = if op == ops::AUTH { -4 } else { inner.xid };
            let bytes = framed(|w| {
                w.int(xid).int(op);
                body(w);
            });
            let Some(socket) = &mut inner.socket else {
                return Err(Code::CONNECTION_LOSS);
            };
            if socket.write_all(&bytes).is_err() {
                return Err(Code::CONNECTION_LOSS);
            }
            inner.waiting.push_back(sender);
        }
        answer.recv().unwrap_or(Err(Code::CONNECTION_LOSS))
    }

    /// Notes that the server will tell of a change; `exist` where there was no such node.
    pub(crate) fn note_watch(&self, op: i32, path: &str, exist: bool) {
        let watches = &mut lock(&self.shared.inner).watches;
        let into = match op {
            ops::GET_CHILDREN | ops::GET_CHILDREN2 => &mut watches.child,
            _ if exist => &mut watches.exist,
            _ => &mut watches.data,
        };
        into.insert(self.whole(path));
    }

    /// A watch that stays.
    pub(crate) fn add_watch(&self, path: &str, recursive: bool) -> Result<(), Code> {
        let whole = self.whole(path);
        self.ask(ops::ADD_WATCH, |w| {
            w.string(&whole).int(i32::from(recursive));
        })?;
        let watches = &mut lock(&self.shared.inner).watches;
        let into = if recursive {
            &mut watches.recursive
        } else {
            &mut watches.persistent
        };
        into.insert(whole);
        Ok(())
    }

    /// Takes watches back; `local` forgets them where no server can be asked.
    pub(crate) fn remove_watches(&self, path: &str, kind: Kind, local: bool) -> Result<(), Code> {
        let whole = self.whole(path);
        if !lock(&self.shared.inner).watches.has(kind, &whole) {
            return Err(Code::NO_WATCHER);
        }
        let asked = self.ask(ops::REMOVE_WATCHES, |w| {
            w.string(&whole).int(kind as i32);
        });
        match asked {
            Err(Code::CONNECTION_LOSS) if local => {}
            Err(code) => return Err(code),
            Ok(_) => {}
        }
        let told = lock(&self.shared.inner).watches.remove(kind, &whole);
        for event in told {
            tell(&self.shared.print, "SyncConnected", event, path, -1);
        }
        Ok(())
    }

    pub(crate) fn authenticate(&self, scheme: &str, secret: Option<&[u8]>) -> Result<(), Code> {
        let answer = self.ask(ops::AUTH, |w| {
            w.int(0).string(scheme).buffer(secret);
        });
        if answer.is_ok() {
            let secret = secret.map(<[u8]>::to_vec);
            lock(&self.shared.inner)
                .auths
                .push((scheme.to_owned(), secret));
        }
        answer.map(|_| ())
    }

    /// Ends the session; what the server is told it is told before this returns.
    pub(crate) fn close(&mut self) {
        let was = self.state();
        if was == State::Closed {
            return;
        }
        // From here on the end of the connection is no surprise.
        self.shared.closing.store(true, Ordering::Relaxed);
        if was == State::Connected {
            let _ended = self.ask(ops::CLOSE_SESSION, |_| {});
        }
        let mut inner = lock(&self.shared.inner);
        inner.state = State::Closed;
        if let Some(socket) = inner.socket.take() {
            let _gone = socket.shutdown(std::net::Shutdown::Both);
        }
        drop(inner);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _panicked = thread.join();
        }
        tell(&self.shared.print, "Closed", "None", "null", -1);
    }
}

fn shown<'a>(chroot: &str, path: &'a str) -> &'a str {
    match path.strip_prefix(chroot) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

impl Shared {
    /// The thread: connects, reads, and connects anew until the session is over.
    fn run(&self) {
        let mut begun = false;
        while !self.closing.load(Ordering::Relaxed) {
            for host in self.target.hosts() {
                let Some(mut socket) = self.shake_hands(host) else {
                    continue;
                };
                if lock(&self.inner).state == State::Closed {
                    return;
                }
                begun = true;
                self.read_until_lost(&mut socket);
                self.lose();
                break;
            }
            let inner = lock(&self.inner);
            let waits = |_: &mut Inner| !self.closing.load(Ordering::Relaxed);
            drop(self.changed.wait_timeout_while(
                inner,
                if begun { PAUSE * 5 } else { PAUSE },
                waits,
            ));
        }
    }

    /// A connection with the session on it; `None` where it did not come about.
    fn shake_hands(&self, host: &str) -> Option<TcpStream> {
        let named = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            _ => format!("{host}:2181"),
        };
        let patience = Duration::from_millis(self.target.timeout_ms.max(1).unsigned_abs().into());
        let mut addresses = named.to_socket_addrs().ok()?;
        let mut socket =
            addresses.find_map(|address| TcpStream::connect_timeout(&address, patience).ok())?;
        socket.set_nodelay(true).ok()?;
        socket.set_read_timeout(Some(patience)).ok()?;
        let (session, password, last_zxid) = {
            let inner = lock(&self.inner);
            (inner.session, inner.password.clone(), inner.last_zxid)
        };
        let hello = framed(|w| {
            w.int(0)
                .long(last_zxid)
                .int(self.target.timeout_ms)
                .long(session);
            w.buffer(Some(&password)).bool(self.target.read_only);
        });
        socket.write_all(&hello).ok()?;
        let answer = read_frame(&mut socket).ok()?;
        self.welcomed(&socket, &answer).ok()?;
        Some(socket)
    }

    /// The server's answer to the handshake.
    fn welcomed(&self, socket: &TcpStream, answer: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(answer);
        let (_version, timeout_ms, session) = (reader.int()?, reader.int()?, reader.long()?);
        let password = reader.buffer()?.unwrap_or_default().to_vec();
        let mut inner = lock(&self.inner);
        if timeout_ms <= 0 {
            inner.state = State::Closed;
            self.closing.store(true, Ordering::Relaxed);
            drop(inner);
            self.changed.notify_all();
            tell(&self.print, "Expired", "None", "null", -1);
            return Ok(());
        }
        (inner.session, inner.password) = (session, password);
        let mut again = Vec::new();
        for (scheme, secret) in &inner.auths {
            again.extend(framed(|w| {
                w.int(-4).int(ops::AUTH).int(0);
                w.string(scheme).buffer(secret.as_deref());
            }));
        }
        if !inner.watches.is_empty() {
            let (watches, seen) = (&inner.watches, inner.last_zxid);
            again.extend(framed(|w| {
                w.int(-8).int(ops::SET_WATCHES2).long(seen);
                w.strings(&watches.data)
                    .strings(&watches.exist)
                    .strings(&watches.child);
                w.strings(&watches.persistent).strings(&watches.recursive);
            }));
        }
        let own = socket.try_clone().ok();
        inner.socket = own;
        if let Some(socket) = &mut inner.socket
            && !again.is_empty()
        {
            // A connection that is lost at once is seen by whoever reads it.
            let _lost = socket.write_all(&again);
        }
        let ping_after = u64::from(timeout_ms.unsigned_abs() / 3).max(1);
        // Without it nobody would ping; the session then ends as if the network had.
        let _kept = socket.set_read_timeout(Some(Duration::from_millis(ping_after)));
        drop(inner);
        tell(&self.print, "SyncConnected", "None", "null", -1);
        lock(&self.inner).state = State::Connected;
        self.changed.notify_all();
        Ok(())
    }

    fn read_until_lost(&self, socket: &mut TcpStream) {
        let mut silent = 0;
        loop {
            let mut first = [0];
            match socket.peek(&mut first) {
                Ok(0) => return,
                Ok(_) => silent = 0,
                Err(cause)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]
                        .contains(&cause.kind()) =>
                {
                    silent += 1;
                    let ping = framed(|w| {
                        w.int(ops::XID_PING).int(ops::PING);
                    });
                    if silent > 2 || socket.write_all(&ping).is_err() {
                        return;
                    }
                    continue;
                }
                Err(_) => return,
            }
            let Ok(bytes) = read_frame(socket) else {
                return;
            };
            if self.take(&bytes).is_err() {
                return;
            }
        }
    }

    /// One frame from the server.
    fn take(&self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        let ReplyHeader { xid, zxid, code } = ReplyHeader::read(&mut reader)?;
        match xid {
            ops::XID_PING | -8 => return Ok(()),
            ops::XID_NOTIFICATION => return self.event(zxid, &mut reader),
            _ => {}
        }
        let mut inner = lock(&self.inner);
        inner.last_zxid = inner.last_zxid.max(zxid);
        let sender = match xid {
            // Said again after a reconnect: nobody waits for it.
            -4 if inner.waiting.is_empty() => None,
            _ => inner.waiting.pop_front(),
        };
        drop(inner);
        if xid == -4 && code != Code::OK {
            tell(&self.print, "AuthFailed", "None", "null", -1);
        }
        if let Some(sender) = sender {
            let rest = reader.take(reader.remaining())?.to_vec();
            // Whoever asked may have given up.
            let _gone = sender.send(if code == Code::OK {
                Ok(rest)
            } else {
                Err(code)
            });
        }
        Ok(())
    }

    fn event(&self, zxid: i64, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let (kind, _state) = (reader.int()?, reader.int()?);
        let path = reader.string()?.unwrap_or_default();
        lock(&self.inner).watches.heard(kind, &path);
        let name = match kind {
            1 => "NodeCreated",
            2 => "NodeDeleted",
            3 => "NodeDataChanged",
            _ => "NodeChildrenChanged",
        };
        let path = shown(self.target.chroot(), &path);
        tell(&self.print, "SyncConnected", name, path, zxid);
        Ok(())
    }

    /// The connection is gone: who waits for an answer hears it.
    fn lose(&self) {
        let mut inner = lock(&self.inner);
        inner.socket = None;
        let over = inner.state == State::Closed || self.closing.load(Ordering::Relaxed);
        if !over {
            inner.state = State::Connecting;
        }
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        for sender in waiting {
            let _gone = sender.send(Err(Code::CONNECTION_LOSS));
        }
        if !over {
            tell(&self.print, "Disconnected", "None", "null", -1);
        }
    }
}
