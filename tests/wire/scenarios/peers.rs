//! What only brokers ask: the controller's orders, a leader's proposals. The last family but deletions: it makes replicas
//! that no znode knows.

use serde_json::{Value, json};

use crate::script::{ALL, Script};

/// What an order or a proposal is checked by.
#[derive(Clone, Copy)]
struct Epochs {
    controller: i32,
    broker: i64,
    leader: i32,
}

pub(crate) fn play(s: &mut Script) {
    let now = Epochs {
        controller: 1,
        broker: s.side.broker_epoch(),
        leader: 0,
    };
    proposals(s, now);
    leaders(s, now);
    images(s, now);
    stops(s, now);
}

/// The broker's own end: what it is asked when it leaves.
pub(crate) fn shutdowns(s: &mut Script) {
    let broker = s.side.broker_epoch();
    s.each(
        "ControlledShutdown",
        ALL,
        "an unknown broker",
        |_| json!({"brokerId": 9, "brokerEpoch": -1}),
    );
    s.each(
        "ControlledShutdown",
        2..=3,
        "an unknown broker and an epoch",
        |_| json!({"brokerId": 9, "brokerEpoch": 5}),
    );
    s.each(
        "ControlledShutdown",
        2..=3,
        "an older epoch",
        |_| json!({"brokerId": 1, "brokerEpoch": broker - 1}),
    );
    s.each(
        "ControlledShutdown",
        ALL,
        "the last broker",
        |_| json!({"brokerId": 1, "brokerEpoch": broker}),
    );
}

fn id(v: i16) -> String {
    format!("{:032x}", 0xabc00 + i32::from(v))
}

fn orders(v: i16, name: &str, epochs: Epochs, said: Value) -> Value {
    let mut state = json!({"partitionIndex": 0, "controllerEpoch": epochs.controller, "leader": 1, "leaderEpoch": epochs.leader,
        "isr": [1], "partitionEpoch": 0, "replicas": [1], "isNew": true});
    for (field, value) in said.as_object().unwrap() {
        state[field] = value.clone();
    }
    let mut ungrouped = state.clone();
    ungrouped["topicName"] = json!(name);
    json!({"controllerId": 1, "controllerEpoch": epochs.controller, "brokerEpoch": epochs.broker, "type": 0,
        "ungroupedPartitionStates": [ungrouped], "topicStates": [{"topicName": name, "topicId": id(v), "partitionStates": [state]}],
        "liveLeaders": [{"brokerId": 1, "hostName": "127.0.0.1", "port": 1}]})
}

