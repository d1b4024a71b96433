//! From API key to handler: the only holder of all services.
//!
//! Hot path: a frame's key and version are read from its first bytes; produce and fetch go to
//! decoders of our own; what else is light is polled once where it was read, and only what has to
//! wait becomes a task. What may take long goes to threads of its own before it is decoded. A task
//! is never cancelled when its client goes: what was begun is done.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use base::clock::Clock;
use base::tasks;
use bytes::Bytes;
use controller::{Agreed, ControllerHandle};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::{self, CheckedRequest, CodecError};
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::header::{Opening, RequestHeader};
use protocol::kafka::shape;
use protocol::messages::{RequestKind, ResponseKind};
use replication::replicas::Replicas;
use tokio::task::JoinHandle;
use tracing::error;
use znodes::store::Store;

use crate::admin::auto_create::AutoCreate;
use crate::admin::configs::Configs;
use crate::admin::loggers::Loggers;
use crate::admin::quotas::ClientQuotas;
use crate::admin::scram::Scram;
use crate::admin::topics::Topics;
use crate::api::answer::{Answer, Later, Outcome};
use crate::api::cluster::{describe_cluster, elect_leaders, metadata, update_features};
use crate::api::data::fetch::FetchServices;
use crate::api::legal::{self, Unbelievable};
use crate::api::peers::authority::Orders;
use crate::api::request::Context;
use crate::api::session::{api_versions, sasl_authenticate, sasl_handshake};
use crate::api::slow_lane::{Drawn, SlowLane, TooLarge};
use crate::api::toll::{self, Counted, Mutations, Toll};
use crate::api::transactions::producer_ids::ProducerIds;
use crate::api::{cluster, configs, data, groups, peers, security, topics, transactions, weight};
use crate::complaints::Complaint;
use crate::config::Live;
use crate::coordination::Groups;
use crate::measures::requests::{ApiMeasures, Timing};
use crate::measures::{Requests, Waits};
use crate::metadata::Metadata;
use crate::metadata::features::ClusterFeatures;
use crate::quota::Quotas;

/// The principal of whoever comes in by a listener without authentication.
const ANONYMOUS: &str = "User:ANONYMOUS";

/// Who a connection belongs to, and what of its last request the next one can share.
#[derive(Debug)]
pub struct Caller {
    peer: IpAddr,
    listener: Arc<str>,
    principal: Arc<str>,
    client_id: Arc<str>,
}

impl Caller {
    pub fn new(peer: IpAddr, listener: Arc<str>) -> Self {
        Caller {
            peer,
            listener,
            principal: ANONYMOUS.into(),
            client_id: "".into(),
        }
    }

    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    fn context(&mut self, header: &RequestHeader) -> Context {
        let client_id = header.client_id.as_ref().map_or("", |name| name.as_str());
        // A connection belongs to one client: its name is copied out of the frame once.
        if *self.client_id != *client_id {
            self.client_id = client_id.into();
        }
        Context {
            version: header.version,
            correlation_id: header.correlation_id,
            client_id: Arc::clone(&self.client_id),
            principal: Arc::clone(&self.principal),
            listener: Arc::clone(&self.listener),
            peer: self.peer,
            drawn: Drawn::default(),
        }
    }
}

