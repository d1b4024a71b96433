//! `zookeeper-shell` and `zkCli`: one command, or a shell on a ZooKeeper.
//!
//! Answers go to stdout and errors to stderr as ZooKeeper 3.9's own shell prints them; the exit
//! code is that of the last command. As there, only `quit` and `close` end the session; otherwise
//! it runs out, and its ephemeral nodes with it. Absence: Kerberos.

mod options;
mod refusal;
mod watched;
pub(crate) mod secured;
pub(crate) mod line;
mod session;
mod nodes;
mod told;
mod quotas;
mod grammar;
mod commands;
mod completion;

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::print::Out;
use crate::say;
use crate::zk_shell::completion::Completion;
use crate::zk_shell::grammar::COMMANDS;
use crate::zk_shell::options::words;
use crate::zk_shell::refusal::Refusal;
use crate::zk_shell::secured::Security;
use crate::zk_shell::session::{Session, State, Target};

const UNKNOWN_COMMAND: i32 = 127;

/// `zookeeper-shell HOST:PORT[/chroot] [-zk-tls-config-file FILE] [command …]`
pub(crate) async fn shell(line: &[String], out: &mut Out) -> Result<(), Failure> {
    const TLS_FILE: &str = "-zk-tls-config-file";
    let Some((host, rest)) = line.split_first() else {
        return Err(Failure::said(
            "USAGE: zookeeper-shell.sh zookeeper_host:port[/path] [-zk-tls-config-file file] [args...]",
        ));
    };
    let mut words = vec!["-server".to_owned(), host.clone()];
    words.extend_from_slice(rest);
    let mut file = None;
    if let Some(at) = words.iter().position(|word| word == TLS_FILE) {
        let mut taken = words.drain(at..words.len().min(at + 2)).skip(1);
        file = Some(taken.next().ok_or_else(|| {
            Failure::said(format!(
                "Error: no filename provided with option {TLS_FILE}"
            ))
        })?);
    }
    begin(&words, &["KAFKA_OPTS"], file, out)
}

/// `zkCli [-server HOST:PORT] [-timeout MS] [-r] [-waitforconnection] [-client-configuration FILE]
/// [command …]`; the first word that is no option begins the command.
pub(crate) async fn cli(line: &[String], out: &mut Out) -> Result<(), Failure> {
    begin(line, &["CLIENT_JVMFLAGS", "JVMFLAGS"], None, out)
}

/// `variables`: where Apache's script has Java's `-D` words from. `file`: client properties.
fn begin(
    line: &[String],
    variables: &[&str],
    mut file: Option<String>,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut target = Target {
        text: "localhost:2181".to_owned(),
        timeout_ms: 30_000,
        read_only: false,
        waits: false,
        security: Security::default(),
    };
    let mut rest = line;
    let command = loop {
        rest = match rest {
            [flag] if ["-server", "-timeout", "-client-configuration"].contains(&flag.as_str()) => {
                return Err(Failure::said(format!(
                    "Error: no argument found for option {flag}"
                )));
            }
            [flag, value, rest @ ..] if flag == "-server" => {
                target.text.clone_from(value);
                rest
            }
            [flag, value, rest @ ..] if flag == "-timeout" => {
                target.timeout_ms = value.parse().map_err(|_| {
                    Failure::said(format!("-timeout {value}: not a number of milliseconds"))
                })?;
                rest
            }
            [flag, value, rest @ ..] if flag == "-client-configuration" => {
                file = Some(value.clone());
                rest
            }
            [flag, rest @ ..] if flag == "-waitforconnection" => {
                target.waits = true;
                rest
            }
            [flag, rest @ ..] if flag == "-r" => {
                target.read_only = true;
                rest
            }
            // ZooKeeper's shell passes over an option it does not know.
            [flag, rest @ ..] if flag.starts_with('-') => rest,
            command => break command,
        };
    };
    target.security = Security::read(variables, file.as_deref())?;
    serve(target, command, out)
}

