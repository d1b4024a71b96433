//! Tab in the shell: names of commands, and paths by asking the server.

use rustyline::completion::Completer;
use rustyline::{Context, Helper};

use crate::zk_shell::names;
use crate::zk_shell::nodes::Nodes;
use crate::zk_shell::session::{Session, State};

/// Holds the session while a line is typed.
#[derive(Default)]
pub(crate) struct Completion {
    session: Option<Session>,
}

impl Completion {
    pub(crate) fn use_session(&mut self, session: Option<Session>) {
        self.session = session;
    }

    pub(crate) fn give_back(&mut self) -> Option<Session> {
        self.session.take()
    }

    fn paths(&self, typed: &str) -> Vec<String> {
        let Some(session) = &self.session else {
            return Vec::new();
        };
        if session.state() != State::Connected {
            return Vec::new();
        }
        complete_path(typed, |above| {
            let children = Nodes(session).children(above, false);
            children.map(|(children, _)| children).unwrap_or_default()
        })
    }
}

/// Whole paths that begin as typed; `children` asks for the names beneath a node.
fn complete_path(typed: &str, children: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
    let Some((above, begun)) = typed.rsplit_once('/') else {
        return Vec::new();
    };
    let node = if above.is_empty() { "/" } else { above };
    let names = children(node).into_iter();
    names
        .filter(|name| name.starts_with(begun))
        .map(|name| format!("{above}/{name}"))
        .collect()
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..at).unwrap_or_default();
        let from = before.rfind(char::is_whitespace).map_or(0, |blank| {
            let width = before[blank..].chars().next().map_or(1, char::len_utf8);
            blank + width
        });
        let typed = &before[from..];
        let mut found = if typed.starts_with('/') {
            self.paths(typed)
        } else {
            let known = names().filter(|name| name.starts_with(typed));
            known.map(str::to_owned).collect()
        };
        found.sort();
        Ok((from, found))
    }
}

impl rustyline::hint::Hinter for Completion {
    type Hint = String;
}

impl rustyline::highlight::Highlighter for Completion {}

impl rustyline::validate::Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_completed_by_the_names_beneath_its_node() {
        let tree = |node: &str| match node {
            "/" => vec!["admin".to_owned(), "brokers".to_owned()],
            "/brokers" => vec!["ids".to_owned(), "topics".to_owned()],
            _ => Vec::new(),
        };
        assert_eq!(complete_path("/", tree), ["/admin", "/brokers"]);
        assert_eq!(complete_path("/br", tree), ["/brokers"]);
        assert_eq!(complete_path("/brokers/t", tree), ["/brokers/topics"]);
        assert!(complete_path("/none/x", tree).is_empty());
    }
}
