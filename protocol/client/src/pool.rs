//! One connection a node, opened when first needed, opened again after it broke.
//!
//! A node that could not be reached is left alone for a growing while; whoever asks meanwhile
//! waits that long first.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use base::backoff::Backoff;
use base::chance::Chance;
use base::clock::Clock;
use protocol::kafka::apis::Api;
use protocol::messages::{RequestKind, ResponseKind};

use crate::connection::{Connection, Ticket};
use crate::dial::host_and_port;
use crate::error::ClientError;

/// Where one broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl Node {
    pub fn address(&self) -> String {
        host_and_port(&self.host, self.port)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub dial: Duration,
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            dial: Duration::from_secs(10),
            answer: Duration::from_secs(30),
        }
    }
}

/// Kafka: `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
const RECONNECT_FIRST_MS: i64 = 50;
const RECONNECT_MAX_MS: i64 = 1000;

struct Place {
    connection: Option<Connection>,
    backoff: Backoff,
    /// Not to be dialled before.
    again_at_ms: i64,
}

/// Connections by address.
pub struct Pool {
    client_id: String,
    patience: Patience,
    clock: Clock,
    chance: Chance,
    places: HashMap<String, Place>,
}

impl Pool {
    pub fn new(client_id: &str, patience: Patience, clock: Clock, chance: Chance) -> Self {
        let client_id = client_id.to_string();
        Pool {
            client_id,
            patience,
            clock,
            chance,
            places: HashMap::new(),
        }
    }

    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// The connection to an address, opened if need be.
    pub async fn connection(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        let place = self
            .places
            .entry(address.to_string())
            .or_insert_with(|| Place {
                connection: None,
                backoff: Backoff::new(RECONNECT_FIRST_MS, RECONNECT_MAX_MS),
                again_at_ms: i64::MIN,
            });
        if place.connection.as_ref().is_some_and(Connection::is_broken) {
            place.connection = None;
        }
        if place.connection.is_none() {
            let wait_ms = place.again_at_ms.saturating_sub(self.clock.monotonic_ms());
            if wait_ms > 0 {
                let wait_ms = wait_ms.min(RECONNECT_MAX_MS).unsigned_abs();
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
            match Connection::open(address, &self.client_id, self.patience.dial).await {
                Ok(opened) => {
                    place.connection = Some(opened);
                    place.backoff.reset();
                }
                Err(error) => {
                    let wait_ms = place.backoff.next_ms(&self.chance);
                    place.again_at_ms = self.clock.monotonic_ms().saturating_add(wait_ms);
                    return Err(error);
                }
            }
        }
        Ok(place.connection.as_mut().expect("it was opened above"))
    }

    /// The connection to an address, where one is open and sound.
    pub fn open_connection(&mut self, address: &str) -> Option<&mut Connection> {
        let connection = self.places.get_mut(address)?.connection.as_mut()?;
        (!connection.is_broken()).then_some(connection)
    }

    /// Whether a connection to an address is open and sound.
    pub fn is_open(&self, address: &str) -> bool {
        let connection = self
            .places
            .get(address)
            .and_then(|place| place.connection.as_ref());
        connection.is_some_and(|connection| !connection.is_broken())
    }

    /// Addresses with answers still to come.
    pub fn busy(&self) -> Vec<String> {
        let busy = self.places.iter().filter(|(_, place)| {
            place
                .connection
                .as_ref()
                .is_some_and(|one| !one.is_broken() && one.in_flight() > 0)
        });
        busy.map(|(address, _)| address.clone()).collect()
    }

    /// Closes the connection to an address.
    pub fn close(&mut self, address: &str) {
        if let Some(place) = self.places.get_mut(address) {
            place.connection = None;
        }
    }

    /// Asks one broker one thing.
    pub async fn ask(
        &mut self,
        address: &str,
        api: Api,
        request: RequestKind,
    ) -> Result<ResponseKind, ClientError> {
        let patience = self.patience.answer;
        self.ask_within(address, api, request, patience).await
    }

    /// The same, with a patience of its own.
    pub async fn ask_within(
        &mut self,
        address: &str,
        api: Api,
        request: RequestKind,
        patience: Duration,
    ) -> Result<ResponseKind, ClientError> {
        self.connection(address)
            .await?
            .ask(api, request, patience)
            .await
    }

    /// Asks the first of several addresses that can be reached.
    pub async fn ask_any(
        &mut self,
        addresses: &[String],
        api: Api,
        request: RequestKind,
    ) -> Result<ResponseKind, ClientError> {
        let mut last = None;
        for address in addresses {
            match self.ask(address, api, request.clone()).await {
                Err(error) if error.is_retriable() => last = Some(error),
                done => return done,
            }
        }
        let addresses = addresses.join(",");
        Err(match last {
            Some(last) => ClientError::NoneReachable {
                addresses,
                last: Box::new(last),
            },
            None => ClientError::Address(addresses),
        })
    }

    /// Waits for the next answer of any connection that owes one; for ever, when none does.
    /// May be dropped while waiting: nothing is lost.
    pub async fn receive_any(&mut self) -> (String, Result<(Ticket, ResponseKind), ClientError>) {
        let busy = self.places.iter_mut().filter_map(|(address, place)| {
            let connection = place.connection.as_mut()?;
            let owes = !connection.is_broken() && connection.in_flight() > 0;
            owes.then(|| (address, Box::pin(connection.receive())))
        });
        let mut waiting: Vec<_> = busy.collect();
        poll_fn(|context| {
            for (address, answer) in &mut waiting {
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready((address.clone(), answer));
                }
            }
            Poll::Pending
        })
        .await
    }
}
