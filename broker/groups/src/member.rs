//! One member of a group, and what it is waiting for.

use std::sync::Arc;

use bytes::Bytes;

use crate::outcome::Ticket;

/// A protocol (assignor) a member can follow, with what it says under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// A member. Owned by its group.
#[derive(Debug)]
pub struct Member {
    pub id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    pub(crate) awaiting_join: Option<Ticket>,
    pub(crate) awaiting_sync: Option<Ticket>,
    /// Has not been in a completed generation yet: it cannot send heartbeats, so its session
    /// runs out even while it waits.
    pub(crate) is_new: bool,
    /// When the session ends; `None` while waiting keeps it alive.
    pub(crate) session_deadline: Option<i64>,
    /// Invariant: the earliest entry of the timer heap for this member, if there is one; never
    /// later than `session_deadline`.
    pub(crate) timer_at: Option<i64>,
}

impl Member {
    /// Waiting for a rebalance counts as a sign of life, except for new members.
    // Kafka: MemberMetadata.hasSatisfiedHeartbeat.
    pub(crate) fn waits_safely(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// What the member says under one protocol; empty where it does not know it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| &*known.name == protocol);
        known
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }
}
