//! `zookeeper-shell` and `zkCli`: one command, or a shell on a ZooKeeper.
//!
//! Answers go to stdout and errors to stderr as ZooKeeper 3.9's own shell prints them; the exit
//! code is that of the last command. Quotas, reconfiguration and watches that stay are not there.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error as ZkError, Permission, Stat};

use crate::failure::Failure;
use crate::moments;
use crate::print::Out;
use crate::say;

const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const UNKNOWN_COMMAND: i32 = 127;

/// `zookeeper-shell HOST:PORT[/chroot] [command …]`
pub(crate) async fn shell(line: &[String], out: &mut Out) -> Result<(), Failure> {
    match line.split_first() {
        Some((host, rest)) => {
            let mut line = vec!["-server".to_owned(), host.clone()];
            line.extend_from_slice(rest);
            cli(&line, out).await
        }
        None => Err(Failure::said(
            "USAGE: zookeeper-shell.sh zookeeper_host:port[/path] [-zk-tls-config-file file] [args...]",
        )),
    }
}

/// `zkCli [-server HOST:PORT] [-timeout MS] [-waitforconnection] [command …]`; the first word that is
/// no option begins the command. A session is always waited for, and how long is not asked.
pub(crate) async fn cli(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let (mut host, mut rest) = ("localhost:2181", line);
    loop {
        rest = match rest {
            [flag, value, rest @ ..] if flag == "-server" => {
                host = value;
                rest
            }
            [flag, _, rest @ ..] if flag == "-timeout" => rest,
            [flag, rest @ ..] if flag == "-waitforconnection" || flag == "-r" => rest,
            [flag, ..] if flag.starts_with('-') => {
                return Err(Failure::Absent(format!("the option {flag} of zkCli")));
            }
            command => return serve(host, command, out).await,
        };
    }
}

async fn serve(host: &str, command: &[String], out: &mut Out) -> Result<(), Failure> {
    say!(out, "Connecting to {host}");
    out.flush();
    let connecting = tokio::time::timeout(CONNECT_WITHIN, Client::connect(host));
    let client = match connecting.await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(Failure::said(format!("cannot reach {host} ({error})"))),
        Err(_) => {
            return Err(Failure::said(format!(
                "cannot reach {host} (no answer within 30 s)"
            )));
        }
    };
    let mut shell = Shell {
        client: Some(client),
        host: host.to_string(),
        code: 0,
    };
    if command.is_empty() {
        say!(out, "Welcome to ZooKeeper!");
        say!(
            out,
            "JLine support is {}",
            if std::io::stdin().is_terminal() {
                "enabled"
            } else {
                "disabled"
            }
        );
        connected(out);
        shell.converse(out).await?;
    } else {
        connected(out);
        shell.obey(command, out).await;
    }
    out.flush();
    match shell.code {
        0 => Ok(()),
        code => Err(Failure::Exit(code)),
    }
}

fn connected(out: &mut Out) {
    say!(
        out,
        "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null"
    );
    out.flush();
}

struct Shell {
    client: Option<Client>,
    host: String,
    code: i32,
}

/// What a command says when it fails, and with which code.
enum Refusal {
    Unknown(String),
    Usage(&'static str),
    Said(String),
    Absent(String),
}

impl Shell {
    async fn converse(&mut self, out: &mut Out) -> Result<(), Failure> {
        if std::io::stdin().is_terminal() {
            return self.converse_at_terminal(out).await;
        }
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if self.quits(&words(&line), out).await {
                break;
            }
        }
        Ok(())
    }

    async fn converse_at_terminal(&mut self, out: &mut Out) -> Result<(), Failure> {
        let lost = |cause: rustyline::error::ReadlineError| {
            Failure::said(format!("open line editor: {cause}"))
        };
        let mut editor = rustyline::DefaultEditor::new().map_err(lost)?;
        let mut count = 0;
        loop {
            let state = if self.client.is_some() {
                "CONNECTED"
            } else {
                "CLOSED"
            };
            let prompt = format!("[zk: {}({state}) {count}] ", self.host);
            let Ok(line) = editor.readline(&prompt) else {
                return Ok(());
            };
            count += 1;
            editor.add_history_entry(&line).ok();
            if self.quits(&words(&line), out).await {
                return Ok(());
            }
        }
    }

