//! kcat, as it is typed.

use std::process::Command;

use harness::peers;

/// kcat against `bootstrap`, or `None` where it is missing.
pub(crate) fn kcat(bootstrap: &str, words: &[&str]) -> Option<Command> {
    let mut command = Command::new(peers::program("kcat")?);
    command.args(["-b", bootstrap]).args(words);
    Some(command)
}
