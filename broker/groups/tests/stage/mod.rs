//! The stage of the stories: a machine, a hand-driven time, and a log in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use groups::commit::CommitRequest;
use groups::join::JoinRequest;
use groups::leave::Leaver;
use groups::load::{Loader, ReplayedBatch};
use groups::member::Protocol;
use groups::offsets::Committed;
use groups::outcome::{Batch, JoinAnswer, Record, Write};
use groups::refusal::{Refusal, WriteError};
use groups::sync::SyncRequest;
use groups::{Answer, Config, Machine, Now, Outcome, Ticket};
use protocol::ids::TopicPartition;
use protocol::internal::groups::GroupValue;
use protocol::internal::offsets::{Key, OffsetValue};

/// What lies in the log: a batch of records, or the marker that ends a transaction.
enum Logged {
    Batch {
        offset: i64,
        batch: Batch,
        records: Vec<Record>,
    },
    Marker {
        producer_id: i64,
        commit: bool,
    },
}

pub(crate) struct Stage {
    machine: Machine,
    config: Arc<Config>,
    now: Now,
    log: Vec<Logged>,
    next_offset: i64,
    hold: bool,
    held: VecDeque<Write>,
    /// Ticket → what the story calls the request.
    tickets: BTreeMap<Ticket, String>,
    next_ticket: u64,
    next_id: u64,
    said: Vec<String>,
}

/// The words of an event: the verb's operands and its `key=value` settings.
struct Words<'a> {
    plain: Vec<&'a str>,
    keyed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn read(text: &'a str) -> Self {
        let mut words = Words {
            plain: Vec::new(),
            keyed: BTreeMap::new(),
        };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => {
                    words.keyed.insert(key, value);
                }
                None => words.plain.push(word),
            }
        }
        words
    }

    fn plain(&self, at: usize) -> &'a str {
        self.plain.get(at).copied().unwrap_or("")
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.keyed.get(key).copied()
    }

    fn arc(&self, key: &str) -> Option<Arc<str>> {
        self.text(key).map(Arc::from)
    }

    fn number<T: std::str::FromStr>(&self, key: &str, otherwise: T) -> T {
        self.text(key)
            .map_or(otherwise, |text| text.parse().ok().unwrap())
    }
}

