//! The server: one epoll, all connections, everything readable before anything is answered.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::event::epoll;

use crate::answers::{self, Asked, BATCH_RECORDS, Speech};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    address: SocketAddr,
    /// Where files are written; left as they are at the end.
    dir: PathBuf,
    /// Written frames are synced, once for all that came together.
    #[arg(long)]
    sync: bool,
    /// How many bytes each partition that is fetched holds.
    #[arg(long, default_value_t = 0)]
    fetch_bytes: u64,
    /// How many of those there are.
    #[arg(long, default_value_t = 1)]
    fetch_partitions: u32,
}

const LISTENER: u64 = u64::MAX;
/// Files are begun anew at this size, as segments are.
const FILE_BYTES_MAX: u64 = 1 << 30;

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    answers: Vec<u8>,
    greeted: bool,
}

struct Floor {
    arguments: Arguments,
    speech: Speech,
    written: File,
    written_bytes: u64,
    files: u32,
    sources: Vec<File>,
    batch_bytes: u64,
    dirty: bool,
}

pub(crate) fn run(arguments: &Arguments, speech: Speech) -> Result<()> {
    std::fs::create_dir_all(&arguments.dir)?;
    let listener = TcpListener::bind(arguments.address).context("listen")?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let read = epoll::EventFlags::IN;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), read)?;
    let mut floor = Floor {
        written: file(&arguments.dir.join("0.log"))?,
        written_bytes: 0,
        files: 0,
        sources: sources(arguments)?,
        batch_bytes: answers::batch()?.len() as u64,
        arguments: arguments.clone(),
        speech,
        dirty: false,
    };
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut next = 0;
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        let mut heard = Vec::new();
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll::add(&poll, &stream, epoll::EventData::new_u64(next), read)?;
                    clients.insert(next, Client::new(stream));
                    next += 1;
                }
            } else if let Some(client) = clients.get_mut(&id) {
                match floor.hear(client) {
                    Ok(true) => heard.push(id),
                    Ok(false) | Err(_) => {
                        clients.remove(&id);
                    }
                }
            }
        }
        if floor.dirty && floor.arguments.sync {
            rustix::fs::fdatasync(&floor.written)?;
        }
        floor.dirty = false;
        for id in heard {
            let gone = clients
                .get_mut(&id)
                .is_some_and(|client| client.answer().is_err());
            if gone {
                clients.remove(&id);
            }
        }
    }
}

fn file(path: &std::path::Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// The bytes of each partition in a file of its own: memory that is read for the first time costs more
/// than the same bytes again. Written in turns, as those of the others are.
fn sources(arguments: &Arguments) -> Result<Vec<File>> {
    let mut batch = answers::batch()?.to_vec();
    let batches = arguments.fetch_bytes.div_ceil(batch.len() as u64);
    if batches == 0 {
        return Ok(Vec::new());
    }
    let path = |number: u32| arguments.dir.join(format!("source.{number}"));
    let numbers = 0..arguments.fetch_partitions;
    let mut files = numbers
        .clone()
        .map(|number| file(&path(number)))
        .collect::<Result<Vec<File>>>()?;
    for number in 0..batches as i64 {
        batch[..8].copy_from_slice(&(number * BATCH_RECORDS).to_be_bytes());
        for to in &mut files {
            to.write_all(&batch)?;
        }
    }
    let open = |number| Ok(File::open(path(number))?);
    numbers.map(open).collect()
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Client {
            stream,
            buffer: vec![0; 2 << 20],
            filled: 0,
            answers: Vec::new(),
            greeted: false,
        }
    }

    fn answer(&mut self) -> Result<()> {
        send(&mut self.stream, &self.answers)?;
        self.answers.clear();
        Ok(())
    }
}

/// Sends all; the load clients always read, so waiting for room is short.
fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => bail!("the client is gone"),
            Ok(sent) => bytes = &bytes[sent..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => wait_for_room(stream)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn wait_for_room(stream: &TcpStream) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut wanted = [PollFd::new(stream, PollFlags::OUT)];
    match poll(&mut wanted, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl Floor {
    /// Reads what is there and does what it asks; false when the client has closed.
    fn hear(&mut self, client: &mut Client) -> Result<bool> {
        loop {
            match client.stream.read(&mut client.buffer[client.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => client.filled += read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) => return Err(e.into()),
            }
            let used = self.frames(client)?;
            client.buffer.copy_within(used..client.filled, 0);
            client.filled -= used;
        }
    }

    fn frames(&mut self, client: &mut Client) -> Result<usize> {
        let mut at = 0;
        while let Some(prefix) = client.buffer[at..client.filled].first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*prefix))?;
            if client.filled - at - 4 < len {
                break;
            }
            let frame = at + 4..at + 4 + len;
            let asked = answers::asked(self.speech, &client.buffer[frame.clone()], client.greeted)?;
            client.greeted = true;
            match asked {
                Asked::Write => self.write(&client.buffer[frame.clone()])?,
                Asked::Fetch { partition, offset } => {
                    let file = usize::try_from(partition).ok();
                    let file = file.and_then(|partition| self.sources.get(partition));
                    let file = file.context("--fetch-bytes, --fetch-partitions: nothing there")?;
                    let range = range(file, offset, self.batch_bytes)?;
                    let head = &client.buffer[frame];
                    answers::put(&mut client.answers, self.speech, &asked, head, range.1);
                    client.answer()?;
                    send_range(&client.stream, file, range)?;
                    at += 4 + len;
                    continue;
                }
                Asked::Echo | Asked::Hello => {}
            }
            let head = &client.buffer[frame];
            answers::put(&mut client.answers, self.speech, &asked, head, 0);
            at += 4 + len;
        }
        Ok(at)
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        let _sum = std::hint::black_box(crc32c::crc32c(frame));
        if self.written_bytes + frame.len() as u64 > FILE_BYTES_MAX {
            self.files += 1;
            self.written = file(&self.arguments.dir.join(format!("{}.log", self.files)))?;
            self.written_bytes = 0;
        }
        self.written.write_all(frame)?;
        self.written_bytes += frame.len() as u64;
        self.dirty = true;
        Ok(())
    }
}

/// Position and length of what a fetch from `offset` gets: one batch, or nothing at the end.
fn range(file: &File, offset: i64, batch: u64) -> Result<(u64, usize)> {
    let position = (offset / BATCH_RECORDS) as u64 * batch;
    let len = file.metadata()?.len().saturating_sub(position).min(batch);
    Ok((position, len as usize))
}

fn send_range(stream: &TcpStream, file: &File, (mut position, len): (u64, usize)) -> Result<()> {
    let end = position + len as u64;
    while position < end {
        let left = (end - position) as usize;
        match rustix::fs::sendfile(stream.as_fd(), file.as_fd(), Some(&mut position), left) {
            Ok(0) => bail!("the file ends early"),
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => wait_for_room(stream)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