fn leaders(s: &mut Script, now: Epochs) {
    let none = json!({});
    for (case, low, epochs, said) in [
        ("a new leader", 0, now, none.clone()),
        ("the same again", 0, now, none.clone()),
        (
            "a newer leader epoch",
            0,
            Epochs { leader: 5, ..now },
            none.clone(),
        ),
        (
            "an older leader epoch",
            0,
            Epochs { leader: 2, ..now },
            none.clone(),
        ),
        (
            "no replica of it",
            0,
            Epochs { leader: 9, ..now },
            json!({"replicas": [2, 3]}),
        ),
        (
            "an older controller",
            0,
            Epochs {
                controller: 0,
                ..now
            },
            none.clone(),
        ),
        (
            "an older broker epoch",
            2,
            Epochs {
                broker: now.broker - 1,
                ..now
            },
            none.clone(),
        ),
        (
            "no broker epoch",
            2,
            Epochs {
                broker: -1,
                leader: 6,
                ..now
            },
            none.clone(),
        ),
        (
            "a newer broker epoch",
            2,
            Epochs {
                broker: now.broker + 5,
                leader: 20,
                ..now
            },
            none.clone(),
        ),
    ] {
        s.each("LeaderAndIsr", low..=7, case, |v| {
            orders(v, &format!("led-{v}"), epochs, said.clone())
        });
    }
    s.each("LeaderAndIsr", ALL, "a partition twice", |v| {
        let mut twice = orders(v, &format!("twice-{v}"), now, none.clone());
        let state = twice["ungroupedPartitionStates"][0].clone();
        twice["ungroupedPartitionStates"] = json!([state, state]);
        let state = twice["topicStates"][0]["partitionStates"][0].clone();
        twice["topicStates"][0]["partitionStates"] = json!([state, state]);
        twice
    });
    s.each(
        "LeaderAndIsr",
        ALL,
        "a partition twice, the older last",
        |v| {
            let mut twice = orders(v, &format!("twice-{v}"), now, none.clone());
            let both = |state: &Value| {
                let (mut newer, mut older) = (state.clone(), state.clone());
                (newer["leaderEpoch"], older["leaderEpoch"]) = (json!(now.leader + 5), json!(-1));
                json!([newer, older])
            };
            twice["ungroupedPartitionStates"] = both(&twice["ungroupedPartitionStates"][0]);
            twice["topicStates"][0]["partitionStates"] =
                both(&twice["topicStates"][0]["partitionStates"][0]);
            twice
        },
    );
    s.each("LeaderAndIsr", ALL, "older than what came first", |v| {
        let older = Epochs {
            leader: now.leader + 3,
            ..now
        };
        orders(v, &format!("twice-{v}"), older, none.clone())
    });
    s.each("LeaderAndIsr", 2..=7, "a topic twice", |v| {
        let mut twice = orders(v, &format!("split-{v}"), now, none.clone());
        let (first, mut second) = (
            twice["topicStates"][0].clone(),
            twice["topicStates"][0].clone(),
        );
        second["partitionStates"][0]["partitionIndex"] = json!(1);
        twice["topicStates"] = json!([first, second]);
        twice
    });
    s.each(
        "LeaderAndIsr",
        2..=7,
        "an older controller, of two topics",
        |v| {
            let older = Epochs {
                controller: 0,
                ..now
            };
            let mut two = orders(v, &format!("one-{v}"), older, none.clone());
            let (mut first, mut second) =
                (two["topicStates"][0].clone(), two["topicStates"][0].clone());
            (first["topicId"], first["topicName"]) = (json!("f".repeat(32)), json!("last"));
            second["partitionStates"][0]["partitionIndex"] = json!(1);
            two["topicStates"] = json!([first, second]);
            two
        },
    );
    s.once("LeaderAndIsr", 7, "a controller without ZooKeeper", {
        let mut body = orders(7, "led-7", Epochs { leader: 40, ..now }, none.clone());
        body["isKRaftController"] = json!(true);
        body
    });
    s.each("LeaderAndIsr", ALL, "a follower of nobody known", |v| {
        orders(
            v,
            &format!("followed-{v}"),
            now,
            json!({"leader": 7, "isr": [7], "replicas": [7, 1]}),
        )
    });
    s.each("LeaderAndIsr", 5..=7, "another topic id", |v| {
        orders(
            v + 100,
            &format!("led-{v}"),
            Epochs { leader: 30, ..now },
            none.clone(),
        )
    });
    s.each("LeaderAndIsr", ALL, "nothing", |_| json!({"controllerId": 1, "controllerEpoch": now.controller, "brokerEpoch": now.broker}));
}

fn images(s: &mut Script, now: Epochs) {
    let image = |v: i16, epochs: Epochs, leader: i32| {
        let state = json!({"topicName": format!("led-{v}"), "partitionIndex": 0, "controllerEpoch": epochs.controller, "leader": leader, "leaderEpoch": epochs.leader, "isr": [1], "zkVersion": 0, "replicas": [1]});
        let mut grouped = state.clone();
        grouped.as_object_mut().unwrap().remove("topicName");
        let port = s_port(s);
        json!({"controllerId": 1, "controllerEpoch": epochs.controller, "brokerEpoch": epochs.broker, "ungroupedPartitionStates": [state],
            "topicStates": [{"topicName": format!("led-{v}"), "topicId": id(v), "partitionStates": [grouped]}],
            "liveBrokers": [{"id": 1, "v0Host": "127.0.0.1", "v0Port": port, "endpoints": [{"port": port, "host": "127.0.0.1", "listener": "PLAINTEXT", "securityProtocol": 0}], "rack": null}]})
    };
    let bodies: Vec<(&str, i16, Vec<Value>)> = [
        ("a leader", 0, now, 1),
        (
            "an older controller",
            0,
            Epochs {
                controller: 0,
                ..now
            },
            1,
        ),
        (
            "an older broker epoch",
            5,
            Epochs {
                broker: now.broker - 1,
                ..now
            },
            1,
        ),
        ("a partition that goes", 0, now, -2),
    ]
    .into_iter()
    .map(|(case, low, epochs, leader)| {
        (
            case,
            low,
            (0..=8).map(|v| image(v, epochs, leader)).collect(),
        )
    })
    .collect();
    let mut foreign = image(8, now, 1);
    foreign["isKRaftController"] = json!(true);
    for (case, low, bodies) in bodies {
        s.each("UpdateMetadata", low..=8, case, |v| {
            bodies[v as usize].clone()
        });
    }
    s.once(
        "UpdateMetadata",
        8,
        "a controller without ZooKeeper",
        foreign,
    );
}

