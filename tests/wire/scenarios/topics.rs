//! Topics made, grown, moved. Leaves `t` `u` `comp` `gone` for the families behind it; `deletions` takes topics away again.

use serde_json::{Value, json};

use crate::script::{ALL, Script};

/// A topic of one partition and one replica, but for what is said.
fn topic(name: &str, said: Value) -> Value {
    let mut topic = json!({"name": name, "numPartitions": 1, "replicationFactor": 1});
    for (field, value) in said.as_object().unwrap() {
        topic[field] = value.clone();
    }
    topic
}

fn plain(name: &str) -> Value {
    topic(name, json!({}))
}

fn create(topics: Value) -> Value {
    json!({"topics": topics, "timeoutMs": 30000})
}

pub(crate) fn play(s: &mut Script) {
    creations(s);
    partitions(s);
    reassignments(s);
    elections(s);
    leaderless(s);
    s.make_topics(&[("t", 2), ("u", 2), ("gone", 1), ("g", 2)]);
    s.make_topics(&[("__share_group_state", 1)]);
    let compacted = topic(
        "comp",
        json!({"configs": [{"name": "cleanup.policy", "value": "compact"}]}),
    );
    s.quietly("CreateTopics", 7, create(json!([compacted])));
    s.await_topic("comp");
}

fn creations(s: &mut Script) {
    let with = |name: &str, value: Value| json!({"configs": [{"name": name, "value": value}]});
    s.each("CreateTopics", ALL, "one with a setting", |v| {
        create(json!([topic(
            &format!("made-{v}"),
            json!({"numPartitions": 2, "configs": [{"name": "retention.ms", "value": "60000"}]})
        )]))
    });
    s.each("CreateTopics", ALL, "replicas named", |v| {
        create(json!([topic(&format!("named-{v}"), json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": [1]}]}))]))
    });
    s.each("CreateTopics", ALL, "the broker's defaults", |v| {
        create(json!([topic(
            &format!("default-{v}"),
            json!({"numPartitions": -1, "replicationFactor": -1})
        )]))
    });
    s.each("CreateTopics", ALL, "none", |_| create(json!([])));
    for (case, wrong) in [
        ("one that exists", plain("made-0")),
        ("a slash in the name", plain("bad/name")),
        ("a blank in the name", plain("bad name")),
        ("two dots", plain("..")),
        ("one dot", plain(".")),
        ("an empty name", plain("")),
        ("249 letters", plain(&"x".repeat(249))),
        ("250 letters", plain(&"x".repeat(250))),
        ("an internal topic", plain("__transaction_state_not")),
        ("KRaft's own topic", plain("__cluster_metadata")),
        (
            "nine replicas",
            topic("wrong", json!({"replicationFactor": 9})),
        ),
        (
            "no replica",
            topic("wrong", json!({"replicationFactor": 0})),
        ),
        (
            "minus two replicas",
            topic("wrong", json!({"replicationFactor": -2})),
        ),
        ("no partition", topic("wrong", json!({"numPartitions": 0}))),
        (
            "minus two partitions",
            topic("wrong", json!({"numPartitions": -2})),
        ),
        (
            "an unknown setting",
            topic("wrong", with("nope", json!("1"))),
        ),
        (
            "a setting without a value",
            topic("wrong", with("retention.ms", Value::Null)),
        ),
        (
            "a setting that is no number",
            topic("wrong", with("retention.ms", json!("abc"))),
        ),
        (
            "a setting out of range",
            topic("wrong", with("max.message.bytes", json!("-1"))),
        ),
        (
            "a setting that is no word of its list",
            topic("wrong", with("cleanup.policy", json!("burn"))),
        ),
        (
            "a setting that is no boolean",
            topic("wrong", with("preallocate", json!("yes"))),
        ),
        (
            "remote storage",
            topic("wrong", with("remote.storage.enable", json!("true"))),
        ),
        (
            "counts and replicas both",
            topic(
                "wrong",
                json!({"assignments": [{"partitionIndex": 0, "brokerIds": [1]}]}),
            ),
        ),
        (
            "replicas of partition 1 alone",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 1, "brokerIds": [1]}]}),
            ),
        ),
        (
            "replicas of a negative partition",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": -1, "brokerIds": [1]}]}),
            ),
        ),
        (
            "replicas of partition zero and a negative one",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": [1]}, {"partitionIndex": -1, "brokerIds": [1]}]}),
            ),
        ),
        (
            "replicas of a negative partition of an invalid name",
            topic(
                "bad/name",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": -1, "brokerIds": [1]}]}),
            ),
        ),
        (
            "a replica twice",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": [1, 1]}]}),
            ),
        ),
        (
            "a partition twice",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": [1]}, {"partitionIndex": 0, "brokerIds": [1]}]}),
            ),
        ),
        (
            "a partition without replicas",
            topic(
                "wrong",
                json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": []}]}),
            ),
        ),
    ] {
        s.each("CreateTopics", ALL, case, |_| create(json!([wrong])));
    }
    s.each("CreateTopics", ALL, "several, some wrong", |v| {
        create(json!([
            plain("made-0"),
            plain(&format!("several-{v}")),
            plain("bad/name"),
            topic("wrong", json!({"replicationFactor": 9}))
        ]))
    });
    s.each("CreateTopics", ALL, "one twice", |_| {
        create(json!([plain("twice"), plain("twice"), plain("twice")]))
    });
    s.each("CreateTopics", ALL, "one twice and another", |v| {
        create(json!([
            plain("twice"),
            plain("twice"),
            plain(&format!("once-{v}"))
        ]))
    });
    s.each("CreateTopics", 1..=7, "only checked", |_| {
        json!({"topics": [plain("checked"), plain("made-0"), plain("..")], "timeoutMs": 30000, "validateOnly": true})
    });
    s.once(
        "CreateTopics",
        7,
        "a name with a dot and an underscore",
        create(json!([plain("a.b_c")])),
    );
    s.each("CreateTopics", ALL, "a name that collides", |_| {
        create(json!([plain("a_b.c")]))
    });
    s.each(
        "CreateTopics",
        ALL,
        "no time",
        |v| json!({"topics": [plain(&format!("hurry-{v}"))], "timeoutMs": 0}),
    );
    for version in 0..=7 {
        s.await_topic(&format!("hurry-{version}"));
    }
}

