//! Where reading begins: partitions whose first offset the leader is still to say.

use std::collections::BTreeMap;

use protocol::kafka::errors::ErrorCode;

use crate::failure::Failure;
use crate::kafka::consumer::{AGAIN_MS, Consumer, UNREACHED_MS};
use crate::kafka::offsets::{self, Place};

impl Consumer {
    /// Asks each leader once. One that cannot be reached keeps nobody else waiting.
    pub(super) async fn seek(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let mut open: BTreeMap<i32, Vec<(Place, i64)>> = BTreeMap::new();
        for (place, position) in &self.positions {
            if let Some(from) = position.seek
                && position.leader >= 0
                && now >= position.again_at_ms
            {
                let asked = open.entry(position.leader).or_default();
                asked.push((place.clone(), from));
            }
        }
        for (leader, asked) in open {
            let told = offsets::list_of(&mut self.admin, leader, &asked, self.read_committed).await;
            let now = self.admin.clock.monotonic_ms();
            let told = match told {
                Ok(told) => told,
                Err(failure) => {
                    self.bear(Err(failure))?;
                    self.put_off(&asked, now + UNREACHED_MS);
                    continue;
                }
            };
            let mut later = Vec::new();
            for (place, from) in asked {
                match told.get(&place) {
                    Some(Ok(found)) => {
                        if let Some(position) = self.positions.get_mut(&place) {
                            position.next = found.offset;
                            position.epoch = found.leader_epoch;
                            position.seek = None;
                        }
                    }
                    Some(Err(code)) if !passing(*code) => {
                        return Err(Failure::Refused {
                            code: *code,
                            message: None,
                        });
                    }
                    _ => later.push((place, from)),
                }
            }
            self.put_off(&later, now + AGAIN_MS);
        }
        Ok(())
    }

    /// Leaves partitions alone for a while; meanwhile another may have come to lead them.
    fn put_off(&mut self, places: &[(Place, i64)], until_ms: i64) {
        for (place, _) in places {
            if let Some(position) = self.positions.get_mut(place) {
                position.again_at_ms = until_ms;
                self.look_at_ms = self.look_at_ms.min(until_ms);
            }
        }
    }
}

fn passing(code: ErrorCode) -> bool {
    code.is_retriable() || code == ErrorCode::FencedLeaderEpoch
}
