//! How far a group has read: what the caller was given, or what he says.

use std::collections::BTreeMap;

use protocol::kafka::apis::Api;
use protocol::messages::{GroupId, OffsetCommitRequest};

use crate::failure::Failure;
use crate::kafka::admin::text;
use crate::kafka::consumer::Consumer;
use crate::kafka::offsets::{Committed, Place, commit_codes, commitment};

impl Consumer {
    /// Commits what the caller was given.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        // Records still in hand were not given out: they are to be read again.
        let mut upto: BTreeMap<Place, Committed> = self
            .positions
            .iter()
            .filter(|(_, position)| position.seek.is_none())
            .map(|(place, position)| {
                let (offset, epoch) = (position.next, position.epoch);
                (place.clone(), Committed { offset, epoch })
            })
            .collect();
        for taken in self.taken.iter().rev() {
            let (offset, epoch) = (taken.offset, taken.epoch);
            let place = (taken.topic.to_string(), taken.partition);
            upto.insert(place, Committed { offset, epoch });
        }
        self.commit_these(&upto).await
    }

    /// Commits what the caller says.
    pub(crate) async fn commit_these(
        &mut self,
        upto: &BTreeMap<Place, Committed>,
    ) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.commit_at_ms = now.saturating_add(group.commit_every_ms);
        if upto.is_empty() || !group.joined {
            return Ok(());
        }
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_generation_id_or_member_epoch(group.generation())
            .with_member_id(text(group.member()))
            .with_group_instance_id(group.instance().map(text))
            .with_topics(commitment(upto));
        // A commit that a rebalance refuses is no failure: the next generation reads again.
        self.figures.commits += 1;
        self.ask_group(Api::OffsetCommit, request.into(), commit_codes)
            .await?;
        Ok(())
    }
}
