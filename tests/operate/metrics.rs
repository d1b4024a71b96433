//! `/metrics` beside what Apache Kafka 3.9 shows through the JMX exporter.
//!
//! `golden/apache_metrics.tsv` was taken from a live Apache Kafka 3.9.0 with the exporter's agent
//! 1.0.1 and its sample rules `kafka-2_0_0.yml`, after a few records were produced and consumed by a
//! group: name, kind, and the sets of labels met. `golden/absent_metrics.tsv` lists what is not
//! shown here, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use harness::wait;

use crate::running::{LIMIT, Running};

const APACHE: &str = include_str!("golden/apache_metrics.tsv");
const ABSENT: &str = include_str!("golden/absent_metrics.tsv");

/// Names with their kind and the sets of labels they come with.
type Shown = BTreeMap<String, (String, BTreeSet<String>)>;

fn read(text: &str) -> Shown {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut shown = Shown::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            kinds.extend(kind.split_once(' '));
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let mut labels = labels(line);
        labels.sort_unstable();
        let labels = match labels.is_empty() {
            true => "-".to_owned(),
            false => labels.join(","),
        };
        let entry = shown.entry(name.to_owned());
        let kind = kinds.get(name).copied().unwrap_or("none");
        let (_, sets) = entry.or_insert_with(|| (kind.to_owned(), BTreeSet::new()));
        sets.insert(labels);
    }
    shown
}

fn labels(line: &str) -> Vec<&str> {
    let Some((_, rest)) = line.split_once('{') else {
        return Vec::new();
    };
    let mut names = Vec::new();
    let mut rest = rest;
    while let Some((name, after)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        // The value ends at the first quote that is not escaped.
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &after[end.unwrap() + 1..];
    }
    names
}

fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(sample)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn use_it(running: &Running) {
    running.does(&["topics", "--create", "--topic", "t", "--partitions", "2"]);
    running.pass_through("t", &["a", "b", "c"]);
}

/// How what is shown differs from what Apache shows; nothing, where all is well.
fn differences(text: &str) -> Vec<String> {
    let ours = read(text);
    let absent: BTreeMap<&str, &str> = ABSENT
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .collect();
    let mut wrong = Vec::new();
    let mut apaches = BTreeSet::new();
    let mut reasons: BTreeSet<&str> = absent.keys().copied().collect();
    for line in APACHE.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, kind, labels] = fields[..] else {
            panic!("{line}")
        };
        apaches.insert(name);
        let base = name.trim_end_matches("_count_total");
        let reason = [name, base].into_iter().find(|n| absent.contains_key(n));
        match (ours.get(name), reason) {
            (None, Some(reason)) => {
                reasons.remove(reason);
            }
            (None, None) => wrong.push(format!("{name} is neither here nor listed as absent")),
            (Some(_), Some(_)) => wrong.push(format!("{name} is here and listed as absent")),
            (Some((ours, sets)), None) => {
                let theirs: BTreeSet<String> = labels.split(" | ").map(str::to_owned).collect();
                // A set of labels may be missing where nothing of its kind has happened.
                if ours != kind || !sets.is_subset(&theirs) {
                    wrong.push(format!(
                        "{name}: {ours} {sets:?}, Apache's: {kind} {theirs:?}"
                    ));
                }
            }
        }
    }
    let extra = ours
        .keys()
        .filter(|name| !apaches.contains(name.as_str()) && !name.starts_with("rotpeter_"));
    wrong.extend(extra.map(|name| format!("{name} is no name of Apache's")));
    wrong.extend(
        reasons
            .iter()
            .map(|name| format!("{name} is a reason for nothing")),
    );
    wrong
}

