//! `setquota`, `listquota`, `delquota`: nodes beneath `/zookeeper/quota` that say what may be used.

use std::collections::BTreeMap;

use protocol::zookeeper::errors::Code;

use crate::print::Out;
use crate::say;
use crate::zk_shell::nodes::Nodes;
use crate::zk_shell::options::Line;
use crate::zk_shell::refusal::{Refusal, check_path};

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// Which number each flag sets.
const KEYS: [(&str, &str); 4] = [
    ("n", "count"),
    ("b", "bytes"),
    ("N", "countHardLimit"),
    ("B", "byteHardLimit"),
];

/// What may be used, or is: `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track(BTreeMap<String, i64>);

impl Track {
    fn read(text: &[u8]) -> Track {
        let text = String::from_utf8_lossy(text);
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.trim_end_matches('=');
            Some((key.to_owned(), value.parse().unwrap_or(-1)))
        });
        Track(pairs.collect())
    }

    fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let more = || {
            self.0
                .iter()
                .filter(|(key, _)| !["count", "bytes"].contains(&key.as_str()))
        };
        if more().next().is_some() {
            text.push('=');
        }
        for (key, value) in more() {
            text.push_str(&format!(";{key}={value}"));
        }
        text
    }
}

/// The value of the flag given, or what is wrong with it.
fn limit(line: &Line) -> Result<(&'static str, i64), Refusal> {
    let given = line.given().next().unwrap_or_default();
    let (_, key) = *KEYS
        .iter()
        .find(|(flag, _)| *flag == given)
        .unwrap_or(&KEYS[0]);
    let value = line.value(given).unwrap_or_default();
    let number = match key {
        "count" | "countHardLimit" => value.parse::<i32>().map(i64::from),
        _ => value.parse::<i64>(),
    };
    // What Java prints of an exception nobody expected, without its trace.
    let number = number.map_err(|_| {
        Refusal::Said(format!(
            "java.lang.NumberFormatException: For input string: \"{value}\""
        ))
    })?;
    Ok((key, number))
}

/// `setquota -n|-b|-N|-B val path`
pub(crate) fn set(
    nodes: &Nodes<'_>,
    line: &Line,
    path: &str,
    out: &mut Out,
) -> Result<(), Refusal> {
    if path.starts_with(ROOT) {
        crate::warn!("cannot set a quota under the path: {ROOT}");
        return Ok(());
    }
    let (key, value) = limit(line)?;
    if key.starts_with("count") && value <= 0 {
        crate::warn!("the num quota must be greater than zero");
        return Ok(());
    }
    if key.starts_with("byte") && value < 0 {
        crate::warn!("the bytes quota must be greater than or equal to zero");
        return Ok(());
    }
    check_path(path)?;
    if nodes.exists(path)?.is_none() {
        return Err(Refusal::Said(format!("{path} does not exist.")));
    }
    refuse_beneath(nodes, path)?;
    refuse_above(nodes, path)?;
    let mut at = ROOT.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = format!("{at}/{name}");
        if nodes.exists(&at)?.is_none() {
            make(nodes, &at, None)?;
        }
    }
    let (limits_at, stats_at) = (format!("{at}/{LIMITS}"), format!("{at}/{STATS}"));
    if nodes.exists(&limits_at)?.is_none() {
        let mut limits = Track::default();
        for (_, known) in KEYS {
            limits.0.insert(known.to_owned(), -1);
        }
        limits.0.insert(key.to_owned(), value);
        make(nodes, &limits_at, Some(limits.text().as_bytes()))?;
        make(nodes, &stats_at, Some(b"count=0,bytes=0"))?;
        warn(&limits, &Track::read(&data(nodes, &stats_at)?), out);
    } else {
        let mut limits = Track::read(&data(nodes, &limits_at)?);
        limits.0.insert(key.to_owned(), value);
        warn(&limits, &Track::read(&data(nodes, &stats_at)?), out);
        nodes.set(&limits_at, limits.text().as_bytes(), -1)?;
    }
    Ok(())
}

fn data(nodes: &Nodes<'_>, path: &str) -> Result<Vec<u8>, Refusal> {
    let (data, _) = nodes.get(path, false)?;
    Ok(data.unwrap_or_default())
}

fn make(nodes: &Nodes<'_>, path: &str, data: Option<&[u8]>) -> Result<(), Refusal> {
    match nodes.create(path, data) {
        Ok(()) | Err(Code::NODE_EXISTS) => Ok(()),
        Err(code) => Err(Refusal::of(code, path)),
    }
}

