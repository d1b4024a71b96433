//! Frames of a real Kafka 3.9 cluster, read and written again; frames of nobody, refused.
//!
//! `golden/frames.txt` holds one exchange a line, request and answer as hexadecimal without their
//! length prefixes (`-` where nothing was answered): every API at every version.

use std::collections::HashSet;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};
use protocol::kafka::apis::{Api, ROWS};
use protocol::kafka::codec::{self, CodecError};
use protocol::kafka::data::*;
use protocol::kafka::header::{self, Opening, RequestHeader};
use protocol::kafka::reply::{Part, Reply};

struct Exchange {
    api: Api,
    version: i16,
    request: Bytes,
    response: Option<Bytes>,
}

fn hex(text: &str) -> Bytes {
    let digit = |byte: u8| {
        (byte as char)
            .to_digit(16)
            .expect("golden files are hexadecimal") as u8
    };
    text.as_bytes()
        .chunks(2)
        .map(|two| digit(two[0]) << 4 | digit(two[1]))
        .collect()
}

fn exchanges() -> Vec<Exchange> {
    let golden = include_str!("golden/frames.txt");
    let lines = golden
        .lines()
        .map(|line| line.split_once(' ').expect("two frames a line"));
    lines
        .filter_map(|(request, response)| {
            let request = hex(request);
            let opening = Opening::read(&request).expect("an opening");
            let api = Api::from_key(opening.api_key)?;
            let version = opening.api_version;
            let response = (response != "-").then(|| hex(response));
            api.has_version(version).then_some(Exchange {
                api,
                version,
                request,
                response,
            })
        })
        .collect()
}

