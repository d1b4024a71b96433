//! A client that speaks raw frames: what a test sends is exactly what the server gets.

#![allow(dead_code, reason = "each suite uses its own part")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::ReplyHeader;
use protocol::zookeeper::types::{Acl, Stat};

/// A reply without its frame: the code, the zxid and what follows the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) code: Code,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }

    pub(crate) fn stat(&self) -> Stat {
        Stat::read(&mut self.reader()).unwrap()
    }

    pub(crate) fn strings(&self) -> Vec<String> {
        let mut strings: Vec<String> = self
            .reader()
            .strings()
            .unwrap()
            .into_iter()
            .map(|text| text.into_owned())
            .collect();
        strings.sort();
        strings
    }

    pub(crate) fn string(&self) -> String {
        self.reader().string().unwrap().unwrap().into_owned()
    }
}

/// An event: kind and path.
pub(crate) type Event = (i32, String);

pub(crate) struct Client {
    socket: TcpStream,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
    pub(crate) timeout_ms: i32,
    pub(crate) events: VecDeque<Event>,
    xid: i32,
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut framed = (body.len() as u32).to_be_bytes().to_vec();
    framed.extend_from_slice(body);
    framed
}

pub(crate) fn read_frame(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let mut body = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut body)?;
    Ok(body)
}

pub(crate) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Client> {
        Client::resume(address, 0, &[0; 16], 30_000)
    }

    pub(crate) fn resume(
        address: SocketAddr,
        session: i64,
        password: &[u8],
        timeout_ms: i32,
    ) -> io::Result<Client> {
        let mut socket = dial(address)?;
        let mut body = Vec::new();
        let mut writer = Writer(&mut body);
        writer
            .int(0)
            .long(0)
            .int(timeout_ms)
            .long(session)
            .buffer(Some(password))
            .bool(false);
        socket.write_all(&frame(&body))?;
        let answer = read_frame(&mut socket)?;
        let mut reader = Reader::new(&answer);
        let _version = reader.int().unwrap();
        let timeout_ms = reader.int().unwrap();
        let session = reader.long().unwrap();
        let password = reader.buffer().unwrap().unwrap().to_vec();
        Ok(Client {
            socket,
            session,
            password,
            timeout_ms,
            events: VecDeque::new(),
            xid: 0,
        })
    }

    /// Sends a request without waiting; gives its xid.
    pub(crate) fn send(&mut self, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> io::Result<i32> {
        self.xid += 1;
        let xid = self.xid;
        self.send_as(xid, op, body)?;
        Ok(xid)
    }

    pub(crate) fn send_as(
        &mut self,
        xid: i32,
        op: i32,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.int(xid).int(op);
        body(&mut writer);
        self.socket.write_all(&frame(&bytes))
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// The next reply; events before it are kept.
    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let bytes = read_frame(&mut self.socket)?;
            let mut reader = Reader::new(&bytes);
            let ReplyHeader { xid, zxid, code } = ReplyHeader::read(&mut reader).unwrap();
            if xid == ops::XID_NOTIFICATION {
                let (kind, _state) = (reader.int().unwrap(), reader.int().unwrap());
                let path = reader.string().unwrap().unwrap().into_owned();
                self.events.push_back((kind, path));
                continue;
            }
            let body = bytes[16..].to_vec();
            return Ok(Reply {
                xid,
                zxid,
                code,
                body,
            });
        }
    }

    pub(crate) fn call(
        &mut self,
        op: i32,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> io::Result<Reply> {
        let xid = self.send(op, body)?;
        let reply = self.receive()?;
        assert_eq!(reply.xid, xid, "replies come in order");
        Ok(reply)
    }

    pub(crate) fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Reply {
        self.call(ops::CREATE, |w| {
            create_body(w, path, Some(data), &[Acl::open()], flags)
        })
        .unwrap()
    }

    pub(crate) fn set(&mut self, path: &str, data: &[u8], version: i32) -> Reply {
        self.call(ops::SET_DATA, |w| {
            w.string(path).buffer(Some(data)).int(version);
        })
        .unwrap()
    }

    pub(crate) fn delete(&mut self, path: &str, version: i32) -> Reply {
        self.call(ops::DELETE, |w| {
            w.string(path).int(version);
        })
        .unwrap()
    }

    pub(crate) fn path_call(&mut self, op: i32, path: &str, watch: bool) -> Reply {
        self.call(op, |w| {
            w.string(path).bool(watch);
        })
        .unwrap()
    }

    pub(crate) fn get(&mut self, path: &str, watch: bool) -> Reply {
        self.path_call(ops::GET_DATA, path, watch)
    }

    pub(crate) fn exists(&mut self, path: &str, watch: bool) -> Reply {
        self.path_call(ops::EXISTS, path, watch)
    }

    pub(crate) fn children(&mut self, path: &str, watch: bool) -> Reply {
        self.path_call(ops::GET_CHILDREN, path, watch)
    }

    pub(crate) fn close(mut self) {
        let closed = self.call(ops::CLOSE_SESSION, |_| {});
        assert_eq!(closed.unwrap().code, Code::OK);
    }
}

pub(crate) fn create_body(
    w: &mut Writer<'_>,
    path: &str,
    data: Option<&[u8]>,
    acl: &[Acl],
    flags: i32,
) {
    w.string(path).buffer(data);
    Acl::write_list(acl, w);
    w.int(flags);
}
