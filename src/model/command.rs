//! What people and programs may ask for, and what they are told.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::ServiceName;
use crate::model::plan::Plan;
use crate::model::service::State;
use crate::model::signal::Signal;

/// A service, or one instance of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Which service.
    pub service: ServiceName,
    /// Which instance; none: all.
    pub index: Option<u32>,
}

impl Target {
    /// All instances of `service`.
    pub fn all(service: ServiceName) -> Self {
        Self { service, index: None }
    }
}

/// Who asks, for `held` and events, e.g. `uid 1000, pts/3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller(pub String);

/// What the core can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start these, and what they need. Clears holds and backoff; never refused for rate limits.
    Start(Vec<Target>),
    /// Stop these and hold them.
    Stop(Vec<Target>),
    /// Stop and start again; one instance at a time unless `now`.
    Restart {
        /// Which.
        targets: Vec<Target>,
        /// All at once.
        now: bool,
    },
    /// Swap to new code the way `reload:` says, also when no watched file has changed; the check, if there is one, goes
    /// first.
    Reload(Vec<Target>),
    /// Send a signal to the main process.
    Signal {
        /// To whom.
        targets: Vec<Target>,
        /// Which.
        signal: Signal,
    },
    /// Run this many instances until the next `up` or `down`.
    Scale {
        /// Of what.
        service: ServiceName,
        /// 0 to 1000.
        instances: u32,
    },
    /// Make reality match this plan; what is unchanged keeps its process.
    Apply {
        /// The wanted state.
        plan: Arc<Plan>,
        /// Services to start besides (`up SVC`): releases holds; empty: none.
        start: Vec<ServiceName>,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// A person typed Ctrl-C in `run`: INT for the program, whose end is then theirs.
    Interrupt {
        /// Whether the terminal has sent INT to the program already.
        delivered: bool,
    },
    /// Stop everything in reverse order, then end.
    Down {
        /// Kill everything at once.
        force: bool,
    },
}

/// What became of a request that was carried out (or is under way).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Whether what was promised holds now; false: it is under way (202).
    pub done: bool,
    /// What happened to each service it touches.
    pub services: Vec<ServiceOutcome>,
    /// What applying a file changed (or would change).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlanChange>,
    /// Remarks for people, e.g. dependents that live on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Another program is about to take over; `upgraded` or `upgrade_failed` follows in the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrading {
    /// Version of this shape: 1.
    pub v: u32,
    /// The version that runs.
    pub from: String,
    /// The version that is to.
    pub to: String,
    /// The number of the latest event before.
    pub seq: u64,
}

/// One service in an [`Outcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutcome {
    /// The service or instance, as it was named.
    pub name: String,
    /// Its state when this was answered.
    pub state: State,
    /// A sentence, e.g. `ready after 1.2s` or `was running already`.
    pub message: String,
    /// How long nobody listened during a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<u64>,
}

/// One difference between the running plan and a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChange {
    /// Which service.
    pub service: ServiceName,
    /// What is done about it.
    pub what: PlanChangeKind,
    /// The keys that differ, e.g. `command`, `env.LOG_LEVEL` (never values).
    pub keys: Vec<String>,
}

/// What is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanChangeKind {
    /// New: started.
    Added,
    /// Gone from the file: stopped.
    Removed,
    /// Its process must be replaced.
    Restarted,
    /// Taken over without touching its process.
    Updated,
    /// The number of instances changed.
    Scaled,
    /// Nothing to do.
    Unchanged,
}

/// A request that was refused or not fulfilled: an expected outcome, with what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// A fixed word.
    pub code: DeniedCode,
    /// What went wrong.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Denied {
    /// There is no service or instance of that name.
    pub fn no_such(name: &str) -> Self {
        Self {
            code: DeniedCode::NoSuchService,
            message: format!("no service or instance {name:?}"),
            hint: Some("everup status lists them".to_owned()),
        }
    }
}

/// Kinds of refusal; each has its HTTP status and exit code at the doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeniedCode {
    /// 400: an argument makes no sense.
    BadRequest,
    /// 401: a token is needed.
    Unauthorized,
    /// 403: not for this caller.
    Forbidden,
    /// 404.
    NoSuchService,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 400: the file is not valid.
    ConfigInvalid,
    /// 409: not possible in this state.
    Conflict,
    /// 409: nothing of it runs.
    NotRunning,
    /// 409: the service failed while its start was waited for.
    Failed,
    /// 413.
    TooLarge,
    /// 504: `wait` ran out; `message` says for whom.
    TimedOut,
    /// 503: everup is stopping, or too many requests wait.
    Unavailable,
    /// 500.
    Internal,
}
