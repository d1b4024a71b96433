//! Settings, quotas and SCRAM credentials, described and altered.

use serde_json::{Value, json};

use crate::script::{ALL, Script};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;

pub(crate) fn play(s: &mut Script) {
    s.make_topics(&[("set", 1), ("set-2", 1)]);
    described(s);
    altered(s);
    altered_one_by_one(s);
    quotas(s);
    scram(s);
}

fn described(s: &mut Script) {
    let ask = |kind: i8, name: &str, keys: Value| json!({"resources": [{"resourceType": kind, "resourceName": name, "configurationKeys": keys}], "includeSynonyms": true, "includeDocumentation": true});
    for (case, kind, name, keys) in [
        (
            "some of a topic",
            TOPIC,
            "made-0",
            json!(["retention.ms", "cleanup.policy", "nope"]),
        ),
        ("all of a topic", TOPIC, "made-0", Value::Null),
        ("none of a topic", TOPIC, "made-0", json!([])),
        ("an unknown topic", TOPIC, "none", Value::Null),
        ("an invalid topic", TOPIC, "bad/name", Value::Null),
        ("an empty topic", TOPIC, "", Value::Null),
        (
            "some of the broker",
            BROKER,
            "1",
            json!(["log.retention.ms", "num.io.threads", "nope", "broker.id"]),
        ),
        ("all of the cluster's default", BROKER, "", Value::Null),
        ("another broker", BROKER, "9", Value::Null),
        ("a broker that is no number", BROKER, "x", Value::Null),
        ("client metrics", 16, "x", Value::Null),
        ("a group", 32, "g", Value::Null),
        ("a kind nobody knows", 77, "x", Value::Null),
        ("kind zero", 0, "x", Value::Null),
        ("loggers of another broker", LOGGER, "9", Value::Null),
        ("loggers of no broker", LOGGER, "", Value::Null),
    ] {
        s.each("DescribeConfigs", ALL, case, |_| {
            ask(kind, name, keys.clone())
        });
    }
    s.each("DescribeConfigs", 1..=4, "all of a topic, briefly", |_| json!({"resources": [{"resourceType": TOPIC, "resourceName": "set", "configurationKeys": null}]}));
    s.once(
        "DescribeConfigs",
        4,
        "all of the broker",
        ask(BROKER, "1", Value::Null),
    );
    s.once(
        "DescribeConfigs",
        1,
        "all of the broker",
        ask(BROKER, "1", Value::Null),
    );
    let one = |kind: i8, name: &str| json!({"resourceType": kind, "resourceName": name, "configurationKeys": ["retention.ms"]});
    s.each("DescribeConfigs", ALL, "several", |_| json!({"resources": [one(TOPIC, "set"), one(TOPIC, "none"), one(BROKER, "1"), one(TOPIC, "set-2")]}));
    s.each(
        "DescribeConfigs",
        ALL,
        "one twice",
        |_| json!({"resources": [one(TOPIC, "set"), one(TOPIC, "set")]}),
    );
    s.each("DescribeConfigs", ALL, "none", |_| json!({"resources": []}));
}

