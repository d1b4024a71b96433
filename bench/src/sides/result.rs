//! What a run has found, and what follows from it: medians, ratios, verdicts. No input or output.

use std::collections::BTreeMap;

use crate::contestant::Side;
use crate::metrics::Metric;
use crate::rows::Curve;

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Counted within the row, through all rounds: each side has the same turns.
    pub(crate) turn: usize,
    pub(crate) side: Side,
    pub(crate) key: String,
    pub(crate) value: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) round: usize,
    pub(crate) side: Side,
    pub(crate) row: &'static str,
    pub(crate) why: String,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rounds: usize,
    pub(crate) minutes: f64,
    /// What each row took on each side, all rounds together.
    pub(crate) times: BTreeMap<(&'static str, Side), std::time::Duration>,
    pub(crate) machine: String,
    pub(crate) notes: Vec<String>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) curves: BTreeMap<(Side, &'static str), Curve>,
}

/// A median with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Spread { median, min, max })
    }
}

impl Outcome {
    pub(crate) fn values(&self, key: &str, side: Side) -> BTreeMap<usize, f64> {
        self.samples
            .iter()
            .filter(|sample| sample.key == key && sample.side == side)
            .map(|sample| (sample.turn, sample.value))
            .collect()
    }

    pub(crate) fn median(&self, key: &str, side: Side) -> Option<f64> {
        let values = self.values(key, side).into_values().collect();
        Some(Spread::of(values)?.median)
    }

    /// How many times better than Kafka: the median of each turn's ratio, and their range.
    pub(crate) fn ratio(&self, metric: &Metric) -> Option<Spread> {
        self.quotients(metric, Side::Kafka, metric.cost)
    }

    /// Our cost over the floor's.
    pub(crate) fn over_floor(&self, metric: &Metric) -> Option<Spread> {
        self.quotients(metric, Side::Floor, !metric.cost)
    }

    /// Theirs over ours, or ours over theirs, turn by turn.
    fn quotients(&self, metric: &Metric, other: Side, theirs_above: bool) -> Option<Spread> {
        let (ours, theirs) = (
            self.values(&metric.key, Side::Ours),
            self.values(&metric.key, other),
        );
        let of = |(turn, our): (&usize, &f64)| {
            let their = theirs.get(turn)?;
            let (above, below) = if theirs_above {
                (their, our)
            } else {
                (our, their)
            };
            (*below > 0.0).then(|| above / below)
        };
        Spread::of(ours.iter().filter_map(of).collect())
    }

    /// Whether every part of the goal is met; `None` where there is no goal, or nothing to say.
    pub(crate) fn met(&self, metric: &Metric) -> Option<bool> {
        let mut verdicts = Vec::new();
        if let (Some(goal), Some(found)) = (metric.ratio, self.ratio(metric)) {
            verdicts.push(found.median >= goal);
        }
        if let (Some(goal), Some(found)) = (metric.floor, self.over_floor(metric)) {
            verdicts.push(found.median <= goal);
        }
        if let (Some(goal), Some(found)) = (metric.bound, self.median(&metric.key, Side::Ours)) {
            verdicts.push(if metric.cost {
                found <= goal
            } else {
                found >= goal
            });
        }
        (!verdicts.is_empty()).then(|| verdicts.iter().all(|met| *met))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::metric;

    fn outcome(samples: &[(usize, Side, &'static str, f64)]) -> Outcome {
        let samples = samples.iter().map(|&(turn, side, key, value)| Sample {
            turn,
            side,
            key: key.to_owned(),
            value,
        });
        Outcome {
            rounds: 2,
            minutes: 1.0,
            times: BTreeMap::new(),
            machine: String::new(),
            notes: Vec::new(),
            samples: samples.collect(),
            failures: Vec::new(),
            curves: BTreeMap::new(),
        }
    }

    #[test]
    fn a_cost_is_better_when_it_is_less_and_the_range_is_told() {
        let key = "produce_bulk.cpu";
        let found = outcome(&[
            (0, Side::Ours, key, 0.5),
            (0, Side::Kafka, key, 2.0),
            (1, Side::Ours, key, 0.5),
            (1, Side::Kafka, key, 1.0),
            (0, Side::Floor, key, 0.4),
        ]);
        let metric = metric(key).unwrap();
        let ratio = found.ratio(metric).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (3.0, 2.0, 4.0));
        assert_eq!(found.over_floor(metric).unwrap().median, 1.25);
        assert_eq!(found.met(metric), Some(true));
    }

    #[test]
    fn a_rate_is_better_when_it_is_more_and_a_missed_bound_is_a_missed_goal() {
        let key = "coordinator.get_8x100";
        let found = outcome(&[
            (0, Side::Ours, key, 400_000.0),
            (0, Side::Kafka, key, 40_000.0),
        ]);
        let metric = metric(key).unwrap();
        assert_eq!(found.ratio(metric).unwrap().median, 10.0);
        assert_eq!(found.met(metric), Some(false));
    }

    #[test]
    fn a_turn_that_one_side_missed_gives_no_ratio() {
        let key = "produce_bulk.cpu";
        let found = outcome(&[(0, Side::Ours, key, 0.5), (1, Side::Kafka, key, 2.0)]);
        assert_eq!(found.ratio(metric(key).unwrap()), None);
        assert_eq!(found.met(metric(key).unwrap()), None);
    }
}
