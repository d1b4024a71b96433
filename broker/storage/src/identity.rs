//! `meta.properties`: which cluster and broker a directory belongs to.
//!
//! Kafka: `PropertiesUtils`, `MetaProperties`. Version 0 is ZooKeeper's; keys we do not know are kept.

use std::path::Path;

use base::disk::Disk;
use base::durable;

use crate::error::{Error, IdentityFault, Result};
use crate::files::META_PROPERTIES;

const BYTES_MAX: u64 = 1 << 20;
const VERSION: &str = "version";
const BROKER_ID: &str = "broker.id";
const CLUSTER_ID: &str = "cluster.id";

/// The words of one `meta.properties`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub broker_id: Option<i32>,
    pub cluster_id: Option<String>,
    /// Keys that are not ours to judge, in the order found.
    pub others: Vec<(String, String)>,
}

impl Identity {
    /// `None` where the directory has no such file yet.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>> {
        let path = dir.join(META_PROPERTIES);
        if !disk
            .exists(&path)
            .map_err(|e| Error::io("look for", &path, e))?
        {
            return Ok(None);
        }
        let bytes = disk
            .read_small(&path, BYTES_MAX)
            .map_err(|e| Error::io("read", &path, e))?;
        let fault = |what| Error::Identity {
            path: path.clone(),
            what,
        };
        let mut identity = Identity::default();
        let mut versioned = false;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some((key, value)) = split_property(line) else {
                continue;
            };
            match key.as_str() {
                VERSION if value == "0" => versioned = true,
                VERSION => return Err(fault(IdentityFault::Version(value))),
                BROKER_ID => {
                    let id = value
                        .parse()
                        .map_err(|_| fault(IdentityFault::Value(BROKER_ID)))?;
                    identity.broker_id = Some(id);
                }
                CLUSTER_ID => identity.cluster_id = Some(value),
                _ => identity.others.push((key, value)),
            }
        }
        if !versioned {
            return Err(fault(IdentityFault::Missing(VERSION)));
        }
        Ok(Some(identity))
    }

    /// Writes the file as Apache does in ZooKeeper mode. `date` stands in its second comment line.
    pub fn write(&self, disk: &dyn Disk, dir: &Path, date: &str) -> Result<()> {
        let mut text = format!("#\n#{date}\n");
        let mut line = |key: &str, value: &str| {
            text.push_str(&format!("{}={}\n", escape(key, true), escape(value, false)));
        };
        if let Some(id) = self.broker_id {
            line(BROKER_ID, &id.to_string());
        }
        line(VERSION, "0");
        if let Some(id) = &self.cluster_id {
            line(CLUSTER_ID, id);
        }
        for (key, value) in &self.others {
            line(key, value);
        }
        let path = dir.join(META_PROPERTIES);
        durable::replace(disk, &path, text.as_bytes()).map_err(|e| Error::io("write", &path, e))
    }
}

/// One line of a Java properties file: key and value with escapes undone; `None` for the rest.
fn split_property(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with(['#', '!']) {
        return None;
    }
    let mut key = String::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c == '=' || c == ':' || c.is_whitespace() {
            break;
        }
        chars.next();
        key.push(if c == '\\' {
            chars.next().unwrap_or('\\')
        } else {
            c
        });
    }
    let rest: String = chars.collect();
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        value.push(if c == '\\' {
            chars.next().unwrap_or('\\')
        } else {
            c
        });
    }
    Some((key, value.trim_end().to_owned()))
}

fn escape(text: &str, key: bool) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | '=' | ':' | '#' | '!') || (key && c == ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::SystemDisk;

    #[test]
    fn the_file_reads_back_and_keeps_foreign_keys() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(&SystemDisk, dir.path()).unwrap(), None);
        let identity = Identity {
            broker_id: Some(7),
            cluster_id: Some("a=b:c".into()),
            others: vec![("directory.id".into(), "x y".into())],
        };
        identity
            .write(&SystemDisk, dir.path(), "Sat Nov 21 02:00:00 UTC 2026")
            .unwrap();
        assert_eq!(
            Identity::read(&SystemDisk, dir.path()).unwrap(),
            Some(identity)
        );
    }

    #[test]
    fn a_directory_of_kraft_or_of_nobody_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            std::fs::write(dir.path().join(META_PROPERTIES), text).unwrap();
            match Identity::read(&SystemDisk, dir.path()) {
                Err(Error::Identity { what, .. }) => what,
                other => panic!("{text}: {other:?}"),
            }
        };
        assert_eq!(
            refused("version=1\nnode.id=1\n"),
            IdentityFault::Version("1".to_owned())
        );
        for nobodys in ["", "garbage", "broker.id=1\n"] {
            assert_eq!(refused(nobodys), IdentityFault::Missing(VERSION));
        }
    }
}
