//! What is on the wire: requests by leader, and what their answers mean for the batches in them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use client::ClientError;
use client::connection::{Connection, Ticket};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::kafka::admin::{text, topic_name};
use crate::kafka::offsets::Place;
use crate::kafka::producer::{Batch, Flight, Producer, Undelivered};

impl Producer {
    /// One request's worth of batches for each leader that may be asked now.
    pub(super) fn gather(&mut self, now: i64) -> BTreeMap<i32, Vec<(Place, Batch)>> {
        let mut requests: BTreeMap<i32, (usize, Vec<(Place, Batch)>)> = BTreeMap::new();
        for (place, lane) in &mut self.lanes {
            let waits = lane.careful && lane.flying > 0 || now < lane.again_at_ms;
            if lane.ready.is_empty() || waits {
                continue;
            }
            let leaders = self.topics.get(&place.0).map(|topic| &topic.leaders);
            let leader = leaders
                .and_then(|all| all.get(place.1 as usize))
                .copied()
                .unwrap_or(-1);
            let Some(node) = self.admin.nodes.get(&leader) else {
                lane.again_at_ms = now + self.config.retry_backoff_ms;
                self.stale = true;
                continue;
            };
            let flying = self.flights.get(&node.address()).map_or(0, VecDeque::len);
            if flying >= self.config.in_flight_max {
                continue;
            }
            let (bytes, batches) = requests.entry(leader).or_default();
            let size = lane.ready.front().map_or(0, |batch| batch.bytes.len());
            let fits = batches.is_empty() || *bytes + size <= self.config.request_bytes_max;
            if fits && let Some(batch) = lane.ready.pop_front() {
                lane.flying += 1;
                *bytes += size;
                batches.push((place.clone(), batch));
            }
        }
        requests
            .into_iter()
            .map(|(leader, (_, batches))| (leader, batches))
            .collect()
    }

