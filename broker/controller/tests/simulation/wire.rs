//! A ZooKeeper session whose every message waits for the scheduler.
//!
//! As ZooKeeper orders things: the requests of a session are carried out in the order sent, its
//! answers and watches come back in the order in which the server made them.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use znodes::memory::{Memory, World};
use znodes::store::{
    Answer, Created, Done, Error, Event, Kind, Listener, Node, Op, Stat, State, Store,
};

/// Comes back to the client; `true` where the answer was lost on the way.
type Reply = Box<dyn FnOnce(bool) + Send>;
/// Carried out at the server; `None` where the request never got there.
type Request = Box<dyn FnOnce(Option<Memory>) -> Reply + Send>;

/// Told of every transaction that went through: whose, and what.
pub(crate) type Witness = Arc<dyn Fn(i32, &[Op]) + Send + Sync>;

struct Inside {
    memory: Memory,
    term: u64,
    joined: u64,
    past: Vec<i64>,
    to_server: VecDeque<(bool, Request)>,
    to_client: VecDeque<(bool, Reply)>,
    dead: bool,
}

#[derive(Clone)]
pub(crate) struct Wire {
    broker: i32,
    world: World,
    inside: Arc<Mutex<Inside>>,
    state: watch::Sender<State>,
    witness: Witness,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire of {}", self.broker)
    }
}

fn now<T>(mut verb: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
    match verb.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the memory store takes no time"),
    }
}

impl Wire {
    pub(crate) fn open(broker: i32, world: &World, witness: Witness) -> Wire {
        let memory = world.connect();
        let session = memory.session();
        let (state, _) = watch::channel(State::Alive {
            session,
            term: 1,
            joined: 1,
        });
        let inside = Inside {
            memory,
            term: 1,
            joined: 1,
            past: vec![],
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            dead: false,
        };
        Wire {
            broker,
            world: world.clone(),
            inside: Arc::new(Mutex::new(inside)),
            state,
            witness,
        }
    }

    pub(crate) fn session(&self) -> i64 {
        self.inside.lock().memory.session()
    }

    pub(crate) fn past_sessions(&self) -> Vec<i64> {
        self.inside.lock().past.clone()
    }

    /// The server takes the next request.
    pub(crate) fn serve(&self) -> bool {
        let (request, memory, is_write) = {
            let mut inside = self.inside.lock();
            let Some((is_write, request)) = inside.to_server.pop_front() else {
                return false;
            };
            (request, inside.memory.clone(), is_write)
        };
        // Watches that fire here push into `to_client` before the answer does.
        let reply = request(Some(memory));
        self.inside.lock().to_client.push_back((is_write, reply));
        true
    }

    /// The client hears the next answer or watch.
    pub(crate) fn deliver(&self) -> bool {
        let next = self.inside.lock().to_client.pop_front();
        next.map(|(_, reply)| reply(false)).is_some()
    }

    /// The connection breaks and is made again: writes under way are done or not, and nobody says.
    /// Watches are kept, reads asked again.
    pub(crate) fn reconnect(&self, reaches: impl Fn() -> bool) {
        let (sent, answered, memory) = {
            let mut inside = self.inside.lock();
            let sent = std::mem::take(&mut inside.to_server);
            let answered = std::mem::take(&mut inside.to_client);
            (sent, answered, inside.memory.clone())
        };
        let mut replies: VecDeque<(bool, Reply)> = VecDeque::new();
        for (is_write, reply) in answered {
            match is_write {
                true => replies.push_back((false, Box::new(move |_| reply(true)))),
                false => replies.push_back((false, reply)),
            }
        }
        let mut reached = true;
        for (is_write, request) in sent {
            if !is_write {
                replies.push_back((false, request(Some(memory.clone()))));
                continue;
            }
            reached = reached && reaches();
            let reply = request(reached.then(|| memory.clone()));
            replies.push_back((false, Box::new(move |_| reply(true))));
        }
        let mut inside = self.inside.lock();
        // What fired meanwhile came in while we looked away: it goes behind.
        replies.append(&mut inside.to_client);
        inside.joined += 1;
        let (session, term, joined) = (inside.memory.session(), inside.term, inside.joined);
        inside.to_client = replies;
        let state = self.state.clone();
        inside.to_client.push_back((
            false,
            Box::new(move |_| {
                state.send_if_modified(|now| {
                    let same = now.term() == term && now.is_alive();
                    if same {
                        *now = State::Alive {
                            session,
                            term,
                            joined,
                        };
                    }
                    same
                });
            }),
        ));
    }

    /// The session is over for the client, and for the server too if `at_server`; a new one opens.
    pub(crate) fn renew(&self, at_server: bool) {
        let old = self.session();
        if at_server {
            self.world.expire(old);
        }
        let mut inside = self.inside.lock();
        let lost: Vec<Reply> = inside
            .to_server
            .drain(..)
            .map(|(_, request)| request(None))
            .collect();
        let answers = std::mem::take(&mut inside.to_client);
        let term = inside.term;
        inside.memory = self.world.connect();
        inside.past.push(old);
        inside.term += 1;
        let (session, next, joined) = (inside.memory.session(), inside.term, inside.joined);
        drop(inside);
        self.state
            .send_replace(State::Expired { session: old, term });
        for reply in lost.into_iter().chain(answers.into_iter().map(|one| one.1)) {
            reply(true);
        }
        let state = self.state.clone();
        self.inside.lock().to_client.push_back((
            false,
            Box::new(move |_| {
                state.send_replace(State::Alive {
                    session,
                    term: next,
                    joined,
                });
            }),
        ));
    }

