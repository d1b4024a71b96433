//! A consumer of all partitions on a connection of its own, told when each record should have left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use protocol::batch::split;
use protocol::kafka::apis::Api;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::{BrokerId, FetchRequest, RequestKind, ResponseKind};

use crate::target::Target;
use bench::wire::{Caller, FETCH_VERSION, topic_name};

/// By partition, when the records that have not arrived yet should have left; in the order of
/// their offsets, as one connection produces to it.
pub(crate) type Departures = Rc<RefCell<Vec<VecDeque<Instant>>>>;

const WAIT_MS: i32 = 500;
const BYTES_MAX: i32 = 1 << 20;

/// Reads until `total` records have come; how long each took.
pub(crate) async fn consume(
    at: Target,
    departures: Departures,
    total: u64,
) -> Result<Histogram<u64>> {
    let mut caller = Caller::connect(&at.address).await?;
    let mut offsets = vec![0_i64; usize::try_from(at.partitions)?];
    let mut histogram = Histogram::new(3)?;
    while histogram.len() < total {
        let asked = request(&at.topic, &offsets)?;
        let ResponseKind::Fetch(answer) = caller.ask(Api::Fetch, FETCH_VERSION, &asked).await?
        else {
            bail!("not an answer to Fetch");
        };
        let now = Instant::now();
        let mut departures = departures.borrow_mut();
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let error = partition.error_code;
            ensure!(error == 0, "fetch was answered with error {error}");
            let index = usize::try_from(partition.partition_index)?;
            let Some(records) = &partition.records else {
                continue;
            };
            for batch in split(records) {
                let Ok(batch) = batch else { break };
                let next = batch.header().next_offset().0;
                for _ in offsets[index]..next {
                    if let Some(due) = departures[index].pop_front() {
                        histogram.record((now - due).as_micros() as u64)?;
                    }
                }
                offsets[index] = next;
            }
        }
    }
    Ok(histogram)
}

fn request(topic: &str, offsets: &[i64]) -> Result<RequestKind> {
    let mut partitions = Vec::with_capacity(offsets.len());
    for (index, offset) in offsets.iter().enumerate() {
        partitions.push(
            FetchPartition::default()
                .with_partition(i32::try_from(index)?)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(BYTES_MAX),
        );
    }
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(partitions);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(BYTES_MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    Ok(RequestKind::Fetch(request))
}
