//! Requests, read without copying: strings and buffers borrow from the frame.
//!
//! A path may be absent (length −1); whoever handles the request decides what that means.

use std::borrow::Cow;

use crate::zookeeper::jute::{Malformed, Reader};
use crate::zookeeper::ops;
use crate::zookeeper::types::{Acl, SentAcl};

/// A path as sent; `None` where its length was −1.
pub type Path<'a> = Option<Cow<'a, str>>;

/// An access list as sent: absent, or entries of which some may lack scheme or name.
pub type AclList = Option<Vec<SentAcl>>;

/// The first request of every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Vec<u8>,
    /// `None`: a client older than 3.4, whose reply has no such byte either.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(ConnectRequest {
            protocol_version: reader.int()?,
            last_zxid_seen: reader.long()?,
            timeout_ms: reader.int()?,
            session_id: reader.long()?,
            password: reader.buffer()?.unwrap_or_default().to_vec(),
            read_only: if reader.remaining() > 0 {
                Some(reader.bool()?)
            } else {
                None
            },
        })
    }
}

/// What every later request begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub xid: i32,
    pub op: i32,
}

impl RequestHeader {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(RequestHeader {
            xid: reader.int()?,
            op: reader.int()?,
        })
    }
}

/// A creation of any kind; `op` tells which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create<'a> {
    pub op: i32,
    pub path: Path<'a>,
    pub data: Option<&'a [u8]>,
    pub acl: AclList,
    pub flags: i32,
    /// −1 where the operation carries none.
    pub ttl: i64,
}

/// A request that changes something; also an operation within a `multi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    Create(Create<'a>),
    Delete {
        path: Path<'a>,
        version: i32,
    },
    DeleteContainer {
        path: Path<'a>,
    },
    SetData {
        path: Path<'a>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    SetAcl {
        path: Path<'a>,
        acl: AclList,
        version: i32,
    },
    Check {
        path: Path<'a>,
        version: i32,
    },
}

impl Write<'_> {
    pub fn op(&self) -> i32 {
        match self {
            Write::Create(create) => create.op,
            Write::Delete { .. } => ops::DELETE,
            Write::DeleteContainer { .. } => ops::DELETE_CONTAINER,
            Write::SetData { .. } => ops::SET_DATA,
            Write::SetAcl { .. } => ops::SET_ACL,
            Write::Check { .. } => ops::CHECK,
        }
    }

    pub fn path(&self) -> Option<&str> {
        match self {
            Write::Create(create) => create.path.as_deref(),
            Write::Delete { path, .. }
            | Write::DeleteContainer { path }
            | Write::SetData { path, .. }
            | Write::SetAcl { path, .. }
            | Write::Check { path, .. } => path.as_deref(),
        }
    }
}

/// An operation within a `multiRead`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    Data(Path<'a>),
    Children(Path<'a>),
    /// A write, which has no place there.
    None,
}

/// What a client wants to hear again after a reconnect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    pub relative_zxid: i64,
    pub data: Vec<Cow<'a, str>>,
    pub exist: Vec<Cow<'a, str>>,
    pub child: Vec<Cow<'a, str>>,
    pub persistent: Vec<Cow<'a, str>>,
    pub recursive: Vec<Cow<'a, str>>,
}

/// A request, by what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Write(Write<'a>),
    Multi(Vec<Write<'a>>),
    MultiRead(Vec<Read<'a>>),
    Exists {
        path: Path<'a>,
        watch: bool,
    },
    GetData {
        path: Path<'a>,
        watch: bool,
    },
    GetAcl {
        path: Path<'a>,
    },
    GetChildren {
        path: Path<'a>,
        watch: bool,
        stat: bool,
    },
    GetAllChildrenNumber {
        path: Path<'a>,
    },
    GetEphemerals {
        prefix: Path<'a>,
    },
    Sync {
        path: Path<'a>,
    },
    Ping,
    SetWatches(SetWatches<'a>),
    CheckWatches {
        path: Path<'a>,
        kind: i32,
    },
    RemoveWatches {
        path: Path<'a>,
        kind: i32,
    },
    AddWatch {
        path: Path<'a>,
        mode: i32,
    },
    WhoAmI,
    Reconfig,
    Auth {
        scheme: Path<'a>,
        auth: Option<&'a [u8]>,
    },
    Sasl {
        token: Option<&'a [u8]>,
    },
    /// What a handshake comes to; a client may also ask for it.
    CreateSession {
        timeout_ms: i32,
    },
    CloseSession,
    Unknown,
}

impl<'a> Request<'a> {
    /// The body of operation `op`.
    pub fn read(op: i32, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match op {
            ops::CREATE
            | ops::CREATE2
            | ops::CREATE_CONTAINER
            | ops::CREATE_TTL
            | ops::DELETE
            | ops::DELETE_CONTAINER
            | ops::SET_DATA
            | ops::SET_ACL => Request::Write(read_write(op, reader)?),
            ops::MULTI => Request::Multi(read_multi(reader)?),
            ops::MULTI_READ => Request::MultiRead(read_multi_read(reader)?),
            ops::EXISTS => Request::Exists {
                path: reader.string()?,
                watch: reader.bool()?,
            },
            ops::GET_DATA => Request::GetData {
                path: reader.string()?,
                watch: reader.bool()?,
            },
            ops::GET_ACL => Request::GetAcl {
                path: reader.string()?,
            },
            ops::GET_CHILDREN | ops::GET_CHILDREN2 => Request::GetChildren {
                path: reader.string()?,
                watch: reader.bool()?,
                stat: op == ops::GET_CHILDREN2,
            },
            ops::GET_ALL_CHILDREN_NUMBER => Request::GetAllChildrenNumber {
                path: reader.string()?,
            },
            ops::GET_EPHEMERALS => Request::GetEphemerals {
                prefix: reader.string()?,
            },
            ops::SYNC => Request::Sync {
                path: reader.string()?,
            },
            ops::PING => Request::Ping,
            ops::SET_WATCHES | ops::SET_WATCHES2 => Request::SetWatches(SetWatches {
                relative_zxid: reader.long()?,
                data: reader.some_strings()?,
                exist: reader.some_strings()?,
                child: reader.some_strings()?,
                persistent: if op == ops::SET_WATCHES2 {
                    reader.some_strings()?
                } else {
                    Vec::new()
                },
                recursive: if op == ops::SET_WATCHES2 {
                    reader.some_strings()?
                } else {
                    Vec::new()
                },
            }),
            ops::CHECK_WATCHES => Request::CheckWatches {
                path: reader.string()?,
                kind: reader.int()?,
            },
            ops::REMOVE_WATCHES => Request::RemoveWatches {
                path: reader.string()?,
                kind: reader.int()?,
            },
            ops::ADD_WATCH => Request::AddWatch {
                path: reader.string()?,
                mode: reader.int()?,
            },
            ops::WHO_AM_I => Request::WhoAmI,
            ops::RECONFIG => {
                for _ in 0..3 {
                    reader.string()?;
                }
                reader.long()?;
                Request::Reconfig
            }
            ops::AUTH => {
                reader.int()?;
                Request::Auth {
                    scheme: reader.string()?,
                    auth: reader.buffer()?,
                }
            }
            ops::SASL => Request::Sasl {
                token: reader.buffer()?,
            },
            ops::CREATE_SESSION => Request::CreateSession {
                timeout_ms: reader.int()?,
            },
            ops::CLOSE_SESSION => Request::CloseSession,
            _ => Request::Unknown,
        })
    }
}

fn read_acl(reader: &mut Reader<'_>) -> Result<AclList, Malformed> {
    let Some(count) = reader.count(Acl::LEN_MIN)? else {
        return Ok(None);
    };
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(SentAcl::read(reader)?);
    }
    Ok(Some(list))
}