/// Topics whose replicas are all elsewhere: made, and never led.
fn leaderless(s: &mut Script) {
    let replicas = |ids: &[i32], more: &[i32]| json!({"numPartitions": -1, "replicationFactor": -1, "assignments": [{"partitionIndex": 0, "brokerIds": ids}, {"partitionIndex": 1, "brokerIds": more}]});
    s.each(
        "CreateTopics",
        ALL,
        "replicas on a broker nobody knows",
        |v| json!({"topics": [topic(&format!("far-{v}"), replicas(&[7], &[7]))], "timeoutMs": 100}),
    );
    s.each(
        "CreateTopics",
        ALL,
        "one that is led and one that is not",
        |v| json!({"topics": [plain(&format!("led-too-{v}")), topic(&format!("far-too-{v}"), replicas(&[7], &[7]))], "timeoutMs": 500}),
    );
    s.held_back(
        "CreateTopics and CreatePartitions with more than one replica",
        |s| {
            s.each(
                "CreateTopics",
                ALL,
                "partitions of different widths",
                |_| create(json!([topic("wide", replicas(&[1], &[1, 2]))])),
            );
        },
    );
}

fn partitions(s: &mut Script) {
    let grow = |name: &str, count: i32, replicas: Value| json!({"topics": [{"name": name, "count": count, "assignments": replicas}], "timeoutMs": 30000});
    s.each("CreatePartitions", ALL, "to three", |v| {
        grow(&format!("made-{v}"), 3, Value::Null)
    });
    s.each("CreatePartitions", ALL, "to four on a named broker", |v| {
        grow(&format!("made-{v}"), 4, json!([{"brokerIds": [1]}]))
    });
    for (case, name, count, replicas) in [
        ("as many as there are", "made-0", 4, Value::Null),
        ("fewer", "made-0", 1, Value::Null),
        ("none", "made-0", 0, Value::Null),
        ("minus one", "made-0", -1, Value::Null),
        ("an unknown topic", "none", 3, Value::Null),
        ("an invalid name", "bad/name", 3, Value::Null),
        ("an empty name", "", 3, Value::Null),
        (
            "replicas of too few partitions",
            "made-0",
            6,
            json!([{"brokerIds": [1]}]),
        ),
        ("replicas of no partition", "made-0", 6, json!([])),
        (
            "a broker nobody knows",
            "made-0",
            5,
            json!([{"brokerIds": [8]}]),
        ),
        (
            "a broker nobody knows, twice",
            "made-0",
            6,
            json!([{"brokerIds": [8]}, {"brokerIds": [8]}]),
        ),
        ("no broker", "made-0", 5, json!([{"brokerIds": []}])),
        (
            "a broker twice",
            "made-0",
            5,
            json!([{"brokerIds": [1, 1]}]),
        ),
    ] {
        s.each("CreatePartitions", ALL, case, |_| {
            grow(name, count, replicas.clone())
        });
    }
    s.each("CreatePartitions", ALL, "only checked", |_| {
        json!({"topics": [{"name": "made-0", "count": 9, "assignments": null}], "timeoutMs": 30000, "validateOnly": true})
    });
    let one = |name: &str, count: i32| json!({"name": name, "count": count, "assignments": null});
    s.each("CreatePartitions", ALL, "several", |_| {
        json!({"topics": [one("none", 3), one("made-0", 2), one("made-1", 4), one("bad/name", 1)], "timeoutMs": 30000})
    });
    s.each("CreatePartitions", ALL, "one twice and another", |_| {
        json!({"topics": [one("made-0", 8), one("made-0", 9), one("none", 1)], "timeoutMs": 30000})
    });
    s.each("CreatePartitions", ALL, "an empty name between others", |v| {
        json!({"topics": [one(&format!("default-{v}"), 3), one("", 3), one(&format!("several-{v}"), 3)], "timeoutMs": 30000})
    });
    s.each("CreatePartitions", ALL, "those after the empty name", |v| {
        json!({"topics": [one(&format!("default-{v}"), 3), one(&format!("several-{v}"), 3)], "timeoutMs": 30000})
    });
    s.each(
        "CreatePartitions",
        ALL,
        "no topic",
        |_| json!({"topics": [], "timeoutMs": 30000}),
    );
}