fn s_port(s: &Script) -> u16 {
    s.side.port
}

fn stops(s: &mut Script, now: Epochs) {
    let stop = |name: String, epochs: Epochs, delete: bool| {
        json!({"controllerId": 1, "controllerEpoch": epochs.controller, "brokerEpoch": epochs.broker, "deletePartitions": delete,
            "ungroupedPartitions": [{"topicName": name, "partitionIndex": 0}], "topics": [{"name": name, "partitionIndexes": [0]}],
            "topicStates": [{"topicName": name, "partitionStates": [{"partitionIndex": 0, "leaderEpoch": epochs.leader, "deletePartition": delete}]}]})
    };
    let at = |leader: i32| Epochs { leader, ..now };
    for (case, low, epochs, delete) in [
        ("an older leader epoch", 3, at(1), true),
        ("stopped", 0, at(30), false),
        ("stopped again", 0, at(30), false),
        ("deleted", 0, at(-2), true),
        ("deleted again", 0, at(-2), true),
        (
            "an older controller",
            0,
            Epochs {
                controller: 0,
                ..now
            },
            true,
        ),
        (
            "an older broker epoch",
            1,
            Epochs {
                broker: now.broker - 1,
                ..now
            },
            true,
        ),
    ] {
        s.each("StopReplica", low..=4, case, |v| {
            stop(format!("led-{v}"), epochs, delete)
        });
    }
    s.once("StopReplica", 4, "a controller without ZooKeeper", {
        let mut body = stop("led-4".to_owned(), at(50), true);
        body["isKRaftController"] = json!(true);
        body
    });
    s.once("StopReplica", 4, "a controller without ZooKeeper, twice", {
        let mut body = stop("led-4".to_owned(), at(50), true);
        let state = body["topicStates"][0].clone();
        body["topicStates"] = json!([state, state]);
        body["isKRaftController"] = json!(true);
        body
    });
    s.each("StopReplica", ALL, "one that is not here, twice", |_| {
        let mut twice = stop("none".to_owned(), at(0), true);
        let state = twice["topicStates"][0].clone();
        twice["ungroupedPartitions"] = json!([{"topicName": "none", "partitionIndex": 0}, {"topicName": "none", "partitionIndex": 0}]);
        twice["topics"] = json!([{"name": "none", "partitionIndexes": [0, 0]}]);
        twice["topicStates"] = json!([state, state]);
        twice
    });
    s.each("StopReplica", ALL, "one that is not here", |_| {
        stop("none".to_owned(), at(0), true)
    });
    s.each("StopReplica", ALL, "nothing", |_| json!({"controllerId": 1, "controllerEpoch": now.controller, "brokerEpoch": now.broker}));
}

