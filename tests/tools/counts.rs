//! What the recorded command lines are worth, counted: how many each tool has, how many change state, and how
//! many of those have what they changed read back before it is changed again.
//!
//! A change is a path such as `topic/orders/config/retention.ms`; what a later line shows is a pattern over such
//! paths. A change ends with the next one of the same path, or of one above it: what was overwritten before
//! anybody looked has not been compared. Lines that fail, that change nothing, and those of `differs.txt` do
//! not count, neither as changes nor as looks.

use std::collections::BTreeMap;

use regex::Regex;

use crate::scenario::{Scenario, Step};

/// One recorded line, with its tool's name also where it was called by its Java class.
struct Line<'a> {
    step: &'a Step,
    tool: String,
    words: Vec<String>,
    counts: bool,
}

/// What one line changed. A change that `adds` is still seen after the next of its path, as records are.
struct Change {
    path: String,
    adds: bool,
}

/// Lines, lines that change state, and lines whose change is looked at afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) lines: usize,
    pub(crate) changing: usize,
    pub(crate) compared: usize,
}

/// Counts a scenario's lines, by the name each was called by.
pub(crate) fn count(
    scenario: &Scenario,
    differs: impl Fn(&str) -> bool,
    into: &mut BTreeMap<String, Count>,
) {
    let lines: Vec<Line<'_>> = scenario
        .steps
        .iter()
        .map(|step| Line::new(step, !differs(&step.line)))
        .collect();
    let changes: Vec<Vec<Change>> = lines.iter().map(Line::changes).collect();
    let shown: Vec<Vec<Regex>> = lines.iter().map(Line::shown).collect();
    for (at, line) in lines.iter().enumerate() {
        let called = line.step.words().swap_remove(0);
        let count = into.entry(called).or_default();
        count.lines += 1;
        count.changing += usize::from(!changes[at].is_empty());
        let seen = |change: &Change| {
            for later in at + 1..lines.len() {
                if shown[later].iter().any(|one| one.is_match(&change.path)) {
                    return true;
                }
                let ends = |next: &Change| above(&next.path, &change.path);
                if !change.adds && changes[later].iter().any(ends) {
                    return false;
                }
            }
            false
        };
        count.compared += usize::from(changes[at].iter().any(seen));
    }
}

fn above(upper: &str, path: &str) -> bool {
    let rest = path.strip_prefix(upper);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The tool a Java class is.
fn of_class(class: &str) -> &'static str {
    match class.rsplit('.').next().unwrap_or(class) {
        "TopicCommand" => "kafka-topics",
        "ConfigCommand" => "kafka-configs",
        "ConsoleProducer" => "kafka-console-producer",
        "ConsoleConsumer" => "kafka-console-consumer",
        "ConsumerGroupCommand" => "kafka-consumer-groups",
        "DeleteRecordsCommand" => "kafka-delete-records",
        "GetOffsetShell" => "kafka-get-offsets",
        "LeaderElectionCommand" => "kafka-leader-election",
        "LogDirsCommand" => "kafka-log-dirs",
        "DumpLogSegments" => "kafka-dump-log",
        "ProducerPerformance" => "kafka-producer-perf-test",
        "ConsumerPerformance" => "kafka-consumer-perf-test",
        "VerifiableProducer" => "kafka-verifiable-producer",
        "VerifiableConsumer" => "kafka-verifiable-consumer",
        _ => "",
    }
}

/// The commas outside brackets part the settings of `--add-config`.
fn names_of(settings: &str) -> Vec<String> {
    let (mut names, mut depth, mut name, mut in_name) = (Vec::new(), 0, String::new(), true);
    for letter in settings.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                in_name = true;
            }
            '=' => in_name = false,
            other if in_name => name.push(other),
            _ => {}
        }
    }
    names.push(name);
    names
}

