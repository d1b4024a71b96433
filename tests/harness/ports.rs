//! Ports for programs that must be told one before they start, and find it again after a restart.
//!
//! Invariant: no port is given twice, be it to two tests or to two test programs that run at once.
//! A test program holds a block of ports by listening on the block's first one.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// How many ports a block has, its claim included.
const BLOCK: u16 = 100;
/// Fewer between a bound and the kernel's own ports are not worth looking at.
const ROOM: u16 = 4_000;

/// The block that ports are given from.
struct Held {
    _claim: TcpListener,
    left: Range<u16>,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);
/// Blocks that are used up stay claimed: their ports are in use.
static USED_UP: Mutex<Vec<Held>> = Mutex::new(Vec::new());

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

/// A port nobody listens on, this test program's own until it ends.
pub fn free_port() -> u16 {
    // A test that panicked here has failed already; the others go on.
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let block = held.get_or_insert_with(claim);
        // Somebody else's program may listen here, or one of a test program that was killed.
        if let Some(port) = block.left.find(|port| listen(*port).is_some()) {
            return port;
        }
        let mut used_up = USED_UP.lock().unwrap_or_else(PoisonError::into_inner);
        used_up.extend(held.take());
    }
}

fn claim() -> Held {
    let all = beside_the_kernels();
    let blocks = (all.end - all.start) / BLOCK;
    // Begins anywhere, so that those who start at once seldom meet.
    let first = u16::try_from(std::process::id() % u32::from(blocks)).unwrap();
    let starts = (0..blocks).map(|at| all.start + (first + at) % blocks * BLOCK);
    for start in starts {
        if let Some(claim) = listen(start) {
            return Held {
                _claim: claim,
                left: start + 1..start + BLOCK,
            };
        }
    }
    panic!("every block of ports in {all:?} is claimed");
}

/// Ports the kernel does not give to connections that begin here: one of those would sit on the port
/// of a program that was killed and is to come back.
fn beside_the_kernels() -> Range<u16> {
    let usual = 20_000..32_000;
    let told =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = told.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (words.next(), words.next()) else {
        return usual;
    };
    if low >= usual.end || high < usual.start {
        usual
    } else if low >= 1_024 + ROOM {
        1_024..low
    } else if high < u16::MAX - ROOM {
        high + 1..u16::MAX
    } else {
        usual
    }
}
