//! What topics and configs commands ask for, read from their flags; the same whether they go to
//! brokers or to ZooKeeper.

use std::collections::{BTreeMap, HashSet};

use crate::args::Args;
use crate::failure::Failure;
use crate::print::Out;
use crate::properties::Properties;
use crate::say;

/// `1:2,2:3`: the replicas of each partition.
pub(crate) fn assignment(text: &str) -> Result<Vec<Vec<i32>>, Failure> {
    let mut made: Vec<Vec<i32>> = Vec::new();
    for (at, list) in text.split(',').enumerate() {
        let mut replicas = Vec::new();
        for id in list.split(':') {
            let wrong = || Failure::said(format!("For input string: \"{}\"", id.trim()));
            replicas.push(id.trim().parse::<i32>().map_err(|_| wrong())?);
        }
        let mut seen = HashSet::new();
        let twice: Vec<String> = replicas
            .iter()
            .filter(|id| !seen.insert(**id))
            .map(i32::to_string)
            .collect();
        if !twice.is_empty() {
            return Err(Failure::said(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                twice.join(",")
            )));
        }
        if made
            .first()
            .is_some_and(|first| first.len() != replicas.len())
        {
            return Err(Failure::said(format!(
                "Partition {at} has different replication factor: {replicas:?}"
            )));
        }
        made.push(replicas);
    }
    Ok(made)
}

/// Refuses servers without a port.
pub(crate) fn check_servers(args: &Args, list: &str) -> Result<(), Failure> {
    let with_port = |one: &str| {
        let (host, port) = one.trim().rsplit_once(':').unwrap_or_default();
        !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    match list.split(',').all(with_port) {
        true => Ok(()),
        false => Err(args.misuse("Please provide valid host:port like host1:9091,host2:9092\n ")),
    }
}

/// The overrides given by `--config`.
pub(crate) fn overrides(args: &Args) -> Result<BTreeMap<String, String>, Failure> {
    let mut made = BTreeMap::new();
    for pair in args.all("config") {
        match pair.split_once('=') {
            Some((key, value)) if !value.is_empty() && !value.contains('=') => {
                made.insert(key.trim().to_string(), value.trim().to_string());
            }
            _ => {
                return Err(Failure::said(
                    "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
                ));
            }
        }
    }
    Ok(made)
}

pub(crate) fn warn_of_collisions(name: &str, out: &mut Out) {
    if name.contains(['.', '_']) {
        say!(
            out,
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both."
        );
    }
}

/// An entity by type and name; the empty name is the default one.
pub(crate) struct Entities {
    pub(crate) types: Vec<String>,
    pub(crate) names: Vec<String>,
}

/// Reads which entities are meant, in the order of the command line.
pub(crate) fn entities(args: &Args) -> Result<Entities, Failure> {
    let mut made = Entities {
        types: Vec::new(),
        names: Vec::new(),
    };
    let short = [
        ("topic", "topics"),
        ("client", "clients"),
        ("user", "users"),
        ("broker", "brokers"),
        ("broker-logger", "broker-loggers"),
        ("ip", "ips"),
    ];
    let mut words = args.whole.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            continue;
        };
        let (flag, inline) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_string())),
            None => (flag, None),
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| words.next().cloned())
                .unwrap_or_default()
        };
        match flag {
            "entity-type" => made.types.push(value()),
            "entity-name" => made.names.push(value()),
            "entity-default" => made.names.push(String::new()),
            _ => {
                if let Some((_, kind)) = short.iter().find(|(name, _)| *name == flag) {
                    made.types.push(kind.to_string());
                    made.names.push(value());
                } else if let Some((_, kind)) = short
                    .iter()
                    .find(|(name, _)| flag.strip_suffix("-defaults") == Some(name))
                {
                    made.types.push(kind.to_string());
                    made.names.push(String::new());
                } else if [
                    "add-config",
                    "add-config-file",
                    "delete-config",
                    "bootstrap-server",
                    "zookeeper",
                    "command-config",
                ]
                .contains(&flag)
                {
                    value();
                }
            }
        }
    }
    Ok(made)
}

/// Splits `k1=v1,k2=[v1,v2]` at the commas outside brackets.
pub(crate) fn added(args: &Args) -> Result<BTreeMap<String, String>, Failure> {
    let mut made = Properties::load(args.get("add-config-file"))?.0;
    let Some(list) = args.get("add-config") else {
        return Ok(made);
    };
    let (mut pairs, mut depth) = (vec![String::new()], 0);
    for letter in list.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                pairs.push(String::new());
                continue;
            }
            _ => {}
        }
        pairs.last_mut().expect("it begins with one").push(letter);
    }
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::said(
                "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\".",
            ));
        };
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if !key.trim().chars().all(legal) {
            return Err(Failure::said(format!(
                "Invalid character found for config key: {}",
                key.trim()
            )));
        }
        made.insert(
            key.trim().to_string(),
            value.replace(['[', ']'], "").trim().to_string(),
        );
    }
    Ok(made)
}

pub(crate) fn deleted(args: &Args) -> Vec<String> {
    let lists = args
        .all("delete-config")
        .iter()
        .flat_map(|list| list.split(','));
    lists.map(|key| key.trim().to_string()).collect()
}
