//! `everup status --json` and `GET /v1/status`. Additive only: names and meanings never change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{Pid, Run, ServiceName};
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::signal::Signal;
use crate::model::units::{Moment, Timestamp};
use crate::model::usage::Usage;

/// One project, at one turn of the loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this shape: 1.
    pub v: u32,
    /// The project's name.
    pub project: String,
    /// everup's version.
    pub version: String,
    /// The process to signal: the one the terminal, systemd or Docker sees.
    pub pid: Pid,
    /// The process that works.
    pub engine_pid: Pid,
    /// When everup started.
    pub started_at: Timestamp,
    /// The file; null for `run`.
    pub config: Option<String>,
    /// Where the page and this API are over TCP (`web.listen`), e.g. `127.0.0.1:9876`; null: nowhere.
    #[serde(default)]
    pub web: Option<String>,
    /// What everup itself uses.
    #[serde(rename = "self")]
    pub own: OwnUsage,
    /// Whether everup is stopping everything, for good.
    #[serde(default)]
    pub stopping: bool,
    /// Trouble that does not stop supervision.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The services, in the file's order.
    pub services: Vec<ServiceStatus>,
}

/// What everup's own processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnUsage {
    /// Of one core; null at the first look.
    pub cpu_percent: Option<f64>,
    /// Resident memory, both processes.
    pub memory_bytes: Option<u64>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
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
    /// Why it is in this state, where that says something.
    pub cause: Option<Cause>,
    /// A sentence beside the cause, e.g. whom it waits for.
    #[serde(default)]
    pub reason: Option<String>,
    /// Restarts since everup started, all instances.
    pub restarts: u64,
    /// Of these, in the last hour.
    pub restarts_last_hour: u64,
    /// Whether it reached its restart limit.
    pub crash_looping: bool,
    /// The person's stop that holds it, if any.
    pub held: Option<Held>,
    /// How code is swapped, and how that went last; null for a task.
    pub reload: Option<ReloadStatus>,
    /// Trouble of this service.
    pub warnings: Vec<Warning>,
    /// Its instances, by number.
    pub instances: Vec<InstanceStatus>,
}

/// Reloading, in status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadStatus {
    /// `restart` or `signal`.
    pub mode: String,
    /// 1 for the code everup started with; one more for each that was swapped in.
    pub generation: u64,
    /// What became of the last one: `ok`, `failed`, or null before a first and while one is under way.
    pub last: Option<String>,
    /// When that was decided.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The files that led to it, relative to the service's folder; the first 20.
    #[serde(default)]
    pub changed: Vec<String>,
    /// What went wrong.
    #[serde(default)]
    pub message: Option<String>,
}

/// `type` in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// Meant to keep running.
    Service,
    /// Runs once.
    Task,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// `web`, or `web/2` where there are several.
    pub name: String,
    /// From 1.
    pub index: u32,
    /// What it does.
    pub state: State,
    /// What is wanted.
    pub desired: Desired,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is healthy; null without a probe.
    pub healthy: Option<bool>,
    /// Why it is in this state, where that says something.
    pub cause: Option<Cause>,
    /// A sentence beside the cause.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its main process; null while nothing runs.
    pub pid: Option<Pid>,
    /// Its current or latest run; null before the first start.
    pub run: Option<Run>,
    /// When this run started; null while nothing runs.
    pub started_at: Option<Timestamp>,
    /// How long it runs; null while nothing runs.
    pub uptime_ms: Option<u64>,
    /// Restarts since everup started.
    pub restarts: u64,
    /// Until the next attempt, in `backoff` only.
    pub next_attempt_in_ms: Option<u64>,
    /// Of one core, whole tree; null while nothing runs and at the first look.
    pub cpu_percent: Option<f64>,
    /// Resident memory of the whole tree.
    pub memory_bytes: Option<u64>,
    /// Processes of the tree.
    pub processes: Option<u32>,
    /// Open files of the whole tree.
    pub open_fds: Option<u32>,
    /// All that it uses; only in the answer about one service, and while something runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The latest answer; null without a probe or before the first answer.
    pub probe: Option<ProbeStatus>,
    /// How the run before ended; null before a first end.
    pub last_end: Option<LastEnd>,
    /// When the next attempt is due: what `next_attempt_in_ms` is computed from.
    #[serde(skip)]
    pub next_attempt_at: Option<Moment>,
    /// Since when it runs: what `uptime_ms` is computed from.
    #[serde(skip)]
    pub running_since: Option<Moment>,
}

/// The latest answer of the probe that matters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeStatus {
    /// Whether it passed.
    pub ok: bool,
    /// How long it took.
    pub latency_ms: f64,
    /// Same answers in a row.
    pub streak: u64,
    /// What was seen, e.g. `200 OK`.
    pub message: String,
}

/// How the latest run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastEnd {
    /// Which run.
    pub run: Run,
    /// Why.
    pub cause: Cause,
    /// How well that is known.
    pub certainty: Certainty,
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it, without SIG.
    pub signal: Option<Signal>,
    /// When.
    pub at: Timestamp,
    /// How long it ran.
    pub ran_ms: u64,
}

/// A person's stop that holds a service down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Who, e.g. `uid 1000, pts/3`.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Trouble that does not stop supervision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// A fixed word: no_cgroup, polling, not_persisted, unkillable, daemonised, drift, …
    pub code: String,
    /// For people.
    pub message: String,
}
