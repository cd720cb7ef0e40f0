//! Promises to people: each request is answered once, when what it asked for holds or cannot come to hold.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::describe;
use crate::core::event::RequestId;
use crate::core::instance::{Instance, Phase};
use crate::core::reload::Fared;
use crate::core::service::Service;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::commands::before;
use crate::core::swap::reads_within;
use crate::model::command::{Denied, DeniedCode, Outcome, PlanChange, ServiceOutcome};
use crate::model::names::{InstanceId, Run};
use crate::model::plan::{Kind, ReloadPlan};
use crate::model::service::{Desired, State};
use crate::model::signal::Signal;
use crate::model::units::{Moment, Now, format_duration, millis};

/// A request that has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(super) goals: Vec<Goal>,
    pub(super) asked_at: Moment,
    /// When the asker's patience ends.
    pub(super) until: Option<Moment>,
    pub(super) changes: Vec<PlanChange>,
    pub(super) notes: Vec<String>,
}

/// One thing a request promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// A run after `left` is ready (a task: completed).
    Ready { id: InstanceId, left: Run, tell: Tell },
    /// It serves newer code: the reload of that number is done.
    Reloaded { id: InstanceId, left: Run, cycle: u64, tell: Tell },
    /// Nothing of it runs.
    Gone { id: InstanceId },
    /// Nothing runs at all: everup is about to end.
    AllGone,
}

/// What the answer says of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// Nothing: it was not touched.
    Nothing,
    /// What became of it.
    State,
    /// That, and how long nobody listened meanwhile.
    Gap,
}

/// How a goal stands.
enum Progress {
    Holds,
    Pending,
    Broken(String),
}

impl Goal {
    /// The instance it is about.
    pub(super) fn id(&self) -> Option<&InstanceId> {
        match self {
            Self::Ready { id, .. } | Self::Reloaded { id, .. } | Self::Gone { id } => Some(id),
            Self::AllGone => None,
        }
    }
}

impl Supervisor {
    /// Opens a request; it is answered at the end of this step, or later.
    pub(super) fn promise(
        &mut self,
        id: RequestId,
        goals: Vec<Goal>,
        wait: Option<Duration>,
        extras: (Vec<PlanChange>, Vec<String>),
        now: Now,
    ) {
        let until = wait.map(|wait| now.moment.after(wait));
        let (changes, notes) = extras;
        self.requests.insert(id, Open { goals, asked_at: now.moment, until, changes, notes });
    }

    /// Answers what can be answered; before everup ends, everything.
    pub(super) fn answer_requests(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.requests.is_empty() {
            return;
        }
        // The answer comes before the end of everup, which it may announce.
        let exit = out.iter().position(|action| matches!(action, Action::Exit { .. }));
        let mut answers = vec![];
        let mut requests = std::mem::take(&mut self.requests);
        requests.retain(|id, open| match self.judge(open, exit.is_some(), now) {
            Some(result) => {
                answers.push(Action::Answer { id: *id, result });
                false
            }
            None => true,
        });
        self.requests = requests;
        let at = exit.unwrap_or(out.len());
        out.splice(at..at, answers);
    }

    fn judge(&self, open: &Open, is_last: bool, now: Now) -> Option<Result<Outcome, Denied>> {
        let mut pending = vec![];
        let mut broken = None;
        for goal in &open.goals {
            match self.progress(goal) {
                Progress::Holds => {}
                Progress::Pending => pending.push(goal),
                Progress::Broken(message) => broken = broken.or(Some((goal, message))),
            }
        }
        let Some(until) = open.until else {
            // Whoever does not wait is not refused for failures: they are news for `why`.
            return Some(Ok(self.outcome(open, pending.is_empty() && broken.is_none(), now)));
        };
        if let Some((goal, message)) = broken {
            let hint = goal.id().map(|id| format!("everup why {}", self.label(id)));
            return Some(Err(Denied { code: DeniedCode::Failed, message, hint }));
        }
        if pending.is_empty() {
            return Some(Ok(self.outcome(open, true, now)));
        }
        let whom = || pending.iter().map(|goal| self.whereabouts(goal)).collect::<Vec<_>>().join(", ");
        if is_last {
            let message = format!("everup ends while this was waited for: {}", whom());
            return Some(Err(Denied { code: DeniedCode::Failed, message, hint: None }));
        }
        if now.moment >= until {
            let waited = format_duration(until.since(open.asked_at));
            let message = format!("still waiting after {waited} for {}", whom());
            let hint = Some("it goes on without you: everup status".to_owned());
            return Some(Err(Denied { code: DeniedCode::TimedOut, message, hint }));
        }
        None
    }

