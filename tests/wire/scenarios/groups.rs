//! Consumer groups: found, joined, left, described, deleted; offsets kept.

use harness::wait;
use serde_json::{Value, json};
use std::time::Duration;

use crate::script::{ALL, Client, Script, versions};

/// A subscription to `g`, and an assignment of its partitions, as consumers write them.
const SUBSCRIPTION: &str = "0000000000010001670000000000000000";
const ASSIGNMENT: &str = "000100000001000167000000020000000000000001ffffffff";

pub(crate) fn play(s: &mut Script) {
    found(s);
    for version in *versions("JoinGroup").start()..=*versions("JoinGroup").end() {
        life(s, version);
    }
    static_members(s);
    rebalance(s);
    refusals(s);
    offsets(s);
    ends(s);
    for (case, body) in [
        (
            "a new member",
            json!({"groupId": "x", "memberEpoch": 0, "rebalanceTimeoutMs": 1000, "subscribedTopicNames": ["g"], "topicPartitions": []}),
        ),
        ("an empty group", json!({"groupId": "", "memberEpoch": 0})),
    ] {
        s.once("ConsumerGroupHeartbeat", 0, case, body);
    }
    s.once(
        "ConsumerGroupDescribe",
        0,
        "several",
        json!({"groupIds": ["x", "life-9", "x"]}),
    );
    s.once("ConsumerGroupDescribe", 0, "none", json!({"groupIds": []}));
}

fn found(s: &mut Script) {
    wait::until("the group coordinator", Duration::from_secs(90), || {
        let answer = s.quietly("FindCoordinator", 4, json!({"coordinatorKeys": ["g"]}));
        let fetched = s.quietly("OffsetFetch", 7, json!({"groupId": "g", "topics": null}));
        (answer["coordinators"][0]["errorCode"] == 0 && fetched["errorCode"] == 0).then_some(())
    });
    let find = |kind: i8, keys: &[&str]| json!({"key": keys.first().unwrap_or(&""), "keyType": kind, "coordinatorKeys": keys});
    s.each("FindCoordinator", ALL, "of a group", |_| find(0, &["g"]));
    s.each("FindCoordinator", ALL, "of an empty group", |_| {
        find(0, &[""])
    });
    s.each("FindCoordinator", 4..=6, "of several", |_| {
        find(0, &["b", "a", "", "b"])
    });
    s.each("FindCoordinator", 4..=6, "of none", |_| find(0, &[]));
    for kind in [2, 7, -1] {
        s.each("FindCoordinator", 1..=6, &format!("of kind {kind}"), |_| {
            find(kind, &["g"])
        });
    }
    s.each(
        "FindCoordinator",
        6..=6,
        "of a share group's partition",
        |_| find(2, &["g:AAAAAAAAAAAAAAAAAAAAAQ:0"]),
    );
    s.held_back("FindCoordinator for a transaction", |s| {
        s.each("FindCoordinator", 1..=6, "of a transaction", |_| {
            find(1, &["tx"])
        });
    });
}

