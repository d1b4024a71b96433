//! The listeners that are open, opened and closed while the broker runs.
//!
//! Each listener has a stop of its own: closing one ends its connections and leaves the others
//! alone. Kafka: a listener that keeps its name keeps its address until the next start, whatever
//! the settings say meanwhile (`DynamicListenerConfig.reconfigure`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base::stop::{Stopper, pair};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::config::Endpoint;
use crate::net::listen::{self, Bound, Reception};

/// All open listeners. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Gates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reception: Reception,
    /// Where connections live.
    data: Handle,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    gates: BTreeMap<String, Gate>,
    /// The broker is stopping: whatever the settings say, nothing is opened any more.
    is_over: bool,
}

#[derive(Debug)]
struct Gate {
    stopper: Stopper,
    addresses: Vec<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
}

impl Gates {
    pub(crate) fn new(reception: Reception, data: Handle) -> Self {
        Gates(Arc::new(Shared {
            reception,
            data,
            open: Mutex::default(),
        }))
    }

    pub(crate) fn reception(&self) -> &Reception {
        &self.0.reception
    }

    /// Accepts on a bound listener from now on.
    pub(crate) fn open(&self, bound: Bound) -> io::Result<()> {
        let _data = self.0.data.enter();
        let (stopper, stop) = pair();
        let name = bound.listener.to_string();
        let addresses = bound.addresses.clone();
        let accepting = bound.accept(&self.0.reception, &stop)?;
        let gate = Gate {
            stopper,
            addresses,
            accepting,
        };
        let mut open = self.0.open.lock();
        match open.is_over {
            true => gate.stopper.stop(),
            false => drop(open.gates.insert(name, gate)),
        }
        Ok(())
    }

    /// Opens what is wanted and not open, closes what is open and not wanted.
    pub(crate) async fn obey(&self, wanted: &[Endpoint], backlog: i32) {
        let is_wanted = |name: &str| wanted.iter().any(|at| at.name == name);
        let closed: Vec<(String, Gate)> = {
            let mut open = self.0.open.lock();
            let names = open.gates.keys().filter(|name| !is_wanted(name));
            let names: Vec<String> = names.cloned().collect();
            let take = |name: String| open.gates.remove(&name).map(|gate| (name, gate));
            names.into_iter().filter_map(take).collect()
        };
        for (listener, gate) in closed {
            info!(
                listener,
                "a listener is closed, because listeners names it no more"
            );
            gate.close().await;
        }
        for at in wanted {
            {
                let open = self.0.open.lock();
                if open.is_over || open.gates.contains_key(&at.name) {
                    continue;
                }
            }
            let opened = match listen::bind(&at.name, &at.host, at.port, backlog) {
                Ok(bound) => self.open(bound).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match opened {
                Ok(()) => info!(listener = %at, "a listener is opened"),
                Err(reason) => error!(
                    listener = %at, reason,
                    "a new listener cannot be opened; set listeners without it, or free its address \
                     and set listeners once more"
                ),
            }
        }
    }

    /// Every bound address with its listener's name.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let open = self.0.open.lock();
        let each = |(name, gate): (&String, &Gate)| {
            let named = gate.addresses.iter().map(|at| (name.clone(), *at));
            named.collect::<Vec<_>>()
        };
        open.gates.iter().flat_map(each).collect()
    }

    /// Closes all for good; returns when the last connection has ended.
    pub(crate) async fn close(&self) {
        let over = Open {
            is_over: true,
            ..Open::default()
        };
        let open = std::mem::replace(&mut *self.0.open.lock(), over).gates;
        for gate in open.values() {
            gate.stopper.stop();
        }
        for gate in open.into_values() {
            gate.close().await;
        }
    }
}

impl Gate {
    async fn close(self) {
        self.stopper.stop();
        for accepting in self.accepting {
            // A listener that panicked has been reported.
            let _ended = accepting.await;
        }
    }
}