fn read_create<'a>(op: i32, reader: &mut Reader<'a>) -> Result<Create<'a>, Malformed> {
    Ok(Create {
        op,
        path: reader.string()?,
        data: reader.buffer()?,
        acl: read_acl(reader)?,
        flags: reader.int()?,
        ttl: if op == ops::CREATE_TTL {
            reader.long()?
        } else {
            -1
        },
    })
}

fn read_write<'a>(op: i32, reader: &mut Reader<'a>) -> Result<Write<'a>, Malformed> {
    Ok(match op {
        ops::DELETE => Write::Delete {
            path: reader.string()?,
            version: reader.int()?,
        },
        ops::DELETE_CONTAINER => Write::DeleteContainer {
            path: reader.string()?,
        },
        ops::SET_DATA => Write::SetData {
            path: reader.string()?,
            data: reader.buffer()?,
            version: reader.int()?,
        },
        ops::SET_ACL => Write::SetAcl {
            path: reader.string()?,
            acl: read_acl(reader)?,
            version: reader.int()?,
        },
        ops::CHECK => Write::Check {
            path: reader.string()?,
            version: reader.int()?,
        },
        _ => Write::Create(read_create(op, reader)?),
    })
}

/// The header before each operation and after the last one: `None` where it says done.
fn read_multi_header(reader: &mut Reader<'_>) -> Result<Option<i32>, Malformed> {
    let (op, done, _error) = (reader.int()?, reader.bool()?, reader.int()?);
    Ok((!done).then_some(op))
}

fn read_multi<'a>(reader: &mut Reader<'a>) -> Result<Vec<Write<'a>>, Malformed> {
    let mut writes = Vec::new();
    while let Some(op) = read_multi_header(reader)? {
        writes.push(match op {
            ops::CREATE | ops::CREATE2 | ops::CREATE_CONTAINER => {
                let mut create = read_create(op, reader)?;
                // ZooKeeper: flags with a time to live need the operation that carries one.
                if !(0..=4).contains(&create.flags) {
                    return Err(Malformed::Value(create.flags));
                }
                if create.flags == 4 {
                    create.op = ops::CREATE_CONTAINER;
                }
                Write::Create(create)
            }
            ops::CREATE_TTL => {
                let mut create = read_create(op, reader)?;
                // ZooKeeper: without a flag for it the time to live is dropped.
                if !matches!(create.flags, 5 | 6) {
                    create.op = if create.flags == 4 {
                        ops::CREATE_CONTAINER
                    } else {
                        ops::CREATE
                    };
                    create.ttl = -1;
                }
                Write::Create(create)
            }
            ops::DELETE | ops::SET_DATA | ops::CHECK => read_write(op, reader)?,
            other => return Err(Malformed::Value(other)),
        });
    }
    Ok(writes)
}

fn read_multi_read<'a>(reader: &mut Reader<'a>) -> Result<Vec<Read<'a>>, Malformed> {
    let mut reads = Vec::new();
    while let Some(op) = read_multi_header(reader)? {
        reads.push(match op {
            ops::GET_CHILDREN => {
                let path = reader.string()?;
                reader.bool()?;
                Read::Children(path)
            }
            ops::GET_DATA => {
                let path = reader.string()?;
                reader.bool()?;
                Read::Data(path)
            }
            ops::CREATE
            | ops::CREATE2
            | ops::CREATE_CONTAINER
            | ops::CREATE_TTL
            | ops::DELETE
            | ops::SET_DATA
            | ops::CHECK => {
                read_write(op, reader)?;
                Read::None
            }
            other => return Err(Malformed::Value(other)),
        });
    }
    Ok(reads)
}
