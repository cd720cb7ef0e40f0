//! What a person looks at: every instance with what it used of late and how its probes went.
//! `GET /v1/overview`; the page and `everup top` show nothing else but this, logs, events and history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{Pid, Run, ServiceName};
use crate::model::service::{Cause, Desired, State};
use crate::model::status::{LastEnd, OwnUsage, ServiceKind, Warning};
use crate::model::units::Timestamp;
use crate::model::usage::{HostUsage, Usage};

/// The project as it is now. Followed, each object carries in `recent` and `probes` only what is new since the one
/// before; the first carries all that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// Version of this shape: 1.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// The project's name.
    pub project: String,
    /// everup's version.
    pub version: String,
    /// When everup started.
    pub started_at: Timestamp,
    /// What everup itself uses.
    #[serde(rename = "self")]
    pub own: OwnUsage,
    /// What the machine uses.
    pub host: HostUsage,
    /// Trouble that does not stop supervision.
    pub warnings: Vec<Warning>,
    /// The services, in the file's order.
    pub services: Vec<ServiceOverview>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOverview {
    /// Its name.
    pub name: ServiceName,
    /// `service` or `task`.
    #[serde(rename = "type")]
    pub kind: ServiceKind,
    /// The state of its instances, the one that most needs attention first.
    pub state: State,
    /// What is wanted.
    pub desired: Desired,
    /// Every wanted instance is ready.
    pub ready: bool,
    /// Every wanted instance is healthy; null without a probe.
    pub healthy: Option<bool>,
    /// Whether it reached its restart limit.
    pub crash_looping: bool,
    /// Why it is in this state, where that says something.
    pub cause: Option<Cause>,
    /// A sentence beside the cause.
    pub reason: Option<String>,
    /// Restarts since everup started, all instances.
    pub restarts: u64,
    /// Trouble of this service.
    pub warnings: Vec<Warning>,
    /// What its access lines say; null without `log_metrics`.
    pub requests: Option<Requests>,
    /// Its instances, by number.
    pub instances: Vec<InstanceOverview>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceOverview {
    /// `web`, or `web/2` where there are several.
    pub name: String,
    /// From 1.
    pub index: u32,
    /// What it does.
    pub state: State,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is healthy; null without a probe.
    pub healthy: Option<bool>,
    /// A sentence about its state.
    pub reason: Option<String>,
    /// Its main process; null while nothing runs.
    pub pid: Option<Pid>,
    /// Its current or latest run; null before the first start.
    pub run: Option<Run>,
    /// When this run started; null while nothing runs.
    pub started_at: Option<Timestamp>,
    /// How long it runs; null while nothing runs.
    pub uptime_ms: Option<u64>,
    /// Until the next attempt, in `backoff` only.
    pub next_attempt_in_ms: Option<u64>,
    /// Restarts since everup started.
    pub restarts: u64,
    /// How the run before ended; null before a first end.
    pub last_end: Option<LastEnd>,
    /// What it uses; null while nothing runs.
    pub usage: Option<Usage>,
    /// What it used of late, oldest first: at most 60 points, 5 s apart (the newest may be younger).
    pub recent: Vec<Point>,
    /// Its latest probes, oldest first, at most 50; of the probe that matters (liveness before readiness before startup).
    pub probes: Vec<ProbeTick>,
    /// How long its probes took; null before a first answer.
    pub latency: Option<Latency>,
}

/// What an instance used at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Of one core, in percent; null at the first reading of a run.
    pub cpu_percent: Option<f64>,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// One answer of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeTick {
    /// When.
    pub at: Timestamp,
    /// Whether it passed.
    pub ok: bool,
    /// How long it took.
    pub ms: f64,
    /// What was seen, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How long the latest probes (at most 200) took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// The last one.
    pub last_ms: f64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer.
    pub p99_ms: f64,
}

/// What a service's access lines say since everup started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Access lines seen. 0: none were seen, which says nothing about requests.
    pub seen: u64,
    /// Of these in the last minute.
    pub last_minute: u64,
    /// Of those of the last minute, answered with 500 or above.
    pub errors_last_minute: u64,
}
