//! Everything the core can ask the shell to do.

use std::path::PathBuf;
use std::sync::Arc;

use crate::core::event::{Hook, RequestId};
use crate::model::command::{Denied, Outcome};
use crate::model::event::Fact;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::ServicePlan;
use crate::model::probe::ProbeRole;
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;

/// How a run ended, as its hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How sure the cause is.
    pub certainty: Certainty,
    /// The exit code, after an exit.
    pub code: Option<i32>,
    /// The signal, after one.
    pub signal: Option<Signal>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the process. News: `Spawned`, or `Ended` with `NotSpawned`.
    Spawn {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// As it is configured now.
        plan: Arc<ServicePlan>,
    },
    /// Send a signal; CONT follows, so that a stopped process hears it.
    Signal {
        /// To whom.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Which.
        signal: Signal,
        /// How far.
        scope: Scope,
    },
    /// Kill what is left of the tree until nothing is. News: `TreeGone`.
    EndTree {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// It was asked to end and did not within its timeout.
        overdue: bool,
    },
    /// Look which processes of the tree live. News: `Left`.
    Look {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
    },
    /// Put a question. News: `Probed` with this `seq`.
    Ask {
        /// Whom.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Which probe.
        role: ProbeRole,
        /// The number of the question.
        seq: u64,
        /// As it is configured now; says what to ask and for how long.
        plan: Arc<ServicePlan>,
    },
    /// Drop every question and hook under way about this run.
    Dismiss {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
    },
    /// Run a hook or `stop.command`. News: `HookEnded`.
    RunHook {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Which.
        hook: Hook,
        /// As it is configured now.
        plan: Arc<ServicePlan>,
        /// Why the run started or ended, for EVERUP_CAUSE.
        cause: Option<Cause>,
        /// After the end of a run: how it ended.
        end: Option<Ending>,
    },
    /// Run `watch.check` over a service's new code. News: `Checked` with this `seq`; whatever was being checked for this
    /// service before is ended and says nothing.
    Check {
        /// Whose.
        service: ServiceName,
        /// The number of the check.
        seq: u64,
        /// As it is configured now.
        plan: Arc<ServicePlan>,
        /// The files that differ from what runs and are there; absolute.
        files: Vec<PathBuf>,
    },
    /// End the check of a service that is under way: its result matters to nobody any more.
    DropCheck {
        /// Whose.
        service: ServiceName,
    },
    /// Pay no more attention to a file: the service writes it itself.
    Disregard {
        /// Whose.
        service: ServiceName,
        /// Which; absolute.
        path: PathBuf,
    },
    /// Close the sockets held for a service: it was stopped by a person, or is no longer wanted.
    CloseSockets {
        /// Whose.
        service: ServiceName,
    },
    /// Write this down.
    Record(Fact),
    /// Answer a request.
    Answer {
        /// Which.
        id: RequestId,
        /// With what.
        result: Result<Outcome, Denied>,
    },
    /// Nothing is left to supervise: end with this code.
    Exit {
        /// The exit code of everup.
        code: u8,
    },
}

/// How far a signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main process only.
    Main,
    /// Every process of the tree.
    Tree,
}
