//! One copy of a service and the phases of its life.
//!
//! Every phase that wants to move on has a live run or a deadline of its own; there are no timers.

pub(crate) mod due;
pub(crate) mod ending;
pub(crate) mod memory;
pub(crate) mod next;
pub(crate) mod policy;
pub(crate) mod running;
pub(crate) mod starting;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::core::cause::Explained;
use crate::core::drift::Drift;
use crate::core::habit::Habits;
use crate::core::health::Health;
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Pid, Run};
use crate::model::plan::{Kind, ServicePlan};
use crate::model::service::{Cause, Desired, End, State};
use crate::model::signal::Signal;
use crate::model::status::{Held, LastEnd};
use crate::model::units::{Moment, Now};

/// The most restarts of one instance that are remembered for the last hour's count.
const REMEMBERED_RESTARTS: usize = 10_000;
const HOUR: Duration = Duration::from_hours(1);

/// One copy of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    /// What the current or next run is configured as.
    #[serde(skip, default = "crate::model::bare::nameless")]
    pub(crate) plan: Arc<ServicePlan>,
    /// How many instances the service has: decides the instance's name.
    pub(crate) siblings: u32,
    pub(crate) desired: Desired,
    pub(crate) held: Option<Held>,
    pub(crate) phase: Phase,
    /// The latest run.
    pub(crate) run: Run,
    /// Why it is in its phase, where that says something.
    pub(crate) cause: Option<Cause>,
    /// A sentence beside it.
    pub(crate) reason: Option<String>,
    /// Attempts since the last forgiven one: what the backoff grows with.
    pub(crate) attempts: u32,
    /// When it was restarted automatically, for the limit.
    pub(crate) automatic: VecDeque<Moment>,
    /// Restarts of every kind within the last hour.
    pub(crate) recent: VecDeque<Moment>,
    pub(crate) restarts: u64,
    pub(crate) crash_looping: bool,
    pub(crate) last_end: Option<LastEnd>,
    /// How the latest run ended, for exit codes.
    pub(crate) end: Option<End>,
    /// The watched files that differ from what its current or next run started with.
    pub(crate) drift: Drift,
    pub(crate) habits: Habits,
    /// No run with the files as they are has been good for `reset_after` in one piece.
    pub(crate) untried: bool,
    /// When the latest run took over the files as they are.
    pub(crate) files_since: Moment,
    /// It was told to read its code anew and has not said READY=1 since.
    pub(crate) awaits_ready: bool,
    /// A person's Ctrl-C reached the program at this moment; kept after the end of a run that it explains.
    pub(crate) interrupted: Option<Moment>,
    /// Somebody had this signal sent to the latest run.
    pub(crate) signalled: Option<Signalled>,
    /// READY=1 arrived in the latest run, perhaps before anybody waited for it.
    pub(crate) said_ready: bool,
    /// Its probe failed too often, but a sibling is being restarted for the same reason.
    pub(crate) waits_to_heal: Option<Explained>,
    /// The run that was ended for its probe, until the next is ready or has failed too.
    pub(crate) healing: Option<Run>,
    /// Its process has left its tree or will not die; said in warnings.
    pub(crate) unkillable: bool,
    /// The latest run ended with success while the rest of its tree ran on, as what puts itself in the background does.
    pub(crate) daemonised: bool,
    /// The processes that these two are about, each in words.
    pub(crate) left: Vec<String>,
    /// Not wanted, but it lives on until those that need it and are on their way out too are gone.
    pub(crate) leaving: Option<Explained>,
    /// Why nobody wants it any more.
    pub(crate) rest_cause: Option<Cause>,
    /// Why it is started next.
    pub(crate) start_cause: Option<Cause>,
    /// The next start is the policy's, not somebody's wish: it counts for the limit.
    pub(crate) automatic_start: bool,
    /// What it said of itself (STATUS=).
    pub(crate) said: Option<String>,
    /// Since when nobody answers because a run that was ready is over; until the next is ready.
    pub(crate) unready_since: Option<Moment>,
    /// How long that was the last time.
    pub(crate) gap: Option<Duration>,
    /// Its run was begun by an earlier life of everup, and is not confirmed yet; whether it is outdated.
    #[serde(default)]
    pub(crate) adopted: Option<bool>,
    /// Its end ends everup.
    pub(crate) ends_everup: bool,
    /// Not wanted any more: forgotten once it is gone.
    pub(crate) retiring: bool,
}

