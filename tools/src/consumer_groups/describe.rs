//! `--describe`: offsets and lag, members, state.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::{DescribeGroupsRequest, GroupId, ResponseKind};

use crate::args::Args;
use crate::consumer_groups::{assigned, chosen};
use crate::failure::Failure;
use crate::java::{self, CAPACITY};
use crate::kafka::admin::{Admin, text};
use crate::kafka::offsets::{self, LATEST, Place, committed};
use crate::print::Out;
use crate::{body, say, warn};

pub(super) async fn run(args: &Args, admin: &mut Admin, out: &mut Out) -> Result<(), Failure> {
    let mut described = BTreeMap::new();
    for group in chosen(args, admin).await? {
        let one = describe(admin, &group).await?;
        described.insert(group, one);
    }
    for (group, one) in &described {
        if args.has("members") {
            members(out, group, one, args.has("verbose"));
        } else if args.has("state") {
            state(admin, out, group, one).await?;
        } else {
            lag(admin, out, group, one).await?;
        }
    }
    Ok(())
}

pub(super) async fn describe(admin: &mut Admin, group: &str) -> Result<DescribedGroup, Failure> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let codes = |answer: &ResponseKind| match answer {
        ResponseKind::DescribeGroups(body) => {
            body.groups.iter().map(|one| one.error_code).collect()
        }
        _ => Vec::new(),
    };
    let answer = admin
        .ask_coordinator(group, Api::DescribeGroups, request.into(), codes)
        .await?;
    let mut groups = body!(answer, DescribeGroups).groups;
    let Some(one) = groups.pop() else {
        return Err(Failure::said(format!("group {group} was not described")));
    };
    Failure::check(one.error_code, None)?;
    Ok(one)
}

/// Says what state forbids a table; whether there is one to print.
fn may_print(out: &mut Out, group: &str, state: &str, rows: usize) -> bool {
    match state {
        "Dead" => say!(out, "\nError: Consumer group '{group}' does not exist."),
        "Empty" => {
            out.flush();
            warn!("\nConsumer group '{group}' has no active members.");
        }
        "PreparingRebalance" | "CompletingRebalance" => {
            out.flush();
            warn!("\nWarning: Consumer group '{group}' is rebalancing.");
        }
        _ => {}
    }
    state != "Dead" && rows > 0
}

struct Row {
    place: Place,
    member: [String; 3],
}

const MISSING: &str = "-";

