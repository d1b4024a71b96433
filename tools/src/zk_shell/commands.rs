//! The commands that need a session, each as ZooKeeper 3.9's shell does it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Acl;

use crate::print::Out;
use crate::say;
use crate::zk_shell::grammar::Command;
use crate::zk_shell::nodes::{Making, Nodes};
use crate::zk_shell::options::Line;
use crate::zk_shell::quotas;
use crate::zk_shell::refusal::{Refusal, check_path, sentence};
use crate::zk_shell::session::Session;
use crate::zk_shell::told::{hex_dump, letters, parse_acl, print_stat};
use crate::zk_shell::watched::Kind;

/// Obeys one command.
pub(crate) fn obey(
    command: &Command,
    session: &mut Session,
    rest: &[String],
    out: &mut Out,
) -> Result<(), Refusal> {
    let line = command.read(rest)?;
    if command.name == "close" {
        session.close();
        return Ok(());
    }
    let nodes = &Nodes(session);
    let path = line.word(0).unwrap_or_default();
    match command.name {
        "ls" => ls(nodes, &line, path, out),
        "get" => get(nodes, &line, path, out),
        "set" => set(nodes, &line, path, out),
        "stat" => stat(nodes, &line, path, out),
        "create" => create(nodes, &line, path),
        "delete" => {
            let version = version(&line)?;
            check_path(path)?;
            nodes.delete(path, version)
        }
        "deleteall" => delete_all(nodes, &line, path),
        "getAcl" => get_acl(nodes, &line, path, out),
        "setAcl" => set_acl(nodes, &line, path, out),
        "setquota" => quotas::set(nodes, &line, path, out),
        "listquota" => quotas::list(nodes, path, out),
        "delquota" => quotas::delete(nodes, &line, path, out),
        "addWatch" => add_watch(command, session, &line, path),
        "removewatches" => remove_watches(session, &line, path),
        "reconfig" => reconfigure(command, nodes, &line, out),
        "config" => config(nodes, &line, out),
        _ => ask(command, nodes, &line, path, out),
    }
}

/// The short ones.
fn ask(
    command: &Command,
    nodes: &Nodes<'_>,
    line: &Line,
    path: &str,
    out: &mut Out,
) -> Result<(), Refusal> {
    match command.name {
        "addauth" => {
            let secret = line.word(1).map(str::as_bytes);
            // What comes of it is heard as an event, if it is heard of.
            let _heard = nodes.0.authenticate(path, secret);
        }
        "sync" => {
            check_path(path)?;
            match nodes.sync(path) {
                Ok(()) => say!(out, "Sync is OK"),
                Err(code) => say!(out, "Sync has failed. rc={}", code.0),
            }
        }
        "getAllChildrenNumber" => {
            check_path(path)?;
            let count = nodes.count_beneath(path);
            say!(out, "{}", count.map_err(|code| Refusal::of(code, path))?);
        }
        "getEphemerals" => {
            let prefix = line.word(0).unwrap_or("/");
            check_path(prefix)?;
            let found = nodes.ephemerals(prefix);
            let mut found = found.map_err(|code| Refusal::of(code, prefix))?;
            found.sort();
            say!(out, "[{}]", found.join(", "));
        }
        "version" => say!(
            out,
            "ZooKeeper CLI version: 3.9, of rotpeter {}",
            env!("CARGO_PKG_VERSION")
        ),
        _ => {
            let users = nodes.who_am_i();
            let users = users.map_err(|code| Refusal::Said(sentence(code, "")))?;
            say!(out, "Auth scheme: User");
            for (scheme, user) in users {
                say!(out, "{scheme}: {user}");
            }
        }
    }
    Ok(())
}

/// `-v`; −1 is any.
fn version(line: &Line) -> Result<i32, Refusal> {
    line.value("v").map_or(Ok(-1), |text| {
        text.parse().map_err(|_| {
            Refusal::Said(format!(
                "java.lang.NumberFormatException: For input string: \"{text}\""
            ))
        })
    })
}

