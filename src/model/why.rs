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
}

/// Something that changed before an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What, e.g. `env.DATABASE_URL` (never its value).
    pub what: String,
}