impl<'a> Line<'a> {
    fn new(step: &'a Step, counts: bool) -> Line<'a> {
        let mut words = step.words();
        let mut tool = words.remove(0);
        if tool == "kafka-run-class" {
            tool = of_class(&words.remove(0)).to_owned();
        }
        Line {
            step,
            tool,
            words,
            counts,
        }
    }

    fn has(&self, flag: &str) -> bool {
        self.words.iter().any(|word| word == flag)
    }

    fn values(&self, flag: &str) -> Vec<&str> {
        let pairs = self.words.windows(2);
        let found = pairs.filter(|pair| pair[0] == flag);
        found.map(|pair| pair[1].as_str()).collect()
    }

    fn value(&self, flag: &str) -> Option<&str> {
        self.values(flag).first().copied()
    }

    fn says(&self, text: &str) -> bool {
        let answer = &self.step.answer;
        answer.stdout.contains(text) || answer.stderr.as_deref().unwrap_or("").contains(text)
    }

    fn changes(&self) -> Vec<Change> {
        let taken = self.step.answer.code == 0 && self.counts;
        let paths = match self.tool.as_str() {
            _ if !taken => Vec::new(),
            "kafka-topics" => self.of_topics(),
            "kafka-configs" => self.of_configs(),
            "kafka-console-producer" => self.written(!self.step.stdin.is_empty()),
            "kafka-producer-perf-test" | "kafka-verifiable-producer" => self.written(true),
            "kafka-console-consumer" | "kafka-consumer-perf-test" => self.committed("--group"),
            "kafka-verifiable-consumer" => self.committed("--group-id"),
            "kafka-consumer-groups" => self.of_groups(),
            "kafka-delete-records" => self.of_deleted_records(),
            "kafka-leader-election" | "kafka-preferred-replica-election" => self.of_elections(),
            "zkCli" | "zookeeper-shell" => self.of_nodes(),
            _ => Vec::new(),
        };
        let adds = |path: &String| path.ends_with("/records");
        paths
            .into_iter()
            .map(|path| Change {
                adds: adds(&path),
                path,
            })
            .collect()
    }

    fn of_topics(&self) -> Vec<String> {
        let Some(topic) = self.value("--topic") else {
            return Vec::new();
        };
        if self.has("--create") {
            let made = self.says("Created topic");
            return made.then(|| format!("topic/{topic}")).into_iter().collect();
        }
        if self.has("--delete") {
            let absent = self.has("--if-exists") && self.step.answer.stdout.is_empty();
            return if absent {
                Vec::new()
            } else {
                vec![format!("topic/{topic}")]
            };
        }
        if !self.has("--alter") || self.has("--if-exists") {
            return Vec::new();
        }
        let set = self.values("--config").into_iter();
        let names = set.chain(self.values("--delete-config")).flat_map(names_of);
        let mut paths: Vec<String> = names
            .map(|name| format!("topic/{topic}/config/{name}"))
            .collect();
        if self.has("--partitions") {
            paths.push(format!("topic/{topic}/partitions"));
        }
        paths
    }

    /// Whose settings a line of `kafka-configs` names, `unnamed` standing for whoever is of a type:
    /// `topic/a/config`, `settings/users/ann/clients/c1` …
    fn entity(&self, unnamed: &str) -> String {
        let mut types: Vec<(String, Option<String>)> = Vec::new();
        for (at, word) in self.words.iter().enumerate() {
            let next = self.words.get(at + 1).cloned().unwrap_or_default();
            match word.as_str() {
                "--entity-type" => types.push((next, None)),
                // Names go to the types in the order of both.
                "--entity-name" | "--entity-default" => {
                    let name = match word.ends_with("name") {
                        true => next,
                        false => "<default>".to_owned(),
                    };
                    if let Some(open) = types.iter_mut().find(|(_, name)| name.is_none()) {
                        open.1 = Some(name);
                    }
                }
                "--user-defaults" | "--client-defaults" | "--ip-defaults" | "--broker-defaults" => {
                    let kind = word[2..].trim_end_matches("-defaults");
                    types.push((format!("{kind}s"), Some("<default>".to_owned())));
                }
                "--topic" | "--broker" | "--user" | "--client" | "--ip" | "--broker-logger" => {
                    types.push((format!("{}s", &word[2..]), Some(next)));
                }
                _ => {}
            }
        }
        // Users before the clients of theirs, as in the znodes.
        types.sort_by(|(one, _), (other, _)| other.cmp(one));
        let name = |name: Option<String>| name.unwrap_or_else(|| unnamed.to_owned());
        if types.len() == 1 && types[0].0 == "topics" {
            return format!("topic/{}/config", name(types.remove(0).1));
        }
        let parts = types.into_iter();
        let parts: Vec<String> = parts
            .map(|(kind, one)| format!("{kind}/{}", name(one)))
            .collect();
        format!("settings/{}", parts.join("/"))
    }

    fn of_configs(&self) -> Vec<String> {
        if !self.has("--alter") || self.says("Error") {
            return Vec::new();
        }
        let entity = self.entity("");
        if let Some(file) = self.value("--add-config-file") {
            return vec![format!("{entity}/{file}")];
        }
        let values = self.values("--add-config").into_iter();
        let names = values
            .chain(self.values("--delete-config"))
            .flat_map(names_of);
        names.map(|name| format!("{entity}/{name}")).collect()
    }

    fn written(&self, any: bool) -> Vec<String> {
        let none = self.value("--max-messages") == Some("0");
        let topic = self.value("--topic").filter(|_| any && !none);
        topic
            .map(|topic| format!("topic/{topic}/records"))
            .into_iter()
            .collect()
    }

    fn committed(&self, flag: &str) -> Vec<String> {
        let pair = self.value(flag).zip(self.value("--topic"));
        pair.map(|(group, topic)| format!("group/{group}/{topic}"))
            .into_iter()
            .collect()
    }

    fn of_groups(&self) -> Vec<String> {
        let groups = self.values("--group");
        if self.has("--delete") {
            let gone = self.says("was successful");
            let groups = groups.iter().filter(|_| gone);
            return groups.map(|group| format!("group/{group}")).collect();
        }
        let resets = self.has("--reset-offsets") && self.has("--execute");
        // `--to-current` leaves everything where it is.
        let moves = resets && !self.has("--to-current");
        if !moves && !self.has("--delete-offsets") {
            return Vec::new();
        }
        // Rows without ends of lines: reset's have group, topic, partition and offset; the others topic and partition.
        let row = match resets {
            true => r"(\S+)\s+(\S+)\s+\d+\s+\d+\s",
            false => r"()(\S+)\s+\d+\s+Successful\s",
        };
        let row = Regex::new(row).unwrap();
        let rows = row.captures_iter(&self.step.answer.stdout);
        let path = |row: regex::Captures<'_>| match resets {
            true => format!("group/{}/{}", &row[1], &row[2]),
            false => format!("group/{}/{}", groups[0], &row[2]),
        };
        rows.map(path).collect()
    }

