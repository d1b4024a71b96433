//! A bare ZooKeeper session on a socket of our own, for the two things the client crate cannot do.
//!
//! - *Closing the session of a former process.* The crate neither tells a session's password nor
//!   takes one, so a broker that was killed could only wait until its old session has expired.
//!   Here the old session is joined again and closed, which frees `/brokers/ids/<id>` and
//!   `/controller` in one transaction.
//! - *Creating nodes whose data is null.* The crate can only write empty data. Kafka tells the two
//!   apart at `/latest_producer_id_block`, which it refuses to read when it is empty.
//!
//! Plain TCP only, as used within seconds of a start. Nothing here is retried: whoever calls has
//! a slower way. Bytes from the server are bounded and never trusted.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer we ask for comes near this.
const FRAME_MAX: usize = 64 * 1024;
const DEFAULT_PORT: &str = "2181";
const OP_CREATE: i32 = 1;
const OP_CLOSE: i32 = -11;
const ERR_NODE_EXISTS: i32 = -110;
const ERR_NO_NODE: i32 = -101;
/// What ZooKeeper mixes into a session's number to make its password
/// (`ZooKeeperServer.superSecret`).
const SUPER_SECRET: i64 = 0xB341_5C00;

/// A session's password.
pub type Password = [u8; 16];

/// What became of a session that was to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was alive and is closed now; its ephemeral nodes are gone.
    Now,
    /// The server does not know it any more.
    Before,
}

/// The password ZooKeeper gives to a session: it follows from the number alone, through Java's
/// `Random`. The servers do not even store it.
pub fn password_of(session: i64) -> Password {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session ^ SUPER_SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = Password::default();
    for chunk in password.chunks_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        // `nextBytes` takes the 32 bits of `nextInt` lowest byte first.
        let bits = u32::try_from(seed >> 16).unwrap_or(0);
        chunk.copy_from_slice(&bits.to_le_bytes());
    }
    password
}

/// Joins a former session and closes it.
pub async fn close_session(hosts: &str, session: i64, password: &Password) -> Result<Closed> {
    within(async {
        let (mut stream, joined) = open(hosts, session, password, 10_000).await?;
        if joined.session != session {
            return Ok(Closed::Before);
        }
        close(&mut stream, 1).await?;
        Ok(Closed::Now)
    })
    .await
}

/// Creates persistent nodes without data, parents first, passing over those that exist. Returns
/// whether the server makes passwords as ZooKeeper does.
pub async fn create_nodes(hosts: &str, chroot: &str, paths: &[String]) -> Result<bool> {
    within(async {
        let (mut stream, joined) = open(hosts, 0, &Password::default(), 10_000).await?;
        let mut out = Vec::new();
        let mut count = 0;
        for path in paths {
            count += 1;
            create_request(&mut out, count, &format!("{chroot}{path}"));
        }
        stream.write_all(&out).await?;
        for _ in 0..count {
            let error = reply_error(&read_frame(&mut stream).await?)?;
            if error != 0 && error != ERR_NODE_EXISTS {
                let what = if error == ERR_NO_NODE {
                    "no parent"
                } else {
                    "refused"
                };
                return Err(Error::other(format!("create base nodes: {what} ({error})")));
            }
        }
        close(&mut stream, count + 1).await?;
        Ok(joined.password == password_of(joined.session))
    })
    .await
}

struct Joined {
    session: i64,
    password: Password,
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_late| Error::from(ErrorKind::TimedOut))?
}

async fn open(
    hosts: &str,
    session: i64,
    password: &Password,
    timeout_ms: i32,
) -> Result<(TcpStream, Joined)> {
    let mut last = Error::from(ErrorKind::NotFound);
    for host in hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
    {
        match join(host, session, password, timeout_ms).await {
            Ok(joined) => return Ok(joined),
            Err(refused) => last = refused,
        }
    }
    Err(last)
}

async fn join(
    host: &str,
    session: i64,
    password: &Password,
    timeout_ms: i32,
) -> Result<(TcpStream, Joined)> {
    let with_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let mut stream = if with_port {
        TcpStream::connect(host).await?
    } else {
        TcpStream::connect(format!("{host}:{DEFAULT_PORT}")).await?
    };
    stream.set_nodelay(true)?;
    let mut body = Vec::with_capacity(64);
    body.extend(0_i32.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.extend(timeout_ms.to_be_bytes());
    body.extend(session.to_be_bytes());
    body.extend(16_i32.to_be_bytes());
    body.extend(password);
    body.push(0);
    let mut frame = Vec::new();
    push_frame(&mut frame, &body);
    stream.write_all(&frame).await?;
    let answer = read_frame(&mut stream).await?;
    let session = answer.get(8..16).and_then(|bytes| bytes.try_into().ok());
    let password = answer.get(20..36).and_then(|bytes| bytes.try_into().ok());
    match (session, password) {
        (Some(session), Some(password)) => Ok((
            stream,
            Joined {
                session: i64::from_be_bytes(session),
                password,
            },
        )),
        _ => Err(Error::from(ErrorKind::InvalidData)),
    }
}

async fn close(stream: &mut TcpStream, xid: i32) -> Result<()> {
    let mut body = Vec::new();
    body.extend(xid.to_be_bytes());
    body.extend(OP_CLOSE.to_be_bytes());
    let mut frame = Vec::new();
    push_frame(&mut frame, &body);
    stream.write_all(&frame).await?;
    // The answer comes once the ephemeral nodes are gone; a server that closes instead has done
    // the same.
    match read_frame(stream).await {
        Ok(frame) => match reply_error(&frame)? {
            0 => Ok(()),
            code => Err(Error::other(format!("close the session: refused ({code})"))),
        },
        Err(end) if end.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

fn create_request(out: &mut Vec<u8>, xid: i32, path: &str) {
    let mut body = Vec::with_capacity(64 + path.len());
    body.extend(xid.to_be_bytes());
    body.extend(OP_CREATE.to_be_bytes());
    push_text(&mut body, path);
    body.extend((-1_i32).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(31_i32.to_be_bytes());
    push_text(&mut body, "world");
    push_text(&mut body, "anyone");
    body.extend(0_i32.to_be_bytes());
    push_frame(out, &body);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(i32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend(text.as_bytes());
}

fn push_frame(out: &mut Vec<u8>, body: &[u8]) {
    out.extend(i32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    out.extend(body);
}

async fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let len = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if len > FRAME_MAX {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn reply_error(frame: &[u8]) -> Result<i32> {
    let bytes = frame.get(12..16).and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(i32::from_be_bytes)
        .ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_javas_random() {
        // `new Random(42)`: nextInt gives -1170105035, 234785527, -1360544799, 205897768.
        let password = password_of(42 ^ SUPER_SECRET);
        let words: Vec<i32> = password
            .chunks(4)
            .map(|chunk| i32::from_le_bytes(chunk.try_into().unwrap()))
            .collect();
        assert_eq!(
            words,
            [-1_170_105_035, 234_785_527, -1_360_544_799, 205_897_768]
        );
    }
}