    pub(super) async fn dispatch(&mut self, leader: i32, batches: Vec<(Place, Batch)>) {
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for ((topic, partition), batch) in &batches {
            let partition = PartitionProduceData::default()
                .with_index(*partition)
                .with_records(Some(batch.bytes.clone()));
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TopicProduceData::default()
                .with_name(topic_name(name))
                .with_partition_data(partitions)
        });
        let transactional = self.config.transactional.as_deref();
        let request = ProduceRequest::default()
            .with_transactional_id(transactional.map(|id| TransactionalId(text(id))))
            .with_acks(self.config.acks)
            .with_timeout_ms(self.config.request_timeout_ms)
            .with_topic_data(topics.collect());
        let address = self.admin.address(leader).unwrap_or_default();
        let sent = match self.admin.pool.connection(&address).await {
            // Kafka: what did not leave is not a try; it waits until it expires.
            Err(cause) => {
                let failure = self.admin.explain(leader, address, cause);
                self.admin.tell(&failure);
                for (place, batch) in batches {
                    self.land(&place);
                    self.wait_on(&place, batch);
                }
                return;
            }
            Ok(connection) => {
                let patience_ms = self.config.request_timeout_ms.unsigned_abs();
                let sent = leave(connection, self.config.acks, request);
                // Who does not read would have us write for ever.
                timeout(Duration::from_millis(patience_ms.into()), sent).await
            }
        };
        self.figures.requests += 1;
        match sent {
            Ok(Ok(Some(ticket))) => {
                let flights = self.flights.entry(address).or_default();
                flights.push_back(Flight {
                    correlation_id: ticket.correlation_id,
                    since_ms: self.admin.clock.monotonic_ms(),
                    batches,
                });
            }
            Ok(Ok(None)) => {
                self.unanswered.insert(address);
                for (place, batch) in batches {
                    self.land(&place);
                    self.tell(place, batch, Ok(-1));
                }
            }
            failed => {
                let cause = match failed {
                    Ok(Err(cause)) => cause,
                    _ => self.no_answer(&address),
                };
                self.lost(&address, cause);
                for (place, batch) in batches {
                    self.land(&place);
                    self.again(place, batch, ErrorCode::NetworkException, None);
                }
            }
        }
    }

    fn no_answer(&self, address: &str) -> ClientError {
        ClientError::Timeout {
            address: address.to_owned(),
            api: Api::Produce,
            waited_ms: u64::from(self.config.request_timeout_ms.unsigned_abs()),
        }
    }

    /// Gives up connections whose oldest request is owed an answer for too long.
    pub(super) fn overdue(&mut self) {
        let now = self.admin.clock.monotonic_ms();
        let patience_ms = i64::from(self.config.request_timeout_ms);
        let late = |flights: &VecDeque<Flight>| {
            let oldest = flights.front();
            oldest.is_some_and(|flight| now - flight.since_ms > patience_ms)
        };
        let late: Vec<String> = self
            .flights
            .iter()
            .filter(|(_, flights)| late(flights))
            .map(|(address, _)| address.clone())
            .collect();
        for address in late {
            let cause = self.no_answer(&address);
            self.lost(&address, cause);
        }
    }

    fn land(&mut self, place: &Place) {
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.flying = lane.flying.saturating_sub(1);
        }
    }

    pub(super) fn settle(
        &mut self,
        address: &str,
        correlation_id: i32,
        answer: &ProduceResponse,
    ) -> Result<(), Failure> {
        self.admin.heard(address);
        let Some(flight) = self.flights.get_mut(address).and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        debug_assert_eq!(
            flight.correlation_id, correlation_id,
            "answers come in the order of the requests"
        );
        let latency = self.admin.clock.monotonic_ms() - flight.since_ms;
        self.figures.latency_ms += latency.unsigned_abs();
        let worst = &mut self.figures.latency_ms_max;
        *worst = (*worst).max(latency.unsigned_abs());
        let mut told: HashMap<Place, (i16, i64, Option<String>)> = HashMap::new();
        for topic in &answer.responses {
            for partition in &topic.partition_responses {
                let place = (topic.name.0.to_string(), partition.index);
                let message = partition
                    .error_message
                    .as_ref()
                    .map(|text| text.to_string());
                told.insert(
                    place,
                    (partition.error_code, partition.base_offset, message),
                );
            }
        }
        for (place, batch) in flight.batches {
            self.land(&place);
            let unknown = (ErrorCode::UnknownServerError.code(), -1, None);
            let (code, offset, message) = told.remove(&place).unwrap_or(unknown);
            match ErrorCode::of(code) {
                // Kafka: a batch is too large for the broker sooner than any of its records.
                ErrorCode::MessageTooLarge if batch.tags.len() > 1 => {
                    if let Some(lane) = self.lanes.get_mut(&place) {
                        lane.careful = true;
                    }
                    self.halve(&place, batch)?;
                }
                ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                    if let Some(lane) = self.lanes.get_mut(&place) {
                        lane.careful = false;
                    }
                    self.tell(place, batch, Ok(offset));
                }
                error => self.again(place, batch, error, message),
            }
        }
        Ok(())
    }

    /// Everything on the wire to an address goes back to its lanes.
    pub(super) fn lost(&mut self, address: &str, cause: ClientError) {
        self.admin.pool.close(address);
        let leads = |node: &&client::Node| node.address() == address;
        let leader = self.admin.nodes.values().find(leads).map(|node| node.id);
        let failure = match leader {
            Some(id) => self.admin.explain(id, address.to_owned(), cause),
            None => cause.into(),
        };
        self.admin.tell(&failure);
        for flight in self.flights.remove(address).unwrap_or_default() {
            for (place, batch) in flight.batches {
                self.land(&place);
                self.again(place, batch, ErrorCode::NetworkException, None);
            }
        }
    }

    /// Queues a batch for another try, or gives it up.
    fn again(&mut self, place: Place, mut batch: Batch, error: ErrorCode, message: Option<String>) {
        let Some(lane) = self.lanes.get_mut(&place) else {
            return;
        };
        // What went out behind a batch that was not taken is refused for the gap alone.
        let overtaken =
            error == ErrorCode::OutOfOrderSequenceNumber && (lane.careful || self.renew);
        let forgotten = self.config.idempotent
            && matches!(
                error,
                ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch
            );
        self.renew |= forgotten;
        if (error.is_retriable() || overtaken || forgotten) && batch.tries < self.config.retries {
            batch.tries += 1;
            self.figures.retries += batch.tags.len() as u64;
            lane.careful = true;
            self.wait_on(&place, batch);
            return;
        }
        // The broker will miss this batch's sequence numbers: begin anew under another identity.
        self.renew |= self.config.idempotent;
        lane.careful = true;
        self.tell(place, batch, Err(Undelivered::Refused(error, message)));
    }
}

/// Sends a produce; with acks 0 there is nothing to wait for.
async fn leave(
    connection: &mut Connection,
    acks: i16,
    request: ProduceRequest,
) -> Result<Option<Ticket>, ClientError> {
    match connection.versions().pick(Api::Produce) {
        Some(version) if acks == 0 => connection
            .send_unanswered(Api::Produce, version, request.into())
            .await
            .map(|()| None),
        _ => connection
            .send(Api::Produce, request.into())
            .await
            .map(Some),
    }
}
