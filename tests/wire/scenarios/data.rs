//! Records written and read. Uses `t`, `u` and `comp`; leaves them with whatever was accepted.

use protocol::batch::Codec;
use serde_json::{Value, json};

use crate::records::{Batch, MADE_MS, TWO, altered, corrupt};
use crate::script::{ALL, Script};

fn produce(acks: i16, topics: Value) -> Value {
    json!({"acks": acks, "timeoutMs": 30000, "topicData": topics})
}

fn to(name: &str, partition: i32, records: impl Into<Value>) -> Value {
    json!([{"name": name, "partitionData": [{"index": partition, "records": records.into()}]}])
}

pub(crate) fn play(s: &mut Script) {
    writes(s);
    odd_writes(s);
    numbered_writes(s);
    reads(s);
    sessions(s);
    offsets(s);
    epochs(s);
    producers(s);
    removals(s);
}

fn writes(s: &mut Script) {
    s.each("Produce", ALL, "to the leader", |v| {
        produce(1, to("t", 0, TWO.for_version(v)))
    });
    s.each("Produce", ALL, "to all", |v| {
        produce(-1, to("t", 1, TWO.for_version(v)))
    });
    for v in 0..=11 {
        s.unanswered(
            "Produce",
            v,
            "without acks",
            produce(0, to("t", 0, TWO.for_version(v))),
        );
        s.unanswered(
            "Produce",
            v,
            "without acks to an unknown topic",
            produce(0, to("none", 0, TWO.for_version(v))),
        );
    }
    for (codec, low) in [
        (Codec::Gzip, 0),
        (Codec::Snappy, 0),
        (Codec::Lz4, 2),
        (Codec::Zstd, 3),
    ] {
        let case = format!("compressed by {}", codec.name());
        s.each("Produce", low..=11, &case, |v| {
            produce(1, to("u", 0, Batch { codec, ..TWO }.for_version(v)))
        });
    }
    s.each("Produce", ALL, "to several partitions, some unknown", |v| {
        let records = TWO.for_version(v);
        let one = |at: i32| json!({"index": at, "records": records});
        produce(1, json!([{"name": "none", "partitionData": [one(0)]}, {"name": "t", "partitionData": [one(9), one(1), one(-1), one(0)]}, {"name": "u", "partitionData": [one(1)]}]))
    });
    for (case, topic, partition) in [
        ("to an unknown topic", "none", 0),
        ("to an unknown partition", "t", 9),
        ("to a negative partition", "t", -1),
        ("to an invalid topic", "bad/name", 0),
        ("to an empty topic", "", 0),
    ] {
        s.each("Produce", ALL, case, |v| {
            produce(1, to(topic, partition, TWO.for_version(v)))
        });
    }
    for acks in [2, -2, 5, i16::MAX] {
        s.each("Produce", ALL, &format!("with {acks} acks"), |v| {
            produce(acks, to("t", 0, TWO.for_version(v)))
        });
    }
    s.each("Produce", ALL, "with wrong acks to an unknown topic", |v| {
        produce(7, to("none", 0, TWO.for_version(v)))
    });
}

