//! A connection against a broker played by the test: order, downgrade, loss.

use std::time::Duration;

use bytes::BytesMut;
use client::{ClientError, Connection};
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::kafka::{codec, frame, header::RequestHeader};
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::{
    ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse, RequestKind, ResponseKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

struct Broker {
    stream: TcpStream,
    received: BytesMut,
}

impl Broker {
    async fn accept(listener: &TcpListener) -> Broker {
        let (stream, _) = listener.accept().await.expect("a client");
        Broker {
            stream,
            received: BytesMut::new(),
        }
    }

    async fn next(&mut self) -> RequestHeader {
        loop {
            if let Some(frame) = frame::take(&mut self.received, 10_000).expect("a frame") {
                let api = Api::from_key(i16::from_be_bytes([frame[0], frame[1]])).expect("ours");
                return RequestHeader::read(api, &frame).expect("a header").0;
            }
            assert!(
                self.stream
                    .read_buf(&mut self.received)
                    .await
                    .expect("bytes")
                    > 0
            );
        }
    }

    async fn answer(&mut self, to: &RequestHeader, version: i16, answer: ResponseKind) {
        let frame = codec::encode_response(to.api, version, to.correlation_id, &answer);
        self.stream
            .write_all(&frame.expect("legal"))
            .await
            .expect("sent");
    }

    async fn greet(&mut self) {
        let asked = self.next().await;
        self.answer(&asked, asked.version, versions(0, 4)).await;
    }
}

fn versions(error: i16, apiversions_max: i16) -> ResponseKind {
    let row = |api: Api, high| {
        ApiVersion::default()
            .with_api_key(api.key())
            .with_min_version(0)
            .with_max_version(high)
    };
    let rows = vec![
        row(Api::ApiVersions, apiversions_max),
        row(Api::Heartbeat, 3),
    ];
    let answer = ApiVersionsResponse::default()
        .with_error_code(error)
        .with_api_keys(rows);
    ResponseKind::ApiVersions(answer)
}

fn heartbeat(generation: i32) -> RequestKind {
    RequestKind::Heartbeat(HeartbeatRequest::default().with_generation_id(generation))
}

#[tokio::test]
async fn asking_one_thing_loses_no_answer_to_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = async {
        let mut broker = Broker::accept(&listener).await;
        broker.greet().await;
        for throttle in [1, 2] {
            let asked = broker.next().await;
            let answer = HeartbeatResponse::default().with_throttle_time_ms(throttle);
            broker
                .answer(&asked, asked.version, ResponseKind::Heartbeat(answer))
                .await;
        }
    };
    let throttle = |answer: ResponseKind| match answer {
        ResponseKind::Heartbeat(answer) => answer.throttle_time_ms,
        _ => panic!("another kind"),
    };
    let client = async {
        let mut connection = Connection::open(&address, "me", PATIENCE)
            .await
            .expect("opened");
        let first = connection
            .send(Api::Heartbeat, heartbeat(1))
            .await
            .expect("sent");
        let second = connection.ask(Api::Heartbeat, heartbeat(2), PATIENCE).await;
        assert_eq!(throttle(second.expect("answered")), 2);
        assert_eq!(connection.in_flight(), 1);
        let (came, answer) = connection.receive().await.expect("kept");
        assert_eq!((came, throttle(answer)), (first, 1));
        assert_eq!(connection.in_flight(), 0);
    };
    tokio::join!(broker, client);
}

#[tokio::test]
async fn answers_come_back_in_the_order_of_the_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = async {
        let mut broker = Broker::accept(&listener).await;
        broker.greet().await;
        let (first, second) = (broker.next().await, broker.next().await);
        assert_eq!(first.client_id, Some(StrBytes::from_static_str("me")));
        assert_eq!(first.version, 3);
        for (to, throttle) in [(first, 1), (second, 2)] {
            let answer = HeartbeatResponse::default().with_throttle_time_ms(throttle);
            broker
                .answer(&to, to.version, ResponseKind::Heartbeat(answer))
                .await;
        }
    };
    let client = async {
        let mut connection = Connection::open(&address, "me", PATIENCE)
            .await
            .expect("opened");
        let one = connection
            .send(Api::Heartbeat, heartbeat(1))
            .await
            .expect("sent");
        let two = connection
            .send(Api::Heartbeat, heartbeat(2))
            .await
            .expect("sent");
        assert_eq!(connection.in_flight(), 2);
        for (ticket, throttle) in [(one, 1), (two, 2)] {
            let (came, answer) = connection.receive().await.expect("answered");
            assert_eq!(came, ticket);
            let ResponseKind::Heartbeat(answer) = answer else {
                panic!("another kind")
            };
            assert_eq!(answer.throttle_time_ms, throttle);
        }
        let none = connection.send(Api::Metadata, heartbeat(3)).await;
        assert!(matches!(none, Err(ClientError::NoVersion { .. })));
    };
    tokio::join!(broker, client);
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_a_version_it_speaks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = async {
        let mut broker = Broker::accept(&listener).await;
        let first = broker.next().await;
        assert_eq!(first.version, 4);
        broker.answer(&first, 0, versions(35, 2)).await;
        let second = broker.next().await;
        assert_eq!(second.version, 2);
        broker.answer(&second, 2, versions(0, 2)).await;
    };
    let client = async {
        let connection = Connection::open(&address, "me", PATIENCE)
            .await
            .expect("opened");
        assert_eq!(connection.versions().pick(Api::Heartbeat), Some(3));
    };
    tokio::join!(broker, client);
}

#[tokio::test]
async fn a_closed_connection_says_so_and_is_broken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = async {
        let mut broker = Broker::accept(&listener).await;
        broker.greet().await;
        broker.next().await;
    };
    let client = async {
        let mut connection = Connection::open(&address, "me", PATIENCE)
            .await
            .expect("opened");
        let answer = connection.ask(Api::Heartbeat, heartbeat(1), PATIENCE).await;
        assert!(
            matches!(answer, Err(ClientError::Closed { .. })),
            "{answer:?}"
        );
        assert!(connection.is_broken());
    };
    tokio::join!(broker, client);
}

#[tokio::test]
async fn names_that_do_not_resolve_and_ports_nobody_hears_are_told_apart() {
    // A label of a name has 63 letters at most: no resolver is asked, and none can know it.
    let nowhere = format!("{}:9092", "n".repeat(64));
    let error = Connection::open(&nowhere, "me", PATIENCE).await.err();
    let text = error.expect("refused").to_string();
    assert_eq!(
        text,
        format!("cannot reach {nowhere} (name does not resolve)")
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = Connection::open(&address, "me", PATIENCE)
        .await
        .err()
        .expect("refused");
    assert_eq!(
        error.to_string(),
        format!("cannot reach {address} (connection refused)")
    );
}
