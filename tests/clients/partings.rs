//! A producer that wants no answers closes right behind its last record: nothing of it is lost.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use harness::asker::Asker;
use harness::process::Single;
use harness::wait;
use protocol::StrBytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::encode_request;
use protocol::kafka::header::RequestHeader;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ProduceRequest, RequestKind, TopicName};

const TOPIC: &str = "parting";
const LIMIT: Duration = Duration::from_secs(60);
const PRODUCERS: i32 = 200;

/// A Produce of one record with acks 0, as it goes over the wire.
fn unanswered(correlation_id: i32) -> Vec<u8> {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), None, Some(b"last word"), &[])
        .unwrap();
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(batch.build().unwrap()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(0)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    let header = RequestHeader {
        api: Api::Produce,
        version: 9,
        correlation_id,
        client_id: None,
    };
    let frame = encode_request(&header, &RequestKind::Produce(request));
    frame.unwrap().to_vec()
}

#[test]
fn records_sent_right_before_the_close_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let at = single.bootstrap();
    let mut asker = Asker::connect(&at, "test");
    asker.create_topic(TOPIC, 1, &[]);
    let two = [unanswered(1), unanswered(2)].concat();
    for _ in 0..PRODUCERS {
        // Dropped at once: the records and the end arrive together.
        TcpStream::connect(&at).unwrap().write_all(&two).unwrap();
    }
    wait::until("every record", LIMIT, || {
        let end = crate::kills::end_offset(&mut asker, TOPIC, 0);
        (end == i64::from(2 * PRODUCERS)).then_some(())
    });
}