fn odd_writes(s: &mut Script) {
    s.each("Produce", ALL, "corrupt records", |v| {
        produce(1, to("t", 0, corrupt(v)))
    });
    s.each("Produce", ALL, "no bytes", |_| produce(1, to("t", 0, "")));
    s.each("Produce", ALL, "too few bytes", |_| {
        produce(1, to("t", 0, "0011223344"))
    });
    s.each("Produce", ALL, "bytes that are no records", |_| {
        produce(1, to("t", 0, "00".repeat(80)))
    });
    s.each("Produce", ALL, "a batch cut short", |v| {
        let records = TWO.for_version(v);
        produce(1, to("t", 0, &records[..records.len() - 8]))
    });
    s.each("Produce", ALL, "records of another age", |v| {
        produce(1, to("t", 0, TWO.for_version(if v > 2 { 0 } else { 11 })))
    });
    s.each("Produce", 2..=11, "records of the first age", |_| {
        produce(1, to("t", 0, TWO.for_version(0)))
    });
    s.each("Produce", ALL, "two batches", |v| {
        produce(1, to("t", 0, TWO.for_version(v).repeat(2)))
    });
    s.each("Produce", ALL, "a partition twice", |v| {
        let one = json!({"index": 0, "records": TWO.for_version(v)});
        produce(1, json!([{"name": "u", "partitionData": [one, one]}]))
    });
    s.each("Produce", ALL, "a topic twice", |v| {
        let one =
            json!({"name": "u", "partitionData": [{"index": 1, "records": TWO.for_version(v)}]});
        produce(1, json!([one, one]))
    });
    let no_records = json!("00".repeat(80));
    let pair = |first: Value, second: Value| json!([{"name": "u", "partitionData": [{"index": 0, "records": first}, {"index": 1, "records": second}]}]);
    s.each("Produce", ALL, "no records beside good ones", |v| {
        produce(1, pair(json!(TWO.for_version(v)), no_records.clone()))
    });
    s.each("Produce", ALL, "too few bytes beside good ones", |v| {
        produce(1, pair(json!(TWO.for_version(v)), json!("0011223344")))
    });
    s.each("Produce", ALL, "no records to an unknown topic", |_| {
        produce(1, to("none", 0, no_records.clone()))
    });
    s.each("Produce", ALL, "wrong acks and no records", |_| {
        produce(7, to("t", 0, no_records.clone()))
    });
    s.each(
        "Produce",
        3..=11,
        "a codec nobody knows beside good ones",
        |_| produce(1, pair(json!(TWO.hex()), json!(altered(21, &[0, 7])))),
    );
    s.each("Produce", 3..=11, "a codec nobody knows and an unknown topic", |_| {
        let one = |name: &str| json!({"name": name, "partitionData": [{"index": 0, "records": altered(21, &[0, 7])}]});
        produce(1, json!([one("none"), one("u")]))
    });
    s.each("Produce", ALL, "after all that", |v| {
        produce(1, to("u", 0, TWO.for_version(v)))
    });
    s.each("Produce", 3..=11, "to the topic of share groups", |_| {
        produce(1, to("__share_group_state", 0, TWO.hex()))
    });
    s.each("Produce", ALL, "no topic", |_| produce(1, json!([])));
    s.each("Produce", ALL, "no partition", |_| {
        produce(1, json!([{"name": "t", "partitionData": []}]))
    });
    s.each("Produce", ALL, "no key where keys are needed", |v| {
        let records = &[(None, Some("x")), (Some("k"), Some("v")), (None, Some("y"))];
        produce(1, to("comp", 0, Batch { records, ..TWO }.for_version(v)))
    });
    s.each("Produce", ALL, "to a compacted topic", |v| {
        produce(1, to("comp", 0, TWO.for_version(v)))
    });
    let large = "z".repeat(1_100_000);
    s.each("Produce", ALL, "more than a batch may hold", |v| {
        let records = &[(Some("k"), Some(large.as_str()))];
        produce(1, to("t", 0, Batch { records, ..TWO }.for_version(v)))
    });
    s.each(
        "Produce",
        3..=11,
        "offsets that do not begin at zero",
        |_| {
            produce(
                1,
                to(
                    "u",
                    1,
                    Batch {
                        base_offset: 100,
                        ..TWO
                    }
                    .hex(),
                ),
            )
        },
    );
    for (case, at, bytes) in [
        ("a count that is too small", 57, &[0, 0, 0, 1][..]),
        ("a count that is too large", 57, &[0, 0, 0, 3]),
        ("a negative count", 57, &[0xff; 4]),
        ("a last offset that is too large", 23, &[0, 0, 0, 9]),
        ("a negative last offset", 23, &[0xff; 4]),
        ("a codec nobody knows", 21, &[0, 7]),
        ("attributes nobody knows", 21, &[0x7f, 0x80]),
        ("the broker's time", 21, &[0, 8]),
        ("magic three", 16, &[3]),
        ("a leader epoch", 12, &[0, 0, 0, 9]),
        (
            "a producer without a sequence",
            43,
            &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0],
        ),
        ("a transaction without a producer", 21, &[0, 0x10]),
    ] {
        s.each("Produce", 3..=11, case, |_| {
            produce(1, to("u", 1, altered(at, bytes)))
        });
    }
    s.each("Produce", 3..=11, "a control batch", |_| {
        produce(
            1,
            to(
                "t",
                0,
                Batch {
                    control: true,
                    ..TWO
                }
                .hex(),
            ),
        )
    });
    s.each("Produce", 3..=11, "to an internal topic", |_| {
        produce(1, to("__consumer_offsets", 9, TWO.hex()))
    });
}

