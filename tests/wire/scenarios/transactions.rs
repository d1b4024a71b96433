//! Producers' ids, and transactions' APIs as far as one broker answers them without a transaction coordinator.

use serde_json::{Value, json};

use crate::records::{Batch, TWO};
use crate::script::{ALL, Script};

pub(crate) fn play(s: &mut Script) {
    let init = |id: Value, timeout: i32| json!({"transactionalId": id, "transactionTimeoutMs": timeout, "producerId": -1, "producerEpoch": -1});
    s.each("InitProducerId", ALL, "an idempotent producer", |_| {
        init(Value::Null, i32::MAX)
    });
    s.each("InitProducerId", ALL, "no time", |_| init(Value::Null, 0));
    s.each("InitProducerId", 3..=5, "with an id of its own", |_| json!({"transactionalId": null, "transactionTimeoutMs": 1, "producerId": 5, "producerEpoch": 2}));
    s.each("InitProducerId", 3..=5, "with an id and no epoch", |_| json!({"transactionalId": null, "transactionTimeoutMs": 1, "producerId": 5, "producerEpoch": -1}));
    s.each("InitProducerId", 3..=5, "with an epoch and no id", |_| json!({"transactionalId": null, "transactionTimeoutMs": 1, "producerId": -1, "producerEpoch": 2}));
    s.each("InitProducerId", ALL, "an empty transactional id", |_| {
        init(json!(""), 60000)
    });
    s.each("InitProducerId", ALL, "a transactional id", |_| {
        init(json!("tx"), 60000)
    });
    s.each("InitProducerId", ALL, "a timeout too long", |_| {
        init(json!("tx"), i32::MAX)
    });
    s.each("InitProducerId", ALL, "a timeout of nothing", |_| {
        init(json!("tx"), 0)
    });
    s.each("InitProducerId", 3..=5, "a transactional id, and an epoch alone", |_| json!({"transactionalId": "tx", "transactionTimeoutMs": 1000, "producerId": -1, "producerEpoch": 2}));
    participants(s);
    s.each("EndTxn", ALL, "nobody's transaction", |_| json!({"transactionalId": "tx", "producerId": 5, "producerEpoch": 0, "committed": true}));
    s.each(
        "EndTxn",
        ALL,
        "of an empty id",
        |_| json!({"transactionalId": "", "producerId": 5, "producerEpoch": 0, "committed": true}),
    );
    offsets(s);
    for (case, ids) in [
        ("nobody's", json!(["tx", "", "ty"])),
        ("none", json!([])),
        ("one twice", json!(["tx", "tx"])),
    ] {
        s.once(
            "DescribeTransactions",
            0,
            case,
            json!({"transactionalIds": ids}),
        );
    }
    for (case, low, body) in [
        ("all", 0, json!({})),
        (
            "of a state nobody knows",
            0,
            json!({"stateFilters": ["Nope", "Ongoing", "ongoing"]}),
        ),
        (
            "of a state nobody knows, twice",
            0,
            json!({"stateFilters": ["Nope", "Nope"]}),
        ),
        ("of a producer", 0, json!({"producerIdFilters": [5]})),
        ("of some age", 1, json!({"durationFilter": 5})),
    ] {
        s.each("ListTransactions", low..=1, case, |_| body.clone());
    }
    markers(s);
    batches(s);
}

fn participants(s: &mut Script) {
    let add = |verify: bool, topics: Value| {
        json!({"v3AndBelowTransactionalId": "tx", "v3AndBelowProducerId": 5, "v3AndBelowProducerEpoch": 0, "v3AndBelowTopics": topics,
            "transactions": [{"transactionalId": "tx", "producerId": 5, "producerEpoch": 0, "verifyOnly": verify, "topics": topics}]})
    };
    let of = |name: &str, partitions: &[i32]| json!({"name": name, "partitions": partitions});
    for verify in [false, true] {
        let case = match verify {
            false => "of an empty id",
            true => "of an empty id, only asked",
        };
        let low = if verify { 4 } else { 0 };
        s.each("AddPartitionsToTxn", low..=5, case, |_| {
            let mut body = add(verify, json!([of("t", &[0])]));
            body["v3AndBelowTransactionalId"] = json!("");
            body["transactions"][0]["transactionalId"] = json!("");
            body
        });
    }
    for (case, topics) in [
        ("nobody's transaction", json!([of("t", &[1, 0])])),
        (
            "unknown partitions among known ones",
            json!([of("t", &[0, 9]), of("none", &[0])]),
        ),
        (
            "unknown partitions, some twice",
            json!([of("t", &[0, 9, 9]), of("u", &[]), of("t", &[1])]),
        ),
        (
            "a partition twice",
            json!([of("t", &[0, 0]), of("t", &[0])]),
        ),
        ("no topic", json!([])),
        ("no partition", json!([of("t", &[])])),
    ] {
        s.each("AddPartitionsToTxn", ALL, case, |_| {
            add(false, topics.clone())
        });
        s.each(
            "AddPartitionsToTxn",
            4..=5,
            &format!("{case}, only asked"),
            |_| add(true, topics.clone()),
        );
    }
    // No transaction at all is not asked: Apache never answers that.
    let ask = |id: &str, group: &str| json!({"transactionalId": id, "producerId": 5, "producerEpoch": 0, "groupId": group});
    s.each("AddOffsetsToTxn", ALL, "nobody's transaction", |_| {
        ask("tx", "txg")
    });
    s.each("AddOffsetsToTxn", ALL, "of an empty id", |_| ask("", "txg"));
    s.each("AddOffsetsToTxn", ALL, "of an empty group", |_| {
        ask("tx", "")
    });
}

