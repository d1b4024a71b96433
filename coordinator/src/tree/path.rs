//! Paths: which are legal, and what their parts are.

/// The parent of `path` as the tree knows it (the root is the empty path), and the last name.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// Whether `path` may be written to. ZooKeeper's rule for clients and server alike.
pub(crate) fn is_legal(path: &str) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    if path.len() == 1 {
        return true;
    }
    path[1..]
        .split('/')
        .all(|name| !name.is_empty() && name != "." && name != "..")
        && path.chars().all(is_legal_char)
}

fn is_legal_char(c: char) -> bool {
    // Java sees characters beyond U+FFFF as two surrogates, and refuses those.
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}'
        | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..)
}

/// ZooKeeper's own nodes, which nobody deletes.
pub(crate) fn is_special(path: &str) -> bool {
    matches!(
        path,
        "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_legal_as_zookeeper_says() {
        for legal in ["/", "/a", "/a/b", "/a.b", "/...", "/.a", "/é", "/a b"] {
            assert!(is_legal(legal), "{legal:?}");
        }
        for not in [
            "",
            "a",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/a/..",
            "/../a",
            "/a\0",
            "/\u{1}",
            "/\u{1f600}",
        ] {
            assert!(!is_legal(not), "{not:?}");
        }
    }
}