fn warn(limits: &Track, used: &Track, out: &mut Out) {
    let above = |keys: [&str; 2], used: i64| {
        keys.iter()
            .any(|key| limits.get(key) > -1 && limits.get(key) < used)
    };
    let (count, bytes) = (used.get("count"), used.get("bytes"));
    if above(["count", "countHardLimit"], count) {
        say!(
            out,
            "[Warning]: the count quota you create is less than the existing count:{count}"
        );
    }
    if above(["bytes", "byteHardLimit"], bytes) {
        say!(
            out,
            "[Warning]: the bytes quota you create is less than the existing bytes:{bytes}"
        );
    }
}

/// One quota may not lie within another.
fn refuse_beneath(nodes: &Nodes<'_>, path: &str) -> Result<(), Refusal> {
    let own = format!("{ROOT}{path}");
    let mut open = vec![own.clone()];
    while let Some(at) = open.pop() {
        let children = match nodes.children(&at, false) {
            Ok((children, _)) => children,
            Err(Code::NO_NODE) => continue,
            Err(code) => return Err(Refusal::of(code, &at)),
        };
        if at != own && children.iter().any(|child| child == LIMITS) {
            let child = &at[ROOT.len()..];
            return Err(Refusal::Said(format!(
                "{path} has a child {child} which has a quota"
            )));
        }
        open.extend(children.iter().map(|child| format!("{at}/{child}")));
    }
    Ok(())
}

fn refuse_above(nodes: &Nodes<'_>, path: &str) -> Result<(), Refusal> {
    let mut above = String::new();
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    for name in names.iter().take(names.len().saturating_sub(1)) {
        above = format!("{above}/{name}");
        let at = format!("{ROOT}{above}");
        match nodes.children(&at, false) {
            Ok((children, _)) if children.iter().any(|child| child == LIMITS) => {
                return Err(Refusal::Said(format!(
                    "{path} has a parent {above} which has a quota"
                )));
            }
            Ok(_) => {}
            Err(Code::NO_NODE) => return Ok(()),
            Err(code) => return Err(Refusal::of(code, &at)),
        }
    }
    Ok(())
}

/// `listquota path`
pub(crate) fn list(nodes: &Nodes<'_>, path: &str, out: &mut Out) -> Result<(), Refusal> {
    let limits_at = format!("{ROOT}{path}/{LIMITS}");
    crate::warn!("absolute path is {limits_at}");
    for (what, name) in [("quota", LIMITS), ("stat", STATS)] {
        let at = format!("{ROOT}{path}/{name}");
        check_path(&at)?;
        match nodes.data(&at) {
            Ok(data) => {
                let track = Track::read(&data.unwrap_or_default());
                say!(out, "Output {what} for {path} {}", track.text());
            }
            Err(Code::NO_NODE) => {
                crate::warn!("quota for {path} does not exist.");
                return Ok(());
            }
            Err(code) => return Err(Refusal::of(code, &at)),
        }
    }
    Ok(())
}

/// `delquota [-n|-b|-N|-B] path`
pub(crate) fn delete(
    nodes: &Nodes<'_>,
    line: &Line,
    path: &str,
    out: &mut Out,
) -> Result<(), Refusal> {
    let own = format!("{ROOT}{path}");
    let limits_at = format!("{own}/{LIMITS}");
    check_path(&limits_at)?;
    if nodes.exists(&limits_at)?.is_none() {
        say!(out, "Quota does not exist for {path}");
        return Ok(());
    }
    let given: Vec<&str> = line.given().collect();
    if !given.is_empty() {
        let mut limits = Track::read(&data(nodes, &limits_at)?);
        for (_, key) in KEYS.iter().filter(|(flag, _)| given.contains(flag)) {
            limits.0.insert((*key).to_owned(), -1);
        }
        nodes.set(&limits_at, limits.text().as_bytes(), -1)?;
        return Ok(());
    }
    let children = |at: &str| {
        nodes
            .children(at, false)
            .map_err(|code| Refusal::of(code, at))
    };
    for child in children(&own)?.0 {
        nodes.delete(&format!("{own}/{child}"), -1)?;
    }
    let mut at = own.as_str();
    while at != ROOT && children(at)?.0.is_empty() {
        nodes.delete(at, -1)?;
        at = at.rsplit_once('/').map_or(ROOT, |(above, _)| above);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_written_as_zookeeper_writes_them() {
        let text = "count=3,bytes=-1=;byteHardLimit=5;countHardLimit=-1";
        assert_eq!(Track::read(text.as_bytes()).text(), text);
        assert_eq!(Track::read(b"count=1,bytes=2").text(), "count=1,bytes=2");
        assert_eq!(Track::default().text(), "count=-1,bytes=-1");
    }
}
