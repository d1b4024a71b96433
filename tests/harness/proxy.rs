//! A wire between clients and a broker that is cut at awkward moments.
//!
//! Frames are followed only as far as that takes: which one is a produce, and where its answer
//! begins. Every cut ends both sides of its connection at once, so that the client cannot know what
//! became of its request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::ports::free_port;

/// The key of Produce.
const PRODUCE: [u8; 2] = [0, 0];

/// Where a produce is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Half of the request arrives.
    InRequest,
    /// The request arrives, nothing of its answer leaves.
    BeforeAnswer,
    /// Half of the answer leaves.
    InAnswer,
}

/// Listens on a port of its own; ends with its last connection.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker_port: u16,
    /// Every so many produces one is cut; 0 cuts none.
    every: AtomicUsize,
    produces: AtomicUsize,
    cuts: AtomicUsize,
    closed: AtomicBool,
}

impl Proxy {
    /// Carries everything to `broker_port`, cutting one produce in `every`.
    pub fn start(broker_port: u16, every: usize) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let shared = Arc::new(Shared {
            broker_port,
            every: AtomicUsize::new(every),
            produces: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.closed.load(Ordering::Acquire) {
                    return;
                }
                if let (Ok(client), Ok(broker)) = (
                    client,
                    TcpStream::connect((Ipv4Addr::LOCALHOST, accepting.broker_port)),
                ) {
                    carry(client, broker, &accepting);
                }
            }
        });
        Proxy { port, shared }
    }

    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // Wakes the accepting thread; nobody there is as good.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    /// Whether this produce is cut off, and where: each place in turn.
    fn choose(&self) -> Option<Cut> {
        let every = self.every.load(Ordering::Acquire);
        let number = self.produces.fetch_add(1, Ordering::AcqRel) + 1;
        if every == 0 || !number.is_multiple_of(every) {
            return None;
        }
        self.cuts.fetch_add(1, Ordering::AcqRel);
        Some(match (number / every) % 3 {
            0 => Cut::InRequest,
            1 => Cut::BeforeAnswer,
            _ => Cut::InAnswer,
        })
    }
}

/// What the answering side of a connection is to do with the next bytes.
const PASS: usize = 0;
const DROP: usize = 1;
const HALVE: usize = 2;

fn carry(client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) {
    let next = Arc::new(AtomicUsize::new(PASS));
    for stream in [&client, &broker] {
        let _tuned = stream.set_nodelay(true);
        let _tuned = stream.set_read_timeout(Some(Duration::from_secs(120)));
    }
    let (mut asks, mut to_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    let (shared, told) = (Arc::clone(shared), Arc::clone(&next));
    std::thread::spawn(move || {
        while let Some(frame) = read_frame(&mut asks) {
            let cut = if frame[4..].starts_with(&PRODUCE) {
                shared.choose()
            } else {
                None
            };
            let sent = match cut {
                Some(Cut::InRequest) => &frame[..frame.len() / 2],
                Some(Cut::BeforeAnswer) => {
                    told.store(DROP, Ordering::Release);
                    &frame[..]
                }
                Some(Cut::InAnswer) => {
                    told.store(HALVE, Ordering::Release);
                    &frame[..]
                }
                None => &frame[..],
            };
            if to_broker.write_all(sent).is_err() || cut == Some(Cut::InRequest) {
                break;
            }
        }
        end(&asks, &to_broker);
    });
    std::thread::spawn(move || {
        let (mut broker, mut client) = (broker, client);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = broker.read(&mut buffer) {
            let given = match next.load(Ordering::Acquire) {
                PASS => len,
                HALVE => len / 2,
                _ => 0,
            };
            if client.write_all(&buffer[..given]).is_err() || given < len {
                break;
            }
        }
        end(&client, &broker);
    });
}

/// A whole request with its length; `None` at the connection's end.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix).ok()?;
    let len = usize::try_from(i32::from_be_bytes(prefix)).ok()?;
    let mut frame = prefix.to_vec();
    frame.resize(4 + len, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn end(one: &TcpStream, other: &TcpStream) {
    // Ended already is as good.
    let _ended = one.shutdown(Shutdown::Both);
    let _ended = other.shutdown(Shutdown::Both);
}
