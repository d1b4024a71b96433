//! `zkServer [--config DIR] start|start-foreground|stop|restart|status|version|print-cmd [zoo.cfg]`,
//! with the process id in the data directory, as ZooKeeper's own script keeps it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Clock;

use crate::failure::Failure;
use crate::print::Out;
use crate::properties::Properties;
use crate::servers::programs::{become_it, in_background, signal};
use crate::servers::ready::four_letters;
use crate::zk_shell::secured::Security;
use crate::{say, warn};

/// How long a start is watched before it counts as one. ZooKeeper: a second.
const WATCHED_MS: i64 = 1_000;
const ANSWERS: u32 = 5;
/// How long a stop may take until the file of settings is free for the next.
const STOP_MS: i64 = 10_000;

pub(crate) async fn zk_server(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let (folder, line) = match line {
        [flag, folder, rest @ ..] if flag == "--config" => (Some(folder.as_str()), rest),
        line => (None, line),
    };
    let Some(action) = line.first() else {
        return Err(usage());
    };
    if action == "version" {
        say!(out, "Apache ZooKeeper, version 3.9");
        return Ok(());
    }
    let path = settings_file(folder, line.get(1).map(String::as_str));
    let shown = path.display().to_string();
    match action.as_str() {
        "start" | "start-foreground" | "stop" | "restart" | "status" | "print-cmd" => {
            warn!("Using config: {shown}");
        }
        _ => return Err(usage()),
    }
    let kept = Kept::read(&path);
    match action.as_str() {
        "start" => start(&shown, &kept, out).await,
        "start-foreground" => Err(become_it("coordinator", &[shown])),
        "stop" => stop(&kept, out).await,
        "restart" => {
            stop(&kept, out).await?;
            start(&shown, &kept, out).await
        }
        "status" => status(&kept.settings, out),
        _ => {
            say!(out, "\"coordinator\" \"{shown}\"");
            Ok(())
        }
    }
}

fn usage() -> Failure {
    Failure::said(
        "Usage: zkServer [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}",
    )
}

/// ZooKeeper: a bare name lies in the folder of settings, anything longer is a path.
fn settings_file(folder: Option<&str>, given: Option<&str>) -> PathBuf {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let folder = folder.map(str::to_owned);
    let folder = folder
        .or_else(|| set("ZOOCFGDIR"))
        .or_else(|| set("ZOO_CONF_DIR"))
        .unwrap_or_default();
    let name = given.map(str::to_owned).or_else(|| set("ZOOCFG"));
    let name = name.unwrap_or_else(|| "zoo.cfg".to_owned());
    match name.contains('/') {
        true => name.into(),
        false => Path::new(&folder).join(name),
    }
}

/// What the script reads of the settings, and the note it leaves of who runs.
struct Kept {
    settings: Properties,
    note: PathBuf,
}

impl Kept {
    fn read(path: &Path) -> Kept {
        // A file that cannot be read the server will refuse with a sentence of its own.
        let settings = Properties::load(path.to_str()).unwrap_or_default();
        let note = std::env::var_os("ZOOPIDFILE").map_or_else(
            || Path::new(settings.get("dataDir").unwrap_or("")).join("zookeeper_server.pid"),
            PathBuf::from,
        );
        Kept { settings, note }
    }

    /// The noted process, while it lives.
    fn living(&self) -> Option<String> {
        let id = fs::read_to_string(&self.note).ok()?;
        let id = id.trim().to_owned();
        let number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let state = fs::read_to_string(Path::new("/proc").join(&id).join("stat")).ok()?;
        // Behind the name, which may hold anything. One that only waits to be buried lives no more.
        let dead = state
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'));
        (number && !dead).then_some(id)
    }
}