fn altered(s: &mut Script) {
    let alter = |kind: i8, name: &str, configs: Value| json!({"resources": [{"resourceType": kind, "resourceName": name, "configs": configs}]});
    for (case, kind, name, configs) in [
        (
            "a topic",
            TOPIC,
            "set",
            json!([{"name": "retention.ms", "value": "1000"}]),
        ),
        ("a topic to nothing", TOPIC, "set", json!([])),
        (
            "an unknown setting",
            TOPIC,
            "set",
            json!([{"name": "nope", "value": "1"}]),
        ),
        (
            "a value that is no number",
            TOPIC,
            "set",
            json!([{"name": "retention.ms", "value": "abc"}]),
        ),
        (
            "no value",
            TOPIC,
            "set",
            json!([{"name": "retention.ms", "value": null}]),
        ),
        (
            "a setting twice",
            TOPIC,
            "set",
            json!([{"name": "retention.ms", "value": "1"}, {"name": "retention.ms", "value": "2"}]),
        ),
        ("an unknown topic", TOPIC, "none", json!([])),
        ("an invalid topic", TOPIC, "bad/name", json!([])),
        (
            "the broker",
            BROKER,
            "1",
            json!([{"name": "log.cleaner.threads", "value": "1"}]),
        ),
        (
            "the broker, a setting that does not change",
            BROKER,
            "1",
            json!([{"name": "broker.id", "value": "2"}]),
        ),
        (
            "the broker, an unknown setting",
            BROKER,
            "1",
            json!([{"name": "nope", "value": "2"}]),
        ),
        ("the broker to nothing", BROKER, "1", json!([])),
        ("another broker", BROKER, "9", json!([])),
        ("a broker that is no number", BROKER, "x", json!([])),
        (
            "the cluster's default",
            BROKER,
            "",
            json!([{"name": "log.cleaner.threads", "value": "1"}]),
        ),
        (
            "the cluster's default, a broker's own setting",
            BROKER,
            "",
            json!([{"name": "listeners", "value": "PLAINTEXT://:1"}]),
        ),
        ("the cluster's default to nothing", BROKER, "", json!([])),
        (
            "loggers",
            LOGGER,
            "1",
            json!([{"name": "kafka", "value": "INFO"}]),
        ),
        ("client metrics", 16, "x", json!([])),
        ("a kind nobody knows", 77, "x", json!([])),
    ] {
        s.each("AlterConfigs", ALL, case, |_| {
            alter(kind, name, configs.clone())
        });
    }
    let one =
        |kind: i8, name: &str| json!({"resourceType": kind, "resourceName": name, "configs": []});
    s.each("AlterConfigs", ALL, "several", |_| json!({"resources": [one(TOPIC, "set"), one(TOPIC, "none"), one(BROKER, "9"), one(TOPIC, "set-2")]}));
    // One resource twice is not asked: Apache never answers that.
    s.each("AlterConfigs", ALL, "none", |_| json!({"resources": []}));
    s.each("AlterConfigs", ALL, "only checked", |_| json!({"validateOnly": true, "resources": [{"resourceType": TOPIC, "resourceName": "set", "configs": [{"name": "retention.ms", "value": "7"}]}]}));
}

