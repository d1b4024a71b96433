//! After the sync: transactions into the tree, events and replies out, snapshots taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use base::disk::{Disk, Open};
use base::durable;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::{self, Frame};
use protocol::zookeeper::requests::{Request, RequestHeader};
use protocol::zookeeper::types::{Acl, EventKind, Stat, perms};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::error::Error;
use crate::packing::Packing;
use crate::pipeline::connection::Waiting;
use crate::pipeline::{Asked, InFlight, Pipeline};
use crate::store;
use crate::store::snapshot::Taking;
use crate::tree::{Applied, Happened, path};
use crate::watches::ConnectionId;

/// Nodes written of a snapshot between two rounds of requests: whoever waits meanwhile does not
/// notice.
const PIECE: usize = 128;
/// Bytes that are gathered before the thread of a snapshot is woken for them.
const HEAP: usize = 256 << 10;
/// Of the time while writes wait, a snapshot takes one part in so many: it is in nobody's way, and
/// what it holds is in the log already.
const SNAPSHOT_SHARE: i64 = 10;
/// No more room than this is kept for what goes to the log next.
const ROOM_MAX: usize = 512 << 10;
/// Room for no more changes of one transaction than this is kept.
const HAPPENED_MAX: usize = 64;
/// A snapshot is synced every so many bytes: all of it at once would keep the disk from the log.
const SYNC_EVERY: u64 = 1 << 20;

impl Pipeline {
    /// Hands what was prepared to the log; whether there was anything.
    pub(crate) fn submit(&mut self) -> bool {
        if self.log_bytes.is_empty() {
            return false;
        }
        // What comes next is about as much.
        let room = Vec::with_capacity(self.log_bytes.len().min(ROOM_MAX));
        let bytes = std::mem::replace(&mut self.log_bytes, room);
        self.log.submit(self.log_first, self.zxid, bytes);
        true
    }

    /// Applies and answers all that the log has synced.
    pub(crate) fn commit(&mut self) {
        if let Some(why) = self.log.failure() {
            return self.fail(&why);
        }
        let synced = self.log.synced();
        while self
            .in_flight
            .front()
            .is_some_and(|first| first.header.zxid <= synced)
        {
            if let Some(first) = self.in_flight.pop_front() {
                self.apply(first);
            }
        }
        while self
            .barriers
            .front()
            .is_some_and(|(zxid, _)| *zxid <= self.tree.last_zxid)
        {
            if let Some((_, id)) = self.barriers.pop_front() {
                self.drain(id);
            }
        }
    }

