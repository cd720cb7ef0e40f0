//! The timeline that everything else is a view of: `everup events`, `GET /v1/events`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;
use crate::model::units::Timestamp;

/// In the message of `reload_started`: between what changed and the check that is run over it.
pub const CHECKED_BY: &str = "; check: ";

/// What happened: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the contract's own and say themselves")]
pub enum EventWord {
    Starting,
    Started,
    Ready,
    Unready,
    Healthy,
    Unhealthy,
    ProbeFailed,
    Stopping,
    Ended,
    Backoff,
    Failed,
    Completed,
    CrashLooping,
    Recovered,
    Held,
    ReloadStarted,
    ReloadSwitched,
    ReloadDone,
    ReloadRolledBack,
    ConfigApplied,
    ConfigRejected,
    Scaled,
    Adopted,
    EngineRestarted,
    Upgraded,
    UpgradeFailed,
    LogLost,
    Notified,
}

impl std::fmt::Display for EventWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        serde::Serialize::serialize(self, f)
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Version of this shape: 1.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// Grows by one an event, across restarts of everup.
    pub seq: u64,
    /// What.
    pub event: EventWord,
    /// The service it is about; null when about the whole project.
    pub service: Option<ServiceName>,
    /// The instance's name.
    pub instance: Option<String>,
    /// The run.
    pub run: Option<Run>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How well that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// The exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal, without SIG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// The main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How long the run lasted, or the step took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_ms: Option<u64>,
    /// How long until the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// For people: evidence, who asked, what changed, whom it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Something the core decided or saw, before it has a time of day and a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub event: EventWord,
    /// The service it is about; none: the whole project.
    pub service: Option<ServiceName>,
    /// The instance, by number.
    pub index: Option<u32>,
    /// How many instances its service has: decides the instance's name.
    pub instances: u32,
    /// The run.
    pub run: Option<Run>,
    /// Why.
    pub cause: Option<Cause>,
    /// How well that is known.
    pub certainty: Option<Certainty>,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal.
    pub signal: Option<Signal>,
    /// The main process.
    pub pid: Option<i32>,
    /// How long the run lasted, or the step took.
    pub ran_ms: Option<u64>,
    /// How long until the next attempt.
    pub delay_ms: Option<u64>,
    /// For people.
    pub message: Option<String>,
    /// What the cause of an `ended` or `failed` rests on, most telling first.
    pub evidence: Vec<String>,
    /// What is done about it, e.g. `restarted after 250ms`.
    pub then: Option<String>,
    /// The cause of the restart that a `starting` is counted as; none: it is none.
    pub restart: Option<Cause>,
    /// How a reload ended, where this is its end.
    pub reload: Option<ReloadOutcome>,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadOutcome {
    /// The new code serves.
    Ok,
    /// The old code serves on.
    RolledBack,
    /// The new code does not serve, and the old one does not either.
    Failed,
}

impl ReloadOutcome {
    /// Every outcome, in the order of their counts.
    pub const ALL: [Self; 3] = [Self::Ok, Self::RolledBack, Self::Failed];

    /// Its word in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }
}

impl Fact {
    /// The instance it is about; none: a service or the whole project.
    pub fn instance(&self) -> Option<InstanceId> {
        self.service.clone().zip(self.index).map(|(service, index)| InstanceId { service, index })
    }

    /// A fact with nothing but its word; the rest is filled in where it applies.
    pub fn new(event: EventWord) -> Self {
        Self {
            event,
            service: None,
            index: None,
            instances: 1,
            run: None,
            cause: None,
            certainty: None,
            code: None,
            signal: None,
            pid: None,
            ran_ms: None,
            delay_ms: None,
            message: None,
            evidence: vec![],
            then: None,
            restart: None,
            reload: None,
        }
    }
}