    fn of_deleted_records(&self) -> Vec<String> {
        let done = Regex::new(r"partition: (\S+)-(\d+)\s+low_watermark").unwrap();
        let rows = done.captures_iter(&self.step.answer.stdout);
        rows.map(|row| format!("topic/{}/start/{}", &row[1], &row[2]))
            .collect()
    }

    fn of_elections(&self) -> Vec<String> {
        let moved = Regex::new(r"^Successfully completed .*election.*partitions? (.*)$").unwrap();
        let names = Regex::new(r"([\w.]+)-(\d+)").unwrap();
        let mut paths = Vec::new();
        for line in self.step.answer.stdout.lines() {
            for found in moved.captures_iter(line) {
                let each = names.captures_iter(found.get(1).unwrap().as_str());
                paths.extend(each.map(|one| format!("topic/{}/leader/{}", &one[1], &one[2])));
            }
        }
        if self.says("Created preferred replica election path") {
            paths.push("node/admin/preferred_replica_election".to_owned());
        }
        paths
    }

    /// The shell's command: what stands behind the flags of the program itself.
    fn command(&self) -> &[String] {
        let known = [
            "create",
            "set",
            "delete",
            "deleteall",
            "setAcl",
            "setquota",
            "delquota",
            "get",
            "ls",
            "stat",
            "getAcl",
            "listquota",
            "getAllChildrenNumber",
        ];
        let at = self
            .words
            .iter()
            .position(|word| known.contains(&word.as_str()));
        &self.words[at.unwrap_or(self.words.len())..]
    }

    fn node(&self) -> Option<&str> {
        let command = self.command();
        command
            .iter()
            .map(String::as_str)
            .find(|word| word.starts_with('/'))
    }

