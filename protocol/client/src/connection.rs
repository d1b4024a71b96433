//! One socket to one broker: requests go out in order, answers come back in order.
//!
//! A connection belongs to one owner (`&mut`): it may send several requests before it reads the
//! first answer. Whatever fails on the way leaves the connection useless (`is_broken`), because
//! nobody knows then which answer comes next.
//!
//! Invariant: `sent` holds exactly the requests whose answers are still to come, oldest first.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::kafka::codec;
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::frame;
use protocol::kafka::header::{self, RequestHeader};
use protocol::limits::ANSWER_BYTES_MAX;
use protocol::messages::{ApiVersionsRequest, RequestKind, ResponseKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::dial;
use crate::error::ClientError;
use crate::versions::Versions;

/// More unanswered requests than this are a fault of the caller's.
const IN_FLIGHT_MAX: usize = 1024;

/// Room made at a time for what the socket has.
const READ_BYTES: usize = 64 * 1024;

/// A request whose answer is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub correlation_id: i32,
    pub api: Api,
    pub version: i16,
}

pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: StrBytes,
    versions: Versions,
    received: BytesMut,
    sent: VecDeque<Ticket>,
    /// Answers that came while another was asked for; they are received first.
    early: VecDeque<(Ticket, ResponseKind)>,
    next_correlation: i32,
    broken: bool,
}

impl Connection {
    /// Opens a socket and asks what the other side speaks.
    pub async fn open(
        address: &str,
        client_id: &str,
        patience: Duration,
    ) -> Result<Connection, ClientError> {
        let mut connection = Self::open_unasked(address, client_id, patience).await?;
        let asked = timeout(patience, connection.ask_versions()).await;
        connection.versions = asked.map_err(|_| connection.late(Api::ApiVersions, patience))??;
        Ok(connection)
    }

    /// Opens a socket and asks nothing: for callers that know which versions to send.
    pub async fn open_unasked(
        address: &str,
        client_id: &str,
        patience: Duration,
    ) -> Result<Connection, ClientError> {
        Ok(Connection {
            stream: dial(address, patience).await?,
            address: address.to_string(),
            client_id: StrBytes::from_string(client_id.to_string()),
            versions: Versions::assumed(),
            received: BytesMut::new(),
            sent: VecDeque::new(),
            early: VecDeque::new(),
            next_correlation: 0,
            broken: false,
        })
    }

    async fn ask_versions(&mut self) -> Result<Versions, ClientError> {
        let name = StrBytes::from_static_str("rotpeter");
        let version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        let request = ApiVersionsRequest::default()
            .with_client_software_name(name)
            .with_client_software_version(version);
        let highest = Api::ApiVersions.row().version_max;
        self.send_as(Api::ApiVersions, highest, RequestKind::ApiVersions(request))
            .await?;
        let frame = self.frame().await?;
        let (due, mut body) = self.match_ticket(&frame)?;
        // Kafka: who does not speak our version answers in version 0, with error 35 and its range.
        let refused = body.first_chunk().map(|code| i16::from_be_bytes(*code))
            == Some(ErrorCode::UnsupportedVersion.code());
        let mut read_as = due.version;
        if refused {
            let offer = self.versions_answer(0, body)?;
            let range = Versions::of(offer).pick(Api::ApiVersions).unwrap_or(0);
            let again = RequestKind::ApiVersions(ApiVersionsRequest::default());
            self.send_as(Api::ApiVersions, range, again).await?;
            let frame = self.frame().await?;
            let (due, second) = self.match_ticket(&frame)?;
            (read_as, body) = (due.version, second);
        }
        let answer = self.versions_answer(read_as, body)?;
        match ErrorCode::check(answer.error_code) {
            Ok(()) => Ok(Versions::of(answer)),
            Err(error) => Err(ClientError::Refused {
                address: self.address.clone(),
                error,
            }),
        }
    }