    /// Obeys one line; whether it was the last.
    async fn quits(&mut self, command: &[String], out: &mut Out) -> bool {
        match command.first().map(String::as_str) {
            None => false,
            Some("quit") => {
                self.client = None;
                say!(
                    out,
                    "\nWATCHER::\n\nWatchedEvent state:Closed type:None path:null"
                );
                true
            }
            Some(_) => {
                self.obey(command, out).await;
                out.flush();
                false
            }
        }
    }

    async fn obey(&mut self, command: &[String], out: &mut Out) {
        self.code = match self.run(command, out).await {
            Ok(()) => 0,
            Err(refusal) => {
                out.flush();
                match refusal {
                    Refusal::Unknown(name) => {
                        eprintln!("{HELP}\nCommand not found: Command not found {name}");
                        UNKNOWN_COMMAND
                    }
                    Refusal::Usage(text) => {
                        eprintln!("{text}");
                        1
                    }
                    Refusal::Said(text) => {
                        eprintln!("{text}");
                        1
                    }
                    Refusal::Absent(name) => {
                        eprintln!("{name} is not there yet");
                        1
                    }
                }
            }
        };
    }

    async fn run(&mut self, command: &[String], out: &mut Out) -> Result<(), Refusal> {
        let Some((name, rest)) = command.split_first() else {
            return Ok(());
        };
        let line = Line::read(rest);
        match name.as_str() {
            "help" => {
                eprintln!("{HELP}");
                return Ok(());
            }
            "version" => {
                say!(
                    out,
                    "ZooKeeper CLI version: 3.9, of rotpeter {}",
                    env!("CARGO_PKG_VERSION")
                );
                return Ok(());
            }
            "history" | "printwatches" => return Ok(()),
            "close" => {
                self.client = None;
                return Ok(());
            }
            "connect" => {
                let host = line
                    .words
                    .first()
                    .cloned()
                    .unwrap_or_else(|| self.host.clone());
                let client = Client::connect(&host).await;
                self.client = Some(client.map_err(|error| Refusal::Said(error.to_string()))?);
                self.host = host;
                connected(out);
                return Ok(());
            }
            _ => {}
        }
        let Some(client) = &self.client else {
            say!(out, "Not connected");
            return Ok(());
        };
        match name.as_str() {
            "ls" => ls(client, &line, out).await,
            "get" => get(client, &line, out).await,
            "set" => set(client, &line, out).await,
            "stat" => stat(client, &line, out).await,
            "create" => create(client, &line).await,
            "delete" => delete(client, &line).await,
            "deleteall" | "rmr" => delete_all(client, &line).await,
            "getAcl" => get_acl(client, &line, out).await,
            "setAcl" => set_acl(client, &line, out).await,
            "addauth" => add_auth(client, &line).await,
            "whoami" => whoami(client, out).await,
            "sync" => {
                let path = line.path("sync path")?;
                client
                    .sync(path)
                    .await
                    .map_err(|error| told(&error, path))?;
                say!(out, "Sync is OK");
                Ok(())
            }
            "getAllChildrenNumber" => {
                let path = line.path("getAllChildrenNumber path")?;
                let count = client
                    .count_descendants_number(path)
                    .await
                    .map_err(|error| told(&error, path))?;
                say!(out, "{count}");
                Ok(())
            }
            "getEphemerals" => {
                let path = line.words.first().map_or("/", String::as_str);
                let mut found = client
                    .list_ephemerals(path)
                    .await
                    .map_err(|error| told(&error, path))?;
                found.sort();
                say!(out, "[{}]", found.join(", "));
                Ok(())
            }
            "config" => {
                let (data, _) = client
                    .get_config()
                    .await
                    .map_err(|error| told(&error, "/zookeeper/config"))?;
                say!(out, "{}", String::from_utf8_lossy(&data));
                Ok(())
            }
            known if LATER.contains(&known) => Err(Refusal::Absent(format!("the command {known}"))),
            other => Err(Refusal::Unknown(other.to_string())),
        }
    }
}