    fn of_nodes(&self) -> Vec<String> {
        let (command, Some(node)) = (self.command(), self.node()) else {
            return Vec::new();
        };
        // What is ephemeral goes with the session of the one command.
        if self.has("-e") {
            return Vec::new();
        }
        let path = format!("node{node}");
        match command[0].as_str() {
            "create" => {
                let created = self
                    .step
                    .answer
                    .stdout
                    .lines()
                    .chain(self.step.answer.stderr.as_deref());
                let made = created.filter_map(|line| line.strip_prefix("Created "));
                let made: Vec<String> = made.map(|node| format!("node{node}")).collect();
                let mut paths = if made.is_empty() { vec![path] } else { made };
                let topic = Regex::new(r#""topic":"(\w+)""#).unwrap();
                if node == "/admin/reassign_partitions" {
                    let topics = topic.captures_iter(&self.step.line);
                    paths.extend(topics.map(|one| format!("topic/{}/replicas", &one[1])));
                }
                paths
            }
            "set" | "delete" | "deleteall" => vec![path],
            "setAcl" => vec![format!("{path}/acl:")],
            "setquota" | "delquota" => vec![format!("{path}/quota:")],
            _ => Vec::new(),
        }
    }

    /// What a line lets one see: patterns over the paths of changes.
    fn shown(&self) -> Vec<Regex> {
        // Of a znode that is not there the shell says so, which shows that it was deleted.
        let shell = matches!(self.tool.as_str(), "zkCli" | "zookeeper-shell");
        if !self.counts || (self.step.answer.code != 0 && !shell) {
            return Vec::new();
        }
        let any = "[^/]+";
        // A filter may be a pattern, and several names.
        let filter = |flag| {
            self.value(flag).map_or(any.to_owned(), |text| {
                format!("(?:{})", text.replace(',', "|").replace("-", r"\-"))
            })
        };
        let patterns: Vec<String> = match self.tool.as_str() {
            "kafka-topics" if self.has("--list") => vec![format!("topic/{}", filter("--topic"))],
            "kafka-topics" if self.has("--describe") => {
                let topic = filter("--topic");
                vec![format!(
                    "topic/{topic}(/(partitions|leader|replicas|config)(/.*)?)?"
                )]
            }
            "kafka-configs" if self.has("--describe") => {
                vec![format!("{}/{any}", self.entity(any))]
            }
            "kafka-get-offsets" => {
                let given = self.value("--topic-partitions").map(|text| {
                    let topic = |one: &str| one.split(':').next().unwrap_or(any).to_owned();
                    text.split(',').map(topic).collect::<Vec<_>>().join("|")
                });
                let topic = given.map_or_else(|| filter("--topic"), |text| format!("(?:{text})"));
                match self.value("--time") {
                    Some("-2" | "earliest") => vec![format!("topic/{topic}/start/.*")],
                    None | Some("-1" | "latest") => vec![format!("topic/{topic}(/records)?")],
                    _ => Vec::new(),
                }
            }
            "kafka-console-consumer" if !self.has("--group") || self.has("--from-beginning") => {
                let whole = self.has("--from-beginning")
                    || matches!(self.value("--offset"), Some("0" | "earliest"));
                let topics = filter(if self.has("--topic") {
                    "--topic"
                } else {
                    "--include"
                });
                let records = whole.then(|| format!("topic/{topics}/(records|start/.*)"));
                records.into_iter().collect()
            }
            "kafka-log-dirs" if self.has("--describe") => {
                vec![format!(
                    "topic/{}(/records|/partitions)?",
                    filter("--topic-list")
                )]
            }
            "kafka-dump-log" => {
                let file = Regex::new(r"LOGS/(\S+)-\d+/").unwrap();
                let topics = file.captures_iter(&self.step.line);
                topics
                    .map(|one| format!("topic/{}/records", &one[1]))
                    .collect()
            }
            "kafka-consumer-groups" if self.has("--list") => vec![format!("group/{any}")],
            "kafka-consumer-groups" if self.has("--describe") => {
                let offsets = !self.has("--state") && !self.has("--members");
                let rest = if offsets { "(/.*)?" } else { "" };
                vec![format!("group/{}{rest}", filter("--group"))]
            }
            "zkCli" | "zookeeper-shell" => self.shown_nodes(),
            _ => Vec::new(),
        };
        let whole = |pattern: String| Regex::new(&format!("^(?:{pattern})$"));
        patterns
            .into_iter()
            .filter_map(|one| whole(one).ok())
            .collect()
    }

    fn shown_nodes(&self) -> Vec<String> {
        let (command, Some(node)) = (self.command(), self.node()) else {
            return Vec::new();
        };
        let path = regex::escape(&format!("node{}", node.trim_end_matches('/')));
        match command[0].as_str() {
            "get" | "stat" => {
                let mut patterns = vec![path];
                for (place, shown) in [
                    ("/config/topics/", "/config/.*"),
                    ("/brokers/topics/", "(/partitions|/replicas)?"),
                ] {
                    if let Some(topic) = node.strip_prefix(place)
                        && !topic.contains('/')
                    {
                        patterns.push(format!("topic/{}{shown}", regex::escape(topic)));
                    }
                }
                if let Some(entity) = node.strip_prefix("/config/") {
                    patterns.push(format!("settings/{}/.*", regex::escape(entity)));
                }
                patterns
            }
            // Names alone: they show what is made and deleted, not what is set.
            "ls" if self.has("-R") => vec![format!("{path}(/[^:]+)?")],
            "ls" => vec![format!("{path}(/[^/:]+)?")],
            "getAcl" => vec![format!("{path}/acl:")],
            "listquota" => vec![format!("{path}/quota:")],
            _ => Vec::new(),
        }
    }
}
