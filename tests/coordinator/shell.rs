//! `kafka zk` beside ZooKeeper 3.9's own shell: the same commands, one at a time and from a pipe,
//! each shell on a fresh server of ours; the same lines on stdout and stderr, the same events, the
//! same exit code.

use std::io::Write;
use std::process::{Command, Stdio};

use harness::{peers, process};

use crate::servers;

/// Given on a command line, one program run each.
const ONE_SHOT: &[&str] = &[
    "create /a one",
    "create /a again",
    "create -s -e /a/n- x",
    "get -s /a",
    "get /none",
    "get",
    "set",
    "stat -x /a",
    "set -v",
    "ls -R /",
    "ls /a/",
    "nothing /a",
    "deleteall /a",
    "setquota /a",
    "getAllChildrenNumber /zookeeper",
    "-unknown ls /",
    "whoami",
    "config",
    "history",
    "redo 0",
    "printwatches",
    "quit",
];

/// Typed into one shell, with a line of its own for each.
const PIPED: &str = r#"
create /a one
create /a/b two
create /a/b/c three
create /a/d
create -e /a/e x
create -s /a/n- x
create -s /a/n- x
create -c /a/box
create -t 100000 /a/t x
create -t 0 /a/t2 x
create -t x /a/t2 x
create -c -s /a/x
create -t 5 -e /a/x
create -t 5 -c /a/x
create /a one
create /none/x one
create /a/e/x one
create relative x
create /a/ x
create /a//b x
create /a/../b x
create "" x
create /q "two words"
get /q
create /acl x world:anyone:r
set /acl y
create /acl2 x nonsense
create /acl3 x world:anyone:rz
create /acl4 x digest:nobody:r
ls /
ls -s /a/b
ls -R /a
ls -w /a
ls /a watch
ls /none
ls -R /none
ls
ls -z /a
get /a
get -s /a/b
get -b /a
get -x /a
get -w /a
get /a watch
get /a/d
get /none
get
set /a two
set /a three -v 1
set -v 0 /a four
set -s /a five
set -b /a Zm91cg==
set /a
set /none x
get /a
stat /a
stat -w /a/b
stat /none
stat
getAcl /a
getAcl -s /acl
getAcl /none
getAcl
setAcl /a/b world:anyone:cdrwa
setAcl -s /a/b world:anyone:cdrwa
setAcl -v 0 /a/b world:anyone:cdrwa
setAcl -R /a/b world:anyone:rwcda
setAcl /a/b bad
setAcl /a/b
addauth digest bob:secret
addauth
create /mine x auth::cdrwa
getAcl /mine
whoami
addWatch /w
addWatch -m PERSISTENT /w2
addWatch -m nonsense /w
addWatch
create /w x
create /w/x y
set /w z
create /w2 x
set /w2 y
removewatches /w
removewatches /w
removewatches /w2 -p
removewatches /a -d
removewatches /none
removewatches
delete /w/x
delete /w
delete -v 7 /w2
delete -v 1 /w2
delete /a
delete /none
delete
setquota -n 5 /a
setquota -n 5 /a
setquota -b 1 /a
setquota -N 100 /a
setquota -B 1000 /a
listquota /a
setquota -n 5 /a/b
setquota -n 0 /a
setquota -b -1 /a
setquota -n 5 /none
setquota -n 5 -b 6 /a
setquota /a
setquota -n 5 /zookeeper/quota/x
delquota -n /a
listquota /a
delquota /a
listquota /a
delquota /a
delquota
listquota
listquota /none
sync /a
sync /none
sync
getEphemerals /a
getEphemerals
getEphemerals /none
getAllChildrenNumber /a
getAllChildrenNumber /none
getAllChildrenNumber
config
config -s
config -c
reconfig
reconfig -add server.2=localhost:1:2;3
reconfig -add server.2=localhost:1:2;3 -members x
reconfig -v z -add x
version
version x
history
redo 2
redo 9999
redo -1
redo
printwatches
printwatches off
printwatches
printwatches on
printwatches
printwatches off
get -w /a
set /a silent
help
nothing at all
deleteall /a -b x
deleteall /none
deleteall /a
ls /
close
ls /
history
"#;

/// What a shell printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    out: Vec<String>,
    errors: Vec<String>,
    /// These come from a thread of their own, so their place among the lines is chance.
    events: Vec<String>,
    code: Option<i32>,
}

