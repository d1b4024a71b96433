//! Where the broker listens, what it advertises, and which of both the brokers use among themselves.
//!
//! Kafka: `SocketServerConfigs.listenerListToEndPoints`, `KafkaConfig.validateValues`. Listener
//! names are upper case; an empty host in `listeners` is every address of the machine, and is
//! advertised as the machine's name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use client::dial::host_and_port;
use settings::layers::Values;
use settings::value::Fault;

/// How a listener secures its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    pub fn parse(name: &str) -> Option<Protocol> {
        Some(match name {
            "PLAINTEXT" => Protocol::Plaintext,
            "SSL" => Protocol::Ssl,
            "SASL_PLAINTEXT" => Protocol::SaslPlaintext,
            "SASL_SSL" => Protocol::SaslSsl,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The number that UpdateMetadata carries.
    pub fn wire(self) -> i16 {
        match self {
            Protocol::Plaintext => 0,
            Protocol::Ssl => 1,
            Protocol::SaslPlaintext => 2,
            Protocol::SaslSsl => 3,
        }
    }
}

/// One named address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Upper case.
    pub name: String,
    /// Empty: every address, where one listens. Never empty where one advertises.
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint {
            name, host, port, ..
        } = self;
        write!(f, "{name}://{}", host_and_port(host, *port))
    }
}

/// All a broker says about its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Where to listen. A listener of KRaft's controllers is not among them.
    pub bound: Vec<Endpoint>,
    /// What clients and brokers are told. A port of 0 is to be replaced by the one really bound.
    pub advertised: Vec<Endpoint>,
    /// The protocol of every listener name known, for the registration's map.
    pub protocols: BTreeMap<String, Protocol>,
    /// The listener by which brokers reach each other.
    pub inter_broker: String,
    /// The listener that carries only the controller's requests, where there is one.
    pub control_plane: Option<String>,
}

