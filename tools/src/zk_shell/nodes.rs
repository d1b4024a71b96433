//! Requests about nodes, as the shell's commands need them.

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Malformed, Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::types::{Acl, Stat};

use crate::zk_shell::refusal::Refusal;
use crate::zk_shell::session::Session;

/// A node's bytes; a node may have none.
pub(crate) type Data = Option<Vec<u8>>;

/// The nodes a session sees.
pub(crate) struct Nodes<'a>(pub(crate) &'a Session);

/// How a node is to be made.
pub(crate) struct Making {
    pub(crate) op: i32,
    pub(crate) flags: i32,
    pub(crate) ttl: Option<i64>,
}

/// An answer that cannot be read is one of a server that is none.
fn unreadable(_: Malformed) -> Code {
    Code::MARSHALLING_ERROR
}

impl Nodes<'_> {
    fn ask(&self, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> Result<Vec<u8>, Code> {
        self.0.ask(op, body)
    }

    /// Whether there is such a node, and its state.
    pub(crate) fn stat(&self, path: &str, watch: bool) -> Result<Option<Stat>, Code> {
        let whole = self.0.whole(path);
        let answer = self.ask(ops::EXISTS, |w| {
            w.string(&whole).bool(watch);
        });
        if watch && matches!(answer, Ok(_) | Err(Code::NO_NODE)) {
            self.0.note_watch(ops::EXISTS, path, answer.is_err());
        }
        match answer {
            Ok(body) => Ok(Some(
                Stat::read(&mut Reader::new(&body)).map_err(unreadable)?,
            )),
            Err(Code::NO_NODE) => Ok(None),
            Err(code) => Err(code),
        }
    }

    pub(crate) fn exists(&self, path: &str) -> Result<Option<Stat>, Refusal> {
        self.stat(path, false)
            .map_err(|code| Refusal::of(code, path))
    }

    pub(crate) fn get(&self, path: &str, watch: bool) -> Result<(Data, Stat), Refusal> {
        self.read_data(path, watch)
            .map_err(|code| Refusal::of(code, path))
    }

    pub(crate) fn data(&self, path: &str) -> Result<Data, Code> {
        Ok(self.read_data(path, false)?.0)
    }

    fn read_data(&self, path: &str, watch: bool) -> Result<(Data, Stat), Code> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::GET_DATA, |w| {
            w.string(&whole).bool(watch);
        })?;
        if watch {
            self.0.note_watch(ops::GET_DATA, path, false);
        }
        let mut reader = Reader::new(&body);
        let data = reader.buffer().map_err(unreadable)?.map(<[u8]>::to_vec);
        Ok((data, Stat::read(&mut reader).map_err(unreadable)?))
    }

    /// The server's own configuration; it lies outside of any chroot.
    pub(crate) fn config(&self, watch: bool) -> Result<(Data, Stat), Code> {
        let body = self.ask(ops::GET_DATA, |w| {
            w.string("/zookeeper/config").bool(watch);
        })?;
        let mut reader = Reader::new(&body);
        let data = reader.buffer().map_err(unreadable)?.map(<[u8]>::to_vec);
        Ok((data, Stat::read(&mut reader).map_err(unreadable)?))
    }

    /// Names of children, in order.
    pub(crate) fn children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Code> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::GET_CHILDREN2, |w| {
            w.string(&whole).bool(watch);
        })?;
        if watch {
            self.0.note_watch(ops::GET_CHILDREN2, path, false);
        }
        let mut reader = Reader::new(&body);
        let names = reader.strings().map_err(unreadable)?;
        let mut names: Vec<String> = names.into_iter().map(|name| name.into_owned()).collect();
        // Java compares letters of sixteen bits.
        names.sort_by(|one, other| one.encode_utf16().cmp(other.encode_utf16()));
        Ok((names, Stat::read(&mut reader).map_err(unreadable)?))
    }

    pub(crate) fn set(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Refusal> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::SET_DATA, |w| {
            w.string(&whole).buffer(Some(data)).int(version);
        });
        body.and_then(|body| Stat::read(&mut Reader::new(&body)).map_err(unreadable))
            .map_err(|code| Refusal::of(code, path))
    }

    /// An open, lasting node.
    pub(crate) fn create(&self, path: &str, data: Option<&[u8]>) -> Result<(), Code> {
        let making = Making {
            op: ops::CREATE,
            flags: 0,
            ttl: None,
        };
        self.create_as(&making, path, data, &[Acl::open()])
            .map(|_| ())
    }

    /// A node of any kind; the path it got.
    pub(crate) fn create_as(
        &self,
        making: &Making,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
    ) -> Result<String, Code> {
        let whole = self.0.whole(path);
        let body = self.ask(making.op, |w| {
            w.string(&whole).buffer(data);
            Acl::write_list(acl, w);
            w.int(making.flags);
            if let Some(ttl) = making.ttl {
                w.long(ttl);
            }
        })?;
        let made = Reader::new(&body).string().map_err(unreadable)?;
        Ok(self.0.shown(&made.unwrap_or_default()).to_owned())
    }

    pub(crate) fn delete(&self, path: &str, version: i32) -> Result<(), Refusal> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::DELETE, |w| {
            w.string(&whole).int(version);
        });
        body.map(|_| ()).map_err(|code| Refusal::of(code, path))
    }

    /// Many at once, or none of them; whether they are gone.
    pub(crate) fn delete_all(&self, paths: &[String]) -> Result<bool, Code> {
        let body = self.ask(ops::MULTI, |w| {
            for path in paths {
                w.int(ops::DELETE).bool(false).int(-1);
                w.string(&self.0.whole(path)).int(-1);
            }
            w.int(-1).bool(true).int(-1);
        })?;
        let first = Reader::new(&body).int().map_err(unreadable)?;
        Ok(first != ops::ERROR)
    }

    pub(crate) fn acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), Refusal> {
        let whole = self.0.whole(path);
        let read = || {
            let body = self.ask(ops::GET_ACL, |w| {
                w.string(&whole);
            })?;
            let mut reader = Reader::new(&body);
            let list = Acl::read_list(&mut reader).map_err(unreadable)?;
            Ok((list, Stat::read(&mut reader).map_err(unreadable)?))
        };
        read().map_err(|code| Refusal::of(code, path))
    }

    pub(crate) fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, Code> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::SET_ACL, |w| {
            w.string(&whole);
            Acl::write_list(acl, w);
            w.int(version);
        })?;
        Stat::read(&mut Reader::new(&body)).map_err(unreadable)
    }

    pub(crate) fn count_beneath(&self, path: &str) -> Result<i32, Code> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::GET_ALL_CHILDREN_NUMBER, |w| {
            w.string(&whole);
        })?;
        Reader::new(&body).int().map_err(unreadable)
    }

    pub(crate) fn ephemerals(&self, path: &str) -> Result<Vec<String>, Code> {
        let whole = self.0.whole(path);
        let body = self.ask(ops::GET_EPHEMERALS, |w| {
            w.string(&whole);
        })?;
        let names = Reader::new(&body).strings().map_err(unreadable)?;
        Ok(names.into_iter().map(|name| name.into_owned()).collect())
    }

    pub(crate) fn sync(&self, path: &str) -> Result<(), Code> {
        let whole = self.0.whole(path);
        self.ask(ops::SYNC, |w| {
            w.string(&whole);
        })
        .map(|_| ())
    }

    /// Who the server takes this session for: scheme and user.
    pub(crate) fn who_am_i(&self) -> Result<Vec<(String, String)>, Code> {
        let body = self.ask(ops::WHO_AM_I, |_| {})?;
        let mut reader = Reader::new(&body);
        let mut read = || -> Result<Vec<(String, String)>, Malformed> {
            let count = reader.count(8)?.unwrap_or_default();
            let mut users = Vec::with_capacity(count);
            for _ in 0..count {
                let (scheme, user) = (reader.string()?, reader.string()?);
                users.push((
                    scheme.unwrap_or_default().into_owned(),
                    user.unwrap_or_default().into_owned(),
                ));
            }
            Ok(users)
        };
        read().map_err(unreadable)
    }

    /// A change of the ensemble; the configuration it came to.
    pub(crate) fn reconfigure(
        &self,
        wanted: [Option<&str>; 3],
        version: i64,
    ) -> Result<(Vec<u8>, Stat), Code> {
        let body = self.ask(ops::RECONFIG, |w| {
            for text in wanted {
                w.buffer(text.map(str::as_bytes));
            }
            w.long(version);
        })?;
        let mut reader = Reader::new(&body);
        let data = reader.buffer().map_err(unreadable)?.unwrap_or_default();
        let data = data.to_vec();
        Ok((data, Stat::read(&mut reader).map_err(unreadable)?))
    }
}
