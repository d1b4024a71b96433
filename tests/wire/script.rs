//! Asking in order and writing down what came back: the verbs scenarios are told with.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::RangeInclusive;
use std::time::Duration;

use harness::wait;
use protocol::kafka::apis::Api;
use serde_json::{Value, json};

use crate::fields::Messages;
use crate::sides::Side;

/// Longer than any answer takes, on a loaded machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// All versions of an API.
pub(crate) const ALL: RangeInclusive<i16> = 0..=i16::MAX;

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Came {
    Answer(Value),
    /// Bytes that are no answer of that API and version, and why.
    Garbage(String),
    /// The connection was closed instead.
    Closed,
    /// Nothing, and the connection went on.
    Nothing,
    /// Nothing at all: asking this is a mistake in the scenario.
    Late,
}

/// One question and what came back.
pub(crate) struct Exchange {
    pub(crate) api: Api,
    pub(crate) version: i16,
    pub(crate) case: String,
    /// The row of what is held back that this belongs to.
    pub(crate) held: Option<String>,
    pub(crate) came: Came,
}

/// One client's connection; opened when first used, and again after it was closed.
#[derive(Default)]
pub(crate) struct Client {
    socket: Option<TcpStream>,
}

/// A question under way on a client's connection.
pub(crate) struct Asked {
    api: Api,
    version: i16,
    correlation: i32,
}

pub(crate) struct Script<'a> {
    pub(crate) side: &'a Side,
    pub(crate) messages: &'a Messages,
    pub(crate) exchanges: Vec<Exchange>,
    client: Client,
    correlation: i32,
    held: Option<String>,
}

pub(crate) fn api(name: &str) -> Api {
    Api::from_name(name).unwrap_or_else(|| panic!("no API is called {name}"))
}

pub(crate) fn versions(name: &str) -> RangeInclusive<i16> {
    let row = api(name).row();
    row.version_min..=row.version_max
}

impl<'a> Script<'a> {
    pub(crate) fn new(side: &'a Side, messages: &'a Messages) -> Self {
        Script {
            side,
            messages,
            exchanges: Vec::new(),
            client: Client::default(),
            correlation: 0,
            held: None,
        }
    }

    /// The same question at every version in `among` that the API has.
    pub(crate) fn each(
        &mut self,
        name: &str,
        among: RangeInclusive<i16>,
        case: &str,
        mut body: impl FnMut(i16) -> Value,
    ) {
        for version in versions(name).filter(|version| among.contains(version)) {
            self.once(name, version, case, body(version));
        }
    }

    pub(crate) fn once(&mut self, name: &str, version: i16, case: &str, body: Value) -> Value {
        let mut client = std::mem::take(&mut self.client);
        let answer = self.once_on(&mut client, name, version, case, body);
        self.client = client;
        answer
    }

    pub(crate) fn once_on(
        &mut self,
        client: &mut Client,
        name: &str,
        version: i16,
        case: &str,
        body: Value,
    ) -> Value {
        let asked = self.ask(client, name, version, body);
        self.answer(client, asked, case)
    }

    /// Sends and does not wait.
    pub(crate) fn ask(
        &mut self,
        client: &mut Client,
        name: &str,
        version: i16,
        body: Value,
    ) -> Asked {
        let api = api(name);
        let body = self.messages.request_body(api, version, &body);
        self.ask_bytes(client, api, version, &body)
    }

    pub(crate) fn ask_bytes(
        &mut self,
        client: &mut Client,
        api: Api,
        version: i16,
        body: &[u8],
    ) -> Asked {
        self.correlation += 1;
        let mut frame = opening(api.key(), version, self.correlation);
        let header = api.request_header_version(version);
        if header >= 1 {
            frame.extend(b"\0\x04wire");
        }
        if header >= 2 {
            frame.push(0);
        }
        frame.extend(body);
        self.send(client, &frame);
        Asked {
            api,
            version,
            correlation: self.correlation,
        }
    }

    /// Waits for the answer of what was asked, and writes it down.
    pub(crate) fn answer(&mut self, client: &mut Client, asked: Asked, case: &str) -> Value {
        let came = self.receive(client, &asked);
        self.write_down(asked.api, asked.version, case, came)
    }

    pub(crate) fn write_down(&mut self, api: Api, version: i16, case: &str, came: Came) -> Value {
        let value = if let Came::Answer(value) = &came {
            value.clone()
        } else {
            Value::Null
        };
        let again = self
            .exchanges
            .iter()
            .any(|e| e.api == api && e.version == version && e.case == case);
        assert!(!again, "{} {version} has two cases {case:?}", api.name());
        self.exchanges.push(Exchange {
            api,
            version,
            case: case.to_owned(),
            held: self.held.clone(),
            came,
        });
        value
    }

    /// Asks what no answer is due to: whatever comes first, then, is the answer of the question behind it.
    pub(crate) fn unanswered(&mut self, name: &str, version: i16, case: &str, body: Value) {
        let mut client = Client::default();
        let asked = self.ask(&mut client, name, version, body);
        let behind = self.ask(&mut client, "ApiVersions", 0, json!({}));
        let came = match read_frame(&mut client) {
            Ok(frame) if frame.starts_with(&behind.correlation.to_be_bytes()) => Came::Nothing,
            Ok(frame) => self.read(&asked, &frame),
            Err(none) => none,
        };
        self.write_down(asked.api, asked.version, case, came);
    }

