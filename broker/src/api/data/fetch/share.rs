//! What each partition says in an answer, and the answer from all of them.

use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::Codec;
use protocol::ids::Offset;
use protocol::kafka::data::{
    Aborted, DivergingEpoch, FetchAnswer, FetchPartitionAnswer, NodeEndpoint, encode_fetch_answer,
};
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::reply::{Part as ReplyPart, Reply};
use replication::cold;
use replication::error::Refusal;
use replication::lanes::Lane;
use replication::partition::{Found, Reader};
use replication::read::{Round, Wanted};
use replication::sessions::{PartitionAsk, Told};
use smallvec::SmallVec;
use storage::log::{Range, ReadPlan};
use storage::offsets::Offsets;
use tracing::debug;

use crate::api::answer::{Answer, Part};
use crate::api::data::convert;
use crate::api::data::fetch::Fetching;
use crate::api::data::fetch::ask::{Look, has_more};
use crate::api::data::leader::current_leader;
use crate::api::errors;
use crate::api::request::Context;

/// Since this version an answer names the leader that should have been asked.
const TELLS_LEADER_SINCE: i16 = 16;
/// Since this version the client knows zstd.
const KNOWS_ZSTD_SINCE: i16 = 10;
/// Up to this version clients do not know of failing disks.
const NO_STORAGE_ERROR_UNTIL: i16 = 5;
/// Up to so many bytes of records are copied into the answer
/// (`docs/decisions/0008-few-bytes-are-copied.md`).
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// One partition's share of an answer.
pub(super) struct Share {
    pub(super) ask: usize,
    pub(super) answer: FetchPartitionAnswer,
    pub(super) plan: Option<ReadPlan>,
    /// In place of the plan: records rewritten for an old client, or few enough to be copied.
    pub(super) records: Option<Bytes>,
}

impl Fetching {
    /// What each partition says, those that could not be read at all last.
    pub(super) fn shares(&self, round: Round) -> Vec<Share> {
        let mut found = round.found.into_iter();
        let mut shares = Vec::with_capacity(self.looks.len());
        for (ask, look) in self.looks.iter().enumerate() {
            let Some(asked) = self.session.asks.get(ask) else {
                continue;
            };
            match look {
                Look::Wanted => match found.next() {
                    Some(Ok(found)) => shares.push(self.found(ask, asked, found)),
                    Some(Err(refusal)) => shares.push(self.failed(ask, asked, &refusal)),
                    None => {}
                },
                Look::Negative => match found.next() {
                    // Kafka: a negative size fails in the log, once there is something to read.
                    Some(Ok(found))
                        if self.wanted_of(ask).is_some_and(|it| has_more(it, &found)) =>
                    {
                        let code = ErrorCode::UnknownServerError.code();
                        shares.push(Share {
                            ask,
                            answer: FetchPartitionAnswer::refusal(asked.partition, code),
                            plan: None,
                            records: None,
                        });
                    }
                    Some(Ok(found)) => shares.push(self.found(ask, asked, found)),
                    Some(Err(refusal)) => shares.push(self.failed(ask, asked, &refusal)),
                    None => {}
                },
                Look::Failed(refusal) => shares.push(self.failed(ask, asked, refusal)),
                Look::Elsewhere(id, offsets) => shares.push(Share {
                    ask,
                    answer: FetchPartitionAnswer {
                        preferred_read_replica: id.0,
                        ..at_offsets(asked.partition, offsets)
                    },
                    plan: None,
                    records: None,
                }),
                Look::Erroneous(_) => {}
            }
        }
        let told = self.looks.iter().enumerate().filter_map(|(ask, look)| {
            match (look, self.session.asks.get(ask)) {
                (Look::Erroneous(code), Some(asked)) => Some((ask, asked.partition, *code)),
                _ => None,
            }
        });
        // Kafka: ids nobody knows are found before partitions are looked up.
        let (nameless, unknown): (Vec<_>, Vec<_>) =
            told.partition(|(_, _, code)| *code == ErrorCode::UnknownTopicId);
        let last = nameless.into_iter().chain(unknown);
        shares.extend(last.map(|(ask, partition, code)| erroneous(ask, partition, code)));
        self.copy_few(&mut shares);
        shares
    }

    /// What is read for an ask; they are in the order of the asks, and may be thousands.
    pub(super) fn wanted_of(&self, ask: usize) -> Option<&Wanted> {
        let at = self.wanted.binary_search_by_key(&ask, |one| one.index);
        self.wanted.get(at.ok()?)
    }

    fn found(&self, ask: usize, asked: &PartitionAsk, found: Found) -> Share {
        let Found {
            offsets,
            diverging,
            plan,
            ..
        } = found;
        let committed_only = self.wanted_of(ask).is_some_and(|one| {
            matches!(
                one.reader,
                Reader::Consumer {
                    committed_only: true,
                    ..
                }
            )
        });
        let aborted = committed_only.then(|| {
            let aborted = plan.iter().flat_map(|plan| &plan.aborted);
            aborted
                .map(|one| Aborted {
                    producer_id: one.producer.0,
                    first_offset: one.first_offset.0,
                })
                .collect()
        });
        let diverging_epoch = diverging.map(|(epoch, end)| DivergingEpoch {
            epoch: epoch.0,
            end_offset: end.0,
        });
        let answer = FetchPartitionAnswer {
            diverging_epoch,
            aborted,
            ..at_offsets(asked.partition, &offsets)
        };
        let plan = plan.filter(|plan| !plan.is_empty());
        Share {
            ask,
            answer,
            plan,
            records: None,
        }
    }