fn altered_one_by_one(s: &mut Script) {
    let alter = |kind: i8, name: &str, key: &str, verb: i8, value: Value| json!({"resources": [{"resourceType": kind, "resourceName": name, "configs": [{"name": key, "configOperation": verb, "value": value}]}]});
    let none = Value::Null;
    for (case, kind, name, key, verb, value) in [
        ("set", TOPIC, "set", "retention.ms", 0, json!("1000")),
        ("delete", TOPIC, "set", "retention.ms", 1, none.clone()),
        (
            "delete what is not there",
            TOPIC,
            "set",
            "segment.ms",
            1,
            none.clone(),
        ),
        (
            "delete an unknown setting",
            TOPIC,
            "set",
            "nope",
            1,
            none.clone(),
        ),
        (
            "append",
            TOPIC,
            "set",
            "cleanup.policy",
            2,
            json!("compact"),
        ),
        (
            "append again",
            TOPIC,
            "set",
            "cleanup.policy",
            2,
            json!("compact"),
        ),
        (
            "subtract",
            TOPIC,
            "set",
            "cleanup.policy",
            3,
            json!("compact"),
        ),
        (
            "subtract what is not there",
            TOPIC,
            "set",
            "cleanup.policy",
            3,
            json!("compact"),
        ),
        (
            "append to what is no list",
            TOPIC,
            "set",
            "retention.ms",
            2,
            json!("1"),
        ),
        (
            "subtract from what is no list",
            TOPIC,
            "set",
            "retention.ms",
            3,
            json!("1"),
        ),
        (
            "append nothing",
            TOPIC,
            "set",
            "cleanup.policy",
            2,
            none.clone(),
        ),
        (
            "append what is no word of it",
            TOPIC,
            "set",
            "cleanup.policy",
            2,
            json!("burn"),
        ),
        ("set nothing", TOPIC, "set", "retention.ms", 0, none.clone()),
        (
            "set an unknown setting",
            TOPIC,
            "set",
            "nope",
            0,
            json!("1"),
        ),
        (
            "set what is no number",
            TOPIC,
            "set",
            "retention.ms",
            0,
            json!("abc"),
        ),
        (
            "set what is out of range",
            TOPIC,
            "set",
            "retention.ms",
            0,
            json!("-2"),
        ),
        (
            "a verb nobody knows",
            TOPIC,
            "set",
            "retention.ms",
            9,
            json!("1"),
        ),
        (
            "an unknown topic",
            TOPIC,
            "none",
            "retention.ms",
            0,
            json!("1"),
        ),
        (
            "an invalid topic",
            TOPIC,
            "bad/name",
            "retention.ms",
            0,
            json!("1"),
        ),
        (
            "the broker",
            BROKER,
            "1",
            "log.cleaner.threads",
            0,
            json!("1"),
        ),
        (
            "the broker, delete",
            BROKER,
            "1",
            "log.cleaner.threads",
            1,
            none.clone(),
        ),
        (
            "the broker, a setting that does not change",
            BROKER,
            "1",
            "broker.id",
            0,
            json!("5"),
        ),
        (
            "the broker, an unknown setting",
            BROKER,
            "1",
            "nope",
            0,
            json!("5"),
        ),
        (
            "the broker, no number",
            BROKER,
            "1",
            "log.cleaner.threads",
            0,
            json!("x"),
        ),
        (
            "the broker, out of range",
            BROKER,
            "1",
            "log.cleaner.threads",
            0,
            json!("-1"),
        ),
        (
            "the broker, far more threads",
            BROKER,
            "1",
            "num.io.threads",
            0,
            json!("99"),
        ),
        (
            "another broker",
            BROKER,
            "9",
            "log.cleaner.threads",
            0,
            json!("1"),
        ),
        (
            "a broker that is no number",
            BROKER,
            "x",
            "log.cleaner.threads",
            0,
            json!("1"),
        ),
        (
            "the cluster's default",
            BROKER,
            "",
            "log.cleaner.threads",
            0,
            json!("1"),
        ),
        (
            "the cluster's default, delete",
            BROKER,
            "",
            "log.cleaner.threads",
            1,
            none.clone(),
        ),
        (
            "the cluster's default, a broker's own setting",
            BROKER,
            "",
            "listeners",
            0,
            json!("PLAINTEXT://:1"),
        ),
        ("client metrics", 16, "x", "interval.ms", 0, json!("1000")),
        (
            "a group",
            32,
            "g",
            "consumer.session.timeout.ms",
            0,
            json!("1000"),
        ),
        ("a kind nobody knows", 77, "x", "a", 0, json!("1")),
        (
            "loggers of another broker",
            LOGGER,
            "9",
            "kafka",
            0,
            json!("INFO"),
        ),
        (
            "loggers to a level nobody knows",
            LOGGER,
            "1",
            "kafka",
            0,
            json!("LOUD"),
        ),
        (
            "a broker's verb nobody knows",
            BROKER,
            "1",
            "log.cleaner.threads",
            9,
            json!("2"),
        ),
        (
            "the cluster's verb nobody knows",
            BROKER,
            "",
            "log.cleaner.threads",
            9,
            json!("2"),
        ),
        (
            "a logger's verb nobody knows",
            LOGGER,
            "1",
            "kafka",
            9,
            json!("INFO"),
        ),
        (
            "a topic with an empty step",
            TOPIC,
            "a//b",
            "retention.ms",
            0,
            json!("1"),
        ),
        (
            "a topic that ends in a slash",
            TOPIC,
            "a/",
            "retention.ms",
            0,
            json!("1"),
        ),
        ("one dot", TOPIC, ".", "retention.ms", 0, json!("1")),
        ("two dots", TOPIC, "..", "retention.ms", 0, json!("1")),
    ] {
        s.each("IncrementalAlterConfigs", ALL, case, |_| {
            alter(kind, name, key, verb, value.clone())
        });
    }
    let set = |name: &str, value: &str| json!({"name": name, "configOperation": 0, "value": value});
    let of = |name: &str, configs: Value| json!({"resourceType": TOPIC, "resourceName": name, "configs": configs});
    s.each("IncrementalAlterConfigs", ALL, "a setting twice", |_| json!({"resources": [of("set", json!([set("retention.ms", "1"), set("retention.ms", "2")]))]}));
    s.each("IncrementalAlterConfigs", ALL, "a topic twice", |_| json!({"resources": [of("set", json!([set("retention.ms", "1")])), of("set", json!([set("retention.ms", "2")])), of("set-2", json!([]))]}));
    s.each("IncrementalAlterConfigs", ALL, "several", |_| json!({"resources": [of("set-2", json!([set("nope", "1")])), of("set", json!([set("retention.ms", "5")])), of("none", json!([]))]}));
    s.each(
        "IncrementalAlterConfigs",
        ALL,
        "no setting",
        |_| json!({"resources": [of("set", json!([]))]}),
    );
    s.each(
        "IncrementalAlterConfigs",
        ALL,
        "no resource",
        |_| json!({"resources": []}),
    );
    s.each("IncrementalAlterConfigs", ALL, "only checked", |_| json!({"validateOnly": true, "resources": [of("set", json!([set("retention.ms", "77")]))]}));
    s.each("IncrementalAlterConfigs", ALL, "only checked, on the broker", |_| json!({"validateOnly": true, "resources": [{"resourceType": BROKER, "resourceName": "1", "configs": [set("log.cleaner.threads", "2")]}]}));
    let append = |value: &str| json!({"resources": [of("set-2", json!([{"name": "cleanup.policy", "configOperation": 2, "value": value}]))]});
    let policy = json!({"resources": [{"resourceType": TOPIC, "resourceName": "set-2", "configurationKeys": ["cleanup.policy"]}]});
    let reset = json!({"resources": [of("set-2", json!([{"name": "cleanup.policy", "configOperation": 1, "value": null}]))]});
    for (case, value) in [
        ("append and end in a comma", "compact,"),
        ("append a comma", ","),
        ("append nothing but two commas around a word", ",compact,"),
        ("append one twice", "compact,compact"),
        ("append what is there and more", "delete,compact"),
        ("append with blanks", " compact , delete "),
    ] {
        s.once("IncrementalAlterConfigs", 1, case, append(value));
        s.once(
            "DescribeConfigs",
            4,
            &format!("after: {case}"),
            policy.clone(),
        );
        s.quietly("IncrementalAlterConfigs", 1, reset.clone());
    }
    let subtract = |value: &str| json!({"resources": [of("set-2", json!([{"name": "cleanup.policy", "configOperation": 3, "value": value}]))]});
    for (case, value) in [
        ("subtract and end in a comma", "compact,"),
        ("subtract with blanks", " compact "),
        ("subtract all", "compact,delete"),
    ] {
        s.quietly("IncrementalAlterConfigs", 1, append("compact"));
        s.once("IncrementalAlterConfigs", 1, case, subtract(value));
        s.once(
            "DescribeConfigs",
            4,
            &format!("after: {case}"),
            policy.clone(),
        );
        s.quietly("IncrementalAlterConfigs", 1, reset.clone());
    }
    s.once("DescribeConfigs", 4, "after all that", json!({"resources": [{"resourceType": TOPIC, "resourceName": "set", "configurationKeys": ["retention.ms", "cleanup.policy"]}], "includeSynonyms": true}));
}