    /// The disk has failed: nobody is told anything any more.
    fn fail(&mut self, why: &str) {
        if self.failed {
            return;
        }
        self.failed = true;
        error!(why, "this server stops serving");
        for connection in self.connections.values() {
            connection.outbox.close();
        }
        self.in_flight.clear();
        self.barriers.clear();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn apply(&mut self, done: InFlight) {
        let InFlight { header, txn, asked } = done;
        let mut happened = std::mem::take(&mut self.happened);
        let applied = self.tree.apply(&header, txn, &mut happened);
        self.pending.applied(header.zxid);
        if !self.watches.is_empty() {
            self.tell(header.zxid, &happened);
        }
        happened.clear();
        // The room that the end of a large session took is not kept.
        if happened.capacity() <= HAPPENED_MAX {
            self.happened = happened;
        }
        if header.op == ops::CLOSE_SESSION {
            let connection = self
                .sessions
                .get(header.session_id)
                .and_then(|s| s.connection);
            self.sessions.remove(header.session_id);
            if let Some(id) = connection
                && asked.is_none_or(|asked| asked.connection != id)
            {
                self.close(id);
            }
        }
        if let Some(asked) = asked {
            self.answer_write(asked, applied);
        }
    }

    /// Events go out before any reply that shows the change.
    fn tell(&mut self, zxid: i64, happened: &[Happened]) {
        for what in happened {
            match what {
                Happened::Created {
                    path,
                    acl,
                    parent_acl,
                } => {
                    let heard = self.watches.fire_data(path);
                    self.deliver(zxid, EventKind::Created, path, acl, heard);
                    self.tell_parent(zxid, path, parent_acl);
                }
                Happened::Deleted {
                    path,
                    acl,
                    parent_acl,
                } => {
                    let heard = self.watches.fire_deleted(path);
                    self.deliver(zxid, EventKind::Deleted, path, acl, heard);
                    self.tell_parent(zxid, path, parent_acl);
                }
                Happened::DataChanged { path, acl } => {
                    let heard = self.watches.fire_data(path);
                    self.deliver(zxid, EventKind::DataChanged, path, acl, heard);
                }
            }
        }
    }

    fn tell_parent(&mut self, zxid: i64, child: &str, acl: &[Acl]) {
        let parent = match path::split(child) {
            Some(("", _)) => "/",
            Some((parent, _)) => parent,
            None => return,
        };
        let heard = self.watches.fire_children(parent);
        self.deliver(zxid, EventKind::ChildrenChanged, parent, acl, heard);
    }

    /// ZooKeeper: whoever may not read the node is not told either.
    fn deliver(
        &mut self,
        zxid: i64,
        kind: EventKind,
        path: &str,
        acl: &[Acl],
        heard: Vec<ConnectionId>,
    ) {
        for id in heard {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            if self.schemes.allows(acl, perms::READ, &connection.ids) {
                let before = connection.out.len();
                replies::write_event(&mut connection.out, zxid, kind, path);
                connection.events += connection.out.len() - before;
                connection.stats.whole.sent += 1;
                self.stats.sent += 1;
                self.dirty.push(id);
            }
        }
    }

    fn answer_write(&mut self, asked: Asked, applied: Applied) {
        let id = asked.connection;
        if asked.op == ops::CREATE_SESSION && asked.code == Code::OK {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.waiting.pop_front();
            }
            self.welcome(id);
            return self.drain(id);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.waiting.pop_front();
        let zxid = self.tree.last_zxid;
        if asked.code == Code::OK {
            let code = if asked.op == ops::MULTI {
                Code::OK
            } else {
                applied.code
            };
            let frame = Frame::reply(&mut connection.out, asked.xid, zxid, code);
            write_result(&mut Writer(&mut connection.out), asked.op, applied);
            frame.end(&mut connection.out);
        } else {
            replies::write_bare(&mut connection.out, asked.xid, zxid, asked.code);
        }
        self.dirty.push(id);
        let latency_ms = self.note_answer(asked);
        self.stats.updates.add(latency_ms);
        if asked.op == ops::CLOSE_SESSION && asked.code == Code::OK {
            self.close(id);
        } else {
            self.drain(id);
        }
    }

    /// Answers the reads that waited for what is now done, and takes up what was held back.
    fn drain(&mut self, id: ConnectionId) {
        self.answer_waiting(id);
        self.resume(id);
    }

    fn answer_waiting(&mut self, id: ConnectionId) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            match connection.waiting.front() {
                Some(Waiting::Read { .. }) => {}
                Some(Waiting::Barrier(zxid)) if *zxid <= self.tree.last_zxid => {
                    connection.waiting.pop_front();
                    continue;
                }
                _ => return,
            }
            let Some(Waiting::Read {
                frame,
                since_us,
                names,
            }) = connection.waiting.pop_front()
            else {
                return;
            };
            connection.reads_waiting -= 1;
            let mut reader = Reader::new(&frame);
            let Ok(header) = RequestHeader::read(&mut reader) else {
                continue;
            };
            let RequestHeader { xid, op } = header;
            let asked = Asked {
                connection: id,
                xid,
                op,
                since_us,
                code: Code::OK,
            };
            self.answer_read(asked, Request::read(op, &mut reader).as_ref().ok(), names);
        }
    }

    /// Leaves what was written for each client.
    pub(crate) fn flush(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let fits = self
                .connections
                .get_mut(&id)
                .is_none_or(|connection| connection.leave());
            if !fits {
                warn!(
                    connection = id,
                    "a client does not take its events; it is dropped"
                );
                self.close(id);
            }
        }
    }

    /// What time brings: sessions that have ended.
    pub(crate) fn expire(&mut self) {
        for session in self.sessions.overdue() {
            // Whom the log owes an answer is not read from for ever; what it says is not heard then.
            if let Some(timeout_ms) = self.waits_for_log(session) {
                self.sessions.touch(session, timeout_ms);
                continue;
            }
            info!(session = format_args!("0x{session:x}"), "session expired");
            self.sessions.set_closing(session);
            self.stats.sessions_expired += 1;
            self.begin_by(session, 0, ops::CLOSE_SESSION, None, &[], |desk, asker| {
                (desk.close_session(asker), None)
            });
            if let Some(id) = self.sessions.attach(session, None) {
                self.close(id);
            }
        }
    }

    /// The timeout of a session whose client waits for what is not on the disk yet.
    fn waits_for_log(&self, session: i64) -> Option<i32> {
        let id = self.sessions.get(session)?.connection?;
        let connection = self.connections.get(&id)?;
        (!connection.waiting.is_empty()).then_some(connection.timeout_ms)
    }

    /// The nodes of sessions that ended before this server began go as those of any session: what comes
    /// after them in the log was decided without them.
    pub(crate) fn end_dead_sessions(&mut self) {
        for session in std::mem::take(&mut self.dead_sessions) {
            self.begin_by(session, 0, ops::CLOSE_SESSION, None, &[], |desk, asker| {
                (desk.close_session(asker), None)
            });
        }
        self.submit();
        self.commit();
    }

    /// Whether something is on its way to the disk.
    pub(crate) fn awaits_disk(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Containers that are empty and nodes whose time is over, at most `most` of them.
    pub(crate) fn remove_expired_nodes(&mut self, most: usize) {
        let wall_ms = self.config.clock.wall_ms();
        let never_used_ms = self.config.container_never_used_ms;
        for path in self
            .tree
            .expired(wall_ms, never_used_ms)
            .into_iter()
            .take(most)
        {
            info!(path, "a container or timed node is removed");
            let write = protocol::zookeeper::requests::Write::DeleteContainer {
                path: Some(path.into()),
            };
            self.begin_by(0, 0, ops::DELETE_CONTAINER, None, &[], |desk, asker| {
                crate::pipeline::outcome(desk.write(&write, asker))
            });
        }
    }

    /// ZooKeeper: somewhere in the second half, so that servers do not all do it at once.
    pub(crate) fn choose_snapshot_point(&mut self) {
        let half = (self.config.snapshot_count / 2).max(1);
        self.snapshot_at = half + self.chance.below(half);
    }

    /// Begins a snapshot where enough was written, or writes the next piece of one.
    pub(crate) fn advance_snapshot(&mut self) {
        if let Some((mut taking, mut file)) = self.snapshot.take() {
            let begun_us = self.config.clock.monotonic_us();
            // Whoever waits for the disk comes by here again, and so does time where nobody does.
            let too_soon = begun_us < self.snapshot_goes_on_us && !self.in_flight.is_empty();
            if too_soon || !file.is_ready() {
                self.snapshot = Some((taking, file));
                return;
            }
            let sessions = self.sessions.iter();
            let sessions = sessions.map(|(id, session)| (id, session.timeout_ms));
            let piece = taking.next_piece(&self.tree, sessions, PIECE);
            let now_us = self.config.clock.monotonic_us();
            self.snapshot_goes_on_us = now_us + (now_us - begun_us) * (SNAPSHOT_SHARE - 1);
            // A piece may be empty before the end: its nodes may all have been deleted meanwhile.
            match (file.give(&piece), taking.is_done()) {
                (true, true) => file.finish(),
                (true, false) => {
                    self.snapshot = Some((taking, file));
                    self.progress.notify_one();
                }
                (false, _) => {}
            }
            return;
        }
        let bytes = self.config.snapshot_bytes;
        let due = self.since_snapshot >= self.snapshot_at
            || (bytes > 0 && self.since_snapshot_bytes >= bytes / 2);
        if !due || self.failed {
            return;
        }
        self.since_snapshot = 0;
        self.since_snapshot_bytes = 0;
        self.choose_snapshot_point();
        if self.submit() {
            self.commit();
        }
        self.log.roll();
        match SnapshotFile::begin(
            Arc::clone(&self.config.disk),
            self.config.snapshots_dir(),
            self.config.snapshot_packing,
            self.tree.last_zxid,
            Arc::clone(&self.progress),
        ) {
            Ok(file) => {
                self.stats.snapshots += 1;
                self.snapshot = Some((Taking::begin(&self.tree), file));
                self.progress.notify_one();
            }
            Err(error) => warn!(%error, "no snapshot is taken"),
        }
    }

    /// Ends the log: all that was prepared is on the disk afterwards, and answered.
    pub(crate) fn stop(&mut self) {
        self.submit();
        self.log.stop();
        self.commit();
        self.flush();
        for connection in self.connections.values() {
            connection.outbox.close();
        }
    }
}