const LATER: [&str; 8] = [
    "addWatch",
    "removewatches",
    "listquota",
    "setquota",
    "delquota",
    "reconfig",
    "redo",
    "listquotas",
];

const HELP: &str = "ZooKeeper -server host:port [command [args]]
\taddauth scheme auth
\tclose
\tconfig
\tconnect host:port
\tcreate [-s] [-e] [-c] [-t ttl] path [data] [acl]
\tdelete [-v version] path
\tdeleteall path
\tget [-s] path
\tgetAcl [-s] path
\tgetAllChildrenNumber path
\tgetEphemerals path
\thelp
\tls [-s] [-R] path
\tquit
\tset [-s] [-v version] path data
\tsetAcl [-s] [-v version] [-R] path acl
\tstat path
\tsync path
\tversion
\twhoami";

/// Splits a line at blanks; single and double quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let (mut made, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(mark), letter) if letter == mark => quote = None,
            (Some(_), letter) => word.push(letter),
            (None, '\'' | '"') => (quote, open) = (Some(letter), true),
            (None, letter) if letter.is_whitespace() => {
                if open || !word.is_empty() {
                    made.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (None, letter) => word.push(letter),
        }
    }
    if open || !word.is_empty() {
        made.push(word);
    }
    made
}

/// A command's flags and words. `-v` and `-t` take a value.
struct Line {
    flags: Vec<char>,
    version: Option<i32>,
    ttl_ms: Option<u64>,
    words: Vec<String>,
}

impl Line {
    fn read(rest: &[String]) -> Line {
        let mut line = Line {
            flags: Vec::new(),
            version: None,
            ttl_ms: None,
            words: Vec::new(),
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "-v" => line.version = rest.next().and_then(|number| number.parse().ok()),
                "-t" => line.ttl_ms = rest.next().and_then(|number| number.parse().ok()),
                flag if flag.len() >= 2 && flag.starts_with('-') && line.words.is_empty() => {
                    line.flags.extend(flag.chars().skip(1));
                }
                _ => line.words.push(word.clone()),
            }
        }
        line
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    fn path(&self, usage: &'static str) -> Result<&str, Refusal> {
        let path = self.words.first().ok_or(Refusal::Usage(usage))?;
        match path.starts_with('/') && (path.len() == 1 || !path.ends_with('/')) {
            true => Ok(path),
            false if path.starts_with('/') => Err(Refusal::Said(
                "Path must not end with / character".to_string(),
            )),
            false => Err(Refusal::Said(
                "Path must start with / character".to_string(),
            )),
        }
    }
}

fn told(error: &ZkError, path: &str) -> Refusal {
    Refusal::Said(match error {
        ZkError::NoNode => format!("Node does not exist: {path}"),
        ZkError::NodeExists => format!("Node already exists: {path}"),
        ZkError::NotEmpty => format!("Node not empty: {path}"),
        ZkError::NoAuth => format!("Insufficient permission : {path}"),
        ZkError::BadVersion => format!("version No is not valid : {path}"),
        ZkError::InvalidAcl => format!("Acl is not valid : {path}"),
        ZkError::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {path}"),
        other => format!("KeeperErrorCode = {other} for {path}"),
    })
}

fn print_stat(stat: &Stat, out: &mut Out) {
    say!(out, "cZxid = 0x{:x}", stat.czxid);
    say!(out, "ctime = {}", moments::java_date(stat.ctime));
    say!(out, "mZxid = 0x{:x}", stat.mzxid);
    say!(out, "mtime = {}", moments::java_date(stat.mtime));
    say!(out, "pZxid = 0x{:x}", stat.pzxid);
    say!(out, "cversion = {}", stat.cversion);
    say!(out, "dataVersion = {}", stat.version);
    say!(out, "aclVersion = {}", stat.aversion);
    say!(out, "ephemeralOwner = 0x{:x}", stat.ephemeral_owner);
    say!(out, "dataLength = {}", stat.data_length);
    say!(out, "numChildren = {}", stat.num_children);
}

