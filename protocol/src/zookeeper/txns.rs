//! What is written to the transaction log: a header, a body by its kind, the tree's digest.

use std::sync::Arc;

use crate::zookeeper::jute::{Malformed, Reader, Writer};
use crate::zookeeper::ops;
use crate::zookeeper::types::Acl;

/// Who changed something, when and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    pub session_id: i64,
    pub cxid: i32,
    pub zxid: i64,
    pub time_ms: i64,
    pub op: i32,
}

/// The tree's digest after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnDigest {
    pub version: i32,
    pub tree: i64,
}

/// The body of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn {
    Create(CreateTxn),
    Delete {
        path: Arc<str>,
    },
    SetData {
        path: Arc<str>,
        data: Option<Box<[u8]>>,
        version: i32,
    },
    SetAcl {
        path: Arc<str>,
        acl: Arc<[Acl]>,
        version: i32,
    },
    Check {
        path: Arc<str>,
        version: i32,
    },
    CreateSession {
        timeout_ms: i32,
    },
    /// `None`: written by a server that did not list the nodes that go with the session.
    CloseSession {
        paths: Option<Vec<Arc<str>>>,
    },
    Error {
        code: i32,
    },
    Multi(Vec<(i32, Txn)>),
}

/// A node that came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTxn {
    pub path: Arc<str>,
    pub data: Option<Box<[u8]>>,
    pub acl: Arc<[Acl]>,
    pub ephemeral: bool,
    /// The parent's count of creations after this one; −1 in files of very old servers.
    pub parent_cversion: i32,
    pub ttl: i64,
}

impl TxnHeader {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(TxnHeader {
            session_id: reader.long()?,
            cxid: reader.int()?,
            zxid: reader.long()?,
            time_ms: reader.long()?,
            op: reader.int()?,
        })
    }

    pub fn write(&self, writer: &mut Writer<'_>) {
        writer
            .long(self.session_id)
            .int(self.cxid)
            .long(self.zxid)
            .long(self.time_ms)
            .int(self.op);
    }
}

impl Txn {
    /// The body of kind `op`.
    pub fn read(op: i32, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match op {
            ops::CREATE | ops::CREATE2 | ops::CREATE_TTL | ops::CREATE_CONTAINER => {
                Txn::Create(read_create(op, reader)?)
            }
            ops::DELETE | ops::DELETE_CONTAINER => Txn::Delete {
                path: path(reader)?,
            },
            ops::SET_DATA | ops::RECONFIG => Txn::SetData {
                path: path(reader)?,
                data: reader.buffer()?.map(Box::from),
                version: reader.int()?,
            },
            ops::SET_ACL => Txn::SetAcl {
                path: path(reader)?,
                acl: Acl::read_list(reader)?.into(),
                version: reader.int()?,
            },
            ops::CHECK => Txn::Check {
                path: path(reader)?,
                version: reader.int()?,
            },
            ops::CREATE_SESSION => Txn::CreateSession {
                timeout_ms: reader.int()?,
            },
            ops::CLOSE_SESSION => Txn::CloseSession {
                paths: read_close(reader)?,
            },
            ops::ERROR => Txn::Error {
                code: reader.int()?,
            },
            ops::MULTI => Txn::Multi(read_multi(reader)?),
            other => return Err(Malformed::Value(other)),
        })
    }

    pub fn write(&self, op: i32, writer: &mut Writer<'_>) {
        match self {
            Txn::Create(create) => create.write(op, writer),
            Txn::Delete { path } => {
                writer.string(path);
            }
            Txn::SetData {
                path,
                data,
                version,
            } => {
                writer.string(path).buffer(data.as_deref()).int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                writer.string(path);
                Acl::write_list(acl, writer);
                writer.int(*version);
            }
            Txn::Check { path, version } => {
                writer.string(path).int(*version);
            }
            Txn::CreateSession { timeout_ms } => {
                writer.int(*timeout_ms);
            }
            Txn::CloseSession { paths } => {
                if let Some(paths) = paths {
                    writer.strings(paths.iter());
                }
            }
            Txn::Error { code } => {
                writer.int(*code);
            }
            Txn::Multi(txns) => {
                writer.len(txns.len());
                for (op, txn) in txns {
                    writer.int(*op);
                    let at = writer.0.len();
                    writer.int(0);
                    txn.write(*op, writer);
                    let len = u32::try_from(writer.0.len() - at - 4)
                        .expect("a transaction came in one frame, shorter than 2 GB");
                    writer.0[at..at + 4].copy_from_slice(&len.to_be_bytes());
                }
            }
        }
    }
}

impl CreateTxn {
    fn write(&self, op: i32, writer: &mut Writer<'_>) {
        writer.string(&self.path).buffer(self.data.as_deref());
        Acl::write_list(&self.acl, writer);
        match op {
            ops::CREATE_TTL => writer.int(self.parent_cversion).long(self.ttl),
            ops::CREATE_CONTAINER => writer.int(self.parent_cversion),
            _ => writer.bool(self.ephemeral).int(self.parent_cversion),
        };
    }
}

fn path(reader: &mut Reader<'_>) -> Result<Arc<str>, Malformed> {
    Ok(reader.string()?.ok_or(Malformed::Length(-1))?.into())
}

fn read_create(op: i32, reader: &mut Reader<'_>) -> Result<CreateTxn, Malformed> {
    let mut create = CreateTxn {
        path: path(reader)?,
        data: reader.buffer()?.map(Box::from),
        acl: Acl::read_list(reader)?.into(),
        ephemeral: false,
        parent_cversion: -1,
        ttl: 0,
    };
    match op {
        ops::CREATE_TTL => {
            create.parent_cversion = reader.int()?;
            create.ttl = reader.long()?;
        }
        ops::CREATE_CONTAINER => create.parent_cversion = reader.int()?,
        _ => {
            create.ephemeral = reader.bool()?;
            // ZooKeeper before 3.4 wrote no version of the parent.
            if reader.remaining() >= 4 {
                create.parent_cversion = reader.int()?;
            }
        }
    }
    Ok(create)
}

fn read_close(reader: &mut Reader<'_>) -> Result<Option<Vec<Arc<str>>>, Malformed> {
    // ZooKeeper before 3.6 wrote nothing here.
    if reader.remaining() == 0 {
        return Ok(None);
    }
    let count = reader.count(4)?.unwrap_or(0);
    let mut paths = Vec::with_capacity(count);
    for _ in 0..count {
        paths.push(path(reader)?);
    }
    Ok(Some(paths))
}

fn read_multi(reader: &mut Reader<'_>) -> Result<Vec<(i32, Txn)>, Malformed> {
    let count = reader.count(8)?.unwrap_or(0);
    let mut txns = Vec::with_capacity(count);
    for _ in 0..count {
        let op = reader.int()?;
        let mut body = Reader::new(reader.buffer()?.unwrap_or_default());
        // A multi within a multi is never written; refusing it bounds the recursion.
        if op == ops::MULTI {
            return Err(Malformed::Value(op));
        }
        txns.push((op, Txn::read(op, &mut body)?));
    }
    Ok(txns)
}