/// The frame is not a request we can read; the connection ends, as Kafka ends it.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("no API has the key {0}")]
    Key(i16),
    #[error("{api:?} has no version {version}")]
    Version { api: Api, version: i16 },
    #[error("read header: {0}")]
    Header(#[from] shape::Malformed),
    #[error(transparent)]
    Body(#[from] CodecError),
    #[error("refuse to look at request: {0}")]
    Unbelievable(#[from] Unbelievable),
    #[error("refuse to decode request: {0}")]
    TooLarge(#[from] TooLarge),
}

type Answering = Pin<Box<dyn Future<Output = ResponseKind> + Send>>;

/// All services, and which API asks which.
#[derive(Debug)]
pub struct Table {
    pub(crate) services: Arc<Services>,
}

/// What the handlers work with. Only this file holds all of it.
#[derive(Debug)]
pub struct Services {
    pub cluster_id: Arc<str>,
    pub live: Live,
    pub metadata: Arc<Metadata>,
    pub store: Arc<dyn Store>,
    pub replicas: Arc<Replicas>,
    pub(crate) fetches: Arc<FetchServices>,
    pub producer_ids: Arc<ProducerIds>,
    pub groups: Arc<Groups>,
    pub configs: Configs,
    pub client_quotas: ClientQuotas,
    pub quotas: Arc<Quotas>,
    pub clock: Clock,
    pub scram: Scram,
    pub features: ClusterFeatures,
    /// What the brokers of the cluster understand.
    pub agreed: Agreed,
    pub topics: Arc<Topics>,
    pub auto_create: AutoCreate,
    pub controller: ControllerHandle,
    pub orders: Orders,
    pub requests: Arc<Requests>,
    pub loggers: Loggers,
    pub(crate) slow_lane: SlowLane,
    /// Of replicas that were to lie elsewhere: whoever asks names what he likes.
    pub(crate) not_moved: Arc<Complaint>,
}

/// What an answer is written with.
#[derive(Clone, Copy, Debug)]
struct Head {
    api: Api,
    version: i16,
    correlation_id: i32,
}

impl Table {
    /// Whether the request in `frame` may run while others that overlap are not answered yet.
    pub fn overlaps(frame: &[u8]) -> bool {
        frame.first_chunk::<2>() == Some(&Api::Produce.key().to_be_bytes())
    }

    /// Runs one request as far as it goes without waiting.
    pub fn run(&self, caller: &mut Caller, frame: Bytes) -> Result<Outcome, Malformed> {
        let opening = Opening::read(&frame)?;
        let api = Api::from_key(opening.api_key).ok_or(Malformed::Key(opening.api_key))?;
        if !api.has_version(opening.api_version) {
            if api == Api::ApiVersions {
                // Kafka: a header is read whole, whatever is then said of its version.
                RequestHeader::read(api, &frame)?;
                let response = ResponseKind::ApiVersions(api_versions::unsupported());
                return Ok(Outcome::Now(encode(
                    api,
                    0,
                    opening.correlation_id,
                    &response,
                )));
            }
            return Err(Malformed::Version {
                api,
                version: opening.api_version,
            });
        }
        let services = &self.services;
        let mut timing = services
            .requests
            .begin(api, opening.api_version, frame.len());
        let bytes = frame.len();
        let (header, body) = RequestHeader::read(api, &frame)?;
        let context = caller.context(&header);
        let toll = Toll::begin(&services.quotas, &services.clock, &context);
        match api {
            Api::Produce => {
                let (replicas, metadata) = (&services.replicas, &services.metadata);
                let requests = &services.requests;
                let price = (toll, bytes);
                let outcome =
                    data::produce::answer(context, replicas, metadata, requests, price, &body)?;
                return Ok(timed(outcome, timing));
            }
            Api::Fetch if bytes <= weight::FETCH_BYTES_MAX => {
                let fetches = &services.fetches;
                let outcome = data::fetch::answer(context, fetches, &body, &mut timing, toll)?;
                return Ok(timed(outcome, timing));
            }
            _ => {}
        }
        let head = Head {
            api,
            version: header.version,
            correlation_id: header.correlation_id,
        };
        if api == Api::Fetch {
            let fetches = Arc::clone(&services.fetches);
            let fetching = fetch_slowly(fetches, context, body, (timing, toll));
            return Ok(slowly(services, fetching));
        }
        if !weight::is_read_here(api, bytes) {
            let answering = read_slowly(Arc::clone(services), context, head, body);
            return Ok(timed(begin_slowly(services, toll, head, answering), timing));
        }
        let request = codec::decode_request(api, header.version, body)?;
        legal::check(header.version, &request)?;
        let asks_much = weight::asks_much(&request, || services.metadata.image());
        let answering = answer(Arc::clone(services), context, request)
            .ok_or(Malformed::Key(opening.api_key))?;
        let outcome = if asks_much {
            let answering = Box::pin(async move { Ok(answering.await) });
            begin_slowly(services, toll, head, answering)
        } else {
            begin(&services.requests, toll, head, answering)
        };
        Ok(timed(outcome, timing))
    }
}

/// The same outcome, its time taken.
fn timed(outcome: Outcome, mut timing: Timing) -> Outcome {
    timing.ran();
    match outcome {
        Outcome::Now(answer) => {
            timing.answered(true, answer.mute_ms);
            Outcome::Now(answer)
        }
        Outcome::Later { answer, overlaps } => Outcome::Later {
            answer: answer.timed(timing),
            overlaps,
        },
    }
}

/// The answer of one handler, in the envelope of its kind.
macro_rules! later {
    ($kind:ident, $answer:expr) => {{
        let answering: Answering = Box::pin(async move { ResponseKind::$kind($answer) });
        answering
    }};
}

/// Which API asks which service; `None` for a request that no row of the list of APIs stands for.
fn answer(s: Arc<Services>, context: Context, request: RequestKind) -> Option<Answering> {
    use RequestKind as R;
    Some(match request {
        R::ApiVersions(request) => later!(
            ApiVersions,
            api_versions::answer(&context, s.features.epoch(), &request)
        ),
        R::SaslHandshake(_) => later!(SaslHandshake, sasl_handshake::answer()),
        R::SaslAuthenticate(_) => later!(SaslAuthenticate, sasl_authenticate::answer()),

        R::Metadata(request) => later!(Metadata, {
            let maker = s.live.now().topics.auto_create.then_some(&s.auto_create);
            metadata::answer(&context, &s.metadata.image(), &s.cluster_id, maker, request).await
        }),
        R::DescribeCluster(request) => {
            later!(
                DescribeCluster,
                describe_cluster::answer(&context, &s.metadata.image(), &s.cluster_id, &request)
            )
        }

        R::ListOffsets(request) => {
            later!(
                ListOffsets,
                data::list_offsets::answer(&context, &s.replicas, &s.metadata.image(), request)
                    .await
            )
        }
        R::OffsetForLeaderEpoch(request) => later!(
            OffsetForLeaderEpoch,
            data::offset_for_leader_epoch::answer(&s.replicas, &s.metadata.image(), request).await
        ),
        R::DeleteRecords(request) => {
            later!(DeleteRecords, {
                let _parked = s.requests.park(Waits::DeleteRecords);
                let image = s.metadata.image();
                data::delete_records::answer(&context, &s.replicas, &image, request).await
            })
        }
        R::DescribeProducers(request) => {
            later!(
                DescribeProducers,
                data::describe_producers::answer(&s.replicas, &s.metadata.image(), request).await
            )
        }

        R::InitProducerId(request) => later!(InitProducerId, {
            let timeout_ms_max = s.live.now().transactions.timeout_ms_max;
            transactions::init_producer_id::answer(&s.producer_ids, timeout_ms_max, request).await
        }),
        R::WriteTxnMarkers(request) => later!(WriteTxnMarkers, {
            let timeout_ms = i64::from(s.live.now().network.request_timeout_ms);
            transactions::write_txn_markers::answer(&s.replicas, &s.groups, timeout_ms, request)
                .await
        }),
        R::AddPartitionsToTxn(request) => later!(
            AddPartitionsToTxn,
            transactions::add_partitions_to_txn::answer(&context, &s.metadata.image(), &request)
        ),
        R::AddOffsetsToTxn(request) => {
            later!(
                AddOffsetsToTxn,
                transactions::add_offsets_to_txn::answer(&request)
            )
        }
        R::EndTxn(request) => later!(EndTxn, transactions::end_txn::answer(&request)),
        R::TxnOffsetCommit(request) => {
            later!(
                TxnOffsetCommit,
                transactions::txn_offset_commit::answer(&s.metadata.image(), &request)
            )
        }
        R::DescribeTransactions(request) => {
            later!(
                DescribeTransactions,
                transactions::describe_transactions::answer(&request)
            )
        }
        R::ListTransactions(request) => later!(
            ListTransactions,
            transactions::list_transactions::answer(&request)
        ),

        R::FindCoordinator(request) => later!(
            FindCoordinator,
            groups::find_coordinator::answer(
                &context,
                &s.metadata.image(),
                &s.groups,
                &s.auto_create,
                request
            )
            .await
        ),
        R::JoinGroup(request) => later!(
            JoinGroup,
            groups::join_group::answer(&context, &s.groups, request).await
        ),
        R::SyncGroup(request) => later!(
            SyncGroup,
            groups::sync_group::answer(&context, &s.groups, request).await
        ),
        R::Heartbeat(request) => later!(Heartbeat, groups::heartbeat::answer(&s.groups, &request)),
        R::LeaveGroup(request) => later!(
            LeaveGroup,
            groups::leave_group::answer(&context, &s.groups, request)
        ),
        R::OffsetCommit(request) => later!(
            OffsetCommit,
            groups::offset_commit::answer(
                &context,
                &s.metadata.image(),
                &s.groups,
                &*s.store,
                request
            )
            .await
        ),
        R::OffsetFetch(request) => later!(
            OffsetFetch,
            groups::offset_fetch::answer(
                &context,
                &s.metadata.image(),
                &s.groups,
                &*s.store,
                request
            )
            .await
        ),
        R::OffsetDelete(request) => {
            later!(
                OffsetDelete,
                groups::offset_delete::answer(&s.metadata.image(), &s.groups, request).await
            )
        }
        R::DescribeGroups(request) => {
            later!(
                DescribeGroups,
                groups::describe_groups::answer(&context, &s.groups, request)
            )
        }
        R::ListGroups(request) => later!(
            ListGroups,
            groups::list_groups::answer(&context, &s.groups, &request)
        ),
        R::DeleteGroups(request) => later!(
            DeleteGroups,
            groups::delete_groups::answer(&s.groups, request).await
        ),
        R::ConsumerGroupHeartbeat(_) => {
            later!(
                ConsumerGroupHeartbeat,
                groups::consumer_group_heartbeat::answer()
            )
        }
        R::ConsumerGroupDescribe(request) => {
            later!(
                ConsumerGroupDescribe,
                groups::consumer_group_describe::answer(request)
            )
        }

        R::CreateTopics(request) => {
            later!(
                CreateTopics,
                topics::create_topics::answer(
                    &context,
                    (&s.topics, &s.configs),
                    &s.controller,
                    Mutations::new(&s.quotas, &s.clock, &context, 6),
                    request
                )
                .await
            )
        }
        R::DeleteTopics(request) => {
            let image = s.metadata.image();
            later!(
                DeleteTopics,
                topics::delete_topics::answer(
                    &context,
                    &image,
                    (&s.topics, &s.controller),
                    Mutations::new(&s.quotas, &s.clock, &context, 5),
                    request
                )
                .await
            )
        }
        R::CreatePartitions(request) => {
            later!(
                CreatePartitions,
                topics::create_partitions::answer(
                    &context,
                    &s.topics,
                    &s.metadata.image(),
                    &s.controller,
                    Mutations::new(&s.quotas, &s.clock, &context, 3),
                    request
                )
                .await
            )
        }

        R::AlterPartitionReassignments(request) => {
            later!(
                AlterPartitionReassignments,
                topics::alter_partition_reassignments::answer(&s.controller, request).await
            )
        }
        R::ListPartitionReassignments(request) => {
            later!(
                ListPartitionReassignments,
                topics::list_partition_reassignments::answer(&s.controller, request).await
            )
        }
        R::ElectLeaders(request) => {
            later!(
                ElectLeaders,
                elect_leaders::answer(&context, &s.controller, &s.metadata, &s.clock, request)
                    .await
            )
        }
        R::UpdateFeatures(request) => {
            later!(
                UpdateFeatures,
                update_features::answer(&context, &s.controller, s.agreed, &request)
            )
        }

        R::LeaderAndIsr(request) => {
            later!(
                LeaderAndIsr,
                peers::leader_and_isr::answer(&context, &s.orders, request).await
            )
        }
        R::StopReplica(request) => {
            later!(
                StopReplica,
                peers::stop_replica::answer(&context, &s.orders, request).await
            )
        }
        R::UpdateMetadata(request) => later!(
            UpdateMetadata,
            peers::update_metadata::answer(&s.orders, request)
        ),
        R::ControlledShutdown(request) => {
            later!(
                ControlledShutdown,
                peers::controlled_shutdown::answer(&s.controller, request).await
            )
        }
        R::AlterPartition(request) => {
            later!(AlterPartition, {
                let image = s.metadata.image();
                peers::alter_partition::answer(&context, &s.controller, &image, request).await
            })
        }
        R::AllocateProducerIds(request) => {
            later!(
                AllocateProducerIds,
                peers::allocate_producer_ids::answer(&s.controller, &request).await
            )
        }

        R::DescribeConfigs(request) => {
            later!(
                DescribeConfigs,
                configs::describe_configs::answer(&context, &s.configs, &s.loggers, &request).await
            )
        }
        R::AlterConfigs(request) => {
            later!(
                AlterConfigs,
                configs::alter_configs::answer(&s.configs, &request).await
            )
        }
        R::IncrementalAlterConfigs(request) => later!(
            IncrementalAlterConfigs,
            configs::incremental_alter_configs::answer(&s.configs, &s.loggers, &request).await
        ),
        R::DescribeClientQuotas(request) => later!(
            DescribeClientQuotas,
            configs::describe_client_quotas::answer(&s.client_quotas, &request).await
        ),
        R::AlterClientQuotas(request) => {
            later!(
                AlterClientQuotas,
                configs::alter_client_quotas::answer(&s.client_quotas, &request).await
            )
        }
        R::DescribeUserScramCredentials(request) => later!(
            DescribeUserScramCredentials,
            configs::describe_user_scram_credentials::answer(&s.scram, &request).await
        ),
        R::AlterUserScramCredentials(request) => later!(AlterUserScramCredentials, {
            let is_controller = s.controller.is_active();
            configs::alter_user_scram_credentials::answer(&s.scram, is_controller, &request).await
        }),

        R::DescribeAcls(_) => later!(DescribeAcls, security::describe_acls::answer()),
        R::CreateAcls(request) => later!(CreateAcls, security::create_acls::answer(&request)),
        R::DeleteAcls(request) => later!(DeleteAcls, security::delete_acls::answer(&request)),
        R::CreateDelegationToken(request) => {
            later!(
                CreateDelegationToken,
                security::create_delegation_token::answer(&context, &request)
            )
        }
        R::RenewDelegationToken(_) => later!(
            RenewDelegationToken,
            security::renew_delegation_token::answer()
        ),
        R::ExpireDelegationToken(_) => {
            later!(
                ExpireDelegationToken,
                security::expire_delegation_token::answer()
            )
        }
        R::DescribeDelegationToken(_) => {
            later!(
                DescribeDelegationToken,
                security::describe_delegation_token::answer()
            )
        }
        R::DescribeLogDirs(request) => {
            later!(
                DescribeLogDirs,
                cluster::describe_log_dirs::answer(&s.replicas, request).await
            )
        }
        R::AlterReplicaLogDirs(request) => later!(AlterReplicaLogDirs, {
            let image = s.metadata.image();
            cluster::alter_replica_log_dirs::answer(&s.replicas, image, &s.not_moved, request).await
        }),
        R::Envelope(_) => match cluster::envelope::answer()? {},
        _ => return None,
    })
}

/// Obeys an order of a controller in this process, by the door it would come in by.
pub(crate) async fn obey(
    orders: &Orders,
    version: i16,
    request: RequestKind,
) -> Option<ResponseKind> {
    let context = Context::of_this_broker(version);
    match request {
        RequestKind::LeaderAndIsr(request) => Some(ResponseKind::LeaderAndIsr(
            peers::leader_and_isr::answer(&context, orders, request).await,
        )),
        RequestKind::StopReplica(request) => Some(ResponseKind::StopReplica(
            peers::stop_replica::answer(&context, orders, request).await,
        )),
        RequestKind::UpdateMetadata(request) => Some(ResponseKind::UpdateMetadata(
            peers::update_metadata::answer(orders, request),
        )),
        _ => None,
    }
}

/// Polls once; what is not ready goes on as a task of its own.
fn begin(requests: &Arc<Requests>, toll: Toll, head: Head, answering: Answering) -> Outcome {
    let mut counted = Counted::new(answering, &toll);
    let mut once = TaskContext::from_waker(Waker::noop());
    if let Poll::Ready((response, spent_us)) = Pin::new(&mut counted).poll(&mut once) {
        return Outcome::Now(finish(requests, &toll, head, response, spent_us));
    }
    let requests = Arc::clone(requests);
    let task = tasks::spawn("request", async move {
        let (response, spent_us) = counted.await;
        finish(&requests, &toll, head, response, spent_us)
    });
    joined(task)
}

/// The answer of a task. One that panicked has been reported; its client gets a closed connection.
fn joined(task: JoinHandle<Answer>) -> Outcome {
    Outcome::Later {
        answer: Later::new(async move { task.await.unwrap_or_else(|_panicked| Answer::closing()) }),
        overlaps: false,
    }
}

fn finish(
    requests: &Requests,
    toll: &Toll,
    head: Head,
    mut response: ResponseKind,
    spent_us: i64,
) -> Answer {
    note_code(requests.api(head.api), &response);
    let mute_ms = toll::collect(toll, head.api, spent_us, &mut response);
    Answer {
        mute_ms,
        ..encode(head.api, head.version, head.correlation_id, &response)
    }
}

/// A request that is read, answered and encoded where nobody waits behind it.
type ReadingSlowly = Pin<Box<dyn Future<Output = Result<ResponseKind, Malformed>> + Send>>;

fn begin_slowly(
    services: &Arc<Services>,
    toll: Toll,
    head: Head,
    reading: ReadingSlowly,
) -> Outcome {
    let counted = Counted::new(reading, &toll);
    let requests = Arc::clone(&services.requests);
    slowly(services, async move {
        match counted.await {
            (Ok(response), spent_us) => finish(&requests, &toll, head, response, spent_us),
            (Err(malformed), _) => Answer::to_malformed(&malformed),
        }
    })
}

fn slowly(
    services: &Services,
    answering: impl Future<Output = Answer> + Send + 'static,
) -> Outcome {
    match services.slow_lane.spawn(answering) {
        Some(task) => joined(task),
        None => Outcome::Now(Answer::closing()),
    }
}

fn read_slowly(s: Arc<Services>, mut context: Context, head: Head, body: Bytes) -> ReadingSlowly {
    Box::pin(async move {
        let is_large = body.len() > weight::FRAME_BYTES_MAX;
        let checked = CheckedRequest::check(head.api, head.version, body)?;
        // What somebody may want to look at in need waits for no memory.
        if is_large {
            let answer = weight::answer_memory(head.api, checked.numbers());
            context.drawn = s.slow_lane.draw(checked.memory(), answer).await?;
        }
        let drawn = context.drawn.clone();
        let request = checked.decode()?;
        legal::check(head.version, &request)?;
        let mut answering =
            answer(Arc::clone(&s), context, request).ok_or(Malformed::Key(head.api.key()))?;
        let begun = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await;
        if let Poll::Ready(response) = begun {
            return Ok(response);
        }
        if weight::waits_for_others(head.api) {
            drawn.give_back();
        }
        Ok(answering.await)
    })
}

/// A fetch of thousands of partitions. Its client pays for no time before it has its turn.
fn fetch_slowly(
    fetches: Arc<FetchServices>,
    context: Context,
    body: Bytes,
    (mut timing, mut toll): (Timing, Toll),
) -> impl Future<Output = Answer> + Send + 'static {
    toll.pause();
    async move {
        toll.resume();
        let outcome = data::fetch::answer(context, &fetches, &body, &mut timing, toll);
        // Whoever is parked does not hold on to the frame.
        drop(body);
        match outcome.map(|outcome| timed(outcome, timing)) {
            Ok(Outcome::Now(answer)) => answer,
            Ok(Outcome::Later { answer, .. }) => answer.await,
            Err(malformed) => Answer::to_malformed(&malformed),
        }
    }
}

/// Counts the code of an answer that has one for all of it.
fn note_code(measures: &ApiMeasures, response: &ResponseKind) {
    use ResponseKind as R;
    let code = match response {
        R::ApiVersions(r) => r.error_code,
        R::LeaderAndIsr(r) => r.error_code,
        R::StopReplica(r) => r.error_code,
        R::UpdateMetadata(r) => r.error_code,
        R::ControlledShutdown(r) => r.error_code,
        R::OffsetFetch(r) => r.error_code,
        R::FindCoordinator(r) => r.error_code,
        R::JoinGroup(r) => r.error_code,
        R::SyncGroup(r) => r.error_code,
        R::Heartbeat(r) => r.error_code,
        R::LeaveGroup(r) => r.error_code,
        R::ListGroups(r) => r.error_code,
        R::SaslHandshake(r) => r.error_code,
        R::SaslAuthenticate(r) => r.error_code,
        R::InitProducerId(r) => r.error_code,
        R::AddOffsetsToTxn(r) => r.error_code,
        R::EndTxn(r) => r.error_code,
        R::DescribeAcls(r) => r.error_code,
        R::DescribeLogDirs(r) => r.error_code,
        R::CreateDelegationToken(r) => r.error_code,
        R::RenewDelegationToken(r) => r.error_code,
        R::ExpireDelegationToken(r) => r.error_code,
        R::DescribeDelegationToken(r) => r.error_code,
        R::ElectLeaders(r) => r.error_code,
        R::AlterPartitionReassignments(r) => r.error_code,
        R::ListPartitionReassignments(r) => r.error_code,
        R::OffsetDelete(r) => r.error_code,
        R::DescribeClientQuotas(r) => r.error_code,
        R::DescribeUserScramCredentials(r) => r.error_code,
        R::AlterPartition(r) => r.error_code,
        R::UpdateFeatures(r) => r.error_code,
        R::DescribeCluster(r) => r.error_code,
        R::ListTransactions(r) => r.error_code,
        R::AllocateProducerIds(r) => r.error_code,
        _ => return,
    };
    measures.note_code(code);
}

fn encode(api: Api, version: i16, correlation_id: i32, response: &ResponseKind) -> Answer {
    match codec::encode_response(api, version, correlation_id, response) {
        Ok(bytes) => Answer::bytes(bytes),
        Err(unwritable) => {
            error!(reason = %unwritable, "an answer cannot be written; this is a defect, please report it");
            Answer::closing()
        }
    }
}

impl metadata::MakesTopics for AutoCreate {
    async fn make(&self, names: Vec<Arc<str>>) -> Vec<(Arc<str>, ErrorCode)> {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let code = AutoCreate::make(self, &name).await;
            answers.push((name, code));
        }
        answers
    }
}

impl groups::find_coordinator::MakesInternalTopics for AutoCreate {
    async fn make(&self, topic: &'static str) {
        // The client asks again until the topic is there.
        let _retriable = AutoCreate::make(self, topic).await;
    }
}