fn reassignments(s: &mut Script) {
    s.make_topics(&[("move", 3)]);
    let of = |partition: i32, replicas: Value| json!({"partitionIndex": partition, "replicas": replicas});
    for (case, topics) in [
        (
            "to where it is",
            json!([{"name": "move", "partitions": [of(0, json!([1]))]}]),
        ),
        (
            "nothing to cancel",
            json!([{"name": "move", "partitions": [of(0, Value::Null)]}]),
        ),
        (
            "to a broker nobody knows",
            json!([{"name": "move", "partitions": [of(0, json!([8]))]}]),
        ),
        (
            "to no broker",
            json!([{"name": "move", "partitions": [of(0, json!([]))]}]),
        ),
        (
            "to a broker twice",
            json!([{"name": "move", "partitions": [of(0, json!([1, 1]))]}]),
        ),
        (
            "to a negative broker",
            json!([{"name": "move", "partitions": [of(0, json!([-1]))]}]),
        ),
        (
            "an unknown partition",
            json!([{"name": "move", "partitions": [of(9, json!([1]))]}]),
        ),
        (
            "an unknown topic",
            json!([{"name": "none", "partitions": [of(0, json!([1]))]}]),
        ),
        (
            "several of one topic",
            json!([{"name": "move", "partitions": [of(2, json!([1])), of(0, json!([8])), of(1, Value::Null)]}]),
        ),
        (
            "a partition twice",
            json!([{"name": "move", "partitions": [of(0, json!([1])), of(0, json!([8]))]}]),
        ),
        (
            "a topic twice",
            json!([{"name": "move", "partitions": [of(0, json!([1]))]}, {"name": "none", "partitions": [of(0, json!([1]))]}, {"name": "move", "partitions": [of(0, json!([8])), of(1, json!([1]))]}]),
        ),
        ("no partition", json!([{"name": "move", "partitions": []}])),
        ("no topic", json!([])),
    ] {
        s.once(
            "AlterPartitionReassignments",
            0,
            case,
            json!({"timeoutMs": 30000, "topics": topics}),
        );
    }
    for (case, topics) in [
        ("all", Value::Null),
        (
            "some",
            json!([{"name": "move", "partitionIndexes": [0, 1]}]),
        ),
        (
            "unknown ones",
            json!([{"name": "move", "partitionIndexes": [9]}, {"name": "none", "partitionIndexes": [0]}]),
        ),
        ("none", json!([])),
    ] {
        s.once(
            "ListPartitionReassignments",
            0,
            case,
            json!({"timeoutMs": 30000, "topics": topics}),
        );
    }
}

