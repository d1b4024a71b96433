//! The leader's brain, told as stories: `isr.txt` and `watermark.txt`.
//!
//! A line is `command -> what the leader holds then`; everything else is prose. `BLESS=1` writes
//! down what is held now; the difference is then reviewed like any other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use protocol::ids::{BrokerId, LeaderEpoch, Offset};
use replication::partition::isr::{Isr, IsrAnswer};
use replication::partition::leader::Followers;

const LAG_MS_MAX: i64 = 100;
const EPOCH: LeaderEpoch = LeaderEpoch(5);

/// One leader with its followers; broker 1 leads.
struct Leader {
    followers: Followers,
    isr: Isr,
    partition_epoch: i32,
    epoch_start: i64,
    end: i64,
    watermark: i64,
    now_ms: i64,
    dead: HashSet<i32>,
    min_isr: usize,
    said: String,
}

fn ids(words: &str) -> Vec<BrokerId> {
    words
        .split(',')
        .filter(|word| !word.is_empty())
        .map(|word| BrokerId(word.parse().unwrap()))
        .collect()
}

fn show(ids: &[BrokerId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

impl Leader {
    /// `lead <replicas> isr <members> end <offset>`
    fn begin(words: &[&str]) -> Self {
        let [replicas, "isr", isr, "end", end] = words else {
            panic!("lead R isr I end E")
        };
        let (isr, end) = (ids(isr), end.parse().unwrap());
        let mut followers = Followers::default();
        followers.assign(ids(replicas).into_iter().filter(|id| id.0 != 1));
        followers.begin_epoch(Offset(end), &isr, false, 0);
        Leader {
            followers,
            isr: Isr::new(isr),
            partition_epoch: 0,
            epoch_start: end,
            end,
            watermark: 0,
            now_ms: 0,
            dead: HashSet::new(),
            min_isr: 1,
            said: String::new(),
        }
    }

    fn run(&mut self, words: &[&str]) {
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        match words[0] {
            "append" => self.end += number(1),
            "wait" => self.now_ms += number(1),
            "min-isr" => self.min_isr = words[1].parse().unwrap(),
            "dies" => {
                self.dead.insert(words[1].parse().unwrap());
            }
            "returns" => {
                self.dead.remove(&words[1].parse().unwrap());
            }
            "fetch" => {
                let id = BrokerId(words[1].parse().unwrap());
                let (from, end) = (Offset(number(2)), Offset(self.end));
                if !self
                    .followers
                    .note_fetch(id, from, Offset(0), end, self.now_ms)
                {
                    self.said.push_str("not a replica; ");
                }
                let (watermark, start) = (Offset(self.watermark), Offset(self.epoch_start));
                let wanted = self
                    .isr
                    .choose_expand(&self.followers, id, watermark, start, |id| {
                        !self.dead.contains(&id.0)
                    });
                self.propose(wanted);
            }
            "look" => {
                let end = Offset(self.end);
                let wanted = self
                    .isr
                    .choose_shrink(&self.followers, end, self.now_ms, LAG_MS_MAX);
                self.propose(wanted);
            }
            "answer" => {
                let answer = match words[1..] {
                    ["committed", isr, "epoch", epoch] => IsrAnswer::Committed {
                        leader_epoch: EPOCH,
                        partition_epoch: epoch.parse().unwrap(),
                        isr: ids(isr),
                    },
                    ["older-leadership", isr] => IsrAnswer::Committed {
                        leader_epoch: LeaderEpoch(EPOCH.0 - 1),
                        partition_epoch: 9,
                        isr: ids(isr),
                    },
                    ["reverted"] => IsrAnswer::Reverted,
                    ["outdated"] => IsrAnswer::Outdated,
                    ["try-again"] => IsrAnswer::TryAgain,
                    _ => panic!("unknown answer {words:?}"),
                };
                let after = self
                    .isr
                    .note_answer(&answer, EPOCH, &mut self.partition_epoch);
                write!(self.said, "{after:?}; ").unwrap();
            }
            other => panic!("unknown command {other}"),
        }
        self.advance();
    }

    fn propose(&mut self, wanted: Option<Vec<BrokerId>>) {
        if let Some(isr) = wanted {
            write!(self.said, "proposes {}; ", show(&isr)).unwrap();
            self.isr.note_proposed(isr);
        }
    }

    fn advance(&mut self) {
        if self.isr.committed().len() < self.min_isr {
            return;
        }
        let allowed = self.followers.watermark(
            Offset(self.end),
            self.isr.maximal(),
            self.now_ms,
            LAG_MS_MAX,
            |id| !self.dead.contains(&id.0),
        );
        if let Some(Offset(allowed)) = allowed {
            // I-3, for every member of the maximal ISR.
            for id in self.isr.maximal().iter().filter(|id| id.0 != 1) {
                assert!(self.followers.get(*id).unwrap().end.unwrap().0 >= allowed);
            }
            self.watermark = self.watermark.max(allowed);
        }
    }

    fn hold(&mut self) -> String {
        let said = std::mem::take(&mut self.said);
        let maximal = match self.isr.proposed() {
            Some(_) => format!(" maximal {}", show(self.isr.maximal())),
            None => String::new(),
        };
        format!(
            "{said}watermark {} of {}, isr {}{maximal}",
            self.watermark,
            self.end,
            show(self.isr.committed())
        )
    }
}

fn play(script: &str) -> String {
    let mut out = String::new();
    let mut leader: Option<Leader> = None;
    for line in script.lines() {
        let command = line
            .strip_prefix("    ")
            .map(|line| line.split(" -> ").next().unwrap().trim());
        let Some(command) = command.filter(|command| !command.is_empty()) else {
            writeln!(out, "{line}").unwrap();
            continue;
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        if words[0] == "lead" {
            let mut fresh = Leader::begin(&words[1..]);
            fresh.advance();
            leader = Some(fresh);
        } else {
            leader
                .as_mut()
                .expect("a story begins with `lead`")
                .run(&words);
        }
        let held = leader.as_mut().map(Leader::hold).unwrap_or_default();
        writeln!(out, "    {command} -> {held}").unwrap();
    }
    out
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let played = play(&script);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, played).unwrap();
        return;
    }
    for (number, (expected, got)) in script.lines().zip(played.lines()).enumerate() {
        assert_eq!(got, expected, "{name}, line {}", number + 1);
    }
}

#[test]
fn members_join_and_leave_the_isr_as_told() {
    check("isr.txt");
}

#[test]
fn the_watermark_moves_as_told() {
    check("watermark.txt");
}
