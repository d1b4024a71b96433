//! `/brokers/ids/<id>`: where a broker listens, under which names, in which rack.

use super::json::{BodyError, Fields, Object};

/// One advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub listener: String,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: String,
    pub host: String,
    pub port: i32,
}

impl Endpoint {
    /// The protocol's number on the wire. Kafka: `SecurityProtocol.id`.
    pub fn protocol_id(&self) -> i16 {
        match self.protocol.as_str() {
            "SSL" => 1,
            "SASL_PLAINTEXT" => 2,
            "SASL_SSL" => 3,
            _ => 0,
        }
    }

    fn connection_text(&self) -> String {
        if self.host.contains(':') {
            format!("{}://[{}]:{}", self.listener, self.host, self.port)
        } else {
            format!("{}://{}:{}", self.listener, self.host, self.port)
        }
    }
}

/// One feature a broker can do, with its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: String,
    pub min_version: i32,
    pub max_version: i32,
}

/// The newest version of a registration's body.
pub const VERSION: i32 = 5;

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Of the body: what older brokers cannot read is left out below [`VERSION`].
    pub version: i32,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub features: Vec<Feature>,
    pub jmx_port: i32,
    pub timestamp: i64,
}

impl Broker {
    /// Endpoints since version 2, the rack since 3, the protocols of listeners since 4, features
    /// since 5. Kafka: `BrokerIdZNode.encode`.
    pub fn encode(&self) -> String {
        let plain = self
            .endpoints
            .iter()
            .find(|endpoint| endpoint.protocol == "PLAINTEXT");
        let features = self.features.iter().fold(Object::new(), |object, feature| {
            let range = Object::new()
                .number("min_version", feature.min_version)
                .number("max_version", feature.max_version);
            object.object(&feature.name, range)
        });
        let protocols = self
            .endpoints
            .iter()
            .fold(Object::new(), |object, endpoint| {
                object.text(&endpoint.listener, &endpoint.protocol)
            });
        let endpoints: Vec<String> = self
            .endpoints
            .iter()
            .map(Endpoint::connection_text)
            .collect();
        let mut body = Object::new();
        if self.version >= 5 {
            body = body.object("features", features);
        }
        if self.version >= 4 {
            body = body.object("listener_security_protocol_map", protocols);
        }
        body = body.texts("endpoints", &endpoints);
        if self.version >= 3
            && let Some(rack) = &self.rack
        {
            body = body.text("rack", rack);
        }
        body = body.number("jmx_port", self.jmx_port);
        body = match plain {
            Some(plain) => body.number("port", plain.port).text("host", &plain.host),
            None => body.number("port", -1).raw("host", "null"),
        };
        body.number("version", self.version)
            .text("timestamp", &self.timestamp.to_string())
            .end()
    }

    /// Reads versions 1 to 5. Kafka: `BrokerIdZNode.decode`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        let version = fields.i32("version")?;
        if version < 1 {
            return Err(BodyError::Version(i64::from(version)));
        }
        let jmx_port = fields.i32("jmx_port")?;
        let endpoints = if version == 1 {
            vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                protocol: "PLAINTEXT".to_owned(),
                host: fields.text("host")?.to_owned(),
                port: fields.i32("port")?,
            }]
        } else {
            let protocols = fields.get("listener_security_protocol_map");
            let protocols = protocols.and_then(serde_json::Value::as_object);
            let mut endpoints: Vec<Endpoint> = Vec::new();
            for text in fields.texts("endpoints")? {
                let endpoint = parse_endpoint(&text, protocols)?;
                if endpoints
                    .iter()
                    .any(|other| other.listener == endpoint.listener)
                {
                    return Err(BodyError::Field("endpoints"));
                }
                endpoints.push(endpoint);
            }
            endpoints
        };
        let mut features = Vec::new();
        if let Some(object) = fields
            .get("features")
            .and_then(serde_json::Value::as_object)
        {
            for (name, range) in object {
                let range = Fields::from_value(range).map_err(|_| BodyError::Field("features"))?;
                features.push(Feature {
                    name: name.clone(),
                    min_version: range.i32("min_version")?,
                    max_version: range.i32("max_version")?,
                });
            }
        }
        Ok(Broker {
            version,
            endpoints,
            rack: fields.text_or_none("rack")?.map(str::to_owned),
            features,
            jmx_port,
            timestamp: fields.text_i64("timestamp").unwrap_or(-1),
        })
    }

    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.listener == listener)
    }
}

fn parse_endpoint(
    text: &str,
    protocols: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<Endpoint, BodyError> {
    let wrong = BodyError::Field("endpoints");
    let (listener, address) = text.split_once("://").ok_or(wrong.clone())?;
    let (host, port) = address.rsplit_once(':').ok_or(wrong.clone())?;
    let listener = listener.to_ascii_uppercase();
    let protocol = match protocols {
        Some(map) => map
            .get(&listener)
            .and_then(serde_json::Value::as_str)
            .ok_or(wrong.clone())?
            .to_owned(),
        None => listener.clone(),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.parse().map_err(|_| wrong)?;
    Ok(Endpoint {
        listener,
        protocol,
        host: host.to_owned(),
        port,
    })
}