async fn ls(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    let path = line.path("ls [-s] [-w] [-R] path")?;
    let (mut children, stat) = client
        .get_children(path)
        .await
        .map_err(|error| told(&error, path))?;
    if line.has('R') {
        let mut open = vec![path.to_string()];
        while let Some(path) = open.pop() {
            say!(out, "{path}");
            // A node that is gone meanwhile has no children.
            let mut children = client.list_children(&path).await.unwrap_or_default();
            children.sort();
            let base = if path == "/" { "" } else { &path };
            open.extend(
                children
                    .into_iter()
                    .rev()
                    .map(|child| format!("{base}/{child}")),
            );
        }
        return Ok(());
    }
    children.sort();
    say!(out, "[{}]", children.join(", "));
    if line.has('s') {
        print_stat(&stat, out);
    }
    Ok(())
}

async fn get(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    let path = line.path("get [-s] [-w] [-b] [-x] path")?;
    let (data, stat) = client
        .get_data(path)
        .await
        .map_err(|error| told(&error, path))?;
    if data.is_empty() && stat.data_length == 0 {
        // The client does not tell null from empty; brokers write null where they mean nothing.
        say!(out, "null");
    } else {
        out.bytes(&data);
        say!(out);
    }
    if line.has('s') {
        print_stat(&stat, out);
    }
    Ok(())
}

async fn set(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    const USAGE: &str = "set path data [-s] [-v version] [-b]";
    let path = line.path(USAGE)?;
    let data = line.words.get(1).ok_or(Refusal::Usage(USAGE))?;
    let stat = client.set_data(path, data.as_bytes(), line.version).await;
    let stat = stat.map_err(|error| told(&error, path))?;
    if line.has('s') {
        print_stat(&stat, out);
    }
    Ok(())
}

async fn stat(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    let path = line.path("stat [-w] path")?;
    let found = client
        .check_stat(path)
        .await
        .map_err(|error| told(&error, path))?;
    let found = found.ok_or_else(|| told(&ZkError::NoNode, path))?;
    print_stat(&found, out);
    Ok(())
}

async fn create(client: &Client, line: &Line) -> Result<(), Refusal> {
    let path = line.path("create [-s] [-e] [-c] [-t ttl] path [data] [acl]")?;
    let mode = match (line.has('e'), line.has('s'), line.has('c')) {
        (true, true, false) => CreateMode::EphemeralSequential,
        (true, false, false) => CreateMode::Ephemeral,
        (false, true, false) => CreateMode::PersistentSequential,
        (false, false, false) => CreateMode::Persistent,
        (false, false, true) => CreateMode::Container,
        _ => return Err(Refusal::Said(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential."
                .to_string(),
        )),
    };
    let acls = line.words.get(2).map(|list| parse_acl(list)).transpose()?;
    let acls = acls.as_deref().map_or(Acls::anyone_all(), Acls::from);
    let mut options = mode.with_acls(acls);
    if let Some(ms) = line.ttl_ms {
        options = options.with_ttl(Duration::from_millis(ms));
    }
    let data = line.words.get(1).map_or(&[][..], |data| data.as_bytes());
    let (_, sequence) = client
        .create(path, data, &options)
        .await
        .map_err(|error| match error {
            // As ZooKeeper's shell: it is the parent that is missing.
            ZkError::NoNode => told(&error, path),
            other => told(&other, path),
        })?;
    match line.has('s') {
        true => eprintln!("Created {path}{sequence}"),
        false => eprintln!("Created {path}"),
    }
    Ok(())
}

async fn delete(client: &Client, line: &Line) -> Result<(), Refusal> {
    let path = line.path("delete [-v version] path")?;
    client
        .delete(path, line.version)
        .await
        .map_err(|error| told(&error, path))
}

async fn delete_all(client: &Client, line: &Line) -> Result<(), Refusal> {
    let path = line.path("deleteall path [-b batch size]")?;
    if path == "/" || path.starts_with("/zookeeper") {
        return Err(Refusal::Said(format!("{path} is kept")));
    }
    let mut open = vec![path.to_string()];
    let mut doomed = Vec::new();
    while let Some(path) = open.pop() {
        let children = client
            .list_children(&path)
            .await
            .map_err(|error| told(&error, &path))?;
        open.extend(children.into_iter().map(|child| format!("{path}/{child}")));
        doomed.push(path);
    }
    for path in doomed.into_iter().rev() {
        match client.delete(&path, None).await {
            Ok(()) | Err(ZkError::NoNode) => {}
            Err(error) => return Err(told(&error, &path)),
        }
    }
    Ok(())
}