fn serve(target: Target, command: &[String], out: &mut Out) -> Result<(), Failure> {
    say!(out, "Connecting to {}", target.text);
    let mut shell = Shell {
        print: Arc::new(AtomicBool::new(true)),
        session: None,
        target,
        history: Vec::new(),
        code: 0,
    };
    shell.connect(out)?;
    if command.is_empty() {
        say!(out, "Welcome to ZooKeeper!");
        let at_terminal = std::io::stdin().is_terminal();
        let editing = if at_terminal { "enabled" } else { "disabled" };
        say!(out, "JLine support is {editing}");
        out.flush();
        match at_terminal {
            true => shell.converse_at_terminal(out)?,
            false => shell.converse(out),
        }
    } else {
        shell.obey(command, out);
    }
    out.flush();
    match shell.code {
        0 => Ok(()),
        code => Err(Failure::Exit(code)),
    }
}

struct Shell {
    /// Whether what watches tell is printed.
    print: Arc<AtomicBool>,
    session: Option<Session>,
    target: Target,
    /// Every line so far; its place is its number.
    history: Vec<String>,
    code: i32,
}

impl Shell {
    fn connect(&mut self, out: &mut Out) -> Result<(), Failure> {
        if let Some(session) = &mut self.session {
            session.close();
        }
        out.flush();
        let opened = Session::open(&self.target, &self.print);
        let session = opened.map_err(|cause| Failure::said(format!("start a thread: {cause}")))?;
        if self.target.waits && !session.wait_connected() {
            if let Some(why) = session.unreached() {
                crate::warn!("{why}");
            }
            return Err(Failure::said("KeeperErrorCode = ConnectionLoss"));
        }
        self.session = Some(session);
        Ok(())
    }

    fn state(&self) -> State {
        self.session.as_ref().map_or(State::Closed, Session::state)
    }

