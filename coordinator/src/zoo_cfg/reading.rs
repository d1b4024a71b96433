//! The table of keys while it is read: what is understood is taken out, what is wrong collected.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::error::Fault;

const NO_NUMBER: &str = "not a number that fits";

/// Takes keys out as they are understood; what stays has no meaning.
pub(super) struct Reading {
    pub(super) left: BTreeMap<String, String>,
    pub(super) faults: Vec<Fault>,
}

impl Reading {
    pub(super) fn new(left: BTreeMap<String, String>) -> Self {
        Reading {
            left,
            faults: Vec::new(),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.left.remove(key)
    }

    pub(super) fn wrong(&mut self, key: &str, value: impl Into<String>, why: impl Into<String>) {
        self.faults.push(Fault {
            key: key.to_owned(),
            value: Some(value.into()),
            why: why.into(),
        });
    }

    pub(super) fn missing(&mut self, key: &str, why: &str) {
        self.faults.push(Fault {
            key: key.to_owned(),
            value: None,
            why: why.to_owned(),
        });
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, why: &str) -> Option<T> {
        let value = self.text(key)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.wrong(key, value, why);
        }
        parsed
    }

    /// A number as ZooKeeper's file has them.
    pub(super) fn number<T: FromStr>(&mut self, key: &str, into: &mut T) {
        if let Some(value) = self.parsed(key, NO_NUMBER) {
            *into = value;
        }
    }

    /// A limit that is none at 0 and below.
    pub(super) fn limit<T: TryFrom<i64>>(&mut self, key: &str, into: &mut T) {
        let Some(value) = self.parsed::<i64>(key, NO_NUMBER) else {
            return;
        };
        match T::try_from(value.max(0)) {
            Ok(value) => *into = value,
            Err(_) => self.wrong(key, value.to_string(), NO_NUMBER),
        }
    }

    /// A number as Java's system properties have them: perhaps hexadecimal or octal.
    pub(super) fn property<T: TryFrom<i64>>(&mut self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        let value = java_number(&text).and_then(|value| T::try_from(value).ok());
        if value.is_none() {
            self.wrong(key, text, NO_NUMBER);
        }
        value
    }

    pub(super) fn flag(&mut self, key: &str, into: &mut bool) {
        if let Some(value) = self.text(key) {
            *into = value.eq_ignore_ascii_case("true");
        }
    }

    /// One of ZooKeeper's file, which is `true` or `false` and nothing else.
    pub(super) fn strict_flag(&mut self, key: &str, into: &mut bool) {
        if let Some(value) = self.text(key) {
            match value.to_ascii_lowercase().as_str() {
                "true" => *into = true,
                "false" => *into = false,
                _ => self.wrong(key, value, "neither true nor false"),
            }
        }
    }

    /// Looks at what has no meaning here, but must be right all the same; it stays.
    pub(super) fn look_at(&mut self, key: &str, is_right: impl Fn(&str) -> bool, why: &str) {
        if let Some(value) = self.left.get(key)
            && !is_right(value)
        {
            let value = value.clone();
            self.left.remove(key);
            self.wrong(key, value, why);
        }
    }

    /// The first address a host has.
    pub(super) fn host(&mut self, key: &str) -> Option<IpAddr> {
        let host = self.text(key)?;
        let found = (host.as_str(), 0).to_socket_addrs();
        let found = found.ok().and_then(|mut all| all.next());
        if found.is_none() {
            self.wrong(key, host, "not an address");
        }
        found.map(|found| found.ip())
    }

    /// The values of all keys that begin so.
    pub(super) fn all(&mut self, prefix: &str) -> Vec<(String, String)> {
        let keys: Vec<String> = self
            .left
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect();
        keys.into_iter()
            .filter_map(|key| self.left.remove_entry(&key))
            .collect()
    }
}

/// Names with commas between them.
pub(super) fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Java's `Long.decode`.
fn java_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = ["0x", "0X", "#"]
        .iter()
        .find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}
