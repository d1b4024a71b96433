//! Which of the oldest segments may go: pure.
//!
//! Kafka: `UnifiedLog.deleteOldSegments`: by log start, by size, by time, in this order; always a
//! run from the oldest; never what reaches above the watermark; never an empty last segment.

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    /// Where the next segment begins; the log's end for the last.
    pub(crate) end: i64,
    pub(crate) size: u64,
    pub(crate) largest_timestamp: i64,
}

/// The limits in force; `None` where a rule does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) start: i64,
    pub(crate) watermark: i64,
    pub(crate) now_ms: i64,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<u64>,
}

/// How many of the oldest segments go. All of them is possible where the last holds data.
pub(crate) fn count_expired(segments: &[Aged], limits: &Limits) -> usize {
    let by_start = run(segments, 0, limits, |aged, is_last| {
        !is_last && aged.end <= limits.start
    });
    let mut left: u64 = segments.iter().skip(by_start).map(|aged| aged.size).sum();
    let by_size = match limits.retention_bytes {
        None => by_start,
        Some(max) => run(segments, by_start, limits, |aged, _| {
            let goes = left >= max.saturating_add(aged.size);
            left -= if goes { aged.size } else { 0 };
            goes
        }),
    };
    match limits.retention_ms {
        None => by_size,
        Some(age) => run(segments, by_size, limits, |aged, _| {
            limits.now_ms.saturating_sub(aged.largest_timestamp) > age
        }),
    }
}

/// From `gone` segments on, how many are gone once `is_expired` no longer holds.
fn run(
    segments: &[Aged],
    gone: usize,
    limits: &Limits,
    mut is_expired: impl FnMut(&Aged, bool) -> bool,
) -> usize {
    let rest = segments.iter().enumerate().skip(gone);
    let more = rest.take_while(|(number, aged)| {
        let is_last = number + 1 == segments.len();
        let is_empty_last = is_last && aged.size == 0;
        !is_empty_last && aged.end <= limits.watermark && is_expired(aged, is_last)
    });
    gone + more.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: Limits = Limits {
        start: 0,
        watermark: 100,
        now_ms: 1_000,
        retention_ms: None,
        retention_bytes: None,
    };

    fn three() -> [Aged; 3] {
        [10, 20, 30].map(|end| Aged {
            end,
            size: 100,
            largest_timestamp: end * 10,
        })
    }

    #[test]
    fn nothing_goes_without_a_reason() {
        assert_eq!(count_expired(&three(), &NO_LIMITS), 0);
    }

    #[test]
    fn what_lies_below_the_start_goes_but_never_the_last() {
        assert_eq!(
            count_expired(
                &three(),
                &Limits {
                    start: 20,
                    ..NO_LIMITS
                }
            ),
            2
        );
        assert_eq!(
            count_expired(
                &three(),
                &Limits {
                    start: 30,
                    ..NO_LIMITS
                }
            ),
            2
        );
    }

    #[test]
    fn size_deletes_only_whole_segments_too_many() {
        let by = |bytes| Limits {
            retention_bytes: Some(bytes),
            ..NO_LIMITS
        };
        assert_eq!(count_expired(&three(), &by(200)), 1);
        assert_eq!(count_expired(&three(), &by(201)), 0);
        assert_eq!(count_expired(&three(), &by(0)), 3);
    }

    #[test]
    fn age_counts_from_the_youngest_record_and_stops_at_the_watermark() {
        let aged = Limits {
            retention_ms: Some(750),
            ..NO_LIMITS
        };
        assert_eq!(count_expired(&three(), &aged), 2);
        assert_eq!(
            count_expired(
                &three(),
                &Limits {
                    watermark: 10,
                    ..aged
                }
            ),
            1
        );
        let mut segments = three();
        segments[2].size = 0;
        assert_eq!(
            count_expired(
                &segments,
                &Limits {
                    retention_ms: Some(0),
                    ..NO_LIMITS
                }
            ),
            2
        );
    }
}