fn elections(s: &mut Script) {
    let elect = |kind: i8, topics: Value| json!({"electionType": kind, "topicPartitions": topics, "timeoutMs": 30000});
    let one = |name: &str, partitions: Value| json!([{"topic": name, "partitions": partitions}]);
    for (case, kind, topics) in [
        ("preferred and not needed", 0, one("move", json!([0]))),
        (
            "preferred of an unknown partition",
            0,
            one("move", json!([9])),
        ),
        ("preferred of an unknown topic", 0, one("none", json!([0]))),
        ("preferred of all", 0, Value::Null),
        ("preferred of none", 0, json!([])),
        ("a partition twice", 0, one("move", json!([0, 0]))),
    ] {
        s.each("ElectLeaders", ALL, case, |_| elect(kind, topics.clone()));
    }
    for kind in [2, -1] {
        let topics = json!([{"topic": "move", "partitions": [1, 0, 1]}, {"topic": "none", "partitions": []}, {"topic": "move", "partitions": [0]}]);
        s.each(
            "ElectLeaders",
            1..=2,
            &format!("kind {kind} of several, some twice"),
            |_| elect(kind, topics.clone()),
        );
    }
    for (case, kind) in [
        ("unclean and not needed", 1),
        ("a kind nobody knows", 2),
        ("a negative kind", -1),
    ] {
        s.each("ElectLeaders", 1..=2, case, |_| {
            elect(kind, one("move", json!([0])))
        });
    }
}

/// The last family but the broker's own: topics go.
pub(crate) fn deletions(s: &mut Script) {
    let zero = "0".repeat(32);
    let named = |names: &[&str]| {
        let topics: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "topicId": zero}))
            .collect();
        json!({"topicNames": names, "topics": topics, "timeoutMs": 30000})
    };
    s.each("DeleteTopics", ALL, "one", |v| {
        named(&[&format!("named-{v}")])
    });
    s.each("DeleteTopics", ALL, "an unknown one", |_| named(&["none"]));
    s.each("DeleteTopics", ALL, "an invalid name", |_| {
        named(&["bad/name"])
    });
    s.each("DeleteTopics", ALL, "an empty name", |_| named(&[""]));
    s.each("DeleteTopics", ALL, "several, some unknown", |v| {
        named(&["none", &format!("default-{v}"), "nope"])
    });
    s.each("DeleteTopics", 0..=5, "one twice", |v| {
        named(&[&format!("once-{v}"), &format!("once-{v}")])
    });
    s.each("DeleteTopics", ALL, "none", |_| named(&[]));
    s.once("DeleteTopics", 6, "one twice by name", named(&["u", "u"]));
    let id = s.await_topic("gone");
    let other = s.await_topic("comp");
    let by = |topics: Value| json!({"topics": topics, "timeoutMs": 30000});
    s.once(
        "DeleteTopics",
        6,
        "name and id both",
        by(json!([{"name": "gone", "topicId": id}])),
    );
    s.once(
        "DeleteTopics",
        6,
        "neither name nor id",
        by(json!([{"name": null, "topicId": zero}])),
    );
    s.once(
        "DeleteTopics",
        6,
        "an id twice",
        by(json!([{"name": null, "topicId": id}, {"name": null, "topicId": id}])),
    );
    s.once(
        "DeleteTopics",
        6,
        "an id and one nobody knows",
        by(json!([{"name": null, "topicId": "4".repeat(32)}, {"name": null, "topicId": other}])),
    );
    let hurried = |names: &[&str], timeout_ms: i32| {
        let mut body = named(names);
        body["timeoutMs"] = json!(timeout_ms);
        body
    };
    s.each("DeleteTopics", 0..=5, "one twice, no time", |v| {
        let name = format!("several-{v}");
        hurried(&[&name, &name], 0)
    });
    s.each(
        "DeleteTopics",
        ALL,
        "one that goes and one that nobody led",
        |v| hurried(&[&format!("led-too-{v}"), &format!("far-{v}")], 500),
    );
    s.each("DeleteTopics", ALL, "no time", |v| json!({"topicNames": [format!("hurry-{v}")], "topics": [{"name": format!("hurry-{v}"), "topicId": zero}], "timeoutMs": 0}));
}
