//! Which brokers get the replicas of new partitions: spread evenly, across racks where known.
//!
//! Pure: start and shift, which Kafka draws by chance, are handed in. Kafka: `AdminUtils`.

use std::collections::BTreeMap;

/// A broker that may get replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: i32,
    pub rack: Option<String>,
}

/// More than ten of ZooKeeper's largest requests would hold; a number alone must not cost memory.
const PARTITIONS_MAX: i32 = 1_000_000;

/// Why no assignment can be made, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Number of partitions must be larger than 0.")]
    Partitions,
    #[error(
        "Number of partitions must not be larger than {PARTITIONS_MAX}: no topic's node in ZooKeeper has room for more."
    )]
    TooManyPartitions,
    #[error("Replication factor must be larger than 0.")]
    ReplicationFactor,
    #[error("Replication factor: {wanted} larger than available brokers: {available}.")]
    TooFewBrokers { wanted: i32, available: usize },
    #[error("Not all brokers have rack information for replica rack aware assignment.")]
    SomeRacks,
}

/// The replicas of partitions `first .. first + count`.
///
/// `start` is the place of the first leader, `shift` how far the second replica lies from it; both
/// may be any number.
pub fn assign(
    brokers: &[Candidate],
    count: i32,
    replication_factor: i32,
    first: i32,
    start: usize,
    shift: usize,
) -> Result<BTreeMap<i32, Vec<i32>>, Refusal> {
    if count <= 0 {
        return Err(Refusal::Partitions);
    }
    if count > PARTITIONS_MAX {
        return Err(Refusal::TooManyPartitions);
    }
    if replication_factor <= 0 {
        return Err(Refusal::ReplicationFactor);
    }
    let factor = usize::try_from(replication_factor).unwrap_or(usize::MAX);
    if factor > brokers.len() {
        return Err(Refusal::TooFewBrokers {
            wanted: replication_factor,
            available: brokers.len(),
        });
    }
    let racks = brokers
        .iter()
        .filter(|broker| broker.rack.is_some())
        .count();
    if racks != 0 && racks != brokers.len() {
        return Err(Refusal::SomeRacks);
    }
    let order = if racks == 0 {
        by_id(brokers)
    } else {
        alternate_racks(brokers)
    };
    let rack_of: BTreeMap<i32, &str> = brokers
        .iter()
        .filter_map(|broker| Some((broker.id, broker.rack.as_deref()?)))
        .collect();
    let places = order.len();
    let (start, mut shift) = (start % places, shift % places);
    let mut assigned = BTreeMap::new();
    for index in 0..count {
        let partition = first.saturating_add(index);
        let at = usize::try_from(partition.max(0)).unwrap_or(0);
        if index > 0 && at % places == 0 {
            shift += 1;
        }
        let leader = (at + start) % places;
        let replicas = if racks == 0 {
            plain_replicas(&order, leader, shift, factor)
        } else {
            racked_replicas(&order, &rack_of, leader, shift, factor)
        };
        assigned.insert(partition, replicas);
    }
    Ok(assigned)
}

fn by_id(brokers: &[Candidate]) -> Vec<i32> {
    let mut ids: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
    ids.sort_unstable();
    ids
}

/// Where the replica number `replica` after the leader lies.
fn place(leader: usize, shift: usize, replica: usize, places: usize) -> usize {
    (leader + 1 + (shift + replica) % (places - 1).max(1)) % places
}

fn plain_replicas(order: &[i32], leader: usize, shift: usize, factor: usize) -> Vec<i32> {
    let mut replicas = vec![order[leader]];
    for replica in 0..factor - 1 {
        replicas.push(order[place(leader, shift, replica, order.len())]);
    }
    replicas
}

/// Prefers racks without a replica, then brokers without one.
fn racked_replicas(
    order: &[i32],
    rack_of: &BTreeMap<i32, &str>,
    leader: usize,
    shift: usize,
    factor: usize,
) -> Vec<i32> {
    let places = order.len();
    let rack = |id: &i32| rack_of.get(id).copied().unwrap_or_default();
    let racks_in_all = rack_of
        .values()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let mut replicas = vec![order[leader]];
    let mut racks = std::collections::BTreeSet::from([rack(&order[leader])]);
    let mut step = 0;
    while replicas.len() < factor {
        // Kafka shifts by whole racks, so that neighbours do not follow each other.
        let at = place(leader, shift * racks_in_all, step, places);
        step += 1;
        let id = order[at];
        let rack_taken = racks.contains(rack(&id)) && racks.len() != racks_in_all;
        let broker_taken = replicas.contains(&id) && replicas.len() != places;
        if !rack_taken && !broker_taken {
            replicas.push(id);
            racks.insert(rack(&id));
        }
    }
    replicas
}

/// Brokers so that neighbours stand in different racks: the first of each rack, then the second…
fn alternate_racks(brokers: &[Candidate]) -> Vec<i32> {
    let mut racks: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for broker in brokers {
        racks
            .entry(broker.rack.as_deref().unwrap_or_default())
            .or_default()
            .push(broker.id);
    }
    for ids in racks.values_mut() {
        ids.sort_unstable();
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|at| racks.values().filter_map(move |ids| ids.get(at).copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
        let candidate = |(id, rack): (usize, &Option<&str>)| Candidate {
            id: i32::try_from(id).unwrap(),
            rack: rack.map(str::to_owned),
        };
        racks.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn the_table_in_kafkas_own_words_comes_out() {
        // Kafka: the example in the comment of `AdminUtils`: 5 brokers, 10 partitions, factor 3.
        let made = assign(&brokers(&[None; 5]), 10, 3, 0, 0, 0).unwrap();
        let expected = [
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 0],
            [4, 0, 1],
            [0, 2, 3],
            [1, 3, 4],
            [2, 4, 0],
            [3, 0, 1],
            [4, 1, 2],
        ];
        for (partition, replicas) in made {
            assert_eq!(
                replicas,
                expected[usize::try_from(partition).unwrap()],
                "{partition}"
            );
        }
    }

    #[test]
    fn replicas_stand_in_different_racks_while_there_are_enough() {
        let racks = [
            Some("a"),
            Some("a"),
            Some("b"),
            Some("b"),
            Some("c"),
            Some("c"),
        ];
        let candidates = brokers(&racks);
        for (start, shift) in [(0, 0), (3, 1), (5, 4)] {
            for replicas in assign(&candidates, 12, 3, 0, start, shift)
                .unwrap()
                .values()
            {
                let seen: std::collections::BTreeSet<_> = replicas
                    .iter()
                    .map(|id| racks[usize::try_from(*id).unwrap()])
                    .collect();
                assert_eq!(seen.len(), 3, "{replicas:?}");
            }
        }
        assert_eq!(assign(&candidates, 1, 6, 0, 1, 2).unwrap()[&0].len(), 6);
    }

    #[test]
    fn refusals_have_kafkas_words() {
        let two = brokers(&[None, None]);
        assert_eq!(
            assign(&two, 1, 3, 0, 0, 0).unwrap_err().to_string(),
            "Replication factor: 3 larger than available brokers: 2."
        );
        assert_eq!(
            assign(&brokers(&[None, Some("a")]), 1, 1, 0, 0, 0),
            Err(Refusal::SomeRacks)
        );
        assert_eq!(assign(&two, 0, 1, 0, 0, 0), Err(Refusal::Partitions));
        assert_eq!(assign(&two, 1, 0, 0, 0, 0), Err(Refusal::ReplicationFactor));
        assert_eq!(
            assign(&two, i32::MAX, 1, 0, 0, 0),
            Err(Refusal::TooManyPartitions)
        );
    }
}
