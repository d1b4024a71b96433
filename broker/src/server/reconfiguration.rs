//! What is done when settings change while the broker runs, beyond what reads them anew each time.
//!
//! Kafka: the `BrokerReconfigurable`s of `DynamicBrokerConfig`. Logs and topics are refreshed by
//! `admin::changes`; here are the listeners and what they advertise, the bounds on connections, and
//! the cleaner.

use std::net::SocketAddr;

use base::stop::Stop;
use controller::ControllerHandle;
use tokio::sync::watch;
use tracing::error;
use znodes::bodies::broker::Broker;

use crate::config::{Endpoint, Live};
use crate::net::gates::Gates;
use crate::server::cleaner::Cleaners;
use crate::server::reach;

/// Whoever obeys changed settings.
pub(crate) struct Obedient {
    pub(crate) live: Live,
    pub(crate) gates: Gates,
    pub(crate) cleaners: Cleaners,
    pub(crate) controller: ControllerHandle,
    /// As this broker is registered now.
    pub(crate) registered: Broker,
}

impl Obedient {
    /// Obeys until stop is said.
    pub(crate) async fn follow(mut self, mut changed: watch::Receiver<u64>, stop: Stop) {
        loop {
            // What changed before this task ran is seen by the first round.
            let config = self.live.now();
            self.gates
                .obey(&config.listeners.bound, config.network.backlog)
                .await;
            let advertised = advertised(&config.listeners.advertised, &self.gates.addresses());
            self.advertise(&advertised, &stop).await;
            let places = &self.gates.reception().places;
            places.set(places.bounds().altered(&config).await);
            if let Err(reason) = self.cleaners.obey(&config.cleaner) {
                error!(%reason, "log.cleaner.threads changed, and a thread cannot be started");
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = stop.stopped() => return,
            }
        }
    }

    async fn advertise(&mut self, advertised: &[Endpoint], stop: &Stop) {
        let endpoints = registered_endpoints(advertised);
        if self.registered.endpoints == endpoints {
            return;
        }
        self.registered.endpoints = endpoints;
        let knocks = &self.gates.reception().knocks;
        reach::look(advertised, &self.gates.addresses(), knocks, stop).await;
        self.controller.register_as(self.registered.clone()).await;
    }
}

/// What clients are told, with the ports that were really bound.
pub(crate) fn advertised(wanted: &[Endpoint], bound: &[(String, SocketAddr)]) -> Vec<Endpoint> {
    let mut advertised = wanted.to_vec();
    for endpoint in advertised.iter_mut().filter(|endpoint| endpoint.port == 0) {
        if let Some((_, address)) = bound.iter().find(|(name, _)| *name == endpoint.name) {
            endpoint.port = address.port();
        }
    }
    advertised
}

/// The same as the broker's node has it.
pub(crate) fn registered_endpoints(
    advertised: &[Endpoint],
) -> Vec<znodes::bodies::broker::Endpoint> {
    let endpoint = |at: &Endpoint| znodes::bodies::broker::Endpoint {
        listener: at.name.clone(),
        protocol: at.protocol.name().to_owned(),
        host: at.host.clone(),
        port: i32::from(at.port),
    };
    advertised.iter().map(endpoint).collect()
}
