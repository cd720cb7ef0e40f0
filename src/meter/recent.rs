//! The latest readings and probes of one instance: what sparklines and tick bars are drawn from.

use std::collections::VecDeque;

use crate::model::overview::{Latency, Point, ProbeTick};
use crate::model::probe::ProbeRole;
use crate::model::units::Timestamp;
use crate::model::usage::{Sample, Usage};

/// How many points are kept …
pub const POINTS: usize = 60;
/// … this far apart, in milliseconds: five minutes in all.
pub const APART_MS: i64 = 5_000;
/// How many probes are kept.
pub const PROBES: usize = 50;
/// How many answers the latency is computed from.
const ANSWERS: usize = 200;

/// Rings of what was seen last.
#[derive(Debug, Default)]
pub struct Recent {
    usage: Option<Usage>,
    points: VecDeque<Point>,
    role: Option<ProbeRole>,
    probes: VecDeque<ProbeTick>,
    answers_ms: VecDeque<f64>,
    /// The latest answer since the last reading of usage.
    fresh_probe_ms: Option<f64>,
}

impl Recent {
    /// Takes a reading. One that follows another closely takes its place, so that points are [`APART_MS`] apart
    /// however often somebody looks.
    pub(super) fn sampled(&mut self, sample: &Sample) {
        let point =
            Point { at: sample.at, cpu_percent: sample.usage.cpu_percent, memory_bytes: sample.usage.memory_bytes };
        let slot = |at: Timestamp| at.0.div_euclid(APART_MS);
        match self.points.back_mut() {
            Some(last) if slot(last.at) == slot(point.at) => *last = point,
            Some(_) | None => self.points.push_back(point),
        }
        trim(&mut self.points, POINTS);
        self.usage = Some(sample.usage.clone());
    }

    /// Nothing runs any more.
    pub(super) fn ended(&mut self) {
        self.usage = None;
    }

    /// Takes an answer; those of a probe that matters less than one seen before only count for nothing.
    pub(super) fn probed(&mut self, role: ProbeRole, tick: ProbeTick) {
        if self.role.is_some_and(|known| known > role) {
            return;
        }
        if self.role != Some(role) {
            self.role = Some(role);
            self.probes.clear();
            self.answers_ms.clear();
        }
        self.fresh_probe_ms = Some(tick.ms);
        self.answers_ms.push_back(tick.ms);
        self.probes.push_back(tick);
        trim(&mut self.answers_ms, ANSWERS);
        trim(&mut self.probes, PROBES);
    }

    /// The latest answer's time since this was asked last, for the reading that is about to be taken.
    pub fn take_probe_ms(&mut self) -> Option<f64> {
        self.fresh_probe_ms.take()
    }

    /// What it uses; none while nothing runs.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Points no older than `since`, oldest first.
    pub fn points(&self, since: Timestamp) -> Vec<Point> {
        self.points.iter().filter(|point| point.at >= since).copied().collect()
    }

    /// Probes younger than `since`, oldest first.
    pub fn probes(&self, since: Timestamp) -> Vec<ProbeTick> {
        self.probes.iter().filter(|tick| tick.at > since).cloned().collect()
    }

    /// How long probes took.
    pub fn latency(&self) -> Option<Latency> {
        let last_ms = *self.answers_ms.back()?;
        let mut sorted: Vec<f64> = self.answers_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        // The nearest-rank definition: the smallest value that at least this share does not exceed.
        let rank = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 200")]
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(last_ms)
        };
        Some(Latency { last_ms, p50_ms: rank(0.50), p99_ms: rank(0.99) })
    }
}

fn trim<T>(ring: &mut VecDeque<T>, most: usize) {
    while ring.len() > most {
        ring.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{InstanceId, Run, ServiceName};

    fn sample(at: i64, memory_bytes: u64) -> Sample {
        Sample {
            instance: InstanceId { service: ServiceName::new("web").unwrap(), index: 1 },
            label: "web".to_owned(),
            run: Run(1),
            at: Timestamp(at),
            usage: Usage { memory_bytes, ..Usage::default() },
            probe_ms: None,
        }
    }

    fn tick(at: i64, ms: f64) -> ProbeTick {
        ProbeTick { at: Timestamp(at), ok: true, ms, message: None }
    }

    #[test]
    fn points_are_five_seconds_apart_however_often_somebody_looks() {
        let mut recent = Recent::default();
        for second in 0..20 {
            recent.sampled(&sample(second * 1_000, 100 + u64::try_from(second).unwrap()));
        }
        let points: Vec<(i64, u64)> =
            recent.points(Timestamp(0)).iter().map(|point| (point.at.0, point.memory_bytes)).collect();
        assert_eq!(points, [(4_000, 104), (9_000, 109), (14_000, 114), (19_000, 119)]);
        assert_eq!(recent.points(Timestamp(14_000)).len(), 2);
        for more in 0..100 {
            recent.sampled(&sample(100_000 + more * APART_MS, 1));
        }
        assert_eq!(recent.points(Timestamp(0)).len(), POINTS);
        assert!(recent.usage().is_some());
        recent.ended();
        assert_eq!((recent.usage(), recent.points(Timestamp(0)).len()), (None, POINTS));
    }

    #[test]
    fn latency_is_the_nearest_rank() {
        let mut recent = Recent::default();
        assert_eq!(recent.latency(), None);
        for number in 1..=100 {
            recent.probed(ProbeRole::Liveness, tick(number, f64::from(u32::try_from(101 - number).unwrap())));
        }
        let expected = Latency { last_ms: 1.0, p50_ms: 50.0, p99_ms: 99.0 };
        assert_eq!(recent.latency(), Some(expected));
        assert_eq!(recent.probes(Timestamp(0)).len(), PROBES);
        assert_eq!(recent.probes(Timestamp(99)).len(), 1);
    }

    #[test]
    fn the_probe_that_matters_is_shown() {
        let mut recent = Recent::default();
        recent.probed(ProbeRole::Startup, tick(1, 1.0));
        recent.probed(ProbeRole::Readiness, tick(2, 2.0));
        recent.probed(ProbeRole::Startup, tick(3, 3.0));
        assert_eq!(recent.probes(Timestamp(0)), [tick(2, 2.0)]);
        assert_eq!(recent.take_probe_ms(), Some(2.0));
        assert_eq!(recent.take_probe_ms(), None);
    }
}