/// The frame's bytes, after its length prefix was checked.
fn unframed(frame: &Bytes) -> Bytes {
    let length = u32::from_be_bytes(frame[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(length, frame.len() - 4);
    frame.slice(4..)
}

fn joined(reply: &Reply) -> Bytes {
    let mut all = Vec::new();
    for part in &reply.parts {
        match part {
            Part::Bytes(bytes) => all.extend_from_slice(bytes),
            Part::Hole { len, .. } => all.extend(std::iter::repeat_n(0, *len)),
        }
    }
    Bytes::from(all)
}

#[test]
fn every_api_and_version_is_among_the_golden_frames() {
    let seen: HashSet<_> = exchanges()
        .iter()
        .map(|frame| (frame.api, frame.version))
        .collect();
    for row in &ROWS {
        for version in row.version_min..=row.version_max {
            assert!(seen.contains(&(row.api, version)), "{} {version}", row.name);
        }
    }
}

#[test]
fn requests_of_real_clients_are_read_and_written_to_the_same_bytes() {
    for Exchange {
        api,
        version,
        request,
        ..
    } in exchanges()
    {
        let (header, body) = RequestHeader::read(api, &request).expect("a header");
        let decoded = match codec::decode_request(api, version, body) {
            Ok(decoded) => decoded,
            Err(error) => panic!("{api:?} {version}: {error}: {request:02x?}"),
        };
        let again = unframed(&codec::encode_request(&header, &decoded).expect("it was legal"));
        assert_eq!(again, request, "{api:?} {version}: {decoded:?}");
    }
}

#[test]
fn answers_of_a_real_broker_are_read_and_written_to_the_same_bytes() {
    for Exchange {
        api,
        version,
        response,
        ..
    } in exchanges()
    {
        let Some(response) = response else { continue };
        if api == Api::ApiVersions
            && codec::decode_response(api, version, response.slice(4..)).is_err()
        {
            continue;
        }
        let (correlation, body) =
            header::read_answer_header(api, version, &response).expect("a header");
        let decoded = codec::decode_response(api, version, body)
            .unwrap_or_else(|error| panic!("{api:?} {version}: {error}: {response:02x?}"));
        let again = codec::encode_response(api, version, correlation, &decoded);
        assert_eq!(
            unframed(&again.expect("legal")),
            response,
            "{api:?} {version}: {decoded:?}"
        );
        let own = match &decoded {
            ResponseKind::Produce(answer) => {
                encode_produce_answer(version, correlation, &produce_answer(answer))
            }
            ResponseKind::Fetch(answer) => {
                encode_fetch_answer(version, correlation, &fetch_answer(version, answer))
            }
            _ => continue,
        };
        let own = unframed(&joined(&own.expect("legal")));
        assert_eq!(own, response, "{api:?} {version}: {decoded:?}");
    }
}

#[test]
fn our_own_decoders_read_what_the_schemas_decoder_reads() {
    for Exchange {
        api,
        version,
        request,
        ..
    } in exchanges()
    {
        let (_, body) = RequestHeader::read(api, &request).expect("a header");
        match codec::decode_request(api, version, body.clone()).expect("legal") {
            RequestKind::Produce(theirs) => {
                let ours = decode_produce(version, &body).expect("legal");
                assert_eq!(ours.acks, theirs.acks);
                assert_eq!(ours.timeout_ms, theirs.timeout_ms);
                assert_eq!(
                    ours.transactional_id,
                    theirs.transactional_id.map(|id| id.0)
                );
                let ours = ours.topics.iter().flat_map(|topic| {
                    topic
                        .partitions
                        .iter()
                        .map(|p| (topic.name.clone(), p.index, p.records.clone()))
                });
                let theirs = theirs.topic_data.iter().flat_map(|topic| {
                    let name = topic.name.0.clone();
                    topic
                        .partition_data
                        .iter()
                        .map(move |p| (name.clone(), p.index, p.records.clone()))
                });
                assert!(ours.eq(theirs));
            }
            RequestKind::Fetch(theirs) => {
                let ours = decode_fetch(version, &body).expect("legal");
                let ours_text = format!(
                    "{} {} {} {} {} {} {} {:?} {:?}",
                    if version < 15 {
                        ours.replica.replica_id
                    } else {
                        -1
                    },
                    ours.max_wait_ms,
                    ours.min_bytes,
                    ours.max_bytes,
                    ours.isolation_level,
                    ours.session_id,
                    ours.session_epoch,
                    ours.rack_id,
                    ours.cluster_id,
                );
                let theirs_text = format!(
                    "{} {} {} {} {} {} {} {:?} {:?}",
                    theirs.replica_id.0,
                    theirs.max_wait_ms,
                    theirs.min_bytes,
                    theirs.max_bytes,
                    theirs.isolation_level,
                    theirs.session_id,
                    theirs.session_epoch,
                    theirs.rack_id,
                    theirs.cluster_id,
                );
                assert_eq!(ours_text, theirs_text);
                if version >= 15 {
                    assert_eq!(ours.replica.replica_id, theirs.replica_state.replica_id.0);
                    assert_eq!(
                        ours.replica.replica_epoch,
                        theirs.replica_state.replica_epoch
                    );
                }
                let ours_partitions: Vec<_> = ours
                    .topics
                    .iter()
                    .flat_map(|topic| {
                        topic.partitions.iter().map(|p| {
                            (
                                topic.name.clone(),
                                topic.topic_id.0,
                                p.index,
                                p.current_leader_epoch,
                                p.fetch_offset,
                                p.last_fetched_epoch,
                                p.log_start_offset,
                                p.max_bytes,
                                p.replica_directory_id.0,
                            )
                        })
                    })
                    .collect();
                let theirs_partitions: Vec<_> = theirs
                    .topics
                    .iter()
                    .flat_map(|topic| {
                        topic.partitions.iter().map(|p| {
                            (
                                topic.topic.0.clone(),
                                topic.topic_id,
                                p.partition,
                                p.current_leader_epoch,
                                p.fetch_offset,
                                p.last_fetched_epoch,
                                p.log_start_offset,
                                p.partition_max_bytes,
                                p.replica_directory_id,
                            )
                        })
                    })
                    .collect();
                assert_eq!(ours_partitions, theirs_partitions);
                let ours_forgotten: Vec<_> = ours
                    .forgotten_topics
                    .iter()
                    .map(|t| (t.name.clone(), t.topic_id.0, t.partitions.clone()))
                    .collect();
                let theirs_forgotten: Vec<_> = theirs
                    .forgotten_topics_data
                    .iter()
                    .map(|t| (t.topic.0.clone(), t.topic_id, t.partitions.clone()))
                    .collect();
                assert_eq!(ours_forgotten, theirs_forgotten);
            }
            _ => {}
        }
    }
}

fn produce_answer(answer: &protocol::messages::ProduceResponse) -> ProduceAnswer {
    let partitions = |topic: &protocol::messages::produce_response::TopicProduceResponse| {
        topic
            .partition_responses
            .iter()
            .map(|p| ProducePartitionAnswer {
                index: p.index,
                error_code: p.error_code,
                base_offset: p.base_offset,
                log_append_time_ms: p.log_append_time_ms,
                log_start_offset: p.log_start_offset,
                record_errors: p
                    .record_errors
                    .iter()
                    .map(|fault| RecordFault {
                        batch_index: fault.batch_index,
                        message: fault.batch_index_error_message.clone(),
                    })
                    .collect(),
                error_message: p.error_message.clone(),
                current_leader: (p.current_leader != Default::default()).then_some(CurrentLeader {
                    leader_id: p.current_leader.leader_id.0,
                    leader_epoch: p.current_leader.leader_epoch,
                }),
            })
            .collect()
    };
    ProduceAnswer {
        topics: answer
            .responses
            .iter()
            .map(|topic| ProduceTopicAnswer {
                name: topic.name.0.clone(),
                partitions: partitions(topic),
            })
            .collect(),
        throttle_time_ms: answer.throttle_time_ms,
        node_endpoints: answer
            .node_endpoints
            .iter()
            .map(|node| NodeEndpoint {
                node_id: node.node_id.0,
                host: node.host.clone(),
                port: node.port,
                rack: node.rack.clone(),
            })
            .collect(),
    }
}

fn fetch_answer(version: i16, answer: &protocol::messages::FetchResponse) -> FetchAnswer {
    let partitions = |topic: &protocol::messages::fetch_response::FetchableTopicResponse| {
        topic
            .partitions
            .iter()
            .map(|p| FetchPartitionAnswer {
                index: p.partition_index,
                error_code: p.error_code,
                high_watermark: p.high_watermark,
                last_stable_offset: p.last_stable_offset,
                log_start_offset: p.log_start_offset,
                diverging_epoch: (p.diverging_epoch != Default::default()).then_some(
                    DivergingEpoch {
                        epoch: p.diverging_epoch.epoch,
                        end_offset: p.diverging_epoch.end_offset,
                    },
                ),
                current_leader: (p.current_leader != Default::default()).then_some(CurrentLeader {
                    leader_id: p.current_leader.leader_id.0,
                    leader_epoch: p.current_leader.leader_epoch,
                }),
                aborted: p.aborted_transactions.as_ref().map(|list| {
                    list.iter()
                        .map(|t| Aborted {
                            producer_id: t.producer_id.0,
                            first_offset: t.first_offset,
                        })
                        .collect()
                }),
                preferred_read_replica: p.preferred_read_replica.0,
                records: p
                    .records
                    .iter()
                    .map(|bytes| Part::Bytes(bytes.clone()))
                    .collect(),
            })
            .collect()
    };
    FetchAnswer {
        throttle_time_ms: answer.throttle_time_ms,
        error_code: answer.error_code,
        session_id: answer.session_id,
        topics: answer
            .responses
            .iter()
            .map(|topic| FetchTopicAnswer {
                name: if version < 13 {
                    topic.topic.as_str().into()
                } else {
                    "".into()
                },
                topic_id: protocol::ids::TopicId(topic.topic_id),
                partitions: partitions(topic),
            })
            .collect(),
        node_endpoints: answer
            .node_endpoints
            .iter()
            .map(|node| NodeEndpoint {
                node_id: node.node_id.0,
                host: node.host.clone(),
                port: node.port,
                rack: node.rack.clone(),
            })
            .collect(),
    }
}

/// Bodies that ask a decoder for hundreds of gigabytes; the first number is the API's key.
const HOSTILE: &[(i16, i16, &str)] = &[
    (0, 8, "ffff0001000003e87fffffff"),
    (0, 8, "ffff0001000003e80000000100016161 7fffffff"),
    (0, 9, "000001000003e8ffffffff0f"),
    (0, 9, "000001000003e8020261ffffffff0f"),
    (
        1,
        11,
        "ffffffff000001f4000000017fffffff0000000000ffffffff7fffffff",
    ),
    (2, 1, "ffffffff7fffffff"),
    (3, 1, "7fffffff"),
    (3, 12, "ffffffff0f"),
    (4, 4, "000000010000000100000000000000010 07fffffff"),
    (6, 5, "00000001000000010000000000000001 7fffffff"),
    (8, 2, "000161000000010000ffffffffffffffff7fffffff"),
    (9, 1, "0001617fffffff"),
    (10, 4, "00ffffffff0f"),
    (11, 1, "00016100001388000013880000000163 7fffffff"),
    (14, 1, "000161000000010001617fffffff"),
    (15, 0, "7fffffff"),
    (19, 1, "7fffffff"),
    (30, 1, "7fffffff"),
    (32, 1, "7fffffff"),
];

#[test]
fn more_partitions_than_any_cluster_has_are_refused_though_they_are_there() {
    let produce = |topics: i32, partitions: i32| {
        let mut body = BytesMut::new();
        body.put_i16(-1);
        body.put_i16(1);
        body.put_i32(1_000);
        body.put_i32(topics);
        for _ in 0..topics {
            body.put_i16(0);
            body.put_i32(partitions);
            body.put_bytes(0xff, 8 * partitions as usize);
        }
        decode_produce(3, &body.freeze())
    };
    assert!(produce(1_000, 100).is_ok());
    assert!(produce(300_000, 0).is_err());
    assert!(produce(1_000, 300).is_err(), "all of them together count");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the real time it takes is what is tested"
)]
fn counts_that_nothing_stands_behind_are_refused_at_once() {
    let from = std::time::Instant::now();
    for (key, version, body) in HOSTILE {
        let api = Api::from_key(*key).expect("ours");
        let body = hex(&body.replace(' ', ""));
        let refused = codec::decode_request(api, *version, body.clone());
        assert!(
            matches!(refused, Err(CodecError::Malformed { .. })),
            "{api:?} {refused:?}"
        );
        match api {
            Api::Produce => assert!(decode_produce(*version, &body).is_err()),
            Api::Fetch => assert!(decode_fetch(*version, &body).is_err()),
            _ => {}
        }
    }
    // Milliseconds, by itself; a loop over two billion, or their memory, takes far longer.
    assert!(from.elapsed() < Duration::from_secs(10));
}

/// A small generator of our own: the same seeds give the same damage everywhere.
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn inflict(&mut self, frame: &Bytes) -> Bytes {
        let mut bytes = frame.to_vec();
        for _ in 0..=self.next() % 4 {
            let at = 8 + self.next() as usize % bytes.len().saturating_sub(8).max(1);
            let Some(byte) = bytes.get_mut(at) else {
                continue;
            };
            match self.next() % 5 {
                0 => *byte = 0xff,
                1 => *byte = 0x7f,
                2 => *byte = self.next() as u8,
                3 => bytes.truncate(at),
                _ => bytes.insert(at, self.next() as u8),
            }
        }
        Bytes::from(bytes)
    }
}

