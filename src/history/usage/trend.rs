//! What is kept of a run's readings to tell, once it has ended, how it went.

use std::collections::VecDeque;
use std::time::Duration;

use crate::history::usage::gather::percent;
use crate::model::units::{Moment, millis};
use crate::model::why::Trend;

/// A program loads this long: what it uses before is not yet its beginning.
const LOADING: Duration = Duration::from_secs(10);
/// A run that was read for a shorter time is told from its first reading.
const SHORT: Duration = Duration::from_secs(60);
/// The latest readings are kept that far apart …
const APART: Duration = Duration::from_secs(10);
/// … so many of them: ten minutes.
const LATEST: usize = 61;
/// CPU at the beginning and at the end is that of so long.
const EDGE: Duration = Duration::from_secs(60);
/// No slope is fitted to a shorter time.
const SLOPE: Duration = Duration::from_secs(30);

/// One reading of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) at: Moment,
    pub(super) cpu_us: u64,
    pub(super) memory_bytes: u64,
    pub(super) open_fds: u32,
    pub(super) processes: u32,
}

/// The telling ones: about 2.5 KB a run, however long it lasts.
#[derive(Debug, Default)]
pub(super) struct Readings {
    first: Option<Reading>,
    /// The last one while it loads.
    loaded: Option<Reading>,
    /// The one that ends the first minute after that.
    settled: Option<Reading>,
    latest: VecDeque<Reading>,
    last: Option<Reading>,
    memory_peak_bytes: u64,
    max_fds: Option<u64>,
    memory_limit_bytes: Option<u64>,
}

impl Readings {
    pub(super) fn take(&mut self, reading: Reading, max_fds: Option<u64>, memory_limit_bytes: Option<u64>) {
        let first = *self.first.get_or_insert(reading);
        if reading.at.since(first.at) <= LOADING {
            self.loaded = Some(reading);
        }
        if self.settled.is_none() && self.loaded.is_some_and(|loaded| reading.at.since(loaded.at) >= EDGE) {
            self.settled = Some(reading);
        }
        if self.latest.back().is_none_or(|newest| reading.at.since(newest.at) >= APART) {
            self.latest.push_back(reading);
            if self.latest.len() > LATEST {
                self.latest.pop_front();
            }
        }
        self.last = Some(reading);
        self.memory_peak_bytes = self.memory_peak_bytes.max(reading.memory_bytes);
        self.max_fds = max_fds;
        self.memory_limit_bytes = memory_limit_bytes;
    }

    /// How the run went; none without a reading.
    pub(super) fn trend(&self) -> Option<Trend> {
        let (first, last) = (self.first?, self.last?);
        let over = last.at.since(first.at);
        let start = self.loaded.filter(|_| over >= SHORT).unwrap_or(first);
        let latest: Vec<Reading> = self
            .latest
            .iter()
            .copied()
            .chain(self.latest.back().filter(|newest| newest.at < last.at).map(|_| last))
            .collect();
        let before_end = latest.iter().rev().find(|reading| last.at.since(reading.at) >= EDGE).copied();
        let cpu = |from: Reading, to: Reading| {
            // One digit is what people read, and what reads back from JSON exactly.
            percent((from.at, from.cpu_us), (to.at, to.cpu_us)).map(|percent| (percent * 10.0).round() / 10.0)
        };
        // A last piece of a second or so would make a peak of chance.
        let pieces = latest.windows(2).filter(|pair| pair[1].at.since(pair[0].at) >= APART / 2);
        let whole = cpu(first, last);
        Some(Trend {
            over_ms: millis(over),
            memory_start_bytes: start.memory_bytes,
            memory_end_bytes: last.memory_bytes,
            memory_peak_bytes: self.memory_peak_bytes,
            memory_bytes_per_minute: slope(&latest),
            memory_limit_bytes: self.memory_limit_bytes,
            cpu_start_percent: cpu(start, self.settled.unwrap_or(last)).or(whole),
            cpu_end_percent: cpu(before_end.unwrap_or(first), last),
            cpu_mean_percent: latest.first().and_then(|oldest| cpu(*oldest, last)),
            cpu_max_percent: pieces.filter_map(|pair| cpu(pair[0], pair[1])).max_by(f64::total_cmp).or(whole),
            open_fds_start: start.open_fds,
            open_fds_end: last.open_fds,
            max_fds: self.max_fds,
            processes: last.processes,
        })
    }
}

