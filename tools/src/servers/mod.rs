//! Starting and stopping the programs, and asking whether they are up: `kafka-server-start`,
//! `-stop`, `zookeeper-server-start`, `-stop`, `zkServer`, `kafka-storage`, `cub`.

mod misuse;
mod programs;
mod ready;
mod zk_server;

use protocol::ids::TopicId;

use crate::args::VERSION;
use crate::failure::Failure;
use crate::print::Out;
use crate::say;
use crate::servers::programs::{
    Running, become_it, in_background, own_in_background, running, signal,
};

pub(crate) use crate::servers::ready::cub;
pub(crate) use crate::servers::zk_server::zk_server;

/// `kafka-server-start [-daemon] config [--override key=value]*`
pub(crate) async fn server_start(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    start(
        ["broker", "kafkaServer"],
        "USAGE: kafka-server-start.sh [-daemon] server.properties [--override property=value]*",
        line,
        misuse::of_broker,
    )
}

/// `zookeeper-server-start [-daemon] config`
pub(crate) async fn zookeeper_start(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    start(
        ["coordinator", "zookeeper"],
        "USAGE: zookeeper-server-start.sh [-daemon] zookeeper.properties",
        line,
        misuse::of_coordinator,
    )
}

/// Kafka: with `-daemon` what it says goes to a file of the script's name for it.
fn start(
    [program, said_to]: [&str; 2],
    usage: &'static str,
    line: &[String],
    misuse: fn(&[String]) -> Option<String>,
) -> Result<(), Failure> {
    let daemon = line.first().is_some_and(|word| word == "-daemon");
    if line.iter().any(|word| word == "--version") {
        return Err(Failure::Help(VERSION.to_owned()));
    }
    let rest = if daemon { &line[1..] } else { line };
    if rest.is_empty() {
        return Err(Failure::said(usage));
    }
    if let Some(why) = misuse(rest) {
        return Err(Failure::said(format!("{why}\n{usage}")));
    }
    if !daemon {
        return Err(become_it(program, rest));
    }
    in_background(program, rest, said_to).map(drop)
}

/// A tool of this program on its own, with what it says in `<logs>/<said_to>.out`.
pub(crate) fn tool_in_background(
    tool: &str,
    line: &[String],
    said_to: &str,
) -> Result<(), Failure> {
    let mut words = vec![tool.to_owned()];
    words.extend_from_slice(line);
    own_in_background(&words, said_to).map(drop)
}

/// `kafka-server-stop [--node-id=ID] [--process-role=ROLE]`
pub(crate) async fn server_stop(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let given = |flag: &str| line.iter().find_map(|word| word.strip_prefix(flag));
    let (id, role) = (given("--node-id="), given("--process-role="));
    if id.is_some() && role.is_some() {
        say!(
            out,
            "When both node-id and process-role are provided, the value for node-id will take precedence"
        );
    }
    let mut found = running("broker");
    match (id, role) {
        (Some(id), _) => found.retain(|one| has_id(one, id)),
        // There are no controllers of their own here.
        (None, Some(role)) => found.retain(|_| role == "broker"),
        (None, None) => {}
    }
    stop(&found, "No kafka server to stop", out)
}

/// Whether a broker was started with this id, by its file or by its command line.
fn has_id(broker: &Running, id: &str) -> bool {
    let settings = broker.settings();
    let own = ["broker.id", "node.id"].map(|key| settings.get(key));
    own.into_iter().flatten().any(|own| own.trim() == id)
}

pub(crate) async fn zookeeper_stop(_line: &[String], out: &mut Out) -> Result<(), Failure> {
    stop(&running("coordinator"), "No zookeeper server to stop", out)
}

/// Kafka: SIGNAL names another signal than TERM.
fn stop(found: &[Running], nothing: &str, out: &mut Out) -> Result<(), Failure> {
    if found.is_empty() {
        say!(out, "{nothing}");
        return Err(Failure::Exit(1));
    }
    let ids: Vec<String> = found.iter().map(|one| one.id.to_string()).collect();
    let name = std::env::var("SIGNAL").unwrap_or_default();
    signal(if name.is_empty() { "TERM" } else { &name }, &ids)
}

/// `kafka-storage random-uuid`; the rest belongs to clusters without ZooKeeper.
pub(crate) async fn storage(line: &[String], out: &mut Out) -> Result<(), Failure> {
    match line.first().map(String::as_str) {
        Some("random-uuid") if line.len() > 1 => Err(Failure::said(format!(
            "usage: kafka-storage random-uuid [-h]\nkafka-storage: error: unrecognized arguments: '{}'",
            line[1]
        ))),
        Some("random-uuid") => {
            say!(out, "{}", TopicId::random());
            Ok(())
        }
        Some(other) => Err(Failure::said(format!(
            "kafka-storage {other} prepares the folders of a cluster without ZooKeeper. This one is in ZooKeeper mode: a broker prepares its folders itself when it starts."
        ))),
        None => Err(Failure::said(
            "usage: kafka-storage [-h] {info,format,version-mapping,feature-dependencies,random-uuid} ...",
        )),
    }
}
