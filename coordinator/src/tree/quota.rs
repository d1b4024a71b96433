//! Quotas: limits beneath a path, and the running count that ZooKeeper keeps beside them.
//!
//! A limit for `/a` lies in `/zookeeper/quota/a/zookeeper_limits`, what is used in its sibling
//! `zookeeper_stats`. Both are text: `count=5,bytes=-1`, hard limits after `=;`.

use std::collections::BTreeSet;

use crate::tree::{Tree, path};

pub(crate) const ROOT: &str = "/zookeeper/quota";
pub(crate) const LIMITS: &str = "zookeeper_limits";
pub(crate) const STATS: &str = "zookeeper_stats";

/// A limit or a count; −1: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    pub(crate) count_hard: i64,
    pub(crate) bytes_hard: i64,
}

impl Track {
    pub(crate) fn read(text: &[u8]) -> Track {
        let mut track = Track {
            count: -1,
            bytes: -1,
            count_hard: -1,
            bytes_hard: -1,
        };
        for pair in String::from_utf8_lossy(text).split([',', ';']) {
            let mut parts = pair.split('=');
            let (key, value) = (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            );
            let value = value.parse().unwrap_or(-1);
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                "countHardLimit" => track.count_hard = value,
                "byteHardLimit" => track.bytes_hard = value,
                _ => {}
            }
        }
        track
    }

    /// The same, where all of the text is a quota.
    pub(crate) fn parse(text: &[u8]) -> Option<Track> {
        let whole = |pair: &str| {
            let value = pair.split('=').nth(1).unwrap_or_default();
            value.parse::<i64>().is_ok()
        };
        let read = String::from_utf8_lossy(text);
        let mut pairs = read
            .split([',', ';'])
            .enumerate()
            .filter(|(at, pair)| *at == 0 || !pair.is_empty());
        (read.is_empty() || pairs.all(|(_, pair)| whole(pair))).then(|| Track::read(text))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if self.bytes_hard != -1 || self.count_hard != -1 {
            text.push('=');
        }
        if self.bytes_hard != -1 {
            text.push_str(&format!(";byteHardLimit={}", self.bytes_hard));
        }
        if self.count_hard != -1 {
            text.push_str(&format!(";countHardLimit={}", self.count_hard));
        }
        text
    }
}

/// The paths that have a limit.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    paths: BTreeSet<Box<str>>,
}

impl Quotas {
    /// The path that a node beneath [`ROOT`] speaks of, where it is `name` in it.
    pub(crate) fn target<'a>(parent: &'a str, name: &str, wanted: &str) -> Option<&'a str> {
        (name == wanted)
            .then(|| parent.strip_prefix(ROOT))
            .flatten()
            .filter(|t| !t.is_empty())
    }

    pub(crate) fn add(&mut self, path: &str) {
        self.paths.insert(path.into());
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    /// The deepest path with a limit at or above `path`; the root has none.
    pub(crate) fn covering<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut at = path;
        while !at.is_empty() {
            if self.paths.contains(at) {
                return Some(at);
            }
            at = &at[..at.rfind('/')?];
        }
        None
    }
}

impl Tree {
    pub(crate) fn count_quota_of_new(&mut self, path: &str, above: &str, len: usize) {
        let name = path::split(path).map_or("", |(_, name)| name);
        if let Some(target) = Quotas::target(above, name, LIMITS) {
            self.quotas.add(target);
        }
        if let Some(target) = Quotas::target(above, name, STATS) {
            self.count_quota_anew(target);
        }
        if let Some(covering) = self.quotas.covering(path) {
            self.count_quota(covering, len.cast_signed() as i64, 1);
        }
    }

    pub(crate) fn count_quota(&mut self, covering: &str, bytes: i64, count: i64) {
        let stats = format!("{ROOT}{covering}/{STATS}");
        let Some(id) = self.nodes.find(&stats) else {
            return;
        };
        let mut used = Track::read(self.nodes.get(id).data.as_deref().unwrap_or_default());
        used.count = used.count.saturating_add(count);
        used.bytes = used.bytes.saturating_add(bytes);
        self.replace_data(&stats, id, Some(used.text().into_bytes().into()));
    }

    /// Counts what lies at and beneath a path from the beginning.
    pub(crate) fn count_quota_anew(&mut self, target: &str) {
        let (mut count, mut bytes) = (0_i64, 0_i64);
        let mut open: Vec<u32> = self.nodes.find(target).into_iter().collect();
        while let Some(id) = open.pop() {
            count += 1;
            bytes += self.nodes.get(id).data_len().cast_signed() as i64;
            open.extend(self.nodes.children(id).map(|(child, _)| child));
        }
        let stats = format!("{ROOT}{target}/{STATS}");
        if let Some(id) = self.nodes.find(&stats) {
            let used = Track {
                count,
                bytes,
                count_hard: -1,
                bytes_hard: -1,
            };
            self.replace_data(&stats, id, Some(used.text().into_bytes().into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written_as_zookeeper_does() {
        let text = "count=3,bytes=-1=;byteHardLimit=10;countHardLimit=5";
        let track = Track::read(text.as_bytes());
        assert_eq!(
            track,
            Track {
                count: 3,
                bytes: -1,
                count_hard: 5,
                bytes_hard: 10
            }
        );
        assert_eq!(track.text(), text);
        assert_eq!(Track::read(b"rubbish").count, -1);
    }

    #[test]
    fn the_deepest_limit_covers() {
        let mut quotas = Quotas::default();
        quotas.add("/a");
        quotas.add("/a/b/c");
        assert_eq!(quotas.covering("/a/b/c/d"), Some("/a/b/c"));
        assert_eq!(quotas.covering("/a/b"), Some("/a"));
        assert_eq!(quotas.covering("/ab"), None);
    }
}
