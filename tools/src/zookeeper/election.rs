//! `kafka-preferred-replica-election --zookeeper`: asks the controller by one node.

use std::collections::BTreeSet;

use protocol::ids::TopicPartition;
use znodes::bodies::reassign::{decode_partitions, encode_partitions};
use znodes::paths;
use znodes::store::{Store, create_with_parents};

use crate::args::Args;
use crate::failure::Failure;
use crate::print::Out;
use crate::say;
use crate::zookeeper::session;

pub(crate) async fn run(
    args: &Args,
    wanted: Option<Vec<(String, i32)>>,
    out: &mut Out,
) -> Result<(), Failure> {
    say!(
        out,
        "Warning: --zookeeper is deprecated and will be removed in a future version of Kafka."
    );
    say!(
        out,
        "Use --bootstrap-server instead to specify a broker to connect to."
    );
    let zk = session(args.required("zookeeper")?).await?;
    let done = elect(&zk, wanted, out).await;
    out.flush();
    zk.close().await;
    done.map_err(|cause| Failure::said(format!("Admin command failed: {cause}")))
}

async fn elect(
    zk: &dyn Store,
    wanted: Option<Vec<(String, i32)>>,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut there = BTreeSet::new();
    for name in zk.list(paths::TOPICS, None).await?.unwrap_or_default() {
        // Kafka: a partition is there once the controller has led it.
        let led = zk.list(&paths::partitions(&name), None).await?;
        let ids = led.iter().flatten().filter_map(|id| id.parse::<i32>().ok());
        there.extend(ids.map(|id| (name.clone(), id)));
    }
    let (valid, invalid): (Vec<_>, Vec<_>) = match wanted {
        Some(places) => places.into_iter().partition(|place| there.contains(place)),
        None => (there.into_iter().collect(), Vec::new()),
    };
    let places: Vec<TopicPartition> = valid
        .iter()
        .map(|(topic, partition)| TopicPartition::new(topic.as_str(), *partition))
        .collect();
    let body = encode_partitions(&places);
    match create_with_parents(zk, paths::PREFERRED_ELECTION, body.as_bytes()).await {
        Ok(_) => {}
        Err(error) if error.is_node_exists() => {
            let node = zk.get(paths::PREFERRED_ELECTION, None).await?;
            let running = node.and_then(|node| decode_partitions(&node.data).ok());
            let running = running.unwrap_or_default();
            let running = running
                .iter()
                .map(|place| (place.topic.to_string(), place.partition));
            return Err(Failure::said(format!(
                "Preferred replica leader election currently in progress for {}. Aborting operation",
                names(&running.collect::<Vec<_>>(), ",")
            )));
        }
        Err(error) => return Err(error.into()),
    }
    say!(
        out,
        "Created preferred replica election path with {}",
        names(&valid, ",")
    );
    // Kafka: a set of Scala's, which calls itself by another name once it is hashed.
    let set = if valid.len() > 4 { "HashSet" } else { "Set" };
    say!(
        out,
        "Successfully started preferred replica election for partitions {set}({})",
        names(&valid, ", ")
    );
    for place in invalid {
        say!(
            out,
            "Skipping preferred replica leader election for partition {} since it doesn't exist.",
            names(&[place], "")
        );
    }
    Ok(())
}

fn names(places: &[(String, i32)], between: &str) -> String {
    let names = places
        .iter()
        .map(|(topic, partition)| format!("{topic}-{partition}"));
    names.collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::Clock;
    use znodes::memory::World;

    #[tokio::test]
    async fn the_controller_is_asked_once_for_partitions_that_exist() {
        let zk = World::new(Clock::system()).connect();
        let body = br#"{"partitions":{"0":[1],"1":[2],"7":[1]},"version":1}"#;
        for (path, body) in [
            ("/brokers/topics/t", &body[..]),
            ("/brokers/topics/t/partitions/0", &b""[..]),
            ("/brokers/topics/t/partitions/1", &b""[..]),
        ] {
            create_with_parents(&zk, path, body).await.unwrap();
        }
        let wanted = vec![("t".to_owned(), 1), ("t".to_owned(), 7)];
        elect(&zk, Some(wanted), &mut Out::new()).await.unwrap();
        let node = zk.get(paths::PREFERRED_ELECTION, None).await.unwrap();
        assert_eq!(
            String::from_utf8(node.unwrap().data).unwrap(),
            r#"{"version":1,"partitions":[{"topic":"t","partition":1}]}"#
        );
        let again = elect(&zk, None, &mut Out::new()).await.unwrap_err();
        assert_eq!(
            again.to_string(),
            "Preferred replica leader election currently in progress for t-1. Aborting operation"
        );
    }
}
