//! The commands that need a session: their names, flags and usage, and how a line of one is read.

use crate::zk_shell::options::{Flag, Line, flag, usage, value};
use crate::zk_shell::refusal::Refusal;

/// A command: its name, what follows it, its flags, how many words it needs at least, and whether
/// its usage explains the flags.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    flags: &'static [Flag],
    words_min: usize,
    explains: bool,
    /// `-w` may be written as a second word, as it was once.
    old_watch: Option<&'static str>,
}

const fn command(
    name: &'static str,
    form: &'static str,
    flags: &'static [Flag],
    words_min: usize,
) -> Command {
    Command {
        name,
        form,
        flags,
        words_min,
        explains: false,
        old_watch: None,
    }
}

const fn watching(command: Command, explains: bool, old_watch: &'static str) -> Command {
    Command {
        explains,
        old_watch: Some(old_watch),
        ..command
    }
}

const LS: &[Flag] = &[
    flag("?", "help"),
    flag("R", "recurse"),
    flag("s", "stat"),
    flag("w", "watch"),
];
const GET: &[Flag] = &[
    flag("b", "Output data in base64 format"),
    flag("s", "Print znode stats additionally"),
    flag("w", "Watch for changes on the znode"),
    flag("x", "Output data in hexdump format"),
];
const SET: &[Flag] = &[
    flag("b", "Supply data in base64 format"),
    flag("s", "Print znode stats additionally"),
    value("v", "Set with an expected version"),
];
const QUOTA: &[Flag] = &[
    value("n", "num soft quota"),
    value("b", "bytes soft quota"),
    value("N", "num hard quota"),
    value("B", "bytes hard quota"),
];
const NO_QUOTA: &[Flag] = &[flag("n", ""), flag("b", ""), flag("N", ""), flag("B", "")];
const RECONFIG: &[Flag] = &[
    flag("s", "stats"),
    value("v", ""),
    value("file", ""),
    value("members", ""),
    value("add", ""),
    value("remove", ""),
];
const WATCH_KINDS: &[Flag] = &[
    flag("c", ""),
    flag("d", ""),
    flag("p", ""),
    flag("r", ""),
    flag("a", ""),
    flag("l", ""),
];

/// THE list of commands that need a session, by name.
pub(crate) const COMMANDS: &[Command] = &[
    command(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        &[value("m", "")],
        1,
    ),
    command("addauth", "scheme auth", &[], 1),
    command("close", "", &[], 0),
    command(
        "config",
        "[-c] [-w] [-s]",
        &[flag("c", ""), flag("w", ""), flag("s", "")],
        0,
    ),
    command(
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        &[flag("e", ""), flag("s", ""), flag("c", ""), value("t", "")],
        1,
    ),
    command("delete", "[-v version] path", &[value("v", "")], 1),
    command("deleteall", "path [-b batch size]", &[value("b", "")], 1),
    command("delquota", "[-n|-b|-N|-B] path", NO_QUOTA, 1),
    watching(
        command("get", "[-s] [-w] [-b] [-x] path", GET, 1),
        true,
        "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.",
    ),
    command("getAcl", "[-s] path", &[flag("s", "")], 1),
    command("getAllChildrenNumber", "path", &[], 1),
    command("getEphemerals", "path", &[], 0),
    command("listquota", "path", &[], 1),
    watching(
        command("ls", "[-s] [-w] [-R] path", LS, 1),
        false,
        "'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.",
    ),
    command(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        RECONFIG,
        0,
    ),
    command("removewatches", "path [-c|-d|-a] [-l]", WATCH_KINDS, 1),
    Command {
        explains: true,
        ..command("set", "path data [-s] [-v version] [-b]", SET, 2)
    },
    command(
        "setAcl",
        "[-s] [-v version] [-R] path acl",
        &[flag("s", ""), value("v", ""), flag("R", "")],
        2,
    ),
    command("setquota", "-n|-b|-N|-B val path", QUOTA, 1),
    watching(
        command("stat", "[-w] path", &[flag("w", "")], 1),
        false,
        "'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.",
    ),
    command("sync", "path", &[], 1),
    command("version", "", &[], 0),
    command("whoami", "", &[], 0),
];

impl Command {
    pub(crate) fn usage(&self) -> String {
        let form = format!("{} {}", self.name, self.form);
        usage(&form, if self.explains { self.flags } else { &[] })
    }

    /// The words of a command line, or what is wrong with them.
    pub(crate) fn read(&self, rest: &[String]) -> Result<Line, Refusal> {
        // These two look at nothing that follows them.
        if ["close", "whoami"].contains(&self.name) {
            return Ok(Line::default());
        }
        let mut line = Line::read(self.flags, rest).map_err(Refusal::Said)?;
        if self.name == "setquota" {
            check_group(&line, true)?;
        }
        if self.name == "delquota" {
            check_group(&line, false)?;
        }
        let exact = self.name == "addWatch" && line.words.len() != 1;
        if line.words.len() < self.words_min || exact {
            return Err(Refusal::Said(self.usage()));
        }
        if let Some(told) = self.old_watch
            && line.words.len() > 1
        {
            crate::warn!("{told}");
            let mut rest = rest.to_vec();
            if let Some(second) = rest.get_mut(1) {
                "-w".clone_into(second);
            }
            line = Line::read(self.flags, &rest).map_err(Refusal::Said)?;
        }
        if self.name == "delete" && line.words.len() > 1 {
            crate::warn!(
                "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead."
            );
        }
        if self.name == "version" && !line.words.is_empty() {
            return Err(Refusal::Said(self.usage()));
        }
        Ok(line)
    }
}

/// Of the four kinds of quota only one may be given at a time.
fn check_group(line: &Line, required: bool) -> Result<(), Refusal> {
    let mut given = line.given();
    match (given.next(), given.next()) {
        (None, _) if required => Err(Refusal::said(
            "org.apache.commons.cli.MissingOptionException: Missing required option: \
             [-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard quota]",
        )),
        (Some(first), Some(second)) if first != second => Err(Refusal::Said(format!(
            "org.apache.commons.cli.AlreadySelectedException: The option '{second}' was specified \
             but an option from this group has already been selected: '{first}'"
        ))),
        _ => Ok(()),
    }
}