fn write_stat(writer: &mut Writer<'_>, stat: Option<Stat>) {
    stat.unwrap_or_default().write(writer);
}

fn write_result(writer: &mut Writer<'_>, op: i32, applied: Applied) {
    let path = applied.path.as_deref().unwrap_or_default();
    match op {
        ops::CREATE => {
            writer.string(path);
        }
        ops::CREATE2 | ops::CREATE_TTL | ops::CREATE_CONTAINER => {
            write_stat(writer.string(path), applied.stat);
        }
        ops::SET_DATA | ops::SET_ACL => write_stat(writer, applied.stat),
        ops::MULTI => {
            for part in applied.parts {
                write_part(writer, part);
            }
            replies::write_multi_header(writer, ops::ERROR, true, -1);
        }
        _ => {}
    }
}

fn write_part(writer: &mut Writer<'_>, part: Applied) {
    // Kinds with a Stat all answer as create2.
    let op = match part.op {
        ops::CREATE_TTL | ops::CREATE_CONTAINER => ops::CREATE2,
        op => op,
    };
    replies::write_multi_header(writer, op, false, part.code.0);
    if op == ops::ERROR {
        writer.int(part.code.0);
    } else {
        write_result(writer, op, part);
    }
}

/// The thread that writes one snapshot: pieces in, a file with its final name out.
pub(crate) struct SnapshotFile {
    pieces: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
    taken: Arc<std::sync::atomic::AtomicUsize>,
    given: usize,
    /// Not handed over yet.
    heap: Vec<u8>,
}