fn join(group: &str, member: &str, said: Value) -> Value {
    let mut body = json!({"groupId": group, "sessionTimeoutMs": 300000, "rebalanceTimeoutMs": 300000, "memberId": member,
        "protocolType": "consumer", "protocols": [{"name": "range", "metadata": SUBSCRIPTION}], "reason": "because"});
    for (field, value) in said.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

/// Joins, by the id that version 4 and above give first; gives the member's id and generation.
fn joined(s: &mut Script, client: &mut Client, group: &str, said: Value) -> (String, i64) {
    let mut quiet = |s: &mut Script, member: &str| {
        let asked = s.ask(client, "JoinGroup", 9, join(group, member, said.clone()));
        s.answer(
            client,
            asked,
            &format!(
                "{group}: joins as {}",
                if member.is_empty() {
                    "a stranger"
                } else {
                    "told"
                }
            ),
        )
    };
    let mut answer = quiet(s, "");
    if answer["errorCode"] == 79 {
        let member = answer["memberId"].as_str().unwrap().to_owned();
        answer = quiet(s, &member);
    }
    (
        answer["memberId"].as_str().unwrap().to_owned(),
        answer["generationId"].as_i64().unwrap(),
    )
}

fn sync(group: &str, member: &str, generation: i64) -> Value {
    json!({"groupId": group, "generationId": generation, "memberId": member, "protocolType": "consumer", "protocolName": "range",
        "assignments": [{"memberId": member, "assignment": ASSIGNMENT}]})
}

/// The highest version of an API that is not above `version`.
fn upto(name: &str, version: i16) -> i16 {
    version.min(*versions(name).end())
}

/// One member's whole life, at one version of each API.
fn life(s: &mut Script, v: i16) {
    let group = format!("life-{v}");
    let group = group.as_str();
    let mut client = Client::default();
    let c = &mut client;
    let mut answer = s.once_on(c, "JoinGroup", v, "a stranger", join(group, "", json!({})));
    if answer["errorCode"] == 79 {
        let member = answer["memberId"].as_str().unwrap().to_owned();
        answer = s.once_on(
            c,
            "JoinGroup",
            v,
            "by the id it was given",
            join(group, &member, json!({})),
        );
    }
    let member = answer["memberId"].as_str().unwrap().to_owned();
    let generation = answer["generationId"].as_i64().unwrap();
    for (case, group, member, said) in [
        ("a member nobody knows", group, "nobody", json!({})),
        ("an empty group id", "", "", json!({})),
        (
            "a session that is too short",
            group,
            "",
            json!({"sessionTimeoutMs": 1}),
        ),
        (
            "a session that is too long",
            group,
            "",
            json!({"sessionTimeoutMs": i32::MAX}),
        ),
        (
            "another protocol type",
            group,
            "",
            json!({"protocolType": "other"}),
        ),
        ("no protocol type", "fresh", "", json!({"protocolType": ""})),
        ("no protocol", "fresh", "", json!({"protocols": []})),
        (
            "no protocol in common",
            group,
            "",
            json!({"protocols": [{"name": "other", "metadata": ""}]}),
        ),
        (
            "a member of a group nobody knows",
            "unborn",
            "nobody",
            json!({}),
        ),
    ] {
        s.once_on(c, "JoinGroup", v, case, join(group, member, said));
    }
    let w = upto("SyncGroup", v);
    let at = |case: &str, w: i16| {
        if w == v {
            case.to_owned()
        } else {
            format!("{case}, beside join {v}")
        }
    };
    let mut ask = |s: &mut Script, name: &str, case: &str, body: Value| {
        let w = upto(name, v);
        s.once_on(&mut client, name, w, &at(case, w), body)
    };
    ask(
        s,
        "SyncGroup",
        "a member nobody knows",
        sync(group, "nobody", generation),
    );
    ask(
        s,
        "SyncGroup",
        "a wrong generation",
        sync(group, &member, 99),
    );
    ask(
        s,
        "SyncGroup",
        "the leader",
        sync(group, &member, generation),
    );
    ask(s, "SyncGroup", "again", sync(group, &member, generation));
    ask(
        s,
        "SyncGroup",
        "a group nobody knows",
        sync("unborn", &member, generation),
    );
    ask(
        s,
        "SyncGroup",
        "an empty group id",
        sync("", &member, generation),
    );
    if w == 5 {
        let mut other = sync(group, &member, generation);
        other["protocolName"] = json!("other");
        ask(s, "SyncGroup", "another protocol", other);
        let mut other = sync(group, &member, generation);
        other["protocolType"] = json!("other");
        ask(s, "SyncGroup", "another protocol type", other);
        let mut none = sync(group, &member, generation);
        none["protocolName"] = Value::Null;
        ask(s, "SyncGroup", "no protocol", none);
    }
    let beat = |group: &str, member: &str, generation: i64| json!({"groupId": group, "generationId": generation, "memberId": member});
    for (case, body) in [
        ("as it should be", beat(group, &member, generation)),
        ("a wrong generation", beat(group, &member, 99)),
        ("a member nobody knows", beat(group, "nobody", generation)),
        ("a group nobody knows", beat("unborn", &member, generation)),
        ("an empty group id", beat("", &member, generation)),
    ] {
        ask(s, "Heartbeat", case, body);
    }
    let commit = |group: &str,
                  member: &str,
                  generation: i64,
                  topic: &str,
                  partition: i32,
                  note: &str| {
        json!({"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "retentionTimeMs": -1,
            "topics": [{"name": topic, "partitions": [{"partitionIndex": partition, "committedOffset": 42, "committedLeaderEpoch": 0, "commitTimestamp": -1, "committedMetadata": note}]}]})
    };
    let long = "x".repeat(5000);
    for (case, body) in [
        (
            "by a member",
            commit(group, &member, generation, "g", 0, "note"),
        ),
        (
            "a wrong generation",
            commit(group, &member, 99, "g", 0, "note"),
        ),
        (
            "a member nobody knows",
            commit(group, "nobody", generation, "g", 0, "note"),
        ),
        (
            "an unknown topic",
            commit(group, &member, generation, "none", 0, "note"),
        ),
        (
            "an unknown partition",
            commit(group, &member, generation, "g", 9, "note"),
        ),
        (
            "a note that is too long",
            commit(group, &member, generation, "g", 1, &long),
        ),
        (
            "no member of a group that has some",
            commit(group, "", -1, "g", 0, "note"),
        ),
        (
            "no member of a group without",
            commit(&format!("alone-{v}"), "", -1, "g", 0, ""),
        ),
        (
            "a generation of a group nobody knows",
            commit("unborn", "m", 3, "g", 0, ""),
        ),
        ("an empty group id", commit("", "", -1, "g", 0, "")),
    ] {
        ask(s, "OffsetCommit", case, body);
    }
    ask(
        s,
        "OffsetCommit",
        "no topic",
        json!({"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "retentionTimeMs": -1, "topics": []}),
    );
    ask(
        s,
        "OffsetCommit",
        "no note",
        json!({"groupId": group, "generationIdOrMemberEpoch": generation, "memberId": member, "retentionTimeMs": -1,
        "topics": [{"name": "g", "partitions": [{"partitionIndex": 1, "committedOffset": 7, "committedMetadata": null}]}]}),
    );
    let fetch = |group: &str, topics: Value| json!({"groupId": group, "topics": topics, "groups": [{"groupId": group, "topics": topics}]});
    let some = json!([{"name": "g", "partitionIndexes": [0, 1, 9]}, {"name": "none", "partitionIndexes": [0]}]);
    ask(
        s,
        "OffsetFetch",
        "some partitions",
        fetch(group, some.clone()),
    );
    ask(
        s,
        "OffsetFetch",
        "of a group nobody knows",
        fetch("unborn", some.clone()),
    );
    ask(s, "OffsetFetch", "of an empty group id", fetch("", some));
    ask(s, "OffsetFetch", "no topic", fetch(group, json!([])));
    if v >= 2 {
        ask(s, "OffsetFetch", "all", fetch(group, Value::Null));
        ask(
            s,
            "OffsetFetch",
            "all of a group nobody knows",
            fetch("unborn", Value::Null),
        );
    }
    if v >= 8 {
        ask(
            s,
            "OffsetFetch",
            "several groups",
            json!({"groups": [{"groupId": group, "topics": null}, {"groupId": "unborn", "topics": null}, {"groupId": "", "topics": []}]}),
        );
        // No group at all is not asked: Apache never answers that.
        ask(
            s,
            "OffsetFetch",
            "what is stable",
            json!({"groups": [{"groupId": group, "topics": [{"name": "g", "partitionIndexes": [0]}]}], "requireStable": true}),
        );
    }
    if v == 9 {
        ask(
            s,
            "OffsetFetch",
            "by a member",
            json!({"groups": [{"groupId": group, "memberId": member, "memberEpoch": generation, "topics": null}]}),
        );
        ask(
            s,
            "OffsetFetch",
            "by a member nobody knows",
            json!({"groups": [{"groupId": group, "memberId": "nobody", "memberEpoch": 1, "topics": null}]}),
        );
    }
    ask(
        s,
        "DescribeGroups",
        "stable and unknown",
        json!({"groups": [group, "unborn", ""], "includeAuthorizedOperations": true}),
    );
    ask(s, "DescribeGroups", "one", json!({"groups": [group]}));
    ask(s, "DescribeGroups", "none", json!({"groups": []}));
    ask(
        s,
        "DescribeGroups",
        "one twice",
        json!({"groups": ["unborn", "unborn"]}),
    );
    ask(
        s,
        "DeleteGroups",
        "with members, unknown, empty",
        json!({"groupsNames": [group, "unborn", ""]}),
    );
    let leave = |group: &str, member: &str| json!({"groupId": group, "memberId": member, "members": [{"memberId": member, "reason": "bye"}]});
    ask(
        s,
        "LeaveGroup",
        "a member nobody knows",
        leave(group, "nobody"),
    );
    ask(
        s,
        "LeaveGroup",
        "a group nobody knows",
        leave("unborn", "nobody"),
    );
    ask(s, "LeaveGroup", "an empty group id", leave("", "nobody"));
    ask(s, "LeaveGroup", "an empty member id", leave(group, ""));
    if v >= 3 {
        ask(
            s,
            "LeaveGroup",
            "no member",
            json!({"groupId": group, "members": []}),
        );
        ask(
            s,
            "LeaveGroup",
            "an instance nobody knows",
            json!({"groupId": group, "members": [{"memberId": "", "groupInstanceId": "i"}, {"memberId": "x", "groupInstanceId": null}]}),
        );
    }
    ask(s, "LeaveGroup", "as it should be", leave(group, &member));
    ask(s, "LeaveGroup", "again", leave(group, &member));
    ask(s, "DescribeGroups", "empty", json!({"groups": [group]}));
    if v == 0 {
        lists(s);
    }
}

fn lists(s: &mut Script) {
    for (case, low, body) in [
        ("all", 0, json!({})),
        ("empty ones", 4, json!({"statesFilter": ["Empty"]})),
        (
            "a state in small letters",
            4,
            json!({"statesFilter": ["empty"]}),
        ),
        ("a state nobody knows", 4, json!({"statesFilter": ["Nope"]})),
        ("classic ones", 5, json!({"typesFilter": ["classic"]})),
        ("new ones", 5, json!({"typesFilter": ["consumer"]})),
        ("a type nobody knows", 5, json!({"typesFilter": ["nope"]})),
    ] {
        s.each("ListGroups", low..=5, case, |_| body.clone());
    }
}

fn static_members(s: &mut Script) {
    let (mut first, mut second) = (Client::default(), Client::default());
    let said = json!({"groupInstanceId": "i1"});
    let (old, generation) = joined(s, &mut first, "static", said.clone());
    s.once_on(
        &mut first,
        "SyncGroup",
        5,
        "static: the leader",
        sync("static", &old, generation),
    );
    let answer = s.once_on(
        &mut second,
        "JoinGroup",
        9,
        "static: again",
        join("static", "", said.clone()),
    );
    let new = answer["memberId"].as_str().unwrap().to_owned();
    let c = &mut first;
    s.once_on(
        c,
        "JoinGroup",
        9,
        "static: by the old id",
        join("static", &old, said.clone()),
    );
    s.once_on(
        c,
        "JoinGroup",
        5,
        "static: by the old id",
        join("static", &old, said.clone()),
    );
    s.once_on(
        c,
        "JoinGroup",
        9,
        "static: an instance nobody knows",
        join("static", "x", json!({"groupInstanceId": "i9"})),
    );
    let with = |mut body: Value, instance: &str| {
        body["groupInstanceId"] = json!(instance);
        body
    };
    for (case, member, instance) in [
        ("static: the old id", old.as_str(), "i1"),
        ("static: an instance nobody knows", new.as_str(), "i9"),
        ("static: as it should be", new.as_str(), "i1"),
    ] {
        let beat = json!({"groupId": "static", "generationId": generation, "memberId": member});
        s.each("Heartbeat", 3..=4, case, |_| with(beat.clone(), instance));
        s.each("SyncGroup", 3..=5, case, |_| {
            with(sync("static", member, generation), instance)
        });
        let commit = json!({"groupId": "static", "generationIdOrMemberEpoch": generation, "memberId": member,
            "topics": [{"name": "g", "partitions": [{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": ""}]}]});
        s.each("OffsetCommit", 7..=9, case, |_| {
            with(commit.clone(), instance)
        });
    }
    s.each(
        "DescribeGroups",
        4..=5,
        "static",
        |_| json!({"groups": ["static"]}),
    );
    s.once(
        "LeaveGroup",
        5,
        "static: by the old id",
        json!({"groupId": "static", "members": [{"memberId": old, "groupInstanceId": "i1"}]}),
    );
    s.once(
        "LeaveGroup",
        5,
        "static: by the instance alone",
        json!({"groupId": "static", "members": [{"memberId": "", "groupInstanceId": "i1"}]}),
    );
}

/// Two members: the second one's join waits for the first.
fn rebalance(s: &mut Script) {
    let (mut first, mut second) = (Client::default(), Client::default());
    let (one, generation) = joined(s, &mut first, "pair", json!({}));
    s.once_on(
        &mut first,
        "SyncGroup",
        5,
        "pair: alone",
        sync("pair", &one, generation),
    );
    let told = s.once_on(
        &mut second,
        "JoinGroup",
        9,
        "pair: the second is told its id",
        join("pair", "", json!({})),
    );
    let two = told["memberId"].as_str().unwrap().to_owned();
    let waiting = s.ask(&mut second, "JoinGroup", 9, join("pair", &two, json!({})));
    let beat = |member: &str, generation: i64| json!({"groupId": "pair", "generationId": generation, "memberId": member});
    wait::until("the rebalance", Duration::from_secs(60), || {
        (s.quietly("Heartbeat", 4, beat(&one, generation))["errorCode"] == 27).then_some(())
    });
    s.each("Heartbeat", ALL, "while members join", |_| {
        beat(&one, generation)
    });
    s.each("SyncGroup", ALL, "while members join", |_| {
        sync("pair", &one, generation)
    });
    s.each(
        "DescribeGroups",
        ALL,
        "while members join",
        |_| json!({"groups": ["pair"]}),
    );
    s.each("OffsetCommit", 1..=9, "while members join", |_| json!({"groupId": "pair", "generationIdOrMemberEpoch": generation, "memberId": one,
        "topics": [{"name": "g", "partitions": [{"partitionIndex": 0, "committedOffset": 3, "committedMetadata": ""}]}]}));
    s.once_on(
        &mut first,
        "JoinGroup",
        9,
        "pair: the first again",
        join("pair", &one, json!({})),
    );
    s.answer(&mut second, waiting, "pair: the second");
    s.each("Heartbeat", ALL, "while assignments are awaited", |_| {
        beat(&two, generation + 1)
    });
    s.each("OffsetCommit", 1..=9, "while assignments are awaited", |_| json!({"groupId": "pair", "generationIdOrMemberEpoch": generation + 1, "memberId": two,
        "topics": [{"name": "g", "partitions": [{"partitionIndex": 0, "committedOffset": 3, "committedMetadata": ""}]}]}));
    let follower = s.ask(&mut second, "SyncGroup", 5, json!({"groupId": "pair", "generationId": generation + 1, "memberId": two, "protocolType": "consumer", "protocolName": "range"}));
    s.once_on(
        &mut first,
        "SyncGroup",
        5,
        "pair: the leader assigns itself alone",
        sync("pair", &one, generation + 1),
    );
    s.answer(&mut second, follower, "pair: the follower");
    s.once_on(
        &mut second,
        "LeaveGroup",
        5,
        "pair: the second leaves, and one nobody knows",
        json!({"groupId": "pair", "members": [{"memberId": two}, {"memberId": "nobody"}]}),
    );
    s.each("Heartbeat", ALL, "after one left", |_| {
        beat(&one, generation + 1)
    });
    s.once_on(
        &mut first,
        "LeaveGroup",
        5,
        "pair: the first leaves",
        json!({"groupId": "pair", "members": [{"memberId": one}]}),
    );
}

fn refusals(s: &mut Script) {
    let delete = |group: &str, topics: Value| json!({"groupId": group, "topics": topics});
    let of = |name: &str, partitions: &[i32]| {
        let partitions: Vec<_> = partitions
            .iter()
            .map(|at| json!({"partitionIndex": at}))
            .collect();
        json!({"name": name, "partitions": partitions})
    };
    let mut client = Client::default();
    let (member, generation) = joined(s, &mut client, "subscribed", json!({}));
    s.once_on(
        &mut client,
        "SyncGroup",
        5,
        "subscribed: the leader",
        sync("subscribed", &member, generation),
    );
    for (case, body) in [
        (
            "of a topic subscribed to",
            delete("subscribed", json!([of("g", &[0, 1]), of("t", &[0])])),
        ),
        (
            "of a group nobody knows",
            delete("unborn", json!([of("g", &[0])])),
        ),
        ("of an empty group id", delete("", json!([of("g", &[0])]))),
        ("of no topic", delete("alone-9", json!([]))),
        (
            "of unknown ones",
            delete("alone-9", json!([of("none", &[0]), of("g", &[9, 1])])),
        ),
        (
            "of a partition twice",
            delete("alone-8", json!([of("g", &[0, 0, 1]), of("none", &[0, 0])])),
        ),
        (
            "of a topic twice",
            delete(
                "alone-7",
                json!([of("g", &[0]), of("none", &[0]), of("g", &[0, 1])]),
            ),
        ),
        (
            "of a topic subscribed to, twice",
            delete("subscribed", json!([of("g", &[0, 0]), of("g", &[0])])),
        ),
        ("as it should be", delete("alone-9", json!([of("g", &[0])]))),
        ("again", delete("alone-9", json!([of("g", &[0])]))),
    ] {
        s.once("OffsetDelete", 0, case, body);
    }
    s.once(
        "LeaveGroup",
        5,
        "subscribed: leaves",
        json!({"groupId": "subscribed", "members": [{"memberId": member}]}),
    );
}

/// Offsets that a client names itself, and those of version 0, which live in ZooKeeper.
fn offsets(s: &mut Script) {
    let commit = |offset: i64, epoch: i32| {
        json!({"groupId": "plain", "generationIdOrMemberEpoch": -1, "memberId": "", "retentionTimeMs": 5000,
        "topics": [{"name": "g", "partitions": [{"partitionIndex": 0, "committedOffset": offset, "committedLeaderEpoch": epoch, "commitTimestamp": 5, "committedMetadata": "note"}]}]})
    };
    let fetch = |_: i16| json!({"groupId": "plain", "topics": [{"name": "g", "partitionIndexes": [0]}], "groups": [{"groupId": "plain", "topics": [{"name": "g", "partitionIndexes": [0]}]}]});
    s.each("OffsetCommit", 6..=9, "with a leader epoch", |v| {
        commit(100 + i64::from(v), 3)
    });
    s.each("OffsetFetch", ALL, "a leader epoch", fetch);
    s.each("OffsetCommit", 2..=9, "a negative offset", |_| {
        commit(-1, -1)
    });
    s.each("OffsetFetch", ALL, "a negative offset", fetch);
    s.each("OffsetCommit", ALL, "a partition twice", |_| {
        let one = |offset: i64| json!({"partitionIndex": 0, "committedOffset": offset, "committedMetadata": ""});
        json!({"groupId": "plain", "generationIdOrMemberEpoch": -1, "memberId": "", "topics": [{"name": "g", "partitions": [one(1), one(2)]}, {"name": "none", "partitions": [one(1)]}, {"name": "g", "partitions": [{"partitionIndex": 1, "committedOffset": 3, "committedMetadata": ""}]}]})
    });
    s.each("OffsetFetch", ALL, "after a partition twice", fetch);
    s.each("OffsetFetch", ALL, "a partition twice", |_| {
        let topics = json!([{"name": "g", "partitionIndexes": [1, 0, 1]}, {"name": "none", "partitionIndexes": [0, 0]}, {"name": "g", "partitionIndexes": [0, 1]}]);
        json!({"groupId": "plain", "topics": topics, "groups": [{"groupId": "plain", "topics": topics}]})
    });
    s.each("OffsetFetch", 8..=9, "a group twice", |_| {
        let some = json!([{"name": "g", "partitionIndexes": [0]}]);
        json!({"groups": [{"groupId": "plain", "topics": null}, {"groupId": "plain", "topics": some}, {"groupId": "plain", "topics": null}]})
    });
}

fn ends(s: &mut Script) {
    s.each(
        "DeleteGroups",
        ALL,
        "as it should be",
        |v| json!({"groupsNames": [format!("life-{v}")]}),
    );
    s.each(
        "DeleteGroups",
        ALL,
        "one twice",
        |_| json!({"groupsNames": ["unborn", "unborn"]}),
    );
    s.each("DeleteGroups", ALL, "none", |_| json!({"groupsNames": []}));
    s.each(
        "DescribeGroups",
        ALL,
        "after its end",
        |_| json!({"groups": ["life-0"]}),
    );
}