    fn versions_answer(
        &self,
        version: i16,
        body: Bytes,
    ) -> Result<protocol::messages::ApiVersionsResponse, ClientError> {
        match codec::decode_response(Api::ApiVersions, version, body)? {
            ResponseKind::ApiVersions(answer) => Ok(answer),
            _ => Err(ClientError::Kind {
                address: self.address.clone(),
                api: Api::ApiVersions,
            }),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// How many answers are still to come.
    pub fn in_flight(&self) -> usize {
        self.sent.len() + self.early.len()
    }

    /// Sends in the highest version both speak. Not to be dropped half way.
    pub async fn send(&mut self, api: Api, request: RequestKind) -> Result<Ticket, ClientError> {
        let version = self
            .versions
            .pick(api)
            .ok_or_else(|| ClientError::NoVersion {
                address: self.address.clone(),
                api,
            })?;
        self.send_as(api, version, request).await
    }

    /// Sends in a version of the caller's. Not to be dropped half way.
    pub async fn send_as(
        &mut self,
        api: Api,
        version: i16,
        request: RequestKind,
    ) -> Result<Ticket, ClientError> {
        let ticket = self.write(api, version, &request).await?;
        self.sent.push_back(ticket);
        Ok(ticket)
    }

    /// Sends a request that gets no answer (a produce with acks 0). Not to be dropped half way.
    pub async fn send_unanswered(
        &mut self,
        api: Api,
        version: i16,
        request: RequestKind,
    ) -> Result<(), ClientError> {
        self.write(api, version, &request).await.map(|_| ())
    }

    async fn write(
        &mut self,
        api: Api,
        version: i16,
        request: &RequestKind,
    ) -> Result<Ticket, ClientError> {
        if self.sent.len() >= IN_FLIGHT_MAX {
            return Err(ClientError::TooManyInFlight(self.sent.len()));
        }
        let correlation_id = self.next_correlation;
        self.next_correlation = (self.next_correlation + 1) & i32::MAX;
        let client_id = Some(self.client_id.clone());
        let header = RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        };
        let frame = codec::encode_request(&header, request)?;
        if let Err(cause) = self.stream.write_all(&frame).await {
            return Err(self.broke(cause));
        }
        Ok(Ticket {
            correlation_id,
            api,
            version,
        })
    }

    /// Waits for the next answer. May be dropped while waiting: nothing is lost.
    pub async fn receive(&mut self) -> Result<(Ticket, ResponseKind), ClientError> {
        match self.early.pop_front() {
            Some(answer) => Ok(answer),
            None => self.next().await,
        }
    }

    async fn next(&mut self) -> Result<(Ticket, ResponseKind), ClientError> {
        let frame = self.frame().await?;
        let (ticket, body) = self.match_ticket(&frame)?;
        Ok((
            ticket,
            codec::decode_response(ticket.api, ticket.version, body)?,
        ))
    }

    /// Sends and waits for the answer. Answers to what was sent before are kept for
    /// [`Connection::receive`].
    pub async fn ask(
        &mut self,
        api: Api,
        request: RequestKind,
        patience: Duration,
    ) -> Result<ResponseKind, ClientError> {
        let ticket = self.send(api, request).await?;
        self.answer_to(ticket, patience).await
    }

    /// The same in a version of the caller's choice.
    pub async fn ask_as(
        &mut self,
        api: Api,
        version: i16,
        request: RequestKind,
        patience: Duration,
    ) -> Result<ResponseKind, ClientError> {
        let ticket = self.send_as(api, version, request).await?;
        self.answer_to(ticket, patience).await
    }

    async fn answer_to(
        &mut self,
        ticket: Ticket,
        patience: Duration,
    ) -> Result<ResponseKind, ClientError> {
        let api = ticket.api;
        let answer = async {
            loop {
                let (came, answer) = self.next().await?;
                if came == ticket {
                    return Ok(answer);
                }
                self.early.push_back((came, answer));
            }
        };
        match timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.late(api, patience)),
        }
    }

    async fn frame(&mut self) -> Result<Bytes, ClientError> {
        loop {
            match frame::take(&mut self.received, ANSWER_BYTES_MAX) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(cause) => {
                    self.broken = true;
                    return Err(ClientError::Frame {
                        address: self.address.clone(),
                        cause,
                    });
                }
            }
            self.received.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => {
                    self.broken = true;
                    return Err(ClientError::Closed {
                        address: self.address.clone(),
                    });
                }
                Ok(_) => {}
                Err(cause) => return Err(self.broke(cause)),
            }
        }
    }

    fn match_ticket(&mut self, frame: &Bytes) -> Result<(Ticket, Bytes), ClientError> {
        let address = || self.address.clone();
        let Some(ticket) = self.sent.pop_front() else {
            let error = ClientError::Correlation {
                address: address(),
                due: -1,
                got: -1,
            };
            self.broken = true;
            return Err(error);
        };
        match header::read_answer_header(ticket.api, ticket.version, frame) {
            Ok((got, body)) if got == ticket.correlation_id => Ok((ticket, body)),
            Ok((got, _)) => {
                let due = ticket.correlation_id;
                let error = ClientError::Correlation {
                    address: address(),
                    due,
                    got,
                };
                self.broken = true;
                Err(error)
            }
            Err(cause) => {
                let error = ClientError::Header {
                    address: address(),
                    cause,
                };
                self.broken = true;
                Err(error)
            }
        }
    }

    fn broke(&mut self, cause: io::Error) -> ClientError {
        self.broken = true;
        ClientError::Broken {
            address: self.address.clone(),
            cause,
        }
    }

    fn late(&mut self, api: Api, patience: Duration) -> ClientError {
        self.broken = true;
        let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        ClientError::Timeout {
            address: self.address.clone(),
            api,
            waited_ms,
        }
    }
}
