//! How slowly a frame may come. Pure.
//!
//! What has arrived of a frame holds memory of the budget that all connections share, so whoever
//! begins a frame must go on with it. Kafka has no such bound beyond `connections.max.idle.ms`,
//! which a byte every few minutes keeps away for ever.
//!
//! An honest client is never near either bound: a thousand bytes a second is a modem of the
//! eighties, and clients themselves give a request up long before ten minutes are over (Java's
//! after 30 s, librdkafka after 60 s, both at most minutes where somebody raised it).

/// Each span of a frame that is not finished must bring so many bytes.
const SPAN_MS: i64 = 30_000;
const SPAN_BYTES_MIN: u64 = 30_000;
/// No frame takes longer than this, however evenly it comes.
const FRAME_MS_MAX: i64 = 600_000;

/// What was seen of the frame that is coming.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Which frame of the connection, and since when it is under way.
    frame: u64,
    frame_since_ms: Option<i64>,
    /// The span that is open: since when, and how many bytes had come before it.
    span_since_ms: i64,
    span_bytes: u64,
}

impl Pace {
    /// Nothing is expected from the client now.
    pub(crate) fn rest(&mut self) {
        self.frame_since_ms = None;
    }

    /// Looks at a frame that is not complete; false where it comes too slowly. `bytes` is all that
    /// ever came on the connection.
    pub(crate) fn look(&mut self, frame: u64, bytes: u64, now_ms: i64) -> bool {
        let since_ms = match self.frame_since_ms {
            Some(since_ms) if self.frame == frame => since_ms,
            _ => {
                *self = Pace {
                    frame,
                    frame_since_ms: Some(now_ms),
                    span_since_ms: now_ms,
                    span_bytes: bytes,
                };
                return true;
            }
        };
        if now_ms - self.span_since_ms >= SPAN_MS {
            if bytes - self.span_bytes < SPAN_BYTES_MIN {
                return false;
            }
            (self.span_since_ms, self.span_bytes) = (now_ms, bytes);
        }
        now_ms - since_ms < FRAME_MS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a client is dropped that sends so many bytes a second of one frame.
    fn dropped_after(bytes_per_second: u64) -> Option<u64> {
        let mut pace = Pace::default();
        (0..3600_u64)
            .step_by(5)
            .find(|s| !pace.look(7, s * bytes_per_second, *s as i64 * 1000))
    }

    #[test]
    fn silence_and_drips_end_after_one_span_and_slow_clients_have_minutes() {
        assert_eq!(dropped_after(0), Some(30));
        assert_eq!(dropped_after(1), Some(30));
        assert_eq!(dropped_after(999), Some(30));
        assert_eq!(dropped_after(1000), Some(600));
        assert_eq!(dropped_after(1 << 20), Some(600));
    }

    #[test]
    fn each_frame_and_each_rest_begin_anew() {
        let mut pace = Pace::default();
        for minute in 0..60 {
            assert!(pace.look(minute, minute, minute as i64 * 60_000));
        }
        let mut pace = Pace::default();
        for minute in 0..60 {
            assert!(pace.look(1, 5, minute * 60_000));
            pace.rest();
        }
    }
}