fn numbered_writes(s: &mut Script) {
    let by = |v: i16, epoch: i16, sequence: i32| {
        let producer = Some((7000 + i64::from(v), epoch, sequence));
        produce(-1, to("t", 0, Batch { producer, ..TWO }.hex()))
    };
    for (case, epoch, sequence) in [
        ("the first of a producer, not from zero", 3, 5),
        ("the same again", 3, 5),
        ("the next", 3, 7),
        ("the one before again", 3, 5),
        ("a gap", 3, 50),
        ("one that overlaps", 3, 8),
        ("an older epoch", 2, 9),
        ("a newer epoch, not from zero", 4, 7),
        ("a newer epoch from zero", 4, 0),
        ("the same of the epoch before", 3, 7),
        ("a negative sequence", 4, -3),
        ("a negative epoch", -3, 0),
    ] {
        s.each("Produce", 3..=11, &format!("numbered: {case}"), |v| {
            by(v, epoch, sequence)
        });
    }
    s.each(
        "Produce",
        3..=11,
        "numbered: to an empty partition, not from zero",
        |v| {
            produce(
                -1,
                to(
                    "u",
                    1,
                    Batch {
                        producer: Some((7100 + i64::from(v), 0, 9)),
                        ..TWO
                    }
                    .hex(),
                ),
            )
        },
    );
    s.each("Produce", 3..=11, "numbered: two batches", |v| {
        let one = Batch {
            producer: Some((7200 + i64::from(v), 0, 0)),
            ..TWO
        }
        .hex();
        let two = Batch {
            producer: Some((7200 + i64::from(v), 0, 2)),
            ..TWO
        }
        .hex();
        produce(-1, to("u", 1, one + &two))
    });
    s.each("Produce", 3..=11, "numbered: mixed with plain ones", |v| {
        let numbered = json!({"index": 0, "records": Batch { producer: Some((7300 + i64::from(v), 0, 0)), ..TWO }.hex()});
        produce(-1, json!([{"name": "u", "partitionData": [numbered, {"index": 1, "records": TWO.hex()}]}]))
    });
}

fn fetch(s: &mut Script, topic: &str, partition: i32, offset: i64, said: Value) -> Value {
    let id = match topic {
        "none" => "2".repeat(32),
        "zero" => "0".repeat(32),
        topic => s.await_topic(topic),
    };
    let mut asked =
        json!({"partition": partition, "fetchOffset": offset, "partitionMaxBytes": 300});
    let mut body = json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionEpoch": -1});
    for (field, value) in said.as_object().unwrap() {
        if [
            "currentLeaderEpoch",
            "lastFetchedEpoch",
            "logStartOffset",
            "partitionMaxBytes",
        ]
        .contains(&field.as_str())
        {
            asked[field] = value.clone();
        } else {
            body[field] = value.clone();
        }
    }
    body["topics"] = json!([{"topic": topic, "topicId": id, "partitions": [asked]}]);
    body
}

