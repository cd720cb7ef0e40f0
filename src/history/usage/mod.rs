//! Usage over time: readings become rows of 10 s, those rows of a minute, those of an hour.
//!
//! A row's number is its time and its track: `(unix seconds - EPOCH_S) / step << TRACK_BITS | track`. So rows lie in the
//! order of time, none needs a second index, and a span of time is a range of numbers. A track stands for one run under
//! one name. What is mostly zero (swap, storage) lies in a table beside, which has a row only where there is something.

pub(super) mod gather;
pub(super) mod keep;
pub(super) mod query;
pub(super) mod schema;
#[cfg(test)]
mod tests;
pub(super) mod trend;

use crate::model::names::{InstanceId, Run};
use crate::model::units::Timestamp;

/// Where times begin: 2025-01-01T00:00:00Z. Numbers stay short; earlier times are negative.
pub(super) const EPOCH_S: i64 = 1_735_689_600;
/// How many bits of a row's number are its track.
pub(super) const TRACK_BITS: u32 = 18;
/// The seconds of the finest rows.
pub(super) const FINEST_S: i64 = 10;

/// The number of the step of `step_s` seconds in which `at` lies.
pub(super) fn slot(at: Timestamp, step_s: i64) -> i64 {
    (at.0.div_euclid(1_000) - EPOCH_S).div_euclid(step_s)
}

/// When the step with that number begins, in unix seconds.
pub(super) fn begins(slot: i64, step_s: i64) -> i64 {
    slot * step_s + EPOCH_S
}

/// One run under one name, and what the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Track {
    pub(super) instance: InstanceId,
    pub(super) label: String,
    pub(super) run: Run,
    /// Whether bytes read and written are known.
    pub(super) knows_bytes: bool,
    /// Whether the time spent waiting for storage is known.
    pub(super) knows_wait: bool,
}

/// What a run used in ten seconds. Of what can be counted at one moment: the last reading.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) track: std::sync::Arc<Track>,
    /// Its ten seconds.
    pub(super) slot: i64,
    /// CPU since the last reading of the row before, in percent of one core; none at the first reading of a run.
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_bytes: u64,
    pub(super) processes: u32,
    pub(super) threads: u32,
    pub(super) open_fds: u32,
    pub(super) swap_bytes: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) io_wait_us: u64,
    pub(super) switches: u64,
    pub(super) faults: u64,
    pub(super) major_faults: u64,
    /// The mean of its probes.
    pub(super) probe_ms: Option<f64>,
}
