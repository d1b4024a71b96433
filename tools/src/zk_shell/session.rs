//! A session with a ZooKeeper server as its shell keeps it: one request at a time, watches heard
//! meanwhile, the connection made anew where it is lost.
//!
//! A thread reads; it also pings, so that the session lives while nobody types. Watches are noted
//! here as well as at the server: after a reconnect they are set again, and one that is not noted
//! cannot be removed. Who one is by SASL is shown before anything else is asked.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use base::chance::Chance;
use coordinator::Login;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Malformed, Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::ReplyHeader;

use crate::zk_shell::line::{Frames, Line, framed};
use crate::zk_shell::secured::Security;
use crate::zk_shell::watched::{Kind, Watches};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the servers are and how to ask them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As it was written, for prompts.
    pub(crate) text: String,
    pub(crate) timeout_ms: i32,
    pub(crate) read_only: bool,
    /// Whether servers that are not there are waited for.
    pub(crate) waits: bool,
    pub(crate) security: Security,
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
    /// The server does not believe who this is.
    AuthFailed,
    Closed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::AuthFailed => "AUTH_FAILED",
            State::Closed => "CLOSED",
        }
    }

    /// Whether anything can still be asked, now or later.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self, State::Closed | State::AuthFailed)
    }
}

type Answer = Result<Vec<u8>, Code>;