/// What an instance is doing, with only what that needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// No process, none wanted.
    Stopped,
    /// What it needs is not there yet.
    Waiting,
    /// `before_start` runs.
    Preparing { run: Run, since: Now, until: Moment },
    /// The process is being made.
    Spawning { run: Run, since: Now },
    /// The program runs, its gate has not passed.
    Starting { live: Live, ready_by: Moment },
    /// The program runs.
    Running { live: Live },
    /// It is being ended, until its tree is gone.
    Stopping(Dying),
    /// `after_end` runs; what comes next waits for it.
    Cleaning { run: Run, until: Moment, next: Next },
    /// The next attempt is due at `until`.
    Backoff { until: Moment, slow: bool },
    /// It ended by itself and stays so.
    Exited { success: bool },
    /// Given up.
    Failed,
}

/// A running program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) run: Run,
    pub(crate) pid: Pid,
    pub(crate) since: Now,
    pub(crate) health: Health,
    pub(crate) ready: bool,
    pub(crate) healthy: Option<bool>,
    /// It has been ready at some time of this run.
    pub(crate) was_ready: bool,
    /// Since when it is ready and not unhealthy.
    pub(crate) good_since: Option<Moment>,
    /// It has been good for `reset_after` in one piece.
    pub(crate) proven: bool,
    pub(crate) watchdog_by: Option<Moment>,
    /// Since when its memory has been above `memory_restart` at every reading.
    pub(crate) above_since: Option<Moment>,
    /// How often a deadline of it was put off because everup itself was late.
    pub(crate) grants: u8,
}

/// A signal that was not meant to end the program, but may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Signalled {
    pub(crate) signal: Signal,
    /// What it would be the cause of.
    pub(crate) cause: Cause,
    /// Who had it sent, or what for.
    pub(crate) told: String,
    pub(crate) at: Moment,
}

/// A run on its way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dying {
    pub(crate) run: Run,
    pub(crate) pid: Option<Pid>,
    /// When the run began.
    pub(crate) since: Now,
    /// When its end was asked for or seen.
    pub(crate) begun: Moment,
    /// Everup's reason; none when it ended by itself.
    pub(crate) asked: Option<Explained>,
    /// When patience ends.
    pub(crate) kill_at: Moment,
    /// Since when it is being killed.
    pub(crate) killing: Option<Moment>,
    /// The main process has ended.
    pub(crate) main_ended: bool,
    /// `stop.command` runs: the signal waits for it.
    pub(crate) command_runs: bool,
    /// The run had been good for `reset_after`.
    pub(crate) proven: bool,
    /// What follows; none: decided when the main process ends.
    pub(crate) next: Option<Next>,
    /// How often its deadline was put off because everup itself was late.
    pub(crate) grants: u8,
}

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Next {
    /// Nothing: it is stopped.
    Rest,
    /// Start again at once, as somebody wished.
    Again,
    /// Start again by itself at this moment.
    Retry { until: Moment, slow: bool },
    /// Nothing: it ended by itself, with success or not.
    Exit { success: bool },
    /// Nothing: given up.
    GiveUp,
    /// Nothing until its files change.
    AwaitChange,
    /// Nothing, and everup ends too.
    EndEverup,
}

impl Instance {
    /// An instance that has not started; `run` is the last run that anybody remembers.
    pub(crate) fn new(id: InstanceId, plan: Arc<ServicePlan>, siblings: u32, run: Run) -> Self {
        Self {
            id,
            plan,
            siblings,
            desired: Desired::Down,
            held: None,
            phase: Phase::Stopped,
            run,
            cause: None,
            reason: None,
            attempts: 0,
            automatic: VecDeque::new(),
            recent: VecDeque::new(),
            restarts: 0,
            crash_looping: false,
            last_end: None,
            end: None,
            drift: Drift::default(),
            habits: Habits::default(),
            untried: true,
            files_since: Moment::default(),
            awaits_ready: false,
            interrupted: None,
            signalled: None,
            said_ready: false,
            waits_to_heal: None,
            healing: None,
            unkillable: false,
            daemonised: false,
            left: vec![],
            leaving: None,
            rest_cause: None,
            start_cause: None,
            automatic_start: false,
            said: None,
            unready_since: None,
            gap: None,
            adopted: None,
            ends_everup: false,
            retiring: false,
        }
    }

