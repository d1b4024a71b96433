//! Who leads next: the four ways of choosing, as pure functions.
//!
//! Candidates are tried in the order of the assignment. What each way promises:
//!
//! | way | leader | new ISR |
//! |---|---|---|
//! | offline | first live replica in the ISR; if none and unclean is allowed, first live replica | live members; unclean: the leader alone |
//! | preferred | the first replica, if live and in the ISR | unchanged |
//! | reassigning | first target replica that is live and in the ISR | unchanged |
//! | leaving | first replica in the ISR that is registered and does not leave | without those that leave |
//!
//! Kafka: `PartitionLeaderElectionAlgorithms` and `Election`.

/// A choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub leader: i32,
    pub isr: Vec<i32>,
    /// Data may have been lost: the leader was not in the ISR.
    pub unclean: bool,
}

pub fn offline(
    assignment: &[i32],
    isr: &[i32],
    is_live: impl Fn(i32) -> bool,
    unclean_allowed: bool,
) -> Option<Chosen> {
    if let Some(leader) = first(assignment, |replica| {
        is_live(replica) && isr.contains(&replica)
    }) {
        let isr = isr
            .iter()
            .copied()
            .filter(|member| is_live(*member))
            .collect();
        return Some(Chosen {
            leader,
            isr,
            unclean: false,
        });
    }
    if !unclean_allowed {
        return None;
    }
    let leader = first(assignment, &is_live)?;
    Some(Chosen {
        leader,
        isr: vec![leader],
        unclean: true,
    })
}

pub fn preferred(assignment: &[i32], isr: &[i32], is_live: impl Fn(i32) -> bool) -> Option<Chosen> {
    let leader = *assignment.first()?;
    (is_live(leader) && isr.contains(&leader)).then(|| Chosen {
        leader,
        isr: isr.to_vec(),
        unclean: false,
    })
}

pub fn reassigning(target: &[i32], isr: &[i32], is_live: impl Fn(i32) -> bool) -> Option<Chosen> {
    let leader = first(target, |replica| is_live(replica) && isr.contains(&replica))?;
    Some(Chosen {
        leader,
        isr: isr.to_vec(),
        unclean: false,
    })
}

pub fn leaving(
    assignment: &[i32],
    isr: &[i32],
    is_registered: impl Fn(i32) -> bool,
    leaves: impl Fn(i32) -> bool,
) -> Option<Chosen> {
    let leader = first(assignment, |replica| {
        is_registered(replica) && isr.contains(&replica) && !leaves(replica)
    })?;
    let isr = isr
        .iter()
        .copied()
        .filter(|member| !leaves(*member))
        .collect();
    Some(Chosen {
        leader,
        isr,
        unclean: false,
    })
}

fn first(replicas: &[i32], fits: impl Fn(i32) -> bool) -> Option<i32> {
    replicas.iter().copied().find(|replica| fits(*replica))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(leader: i32, isr: &[i32], unclean: bool) -> Option<Chosen> {
        Some(Chosen {
            leader,
            isr: isr.to_vec(),
            unclean,
        })
    }

    #[test]
    fn offline_prefers_the_isr_and_falls_back_only_where_allowed() {
        let live = |id| id != 1;
        assert_eq!(
            offline(&[1, 2, 3], &[3, 1], live, false),
            chosen(3, &[3], false)
        );
        assert_eq!(offline(&[1, 2, 3], &[1], live, false), None);
        assert_eq!(offline(&[1, 2, 3], &[1], live, true), chosen(2, &[2], true));
        assert_eq!(offline(&[1], &[1], live, true), None);
    }

    #[test]
    fn preferred_is_the_first_replica_or_nobody() {
        assert_eq!(
            preferred(&[2, 1], &[1, 2], |_| true),
            chosen(2, &[1, 2], false)
        );
        assert_eq!(preferred(&[2, 1], &[1], |_| true), None);
        assert_eq!(preferred(&[2, 1], &[1, 2], |id| id != 2), None);
        assert_eq!(preferred(&[], &[], |_| true), None);
    }

    #[test]
    fn reassigning_takes_a_target_that_is_in_sync() {
        assert_eq!(
            reassigning(&[4, 5], &[1, 5], |_| true),
            chosen(5, &[1, 5], false)
        );
        assert_eq!(reassigning(&[4], &[1], |_| true), None);
    }

    #[test]
    fn leaving_passes_the_lead_on_and_shrinks_the_isr() {
        assert_eq!(
            leaving(&[1, 2, 3], &[1, 2, 3], |id| id != 2, |id| id == 1),
            chosen(3, &[2, 3], false)
        );
        assert_eq!(leaving(&[1], &[1], |_| true, |id| id == 1), None);
    }
}
