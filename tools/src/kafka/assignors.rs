//! Who reads which partition: what members say and hear (the consumer protocol's bytes), and the
//! ways Apache's consumers share partitions out: range, round robin, cooperative-sticky.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::failure::Failure;
use crate::kafka::offsets::Place;

/// What one member wants, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: Vec<String>,
    pub(crate) owned: Vec<Place>,
}

/// Kafka: the version of the consumer protocol that Java's clients of 3.9 speak.
const VERSION: i16 = 3;

/// A member's subscription.
pub(crate) fn write_subscription(subscription: &Subscription) -> Bytes {
    let mut to = BytesMut::new();
    to.put_i16(VERSION);
    to.put_i32(subscription.topics.len() as i32);
    for topic in &subscription.topics {
        put_text(&mut to, topic);
    }
    to.put_i32(-1);
    put_places(&mut to, &subscription.owned);
    // No generation it was owned in, and no rack.
    to.put_i32(-1);
    to.put_i16(-1);
    to.freeze()
}

/// Reads a subscription of any version; `None` for bytes that are none.
pub(crate) fn read_subscription(bytes: &Bytes) -> Option<Subscription> {
    let mut from = bytes.clone();
    let version = from.try_get_i16().ok()?;
    let mut made = Subscription::default();
    for _ in 0..count(&mut from, 2)? {
        made.topics.push(take_text(&mut from)?);
    }
    skip_bytes(&mut from)?;
    if version >= 1 {
        made.owned = take_places(&mut from)?;
    }
    Some(made)
}

/// A member's assignment.
pub(crate) fn write_assignment(places: &[Place]) -> Bytes {
    let mut to = BytesMut::new();
    to.put_i16(VERSION);
    put_places(&mut to, places);
    to.put_i32(-1);
    to.freeze()
}

pub(crate) fn read_assignment(bytes: &Bytes) -> Option<Vec<Place>> {
    let mut from = bytes.clone();
    from.try_get_i16().ok()?;
    take_places(&mut from)
}

fn put_text(to: &mut BytesMut, text: &str) {
    to.put_i16(text.len() as i16);
    to.put_slice(text.as_bytes());
}

fn put_places(to: &mut BytesMut, places: &[Place]) {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(topic).or_default().push(*partition);
    }
    to.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        put_text(to, topic);
        to.put_i32(partitions.len() as i32);
        for partition in partitions {
            to.put_i32(partition);
        }
    }
}

/// A count no larger than the bytes that are there allow.
fn count(from: &mut Bytes, bytes_each: usize) -> Option<usize> {
    let count = usize::try_from(from.try_get_i32().ok()?).ok()?;
    (count <= from.len() / bytes_each).then_some(count)
}

fn take_text(from: &mut Bytes) -> Option<String> {
    let length = usize::try_from(from.try_get_i16().ok()?).ok()?;
    (length <= from.len()).then(|| String::from_utf8(from.split_to(length).to_vec()).ok())?
}

fn skip_bytes(from: &mut Bytes) -> Option<()> {
    match from.try_get_i32().ok()? {
        ..0 => Some(()),
        length => (length as usize <= from.len()).then(|| from.advance(length as usize)),
    }
}

fn take_places(from: &mut Bytes) -> Option<Vec<Place>> {
    let mut made = Vec::new();
    for _ in 0..count(from, 6)? {
        let topic = take_text(from)?;
        for _ in 0..count(from, 4)? {
            made.push((topic.clone(), from.try_get_i32().ok()?));
        }
    }
    Some(made)
}

type Members = BTreeMap<String, Subscription>;
type Plan = BTreeMap<String, Vec<Place>>;

/// Range: of each topic, members in order get neighbouring partitions, the first ones one more.
pub(crate) fn range(members: &Members, partitions: &BTreeMap<String, i32>) -> Plan {
    let mut plan: Plan = members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    for (topic, count) in partitions {
        let readers: Vec<&String> = members
            .iter()
            .filter(|(_, one)| one.topics.contains(topic))
            .map(|(id, _)| id)
            .collect();
        let readers_count = i32::try_from(readers.len()).unwrap_or(i32::MAX).max(1);
        let (each, more) = (count / readers_count, count % readers_count);
        let mut next = 0;
        for (at, reader) in readers.into_iter().enumerate() {
            let take = each + i32::from((at as i32) < more);
            let list = plan.entry(reader.clone()).or_default();
            list.extend((next..next + take).map(|partition| (topic.clone(), partition)));
            next += take;
        }
    }
    plan
}

