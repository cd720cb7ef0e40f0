//! The end of a run, as it is remembered.

use crate::model::names::{InstanceId, Run};
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;
use crate::model::units::Timestamp;
use crate::model::why::{Change, Trend, WhyEntry};
use serde::{Deserialize, Serialize};

/// One end: what `why` tells about it later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Whose.
    pub instance: InstanceId,
    /// The instance's name at that time: `web`, or `web/2` where there were several.
    pub label: String,
    /// Which life; none where nothing was started (e.g. it waits for another service).
    pub run: Option<Run>,
    /// When it started; none where nothing was started.
    pub started: Option<Timestamp>,
    /// When it ended, or failed without having run.
    pub ended: Timestamp,
    /// Why.
    pub cause: Cause,
    /// How well that is known.
    pub certainty: Certainty,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    /// How long it ran, in milliseconds.
    pub ran_ms: Option<u64>,
    /// What the cause rests on, most telling first.
    pub evidence: Vec<String>,
    /// The last lines of its output, oldest first.
    pub last_lines: Vec<String>,
    /// What changed shortly before.
    pub changed_before: Vec<Change>,
    /// What everup did about it.
    pub then: Option<String>,
    /// How its use of resources went; the recorder adds it.
    pub trend: Option<Trend>,
}

impl From<RunRecord> for WhyEntry {
    fn from(record: RunRecord) -> Self {
        Self {
            instance: record.label,
            run: record.run,
            at: record.ended,
            cause: record.cause,
            certainty: record.certainty,
            code: record.code,
            signal: record.signal,
            ran_ms: record.ran_ms,
            evidence: record.evidence,
            last_lines: record.last_lines,
            changed_before: record.changed_before,
            then: record.then,
            trend: record.trend,
        }
    }
}
