//! Kafka's commands in one program: `kafka topics …`, or by the name it is called by.
//!
//! Called as `kafka-topics` or `kafka-topics.sh` (a link) it is that tool; called as `kafka` its
//! first word says which. `kafka link DIR` makes the links.

mod failure;
mod print;
mod args;
mod properties;
mod java;
mod scram;
mod dump_log;
mod internal_topics;
mod moments;
mod filter;
mod progress;
mod interrupts;
mod asked;
mod zookeeper;
mod kafka;
mod topics;
mod configs;
mod console_producer;
mod console_consumer;
mod consumer_groups;
mod get_offsets;
mod delete_records;
mod leader_election;
mod cluster;
mod features;
mod perf;
mod verifiable;
mod zk_shell;
mod servers;
mod classes;
mod applets;
mod completions;

use std::path::Path;
use std::process::ExitCode;

use crate::applets::Applet;
use crate::args::VERSION;
use crate::failure::Failure;
use crate::print::Out;

fn main() -> ExitCode {
    // Java replaces what is no UTF-8 too.
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let called = Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("kafka");
    let mut line: Vec<String> = words.collect();
    let mut name = called.to_string();
    if applets::find(&name).is_none() && (name == "kafka" || name == "kafka.sh") {
        if line.is_empty() {
            print::complain(format_args!("{}", overview()));
            return ExitCode::from(1);
        }
        name = line.remove(0);
    }
    let mut out = Out::new();
    let done = run(&name, &line, &mut out);
    let code = end(done, &mut out);
    out.flush();
    match out.has_failed() {
        true => ExitCode::from(1),
        false => code,
    }
}

fn run(name: &str, line: &[String], out: &mut Out) -> Result<(), Failure> {
    match name {
        "--help" | "-h" | "help" => return Err(Failure::Help(overview())),
        "--version" | "version" => return Err(Failure::Help(VERSION.to_string())),
        "link" => return link(line, out),
        "completions" => return completions::run(line, out),
        _ => {}
    }
    let Some(applet) = applets::find(name) else {
        return Err(match applets::not_here(name) {
            Some(why) => Failure::said(format!("{name} is not there: {why}")),
            None => Failure::Absent(name.to_string()),
        });
    };
    let help = line
        .first()
        .is_some_and(|word| word == "--help" || word == "-h");
    if let Some(usage) = applets::usage(applet.name).filter(|_| help) {
        say!(out, "{}\n\nusage: {usage}", applet.help);
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|cause| Failure::File {
        act: "start",
        path: "runtime".to_string(),
        cause,
    })?;
    let done = runtime.block_on((applet.run)(line, out));
    runtime.shutdown_background();
    match done {
        Err(Failure::Help(text)) => Err(Failure::Help(with_examples(text, applet.name))),
        done => done,
    }
}

fn with_examples(mut text: String, name: &str) -> String {
    // What a tool says by itself without being asked stays as it is.
    let examples = applets::examples(name);
    if text.starts_with("usage:") || text.lines().count() < 2 || examples.is_empty() {
        return text;
    }
    text.push_str("\nExamples\n");
    for example in examples {
        text.push_str(&format!("  {example}\n"));
    }
    text
}

/// Says what went wrong, and gives the exit code.
fn end(done: Result<(), Failure>, out: &mut Out) -> ExitCode {
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    match &failure {
        Failure::Help(text) => {
            out.text(format_args!("{text}"));
            return ExitCode::SUCCESS;
        }
        Failure::Exit(code) => return ExitCode::from(u8::try_from(*code).unwrap_or(1)),
        Failure::Misuse { message, usage } => {
            out.flush();
            print::complain_in_red(message);
            warn!("{usage}");
        }
        other => {
            out.flush();
            print::complain_in_red(&other.to_string());
        }
    }
    ExitCode::from(1)
}

fn overview() -> String {
    let tools = applets::APPLETS
        .iter()
        .map(|applet| (applet.name, applet.help));
    let own = [
        ("link DIR", "make links by the tools' names in a folder"),
        (
            "completions SHELL",
            "what bash, zsh or fish offer after these names",
        ),
        ("version", "the Kafka it answers like, and its own"),
    ];
    let mut text = "kafka TOOL [FLAGS]   (every tool answers --help)\n\n".to_owned();
    for (name, help) in tools.chain(own) {
        text.push_str(&format!("  {name:<28} {help}\n"));
    }
    text
}

/// Links every tool's names, with and without `.sh`, to this program; those of Kafka's that are not here
/// too, so that whoever calls one hears why.
fn link(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let folder = line
        .first()
        .ok_or_else(|| Failure::said("kafka link DIR"))?;
    let failed = |cause| Failure::File {
        act: "link",
        path: folder.clone(),
        cause,
    };
    let program = std::env::current_exe().map_err(failed)?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let absent = applets::NOT_HERE.iter().map(|(name, _)| (*name).to_owned());
    for name in applets::APPLETS.iter().map(Applet::link).chain(absent) {
        for name in [format!("{name}.sh"), name] {
            let path = Path::new(folder).join(&name);
            match std::fs::remove_file(&path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(cause));
                }
                _ => {}
            }
            std::os::unix::fs::symlink(&program, &path).map_err(failed)?;
            say!(out, "{}", path.display());
        }
    }
    Ok(())
}
