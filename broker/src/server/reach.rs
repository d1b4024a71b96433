//! Whether clients would find this broker where it says it is: the commonest mistake of all.
//!
//! A client's first connection goes to an address its owner typed; every further one goes to what
//! the broker advertises. So a wrong advertised address shows as a client that connects and then
//! hangs. Here the broker tries it itself, once, after its start, and says what it found. It never
//! keeps the broker from starting: names may resolve for clients only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::stop::Stop;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use crate::config::Endpoint;
use crate::net::knocks::{Knock, Knocks};

/// How long one look may take; a firewall that drops packets answers nothing at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found at an advertised address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Us,
    /// The name means nothing to this machine.
    Unresolved,
    /// Nobody answers there: with what the system said.
    Silent(String),
    /// An address only this machine can use, while the listener is open to others.
    OnlyThisMachine(IpAddr),
    /// The name leads to another machine or another port than the listener's.
    Elsewhere(SocketAddr),
}

/// Looks at every advertised listener and warns in plain words, as long as the listeners are open.
pub(crate) async fn look(
    advertised: &[Endpoint],
    bound: &[(String, SocketAddr)],
    knocks: &Knocks,
    closing: &Stop,
) {
    for endpoint in advertised {
        let own: Vec<SocketAddr> = bound
            .iter()
            .filter(|(name, _)| *name == endpoint.name)
            .map(|(_, address)| *address)
            .collect();
        let found = tokio::select! {
            biased;
            () = closing.stopped() => return,
            found = tokio::time::timeout(PATIENCE, find(endpoint, &own, knocks)) => found,
        };
        // Whoever knocks while a door is closed finds nobody, and that says nothing of its address.
        if closing.is_stopped() {
            return;
        }
        let (found, knock) = found.unwrap_or_else(|_late| {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            (Found::Silent(reason), None)
        });
        match found {
            Found::Us => debug!(listener = %endpoint, "the advertised address leads here"),
            found => warn!(listener = %endpoint, "{}", words(endpoint, &found)),
        }
        if let Some(knock) = knock {
            tokio::select! { () = closing.stopped() => return, () = knock.heard() => {} }
        }
    }
}

/// With what is found goes the connection, where it ends at a socket of ours.
async fn find(endpoint: &Endpoint, own: &[SocketAddr], knocks: &Knocks) -> (Found, Option<Knock>) {
    let resolved = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let resolved: Vec<SocketAddr> = match resolved {
        Ok(found) => found.collect(),
        Err(_unknown) => return (Found::Unresolved, None),
    };
    if resolved.is_empty() {
        return (Found::Unresolved, None);
    }
    let mut reason = String::new();
    for address in &resolved {
        match knocks.knock(*address).await {
            Ok(knock) => {
                let found = judge(endpoint, &knock.stream, *address, own);
                let is_elsewhere = matches!(found, Found::Elsewhere(_));
                return (found, (!is_elsewhere).then_some(knock));
            }
            Err(error) => reason = error.to_string(),
        }
    }
    (Found::Silent(reason), None)
}

/// Somebody answers. It is us if the connection ends at a socket that we bound.
fn judge(endpoint: &Endpoint, stream: &TcpStream, at: SocketAddr, own: &[SocketAddr]) -> Found {
    let here = stream
        .local_addr()
        .is_ok_and(|local| local.ip().to_canonical() == at.ip().to_canonical());
    let bound = own.iter().any(|own| {
        own.port() == at.port()
            && (own.ip().is_unspecified() || own.ip().to_canonical() == at.ip().to_canonical())
    });
    if !(bound && (here || at.ip().is_loopback())) {
        return Found::Elsewhere(at);
    }
    let open_to_others = own.iter().any(|own| !own.ip().to_canonical().is_loopback());
    // A name was written and it is this machine's loopback: others resolve it to themselves.
    let meant = endpoint.host != "localhost" && endpoint.host.parse::<IpAddr>().is_err();
    if at.ip().to_canonical().is_loopback() && open_to_others && meant {
        return Found::OnlyThisMachine(at.ip());
    }
    Found::Us
}

fn words(endpoint: &Endpoint, found: &Found) -> String {
    let Endpoint {
        name, host, port, ..
    } = endpoint;
    let fix = format!(
        "Set advertised.listeners={name}://HOST:PORT to a name and port that every client and every \
         other broker can reach"
    );
    match found {
        Found::Us => String::new(),
        Found::Unresolved => format!(
            "clients are told to connect to {host}:{port}, but the name {host} does not resolve on \
             this machine. Unless it resolves where the clients are, they will connect once and then \
             hang. {fix}."
        ),
        Found::Silent(reason) => format!(
            "clients are told to connect to {host}:{port}, but this broker cannot reach itself there \
             ({reason}). Unless that address leads here from where the clients are, they will connect \
             once and then hang. {fix}."
        ),
        Found::OnlyThisMachine(ip) => format!(
            "clients are told to connect to {host}:{port}, which is {ip} on this machine: an address \
             that leads every other machine to itself. Clients elsewhere will hang unless they \
             resolve {host} to this machine's address. {fix}."
        ),
        Found::Elsewhere(at) => format!(
            "clients are told to connect to {host}:{port}, which leads to {at}, where something else \
             than this broker's listener answers. That is right only if it passes connections on to \
             this broker. {fix}."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint {
            name: "PLAINTEXT".to_owned(),
            host: host.to_owned(),
            port,
            protocol: Protocol::Plaintext,
        }
    }

    #[tokio::test]
    async fn our_own_listener_is_found_and_anything_else_is_told_apart() {
        let own = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, other) = (own.local_addr().unwrap(), other.local_addr().unwrap());
        let at = endpoint("127.0.0.1", own.port());
        let stream = TcpStream::connect(own).await.unwrap();
        assert_eq!(judge(&at, &stream, own, &[own]), Found::Us);
        let stream = TcpStream::connect(other).await.unwrap();
        assert_eq!(judge(&at, &stream, other, &[own]), Found::Elsewhere(other));
    }

    #[tokio::test]
    async fn a_name_that_means_nothing_and_a_port_nobody_has_are_told() {
        let knocks = Knocks::default();
        let (found, _) = find(&endpoint(&"n".repeat(64), 1), &[], &knocks).await;
        assert_eq!(found, Found::Unresolved);
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        let (found, _) = find(&endpoint("127.0.0.1", port), &[], &knocks).await;
        let Found::Silent(reason) = &found else {
            panic!("{found:?}")
        };
        assert!(reason.contains("refused"), "{reason}");
        let told = words(&endpoint("127.0.0.1", port), &found);
        assert!(told.contains("Set advertised.listeners=PLAINTEXT://HOST:PORT"));
    }
}
