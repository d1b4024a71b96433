//! A broker asks to leave: its leaderships are passed on and its replicas leave their ISRs.
//!
//! Kafka: `doControlledShutdown`. Partitions with a single replica stay led until the broker goes.

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::info;
use znodes::fence::Fenced;

use crate::context::ReplicaPhase;
use crate::partitions::Strategy;
use crate::reign::Reign;

impl Reign {
    /// The partitions it still leads and others could; none means that it may go.
    pub(crate) async fn controlled_shutdown(
        &mut self,
        broker: i32,
        broker_epoch: i64,
    ) -> Result<Result<Vec<TopicPartition>, ErrorCode>, Fenced> {
        let Some(held) = self.context.brokers.get(&broker) else {
            // Kafka: the lookup of the epoch itself fails, which no code stands for.
            let code = match broker_epoch {
                -1 => ErrorCode::BrokerNotAvailable,
                _ => ErrorCode::UnknownServerError,
            };
            return Ok(Err(code));
        };
        if broker_epoch != -1 && broker_epoch < held.epoch {
            return Ok(Err(ErrorCode::StaleBrokerEpoch));
        }
        self.context.shutting_down.insert(broker);
        info!(broker, live = ?self.context.live(), "broker leaves");
        let hosted = self.context.partitions_where(|tp, partition| {
            partition.assignment.replicas.contains(&broker)
                && partition.assignment.replicas.len() > 1
                && partition.leadership.is_some()
                && !self.context.is_deleting(&tp.topic)
        });
        let leads = |context: &crate::context::Context, tp: &TopicPartition| {
            context
                .leadership(tp)
                .is_some_and(|held| held.leader == broker)
        };
        let (led, followed): (Vec<_>, Vec<_>) =
            hosted.into_iter().partition(|tp| leads(&self.context, tp));
        self.bring_online(&led, Strategy::Leaving).await?;
        // Kafka: stopped once here and once more by the move to Offline.
        for tp in &followed {
            self.outbox.stop(&self.context, &[broker], tp, false);
        }
        self.flush();
        let replicas: Vec<_> = followed.into_iter().map(|tp| (tp, broker)).collect();
        self.move_replicas(&replicas, Some(ReplicaPhase::Offline))
            .await?;
        Ok(Ok(self.context.partitions_where(|tp, partition| {
            partition.assignment.replicas.len() > 1
                && leads(&self.context, tp)
                && !self.context.is_deleting(&tp.topic)
        })))
    }
}
