//! `kafka-features`: what the cluster's feature levels are, and asking for others.
//!
//! Kafka: a cluster with ZooKeeper has no features of its own, so every change is refused by the
//! controller; the tool carries its words.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::{ResponseKind, UpdateFeaturesRequest};

use crate::args::{Args, Usage, repeated, switch, valued};
use crate::failure::Failure;
use crate::kafka::admin::{Admin, text};
use crate::print::Out;
use crate::properties::Properties;
use crate::{body, say};

pub(crate) const USAGE: Usage = Usage {
    about: "This tool manages feature flags in Kafka: kafka-features --bootstrap-server HOST:PORT describe|upgrade|downgrade|disable",
    flags: &[
        valued("bootstrap-server", "server", "The server to connect to."),
        valued("command-config", "file", "Properties for the client."),
        valued(
            "metadata",
            "release",
            "With upgrade and downgrade: the release whose metadata.version is meant, like 3.9.",
        ),
        repeated(
            "feature",
            "feature=level",
            "The feature and its level; with disable the feature alone.",
        ),
        switch("unsafe", "Even if metadata is lost by it."),
        switch("dry-run", "Ask whether it could be done, and do nothing."),
    ],
};

const METADATA: &str = "metadata.version";

/// The releases that have a metadata.version, with its level; the first spelling is the full one.
const RELEASES: [(&str, i16); 21] = [
    ("3.0-IV1", 1),
    ("3.1-IV0", 2),
    ("3.2-IV0", 3),
    ("3.3-IV0", 4),
    ("3.3-IV1", 5),
    ("3.3-IV2", 6),
    ("3.3-IV3", 7),
    ("3.4-IV0", 8),
    ("3.5-IV0", 9),
    ("3.5-IV1", 10),
    ("3.5-IV2", 11),
    ("3.6-IV0", 12),
    ("3.6-IV1", 13),
    ("3.6-IV2", 14),
    ("3.7-IV0", 15),
    ("3.7-IV1", 16),
    ("3.7-IV2", 17),
    ("3.7-IV3", 18),
    ("3.7-IV4", 19),
    ("3.8-IV0", 20),
    ("3.9-IV0", 21),
];

pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let args = Args::read_last(USAGE, line)?;
    let servers = args.required("bootstrap-server")?;
    let properties = Properties::load(args.get("command-config"))?;
    let Some(act) = args.rest.first().map(String::as_str) else {
        return Err(
            args.misuse("usage: kafka-features [-h] {describe,upgrade,downgrade,disable} ...")
        );
    };
    let allowed: &[&str] = match act {
        "upgrade" => &["metadata", "feature", "dry-run"],
        "downgrade" => &["metadata", "feature", "dry-run", "unsafe"],
        "disable" => &["feature", "dry-run", "unsafe"],
        "describe" => &[],
        _ => return Err(args.misuse(format!("invalid choice: '{act}'"))),
    };
    for flag in ["metadata", "feature", "dry-run", "unsafe"] {
        if args.has(flag) && !allowed.contains(&flag) {
            return Err(args.misuse(format!("unrecognized arguments: '--{flag}'")));
        }
    }
    let mut admin = Admin::connect(servers, &properties).await?;
    match act {
        "describe" => describe(&mut admin, servers, out).await,
        _ => update(&args, act, &mut admin, out).await,
    }
}

async fn describe(admin: &mut Admin, servers: &str, out: &mut Out) -> Result<(), Failure> {
    let address = match admin.nodes.values().next() {
        Some(node) => node.address(),
        None => servers.to_string(),
    };
    let answer = &admin.pool.connection(&address).await?.versions().answer;
    let epoch = match answer.finalized_features_epoch {
        ..0 => "-".to_string(),
        epoch => epoch.to_string(),
    };
    let mut rows: BTreeMap<String, (i16, i16, i16)> = BTreeMap::new();
    for one in &answer.supported_features {
        rows.insert(one.name.to_string(), (one.min_version, one.max_version, 0));
    }
    for one in &answer.finalized_features {
        rows.entry(one.name.to_string()).or_default().2 = one.max_version_level;
    }
    for (name, (low, high, level)) in rows {
        let shown = |level: i16| shown(&name, level);
        say!(
            out,
            "Feature: {name}\tSupportedMinVersion: {}\tSupportedMaxVersion: {}\tFinalizedVersionLevel: {}\tEpoch: {epoch}",
            shown(low),
            shown(high),
            shown(level)
        );
    }
    Ok(())
}