    fn converse(&mut self, out: &mut Out) {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if self.quits(&line, out) {
                break;
            }
        }
    }

    fn converse_at_terminal(&mut self, out: &mut Out) -> Result<(), Failure> {
        let lost = |cause: rustyline::error::ReadlineError| {
            Failure::said(format!("open line editor: {cause}"))
        };
        let settings = rustyline::Config::builder()
            .completion_type(rustyline::CompletionType::List)
            .build();
        let mut editor = rustyline::Editor::with_config(settings).map_err(lost)?;
        editor.set_helper(Some(Completion::default()));
        loop {
            let (state, count) = (self.state().name(), self.history.len());
            let host = self
                .session
                .as_ref()
                .map_or(&*self.target.text, Session::text);
            let prompt = format!("[zk: {host}({state}) {count}] ");
            if let Some(completion) = editor.helper_mut() {
                completion.use_session(self.session.take());
            }
            let read = editor.readline(&prompt);
            if let Some(completion) = editor.helper_mut() {
                self.session = completion.give_back();
            }
            let Ok(line) = read else { return Ok(()) };
            // A history that cannot be kept is no reason to stop.
            let _kept = editor.add_history_entry(&line);
            if self.quits(&line, out) {
                return Ok(());
            }
        }
    }

    /// Obeys one line; whether it was the last.
    fn quits(&mut self, line: &str, out: &mut Out) -> bool {
        if line.is_empty() {
            return false;
        }
        let command = words(line);
        if command.first().is_some_and(|name| name == "quit") {
            if let Some(session) = &mut self.session {
                session.close();
            }
            return true;
        }
        self.history.push(line.to_owned());
        self.obey(&command, out);
        out.flush();
        false
    }

    fn obey(&mut self, command: &[String], out: &mut Out) {
        self.code = match self.run(command, out) {
            Ok(()) => 0,
            Err(refusal) => {
                out.flush();
                match refusal {
                    Refusal::Unknown(name) => {
                        crate::warn!("{}", help());
                        crate::warn!("Command not found: Command not found {name}");
                        UNKNOWN_COMMAND
                    }
                    Refusal::Said(text) => {
                        crate::warn!("{text}");
                        1
                    }
                }
            }
        };
    }

    fn run(&mut self, command: &[String], out: &mut Out) -> Result<(), Refusal> {
        let Some((name, rest)) = command.split_first() else {
            crate::warn!("{}", help());
            return Err(Refusal::said("No command entered"));
        };
        let known = COMMANDS.iter().find(|command| command.name == name);
        match (name.as_str(), known) {
            ("redo", _) if !rest.is_empty() => self.redo(&rest[0], out)?,
            // Apache's counts the command itself, which has no line of its own on a command line.
            ("history", _) if self.history.is_empty() => say!(out, "0 - null"),
            ("history", _) => {
                let count = self.history.len();
                let from = count.saturating_sub(11);
                for (number, line) in self.history.iter().enumerate().skip(from) {
                    say!(out, "{number} - {line}");
                }
            }
            ("printwatches", _) => match rest.first() {
                None => {
                    let on = self.print.load(Ordering::Relaxed);
                    say!(out, "printwatches is {}", if on { "on" } else { "off" });
                }
                Some(word) => self.print.store(word == "on", Ordering::Relaxed),
            },
            ("connect", _) => {
                if let Some(host) = rest.first() {
                    self.target.text.clone_from(host);
                }
                self.connect(out)
                    .map_err(|why| Refusal::Said(why.to_string()))?;
            }
            ("quit", _) => {
                if let Some(session) = &mut self.session {
                    session.close();
                }
                return Ok(());
            }
            ("redo", _) | (_, Some(_)) => {}
            _ => return Err(Refusal::Unknown(name.clone())),
        }
        if !self.state().is_alive() {
            say!(out, "Not connected");
            return Ok(());
        }
        match (known, &mut self.session) {
            (Some(command), Some(session)) => commands::obey(command, session, rest, out),
            _ => Ok(()),
        }
    }

    /// Does again what was done under a number; its own place in the history takes that line.
    fn redo(&mut self, number: &str, out: &mut Out) -> Result<(), Refusal> {
        let out_of_range = || Refusal::said("Command index out of range");
        let number: i64 = number.parse().map_err(|_| {
            Refusal::Said(format!(
                "java.lang.NumberFormatException: For input string: \"{number}\""
            ))
        })?;
        let own = self.history.len().saturating_sub(1);
        let number = usize::try_from(number).map_err(|_| out_of_range())?;
        if number >= own {
            return Err(out_of_range());
        }
        let line = self.history[number].clone();
        let command = words(&line);
        if command.first().is_some_and(|name| name == "redo") {
            return Err(Refusal::said("No redoing redos"));
        }
        self.history[own] = line;
        self.obey(&command, out);
        Ok(())
    }
}

/// Every command with what follows it, as `ZooKeeperMain` lists them.
fn help() -> String {
    const OWN: [(&str, &str); 5] = [
        ("connect", "host:port"),
        ("history", ""),
        ("printwatches", "on|off"),
        ("quit", ""),
        ("redo", "cmdno"),
    ];
    let theirs = COMMANDS.iter().map(|command| (command.name, command.form));
    let mut all: Vec<(&str, &str)> = OWN.into_iter().chain(theirs).collect();
    all.sort_unstable();
    let mut text =
        "ZooKeeper -server host:port -client-configuration properties-file cmd args".to_owned();
    for (name, form) in all {
        text.push_str(&format!("\n\t{name} {form}"));
    }
    text
}

/// Names of all commands.
fn names() -> impl Iterator<Item = &'static str> {
    let own = ["connect", "history", "printwatches", "quit", "redo"];
    COMMANDS.iter().map(|command| command.name).chain(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_commands_in_javas_order() {
        let text = help();
        let names: Vec<&str> = text.lines().skip(1).take(3).collect();
        assert!(names[0].starts_with("\taddWatch [-m mode]"), "{text}");
        assert_eq!(names[1..], ["\taddauth scheme auth", "\tclose "]);
        assert_eq!(text.lines().count(), 1 + COMMANDS.len() + 5);
    }
}