fn reads(s: &mut Script) {
    for (case, low, topic, partition, offset, said) in [
        ("from the start", 0, "t", 0, 0, json!({})),
        ("from the middle of a batch", 0, "t", 0, 3, json!({})),
        (
            "compressed",
            0,
            "u",
            0,
            0,
            json!({"partitionMaxBytes": 4000, "maxBytes": 4000}),
        ),
        ("beyond the end", 0, "t", 0, 1_000_000, json!({})),
        ("before the start", 0, "t", 0, -1, json!({})),
        ("from offset minus five", 0, "t", 0, -5, json!({})),
        ("an unknown topic", 0, "none", 0, 0, json!({})),
        ("an unknown partition", 0, "t", 9, 0, json!({})),
        ("a negative partition", 0, "t", -1, 0, json!({})),
        ("the zero id", 13, "zero", 0, 0, json!({})),
        (
            "only what is committed",
            4,
            "t",
            0,
            0,
            json!({"isolationLevel": 1}),
        ),
        (
            "an isolation nobody knows",
            4,
            "t",
            0,
            0,
            json!({"isolationLevel": 2}),
        ),
        (
            "an isolation nobody knows, of an unknown topic",
            4,
            "none",
            0,
            0,
            json!({"isolationLevel": 2}),
        ),
        (
            "negative bytes beyond the end",
            0,
            "t",
            0,
            1_000_000,
            json!({"partitionMaxBytes": -1}),
        ),
        (
            "negative bytes of an empty partition",
            0,
            "g",
            0,
            0,
            json!({"partitionMaxBytes": -1}),
        ),
        (
            "negative bytes and a newer leader epoch",
            9,
            "t",
            0,
            0,
            json!({"partitionMaxBytes": -1, "currentLeaderEpoch": 9}),
        ),
        (
            "negative bytes and a last epoch that was never",
            12,
            "t",
            0,
            3,
            json!({"partitionMaxBytes": -1, "lastFetchedEpoch": 5}),
        ),
        (
            "no bytes of the partition",
            0,
            "t",
            0,
            0,
            json!({"partitionMaxBytes": 0}),
        ),
        ("one byte in all", 3, "t", 0, 0, json!({"maxBytes": 1})),
        ("no bytes in all", 3, "t", 0, 0, json!({"maxBytes": 0})),
        (
            "negative bytes in all",
            3,
            "t",
            0,
            0,
            json!({"maxBytes": -1}),
        ),
        (
            "negative bytes of the partition",
            0,
            "t",
            0,
            0,
            json!({"partitionMaxBytes": -1}),
        ),
        (
            "no wait",
            0,
            "t",
            0,
            1_000_000,
            json!({"maxWaitMs": 0, "minBytes": 0}),
        ),
        (
            "a newer leader epoch",
            9,
            "t",
            0,
            0,
            json!({"currentLeaderEpoch": 9}),
        ),
        (
            "the leader epoch",
            9,
            "t",
            0,
            0,
            json!({"currentLeaderEpoch": 0}),
        ),
        (
            "leader epoch minus two",
            9,
            "t",
            0,
            0,
            json!({"currentLeaderEpoch": -2}),
        ),
        (
            "a last epoch that was never",
            12,
            "t",
            0,
            3,
            json!({"currentLeaderEpoch": 0, "lastFetchedEpoch": 5}),
        ),
        (
            "the last epoch as it was",
            12,
            "t",
            0,
            3,
            json!({"currentLeaderEpoch": 0, "lastFetchedEpoch": 0}),
        ),
        (
            "an offset no epoch has",
            12,
            "t",
            0,
            1_000_000,
            json!({"lastFetchedEpoch": 0}),
        ),
        (
            "a last epoch below zero",
            12,
            "t",
            0,
            3,
            json!({"lastFetchedEpoch": -2}),
        ),
        (
            "as a follower that is none",
            0,
            "t",
            0,
            0,
            json!({"replicaId": 2, "replicaState": {"replicaId": 2, "replicaEpoch": -1}}),
        ),
        (
            "as the broker itself",
            0,
            "t",
            0,
            0,
            json!({"replicaId": 1, "replicaState": {"replicaId": 1, "replicaEpoch": -1}}),
        ),
        (
            "as the tool for debugging",
            0,
            "t",
            0,
            0,
            json!({"replicaId": -2, "replicaState": {"replicaId": -2}}),
        ),
        ("from a rack", 11, "t", 0, 0, json!({"rackId": "r1"})),
        ("of a compacted topic", 0, "comp", 0, 0, json!({})),
    ] {
        for v in low..=17 {
            let body = fetch(s, topic, partition, offset, said.clone());
            s.once("Fetch", v, case, body);
        }
    }
    s.each(
        "Fetch",
        ALL,
        "no topic",
        |_| json!({"maxWaitMs": 10, "minBytes": 1, "sessionEpoch": -1}),
    );
    let (t, u) = (s.await_topic("t"), s.await_topic("u"));
    let of = |partition: i32, offset: i64| json!({"partition": partition, "fetchOffset": offset, "partitionMaxBytes": 100});
    s.each("Fetch", ALL, "several", |_| {
        json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 250, "sessionEpoch": -1, "topics": [
            {"topic": "u", "topicId": u, "partitions": [of(1, 0), of(7, 0)]},
            {"topic": "none", "topicId": "2".repeat(32), "partitions": [of(0, 0)]},
            {"topic": "t", "topicId": t, "partitions": [of(1, 0), of(0, 0)]}]})
    });
    for (case, isolation, bytes) in [
        ("no topic by an isolation nobody knows", 2, 1000),
        ("no topic, negative bytes in all", 0, -1),
    ] {
        s.each("Fetch", 4..=17, case, |_| {
            json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": bytes, "isolationLevel": isolation, "sessionEpoch": -1})
        });
    }
    s.each(
        "Fetch",
        3..=17,
        "negative bytes in all, two partitions",
        |_| {
            json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": -1, "sessionEpoch": -1, "topics": [
            {"topic": "t", "topicId": t, "partitions": [of(0, 0), of(1, 0)]}]})
        },
    );
    s.each(
        "Fetch",
        3..=17,
        "negative bytes in all, the first beyond the end",
        |_| {
            json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": -1, "sessionEpoch": -1, "topics": [
            {"topic": "t", "topicId": t, "partitions": [of(0, 1_000_000), of(1, 0)]}]})
        },
    );
    s.each("Fetch", ALL, "a partition twice", |_| {
        json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionEpoch": -1, "topics": [
            {"topic": "t", "topicId": t, "partitions": [of(0, 0), of(0, 2)]}]})
    });
}