/// Kafka: the level of metadata.version is told by its release.
fn shown(name: &str, level: i16) -> String {
    if name != METADATA {
        return level.to_string();
    }
    let release = RELEASES.iter().find(|(_, known)| *known == level);
    release.map_or(format!("UNKNOWN {level}"), |(release, _)| {
        release.to_string()
    })
}

/// The level of a release: `3.9-IV0`, or `3.9` and `3.9.2` for the last of its line.
fn level_of(release: &str) -> Option<i16> {
    let line: Vec<&str> = release.splitn(3, '.').take(2).collect();
    let line = line.join(".");
    let exact = RELEASES.iter().find(|(name, _)| *name == line);
    let last = || {
        let of = |name: &str| name.split_once('-').is_some_and(|(short, _)| short == line);
        RELEASES.iter().rev().find(|(name, _)| of(name))
    };
    exact.or_else(last).map(|(_, level)| *level)
}

/// What is asked for, by feature.
fn wanted(args: &Args, act: &str) -> Result<BTreeMap<String, i16>, Failure> {
    let mut made = BTreeMap::new();
    if let Some(release) = args.get("metadata") {
        let level = level_of(release).ok_or_else(|| {
            let known: Vec<&str> = RELEASES.iter().map(|(name, _)| *name).collect();
            Failure::said(format!(
                "Unsupported metadata.version {release}. Supported metadata.version are {}",
                known.join(", ")
            ))
        })?;
        made.insert(METADATA.to_owned(), level);
    }
    for pair in args.all("feature") {
        let (name, level) = match act {
            "disable" => (pair.as_str(), 0),
            _ => {
                let wrong = |why: &str| {
                    Failure::said(format!("Can't parse feature=level string {pair}: {why}."))
                };
                let (name, level) = pair
                    .split_once('=')
                    .ok_or_else(|| wrong("equals sign not found"))?;
                let level = level.trim();
                let number = level
                    .parse()
                    .map_err(|_| wrong(&format!("unable to parse {level} as a short")))?;
                (name.trim(), number)
            }
        };
        if made.insert(name.to_owned(), level).is_some() {
            return Err(Failure::said(format!(
                "Feature {name} was specified more than once."
            )));
        }
    }
    match made.is_empty() {
        true => Err(Failure::said(format!(
            "You must specify at least one feature to {act}"
        ))),
        false => Ok(made),
    }
}

async fn update(args: &Args, act: &str, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let wanted = wanted(args, act)?;
    let dry = args.has("dry-run");
    let kind = match (act, args.has("unsafe")) {
        ("upgrade", _) => 1,
        (_, false) => 2,
        (_, true) => 3,
    };
    let updates = wanted.iter().map(|(name, level)| {
        FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(*level)
            .with_upgrade_type(kind)
    });
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(60_000)
        .with_validate_only(dry)
        .with_feature_updates(updates.collect());
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::UpdateFeatures(body) => vec![body.error_code],
        _ => Vec::new(),
    };
    let answer = admin
        .controller(Api::UpdateFeatures, request.into(), codes)
        .await?;
    let answer = body!(answer, UpdateFeatures);
    let mut failed = 0;
    for (name, level) in &wanted {
        let one = answer.results.iter().find(|one| *one.feature == **name);
        let (code, message) = match ErrorCode::of(answer.error_code) {
            ErrorCode::None => one.map_or((0, None), |one| {
                (one.error_code, one.error_message.as_deref())
            }),
            _ => (answer.error_code, answer.error_message.as_deref()),
        };
        let disable = act == "disable";
        match Failure::check(code, message) {
            Err(failure) => {
                failed += 1;
                let could = if dry { "Can not" } else { "Could not" };
                match disable {
                    true => say!(out, "{could} disable {name}. {failure}"),
                    false => say!(out, "{could} {act} {name} to {level}. {failure}"),
                }
            }
            Ok(()) => {
                let verb = if dry { "can be" } else { "was" };
                match disable {
                    true => say!(out, "{name} {verb} disabled."),
                    false => say!(out, "{name} {verb} {act}d to {level}."),
                }
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::said(format!(
            "{failed} out of {} operation(s) failed.",
            wanted.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_stand_for_levels() {
        assert_eq!(level_of("3.9"), Some(21));
        assert_eq!(level_of("3.9.2"), Some(21));
        assert_eq!(level_of("3.3-IV1"), Some(5));
        assert_eq!(level_of("3.7"), Some(19));
        assert_eq!(level_of("2.8"), None);
        assert_eq!(shown(METADATA, 7), "3.3-IV3");
        assert_eq!(shown("other", 7), "7");
    }
}