fn proposals(s: &mut Script, now: Epochs) {
    let t = s.await_topic("t");
    let propose = |broker: i32,
                   broker_epoch: i64,
                   topic: &str,
                   partition: i32,
                   leader_epoch: i32,
                   version: i32,
                   isr: &[i32],
                   recovery: i8| {
        let topic_id = if topic == "t" {
            t.clone()
        } else {
            "3".repeat(32)
        };
        let isr_with: Vec<_> = isr
            .iter()
            .map(|id| json!({"brokerId": id, "brokerEpoch": -1}))
            .collect();
        json!({"brokerId": broker, "brokerEpoch": broker_epoch, "topics": [{"topicName": topic, "topicId": topic_id, "partitions": [
            {"partitionIndex": partition, "leaderEpoch": leader_epoch, "newIsr": isr, "newIsrWithEpochs": isr_with, "leaderRecoveryState": recovery, "partitionEpoch": version}]}]})
    };
    let b = now.broker;
    let with = |low: i16, case: &str, s: &mut Script, edit: &dyn Fn(&mut Value)| {
        s.each("AlterPartition", low..=3, case, |_| {
            let mut body = propose(1, b, "t", 0, 0, 0, &[1], 0);
            edit(&mut body["topics"]);
            body
        });
    };
    with(0, "a topic without partitions", s, &|topics| {
        topics[0]["partitions"] = json!([]);
    });
    with(
        0,
        "a partition twice, first of a newer leader",
        s,
        &|topics| {
            let last = topics[0]["partitions"][0].clone();
            let mut first = last.clone();
            first["leaderEpoch"] = json!(9);
            topics[0]["partitions"] = json!([first, last]);
        },
    );
    with(0, "a topic twice", s, &|topics| {
        let (first, mut second) = (topics[0].clone(), topics[0].clone());
        second["partitions"][0]["partitionIndex"] = json!(1);
        *topics = json!([first, second]);
    });
    with(2, "a topic and one nobody knows", s, &|topics| {
        let first = topics[0].clone();
        let mut second = first.clone();
        second["topicId"] = json!("3".repeat(32));
        *topics = json!([first, second]);
    });
    for (case, body) in [
        (
            "an older broker epoch and a recovery nobody knows",
            propose(1, b - 1, "t", 0, 0, 0, &[1], 7),
        ),
        (
            "an unknown topic and a recovery nobody knows",
            propose(1, b, "none", 0, 0, 0, &[1], 7),
        ),
    ] {
        s.each("AlterPartition", 1..=3, case, |_| body.clone());
    }
    for (case, low, body) in [
        ("as it is", 0, propose(1, b, "t", 0, 0, 0, &[1], 0)),
        (
            "an older broker epoch",
            0,
            propose(1, b - 1, "t", 0, 0, 0, &[1], 0),
        ),
        (
            "a newer broker epoch",
            0,
            propose(1, b + 1, "t", 0, 0, 0, &[1], 0),
        ),
        ("an unknown broker", 0, propose(9, b, "t", 0, 0, 0, &[1], 0)),
        (
            "an unknown topic",
            0,
            propose(1, b, "none", 0, 0, 0, &[1], 0),
        ),
        (
            "an unknown partition",
            0,
            propose(1, b, "t", 9, 0, 0, &[1], 0),
        ),
        (
            "an older leader epoch",
            0,
            propose(1, b, "t", 0, -1, 0, &[1], 0),
        ),
        (
            "a newer leader epoch",
            0,
            propose(1, b, "t", 0, 5, 0, &[1], 0),
        ),
        ("a newer version", 0, propose(1, b, "t", 0, 0, 5, &[1], 0)),
        (
            "an older version, the same replicas",
            0,
            propose(1, b, "t", 0, 0, -1, &[1], 0),
        ),
        (
            "an older version, others",
            0,
            propose(1, b, "t", 0, 0, -1, &[1, 9], 0),
        ),
        (
            "a replica that does not live",
            0,
            propose(1, b, "t", 0, 0, 0, &[1, 9], 0),
        ),
        // No replica at all is not asked: Apache takes that, and we do not (docs/KAFKA.md).
        (
            "recovering, with two",
            1,
            propose(1, b, "t", 0, 0, 0, &[1, 2], 1),
        ),
        ("to recovering", 1, propose(1, b, "t", 0, 0, 0, &[1], 1)),
        (
            "a recovery nobody knows",
            1,
            propose(1, b, "t", 0, 0, 0, &[1], 7),
        ),
        ("nothing", 0, json!({"brokerId": 1, "brokerEpoch": b})),
    ] {
        s.each("AlterPartition", low..=3, case, |_| body.clone());
    }
    for (case, broker, epoch) in [
        ("as it should be", 1, b),
        ("an older broker epoch", 1, b - 1),
        ("a newer broker epoch", 1, b + 1),
        ("an unknown broker", 9, b),
    ] {
        s.once(
            "AllocateProducerIds",
            0,
            case,
            json!({"brokerId": broker, "brokerEpoch": epoch}),
        );
    }
}