    /// kill -9: what is on its way may get there, nothing comes back.
    pub(crate) fn kill(&self, reaches: impl Fn() -> bool) {
        let (sent, memory) = {
            let mut inside = self.inside.lock();
            inside.dead = true;
            inside.to_client.clear();
            (std::mem::take(&mut inside.to_server), inside.memory.clone())
        };
        for (_, request) in sent {
            if !reaches() {
                break;
            }
            drop(request(Some(memory.clone())));
        }
        self.inside.lock().to_client.clear();
        self.state.send_replace(State::Closed);
    }

    fn listener(&self, listener: Listener) -> Listener {
        let inside = Arc::downgrade(&self.inside);
        let term = self.inside.lock().term;
        Listener::new(move |event: Event| {
            let Some(inside) = inside.upgrade() else {
                return;
            };
            let listener = listener.clone();
            let mut inside = inside.lock();
            if inside.term == term && !inside.dead {
                inside
                    .to_client
                    .push_back((false, Box::new(move |_| listener.tell(event))));
            }
        })
    }

    fn verb<T: Send + 'static>(
        &self,
        is_write: Option<&str>,
        run: impl FnOnce(Memory) -> Result<T, Error> + Send + 'static,
    ) -> Answer<'static, T> {
        let path = is_write.unwrap_or_default().to_owned();
        let (tell, told) = oneshot::channel();
        let request: Request = Box::new(move |memory| {
            let outcome = memory.map(run);
            Box::new(move |lost| {
                let answer = match outcome {
                    Some(outcome) if !lost => outcome,
                    _ => Err(Error::Unknown {
                        path,
                        reason: "connection lost".to_owned(),
                    }),
                };
                // Whoever asked may be gone.
                let _gone = tell.send(answer);
            })
        });
        {
            let mut inside = self.inside.lock();
            if !inside.dead {
                inside.to_server.push_back((is_write.is_some(), request));
            }
        }
        let reads_again = is_write.is_none();
        Box::pin(async move {
            match told.await {
                // A read whose session ended under it.
                Ok(Err(Error::Unknown { .. })) if reads_again => Err(Error::SessionEnded),
                Ok(answer) => answer,
                Err(_killed) => Err(Error::SessionEnded),
            }
        })
    }
}

impl Store for Wire {
    fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>> {
        let (path, watch) = (path.to_owned(), watch.map(|one| self.listener(one)));
        self.verb(None, move |memory| now(memory.get(&path, watch)))
    }

    fn exists<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Stat>> {
        let (path, watch) = (path.to_owned(), watch.map(|one| self.listener(one)));
        self.verb(None, move |memory| now(memory.exists(&path, watch)))
    }

    fn list<'a>(
        &'a self,
        path: &'a str,
        watch: Option<Listener>,
    ) -> Answer<'a, Option<Vec<String>>> {
        let (path, watch) = (path.to_owned(), watch.map(|one| self.listener(one)));
        self.verb(None, move |memory| now(memory.list(&path, watch)))
    }

    fn get_many(
        &self,
        paths: Vec<String>,
        watch: Option<Listener>,
    ) -> Answer<'_, Vec<Option<Node>>> {
        let watch = watch.map(|one| self.listener(one));
        self.verb(None, move |memory| now(memory.get_many(paths, watch)))
    }

    fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created> {
        let (at, data) = (path.to_owned(), data.to_vec());
        let (witness, broker) = (Arc::clone(&self.witness), self.broker);
        self.verb(Some(path), move |memory| {
            let done = now(memory.create(&at, &data, kind));
            if done.is_ok() {
                witness(
                    broker,
                    &[Op::Create {
                        path: at,
                        data,
                        kind,
                    }],
                );
            }
            done
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat> {
        let op = Op::set(path, data, version);
        let (witness, broker) = (Arc::clone(&self.witness), self.broker);
        let (at, data) = (path.to_owned(), data.to_vec());
        self.verb(Some(path), move |memory| {
            let done = now(memory.set(&at, &data, version));
            if done.is_ok() {
                witness(broker, &[op]);
            }
            done
        })
    }

    fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()> {
        let at = path.to_owned();
        let (witness, broker) = (Arc::clone(&self.witness), self.broker);
        self.verb(Some(path), move |memory| {
            let done = now(memory.delete(&at, version));
            if done.is_ok() {
                witness(broker, &[Op::delete(at, version)]);
            }
            done
        })
    }

    fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>> {
        let path = ops.last().map_or("", Op::path).to_owned();
        let (witness, broker) = (Arc::clone(&self.witness), self.broker);
        self.verb(Some(&path), move |memory| {
            let done = now(memory.multi(ops.clone()));
            if done.is_ok() {
                witness(broker, &ops);
            }
            done
        })
    }

    fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>> {
        // Sent one behind the other: each its own request, as on a real connection.
        let sent: Vec<_> = batches.into_iter().map(|ops| self.multi(ops)).collect();
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(sent.len());
            for one in sent {
                match one.await {
                    Err(Error::SessionEnded) => return Err(Error::SessionEnded),
                    outcome => outcomes.push(outcome),
                }
            }
            Ok(outcomes)
        })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}
