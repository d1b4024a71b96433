//! A hole in the network that can be closed: a TCP proxy before ZooKeeper.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use harness::ports::free_port;

/// Passes bytes both ways until it is cut; then nothing gets through and nobody is told, as with
/// a firewall: open connections fall silent, new ones are taken and never answered.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    cut: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn before(target: u16) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let inside = Arc::new(Mutex::new(Inside::default()));
        let proxy = Proxy {
            port,
            inside: Arc::clone(&inside),
        };
        std::thread::spawn(move || {
            for incoming in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let mut held = inside.lock().unwrap();
                for stream in [&incoming, &server] {
                    held.open.extend(stream.try_clone());
                }
                drop(held);
                for (from, to) in [(&incoming, &server), (&server, &incoming)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let inside = Arc::clone(&inside);
                    std::thread::spawn(move || pass(from, to, &inside));
                }
            }
        });
        proxy
    }

    /// Nothing passes any more; no connection is closed.
    pub(crate) fn cut(&self) {
        self.inside.lock().unwrap().cut = true;
    }

    /// What was silent is closed at last, and new connections pass.
    pub(crate) fn heal(&self) {
        let mut inside = self.inside.lock().unwrap();
        inside.cut = false;
        for stream in inside.open.drain(..) {
            // Closed by its own end already, as likely as not.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, inside: &Mutex<Inside>) {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        if inside.lock().unwrap().cut {
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    if !inside.lock().unwrap().cut {
        // The other direction ends by the same close.
        let _closed = to.shutdown(Shutdown::Both);
    }
}