const LETTERS: [(char, Permission); 5] = [
    ('c', Permission::CREATE),
    ('d', Permission::DELETE),
    ('r', Permission::READ),
    ('w', Permission::WRITE),
    ('a', Permission::ADMIN),
];

/// `scheme:id:cdrwa,…`; the id may have colons of its own.
fn parse_acl(list: &str) -> Result<Vec<Acl>, Refusal> {
    let wrong = || Refusal::Said(format!("{list} does not have the form scheme:id:perm"));
    let mut made = Vec::new();
    for one in list.split(',') {
        let (scheme, rest) = one.split_once(':').ok_or_else(wrong)?;
        let (id, letters) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let mut permission = Permission::NONE;
        for letter in letters.chars() {
            let known = LETTERS
                .iter()
                .find(|(name, _)| *name == letter)
                .ok_or_else(wrong)?;
            permission = permission | known.1;
        }
        made.push(Acl::new(permission, AuthId::new(scheme, id)));
    }
    Ok(made)
}

async fn get_acl(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    let path = line.path("getAcl [-s] path")?;
    let (acls, stat) = client
        .get_acl(path)
        .await
        .map_err(|error| told(&error, path))?;
    for acl in acls {
        let id = acl.auth_id();
        let letters = LETTERS.iter().filter(|(_, one)| acl.permission().has(*one));
        let letters: String = letters.map(|(letter, _)| *letter).collect();
        say!(out, "'{},'{}\n: {letters}", id.scheme(), id.id());
    }
    if line.has('s') {
        print_stat(&stat, out);
    }
    Ok(())
}

async fn set_acl(client: &Client, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    const USAGE: &str = "setAcl [-s] [-v version] [-R] path acl";
    let path = line.path(USAGE)?;
    let acl = parse_acl(line.words.get(1).ok_or(Refusal::Usage(USAGE))?)?;
    let mut open = vec![path.to_string()];
    while let Some(path) = open.pop() {
        let stat = client
            .set_acl(&path, &acl, line.version)
            .await
            .map_err(|error| told(&error, &path))?;
        if line.has('s') {
            print_stat(&stat, out);
        }
        if line.has('R') {
            let children = client
                .list_children(&path)
                .await
                .map_err(|error| told(&error, &path))?;
            open.extend(children.into_iter().map(|child| format!("{path}/{child}")));
        }
    }
    Ok(())
}

async fn add_auth(client: &Client, line: &Line) -> Result<(), Refusal> {
    let scheme = line
        .words
        .first()
        .ok_or(Refusal::Usage("addauth scheme auth"))?;
    let auth = line.words.get(1).map_or(&[][..], |auth| auth.as_bytes());
    client
        .auth(scheme, auth)
        .await
        .map_err(|error| Refusal::Said(error.to_string()))
}

async fn whoami(client: &Client, out: &mut Out) -> Result<(), Refusal> {
    let users = client
        .list_auth_users()
        .await
        .map_err(|error| Refusal::Said(error.to_string()))?;
    say!(out, "Auth scheme: User");
    for user in users {
        say!(out, "{}: {}", user.scheme(), user.user());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_into_words_flags_and_values() {
        assert_eq!(
            words("set /a \"two words\" ''"),
            ["set", "/a", "two words", ""]
        );
        let line = Line::read(&words("-s -v 3 /a data"));
        assert!(line.has('s'));
        assert_eq!(line.version, Some(3));
        assert_eq!(line.words, ["/a", "data"]);
        assert!(line.path("x").is_ok());
        assert!(Line::read(&words("a")).path("x").is_err());
    }

    #[test]
    fn acls_are_read_in_zookeepers_form() {
        let acls = parse_acl("world:anyone:cdrwa,digest:bob:hash=:r")
            .ok()
            .expect("legal");
        assert_eq!(acls.len(), 2);
        assert_eq!(acls[1].auth_id().id(), "bob:hash=");
        assert!(parse_acl("world:anyone").is_err());
    }
}