fn sessions(s: &mut Script) {
    let t = s.await_topic("t");
    for v in 7..=17 {
        let body = |id: &Value, epoch: i32, topics: Value, forgotten: Value| json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionId": id, "sessionEpoch": epoch, "topics": topics, "forgottenTopicsData": forgotten});
        let asked = |partition: i32, offset: i64| json!([{"topic": "t", "topicId": t, "partitions": [{"partition": partition, "fetchOffset": offset, "partitionMaxBytes": 300}]}]);
        let none = json!([]);
        let id = s.once(
            "Fetch",
            v,
            "session: begun",
            body(&json!(0), 0, asked(0, 0), none.clone()),
        )["sessionId"]
            .clone();
        s.once(
            "Fetch",
            v,
            "session: nothing new",
            body(&id, 1, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: another partition",
            body(&id, 2, asked(1, 0), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: the offset moved on",
            body(&id, 3, asked(0, 2), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: a wrong epoch",
            body(&id, 9, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: an unknown partition joins",
            body(&id, 4, asked(9, 0), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: one forgotten",
            body(
                &id,
                5,
                none.clone(),
                json!([{"topic": "t", "topicId": t, "partitions": [0]}]),
            ),
        );
        s.once(
            "Fetch",
            v,
            "session: all forgotten",
            body(
                &id,
                6,
                none.clone(),
                json!([{"topic": "t", "topicId": t, "partitions": [1, 9]}]),
            ),
        );
        s.once(
            "Fetch",
            v,
            "session: ended",
            body(&id, -1, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: after its end",
            body(&id, 7, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: one nobody knows",
            body(&json!(12345), 4, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: begun with no topic",
            body(&json!(0), 0, none.clone(), none.clone()),
        );
        s.once(
            "Fetch",
            v,
            "session: epoch one of none",
            body(&json!(0), 1, none.clone(), none.clone()),
        );
    }
    for v in 7..=17 {
        let body = |id: &Value, epoch: i32, isolation: i8, topics: Value| json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionId": id, "sessionEpoch": epoch, "isolationLevel": isolation, "topics": topics});
        let asked = json!([{"topic": "t", "topicId": t, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 300}]}]);
        s.once(
            "Fetch",
            v,
            "session: one nobody knows, by an isolation nobody knows",
            body(&json!(12345), 4, 2, json!([])),
        );
        let id = s.once(
            "Fetch",
            v,
            "session: begun again",
            body(&json!(0), 0, 0, asked),
        )["sessionId"]
            .clone();
        for case in ["an isolation nobody knows", "the same epoch after it"] {
            let case = format!("session: {case}");
            s.once("Fetch", v, &case, body(&id, 1, 2, json!([])));
        }
        for (case, id, epoch) in [
            ("the largest id", i32::MAX, 4),
            ("the largest id, begun", i32::MAX, 0),
            ("the largest id, ended", i32::MAX, -1),
            ("the least id", i32::MIN, 4),
            ("a negative id", -5, 4),
        ] {
            let case = format!("session: {case}");
            s.once("Fetch", v, &case, body(&json!(id), epoch, 0, json!([])));
        }
    }
    for v in 13..=17 {
        let zero = "0".repeat(32);
        let body = |id: &Value, epoch: i32, topics: Value, forgotten: Value| json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionId": id, "sessionEpoch": epoch, "topics": topics, "forgottenTopicsData": forgotten});
        let asked = |id: &str| json!([{"topicId": id, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 300}]}]);
        s.once(
            "Fetch",
            v,
            "session: begun with the zero id",
            body(&json!(0), 0, asked(&zero), json!([])),
        );
        let begun = body(&json!(0), 0, asked(&t), json!([]));
        let id = s.once("Fetch", v, "session: begun with the id", begun)["sessionId"].clone();
        s.once(
            "Fetch",
            v,
            "session: the zero id joins",
            body(&id, 1, asked(&zero), json!([])),
        );
        s.once(
            "Fetch",
            v,
            "session: the zero id forgotten",
            body(
                &id,
                2,
                json!([]),
                json!([{"topicId": zero, "partitions": [0]}]),
            ),
        );
    }
    for v in 13..=17 {
        let other = json!([{"topicId": "3".repeat(32), "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 300}]}]);
        let body = |id: &Value, epoch: i32, topics: Value| json!({"maxWaitMs": 10, "minBytes": 1, "maxBytes": 1000, "sessionId": id, "sessionEpoch": epoch, "topics": topics});
        let id = s.once(
            "Fetch",
            v,
            "session: begun with an id nobody knows",
            body(&json!(0), 0, other),
        )["sessionId"]
            .clone();
        s.once(
            "Fetch",
            v,
            "session: the id still unknown",
            body(&id, 1, json!([])),
        );
    }
}

fn offsets(s: &mut Script) {
    let list = |topics: Value| json!({"replicaId": -1, "topics": topics});
    let of = |name: &str, partition: i32, timestamp: i64| json!([{"name": name, "partitions": [{"partitionIndex": partition, "timestamp": timestamp}]}]);
    for (case, timestamp) in [
        ("latest", -1),
        ("earliest", -2),
        ("the largest time", -3),
        ("the earliest here", -4),
        ("the latest of the remote tier", -5),
        ("a special time nobody knows", -6),
        ("far below", i64::MIN),
        ("time zero", 0),
        ("when all were made", MADE_MS),
        ("after the end", 4_100_000_000_000),
    ] {
        s.each("ListOffsets", ALL, case, |_| list(of("t", 0, timestamp)));
    }
    for (case, name, partition) in [
        ("an unknown topic", "none", 0),
        ("an unknown partition", "t", 9),
        ("a negative partition", "t", -1),
        ("an empty topic name", "", 0),
        ("an empty partition", "g", 0),
    ] {
        s.each("ListOffsets", ALL, case, |_| list(of(name, partition, -1)));
        s.each("ListOffsets", 1..=9, &format!("{case} at a time"), |_| {
            list(of(name, partition, MADE_MS))
        });
    }
    s.each(
        "ListOffsets",
        7..=9,
        "the largest time of an empty partition",
        |_| list(of("g", 0, -3)),
    );
    for epoch in [0, 9, -2] {
        s.each("ListOffsets", 4..=9, &format!("leader epoch {epoch}"), |_| {
            list(json!([{"name": "t", "partitions": [{"partitionIndex": 0, "timestamp": -1, "currentLeaderEpoch": epoch}]}]))
        });
    }
    let twice = |timestamp: i64| json!([{"name": "t", "partitions": [{"partitionIndex": 0, "timestamp": timestamp}, {"partitionIndex": 1, "timestamp": -1}, {"partitionIndex": 0, "timestamp": -2}]}]);
    s.each("ListOffsets", ALL, "a partition twice", |_| list(twice(-1)));
    s.each("ListOffsets", ALL, "no topic", |_| list(json!([])));
    s.each("ListOffsets", ALL, "no partition", |_| {
        list(json!([{"name": "t", "partitions": []}]))
    });
    s.each(
        "ListOffsets",
        2..=9,
        "only what is committed",
        |_| json!({"replicaId": -1, "isolationLevel": 1, "topics": of("t", 0, -1)}),
    );
    s.each(
        "ListOffsets",
        2..=9,
        "an isolation nobody knows",
        |_| json!({"replicaId": -1, "isolationLevel": 5, "topics": of("t", 0, -1)}),
    );
    let isolated = |replica: i32, topics: Value| json!({"replicaId": replica, "isolationLevel": 5, "topics": topics});
    for (case, replica, topics) in [
        ("as the tool for debugging", -2, of("t", 0, -1)),
        ("a special time nobody knows", -1, of("t", 0, -6)),
        ("a partition twice", -1, twice(-1)),
        ("an unknown partition", -1, of("t", 9, -1)),
        ("no topic", -1, json!([])),
    ] {
        let case = format!("by an isolation nobody knows: {case}");
        s.each("ListOffsets", 2..=9, &case, |_| {
            isolated(replica, topics.clone())
        });
    }
    for (case, name, timestamp) in [
        ("an unknown topic", "none", -1),
        ("a special time nobody knows", "t", -6),
    ] {
        s.once("ListOffsets", 0, &format!("up to -1 offsets: {case}"), json!({"replicaId": -1, "topics": [{"name": name, "partitions": [{"partitionIndex": 0, "timestamp": timestamp, "maxNumOffsets": -1}]}]}));
    }
    for replica in [-2, 1, 2] {
        s.each(
            "ListOffsets",
            ALL,
            &format!("asked by replica {replica}"),
            |_| json!({"replicaId": replica, "topics": of("t", 0, -1)}),
        );
    }
    for count in [5, 0, -1] {
        s.once("ListOffsets", 0, &format!("up to {count} offsets"), json!({"replicaId": -1, "topics": [{"name": "t", "partitions": [{"partitionIndex": 0, "timestamp": -1, "maxNumOffsets": count}]}]}));
    }
    s.each("ListOffsets", ALL, "several", |_| {
        list(json!([{"name": "u", "partitions": [{"partitionIndex": 7, "timestamp": -1}, {"partitionIndex": 0, "timestamp": -2}]},
            {"name": "none", "partitions": [{"partitionIndex": 0, "timestamp": -1}]},
            {"name": "t", "partitions": [{"partitionIndex": 1, "timestamp": -2}, {"partitionIndex": 0, "timestamp": -2}]}]))
    });
}

fn epochs(s: &mut Script) {
    let ask = |topics: Value| json!({"replicaId": -1, "topics": topics});
    let of = |name: &str, partition: i32, current: i32, epoch: i32| json!([{"topic": name, "partitions": [{"partition": partition, "currentLeaderEpoch": current, "leaderEpoch": epoch}]}]);
    for (case, low, topics) in [
        ("the epoch there is", 0, of("t", 0, -1, 0)),
        ("one that is not yet", 0, of("t", 0, -1, 7)),
        ("none", 0, of("t", 0, -1, -1)),
        ("minus two", 0, of("t", 0, -1, -2)),
        ("of an empty partition", 0, of("g", 0, -1, 0)),
        ("a newer leader epoch", 2, of("t", 0, 9, 0)),
        ("leader epoch minus two", 2, of("t", 0, -2, 0)),
        ("an unknown topic", 0, of("none", 0, -1, 0)),
        ("an unknown partition", 0, of("t", 9, -1, 0)),
        ("no topic", 0, json!([])),
        (
            "several",
            0,
            json!([{"topic": "u", "partitions": [{"partition": 1, "leaderEpoch": 0}, {"partition": 0, "leaderEpoch": 0}]}, {"topic": "none", "partitions": [{"partition": 0, "leaderEpoch": 0}]}, {"topic": "t", "partitions": [{"partition": 1, "leaderEpoch": 0}]}]),
        ),
        (
            "a partition twice",
            0,
            json!([{"topic": "t", "partitions": [{"partition": 1, "leaderEpoch": 0}, {"partition": 1, "leaderEpoch": 0}]}]),
        ),
    ] {
        s.each("OffsetForLeaderEpoch", low..=4, case, |_| {
            ask(topics.clone())
        });
    }
}

fn producers(s: &mut Script) {
    let of =
        |name: &str, partitions: Value| json!([{"name": name, "partitionIndexes": partitions}]);
    for (case, topics) in [
        ("known and unknown partitions", of("u", json!([9, 1, 0]))),
        ("an unknown topic", of("none", json!([0]))),
        ("an invalid topic", of("bad/name", json!([0]))),
        ("no partition", of("t", json!([]))),
        ("no topic", json!([])),
        ("a partition nobody numbered", of("g", json!([0]))),
        ("a partition twice", of("u", json!([1, 1]))),
    ] {
        s.once("DescribeProducers", 0, case, json!({"topics": topics}));
    }
}

fn removals(s: &mut Script) {
    let remove = |topics: Value| json!({"topics": topics, "timeoutMs": 30000});
    let of = |name: &str, partition: i32, offset: i64| json!([{"name": name, "partitions": [{"partitionIndex": partition, "offset": offset}]}]);
    for (case, topics) in [
        ("up to one", of("t", 0, 1)),
        ("up to one again", of("t", 0, 1)),
        ("up to none", of("t", 0, 0)),
        ("beyond the end", of("t", 0, 1_000_000)),
        ("up to minus two", of("t", 0, -2)),
        ("up to the end", of("t", 1, -1)),
        ("an unknown partition", of("t", 9, 0)),
        ("an unknown topic", of("none", 0, 0)),
        ("an invalid topic", of("bad/name", 0, 0)),
        ("a compacted topic", of("comp", 0, 0)),
        ("no topic", json!([])),
        ("no partition", json!([{"name": "t", "partitions": []}])),
        (
            "a partition twice",
            json!([{"name": "t", "partitions": [{"partitionIndex": 0, "offset": 2}, {"partitionIndex": 0, "offset": 3}]}]),
        ),
        (
            "a topic twice",
            json!([{"name": "u", "partitions": [{"partitionIndex": 0, "offset": 2}]}, {"name": "none", "partitions": [{"partitionIndex": 0, "offset": 2}]}, {"name": "u", "partitions": [{"partitionIndex": 0, "offset": 1}, {"partitionIndex": 1, "offset": 1}]}]),
        ),
        ("the topic of share groups", of("__share_group_state", 0, 0)),
        (
            "several",
            json!([{"name": "none", "partitions": [{"partitionIndex": 0, "offset": 0}]}, {"name": "u", "partitions": [{"partitionIndex": 7, "offset": 0}, {"partitionIndex": 1, "offset": 2}, {"partitionIndex": 0, "offset": 2}]}]),
        ),
    ] {
        s.each("DeleteRecords", ALL, case, |_| remove(topics.clone()));
    }
    for v in [4, 12, 17] {
        let body = fetch(s, "t", 0, 0, json!({}));
        s.once("Fetch", v, "before the new start", body);
    }
}
