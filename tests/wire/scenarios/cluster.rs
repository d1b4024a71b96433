//! The cluster described: brokers, topics, features, log directories.

use serde_json::{Value, json};

use crate::script::{ALL, Script};

pub(crate) fn play(s: &mut Script) {
    topics(s);
    brokers(s);
    features(s);
    directories(s);
    s.once("Envelope", 0, "in ZooKeeper mode", json!({"requestData": "0003000c00000001", "requestPrincipal": "00", "clientHostAddress": "7f000001"}));
}

/// Whatever lists all there is, while that is little.
pub(crate) fn of_one_topic(s: &mut Script) {
    s.each(
        "Metadata",
        ALL,
        "an empty list of an empty cluster",
        |_| json!({"topics": []}),
    );
    s.make_topics(&[("first", 2)]);
    s.each(
        "Metadata",
        1..=12,
        "all topics",
        |_| json!({"topics": null, "allowAutoTopicCreation": false}),
    );
    s.each("Metadata", ALL, "an empty list", |_| json!({"topics": []}));
    s.each("DescribeLogDirs", ALL, "all", |_| json!({"topics": null}));
}

fn topics(s: &mut Script) {
    let named = |names: &[&str], create: bool| {
        let topics: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"topics": topics, "allowAutoTopicCreation": create})
    };
    s.each("Metadata", ALL, "one topic", |_| named(&["t"], false));
    s.each("Metadata", ALL, "several, some twice", |_| {
        named(&["u", "t", "u", "comp"], false)
    });
    s.each("Metadata", 4..=12, "an unknown topic", |_| {
        named(&["none"], false)
    });
    s.each("Metadata", 4..=12, "unknown and known topics", |_| {
        named(&["none", "t", "bad/name", "nope"], false)
    });
    s.each("Metadata", ALL, "an invalid name", |_| {
        named(&["bad/name"], true)
    });
    s.each("Metadata", ALL, "an empty name", |_| named(&[""], true));
    s.each("Metadata", 8..=12, "with what may be done", |_| {
        json!({"topics": [{"name": "t"}], "includeTopicAuthorizedOperations": true, "includeClusterAuthorizedOperations": true, "allowAutoTopicCreation": false})
    });
    let (t, zero) = (s.await_topic("t"), "0".repeat(32));
    let by = |id: &str, name: Value| json!({"topics": [{"topicId": id, "name": name}], "allowAutoTopicCreation": false});
    s.each("Metadata", 12..=12, "by id", |_| by(&t, Value::Null));
    s.each("Metadata", 12..=12, "by an id nobody knows", |_| {
        by(&"1".repeat(32), Value::Null)
    });
    s.each("Metadata", 10..=12, "by name and id", |_| {
        by(&t, json!("t"))
    });
    s.each("Metadata", 10..=12, "by neither", |_| {
        by(&zero, Value::Null)
    });
    s.each("Metadata", 12..=12, "by id and by name, apart", |_| json!({"topics": [{"topicId": t, "name": null}, {"topicId": zero, "name": "u"}], "allowAutoTopicCreation": false}));
    s.each("Metadata", 12..=12, "by id and by neither", |_| json!({"topics": [{"topicId": t, "name": null}, {"topicId": zero, "name": null}], "allowAutoTopicCreation": false}));
    s.each("Metadata", 12..=12, "by known and unknown ids, with what may be done", |_| json!({"topics": [{"topicId": "1".repeat(32), "name": null}, {"topicId": t, "name": null}], "includeTopicAuthorizedOperations": true, "allowAutoTopicCreation": false}));
    s.each("Metadata", 8..=12, "unknown names, with what may be done", |_| json!({"topics": [{"name": "none"}, {"name": "bad/name"}], "includeTopicAuthorizedOperations": true, "allowAutoTopicCreation": false}));
    s.each("Metadata", ALL, "the topic of share groups", |_| {
        named(&["__share_group_state"], false)
    });
    s.each("Metadata", ALL, "a topic that comes into being", |v| {
        named(&[&format!("auto-{v}")], true)
    });
    for version in 0..=12 {
        s.await_topic(&format!("auto-{version}"));
    }
}