#[test]
fn damaged_frames_never_panic_a_decoder() {
    let mut damage = Damage(39);
    for Exchange {
        api,
        version,
        request,
        response,
    } in exchanges()
    {
        for _ in 0..40 {
            let request = damage.inflict(&request);
            if let Ok((_, body)) = RequestHeader::read(api, &request) {
                let generic = codec::decode_request(api, version, body.clone());
                let own = match api {
                    Api::Produce => decode_produce(version, &body).map(|_| ()),
                    Api::Fetch => decode_fetch(version, &body).map(|_| ()),
                    _ => continue,
                };
                assert!(
                    generic.is_err() || own.is_ok(),
                    "{api:?} {version} {request:02x?}"
                );
            }
            let Some(response) = &response else { continue };
            let response = damage.inflict(response);
            if let Ok((_, body)) = header::read_answer_header(api, version, &response) {
                let _ = codec::decode_response(api, version, body);
            }
        }
    }
}

#[test]
fn holes_lie_where_the_records_belong() {
    let partition = |index, records| FetchPartitionAnswer {
        high_watermark: 5,
        records,
        ..FetchPartitionAnswer::refusal(index, 0)
    };
    let topics = vec![FetchTopicAnswer {
        name: "a".into(),
        topic_id: protocol::ids::TopicId::ZERO,
        partitions: vec![
            partition(
                0,
                vec![
                    Part::Hole { id: 7, len: 1000 },
                    Part::Hole { id: 8, len: 24 },
                ],
            ),
            partition(1, vec![]),
            partition(2, vec![Part::Bytes(Bytes::from(vec![1; 600]))]),
        ],
    }];
    for version in 0..=17 {
        let answer = FetchAnswer {
            topics: topics.clone(),
            ..FetchAnswer::default()
        };
        let reply = encode_fetch_answer(version, 9, &answer).expect("legal");
        assert!(reply.has_holes());
        let bytes = unframed(&joined(&reply));
        assert_eq!(bytes.len() + 4, reply.len());
        let (correlation, body) =
            header::read_answer_header(Api::Fetch, version, &bytes).expect("a header");
        assert_eq!(correlation, 9);
        let ResponseKind::Fetch(read) =
            codec::decode_response(Api::Fetch, version, body).expect("legal")
        else {
            panic!("not a fetch");
        };
        let sizes: Vec<_> = read.responses[0]
            .partitions
            .iter()
            .map(|p| p.records.as_ref().expect("never null").len())
            .collect();
        assert_eq!(sizes, [1024, 0, 600]);
    }
}