/// The assignors of a list of Java's classes, by the names the protocol has for them.
pub(crate) fn named(classes: Option<&str>) -> Result<Vec<&'static str>, Failure> {
    let Some(classes) = classes else {
        return Ok(vec!["range", "cooperative-sticky"]);
    };
    let classes = classes.split(',').map(str::trim);
    let name = |class: &str| match class.rsplit('.').next() {
        Some("RangeAssignor") => Ok("range"),
        Some("RoundRobinAssignor") => Ok("roundrobin"),
        Some("CooperativeStickyAssignor") => Ok("cooperative-sticky"),
        _ => Err(Failure::Absent(format!("the assignor {class}"))),
    };
    classes.map(name).collect()
}

/// Round robin: all partitions in order, dealt out to the members in order; who does not read a
/// topic is passed over.
pub(crate) fn round_robin(members: &Members, partitions: &BTreeMap<String, i32>) -> Plan {
    let mut plan: Plan = members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    let mut turn = members.iter().cycle();
    for (topic, count) in partitions {
        if !members.values().any(|one| one.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            let next = turn.find(|(_, one)| one.topics.contains(topic));
            if let Some((member, _)) = next {
                let list = plan.entry(member.clone()).or_default();
                list.push((topic.clone(), partition));
            }
        }
    }
    plan
}

/// Sticky: everyone keeps what it holds as far as that is fair; the rest goes to whoever has
/// least. A partition that changes hands is left out for one round, so that its holder lets go
/// first (the cooperative half).
pub(crate) fn cooperative_sticky(members: &Members, partitions: &BTreeMap<String, i32>) -> Plan {
    let mut plan: Plan = members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    let all: BTreeSet<Place> = partitions
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |partition| (topic.clone(), partition)))
        .collect();
    let most = all.len().div_ceil(members.len().max(1));
    let mut holder: BTreeMap<Place, String> = BTreeMap::new();
    for (member, one) in members {
        for place in &one.owned {
            let list = plan.entry(member.clone()).or_default();
            let wanted = all.contains(place) && one.topics.contains(&place.0);
            if wanted && !holder.contains_key(place) {
                holder.insert(place.clone(), member.clone());
                if list.len() < most {
                    list.push(place.clone());
                }
            }
        }
    }
    let kept: BTreeSet<Place> = plan.values().flatten().cloned().collect();
    for place in all.difference(&kept) {
        let readers = members
            .iter()
            .filter(|(_, one)| one.topics.contains(&place.0));
        let least = readers
            .map(|(id, _)| id)
            .min_by_key(|id| plan.get(*id).map_or(0, Vec::len));
        if let Some(member) = least.cloned() {
            plan.entry(member).or_default().push(place.clone());
        }
    }
    for (member, list) in &mut plan {
        list.retain(|place| holder.get(place).is_none_or(|held| held == member));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, &[(&str, i32)])]) -> Members {
        let member = |owned: &[(&str, i32)]| Subscription {
            topics: vec!["t".to_string()],
            owned: owned
                .iter()
                .map(|(topic, at)| (topic.to_string(), *at))
                .collect(),
        };
        list.iter()
            .map(|(id, owned)| (id.to_string(), member(owned)))
            .collect()
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        plan.values().map(Vec::len).collect()
    }

    #[test]
    fn range_gives_neighbours_and_the_first_one_more() {
        let plan = range(
            &members(&[("a", &[]), ("b", &[])]),
            &BTreeMap::from([("t".to_string(), 5)]),
        );
        assert_eq!(sizes(&plan), [3, 2]);
        assert_eq!(plan["b"], [("t".to_string(), 3), ("t".to_string(), 4)]);
    }

    #[test]
    fn sticky_takes_away_first_and_gives_in_the_next_round() {
        let all: &[(&str, i32)] = &[("t", 0), ("t", 1), ("t", 2), ("t", 3)];
        let topics = BTreeMap::from([("t".to_string(), 4)]);
        let first = cooperative_sticky(&members(&[("a", all), ("b", &[])]), &topics);
        assert_eq!(sizes(&first), [2, 0]);
        let second = cooperative_sticky(&members(&[("a", &all[..2]), ("b", &[])]), &topics);
        assert_eq!(sizes(&second), [2, 2]);
    }

    #[test]
    fn subscriptions_and_assignments_read_as_written() {
        let one = Subscription {
            topics: vec!["t".into()],
            owned: vec![("t".into(), 1)],
        };
        assert_eq!(
            read_subscription(&write_subscription(&one)),
            Some(one.clone())
        );
        assert_eq!(
            read_assignment(&write_assignment(&one.owned)),
            Some(one.owned)
        );
        assert_eq!(
            read_assignment(&Bytes::from_static(&[0, 0, 0x7f, 255, 255, 255])),
            None
        );
    }
}