impl Listeners {
    /// Reads and checks them all; faults are Kafka's words.
    pub fn read(values: &Values, host_name: &str) -> Result<Listeners, Vec<Fault>> {
        let mut faults = Vec::new();
        let protocols = protocol_map(values, &mut faults);
        let aside: Vec<String> = names(values.text("controller.listener.names"));
        let mut bound = endpoints("listeners", values, &protocols, true, &mut faults);
        bound.retain(|endpoint| !aside.contains(&endpoint.name));
        let mut advertised = match values.text("advertised.listeners") {
            Some(_) => endpoints(
                "advertised.listeners",
                values,
                &protocols,
                false,
                &mut faults,
            ),
            None => bound.clone(),
        };
        advertised.retain(|endpoint| !aside.contains(&endpoint.name));
        let (inter_broker, protocol) = match inter_broker(values, &protocols) {
            Ok(found) => found,
            Err(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
        let control_plane = values
            .text("control.plane.listener.name")
            .map(str::to_uppercase);
        let mut listeners = Listeners {
            bound,
            advertised,
            protocols,
            inter_broker,
            control_plane,
        };
        if faults.is_empty() {
            listeners.check(protocol, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for endpoint in &mut listeners.advertised {
            if endpoint.host.is_empty() {
                endpoint.host = host_name.to_owned();
            }
        }
        Ok(listeners)
    }

    fn check(&self, inter_broker: Protocol, faults: &mut Vec<Fault>) {
        let list = |endpoints: &[Endpoint]| {
            endpoints
                .iter()
                .map(|e| e.name.as_str())
                .collect::<Vec<_>>()
                .join(",")
        };
        let advertises = |name: &str| self.advertised.iter().any(|e| e.name == name);
        if self.advertised.is_empty() {
            faults.push(Fault::between(
                "listeners",
                "There must be at least one broker advertised listener. Perhaps all listeners \
                 appear in controller.listener.names?",
            ));
            return;
        }
        if !advertises(&self.inter_broker) {
            let fix = format!(
                "inter.broker.listener.name must be a listener name defined in \
                 advertised.listeners. The valid options based on currently configured listeners \
                 are {}",
                list(&self.advertised)
            );
            faults.push(Fault::between("inter.broker.listener.name", fix));
        }
        if self
            .advertised
            .iter()
            .any(|e| self.bound.iter().all(|b| b.name != e.name))
        {
            faults.push(Fault::between(
                "advertised.listeners",
                format!(
                    "advertised.listeners listener names must be equal to or a subset of the ones \
                     defined in listeners. Found {}. The valid options based on the current \
                     configuration are {}",
                    list(&self.advertised),
                    list(&self.bound)
                ),
            ));
        }
        if self.advertised.iter().any(|e| e.host == "0.0.0.0") {
            faults.push(Fault::between(
                "advertised.listeners",
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a \
                 routable IP address.",
            ));
        }
        if let Some(name) = &self.control_plane {
            if !advertises(name) {
                faults.push(Fault::between(
                    "control.plane.listener.name",
                    format!(
                        "control.plane.listener.name must be a listener name defined in \
                         advertised.listeners. The valid options based on currently configured \
                         listeners are {}",
                        list(&self.advertised)
                    ),
                ));
            } else if *name == self.inter_broker {
                faults.push(Fault::between(
                    "control.plane.listener.name",
                    format!(
                        "control.plane.listener.name, when defined, should have a different value \
                         from the inter broker listener name. Currently they both have the value \
                         {name}"
                    ),
                ));
            }
        }
        let secured = self
            .bound
            .iter()
            .filter(|e| e.protocol != Protocol::Plaintext);
        for endpoint in secured {
            faults.push(Fault::of(
                "listeners",
                endpoint.to_string(),
                format!(
                    "{} connections are not served yet; give the listener the protocol PLAINTEXT \
                     in listener.security.protocol.map, or take it out",
                    endpoint.protocol.name()
                ),
            ));
        }
        if inter_broker != Protocol::Plaintext
            && self.bound.iter().all(|e| e.protocol == Protocol::Plaintext)
        {
            faults.push(Fault::of(
                "security.inter.broker.protocol",
                inter_broker.name(),
                "brokers speak only PLAINTEXT among themselves yet",
            ));
        }
    }

    pub fn advertised_named(&self, name: &str) -> Option<&Endpoint> {
        self.advertised
            .iter()
            .find(|endpoint| endpoint.name == name)
    }
}

fn names(list: Option<&str>) -> Vec<String> {
    let each = list
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty());
    each.map(str::to_uppercase).collect()
}

fn protocol_map(values: &Values, faults: &mut Vec<Fault>) -> BTreeMap<String, Protocol> {
    let key = "listener.security.protocol.map";
    let text = values.text(key).unwrap_or_default();
    let mut map = BTreeMap::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let (name, protocol) = item.rsplit_once(':').unwrap_or((item, ""));
        match Protocol::parse(&protocol.trim().to_uppercase()) {
            Some(protocol) => {
                map.insert(name.trim().to_uppercase(), protocol);
            }
            None => faults.push(Fault::of(
                key,
                item,
                "each item is a listener's name, a colon, and one of PLAINTEXT, SSL, \
                 SASL_PLAINTEXT, SASL_SSL",
            )),
        }
    }
    // Kafka: with the map left alone, a controller listener is PLAINTEXT; ours never listens.
    for name in names(values.text("controller.listener.names")) {
        map.entry(name).or_insert(Protocol::Plaintext);
    }
    map
}

fn endpoints(
    key: &str,
    values: &Values,
    protocols: &BTreeMap<String, Protocol>,
    distinct_ports: bool,
    faults: &mut Vec<Fault>,
) -> Vec<Endpoint> {
    let text = values.text(key).unwrap_or_default();
    let mut found: Vec<Endpoint> = Vec::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match endpoint(item, protocols) {
            Ok(endpoint) => found.push(endpoint),
            Err(why) => faults.push(Fault::between(
                key,
                format!("Error creating broker listeners from '{text}': {why}"),
            )),
        }
    }
    for (at, endpoint) in found.iter().enumerate() {
        if found[..at].iter().any(|other| other.name == endpoint.name) {
            let why = format!("Each listener must have a different name, listeners: {text}");
            faults.push(Fault::between(key, why));
        }
        let clashes =
            |other: &&Endpoint| other.port == endpoint.port && !one_of_each(other, endpoint);
        if distinct_ports && endpoint.port != 0 && found[..at].iter().any(|o| clashes(&o)) {
            faults.push(Fault::between(
                key,
                format!(
                    "Each listener must have a different port unless exactly one listener has an \
                     IPv4 address and the other IPv6 address, listeners: {text}, port: {}",
                    endpoint.port
                ),
            ));
        }
    }
    found
}

/// Whether one is an IPv4 address and the other an IPv6 one: those may share a port.
fn one_of_each(a: &Endpoint, b: &Endpoint) -> bool {
    match (a.host.parse::<IpAddr>(), b.host.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.is_ipv4() != b.is_ipv4(),
        _ => false,
    }
}

fn endpoint(item: &str, protocols: &BTreeMap<String, Protocol>) -> Result<Endpoint, String> {
    let broken = || format!("Unable to parse {item} to a broker endpoint");
    let (name, address) = item.split_once("://").ok_or_else(broken)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(broken)?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(broken)?,
        None => host,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_' | ':');
    if !host.chars().all(plain) {
        return Err(broken());
    }
    let port = port.parse::<u16>().map_err(|_| broken())?;
    let name = name.to_uppercase();
    let protocol = *protocols
        .get(&name)
        .ok_or_else(|| format!("No security protocol defined for listener {name}"))?;
    Ok(Endpoint {
        name,
        host: host.to_owned(),
        port,
        protocol,
    })
}

fn inter_broker(
    values: &Values,
    protocols: &BTreeMap<String, Protocol>,
) -> Result<(String, Protocol), Fault> {
    let key = "inter.broker.listener.name";
    match values.text(key) {
        Some(name) => {
            let name = name.to_uppercase();
            match protocols.get(&name) {
                Some(protocol) => Ok((name, *protocol)),
                None => Err(Fault::between(
                    key,
                    format!(
                        "Listener with name {name} defined in inter.broker.listener.name not \
                         found in listener.security.protocol.map."
                    ),
                )),
            }
        }
        None => {
            let name = values
                .text("security.inter.broker.protocol")
                .unwrap_or("PLAINTEXT");
            let protocol = Protocol::parse(name).unwrap_or(Protocol::Plaintext);
            Ok((protocol.name().to_owned(), protocol))
        }
    }
}