async fn start(path: &str, kept: &Kept, out: &mut Out) -> Result<(), Failure> {
    out.text(format_args!("Starting zookeeper ... "));
    out.flush();
    if let Some(id) = kept.living() {
        say!(out, "already running as process {id}.");
        return Err(Failure::Exit(1));
    }
    let mut child = in_background("coordinator", &[path.to_owned()], "zookeeper")?;
    if let Some(folder) = kept.note.parent() {
        // Where it cannot be made, the note below says why.
        let _told_below = fs::create_dir_all(folder);
    }
    let written = fs::write(&kept.note, child.id().to_string());
    let clock = Clock::system();
    let until = clock.monotonic_ms() + WATCHED_MS;
    // One answer may be that of another server on the port, which this one is about to find taken.
    let mut answers = 0;
    while clock.monotonic_ms() < until && answers < ANSWERS {
        if matches!(child.try_wait(), Ok(Some(_))) {
            say!(out, "FAILED TO START");
            return Err(Failure::Exit(1));
        }
        answers += u32::from(serves(&kept.settings));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    written.map_err(|cause| Failure::File {
        act: "write",
        path: kept.note.display().to_string(),
        cause,
    })?;
    say!(out, "STARTED");
    Ok(())
}

/// ZooKeeper: nothing to stop is no failure.
async fn stop(kept: &Kept, out: &mut Out) -> Result<(), Failure> {
    out.text(format_args!("Stopping zookeeper ... "));
    out.flush();
    if !kept.note.exists() {
        say!(
            out,
            "no zookeeper to stop (could not find file {})",
            kept.note.display()
        );
        return Ok(());
    }
    if let Some(id) = kept.living() {
        signal("TERM", std::slice::from_ref(&id))?;
        let clock = Clock::system();
        let until = clock.monotonic_ms() + STOP_MS;
        while kept.living().is_some() && clock.monotonic_ms() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if kept.living().is_some() {
            return Err(Failure::said(format!(
                "process {id} was told to stop and still runs after {} s",
                STOP_MS / 1_000
            )));
        }
    }
    // Whoever comes next writes his own.
    let _gone = fs::remove_file(&kept.note);
    say!(out, "STOPPED");
    Ok(())
}

/// Where the server is asked. As in ZooKeeper's script: on the secure port where there is no other.
struct Door<'a> {
    host: &'a str,
    port: &'a str,
    secure: bool,
}

impl<'a> Door<'a> {
    fn of(settings: &'a Properties) -> Self {
        let plain = settings.get("clientPort");
        let (port, secure) = match plain.or(settings.get("secureClientPort")) {
            Some(port) => (port, plain.is_none()),
            None => ("2181", false),
        };
        let key = match secure {
            true => "secureClientPortAddress",
            false => "clientPortAddress",
        };
        let host = settings.get(key).unwrap_or("localhost");
        Door { host, port, secure }
    }

    /// A line of the answer that says that it serves.
    fn mode(&self) -> Result<Option<String>, Failure> {
        let security = match self.secure {
            true => Security::read(&["CLIENT_JVMFLAGS", "JVMFLAGS"], None)?,
            false => Security::default(),
        };
        if self.secure && security.dialler.is_none() {
            return Err(Failure::said(
                "The secure port is asked by TLS: set CLIENT_JVMFLAGS to -Dzookeeper.client.secure=true \
                 -Dzookeeper.ssl.trustStore.location=FILE, and ssl.keyStore.location where the server wants to \
                 know its clients",
            ));
        }
        let address = format!("{}:{}", self.host, self.port);
        let answer = four_letters(&address, "srvr", security.dialler.as_ref());
        let answer = answer.unwrap_or_default();
        let mode = answer.lines().find(|line| line.starts_with("Mode: "));
        Ok(mode.map(str::to_owned))
    }
}

fn serves(settings: &Properties) -> bool {
    matches!(Door::of(settings).mode(), Ok(Some(_)))
}

fn status(settings: &Properties, out: &mut Out) -> Result<(), Failure> {
    let door = Door::of(settings);
    let Door { host, port, secure } = door;
    say!(
        out,
        "Client port found: {port}. Client address: {host}. Client SSL: {secure}."
    );
    match door.mode()? {
        Some(mode) => {
            say!(out, "{mode}");
            Ok(())
        }
        None => {
            say!(out, "Error contacting service. It is probably not running.");
            Err(Failure::Exit(1))
        }
    }
}
