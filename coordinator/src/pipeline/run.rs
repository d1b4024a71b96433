//! The task around the pipeline: messages in, syncs in, time in; bytes out after every round.

use std::sync::Arc;

use base::stop::Stop;
use tokio::sync::{Notify, mpsc};

use crate::pipeline::{Message, Pipeline};

/// Messages taken before what they caused goes out.
const ROUND: usize = 256;

/// Runs until stopped; gives the reason where the disk has failed.
pub(crate) async fn run(
    mut pipeline: Pipeline,
    mut messages: mpsc::Receiver<Message>,
    progress: Arc<Notify>,
    stop: Stop,
    failed: mpsc::Sender<()>,
) {
    let clock = pipeline.config.clock.clone();
    let tick_ms = pipeline.sessions.step_ms();
    let containers_ms = pipeline.config.container_check_interval_ms.max(1);
    let mut next_containers_ms = clock.monotonic_ms().saturating_add(containers_ms);
    let mut told = false;
    pipeline.end_dead_sessions();
    while pipeline.awaits_disk() {
        progress.notified().await;
        pipeline.commit();
    }
    let mut next_tick_ms = clock.monotonic_ms() + tick_ms;
    loop {
        let wait_ms = next_tick_ms - clock.monotonic_ms();
        let listens = pipeline.has_room();
        tokio::select! {
            message = messages.recv(), if listens => {
                pipeline.pass_time(listens);
                let Some(message) = message else { break };
                pipeline.handle(message);
                for _ in 1..ROUND {
                    let Ok(message) = messages.try_recv() else { break };
                    pipeline.handle(message);
                }
            }
            () = progress.notified() => pipeline.pass_time(listens),
            () = clock.sleep_ms(wait_ms) => {
                pipeline.pass_time(listens);
                pipeline.expire();
                let now_ms = clock.monotonic_ms();
                next_tick_ms = (now_ms / tick_ms + 1) * tick_ms;
                if now_ms >= next_containers_ms {
                    next_containers_ms = now_ms.saturating_add(containers_ms);
                    let per_minute = pipeline.config.container_max_per_minute;
                    let most = per_minute.saturating_mul(containers_ms.cast_unsigned()) / 60_000;
                    pipeline.remove_expired_nodes(usize::try_from(most.max(1)).unwrap_or(usize::MAX));
                }
            }
            () = stop.stopped() => break,
        }
        pipeline.commit();
        if pipeline.submit() {
            pipeline.commit();
        }
        pipeline.advance_snapshot();
        pipeline.flush();
        if pipeline.has_failed() && !told {
            told = true;
            // A full channel means that it was said already.
            let _said = failed.try_send(());
        }
    }
    pipeline.stop();
}