fn quotas(s: &mut Script) {
    let entity = |kind: &str, name: Value| json!({"entityType": kind, "entityName": name});
    let op =
        |key: &str, value: f64, remove: bool| json!({"key": key, "value": value, "remove": remove});
    let user = || json!([entity("user", json!("u 1"))]);
    for (case, who, ops) in [
        (
            "a user",
            user(),
            json!([op("producer_byte_rate", 1000.0, false)]),
        ),
        (
            "the default user and a client",
            json!([entity("user", Value::Null), entity("client-id", json!("c"))]),
            json!([op("request_percentage", 12.5, false)]),
        ),
        (
            "an address",
            json!([entity("ip", json!("127.0.0.9"))]),
            json!([op("connection_creation_rate", 5.0, false)]),
        ),
        (
            "an address that is none",
            json!([entity("ip", json!("no address"))]),
            json!([op("connection_creation_rate", 5.0, false)]),
        ),
        (
            "an address, a user's key",
            json!([entity("ip", json!("127.0.0.9"))]),
            json!([op("producer_byte_rate", 5.0, false)]),
        ),
        ("an unknown key", user(), json!([op("nope", 1.0, false)])),
        (
            "removing an unknown key",
            user(),
            json!([op("nope", 1.0, true)]),
        ),
        (
            "a fraction of a byte",
            user(),
            json!([op("producer_byte_rate", 1.5, false)]),
        ),
        (
            "a negative rate",
            user(),
            json!([op("producer_byte_rate", -1.0, false)]),
        ),
        (
            "a rate of nothing",
            user(),
            json!([op("producer_byte_rate", 0.0, false)]),
        ),
        (
            "a user's connections",
            user(),
            json!([op("connection_creation_rate", 1.0, false)]),
        ),
        (
            "a kind of entity nobody knows",
            json!([entity("nope", json!("x"))]),
            json!([]),
        ),
        (
            "a user at an address",
            json!([entity("user", json!("u")), entity("ip", json!("127.0.0.1"))]),
            json!([op("connection_creation_rate", 1.0, false)]),
        ),
        (
            "an empty user",
            json!([entity("user", json!(""))]),
            json!([op("producer_byte_rate", 1.0, false)]),
        ),
        (
            "nobody",
            json!([]),
            json!([op("producer_byte_rate", 1.0, false)]),
        ),
        (
            "a kind twice",
            json!([entity("user", json!("a")), entity("user", json!("b"))]),
            json!([op("producer_byte_rate", 1.0, false)]),
        ),
        (
            "a key twice",
            user(),
            json!([
                op("producer_byte_rate", 1.0, false),
                op("producer_byte_rate", 2.0, false)
            ]),
        ),
        ("nothing", user(), json!([])),
    ] {
        s.each(
            "AlterClientQuotas",
            ALL,
            case,
            |_| json!({"entries": [{"entity": who, "ops": ops}]}),
        );
    }
    for (case, who, key, value) in [
        ("a mechanism of a user", user(), "SCRAM-SHA-256", 1.0),
        (
            "a mechanism of a user's client",
            json!([
                entity("user", json!("u 1")),
                entity("client-id", json!("c"))
            ]),
            "SCRAM-SHA-256",
            1.0,
        ),
        (
            "a mechanism of a client",
            json!([entity("client-id", json!("c"))]),
            "SCRAM-SHA-256",
            1.0,
        ),
        (
            "a huge negative rate of an address",
            json!([entity("ip", json!("127.0.0.9"))]),
            "connection_creation_rate",
            -2e10,
        ),
        ("a huge negative rate", user(), "producer_byte_rate", -1e30),
        ("a huge rate", user(), "producer_byte_rate", 1e30),
        (
            "a huge rate of an address",
            json!([entity("ip", json!("127.0.0.9"))]),
            "connection_creation_rate",
            2e10,
        ),
    ] {
        s.each(
            "AlterClientQuotas",
            ALL,
            case,
            |_| json!({"entries": [{"entity": who, "ops": [op(key, value, false)]}]}),
        );
    }
    let both =
        |first: &str, second: &str| json!([entity(first, json!("x")), entity(second, json!("x"))]);
    for (case, first, second, keys) in [
        (
            "an entity twice, the second wrong",
            user(),
            user(),
            ["producer_byte_rate", "nope"],
        ),
        (
            "an entity twice, the first wrong",
            user(),
            user(),
            ["nope", "producer_byte_rate"],
        ),
        (
            "an entity twice, its parts the other way round",
            both("user", "client-id"),
            both("client-id", "user"),
            ["producer_byte_rate", "consumer_byte_rate"],
        ),
    ] {
        s.each("AlterClientQuotas", ALL, case, |_| {
            let other = json!([entity("user", json!("other"))]);
            let entry = |who: &Value, key: &str| json!({"entity": who, "ops": [op(key, 5.0, false)]});
            json!({"validateOnly": true, "entries": [entry(&first, keys[0]), entry(&other, "nope"), entry(&second, keys[1])]})
        });
    }
    s.each("AlterClientQuotas", ALL, "only checked", |_| json!({"validateOnly": true, "entries": [{"entity": user(), "ops": [op("producer_byte_rate", 7.0, false)]}]}));
    s.each(
        "AlterClientQuotas",
        ALL,
        "nobody at all",
        |_| json!({"entries": []}),
    );
    let part = |kind: &str, how: i8, name: Value| json!([{"entityType": kind, "matchType": how, "match": name}]);
    for (case, components, strict) in [
        ("all", json!([]), false),
        ("all, strictly", json!([]), true),
        ("a user", part("user", 0, json!("u 1")), true),
        ("a user nobody knows", part("user", 0, json!("none")), false),
        ("the default user", part("user", 1, Value::Null), false),
        (
            "the default user, strictly",
            part("user", 1, Value::Null),
            true,
        ),
        ("any user", part("user", 2, Value::Null), false),
        ("any address", part("ip", 2, Value::Null), true),
        ("a kind nobody knows", part("nope", 2, Value::Null), false),
        ("an empty kind", part("", 2, Value::Null), false),
        ("a match nobody knows", part("user", 7, Value::Null), false),
        ("no name to match", part("user", 0, Value::Null), false),
        ("a name with any", part("user", 2, json!("u 1")), false),
        (
            "a kind twice",
            json!([{"entityType": "user", "matchType": 2, "match": null}, {"entityType": "user", "matchType": 1, "match": null}]),
            false,
        ),
        ("an empty address", part("ip", 0, json!("")), false),
        ("an empty address, strictly", part("ip", 0, json!("")), true),
        ("an empty user", part("user", 0, json!("")), false),
        ("an empty user, strictly", part("user", 0, json!("")), true),
        ("an empty client", part("client-id", 0, json!("")), false),
        (
            "an empty client, strictly",
            part("client-id", 0, json!("")),
            true,
        ),
        (
            "an empty user and a client",
            json!([{"entityType": "user", "matchType": 0, "match": ""}, {"entityType": "client-id", "matchType": 0, "match": "x"}]),
            false,
        ),
        (
            "a user and an empty client",
            json!([{"entityType": "user", "matchType": 0, "match": "x"}, {"entityType": "client-id", "matchType": 0, "match": ""}]),
            false,
        ),
        (
            "any user and an empty client",
            json!([{"entityType": "user", "matchType": 2, "match": null}, {"entityType": "client-id", "matchType": 0, "match": ""}]),
            false,
        ),
        (
            "a user and an address",
            json!([{"entityType": "user", "matchType": 2, "match": null}, {"entityType": "ip", "matchType": 2, "match": null}]),
            false,
        ),
    ] {
        s.each(
            "DescribeClientQuotas",
            ALL,
            case,
            |_| json!({"components": components, "strict": strict}),
        );
    }
    s.each(
        "AlterClientQuotas",
        ALL,
        "removed",
        |_| json!({"entries": [{"entity": user(), "ops": [op("producer_byte_rate", 0.0, true)]}]}),
    );
}