struct Inner {
    state: State,
    /// Why none of the servers was reached, the last time all of them were tried.
    unreached: Option<String>,
    line: Option<Arc<Line>>,
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
    /// Why TLS does not come about was said.
    has_said: AtomicBool,
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

impl Session {
    /// Begins to connect; whoever asks something waits for it.
    pub(crate) fn open(target: &Target, print: &Arc<AtomicBool>) -> io::Result<Session> {
        let shared = Arc::new(Shared {
            target: target.clone(),
            inner: Mutex::new(Inner {
                state: State::Connecting,
                unreached: None,
                line: None,
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
            has_said: AtomicBool::new(false),
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

    /// Why none of the servers could be reached.
    pub(crate) fn unreached(&self) -> Option<String> {
        lock(&self.shared.inner).unreached.clone()
    }

    /// Waits until connected, as long as a session lasts; whether it is. Where nobody listens there is
    /// nothing to wait for, unless that was wished.
    pub(crate) fn wait_connected(&self) -> bool {
        let patience =
            Duration::from_millis(self.shared.target.timeout_ms.max(1).unsigned_abs().into());
        let inner = lock(&self.shared.inner);
        let patient = self.shared.target.waits;
        let waits = |inner: &mut Inner| {
            inner.state == State::Connecting && (patient || inner.unreached.is_none())
        };
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
            if let Some(why) = self.unreached() {
                crate::warn!("{why}");
            }
            return Err(match self.state() {
                State::Closed => Code::SESSION_EXPIRED,
                State::AuthFailed => Code::AUTH_FAILED,
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
            let Some(line) = &inner.line else {
                return Err(Code::CONNECTION_LOSS);
            };
            if line.write_all(&bytes).is_err() {
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
        if let Some(line) = inner.line.take() {
            let _gone = line.socket().shutdown(std::net::Shutdown::Both);
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

/// What a server must be told anew on every connection.
fn said_again(inner: &Inner) -> Vec<u8> {
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
    again
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// `host:port`, the port ZooKeeper's own where none is named.
fn ported(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:2181"),
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
            let mut reasons = Vec::new();
            for host in self.target.hosts() {
                let named = ported(host);
                let socket = match self.dial(&named) {
                    Ok(socket) => socket,
                    Err(why) => {
                        reasons.push(format!("cannot reach {named} ({why})"));
                        continue;
                    }
                };
                let Some(mut frames) = self.shake_hands(&named, socket) else {
                    continue;
                };
                if !lock(&self.inner).state.is_alive() {
                    return;
                }
                begun = true;
                self.read_until_lost(&mut frames);
                self.lose();
                break;
            }
            let mut inner = lock(&self.inner);
            let nobody = reasons.len() == self.target.hosts().len();
            inner.unreached = nobody.then(|| reasons.join("; "));
            self.changed.notify_all();
            let waits = |_: &mut Inner| !self.closing.load(Ordering::Relaxed);
            drop(self.changed.wait_timeout_while(
                inner,
                if begun { PAUSE * 5 } else { PAUSE },
                waits,
            ));
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.target.timeout_ms.max(1).unsigned_abs().into())
    }

    /// The first of a name's addresses where somebody listens, or why there is none.
    fn dial(&self, named: &str) -> Result<TcpStream, String> {
        let mut why = "name does not resolve".to_owned();
        for address in named.to_socket_addrs().into_iter().flatten() {
            match TcpStream::connect_timeout(&address, self.patience()) {
                Ok(socket) => return Ok(socket),
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                    why = "connection refused".to_owned();
                }
                Err(cause) => why = cause.to_string(),
            }
        }
        Err(why)
    }

    /// A connection with the session on it; `None` where it did not come about.
    fn shake_hands(&self, named: &str, socket: TcpStream) -> Option<Frames> {
        socket.set_nodelay(true).ok()?;
        socket.set_read_timeout(Some(self.patience())).ok()?;
        let line = Arc::new(self.line(named, socket)?);
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
        line.write_all(&hello).ok()?;
        let mut frames = Frames::of(line);
        let answer = frames.next().ok()?;
        self.welcomed(&mut frames, &answer).ok()?;
        Some(frames)
    }

    /// The connection, secured where it is to be.
    fn line(&self, named: &str, socket: TcpStream) -> Option<Line> {
        let Some(dialler) = &self.target.security.dialler else {
            return Some(Line::Open(socket));
        };
        let host = named.rsplit_once(':').map_or(named, |(host, _)| host);
        match dialler.connect(host, socket) {
            Ok(line) => Some(Line::Secure(Box::new(line))),
            Err(cause) => {
                // Said once: it is tried again and again.
                if !self.has_said.swap(true, Ordering::Relaxed) {
                    crate::warn!("TLS with {named}: {cause}");
                }
                None
            }
        }
    }

    /// The server's answer to the handshake.
    fn welcomed(&self, frames: &mut Frames, answer: &[u8]) -> Result<(), Lost> {
        let mut reader = Reader::new(answer);
        let (_version, timeout_ms, session) = (reader.int()?, reader.int()?, reader.long()?);
        let password = reader.buffer()?.unwrap_or_default().to_vec();
        if timeout_ms <= 0 {
            self.end(State::Closed, "Expired");
            return Ok(());
        }
        {
            let mut inner = lock(&self.inner);
            (inner.session, inner.password) = (session, password);
        }
        tell(&self.print, "SyncConnected", "None", "null", -1);
        if let Some(login) = &self.target.security.login {
            if !self.believed(frames, login)? {
                self.end(State::AuthFailed, "AuthFailed");
                return Ok(());
            }
            tell(&self.print, "SaslAuthenticated", "None", "null", -1);
        }
        let mut inner = lock(&self.inner);
        let again = said_again(&inner);
        inner.line = Some(Arc::clone(frames.line()));
        if !again.is_empty() {
            // A connection that is lost at once is seen by whoever reads it.
            let _lost = frames.line().write_all(&again);
        }
        let ping_after = u64::from(timeout_ms.unsigned_abs() / 3).max(1);
        // Without it nobody would ping; the session then ends as if the network had.
        let socket = frames.line().socket();
        let _kept = socket.set_read_timeout(Some(Duration::from_millis(ping_after)));
        inner.state = State::Connected;
        inner.unreached = None;
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// The session is over, for the reason that is told.
    fn end(&self, state: State, told: &str) {
        // Before anybody who waits goes on, and perhaps ends the program.
        tell(&self.print, told, "None", "null", -1);
        self.closing.store(true, Ordering::Relaxed);
        lock(&self.inner).state = state;
        self.changed.notify_all();
    }

    /// Shows by SASL who this is; whether the server believes it, and is one that knows the password.
    fn believed(&self, frames: &mut Frames, login: &Login) -> Result<bool, Lost> {
        let mut ask = |token: &[u8]| -> Result<Option<Vec<u8>>, Lost> {
            let bytes = framed(|w| {
                w.int(0).int(ops::SASL).buffer(Some(token));
            });
            frames.line().write_all(&bytes)?;
            let answer = frames.next()?;
            let mut reader = Reader::new(&answer);
            if ReplyHeader::read(&mut reader)?.code != Code::OK {
                return Ok(None);
            }
            Ok(Some(reader.buffer()?.unwrap_or_default().to_vec()))
        };
        let random = Chance::from_kernel().next_u64().to_string();
        let Some(question) = ask(&[])? else {
            return Ok(false);
        };
        let Some(answer) = login.answer(&question, &random) else {
            return Ok(false);
        };
        Ok(ask(&answer.token)? == Some(answer.proof))
    }

    fn read_until_lost(&self, frames: &mut Frames) {
        let mut silent = 0;
        loop {
            let before = frames.begun();
            let bytes = match frames.next() {
                Ok(bytes) => bytes,
                Err(cause)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]
                        .contains(&cause.kind()) =>
                {
                    silent = if frames.begun() > before {
                        0
                    } else {
                        silent + 1
                    };
                    let ping = framed(|w| {
                        w.int(ops::XID_PING).int(ops::PING);
                    });
                    if silent > 2 || frames.line().write_all(&ping).is_err() {
                        return;
                    }
                    continue;
                }
                Err(_) => return,
            };
            silent = 0;
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
        inner.line = None;
        let over = !inner.state.is_alive() || self.closing.load(Ordering::Relaxed);
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