    /// A frame as it stands, for an API and version that it may not even name itself.
    pub(crate) fn frame(&mut self, name: &str, version: i16, case: &str, frame: &[u8]) {
        let mut client = Client::default();
        self.send(&mut client, frame);
        let correlation = frame
            .get(4..8)
            .map_or(0, |bytes| i32::from_be_bytes(bytes.try_into().unwrap()));
        let asked = Asked {
            api: api(name),
            version,
            correlation,
        };
        let came = self.receive(&mut client, &asked);
        self.write_down(asked.api, version, case, came);
    }

    /// Asks without writing down: what a scenario needs to know, or waits for.
    pub(crate) fn quietly(&mut self, name: &str, version: i16, body: Value) -> Value {
        let mut client = std::mem::take(&mut self.client);
        let asked = self.ask(&mut client, name, version, body);
        let came = self.receive(&mut client, &asked);
        self.client = client;
        match came {
            Came::Answer(value) => value,
            other => panic!("{name} {version}: {other:?}"),
        }
    }

    /// What belongs to a row of the list of what is held back: asked of ours alone, compared with that row alone.
    pub(crate) fn held_back(&mut self, row: &str, told: impl FnOnce(&mut Self)) {
        if self.side.is_ours {
            self.held = Some(row.to_owned());
            told(self);
            self.held = None;
        }
    }

    /// Makes topics of so many partitions each, and waits until they can be used.
    pub(crate) fn make_topics(&mut self, topics: &[(&str, i32)]) {
        let made: Vec<_> = topics.iter().map(|(name, count)| {
            json!({"name": name, "numPartitions": count, "replicationFactor": 1})
        }).collect();
        self.quietly(
            "CreateTopics",
            7,
            json!({"topics": made, "timeoutMs": 50000}),
        );
        for (name, _) in topics {
            self.await_topic(name);
        }
    }

    /// Waits until a topic's partitions all have their leader; gives its id.
    pub(crate) fn await_topic(&mut self, name: &str) -> String {
        wait::until(name, ANSWER_LIMIT, || {
            let answer = self.quietly("Metadata", 12, json!({"topics": [{"name": name}]}));
            let topic = &answer["topics"][0];
            let partitions = topic["partitions"].as_array()?;
            let led = partitions
                .iter()
                .all(|p| p["errorCode"] == 0 && p["leaderId"] == 1);
            let served = !partitions.is_empty()
                && led
                && topic["errorCode"] == 0
                && self.latest_offset_is_known(name, partitions.len());
            served.then(|| topic["topicId"].as_str().unwrap().to_owned())
        })
    }

    fn latest_offset_is_known(&mut self, name: &str, count: usize) -> bool {
        let partitions: Vec<_> = (0..count)
            .map(|at| json!({"partitionIndex": at, "timestamp": -1}))
            .collect();
        let answer = self.quietly(
            "ListOffsets",
            7,
            json!({"replicaId": -1, "topics": [{"name": name, "partitions": partitions}]}),
        );
        answer["topics"][0]["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|p| p["errorCode"] == 0)
    }

    fn send(&mut self, client: &mut Client, frame: &[u8]) {
        let port = self.side.port;
        let socket = client.socket.get_or_insert_with(|| {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
            socket
        });
        let mut bytes = (frame.len() as i32).to_be_bytes().to_vec();
        bytes.extend(frame);
        // A connection that was closed meanwhile shows when the answer is read.
        let _closed = socket.write_all(&bytes);
    }

    fn receive(&mut self, client: &mut Client, asked: &Asked) -> Came {
        match read_frame(client) {
            Ok(frame) => self.read(asked, &frame),
            Err(late) => late,
        }
    }

    fn read(&self, asked: &Asked, frame: &[u8]) -> Came {
        let Asked {
            api,
            version,
            correlation,
        } = *asked;
        if !frame.starts_with(&correlation.to_be_bytes()) {
            return Came::Garbage("an answer to another question".to_owned());
        }
        let flexible = api.response_header_version(version) >= 1;
        let body = match frame.get(4..) {
            Some([0, body @ ..]) if flexible => body,
            Some(body) if !flexible => body,
            _ => return Came::Garbage("a header with tags".to_owned()),
        };
        match self.messages.read_response(api, version, body) {
            Ok(value) => Came::Answer(value),
            Err(why) => Came::Garbage(why),
        }
    }
}

/// The eight bytes every request begins with.
pub(crate) fn opening(key: i16, version: i16, correlation: i32) -> Vec<u8> {
    let mut frame = key.to_be_bytes().to_vec();
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame
}

/// The next frame, or what came instead of one; the client forgets its connection then.
fn read_frame(client: &mut Client) -> Result<Vec<u8>, Came> {
    let socket = client.socket.as_mut().unwrap();
    let mut read = || -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut frame)?;
        Ok(frame)
    };
    read().map_err(|error| {
        client.socket = None;
        let late = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        if late { Came::Late } else { Came::Closed }
    })
}
