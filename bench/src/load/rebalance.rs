//! A join storm: members that all come at once, until all hold their share in one generation.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bench::member::{self, Standing};
use bench::wire::Caller;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    address: String,
    #[arg(long, default_value = "storm")]
    group: String,
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Divided among the members; only the size of the assignments depends on it.
    #[arg(long, default_value_t = 1000)]
    partitions: usize,
    #[arg(long, default_value_t = 60)]
    seconds_max: u64,
}

/// Between two heartbeats: short, so that what is measured is the server.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(20);
/// The group is being rebalanced; the generation is an old one.
const REJOIN: [i16; 2] = [27, 22];

/// What the members of this process know of one another.
#[derive(Default)]
struct Shared {
    /// The generation in which all members were seen by the leader.
    whole: Cell<i32>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Value> {
    let mut callers = Vec::new();
    for _ in 0..arguments.members {
        callers.push(Caller::connect(&arguments.address).await?);
    }
    if let Some(first) = callers.first_mut() {
        member::find(first, &arguments.group).await?;
    }
    let shared = Rc::new(Shared::default());
    shared.whole.set(-1);
    let begin = Instant::now();
    let local = tokio::task::LocalSet::new();
    let mut members = Vec::new();
    for caller in callers {
        let (arguments, shared) = (arguments.clone(), Rc::clone(&shared));
        members.push(local.spawn_local(live(caller, arguments, shared)));
    }
    let limit = Duration::from_secs(arguments.seconds_max);
    let done = local.run_until(async {
        let mut last = Duration::ZERO;
        for member in members {
            last = last.max(member.await??.duration_since(begin));
        }
        anyhow::Ok(last)
    });
    let Ok(last) = tokio::time::timeout(limit, done).await else {
        bail!("the group was not whole after {limit:?}");
    };
    Ok(
        json!({ "members": arguments.members, "first_join_to_last_sync_ms": last?.as_secs_f64() * 1e3 }),
    )
}

/// Joins until its generation holds everybody; the moment of the sync that did is returned.
async fn live(mut caller: Caller, arguments: Arguments, shared: Rc<Shared>) -> Result<Instant> {
    let metadata = Bytes::from(vec![0; 32]);
    // A topic's name and four bytes a partition, about.
    let assignment = Bytes::from(vec![0; 16 + 4 * arguments.partitions / arguments.members]);
    let mut name = String::new();
    loop {
        let standing = member::join(&mut caller, &arguments.group, &name, &metadata).await?;
        name.clone_from(&standing.member);
        if standing.members.len() == arguments.members {
            shared.whole.set(standing.generation);
        }
        let error = member::sync(&mut caller, &standing, &assignment).await?;
        if REJOIN.contains(&error) {
            continue;
        }
        ensure!(error == 0, "a sync was answered with error {error}");
        if shared.whole.get() == standing.generation {
            return Ok(Instant::now());
        }
        beat_until_called(&mut caller, &standing).await?;
    }
}

async fn beat_until_called(caller: &mut Caller, standing: &Standing) -> Result<()> {
    let beat = member::heartbeat(standing)?;
    loop {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        caller.stream.write_all(&beat).await?;
        let error = member::heartbeat_error(&bench::wire::read_frame(&mut caller.stream).await?)?;
        if REJOIN.contains(&error) {
            return Ok(());
        }
        ensure!(error == 0, "a heartbeat was answered with error {error}");
    }
}