/// Bytes a minute, by least squares.
fn slope(readings: &[Reading]) -> Option<f64> {
    let (first, last) = (readings.first()?, readings.last()?);
    if last.at.since(first.at) < SLOPE {
        return None;
    }
    let count = readings.len() as f64;
    let points = || readings.iter().map(|r| (r.at.since(first.at).as_secs_f64() / 60.0, r.memory_bytes as f64));
    let (mean_x, mean_y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x) * (x - mean_x))
    });
    (below > 0.0).then(|| (above / below).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading(second: u64, memory_mib: u64, cpu_ms: u64, open_fds: u32) -> Reading {
        Reading {
            at: Moment(second * 1_000),
            cpu_us: cpu_ms * 1_000,
            memory_bytes: memory_mib * MIB,
            open_fds,
            processes: 1,
        }
    }

    fn told(readings: impl IntoIterator<Item = Reading>) -> Option<Trend> {
        let mut kept = Readings::default();
        readings.into_iter().for_each(|reading| kept.take(reading, Some(1_024), None));
        kept.trend()
    }

    #[test]
    fn a_run_of_seconds_is_told_from_what_there_is() {
        assert_eq!(told([]), None);
        let one = told([reading(3, 40, 100, 12)]).unwrap();
        assert_eq!((one.over_ms, one.memory_start_bytes, one.memory_end_bytes), (0, 40 * MIB, 40 * MIB));
        assert_eq!((one.cpu_start_percent, one.cpu_max_percent, one.memory_bytes_per_minute), (None, None, None));
        let two = told([reading(3, 40, 100, 12), reading(5, 90, 2_000, 13)]).unwrap();
        assert_eq!((two.over_ms, two.memory_start_bytes, two.memory_peak_bytes), (2_000, 40 * MIB, 90 * MIB));
        assert_eq!((two.cpu_start_percent, two.cpu_end_percent), (Some(95.0), Some(95.0)));
    }

    #[test]
    fn a_leak_of_twelve_minutes_shows_in_every_figure() {
        // Loads 92 MiB in ten seconds at full speed, then 8 % of a core; in the last minutes a core and 150 MiB a minute.
        let mut cpu_ms = 0;
        let readings = (0..=144_u64).map(|place| {
            let second = place * 5;
            cpu_ms += match second {
                0..=10 => 5_000,
                11..=600 => 400,
                _ => 4_850,
            };
            let memory = if second < 10 { 30 } else { 92 + second.saturating_sub(600) * 150 / 60 };
            reading(second, memory, cpu_ms, 61 + u32::try_from(second).unwrap())
        });
        let trend = told(readings).unwrap();
        assert_eq!(trend.over_ms, 720_000);
        assert_eq!((trend.memory_start_bytes, trend.memory_end_bytes), (92 * MIB, 392 * MIB));
        assert_eq!((trend.cpu_start_percent, trend.cpu_end_percent), (Some(8.0), Some(97.0)));
        assert_eq!((trend.cpu_max_percent, trend.cpu_mean_percent.unwrap().round()), (Some(97.0), 26.0));
        assert_eq!((trend.open_fds_start, trend.open_fds_end, trend.max_fds), (71, 781, Some(1_024)));
        assert!(trend.memory_bytes_per_minute.unwrap() > 10.0 * MIB as f64);
    }

    #[test]
    fn what_is_kept_of_a_run_does_not_grow() {
        let mut kept = Readings::default();
        (0..10_000).for_each(|second| kept.take(reading(second, 50, second, 9), None, None));
        assert_eq!(kept.latest.len(), LATEST);
        let trend = kept.trend().unwrap();
        assert_eq!((trend.memory_bytes_per_minute, trend.cpu_mean_percent), (Some(0.0), Some(0.1)));
    }
}