#[test]
fn whatever_apache_measures_is_here_by_the_same_name_or_has_a_reason() {
    let running = Running::start(&[]);
    use_it(&running);
    let deadline = Instant::now() + LIMIT;
    // Some numbers come with something the broker does when it gets to it.
    let text = loop {
        let (status, text) = running.get("/metrics");
        assert_eq!(status, 200);
        let wrong = differences(&text);
        if wrong.is_empty() {
            break text;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    // Families are not torn apart.
    let mut seen = BTreeSet::new();
    let mut last = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(name == last || seen.insert(name), "{name} comes twice");
        last = name;
    }
}

const TOPIC_METRICS: &str = "kafka_server_brokertopicmetrics";

/// What does not say what was done; nothing, where all is well.
fn miscounted(text: &str) -> Vec<String> {
    let topic = TOPIC_METRICS;
    let mut wrong = Vec::new();
    for (sample, wanted) in [
        (format!("{topic}_messagesin_total{{topic=\"t\"}}"), 3.0),
        (
            "kafka_controller_kafkacontroller_activecontrollercount".to_owned(),
            1.0,
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount".to_owned(),
            0.0,
        ),
        (
            "kafka_controller_kafkacontroller_globaltopiccount".to_owned(),
            2.0,
        ),
        ("kafka_server_replicamanager_leadercount".to_owned(), 52.0),
        (
            "kafka_server_replicamanager_underreplicatedpartitions".to_owned(),
            0.0,
        ),
        ("kafka_server_kafkaserver_brokerstate".to_owned(), 3.0),
        (
            "rotpeter_zookeeper_session{state=\"alive\"}".to_owned(),
            1.0,
        ),
    ] {
        let found = value(text, &sample);
        if found != Some(wanted) {
            wrong.push(format!("{sample} is {found:?}, not {wanted}"));
        }
    }
    let count = |name: &str| value(text, name).unwrap_or(-1.0);
    let produced = count(&format!("{topic}_bytesin_total{{topic=\"t\"}}"));
    let fetched = count(&format!("{topic}_bytesout_total{{topic=\"t\"}}"));
    if produced <= 60.0 || (fetched - produced).abs() >= 0.5 {
        wrong.push(format!("{produced} bytes came, {fetched} went"));
    }
    let produces = "kafka_network_requestmetrics_totaltimems_count_total{request=\"Produce\"}";
    if count(produces) < 1.0 {
        wrong.push("no produce was counted".to_owned());
    }
    let end = |n| format!("kafka_log_log_logendoffset{{partition=\"{n}\",topic=\"t\"}}");
    let ends: f64 = (0..2).map(|n| count(&end(n))).sum();
    if (ends - 3.0).abs() >= 0.5 {
        wrong.push(format!("logs end at {ends} together"));
    }
    wrong
}

#[test]
fn what_passed_is_what_is_counted() {
    let running = Running::start(&[]);
    use_it(&running);
    let deadline = Instant::now() + LIMIT;
    // Counted behind the answers that clients have already, and told by the controller in its turn.
    let text = loop {
        let (_, text) = running.get("/metrics");
        let wrong = miscounted(&text);
        if wrong.is_empty() {
            break text;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}\n{text}");
        std::thread::sleep(Duration::from_millis(100));
    };
    // What a group has read is what is left of its lag.
    wait::until("the group's lag", LIMIT, || {
        let (_, text) = running.get("/metrics");
        let lag = |n| {
            let sample = format!("rotpeter_group_lag{{group=\"g\",partition=\"{n}\",topic=\"t\"}}");
            value(&text, &sample).unwrap_or(0.0)
        };
        let known = text.contains("rotpeter_group_lag{");
        (known && lag(0) + lag(1) < 0.5).then_some(())
    });
    // A topic that is deleted leaves the sum and takes its own numbers along.
    let all = |text: &str| value(text, &format!("{TOPIC_METRICS}_messagesin_total")).unwrap();
    let before = all(&text);
    running.does(&["topics", "--delete", "--topic", "t"]);
    wait::until("the topic's numbers to go", LIMIT, || {
        let (_, text) = running.get("/metrics");
        assert!(all(&text) >= before);
        (!text.contains("topic=\"t\"}")).then_some(())
    });
}