/// A consumer's subscription to topics, as its client writes it.
fn subscription(topics: &str) -> Bytes {
    let names: Vec<&str> = topics.split('+').filter(|name| !name.is_empty()).collect();
    let mut bytes = vec![0, 0];
    bytes.extend(i32::try_from(names.len()).unwrap().to_be_bytes());
    for name in names {
        bytes.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

/// The topics of a subscription, for reading.
fn shown(metadata: &[u8]) -> String {
    match protocol::internal::consumer::subscribed_topics(metadata) {
        Ok(topics) => topics.join("+"),
        Err(_) => format!("{metadata:?}"),
    }
}

fn verdict(verdict: Result<(), Refusal>) -> String {
    verdict.map_or_else(|refusal| format!("{refusal:?}"), |()| "ok".to_owned())
}

fn partition(text: &str) -> TopicPartition {
    let (topic, number) = text.rsplit_once('-').unwrap();
    TopicPartition::new(topic, number.parse().unwrap())
}

impl Stage {
    pub(crate) fn new() -> Self {
        let config = Arc::new(Config {
            size_max: 3,
            offset_metadata_max: 8,
            offsets_retention_ms: 60_000,
            ..Config::default()
        });
        Stage {
            machine: Machine::new(Arc::clone(&config)),
            config,
            now: Now {
                monotonic_ms: 0,
                wall_ms: 1_000_000,
            },
            log: Vec::new(),
            next_offset: 0,
            hold: false,
            held: VecDeque::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            next_id: 0,
            said: Vec::new(),
        }
    }

    /// Plays one event and tells everything it led to.
    pub(crate) fn play(&mut self, event: &str) -> Vec<String> {
        let (verb, rest) = event.split_once(' ').unwrap_or((event, ""));
        let words = Words::read(rest);
        match verb {
            "join" => self.join(&words),
            "sync" => self.sync(&words),
            "heartbeat" => self.heartbeat(&words),
            "leave" => self.leave(&words),
            "commit" => self.commit(&words),
            "fetch" => self.fetch(&words),
            "marker" => self.marker(&words),
            "wait" => self.wait(words.plain(0).parse().unwrap()),
            "expire" => {
                let outcome = self.machine.expire_offsets(self.now);
                self.carry_out(outcome);
            }
            "describe" => self.describe(words.plain(0)),
            "list" => self.list(),
            "delete" => self.delete(words.plain(0)),
            "delete-offsets" => self.delete_offsets(&words),
            "forget" => {
                let gone: Vec<TopicPartition> =
                    words.plain.iter().map(|tp| partition(tp)).collect();
                let outcome = self.machine.forget_partitions(&gone, self.now);
                self.carry_out(outcome);
            }
            "hold" => self.hold = true,
            "acknowledge" => self.acknowledge(Ok(())),
            "fail" => self.acknowledge(Err(failure(words.plain(0)))),
            "crash" => self.crash(),
            "unload" => {
                let machine =
                    std::mem::replace(&mut self.machine, Machine::new(Arc::clone(&self.config)));
                let outcome = machine.unload(self.now);
                self.held.clear();
                self.carry_out(outcome);
            }
            other => panic!("no such event: {other}"),
        }
        self.machine.check();
        std::mem::take(&mut self.said)
    }

    fn say(&mut self, line: String) {
        self.said.push(line);
    }

    fn ticket(&mut self, name: String) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, name);
        ticket
    }

    fn join(&mut self, words: &Words<'_>) {
        let client = words.plain(1);
        let protocols = words
            .text("protocols")
            .unwrap_or("range")
            .split(',')
            .filter(|p| !p.is_empty());
        let topics = words.text("topics").unwrap_or("t");
        self.next_id += 1;
        let request = JoinRequest {
            group: words.plain(0).replace("''", "").into(),
            member_id: words.arc("id").unwrap_or_else(|| "".into()),
            group_instance_id: words.arc("instance"),
            needs_known_member_id: words.number("version", 3) >= 4
                && words.text("instance").is_none(),
            may_skip_assignment: words.number("version", 3) >= 9,
            client_id: client.into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: words.number("rebalance", 20_000),
            session_timeout_ms: words.number("session", 10_000),
            protocol_type: words.text("type").unwrap_or("consumer").into(),
            protocols: protocols
                .map(|name| Protocol {
                    name: name.into(),
                    metadata: subscription(topics),
                })
                .collect(),
            reason: None,
            fresh_id: self.next_id.to_string().into(),
        };
        let ticket = self.ticket(format!("join of {}", words.text("id").unwrap_or(client)));
        let outcome = self.machine.join(ticket, request, self.now);
        self.carry_out(outcome);
    }

    fn sync(&mut self, words: &Words<'_>) {
        let given = words
            .text("assign")
            .unwrap_or("")
            .split(',')
            .filter_map(|pair| pair.split_once(':'));
        let request = SyncRequest {
            group: words.plain(0).into(),
            member_id: words.plain(1).into(),
            generation: words.number("generation", 1),
            group_instance_id: words.arc("instance"),
            protocol_type: words.arc("type"),
            protocol: words.arc("protocol"),
            assignments: given
                .map(|(id, assignment)| (id.into(), Bytes::copy_from_slice(assignment.as_bytes())))
                .collect(),
        };
        let ticket = self.ticket(format!("sync of {}", words.plain(1)));
        let outcome = self.machine.sync(ticket, request, self.now);
        self.carry_out(outcome);
    }

    fn heartbeat(&mut self, words: &Words<'_>) {
        let (group, member) = (words.plain(0), words.plain(1));
        let generation = words.number("generation", 1);
        let instance = words.text("instance");
        let heard = self
            .machine
            .heartbeat(group, member, instance, generation, self.now);
        self.say(format!("heartbeat of {member}: {}", verdict(heard)));
    }

    fn leave(&mut self, words: &Words<'_>) {
        let leavers: Vec<Leaver> = words.plain[1..]
            .iter()
            .map(|who| {
                let (id, instance) = who
                    .split_once('/')
                    .map_or((*who, None), |(id, i)| (id, Some(i)));
                Leaver {
                    member_id: id.into(),
                    group_instance_id: instance.map(Arc::from),
                    reason: None,
                }
            })
            .collect();
        let mut out = Outcome::default();
        match self
            .machine
            .leave(words.plain(0), &leavers, self.now, &mut out)
        {
            Ok(verdicts) => {
                for (who, left) in words.plain[1..].iter().zip(verdicts) {
                    self.say(format!("leave of {who}: {}", verdict(left)));
                }
            }
            Err(refusal) => self.say(format!("leave: {refusal:?}")),
        }
        self.carry_out(out);
    }

    fn commit(&mut self, words: &Words<'_>) {
        let metadata = words.text("metadata").unwrap_or("");
        let offsets = words.plain[1..].iter().map(|word| {
            let (tp, offset) = word.split_once(':').unwrap();
            let committed = Committed {
                offset: offset.parse().unwrap(),
                leader_epoch: -1,
                metadata: metadata.into(),
                commit_timestamp: self.now.wall_ms,
                expire_timestamp: words.text("expires").map(|at| at.parse().unwrap()),
            };
            (partition(tp), committed)
        });
        let request = CommitRequest {
            group: words.plain(0).into(),
            generation: words.number("generation", -1),
            member_id: words.arc("id").unwrap_or_else(|| "".into()),
            group_instance_id: words.arc("instance"),
            transaction: words.text("producer").map(|id| (id.parse().unwrap(), 0)),
            offsets: offsets.collect(),
        };
        let ticket = self.ticket("commit".to_owned());
        let outcome = self.machine.commit(ticket, request, self.now);
        self.carry_out(outcome);
    }

    fn fetch(&mut self, words: &Words<'_>) {
        let stable = words.text("stable").is_some();
        let group = words.plain(0);
        let show = |tp: &TopicPartition, found: Result<Option<&Committed>, Refusal>| match found {
            Ok(Some(found)) => format!("{tp}: {} {:?}", found.offset, found.metadata),
            Ok(None) => format!("{tp}: none"),
            Err(refusal) => format!("{tp}: {refusal:?}"),
        };
        let mut lines = Vec::new();
        if words.plain.len() > 1 {
            for tp in words.plain[1..].iter().map(|tp| partition(tp)) {
                lines.push(show(&tp, self.machine.offset(group, &tp, stable)));
            }
        } else {
            for (tp, found) in self.machine.offsets(group, stable) {
                lines.push(show(&tp, found));
            }
        }
        self.said.extend(lines);
    }

    fn marker(&mut self, words: &Words<'_>) {
        let producer_id = words.plain(0).parse().unwrap();
        let commit = words.plain(1) == "commit";
        self.next_offset += 1;
        self.log.push(Logged::Marker {
            producer_id,
            commit,
        });
        self.machine.complete_transaction(producer_id, commit);
    }

    fn wait(&mut self, ms: i64) {
        let until = self.now.monotonic_ms + ms;
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= until) {
            self.pass(at - self.now.monotonic_ms);
            let outcome = self.machine.expire(self.now);
            if !outcome.is_empty() {
                self.say(format!("at {}:", self.now.monotonic_ms));
            }
            self.carry_out(outcome);
        }
        self.pass(until - self.now.monotonic_ms);
    }

    fn pass(&mut self, ms: i64) {
        let ms = ms.max(0);
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
    }

    fn describe(&mut self, group: &str) {
        let described = self.machine.describe(group);
        let state = described
            .state
            .map_or_else(|| "Dead".to_owned(), |state| state.to_string());
        self.say(format!(
            "{state} type={:?} protocol={:?}",
            described.protocol_type, described.protocol
        ));
        for member in described.members {
            let mut line = format!("{} topics={}", member.member_id, shown(&member.metadata));
            if let Some(instance) = member.group_instance_id {
                write!(line, " instance={instance}").unwrap();
            }
            write!(
                line,
                " assignment={}",
                String::from_utf8_lossy(&member.assignment)
            )
            .unwrap();
            self.say(line);
        }
    }

    fn list(&mut self) {
        let mut lines: Vec<String> = self
            .machine
            .list()
            .map(|group| format!("{} {} {:?}", group.group, group.state, group.protocol_type))
            .collect();
        lines.sort();
        self.said.extend(lines);
    }

    fn delete(&mut self, group: &str) {
        let ticket = self.ticket("delete".to_owned());
        let mut out = Outcome::default();
        let deleted = self.machine.delete(ticket, group, self.now, &mut out);
        self.say(format!("delete: {}", verdict(deleted)));
        self.carry_out(out);
    }

    fn delete_offsets(&mut self, words: &Words<'_>) {
        let partitions: Vec<TopicPartition> =
            words.plain[1..].iter().map(|tp| partition(tp)).collect();
        let ticket = self.ticket("delete".to_owned());
        let mut out = Outcome::default();
        match self
            .machine
            .delete_offsets(ticket, words.plain(0), &partitions, self.now, &mut out)
        {
            Ok(verdicts) => {
                for (tp, deleted) in partitions.iter().zip(verdicts) {
                    self.say(format!("delete {tp}: {}", verdict(deleted)));
                }
            }
            Err(refusal) => self.say(format!("delete: {refusal:?}")),
        }
        self.carry_out(out);
    }

    fn carry_out(&mut self, outcome: Outcome) {
        let mut outcomes = VecDeque::from([outcome]);
        while let Some(outcome) = outcomes.pop_front() {
            for write in outcome.writes {
                self.tell_write(&write);
                if self.hold {
                    self.held.push_back(write);
                } else {
                    outcomes.push_back(self.append(write));
                }
            }
            for (ticket, answer) in outcome.answers {
                let name = self
                    .tickets
                    .remove(&ticket)
                    .expect("each ticket is answered once");
                let told = tell_answer(&answer);
                self.say(format!("{name}: {told}"));
            }
            for note in outcome.notes {
                let note = format!("{note:?}");
                self.say(format!("({})", note.split(' ').next().unwrap_or_default()));
            }
        }
    }

    fn append(&mut self, write: Write) -> Outcome {
        let offset = self.next_offset;
        self.next_offset += i64::try_from(write.records.len()).unwrap();
        self.log.push(Logged::Batch {
            offset,
            batch: write.batch,
            records: write.records,
        });
        self.machine.written(write.id, Ok(offset), self.now)
    }

    /// The oldest held write is in the log, or has failed.
    fn acknowledge(&mut self, result: Result<(), WriteError>) {
        let write = self.held.pop_front().expect("a write is held");
        let outcome = match result {
            Ok(()) => self.append(write),
            Err(failure) => self.machine.written(write.id, Err(failure), self.now),
        };
        self.carry_out(outcome);
    }

    fn tell_write(&mut self, write: &Write) {
        for record in &write.records {
            let told = match Key::read(&record.key).unwrap() {
                Key::Offset(key) => {
                    let name = format!("offset {}/{}-{}", key.group, key.topic, key.partition);
                    match &record.value {
                        Some(value) => {
                            let value = OffsetValue::read(value).unwrap();
                            format!("{name} = {}", value.offset)
                        }
                        None => format!("{name} is gone"),
                    }
                }
                Key::Group(group) => match &record.value {
                    Some(value) => {
                        let value = GroupValue::read(value).unwrap();
                        let members: Vec<String> = value
                            .members
                            .iter()
                            .map(|m| {
                                format!("{}:{}", m.member_id, String::from_utf8_lossy(m.assignment))
                            })
                            .collect();
                        format!(
                            "group {group} generation={} members=[{}]",
                            value.generation,
                            members.join(" ")
                        )
                    }
                    None => format!("group {group} is gone"),
                },
                Key::Unknown(_) => panic!("nobody writes such a key"),
            };
            let transactional = matches!(write.batch, Batch::Transactional { .. });
            self.say(format!(
                "write{}: {told}",
                if transactional { " in transaction" } else { "" }
            ));
        }
    }

    /// The broker dies; another loads what was written.
    fn crash(&mut self) {
        self.held.clear();
        self.tickets.clear();
        let mut loader = Loader::new(Arc::clone(&self.config), self.now);
        for logged in &self.log {
            match logged {
                Logged::Marker {
                    producer_id,
                    commit,
                } => loader.replay_marker(*producer_id, *commit),
                Logged::Batch {
                    offset,
                    batch,
                    records,
                } => {
                    let transaction = match batch {
                        Batch::Transactional { producer_id, .. } => Some(*producer_id),
                        Batch::Group | Batch::Offsets | Batch::Tombstones => None,
                    };
                    let replayed = ReplayedBatch {
                        base_offset: *offset,
                        transaction,
                    };
                    for record in records {
                        loader.replay(replayed, &record.key, record.value.as_deref());
                    }
                }
            }
        }
        let (machine, outcome) = loader.finish();
        self.machine = machine;
        self.carry_out(outcome);
    }
}

