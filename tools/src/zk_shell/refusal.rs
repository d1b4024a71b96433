//! What a command says when it does not do what was asked, in the words of ZooKeeper's shell.

use protocol::zookeeper::errors::Code;

/// Why a command ended otherwise than well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such command: the list of them, and an exit code of its own.
    Unknown(String),
    Said(String),
}

impl Refusal {
    pub(crate) fn said(text: impl Into<String>) -> Refusal {
        Refusal::Said(text.into())
    }

    /// A server's refusal of a request on `path`.
    pub(crate) fn of(code: Code, path: &str) -> Refusal {
        let head = match code {
            Code::NO_NODE => "Node does not exist: ",
            Code::NO_CHILDREN_FOR_EPHEMERALS => "Ephemerals cannot have children: ",
            Code::NODE_EXISTS => "Node already exists: ",
            Code::NOT_EMPTY => "Node not empty: ",
            Code::NOT_READ_ONLY => "Not a read-only call: ",
            Code::INVALID_ACL => "Acl is not valid : ",
            Code::NO_AUTH => "Insufficient permission : ",
            Code::BAD_ARGUMENTS => "Arguments are not valid : ",
            Code::BAD_VERSION => "version No is not valid : ",
            Code::QUOTA_EXCEEDED => "Quota has exceeded : ",
            other => return Refusal::Said(sentence(other, path)),
        };
        // Java prints an absent path so.
        let path = if path.is_empty() { "null" } else { path };
        Refusal::Said(format!("{head}{path}"))
    }
}

/// The message of the exception ZooKeeper's client makes of a code.
pub(crate) fn sentence(code: Code, path: &str) -> String {
    let name = match code {
        Code::SYSTEM_ERROR => "SystemError",
        Code::CONNECTION_LOSS => "ConnectionLoss",
        Code::MARSHALLING_ERROR => "MarshallingError",
        Code::UNIMPLEMENTED => "Unimplemented",
        Code::OPERATION_TIMEOUT => "OperationTimeout",
        Code::BAD_ARGUMENTS => "BadArguments",
        Code::API_ERROR => "APIError",
        Code::NO_NODE => "NoNode",
        Code::NO_AUTH => "NoAuth",
        Code::BAD_VERSION => "BadVersion",
        Code::NO_CHILDREN_FOR_EPHEMERALS => "NoChildrenForEphemerals",
        Code::NODE_EXISTS => "NodeExists",
        Code::INVALID_ACL => "InvalidACL",
        Code::AUTH_FAILED => "AuthFailed",
        Code::NOT_EMPTY => "Directory not empty",
        Code::SESSION_EXPIRED => "Session expired",
        Code::SESSION_MOVED => "Session moved",
        Code::NOT_READ_ONLY => "Not a read-only call",
        Code::NO_WATCHER => "No such watcher",
        Code::RECONFIG_DISABLED => "Reconfig is disabled",
        Code::SESSION_CLOSED_REQUIRE_SASL_AUTH => {
            "Session closed because client failed to authenticate"
        }
        Code::QUOTA_EXCEEDED => "Quota has exceeded",
        Code::THROTTLED_OP => "Op throttled due to high load",
        other => return format!("KeeperErrorCode = Unknown error {}", other.0),
    };
    match path {
        "" => format!("KeeperErrorCode = {name}"),
        path => format!("KeeperErrorCode = {name} for {path}"),
    }
}

/// What ZooKeeper's client refuses before it asks.
pub(crate) fn check_path(path: &str) -> Result<(), Refusal> {
    let wrong = match path {
        "" => Some("Path length must be > 0"),
        "/" => return Ok(()),
        path if !path.starts_with('/') => Some("Path must start with / character"),
        path if path.ends_with('/') => Some("Path must not end with / character"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(Refusal::said(wrong));
    }
    match fault(path) {
        Some(reason) => Err(Refusal::Said(format!(
            "Invalid path string \"{path}\" caused by {reason}"
        ))),
        None => Ok(()),
    }
}

/// The first thing wrong inside a path, with Java's count of where.
fn fault(path: &str) -> Option<String> {
    let units: Vec<u16> = path.encode_utf16().collect();
    let slash = u16::from(b'/');
    let dot = u16::from(b'.');
    let at = |at: usize| units.get(at).copied();
    for (i, &unit) in units.iter().enumerate().skip(1) {
        let ends = at(i + 1).is_none_or(|next| next == slash);
        match unit {
            0 => return Some(format!("null character not allowed @{i}")),
            _ if unit == slash && units[i - 1] == slash => {
                return Some(format!("empty node name specified @{i}"));
            }
            _ if unit == dot && units[i - 1] == dot && i >= 2 && units[i - 2] == slash && ends => {
                return Some(format!("relative paths not allowed @{i}"));
            }
            _ if unit == dot && units[i - 1] == slash && ends => {
                return Some(format!("relative paths not allowed @{i}"));
            }
            1..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => {
                // A pair of halves is one letter beyond the sixteen bits, and Java refuses it too.
                return Some(format!("invalid character @{i}"));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_refused_in_zookeepers_words() {
        for (path, said) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            (
                "/a//b",
                "Invalid path string \"/a//b\" caused by empty node name specified @3",
            ),
            (
                "/a/../b",
                "Invalid path string \"/a/../b\" caused by relative paths not allowed @4",
            ),
            (
                "/./b",
                "Invalid path string \"/./b\" caused by relative paths not allowed @1",
            ),
        ] {
            assert_eq!(check_path(path), Err(Refusal::said(said)));
        }
        for path in ["/", "/a", "/a.b/...", "/é"] {
            assert_eq!(check_path(path), Ok(()));
        }
    }
}