    fn label(&self, id: &InstanceId) -> String {
        self.instance(id).map_or_else(|| id.to_string(), Instance::label)
    }

    fn progress(&self, goal: &Goal) -> Progress {
        match goal {
            Goal::AllGone if self.services.values().all(Service::is_gone) => Progress::Holds,
            Goal::AllGone => Progress::Pending,
            Goal::Gone { id } => match self.instance(id) {
                Some(instance) if instance.desired == Desired::Up && !instance.retiring => {
                    Progress::Broken(format!("{} was started again meanwhile", instance.label()))
                }
                Some(instance) if !instance.is_gone() => Progress::Pending,
                Some(_) | None => Progress::Holds,
            },
            Goal::Ready { id, left, .. } => match self.instance(id) {
                None => Progress::Broken(format!("{id} is no longer configured")),
                Some(instance) if instance.run > *left && instance.is_ready() => Progress::Holds,
                Some(instance) => self.hindrance(instance, *left).map_or(Progress::Pending, Progress::Broken),
            },
            Goal::Reloaded { id, left, cycle, .. } => match (self.instance(id), self.services.get(&id.service)) {
                (Some(instance), Some(service)) => self.reload_progress(instance, service, *left, *cycle),
                (None, _) | (_, None) => Progress::Broken(format!("{id} is no longer configured")),
            },
        }
    }

    fn reload_progress(&self, instance: &Instance, service: &Service, left: Run, cycle: u64) -> Progress {
        let fared = service.reload.fared(cycle);
        // A run that was told by a signal stays the same.
        let left = if fared == Fared::Done { before(instance.run) } else { left };
        let hindrance = || self.hindrance(instance, left).map_or(Progress::Pending, Progress::Broken);
        match fared {
            _ if instance.desired == Desired::Down => hindrance(),
            Fared::UnderWay if instance.waits_for_need() => hindrance(),
            Fared::UnderWay => Progress::Pending,
            Fared::Failed(words) => Progress::Broken(words.to_owned()),
            Fared::Done | Fared::Over if instance.run > left && instance.is_ready() => Progress::Holds,
            Fared::Done | Fared::Over => hindrance(),
        }
    }

    /// Why no run of `instance` after `left` will be ready by itself, if so.
    fn hindrance(&self, instance: &Instance, left: Run) -> Option<String> {
        let label = instance.label();
        let end = || instance.end.as_ref().map(describe);
        match &instance.phase {
            Phase::Failed => {
                let told = instance.reason.clone().into_iter().chain(end()).next().unwrap_or_default();
                Some(format!("{label} failed: {told}"))
            }
            Phase::Exited { .. } if instance.run > left => {
                Some(format!("{label} ended by itself: {}", end().unwrap_or_default()))
            }
            Phase::Starting { .. } | Phase::Running { .. } if instance.run <= left && self.is_not_rolled(instance) => {
                Some(format!("{label} was not restarted: an instance before it did not become ready"))
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. } => {
                (instance.desired == Desired::Down).then(|| format!("{label} was stopped meanwhile"))
            }
        }
    }

    /// Whether a restart one at a time has ended without reaching `instance`.
    fn is_not_rolled(&self, instance: &Instance) -> bool {
        self.services.get(&instance.id.service).is_none_or(|service| service.roll.is_none())
    }

    /// Whom a goal that does not hold waits for, and why.
    fn whereabouts(&self, goal: &Goal) -> String {
        let Some(id) = goal.id() else {
            let alive = self.instances().filter(|instance| !instance.is_gone());
            return alive.map(|instance| self.whereabouts_of(instance)).collect::<Vec<_>>().join(", ");
        };
        self.instance(id).map_or_else(|| id.to_string(), |instance| self.whereabouts_of(instance))
    }

    fn state_of(&self, instance: &Instance) -> State {
        self.services.get(&instance.id.service).map_or_else(|| instance.state(), |service| service.state_of(instance))
    }

