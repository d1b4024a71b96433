//! Fetch sessions, as the partitions and epochs of their requests tell them.

use super::*;

fn sessions(slots_max: usize) -> (Sessions, Clock) {
    let clock = Clock::by_hand(0);
    let config = SessionsConfig {
        slots_max,
        eviction_ms: 120_000,
    };
    (
        Sessions::new(config, clock.clone(), Chance::seeded(1)),
        clock,
    )
}

fn ask(topic: &str, partition: i32) -> PartitionAsk {
    PartitionAsk {
        topic: TopicKey::Name(topic.into()),
        name: Some(topic.into()),
        partition,
        fetch_offset: Offset(0),
        bytes_max: 1 << 20,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        log_start: Offset(-1),
    }
}

fn head(id: i32, epoch: i32) -> SessionAsk {
    SessionAsk {
        id,
        epoch,
        uses_topic_ids: false,
        is_follower: false,
    }
}

fn told(watermark: i64, has_records: bool) -> Told {
    Told {
        watermark: Offset(watermark),
        log_start: Offset(0),
        has_records,
        has_error: false,
        always: false,
    }
}

fn open(sessions: &Sessions, asks: Vec<PartitionAsk>, is_follower: bool) -> i32 {
    let mut all: Vec<_> = (0..asks.len())
        .map(|index| (index, told(0, false)))
        .collect();
    let ask = SessionAsk {
        is_follower,
        ..head(0, 0)
    };
    let context = sessions.begin(ask, asks, &[], |_| None).unwrap();
    sessions.finish(&context, &mut all).unwrap()
}

fn partitions(context: &Context) -> Vec<i32> {
    context.asks.iter().map(|ask| ask.partition).collect()
}

#[test]
fn an_incremental_answer_tells_only_what_changed_and_moves_the_busy_to_the_end() {
    let (sessions, _) = sessions(10);
    let id = open(
        &sessions,
        vec![ask("t", 0), ask("t", 1), ask("t", 2)],
        false,
    );
    let context = sessions
        .begin(head(id, 1), Vec::new(), &[], |_| None)
        .unwrap();
    assert_eq!(partitions(&context), [0, 1, 2]);
    let mut all = vec![(0, told(5, true)), (1, told(0, false)), (2, told(3, false))];
    assert_eq!(sessions.finish(&context, &mut all), Ok(id));
    assert_eq!(
        all.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [0, 2]
    );
    let context = sessions
        .begin(head(id, 2), Vec::new(), &[], |_| None)
        .unwrap();
    assert_eq!(partitions(&context), [1, 2, 0]);
}

#[test]
fn an_error_is_told_and_the_partition_told_again_once_it_is_gone() {
    let (sessions, _) = sessions(10);
    let id = open(&sessions, vec![ask("t", 0)], false);
    for (epoch, has_error, expected) in [(1, true, 1), (2, false, 1), (3, false, 0)] {
        let context = sessions
            .begin(head(id, epoch), Vec::new(), &[], |_| None)
            .unwrap();
        let mut all = vec![(
            0,
            Told {
                has_error,
                ..told(0, false)
            },
        )];
        sessions.finish(&context, &mut all).unwrap();
        assert_eq!(all.len(), expected, "epoch {epoch}");
    }
}

#[test]
fn wrong_ids_epochs_and_sides_are_refused_by_their_names() {
    let (sessions, _) = sessions(10);
    let id = open(&sessions, vec![ask("t", 0)], false);
    let begin = |ask| sessions.begin(ask, Vec::new(), &[], |_| None).unwrap_err();
    assert_eq!(begin(head(id + 1, 1)), SessionRefusal::NotFound);
    assert_eq!(begin(head(id, 2)), SessionRefusal::WrongEpoch);
    let mixed = SessionAsk {
        uses_topic_ids: true,
        ..head(id, 1)
    };
    assert_eq!(begin(mixed), SessionRefusal::TopicIdsMixed);
}

#[test]
fn forgetting_the_last_partition_ends_the_session() {
    let (sessions, _) = sessions(10);
    let id = open(&sessions, vec![ask("t", 0)], false);
    let last = [(TopicKey::Name("t".into()), 0)];
    let context = sessions
        .begin(head(id, 1), Vec::new(), &last, |_| None)
        .unwrap();
    assert_eq!(sessions.finish(&context, &mut Vec::new()), Ok(NO_SESSION));
    assert!(sessions.is_empty());
}

#[test]
fn a_full_fetch_ends_the_session_it_names_and_keeps_one_ask_a_partition() {
    let (sessions, _) = sessions(10);
    let id = open(&sessions, vec![ask("t", 0)], false);
    let last = PartitionAsk {
        fetch_offset: Offset(7),
        ..ask("t", 0)
    };
    let asks = vec![ask("t", 0), ask("t", 1), last];
    let context = sessions.begin(head(id, -1), asks, &[], |_| None).unwrap();
    assert!(sessions.is_empty());
    assert_eq!(partitions(&context), [0, 1]);
    assert_eq!(context.asks[0].fetch_offset, Offset(7));
}

#[test]
fn a_full_house_yields_only_to_the_more_valuable_or_the_long_unused() {
    let (sessions, clock) = sessions(2);
    let first = open(&sessions, vec![ask("t", 0)], false);
    let _second = open(&sessions, vec![ask("t", 0), ask("t", 1)], false);
    // A consumer with more partitions still waits until the others have grown old.
    assert_eq!(
        open(
            &sessions,
            vec![ask("t", 0), ask("t", 1), ask("t", 2)],
            false
        ),
        NO_SESSION
    );
    // A follower takes the smallest consumer's place at once.
    assert_ne!(open(&sessions, vec![ask("t", 0)], true), NO_SESSION);
    assert!(
        sessions
            .begin(head(first, 1), Vec::new(), &[], |_| None)
            .is_err()
    );
    clock.advance(120_001);
    assert_ne!(open(&sessions, vec![ask("t", 0)], false), NO_SESSION);
    assert_eq!(sessions.len(), 2);
}

#[test]
fn an_id_learned_later_gets_its_name() {
    let (sessions, _) = sessions(2);
    let id = TopicId::random();
    let unknown = PartitionAsk {
        topic: TopicKey::Id(id),
        name: None,
        ..ask("t", 0)
    };
    let with_ids = SessionAsk {
        uses_topic_ids: true,
        ..head(0, 0)
    };
    let context = sessions
        .begin(with_ids, vec![unknown], &[], |_| None)
        .unwrap();
    let session = sessions
        .finish(&context, &mut vec![(0, told(0, false))])
        .unwrap();
    let next = SessionAsk {
        id: session,
        epoch: 1,
        ..with_ids
    };
    let context = sessions
        .begin(next, Vec::new(), &[], |_| Some("t".into()))
        .unwrap();
    assert_eq!(context.asks[0].name.as_deref(), Some("t"));
}
