//! The list of tools: name, one line of help, function.

use std::future::Future;
use std::pin::Pin;

use crate::failure::Failure;
use crate::print::Out;
use crate::{cluster, configs, console_consumer, console_producer, consumer_groups, delete_records, dump_log, get_offsets, leader_election, topics};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// One tool.
pub struct Applet {
    /// The name without `kafka-`.
    pub name: &'static str,
    pub help: &'static str,
    pub run: for<'a> fn(&'a [String], &'a mut Out) -> Running<'a>,
}

macro_rules! applet {
    ($name:literal, $help:literal, $run:path) => {
        Applet { name: $name, help: $help, run: |line, out| Box::pin($run(line, out)) }
    };
}

pub static APPLETS: &[Applet] = &[
    applet!("topics", "list, create, describe, alter and delete topics", topics::run),
    applet!("console-producer", "standard input to a topic", console_producer::run),
    applet!("console-consumer", "topics to standard output", console_consumer::run),
    applet!("configs", "describe and alter settings", configs::run),
    applet!("consumer-groups", "list, describe, reset and delete groups", consumer_groups::run),
    applet!("get-offsets", "first, last and other offsets of partitions", get_offsets::run),
    applet!("delete-records", "delete records up to an offset", delete_records::run),
    applet!("leader-election", "elect preferred or unclean leaders", leader_election::run),
    applet!("log-dirs", "log directories and what lies in them", cluster::log_dirs),
    applet!("broker-api-versions", "which versions each broker speaks", cluster::api_versions),
    applet!("cluster", "the cluster's id", cluster::cluster),
    applet!("dump-log", "what the files of a log directory hold", dump_log::run),
    applet!("features", "feature levels of the cluster", cluster::features),
];

/// The tool of a name, with or without `kafka-` before and `.sh` behind.
pub fn find(name: &str) -> Option<&'static Applet> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let bare = name.strip_prefix("kafka-").unwrap_or(name);
    APPLETS.iter().find(|applet| applet.name == bare || applet.name == name)
}