    /// The run whose news counts now.
    pub(crate) fn current_run(&self) -> Option<Run> {
        match &self.phase {
            Phase::Preparing { run, .. } | Phase::Spawning { run, .. } | Phase::Cleaning { run, .. } => Some(*run),
            Phase::Starting { live, .. } | Phase::Running { live } => Some(live.run),
            Phase::Stopping(dying) => Some(dying.run),
            Phase::Stopped | Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => None,
        }
    }

    /// The state people see.
    pub(crate) fn state(&self) -> State {
        match &self.phase {
            Phase::Stopped => State::Stopped,
            Phase::Waiting => State::Waiting,
            Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Stopping(_) | Phase::Cleaning { .. } => State::Stopping,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Exited { .. } => State::Exited,
            Phase::Failed => State::Failed,
        }
    }

    /// The running program, if there is one that nobody is ending.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.phase {
            Phase::Starting { live, .. } | Phase::Running { live } => Some(live),
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => None,
        }
    }

    /// Whether no process of it exists and none is on its way.
    pub(crate) fn is_gone(&self) -> bool {
        self.current_run().is_none()
    }

    /// Whether it has a process or is about to have one, and nobody is ending it.
    pub(crate) fn is_under_way(&self) -> bool {
        match &self.phase {
            Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => true,
            Phase::Stopped
            | Phase::Waiting
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => false,
        }
    }

    /// Whether its program runs.
    pub(crate) fn is_started(&self) -> bool {
        self.live().is_some()
    }

    /// Ready: a service that passed its probes, a task that completed.
    pub(crate) fn is_ready(&self) -> bool {
        match self.plan.kind {
            Kind::Service => self.live().is_some_and(|live| live.ready),
            Kind::Task => self.is_completed(),
        }
    }

    /// Ended by itself with success and not to be restarted.
    pub(crate) fn is_completed(&self) -> bool {
        matches!(self.phase, Phase::Exited { success: true })
    }

    /// Whether nothing will bring it up but somebody's wish.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Exited { .. } | Phase::Failed | Phase::Stopped)
    }

    /// Whether it starts by itself as soon as what it needs is there.
    pub(crate) fn waits_for_need(&self) -> bool {
        let failed_for_it = matches!(self.phase, Phase::Failed) && self.cause == Some(Cause::Dependency);
        self.desired == Desired::Up && (matches!(self.phase, Phase::Waiting) || failed_for_it)
    }

    /// Whether a run that fails before its files have proven good waits for their next change.
    pub(crate) fn waits_for_change(&self) -> bool {
        self.plan.waits_for_change && self.plan.watch.is_some() && self.untried
    }

    /// The instance's name.
    pub(crate) fn label(&self) -> String {
        self.id.label(self.siblings)
    }

    /// A fact about this instance and its latest run.
    pub(crate) fn fact(&self, event: EventWord) -> Fact {
        Fact {
            service: Some(self.id.service.clone()),
            index: Some(self.id.index),
            instances: self.siblings,
            run: (self.run.0 > 0).then_some(self.run),
            ..Fact::new(event)
        }
    }

    /// Notes a restart for the counts of status.
    fn count_restart(&mut self, now: Moment) {
        self.restarts += 1;
        self.recent.push_back(now);
        while self.recent.len() > REMEMBERED_RESTARTS {
            self.recent.pop_front();
        }
    }

    /// Restarts within the hour before `now`.
    pub(crate) fn restarts_last_hour(&self, now: Moment) -> u64 {
        self.recent.iter().filter(|at| now.since(**at) < HOUR).count() as u64
    }

    /// Forgets what made it wait: a person's wish is never held back.
    pub(crate) fn forgive(&mut self) {
        self.attempts = 0;
        self.automatic.clear();
        self.crash_looping = false;
    }
}
