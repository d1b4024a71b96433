//! A producer's transactions: partitions are enlisted before their first records go out, and the end
//! comes when all of them are acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use client::ClientError;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, ProducerId, ResponseKind, TransactionalId,
};

use crate::body;
use crate::failure::Failure;
use crate::kafka::admin::{Keys, text, topic_name};
use crate::kafka::offsets::Place;
use crate::kafka::producer::Producer;

/// What a transactional producer knows of the transaction that is open, if one is.
pub(super) struct Transaction {
    id: String,
    enlisted: BTreeSet<Place>,
    failed: Option<String>,
}

impl Transaction {
    pub(super) fn new(id: String) -> Transaction {
        Transaction {
            id,
            enlisted: BTreeSet::new(),
            failed: None,
        }
    }

    /// The first reason is the one that is told.
    pub(super) fn fail(&mut self, why: String) {
        self.failed.get_or_insert(why);
    }
}

/// Kafka: later versions of the question are for brokers among themselves.
const ENLIST_VERSION_MAX: i16 = 3;

impl Producer {
    /// Enlists the partitions that have something to send.
    pub(super) async fn enlist(&mut self) -> Result<(), Failure> {
        let Some(transaction) = &self.transaction else {
            return Ok(());
        };
        let fresh: Vec<Place> = self
            .lanes
            .iter()
            .filter(|(place, lane)| {
                !lane.ready.is_empty() && !transaction.enlisted.contains(*place)
            })
            .map(|(place, _)| place.clone())
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let id = transaction.id.clone();
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &fresh {
            topics.entry(topic).or_default().push(*partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&id)))
            .with_v3_and_below_producer_id(ProducerId(self.identity.0.0))
            .with_v3_and_below_producer_epoch(self.identity.1.0)
            .with_v3_and_below_topics(topics.collect());
        let until = self.admin.clock.monotonic_ms() + self.config.max_block_ms;
        loop {
            let coordinator = self.admin.coordinator_of(Keys::Transactions, &id).await?;
            let address = self.admin.address(coordinator)?;
            let patience = self.admin.pool.patience().answer;
            let api = Api::AddPartitionsToTxn;
            let connection = self.admin.pool.connection(&address).await?;
            let version = connection
                .versions()
                .pick_within(api, 0, ENLIST_VERSION_MAX);
            let version = version.ok_or(ClientError::NoVersion { address, api })?;
            let answer = connection
                .ask_as(api, version, request.clone().into(), patience)
                .await?;
            let answer = body!(answer, AddPartitionsToTxn);
            let results = answer.results_by_topic_v3_and_below.iter();
            let mut codes = results
                .flat_map(|topic| &topic.results_by_partition)
                .map(|one| ErrorCode::of(one.partition_error_code));
            match codes.find(|code| !code.is_none()) {
                None => break,
                Some(code) if passing(code) && self.admin.clock.monotonic_ms() < until => {
                    self.admin.pause().await;
                }
                Some(code) => {
                    return Err(Failure::Refused {
                        code,
                        message: None,
                    });
                }
            }
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.enlisted.extend(fresh);
        }
        Ok(())
    }

    /// Ends the transaction: all of its records are visible then, or, where one was not taken, none.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        self.flush().await?;
        let Some(transaction) = &mut self.transaction else {
            return Ok(());
        };
        let (failed, id) = (transaction.failed.take(), transaction.id.clone());
        let enlisted = std::mem::take(&mut transaction.enlisted);
        if !enlisted.is_empty() {
            self.end(&id, failed.is_none()).await?;
        }
        match failed {
            Some(why) => Err(Failure::said(format!("The transaction was aborted: {why}"))),
            None => Ok(()),
        }
    }

    async fn end(&mut self, id: &str, committed: bool) -> Result<(), Failure> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(self.identity.0.0))
            .with_producer_epoch(self.identity.1.0)
            .with_committed(committed);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::EndTxn(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let keys = Keys::Transactions;
        let answer = self
            .admin
            .ask_coordinator_of(keys, id, Api::EndTxn, request.into(), codes)
            .await?;
        Failure::check(body!(answer, EndTxn).error_code, None)
    }
}

fn passing(code: ErrorCode) -> bool {
    code.is_retriable() || code == ErrorCode::ConcurrentTransactions
}