fn offsets(s: &mut Script) {
    let commit = |id: &str, group: &str, topics: Value, generation: i32, member: &str| json!({"transactionalId": id, "groupId": group, "producerId": 5, "producerEpoch": 0, "topics": topics, "generationId": generation, "memberId": member});
    let of = |name: &str, partition: i32| json!({"name": name, "partitions": [{"partitionIndex": partition, "committedOffset": 7, "committedLeaderEpoch": 0, "committedMetadata": ""}]});
    s.each("TxnOffsetCommit", ALL, "an unknown topic alone", |_| {
        commit("tx", "txg", json!([of("none", 0)]), -1, "")
    });
    s.each("TxnOffsetCommit", ALL, "no partition", |_| {
        let nothing = |name: &str| json!({"name": name, "partitions": []});
        commit("tx", "txg", json!([nothing("g"), nothing("none")]), -1, "")
    });
    s.each("TxnOffsetCommit", ALL, "an unknown topic twice", |_| {
        commit(
            "tx",
            "txg",
            json!([of("none", 0), of("none", 1), of("none", 0)]),
            -1,
            "",
        )
    });
    s.each("TxnOffsetCommit", ALL, "no topic", |_| {
        commit("tx", "txg", json!([]), -1, "")
    });
    s.held_back("InitProducerId with a transactional id, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, DescribeTransactions", |s| {
        s.each("TxnOffsetCommit", ALL, "offsets of a transaction", |_| commit("tx", "txg", json!([of("g", 0)]), -1, ""));
    });
}

fn batches(s: &mut Script) {
    let batch = |v: i16, id: Value| {
        let records = Batch {
            producer: Some((8000 + i64::from(v), 0, 0)),
            transactional: true,
            ..TWO
        }
        .hex();
        json!({"transactionalId": id, "acks": -1, "timeoutMs": 30000, "topicData": [{"name": "u", "partitionData": [{"index": 0, "records": records}]}]})
    };
    s.each("Produce", 3..=11, "transactional: without an id", |v| {
        batch(v, Value::Null)
    });
    s.held_back("Produce with a transactional id", |s| {
        s.each("Produce", 3..=11, "transactional: nobody's", |v| {
            batch(v, json!("tx"))
        });
    });
}

fn markers(s: &mut Script) {
    let mark = |id: i64, epoch: i16, commit: bool, topics: Value| json!({"producerId": id, "producerEpoch": epoch, "transactionResult": commit, "topics": topics, "coordinatorEpoch": 0});
    let of = |name: &str, partitions: &[i32]| json!({"name": name, "partitionIndexes": partitions});
    for (case, markers) in [
        (
            "an abort",
            json!([mark(7011, 9, false, json!([of("t", &[0])]))]),
        ),
        (
            "a commit of an older epoch",
            json!([mark(7011, 1, true, json!([of("t", &[0])]))]),
        ),
        (
            "unknown partitions",
            json!([mark(
                7011,
                9,
                false,
                json!([of("t", &[9]), of("none", &[0])])
            )]),
        ),
        (
            "several",
            json!([
                mark(7011, 9, true, json!([of("t", &[1, 0]), of("none", &[0])])),
                mark(7012, 9, true, json!([of("u", &[0])]))
            ]),
        ),
        (
            "a topic twice",
            json!([mark(
                7011,
                9,
                false,
                json!([of("t", &[0]), of("u", &[0]), of("t", &[1])])
            )]),
        ),
        (
            "two of one producer",
            json!([
                mark(7011, 9, false, json!([of("t", &[0])])),
                mark(7011, 9, false, json!([of("t", &[1]), of("none", &[0])]))
            ]),
        ),
        (
            "two of one producer to one partition",
            json!([
                mark(7011, 9, false, json!([of("t", &[0])])),
                mark(7011, 9, false, json!([of("t", &[0])]))
            ]),
        ),
        ("no topic", json!([mark(7011, 9, false, json!([]))])),
        ("no marker", json!([])),
    ] {
        s.each(
            "WriteTxnMarkers",
            ALL,
            case,
            |_| json!({"markers": markers}),
        );
    }
}