/// Lines without what depends on the moment, on chance or on the program's name.
fn lines(text: &str) -> Vec<String> {
    let noise = |line: &&str| {
        !line.is_empty()
            && ![
                "WATCHER::",
                "WatchedEvent",
                " ERROR Exiting JVM",
                " INFO ",
                " WARN ",
                "Connecting to",
            ]
            .iter()
            .any(|noise| line.contains(noise))
    };
    let known = |line: &str| {
        let line = line.trim_end();
        for head in ["ctime = ", "mtime = ", "ZooKeeper CLI version: "] {
            if line.starts_with(head) {
                return head.to_owned();
            }
        }
        match line.split_once("ephemeralOwner = 0x") {
            Some((_, owner)) if owner != "0" => "ephemeralOwner = SESSION".to_owned(),
            _ => line.to_owned(),
        }
    };
    text.lines().filter(noise).map(known).collect()
}

fn run(mut command: Command, typed: &str) -> Told {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A shell that has ended reads no more.
    let _ended = stdin.write_all(typed.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let [out, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let mut events: Vec<String> = out
        .lines()
        .filter(|line| line.starts_with("WatchedEvent"))
        .map(str::to_owned)
        .collect();
    events.sort();
    Told {
        out: lines(&out),
        errors: lines(&errors),
        events,
        code: output.status.code(),
    }
}

/// Apache's shell or ours, on the server at `port`.
fn shell(apaches: bool, port: u16, words: &str) -> Option<Command> {
    let mut command = if apaches {
        let home = peers::installed("zookeeper-3.9")?;
        let mut command = Command::new("java");
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        let logging = home.join("config/logback.xml");
        command.arg(format!("-Dlogback.configurationFile={}", logging.display()));
        command.args(["-cp", &format!("{}/libs/*", home.display())]);
        command.arg("org.apache.zookeeper.ZooKeeperMain");
        command
    } else {
        let mut command = Command::new(process::program("kafka"));
        command.arg("zk");
        command
    };
    command.args([
        "-waitforconnection",
        "-server",
        &format!("127.0.0.1:{port}"),
    ]);
    command.args(words.split_whitespace());
    Some(command)
}

/// Everything, with the first shell or the second.
fn tell(apaches: bool) -> Option<Vec<Told>> {
    let mut told = Vec::new();
    for typed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let server = servers::ours(dir.path());
        let port = server.address.port();
        if typed {
            told.push(run(shell(apaches, port, "")?, PIPED));
            continue;
        }
        for words in ONE_SHOT {
            told.push(run(shell(apaches, port, words)?, ""));
        }
    }
    Some(told)
}

#[test]
fn our_shell_prints_what_zookeepers_prints() {
    let Some(theirs) = tell(true) else { return };
    let mut own = tell(false).unwrap();
    for (theirs, own) in theirs.iter().zip(&mut own) {
        // Apache's shell ends without waiting for the thread that prints this, its last event.
        let is_last = |event: &String| event.contains("state:Closed");
        if !theirs.events.iter().any(is_last) {
            own.events.retain(|event| !is_last(event));
        }
    }
    let typed = ONE_SHOT.iter().copied().chain(["(typed)"]);
    let mut all = String::new();
    for ((words, theirs), own) in typed.zip(&theirs).zip(&own) {
        let parts = [
            ("stdout", &theirs.out, &own.out),
            ("stderr", &theirs.errors, &own.errors),
            ("events", &theirs.events, &own.events),
        ];
        for (what, theirs, own) in parts {
            if let Some(at) =
                (0..theirs.len().max(own.len())).find(|&at| theirs.get(at) != own.get(at))
            {
                let from = at.saturating_sub(2);
                let part = |lines: &[String]| {
                    lines[from.min(lines.len())..]
                        .iter()
                        .take(8)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("\n  ")
                };
                all.push_str(&format!(
                    "{words}: {what}, line {at}\n- {}\n+ {}\n",
                    part(theirs),
                    part(own)
                ));
            }
        }
        if theirs.code != own.code {
            all.push_str(&format!(
                "{words}: exit {:?}, ours {:?}\n",
                theirs.code, own.code
            ));
        }
    }
    assert!(all.is_empty(), "the shells differ:\n{all}");
}