fn scram(s: &mut Script) {
    let up = |name: &str, mechanism: i8, iterations: i32| json!({"name": name, "mechanism": mechanism, "iterations": iterations, "salt": "01".repeat(16), "saltedPassword": "02".repeat(32)});
    let down = |name: &str, mechanism: i8| json!({"name": name, "mechanism": mechanism});
    for (case, ups, downs) in [
        (
            "made",
            json!([up("scram", 1, 4096), up("scram", 2, 8192)]),
            json!([]),
        ),
        ("too few iterations", json!([up("s1", 1, 1)]), json!([])),
        (
            "too many iterations",
            json!([up("s1", 1, 16385)]),
            json!([]),
        ),
        (
            "a mechanism nobody knows",
            json!([up("s1", 9, 4096)]),
            json!([]),
        ),
        ("mechanism zero", json!([up("s1", 0, 4096)]), json!([])),
        ("an empty user", json!([up("", 1, 4096)]), json!([])),
        (
            "a user twice",
            json!([up("s2", 1, 4096), up("s2", 1, 4096)]),
            json!([]),
        ),
        (
            "made and removed at once",
            json!([up("s3", 1, 4096)]),
            json!([down("s3", 1)]),
        ),
        (
            "one wrong of two",
            json!([up("s4", 1, 1), up("s5", 1, 4096)]),
            json!([]),
        ),
        (
            "two of one user, one wrong",
            json!([up("s6", 1, 1), up("s6", 2, 4096)]),
            json!([]),
        ),
        (
            "an empty password",
            json!([{"name": "s7", "mechanism": 1, "iterations": 4096, "salt": "01".repeat(16), "saltedPassword": ""}]),
            json!([]),
        ),
        (
            "an empty password, and another user",
            json!([{"name": "s7", "mechanism": 1, "iterations": 4096, "salt": "01".repeat(16), "saltedPassword": ""}, up("s8", 1, 4096)]),
            json!([]),
        ),
        (
            "an empty salt",
            json!([{"name": "s9", "mechanism": 1, "iterations": 4096, "salt": "", "saltedPassword": "02".repeat(32)}]),
            json!([]),
        ),
        (
            "a user called dot, and another",
            json!([up(".", 1, 4096), up("s8", 1, 4096)]),
            json!([]),
        ),
        (
            "an empty password, and one removed",
            json!([{"name": "s7", "mechanism": 1, "iterations": 4096, "salt": "01".repeat(16), "saltedPassword": ""}]),
            json!([down("scram", 2)]),
        ),
        ("removed", json!([]), json!([down("scram", 2)])),
        ("removed again", json!([]), json!([down("scram", 2)])),
        ("removed of nobody", json!([]), json!([down("nobody", 1)])),
        (
            "removed by a mechanism nobody knows",
            json!([]),
            json!([down("scram", 9)]),
        ),
        ("removed of an empty user", json!([]), json!([down("", 1)])),
        ("nothing", json!([]), json!([])),
    ] {
        s.once(
            "AlterUserScramCredentials",
            0,
            case,
            json!({"upsertions": ups, "deletions": downs}),
        );
    }
    let of = |names: &[&str]| json!({"users": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
    for (case, body) in [
        ("all", json!({"users": null})),
        ("an empty list", json!({"users": []})),
        ("one", of(&["scram"])),
        (
            "some unknown, some twice",
            of(&["scram", "none", "twice", "twice"]),
        ),
        ("an empty name", of(&[""])),
        ("one called dot", of(&[".", "scram"])),
    ] {
        s.once("DescribeUserScramCredentials", 0, case, body);
    }
}
