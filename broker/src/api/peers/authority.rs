//! Who may give orders to this broker, and what else hears of them.

use std::sync::Arc;

use base::io_pool::IoPool;
use controller::ControllerHandle;
use protocol::ids::{BrokerEpoch, ControllerEpoch};
use protocol::kafka::errors::ErrorCode;
use replication::replicas::Replicas;
use replication::role::Authority;

use crate::admin::changes::Newcomers;
use crate::coordination::Groups;
use crate::metadata::Metadata;

/// Everything an order can touch. Orders run one after the other on a thread of their own: they
/// make and remove files.
#[derive(Clone, Debug)]
pub struct Orders {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) controller: ControllerHandle,
    pub(crate) thread: IoPool,
    pub(crate) newcomers: Newcomers,
}

impl Orders {
    /// `broker_epoch` is −1 where the sender's version does not carry it.
    pub(crate) fn authority(&self, controller_epoch: i32, broker_epoch: i64) -> Authority {
        Authority {
            controller_epoch: ControllerEpoch(controller_epoch),
            broker_epoch: BrokerEpoch(broker_epoch),
            own_broker_epoch: self.controller.status().broker_epoch,
        }
    }

    /// Why an order is refused as a whole before its authority is looked at any further. A broker that
    /// is not being moved off ZooKeeper knows no controller without it.
    ///
    /// Kafka: `ZkBrokerEpochManager.isBrokerEpochStale`, which fails on such a one.
    pub(crate) fn check_epoch(
        authority: Authority,
        is_without_zookeeper: bool,
    ) -> Result<(), ErrorCode> {
        if authority.broker_epoch.0 == -1 {
            Ok(())
        } else if is_without_zookeeper {
            Err(ErrorCode::UnknownServerError)
        } else if authority.broker_epoch < authority.own_broker_epoch {
            Err(ErrorCode::StaleBrokerEpoch)
        } else {
            Ok(())
        }
    }
}
