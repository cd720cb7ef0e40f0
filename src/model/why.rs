//! `everup why --json`, `GET /v1/services/{name}/why`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{Run, ServiceName};
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;
use crate::model::units::Timestamp;

/// The latest ends of a service's runs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Version of this shape: 1.
    pub v: u32,
    /// The service.
    pub service: ServiceName,
    /// Newest first.
    pub entries: Vec<WhyEntry>,
}

/// One end, explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyEntry {
    /// The instance's name.
    pub instance: String,
    /// The run; null where nothing was started (e.g. it waits for another service).
    pub run: Option<Run>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// How well that is known.
    pub certainty: Certainty,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal, without SIG.
    pub signal: Option<Signal>,
    /// How long it ran.
    pub ran_ms: Option<u64>,
    /// What the cause rests on, most telling first.
    pub evidence: Vec<String>,
    /// The last lines of the run's output, oldest first; stderr where there is any, else stdout.
    pub last_lines: Vec<String>,
    /// What changed shortly before; shown as that, never as the reason.
    pub changed_before: Vec<Change>,
    /// What everup did about it, e.g. `restarted after 250ms`.
    pub then: Option<String>,
    /// How its use of resources went; never the reason by itself. Null without a reading of the run.
    #[serde(default)]
    pub trend: Option<Trend>,
}

/// How a run's use of resources went, from the first of its readings to the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trend {
    /// How far the first and the last reading lie apart; 0 where there is one only.
    pub over_ms: u64,
    /// Resident memory at the beginning: ten seconds after the first reading, for a program loads first; of a run of
    /// less than a minute at the first reading.
    pub memory_start_bytes: u64,
    /// At the last reading.
    pub memory_end_bytes: u64,
    /// The most of all readings.
    pub memory_peak_bytes: u64,
    /// How fast it grew in the last ten minutes, fitted to all readings; null below half a minute.
    pub memory_bytes_per_minute: Option<f64>,
    /// The limit in force on it; null: none.
    pub memory_limit_bytes: Option<u64>,
    /// CPU in the first minute of the time that `memory_start_bytes` begins, in percent of one core.
    pub cpu_start_percent: Option<f64>,
    /// CPU in the last minute.
    pub cpu_end_percent: Option<f64>,
    /// Its mean over the last ten minutes.
    pub cpu_mean_percent: Option<f64>,
    /// The most of ten seconds of the last ten minutes.
    pub cpu_max_percent: Option<f64>,
    /// Open descriptors when `memory_start_bytes` was read.
    pub open_fds_start: u32,
    /// At the last reading.
    pub open_fds_end: u32,
    /// How many the main process may have; null: unlimited or not known.
    pub max_fds: Option<u64>,
    /// Processes at the last reading: `max_fds` holds for each of them alone.
    pub processes: u32,
}

/// Something that changed before an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What, e.g. `env.DATABASE_URL` (never its value).
    pub what: String,
}