fn ls(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    check_path(path)?;
    if line.has("R") {
        return visit(nodes, path, line.has("w"), &mut |path| {
            say!(out, "{path}");
        });
    }
    let found = nodes.children(path, line.has("w"));
    let (children, stat) = found.map_err(|code| Refusal::of(code, path))?;
    say!(out, "[{}]", children.join(", "));
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

/// A node, then those beneath it: all children of one before any of theirs.
fn visit(
    nodes: &Nodes<'_>,
    path: &str,
    watch: bool,
    each: &mut dyn FnMut(&str),
) -> Result<(), Refusal> {
    nodes.get(path, watch)?;
    each(path);
    let mut open = vec![path.to_owned()];
    while let Some(at) = open.pop() {
        let children = match nodes.children(&at, watch) {
            Ok((children, _)) => children,
            // One that is gone meanwhile has no children.
            Err(Code::NO_NODE) => continue,
            Err(code) => return Err(Refusal::of(code, &at)),
        };
        let base = if at == "/" { "" } else { &at };
        let beneath: Vec<String> = children
            .iter()
            .map(|child| format!("{base}/{child}"))
            .collect();
        beneath.iter().for_each(|path| each(path));
        open.extend(beneath.into_iter().rev());
    }
    Ok(())
}

fn get(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    check_path(path)?;
    let (data, stat) = nodes.get(path, line.has("w"))?;
    let data = data.as_deref().unwrap_or(b"null");
    if line.has("x") {
        say!(out, "{}", hex_dump(data));
    } else if line.has("b") {
        say!(out, "{}", STANDARD.encode(data));
    } else {
        say!(out, "{}", String::from_utf8_lossy(data));
    }
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

fn set(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    let text = line.word(1).unwrap_or_default();
    let data = match line.has("b") {
        true => STANDARD
            .decode(text)
            .map_err(|why| Refusal::Said(format!("java.lang.IllegalArgumentException: {why}")))?,
        false => text.as_bytes().to_vec(),
    };
    let version = version(line)?;
    check_path(path)?;
    let stat = nodes.set(path, &data, version)?;
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

fn stat(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    check_path(path)?;
    let found = nodes.stat(path, line.has("w"));
    let found = found.map_err(|code| Refusal::of(code, path))?;
    print_stat(&found.ok_or_else(|| Refusal::of(Code::NO_NODE, path))?, out);
    Ok(())
}

/// The longest time to live: forty bits of milliseconds.
const TTL_MAX: i64 = 0xff_ffff_ffff;

fn create(nodes: &Nodes<'_>, line: &Line, path: &str) -> Result<(), Refusal> {
    let [e, s, c, t] = ["e", "s", "c", "t"].map(|name| line.has(name));
    if c && (e || s) {
        return Err(Refusal::said(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    let ttl = line.value("t").map(str::parse::<i64>).transpose();
    let ttl = ttl.map_err(|_| Refusal::said("-t argument must be a long value"))?;
    if t && e {
        return Err(Refusal::said("TTLs cannot be used with Ephemeral znodes"));
    }
    if t && c {
        return Err(Refusal::said("TTLs cannot be used with Container znodes"));
    }
    if ttl.is_some_and(|ttl| !(1..=TTL_MAX).contains(&ttl)) {
        return Err(Refusal::Said(format!(
            "ttl must be positive and cannot be larger than: {TTL_MAX}"
        )));
    }
    let (op, flags) = match (e, s, c, t) {
        (_, s, _, true) => (ops::CREATE_TTL, if s { 6 } else { 5 }),
        (_, _, true, _) => (ops::CREATE_CONTAINER, 4),
        (e, s, ..) => (ops::CREATE, i32::from(e) | i32::from(s) << 1),
    };
    let acl = line.word(2).map_or_else(|| vec![Acl::open()], parse_acl);
    check_path(&if s {
        format!("{path}1")
    } else {
        path.to_owned()
    })?;
    let data = line.word(1).map(str::as_bytes);
    let made = if acl.is_empty() {
        // ZooKeeper's client refuses an empty list before it asks.
        Err(Code::INVALID_ACL)
    } else {
        nodes.create_as(&Making { op, flags, ttl }, path, data, &acl)
    };
    match made {
        Ok(made) => {
            crate::warn!("Created {made}");
            Ok(())
        }
        Err(Code::INVALID_ACL) => {
            let known = if acl.is_empty() { "" } else { path };
            crate::warn!("{}", sentence(Code::INVALID_ACL, known));
            Err(Refusal::of(Code::INVALID_ACL, known))
        }
        Err(code) => Err(Refusal::of(code, path)),
    }
}

fn delete_all(nodes: &Nodes<'_>, line: &Line, path: &str) -> Result<(), Refusal> {
    let batch = line.value("b").map_or(Ok(1_000), str::parse::<i32>);
    let batch = batch.map_err(|_| Refusal::said("-b argument must be an int value"))?;
    check_path(path)?;
    let mut found = vec![path.to_owned()];
    let mut at = 0;
    while let Some(node) = found.get(at).cloned() {
        let children = nodes.children(&node, false);
        let (children, _) = children.map_err(|code| Refusal::of(code, &node))?;
        let base = if node == "/" { "" } else { &node };
        found.extend(children.into_iter().map(|child| format!("{base}/{child}")));
        at += 1;
    }
    found.reverse();
    // These two are never deleted: nothing else is then either.
    let mut gone = !["/", "/zookeeper"].contains(&path);
    if let Ok(batch) = usize::try_from(batch)
        && batch > 0
    {
        for part in found.chunks(batch) {
            gone = gone && nodes.delete_all(part).unwrap_or(false);
        }
    } else if gone {
        found.iter().try_for_each(|path| nodes.delete(path, -1))?;
    }
    if !gone {
        crate::warn!("Failed to delete some node(s) in the subtree!");
    }
    Ok(())
}

fn get_acl(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    check_path(path)?;
    let (acls, stat) = nodes.acl(path)?;
    for acl in acls {
        say!(
            out,
            "'{},'{}\n: {}",
            acl.id.scheme,
            acl.id.id,
            letters(acl.perms)
        );
    }
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

fn set_acl(nodes: &Nodes<'_>, line: &Line, path: &str, out: &mut Out) -> Result<(), Refusal> {
    let acl = parse_acl(line.word(1).unwrap_or_default());
    let version = version(line)?;
    check_path(path)?;
    let change = |path: &str| match acl.is_empty() {
        true => Err(Code::INVALID_ACL),
        false => nodes.set_acl(path, &acl, version),
    };
    if line.has("R") {
        return visit(nodes, path, false, &mut |path| {
            if let Err(code) = change(path) {
                out.text(format_args!("{}", sentence(code, path)));
            }
        });
    }
    let known = if acl.is_empty() { "" } else { path };
    let stat = change(path).map_err(|code| Refusal::of(code, known))?;
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

fn add_watch(command: &Command, session: &Session, line: &Line, path: &str) -> Result<(), Refusal> {
    let mode = line.value("m").unwrap_or("PERSISTENT_RECURSIVE");
    let recursive = match mode.to_uppercase().as_str() {
        "PERSISTENT" => false,
        "PERSISTENT_RECURSIVE" => true,
        _ => return Err(Refusal::Said(command.usage())),
    };
    check_path(path)?;
    let added = session.add_watch(path, recursive);
    added.map_err(|code| Refusal::of(code, path))
}

fn remove_watches(session: &Session, line: &Line, path: &str) -> Result<(), Refusal> {
    const KINDS: [(&str, Kind); 4] = [
        ("c", Kind::Children),
        ("d", Kind::Data),
        ("p", Kind::Persistent),
        ("r", Kind::Recursive),
    ];
    let kind = KINDS
        .iter()
        .find(|(name, _)| line.has(name))
        .map_or(Kind::Any, |(_, kind)| *kind);
    check_path(path)?;
    let removed = session.remove_watches(path, kind, line.has("l"));
    removed.map_err(|code| Refusal::of(code, path))
}

fn config(nodes: &Nodes<'_>, line: &Line, out: &mut Out) -> Result<(), Refusal> {
    let found = nodes.config(line.has("w"));
    let (data, stat) = found.map_err(|code| Refusal::of(code, "/zookeeper/config"))?;
    let text = data.map_or_else(
        || "null".to_owned(),
        |data| String::from_utf8_lossy(&data).into_owned(),
    );
    if line.has("c") {
        say!(out, "{}", client_addresses(&text));
    } else {
        say!(out, "{text}");
    }
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}

/// The configuration's version and where its servers take clients.
fn client_addresses(text: &str) -> String {
    let pairs = || text.lines().filter_map(|line| line.split_once('='));
    let version = pairs().find(|(key, _)| key.trim() == "version");
    let servers = pairs().filter(|(key, _)| key.trim().starts_with("server."));
    let addresses: Vec<&str> = servers
        .filter_map(|(_, server)| server.split_once(';').map(|(_, client)| client.trim()))
        .collect();
    let version = version.map_or("", |(_, version)| version.trim());
    format!("{version} {}", addresses.join(","))
}

fn reconfigure(
    command: &Command,
    nodes: &Nodes<'_>,
    line: &Line,
    out: &mut Out,
) -> Result<(), Refusal> {
    let [file, members, add, remove] =
        ["file", "members", "add", "remove"].map(|name| line.value(name));
    let whole = file.is_some() || members.is_some();
    let parts = add.is_some() || remove.is_some();
    if !whole && !parts {
        return Err(Refusal::Said(command.usage()));
    }
    let version = line
        .value("v")
        .map_or(Ok(-1), |text| i64::from_str_radix(text, 16));
    let version = version
        .map_err(|_| Refusal::said("-v must be followed by a long (configuration version)"))?;
    if whole && parts {
        return Err(Refusal::said(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)",
        ));
    }
    if file.is_some() && members.is_some() {
        return Err(Refusal::said(
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ));
    }
    let read = file.map(|path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|why| Refusal::Said(format!("Error processing {path}{why}")))
    });
    let read = read.transpose()?.map(|text| {
        let servers = text
            .lines()
            .filter(|line| line.trim_start().starts_with("server."));
        servers.map(str::trim).collect::<Vec<_>>().join("\n")
    });
    let lower = |text: Option<&str>| text.map(str::to_lowercase);
    let (add, remove, members) = (lower(add), lower(remove), lower(members).or(read));
    let wanted = [add.as_deref(), remove.as_deref(), members.as_deref()];
    let done = nodes.reconfigure(wanted, version);
    let (config, stat) = done.map_err(|code| Refusal::of(code, ""))?;
    say!(
        out,
        "Committed new configuration:\n{}",
        String::from_utf8_lossy(&config)
    );
    if line.has("s") {
        print_stat(&stat, out);
    }
    Ok(())
}
