//! `--list`: groups by name, state and type.

use protocol::kafka::apis::Api;
use protocol::messages::ListGroupsRequest;

use crate::args::Args;
use crate::body;
use crate::failure::Failure;
use crate::java::{self, CAPACITY};
use crate::kafka::admin::Admin;
use crate::print::Out;
use crate::say;

/// A group as brokers list it.
pub(super) struct Listed {
    pub(super) id: String,
    state: String,
    kind: String,
}

pub(super) async fn listed(admin: &mut Admin) -> Result<Vec<Listed>, Failure> {
    let mut made: Vec<Listed> = Vec::new();
    let ids: Vec<i32> = admin.nodes.keys().copied().collect();
    for id in ids {
        let request = ListGroupsRequest::default();
        let answer = body!(
            admin.node(id, Api::ListGroups, request.into()).await?,
            ListGroups
        );
        Failure::check(answer.error_code, None)?;
        for group in answer.groups {
            // Kafka: only groups of consumers, and those that never had a protocol.
            let kind = group.protocol_type.to_string();
            if kind == "consumer" || kind.is_empty() {
                let type_ = group.group_type.to_string();
                made.push(Listed {
                    id: group.group_id.0.to_string(),
                    state: group.group_state.to_string(),
                    kind: if type_.is_empty() {
                        "Unknown".to_string()
                    } else {
                        title(&type_)
                    },
                });
            }
        }
    }
    Ok(java::order(made, CAPACITY, |one| {
        java::string_hash(&one.id)
    }))
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

pub(super) async fn run(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let mut groups = listed(admin).await?;
    let (by_type, by_state) = (args.has("type"), args.has("state"));
    if !by_type && !by_state {
        for group in groups {
            say!(out, "{}", group.id);
        }
        return Ok(());
    }
    if let Some(states) = args.get("state").filter(|text| !text.is_empty()) {
        let states = known_states(args, states)?;
        groups.retain(|group| states.contains(&group.state));
    }
    if let Some(types) = args.get("type").filter(|text| !text.is_empty()) {
        let types: Vec<String> = types
            .split(',')
            .map(|one| title(&one.trim().to_lowercase()))
            .collect();
        if types
            .iter()
            .any(|one| !["Classic", "Consumer"].contains(&one.as_str()))
        {
            return Err(args.misuse(format!(
                "Invalid types list '{}'. Valid types are: Consumer, Classic",
                args.get("type").unwrap_or_default()
            )));
        }
        groups.retain(|group| types.contains(&group.kind));
    }
    let width = groups
        .iter()
        .map(|group| group.id.len().max(15))
        .max()
        .unwrap_or(15)
        + 10;
    let mut row = |group: &str, kind: &str, state: &str| {
        out.text(format_args!("{group:<width$}"));
        if by_type {
            out.text(format_args!(" {kind:<20}"));
        }
        if by_state {
            out.text(format_args!(" {state:<20}"));
        }
        say!(out);
    };
    row("GROUP", "TYPE", "STATE");
    for group in &groups {
        row(&group.id, &group.kind, &group.state);
    }
    Ok(())
}

fn known_states(args: &Args, list: &str) -> Result<Vec<String>, Failure> {
    const STATES: [&str; 8] = [
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
        "Empty",
        "Assigning",
        "Reconciling",
        "Unknown",
    ];
    let mut made = Vec::new();
    for word in list.split(',') {
        match STATES
            .iter()
            .find(|state| state.eq_ignore_ascii_case(word.trim()))
        {
            Some(state) if *state != "Unknown" => made.push(state.to_string()),
            _ => {
                return Err(args.misuse(format!(
                    "Invalid state list '{list}'. Valid states are: PreparingRebalance, CompletingRebalance, Stable, Dead, Empty, Assigning, Reconciling"
                )));
            }
        }
    }
    Ok(made)
}
