//! Questions to many partitions at once, answered in bounded time whatever the disks do.
//!
//! What memory knows is told on the thread of the caller where the directory is healthy. The rest goes
//! to threads of the directories, which answer side by side, and is waited for together, for as long
//! as the caller has patience. Whose answer is missing then is told as [`Refusal::Silent`]: nobody
//! waits for the disk of others for ever.

use std::sync::Arc;

use crate::error::Refusal;
use crate::lanes::{Gathered, by_lane};
use crate::partition::Partition;

/// How long is waited for the answers of all disks: a third of what clients wait for theirs.
pub const PATIENCE_MS: i64 = 10_000;
/// How many partitions are asked in one turn of a thread: others have turns between them.
const TURN_MAX: usize = 64;

/// What one partition is asked.
#[derive(Debug)]
pub struct Question<Q> {
    pub partition: Arc<Partition>,
    /// It is answered from the disk, and not from memory.
    pub may_sleep: bool,
    pub ask: Q,
}

/// Everybody's answer, in the order of the questions.
pub async fn ask_all<T, Q>(questions: Vec<Question<Q>>, patience_ms: i64) -> Vec<Result<T, Refusal>>
where
    T: Send + 'static,
    Q: FnOnce(&Partition) -> Result<T, Refusal> + Send + 'static,
{
    let mut answers = Vec::with_capacity(questions.len());
    let mut rest = Vec::new();
    for question in questions {
        let Question {
            partition,
            may_sleep,
            ask,
        } = question;
        let lane = partition.lane();
        if !may_sleep && let Some(_permit) = partition.shared().lanes.try_permit(&lane) {
            answers.push(ask(&partition));
            continue;
        }
        rest.push((lane, (answers.len(), partition, ask)));
        answers.push(Err(Refusal::Silent));
    }
    let Some((_, (_, partition, _))) = rest.first() else {
        return answers;
    };
    let shared = Arc::clone(partition.shared());
    let mut asked = Gathered::patient(rest.len(), patience_ms);
    for (lane, questions) in by_lane(rest) {
        let mut questions = questions.into_iter().map(|(place, partition, ask)| {
            move || {
                let answer = ask(&partition);
                (place, answer)
            }
        });
        while questions.len() > 0 {
            let turn: Vec<_> = questions.by_ref().take(TURN_MAX).collect();
            asked.ask(&lane, turn);
        }
    }
    let stay = shared.deadlines.park(patience_ms);
    while let Some((place, answer)) = asked.next(&stay).await {
        if let Some(told) = answers.get_mut(place) {
            *told = answer;
        }
    }
    answers
}