    fn failed(&self, ask: usize, asked: &PartitionAsk, refusal: &Refusal) -> Share {
        let mut code = errors::replication_code(refusal);
        // Kafka: old clients would take the newer code for an unknown, fatal one.
        if code == ErrorCode::KafkaStorageError && self.context.version <= NO_STORAGE_ERROR_UNTIL {
            code = ErrorCode::NotLeaderOrFollower;
        }
        let answer = FetchPartitionAnswer::refusal(asked.partition, code.code());
        Share {
            ask,
            answer,
            plan: None,
            records: None,
        }
    }

    /// Where they are few bytes, takes the records into memory, as far as no disk is waited for.
    fn copy_few(&self, shares: &mut [Share]) {
        let plans = shares.iter().filter_map(|share| share.plan.as_ref());
        let bytes: usize = plans.map(ReadPlan::len).sum();
        if bytes > COPIED_BYTES_MAX || convert::target_magic(self.context.version).is_some() {
            return;
        }
        for share in shares {
            share.records = share.plan.as_ref().and_then(cold::read_cached);
            share.plan.take_if(|_| share.records.is_some());
        }
    }

    /// Partitions whose records a client of this version cannot be given.
    pub(super) fn refuse_by_version(&self, shares: &mut [Share]) {
        let version = self.context.version;
        if version >= KNOWS_ZSTD_SINCE {
            return;
        }
        let converts = convert::target_magic(version).is_some();
        for share in shares
            .iter_mut()
            .filter(|share| share.answer.error_code == 0)
        {
            let Some(one) = self.wanted_of(share.ask) else {
                continue;
            };
            let config = one.partition.log().config();
            let code = if config
                .compression
                .is_some_and(|chosen| chosen.codec == Codec::Zstd)
            {
                ErrorCode::UnsupportedCompressionType
            } else if converts && !self.is_follower && !one.partition.rules().down_conversion {
                ErrorCode::UnsupportedVersion
            } else {
                continue;
            };
            *share = erroneous(share.ask, share.answer.index, code);
        }
    }

    pub(super) fn name_leader(
        &self,
        asked: &PartitionAsk,
        answer: &mut FetchPartitionAnswer,
        endpoints: &mut Vec<NodeEndpoint>,
    ) {
        let tells = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch]
            .map(ErrorCode::code)
            .contains(&answer.error_code);
        if self.context.version >= TELLS_LEADER_SINCE
            && tells
            && let Some(name) = &asked.name
        {
            let at = (&**name, asked.partition);
            let (replicas, listener) = (&self.services.replicas, &self.context.listener);
            let image = self.services.metadata.image();
            answer.current_leader = Some(current_leader(replicas, &image, listener, at, endpoints));
        }
    }
}

impl Share {
    pub(super) fn said(&self) -> Told {
        Told {
            watermark: Offset(self.answer.high_watermark),
            log_start: Offset(self.answer.log_start_offset),
            has_records: self.plan.is_some() || self.records.is_some(),
            has_error: self.answer.error_code != 0,
            always: self.answer.diverging_epoch.is_some()
                || self.answer.preferred_read_replica >= 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let planned = self.plan.as_ref().map_or(0, ReadPlan::len);
        (planned + self.records.as_ref().map_or(0, Bytes::len)) as u64
    }

    /// Leaves holes in the answer for the plan's ranges.
    pub(super) fn place_records(&mut self, lane: &Arc<Lane>, ranges: &mut Vec<(Range, Arc<Lane>)>) {
        if let Some(bytes) = self.records.take() {
            self.answer.records.push(ReplyPart::Bytes(bytes));
        }
        for range in self.plan.take().into_iter().flat_map(|plan| plan.ranges) {
            self.answer.records.push(ReplyPart::Hole {
                id: ranges.len(),
                len: range.len,
            });
            ranges.push((range, Arc::clone(lane)));
        }
    }
}

/// A partition without records, at its offsets.
fn at_offsets(partition: i32, offsets: &Offsets) -> FetchPartitionAnswer {
    FetchPartitionAnswer {
        high_watermark: offsets.watermark.0,
        last_stable_offset: offsets.stable.0,
        log_start_offset: offsets.start.0,
        ..FetchPartitionAnswer::refusal(partition, 0)
    }
}

/// A partition that was not read. Kafka tells an empty list of aborted transactions here, and
/// none at all where a read failed.
pub(super) fn erroneous(ask: usize, partition: i32, code: ErrorCode) -> Share {
    let answer = FetchPartitionAnswer {
        aborted: Some(Vec::new()),
        ..FetchPartitionAnswer::refusal(partition, code.code())
    };
    Share {
        ask,
        answer,
        plan: None,
        records: None,
    }
}

pub(super) fn encode(
    context: &Context,
    answer: &FetchAnswer,
    ranges: &[(Range, Arc<Lane>)],
    probed_ms: Option<i64>,
) -> Answer {
    match encode_fetch_answer(context.version, context.correlation_id, answer) {
        Ok(reply) => Answer {
            parts: fill(reply, ranges, probed_ms),
            ..Answer::default()
        },
        Err(error) => {
            debug!(%error, "fetch answer cannot be written");
            Answer::closing()
        }
    }
}

fn fill(
    reply: Reply,
    ranges: &[(Range, Arc<Lane>)],
    probed_ms: Option<i64>,
) -> SmallVec<[Part; 2]> {
    let parts = reply.parts.into_iter().filter_map(|part| match part {
        ReplyPart::Bytes(bytes) => Some(Part::Bytes(bytes)),
        ReplyPart::Hole { id, len } => ranges.get(id).map(|(range, lane)| Part::File {
            file: Arc::clone(&range.file),
            position: range.position,
            len: len as u64,
            lane: Arc::clone(lane),
            probed_ms,
        }),
    });
    parts.collect()
}