impl SnapshotFile {
    fn begin(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        packing: Packing,
        zxid: i64,
        progress: Arc<Notify>,
    ) -> Result<Self, Error> {
        let (pieces, incoming) = sync_channel::<Vec<u8>>(4);
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let work = move || {
            let unfinished = dir.join(store::unfinished_name(zxid, packing));
            let path = dir.join(store::snapshot_name(zxid, packing));
            let act = || {
                let file = disk.open(&unfinished, Open::Create)?;
                file.truncate(0)?;
                let (mut at, mut synced) = (0, 0);
                let mut whole = false;
                for piece in incoming {
                    // An empty piece says that all has come; without it the server is stopping.
                    whole = piece.is_empty();
                    let piece = match whole {
                        true => piece,
                        false => packing.pack(piece).map_err(std::io::Error::other)?,
                    };
                    file.write_at(&piece, at)?;
                    at += piece.len() as u64;
                    if at - synced >= SYNC_EVERY {
                        file.sync()?;
                        synced = at;
                    }
                    counted.fetch_add(1, std::sync::atomic::Ordering::Release);
                    progress.notify_one();
                }
                if !whole {
                    return disk.remove_file(&unfinished);
                }
                file.sync()?;
                durable::rename(&*disk, &unfinished, &path)?;
                info!(path = %path.display(), bytes = at, "snapshot taken");
                Ok(())
            };
            if let Err(cause) = act() {
                warn!(path = %path.display(), %cause, "the snapshot cannot be written");
                // It fills a disk that may be full. Where it cannot go, the next start removes it.
                let _stays = disk.remove_file(&unfinished);
            }
        };
        let thread = std::thread::Builder::new()
            .name("zk-snapshot".to_owned())
            .spawn(work)
            .map_err(|cause| Error::Thread {
                name: "zk-snapshot",
                cause,
            })?;
        Ok(SnapshotFile {
            pieces,
            thread,
            taken,
            given: 0,
            heap: Vec::new(),
        })
    }

    /// Whether another piece fits without waiting.
    fn is_ready(&self) -> bool {
        let taken = self.taken.load(std::sync::atomic::Ordering::Acquire);
        self.given - taken.min(self.given) < 3 || self.thread.is_finished()
    }

    /// False where the thread has given up.
    fn give(&mut self, piece: &[u8]) -> bool {
        self.heap.extend_from_slice(piece);
        self.heap.len() < HEAP || self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        let heap = std::mem::take(&mut self.heap);
        self.given += 1;
        !matches!(
            self.pieces.try_send(heap),
            Err(TrySendError::Disconnected(_))
        )
    }

    fn finish(mut self) {
        if !self.heap.is_empty() {
            self.hand_over();
        }
        let _gone = self.pieces.try_send(Vec::new());
    }
}
