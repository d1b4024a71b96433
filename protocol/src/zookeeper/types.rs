//! Records that requests, replies and files share: who may do what, and what a node's state is.

use std::borrow::Cow;

use crate::zookeeper::jute::{Malformed, Reader, Writer};

/// Permission bits of an ACL entry.
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// Who: an authentication scheme and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub scheme: String,
    pub id: String,
}

impl Id {
    pub fn new(scheme: &str, id: &str) -> Self {
        Id {
            scheme: scheme.to_owned(),
            id: id.to_owned(),
        }
    }

    pub fn is_anyone(&self) -> bool {
        self.scheme == "world" && self.id == "anyone"
    }
}

/// One entry of a node's access list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    pub perms: i32,
    pub id: Id,
}

impl Acl {
    /// Everything to everybody.
    pub fn open() -> Self {
        Acl {
            perms: perms::ALL,
            id: Id::new("world", "anyone"),
        }
    }

    /// Bytes the shortest entry takes.
    pub const LEN_MIN: usize = 12;

    pub fn write(&self, writer: &mut Writer<'_>) {
        writer
            .int(self.perms)
            .string(&self.id.scheme)
            .string(&self.id.id);
    }

    pub fn write_list(list: &[Acl], writer: &mut Writer<'_>) {
        writer.len(list.len());
        for acl in list {
            acl.write(writer);
        }
    }

    /// A list of entries that must all be whole: as files hold them.
    pub fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
        let count = reader.count(Acl::LEN_MIN)?.unwrap_or(0);
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let sent = SentAcl::read(reader)?;
            list.push(sent.whole().ok_or(Malformed::Length(-1))?);
        }
        Ok(list)
    }
}

/// The same as a client sent it: scheme and name may be absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SentAcl {
    pub perms: i32,
    pub scheme: Option<String>,
    pub id: Option<String>,
}

impl SentAcl {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let perms = reader.int()?;
        let (scheme, id) = (reader.string()?, reader.string()?);
        Ok(SentAcl {
            perms,
            scheme: scheme.map(Cow::into_owned),
            id: id.map(Cow::into_owned),
        })
    }

    /// `None` where something is absent.
    pub fn whole(self) -> Option<Acl> {
        let (scheme, id) = self.scheme.zip(self.id)?;
        Some(Acl {
            perms: self.perms,
            id: Id { scheme, id },
        })
    }
}

impl From<Acl> for SentAcl {
    fn from(Acl { perms, id }: Acl) -> Self {
        SentAcl {
            perms,
            scheme: Some(id.scheme),
            id: Some(id.id),
        }
    }
}

/// A node's state as clients see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Stat {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Stat {
            czxid: reader.long()?,
            mzxid: reader.long()?,
            ctime: reader.long()?,
            mtime: reader.long()?,
            version: reader.int()?,
            cversion: reader.int()?,
            aversion: reader.int()?,
            ephemeral_owner: reader.long()?,
            data_length: reader.int()?,
            num_children: reader.int()?,
            pzxid: reader.long()?,
        })
    }

    pub fn write(&self, writer: &mut Writer<'_>) {
        writer
            .long(self.czxid)
            .long(self.mzxid)
            .long(self.ctime)
            .long(self.mtime)
            .int(self.version)
            .int(self.cversion)
            .int(self.aversion)
            .long(self.ephemeral_owner)
            .int(self.data_length)
            .int(self.num_children)
            .long(self.pzxid);
    }
}

/// A node's state as files hold it; `cversion` counts creations of children only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatPersisted {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub pzxid: i64,
}

impl StatPersisted {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(StatPersisted {
            czxid: reader.long()?,
            mzxid: reader.long()?,
            ctime: reader.long()?,
            mtime: reader.long()?,
            version: reader.int()?,
            cversion: reader.int()?,
            aversion: reader.int()?,
            ephemeral_owner: reader.long()?,
            pzxid: reader.long()?,
        })
    }

    pub fn write(&self, writer: &mut Writer<'_>) {
        writer
            .long(self.czxid)
            .long(self.mzxid)
            .long(self.ctime)
            .long(self.mtime)
            .int(self.version)
            .int(self.cversion)
            .int(self.aversion)
            .long(self.ephemeral_owner)
            .long(self.pzxid);
    }
}

/// What a watch says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created = 1,
    Deleted = 2,
    DataChanged = 3,
    ChildrenChanged = 4,
}