fn brokers(s: &mut Script) {
    for (case, low, body) in [
        ("as clients ask", 0, json!({})),
        (
            "with what may be done",
            0,
            json!({"includeClusterAuthorizedOperations": true}),
        ),
        ("controllers", 1, json!({"endpointType": 2})),
        (
            "endpoints of a kind nobody knows",
            1,
            json!({"endpointType": 9}),
        ),
        ("endpoints of kind zero", 1, json!({"endpointType": 0})),
    ] {
        s.each("DescribeCluster", low..=1, case, |_| body.clone());
    }
}

fn features(s: &mut Script) {
    let update = |updates: Value| json!({"timeoutMs": 30000, "featureUpdates": updates});
    let one = |name: &str, level: i16| json!({"feature": name, "maxVersionLevel": level, "allowDowngrade": false, "upgradeType": 1});
    for (case, updates) in [
        ("an unknown feature", json!([one("nope", 5)])),
        (
            "the version of metadata",
            json!([one("metadata.version", 5)]),
        ),
        ("an empty name", json!([one("", 1)])),
        ("a level of zero", json!([one("nope", 0)])),
        ("a negative level", json!([one("nope", -1)])),
        ("a feature twice", json!([one("nope", 1), one("nope", 2)])),
        (
            "a feature twice, the first wrong",
            json!([one("nope", 0), one("nope", 5)]),
        ),
        ("several", json!([one("nope", 1), one("none", 2)])),
        ("none", json!([])),
    ] {
        s.each("UpdateFeatures", ALL, case, |_| update(updates.clone()));
    }
    s.each(
        "UpdateFeatures",
        1..=1,
        "only checked",
        |_| json!({"timeoutMs": 30000, "featureUpdates": [one("nope", 5)], "validateOnly": true}),
    );
    s.each("UpdateFeatures", ALL, "a downgrade", |_| update(json!([{"feature": "nope", "maxVersionLevel": 0, "allowDowngrade": true, "upgradeType": 2}])));
}

fn directories(s: &mut Script) {
    for (case, topics) in [
        (
            "some partitions",
            json!([{"topic": "t", "partitions": [0, 1]}]),
        ),
        (
            "unknown partitions",
            json!([{"topic": "t", "partitions": [9]}, {"topic": "none", "partitions": [0]}]),
        ),
        ("no topic", json!([])),
        ("no partition", json!([{"topic": "t", "partitions": []}])),
    ] {
        s.each("DescribeLogDirs", ALL, case, |_| json!({"topics": topics}));
    }
    let logs = s.side.logs.display().to_string();
    let to = |path: &str, topics: Value| json!({"dirs": [{"path": path, "topics": topics}]});
    for (case, path, topics) in [
        (
            "to an unknown directory",
            "/nope",
            json!([{"name": "t", "partitions": [0]}]),
        ),
        (
            "to a path that is not absolute",
            "nope",
            json!([{"name": "t", "partitions": [0]}]),
        ),
        (
            "to where it is",
            logs.as_str(),
            json!([{"name": "t", "partitions": [0, 1]}]),
        ),
        (
            "an unknown partition",
            logs.as_str(),
            json!([{"name": "t", "partitions": [9]}]),
        ),
        (
            "an unknown topic",
            logs.as_str(),
            json!([{"name": "unborn", "partitions": [0]}]),
        ),
        ("no topic", logs.as_str(), json!([])),
        (
            "several",
            "/nope",
            json!([{"name": "u", "partitions": [1, 0, 9]}, {"name": "none", "partitions": [0]}, {"name": "t", "partitions": [0]}]),
        ),
    ] {
        s.each("AlterReplicaLogDirs", ALL, case, |_| {
            to(path, topics.clone())
        });
    }
    s.each(
        "AlterReplicaLogDirs",
        ALL,
        "no directory",
        |_| json!({"dirs": []}),
    );
}