fn failure(name: &str) -> WriteError {
    match name {
        "timeout" => WriteError::TimedOut,
        "replicas" => WriteError::NotEnoughReplicas,
        "leader" => WriteError::NotLeader,
        "size" => WriteError::TooLarge,
        other => panic!("no such failure: {other}"),
    }
}

fn tell_answer(answer: &Answer) -> String {
    match answer {
        Answer::Join(answer) => tell_join(answer),
        Answer::Sync(answer) => match answer.refusal {
            Some(refusal) => format!("{refusal:?}"),
            None => format!("assignment={}", String::from_utf8_lossy(&answer.assignment)),
        },
        Answer::Commit(verdicts) => {
            let verdicts: Vec<String> = verdicts.iter().map(|each| verdict(*each)).collect();
            verdicts.join(" ")
        }
        Answer::Deleted => "done".to_owned(),
    }
}

fn tell_join(answer: &JoinAnswer) -> String {
    if let Some(refusal) = answer.refusal {
        return format!("{refusal:?} id={:?}", answer.member_id);
    }
    let mut told = format!(
        "id={} generation={} protocol={} leader={}",
        answer.member_id,
        answer.generation,
        answer.protocol.as_deref().unwrap_or("none"),
        answer.leader,
    );
    if answer.skip_assignment {
        told.push_str(" skips assignment");
    }
    if !answer.members.is_empty() {
        let members: Vec<String> = answer
            .members
            .iter()
            .map(|member| format!("{}:{}", member.member_id, shown(&member.metadata)))
            .collect();
        write!(told, " members=[{}]", members.join(" ")).unwrap();
    }
    told
}
