//! A join storm: members that all come at once, until all hold their share in one generation; then
//! a rolling restart of some.

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
    /// After the storm, so many members leave and come again, one after the other.
    #[arg(long, default_value_t = 0)]
    restarts: usize,
    #[arg(long, default_value_t = 60)]
    seconds_max: u64,
}

/// Between two heartbeats: short, so that what is measured is the server.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(20);
/// So that who comes again is there before the others, without whom it would wait.
const HEAD_START: Duration = Duration::from_millis(1);
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
    let limit = Duration::from_secs(arguments.seconds_max);
    let measured = tokio::time::timeout(limit, async {
        let nobody = callers.into_iter().map(|caller| (caller, String::new()));
        let (storm, mut members) = gather(&arguments, nobody.collect(), Duration::ZERO).await?;
        let mut restarts = Vec::new();
        for _ in 0..arguments.restarts {
            let time;
            (time, members) = restart(&arguments, members).await?;
            restarts.push(time);
        }
        anyhow::Ok((storm, restarts))
    });
    let Ok(measured) = measured.await else {
        bail!("the group was not whole after {limit:?}");
    };
    let (storm, mut restarts) = measured?;
    restarts.sort();
    let half = restarts
        .get(restarts.len() / 2)
        .copied()
        .unwrap_or_default();
    Ok(json!({
        "members": arguments.members,
        "first_join_to_last_sync_ms": storm.as_secs_f64() * 1e3,
        "restart_p50_ms": half.as_secs_f64() * 1e3,
    }))
}

/// Each member's connection and the name it goes by, empty before it has one.
type Members = Vec<(Caller, String)>;

/// All join, those behind the first a `head_start` later; how long until all are in one generation.
async fn gather(
    arguments: &Arguments,
    members: Members,
    head_start: Duration,
) -> Result<(Duration, Members)> {
    let shared = Rc::new(Shared::default());
    shared.whole.set(-1);
    let begin = Instant::now();
    let local = tokio::task::LocalSet::new();
    let mut living = Vec::new();
    for (number, (caller, name)) in members.into_iter().enumerate() {
        let (arguments, shared) = (arguments.clone(), Rc::clone(&shared));
        living.push(local.spawn_local(async move {
            if number > 0 && !head_start.is_zero() {
                tokio::time::sleep(head_start).await;
            }
            live(caller, name, arguments, shared).await
        }));
    }
    let gathered = local.run_until(async {
        let (mut last, mut members) = (Duration::ZERO, Vec::new());
        for one in living {
            let (at, caller, name) = one.await??;
            last = last.max(at.duration_since(begin));
            members.push((caller, name));
        }
        Ok((last, members))
    });
    gathered.await
}

/// Joins until its generation holds everybody; the moment of the sync that did is returned.
async fn live(
    mut caller: Caller,
    mut name: String,
    arguments: Arguments,
    shared: Rc<Shared>,
) -> Result<(Instant, Caller, String)> {
    let metadata = Bytes::from_static(&[0; 32]);
    // A topic's name and four bytes a partition, about.
    let assignment = Bytes::from(vec![0; 16 + 4 * arguments.partitions / arguments.members]);
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
            return Ok((Instant::now(), caller, name));
        }
        beat_until_called(&mut caller, &standing).await?;
    }
}

/// The first member leaves and comes again under a new name, as a client does that is restarted;
/// the others join again at once, as if each heard of it with its next heartbeat. From its join to
/// the last sync of the generation that holds all; it is the last of the line afterwards.
async fn restart(arguments: &Arguments, mut members: Members) -> Result<(Duration, Members)> {
    if let Some((caller, name)) = members.first_mut() {
        member::leave(caller, &arguments.group, name).await?;
        name.clear();
    }
    let (time, mut members) = gather(arguments, members, HEAD_START).await?;
    members.rotate_left(1);
    Ok((time, members))
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