    /// The signal that an instance reads its code anew for without ever saying so.
    fn told_by(instance: &Instance) -> Option<Signal> {
        match instance.plan.reload {
            ReloadPlan::Signal(signal) => Some(signal).filter(|_| reads_within(&instance.plan).is_none()),
            ReloadPlan::Restart => None,
        }
    }

    /// The instance with what it is doing.
    fn whereabouts_of(&self, instance: &Instance) -> String {
        let label = instance.label();
        match &instance.phase {
            Phase::Stopping(_) if instance.unkillable => format!("{label} (even SIGKILL does not end it)"),
            Phase::Waiting => format!("{label} ({})", instance.reason.as_deref().unwrap_or("waiting")),
            Phase::Backoff { .. } => {
                let told = instance.end.as_ref().map(describe).unwrap_or_default();
                format!("{label} (backoff after: {told})")
            }
            Phase::Running { .. } if instance.leaving.is_some() => {
                format!("{label} (stops once those that need it are gone)")
            }
            Phase::Running { live } if !live.ready => format!("{label} (running, not ready)"),
            Phase::Stopped
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Exited { .. }
            | Phase::Failed => format!("{label} ({})", self.state_of(instance)),
        }
    }

    fn outcome(&self, open: &Open, done: bool, now: Now) -> Outcome {
        let waited = now.moment.since(open.asked_at);
        let services = if open.goals.contains(&Goal::AllGone) {
            self.all_gone(done)
        } else {
            open.goals.iter().filter_map(|goal| self.outcome_of(goal, waited)).collect()
        };
        Outcome { done, services, changes: open.changes.clone(), notes: open.notes.clone() }
    }

    fn outcome_of(&self, goal: &Goal, waited: Duration) -> Option<ServiceOutcome> {
        let id = goal.id()?;
        let instance = self.instance(id);
        let name = self.label(id);
        let state = instance.map_or(State::Stopped, |instance| self.state_of(instance));
        let progress = self.progress(goal);
        let (message, gap_ms) = match (goal, progress) {
            (Goal::Ready { tell: Tell::Nothing, .. } | Goal::AllGone, _) => return None,
            // The name stands before it anyway.
            (_, Progress::Broken(message)) => {
                let bare = message.strip_prefix(name.as_str()).map(|rest| rest.trim_start().to_owned());
                (bare.unwrap_or(message), None)
            }
            (Goal::Ready { tell, .. } | Goal::Reloaded { tell, .. }, Progress::Holds) => {
                let kind = instance.map_or(Kind::Service, |instance| instance.plan.kind);
                let gap = instance.and_then(|instance| instance.gap).filter(|_| *tell == Tell::Gap);
                let told = match (goal, instance) {
                    (Goal::Reloaded { left, .. }, Some(instance)) if instance.run == *left => Self::told_by(instance),
                    _ => None,
                };
                let message = match (kind, told) {
                    (_, Some(signal)) => format!("told by {signal}"),
                    (Kind::Task, None) => "completed".to_owned(),
                    (Kind::Service, None) if waited.is_zero() => "is ready".to_owned(),
                    (Kind::Service, None) => format!("ready after {}", format_duration(waited)),
                };
                (message, gap.map(millis))
            }
            (Goal::Ready { left, .. }, Progress::Pending) => {
                let replaces = instance.is_some_and(|instance| instance.run == *left && !instance.is_gone());
                (if replaces { "is being restarted" } else { "is being started" }.to_owned(), None)
            }
            (Goal::Reloaded { .. }, Progress::Pending) => ("is being reloaded".to_owned(), None),
            (Goal::Gone { .. }, Progress::Holds) => ("stopped".to_owned(), None),
            (Goal::Gone { .. }, Progress::Pending) => ("is being stopped".to_owned(), None),
        };
        Some(ServiceOutcome { name, state, message, gap_ms })
    }

    fn all_gone(&self, done: bool) -> Vec<ServiceOutcome> {
        let message = if done { "stopped" } else { "is being stopped" };
        let of = |service: &super::Service| ServiceOutcome {
            name: service.name.to_string(),
            state: service.state(),
            message: message.to_owned(),
            gap_ms: None,
        };
        self.services.values().map(of).collect()
    }
}