async fn lag(
    admin: &mut Admin,
    out: &mut Out,
    group: &str,
    one: &DescribedGroup,
) -> Result<(), Failure> {
    let committed = committed(admin, group).await?;
    let mut rows: Vec<Row> = Vec::new();
    let mut members: Vec<_> = one
        .members
        .iter()
        .map(|m| (m, assigned(&m.member_assignment)))
        .collect();
    members.retain(|(_, places)| !places.is_empty());
    members.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    for (member, places) in &members {
        let words = [
            member.member_id.to_string(),
            member.client_host.to_string(),
            member.client_id.to_string(),
        ];
        rows.extend(in_order(places.clone()).into_iter().map(|place| Row {
            place,
            member: words.clone(),
        }));
    }
    let free: Vec<Place> = committed
        .keys()
        .filter(|place| !members.iter().any(|(_, places)| places.contains(place)))
        .cloned()
        .collect();
    let nobody = [MISSING, MISSING, MISSING].map(str::to_string);
    rows.extend(in_order(free).into_iter().map(|place| Row {
        place,
        member: nobody.clone(),
    }));
    if !may_print(out, group, &one.group_state, rows.len()) {
        return Ok(());
    }
    let wanted: Vec<(Place, i64)> = rows.iter().map(|row| (row.place.clone(), LATEST)).collect();
    let ends = offsets::list(admin, &wanted, false).await?;
    let width = |least: usize, text: &dyn Fn(&Row) -> usize| {
        rows.iter().map(text).max().unwrap_or(0).max(least)
    };
    let group_width = group.len().max(15);
    let topic_width = width(15, &|row| row.place.0.len());
    let member_width = width(15, &|row| row.member[0].len());
    let host_width = width(15, &|row| row.member[1].len());
    let mut print = |cells: [&str; 9]| {
        let [
            group,
            topic,
            partition,
            current,
            end,
            lag,
            member,
            host,
            client,
        ] = cells;
        out.text(format_args!(
            "\n{group:<group_width$} {topic:<topic_width$} {partition:<10} {current:<15} {end:<15} {lag:<15} {member:<member_width$} {host:<host_width$} {client}"
        ));
    };
    print([
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    for row in &rows {
        let current = committed.get(&row.place).map(|one| one.offset);
        let end = ends
            .get(&row.place)
            .and_then(|found| found.ok())
            .map(|found| found.offset);
        let lag = current.zip(end).map(|(current, end)| end - current);
        let show =
            |number: Option<i64>| number.map_or(MISSING.to_string(), |number| number.to_string());
        let [member, host, client] = &row.member;
        print([
            group,
            &row.place.0,
            &row.place.1.to_string(),
            &show(current),
            &show(end),
            &show(lag),
            member,
            host,
            client,
        ]);
    }
    // Kafka: 3.9 ends this table without a line's end.
    Ok(())
}

/// Kafka: sorted by partition first, then poured into a hash map.
fn in_order(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by_key(|place| place.1);
    java::order(places, CAPACITY, |place| {
        java::partition_hash(&place.0, place.1)
    })
}

fn members(out: &mut Out, group: &str, one: &DescribedGroup, verbose: bool) {
    let rows: Vec<[String; 4]> = one
        .members
        .iter()
        .map(|member| {
            let instance = member
                .group_instance_id
                .as_ref()
                .map_or(String::new(), |id| id.to_string());
            [
                member.member_id.to_string(),
                instance,
                member.client_host.to_string(),
                member.client_id.to_string(),
            ]
        })
        .collect();
    let printable = may_print(out, group, &one.group_state, rows.len());
    let instances = printable && rows.iter().any(|row| !row[1].is_empty());
    let width = |at: usize, least: usize| match printable {
        true => rows
            .iter()
            .map(|row| row[at].len())
            .max()
            .unwrap_or(0)
            .max(least),
        false => least,
    };
    let group_width = if printable { group.len().max(15) } else { 15 };
    let (member_width, instance_width) = (width(0, 15), width(1, 17));
    let (host_width, client_width) = (width(2, 15), width(3, 15));
    let print = |out: &mut Out, cells: [&str; 6]| {
        let [group, member, instance, host, client, count] = cells;
        out.text(format_args!(
            "{group:<group_width$} {member:<member_width$} "
        ));
        if instances {
            out.text(format_args!("{instance:<instance_width$} "));
        }
        out.text(format_args!(
            "{host:<host_width$} {client:<client_width$} {count:<15} "
        ));
    };
    say!(out);
    print(
        out,
        [
            "GROUP",
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "#PARTITIONS",
        ],
    );
    say!(out, "{}", if verbose { "ASSIGNMENT" } else { "" });
    for (member, row) in one.members.iter().zip(&rows) {
        let places = assigned(&member.member_assignment);
        print(
            out,
            [
                group,
                &row[0],
                &row[1],
                &row[2],
                &row[3],
                &places.len().to_string(),
            ],
        );
        say!(
            out,
            "{}",
            if verbose {
                grouped(&places)
            } else {
                String::new()
            }
        );
    }
}

/// Kafka 3.9 shows partition numbers by topic without the topics' names.
fn grouped(places: &[Place]) -> String {
    if places.is_empty() {
        return MISSING.to_string();
    }
    let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic
            .entry(topic)
            .or_default()
            .push(partition.to_string());
    }
    let mut lists: Vec<String> = by_topic
        .into_values()
        .map(|mut ids| {
            ids.sort();
            format!("({})", ids.join(","))
        })
        .collect();
    lists.sort();
    lists.join(", ")
}

async fn state(
    admin: &mut Admin,
    out: &mut Out,
    group: &str,
    one: &DescribedGroup,
) -> Result<(), Failure> {
    if !may_print(out, group, &one.group_state, 1) {
        return Ok(());
    }
    let id = admin.coordinator(group).await?;
    let address = admin
        .nodes
        .get(&id)
        .map(|node| format!("{}:{}", node.host, node.port));
    let coordinator = format!("{}  ({id})", address.unwrap_or_default());
    let width = coordinator.len().max(25);
    let mut print = |cells: [&str; 5]| {
        let [group, coordinator, strategy, state, count] = cells;
        out.text(format_args!(
            "\n{group:<width$} {coordinator:<25} {strategy:<20} {state:<15} {count}"
        ));
    };
    print([
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "#MEMBERS",
    ]);
    print([
        group,
        &coordinator,
        &one.protocol_data,
        &one.group_state,
        &one.members.len().to_string(),
    ]);
    say!(out);
    Ok(())
}
