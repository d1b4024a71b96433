//! Framed requests to a ZooKeeper server: get, set and create.

use anyhow::{Result, ensure};
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const CREATE: i32 = 1;
pub const GET: i32 = 4;
pub const SET: i32 = 5;
/// A node that exists already, as an error code of the protocol.
pub const NODE_EXISTS: i32 = -110;

/// A socket with a session of its own.
pub async fn connect(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut hello = BytesMut::new();
    hello.put_i32(45);
    hello.put_i32(0);
    hello.put_i64(0);
    hello.put_i32(30_000);
    hello.put_i64(0);
    hello.put_i32(16);
    hello.put_slice(&[0; 16]);
    hello.put_u8(0);
    stream.write_all(&hello).await?;
    read_packet(&mut stream).await?;
    Ok(stream)
}

pub async fn read_packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let len = usize::try_from(stream.read_i32().await?)?;
    ensure!(len < 16 << 20, "a packet of {len} bytes");
    let mut packet = vec![0; len];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

/// Appends one framed request of `operation` on `path`.
pub fn put_request(to: &mut BytesMut, xid: i32, operation: i32, path: &str, bytes: usize) {
    let from = to.len();
    to.put_i32(0);
    to.put_i32(xid);
    to.put_i32(operation);
    to.put_i32(path.len() as i32);
    to.put_slice(path.as_bytes());
    match operation {
        GET => to.put_u8(0),
        SET => {
            put_data(to, bytes);
            to.put_i32(-1);
        }
        _ => {
            put_data(to, bytes);
            // One entry of access control: world, anyone, everything.
            to.put_i32(1);
            to.put_i32(31);
            for word in ["world", "anyone"] {
                to.put_i32(word.len() as i32);
                to.put_slice(word.as_bytes());
            }
            to.put_i32(0);
        }
    }
    let len = (to.len() - from - 4) as i32;
    to[from..from + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_data(to: &mut BytesMut, bytes: usize) {
    to.put_i32(bytes as i32);
    to.put_bytes(b'x', bytes);
}
