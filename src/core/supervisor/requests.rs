//! Promises to people: each request is answered once, when what it asked for holds or cannot come to hold.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::describe;
use crate::core::event::RequestId;
use crate::core::instance::{Instance, Phase};
use crate::core::supervisor::Supervisor;
use crate::model::command::{Denied, DeniedCode, Outcome, PlanChange, ServiceOutcome};
use crate::model::names::{InstanceId, Run};
use crate::model::plan::Kind;
use crate::model::service::{Desired, State};
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
    Ready { id: InstanceId, left: Run },
    /// Nothing of it runs.
    Gone { id: InstanceId },
    /// Nothing runs at all: everup is about to end.
    AllGone,
}

/// How a goal stands.
enum Progress {
    Holds,
    Pending(String),
    Broken(String),
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

    /// Answers what can be answered.
    pub(super) fn answer_requests(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut answered = vec![];
        for (id, open) in &self.requests {
            if let Some(result) = self.judge(open, now) {
                answered.push((*id, result));
            }
        }
        for (id, result) in answered {
            self.requests.remove(&id);
            // The answer comes before the end of everup, which it may announce.
            let exit = out.iter().position(|action| matches!(action, Action::Exit { .. })).unwrap_or(out.len());
            out.insert(exit, Action::Answer { id, result });
        }
    }

    fn judge(&self, open: &Open, now: Now) -> Option<Result<Outcome, Denied>> {
        let mut pending = vec![];
        for goal in &open.goals {
            match self.progress(goal) {
                Progress::Holds => {}
                Progress::Pending(whom) => pending.push(whom),
                // Whoever does not wait is not told of failures: they are news for `why`.
                Progress::Broken(_) if open.until.is_none() => {}
                Progress::Broken(message) => {
                    let hint = self.service_of(goal).map(|name| format!("everup why {name}"));
                    return Some(Err(Denied { code: DeniedCode::Failed, message, hint }));
                }
            }
        }
        let Some(until) = open.until else {
            return Some(Ok(self.outcome(open, pending.is_empty(), now)));
        };
        if pending.is_empty() {
            return Some(Ok(self.outcome(open, true, now)));
        }
        if now.moment >= until {
            let waited = format_duration(until.since(open.asked_at));
            let message = format!("still waiting after {waited} for {}", pending.join(", "));
            let hint = Some("it goes on without you: everup status".to_owned());
            return Some(Err(Denied { code: DeniedCode::TimedOut, message, hint }));
        }
        None
    }

    fn service_of(&self, goal: &Goal) -> Option<String> {
        match goal {
            Goal::Ready { id, .. } | Goal::Gone { id } => Some(self.label(id)),
            Goal::AllGone => None,
        }
    }

    fn label(&self, id: &InstanceId) -> String {
        self.instance(id).map_or_else(|| id.to_string(), Instance::label)
    }

    fn progress(&self, goal: &Goal) -> Progress {
        match goal {
            Goal::AllGone => match self.services.values().find(|service| !service.is_gone()) {
                None => Progress::Holds,
                Some(service) => Progress::Pending(format!("{} ({})", service.name, service.state())),
            },
            Goal::Gone { id } => match self.instance(id) {
                Some(instance) if instance.desired == Desired::Up && !instance.retiring => {
                    Progress::Broken(format!("{} was started again meanwhile", instance.label()))
                }
                Some(instance) if !instance.is_gone() => {
                    let trouble = if instance.unkillable { ", and even SIGKILL does not end it" } else { "" };
                    Progress::Pending(format!("{} ({}{trouble})", instance.label(), instance.state()))
                }
                Some(_) | None => Progress::Holds,
            },
            Goal::Ready { id, left } => {
                let Some(instance) = self.instance(id) else {
                    return Progress::Broken(format!("{id} is no longer configured"));
                };
                let label = instance.label();
                if instance.run > *left && instance.is_ready() {
                    return Progress::Holds;
                }
                if self.roll_broke_off(instance, *left) {
                    return Progress::Broken(format!(
                        "{label} was not restarted: an instance before it did not become ready"
                    ));
                }
                match (&instance.phase, instance.state()) {
                    (Phase::Failed, _) => {
                        let told = instance.reason.clone().or_else(|| instance.end.as_ref().map(describe));
                        Progress::Broken(format!("{label} failed: {}", told.unwrap_or_default()))
                    }
                    (Phase::Exited { .. }, _) if instance.run > *left => {
                        let told = instance.end.as_ref().map(describe).unwrap_or_default();
                        Progress::Broken(format!("{label} ended by itself: {told}"))
                    }
                    (Phase::Stopped, _) if instance.desired == Desired::Down => {
                        Progress::Broken(format!("{label} was stopped meanwhile"))
                    }
                    (_, State::Waiting) => {
                        let whom = instance.reason.clone().unwrap_or_default();
                        Progress::Pending(format!("{label} ({whom})"))
                    }
                    (Phase::Backoff { .. }, _) => {
                        let told = instance.end.as_ref().map(describe).unwrap_or_default();
                        Progress::Pending(format!("{label} (backoff after {told})"))
                    }
                    (Phase::Running { .. }, _) => Progress::Pending(format!("{label} (running, not ready)")),
                    (_, state) => Progress::Pending(format!("{label} ({state})")),
                }
            }
        }
    }

    /// Whether `instance` should have been restarted by a roll that has ended without reaching it.
    fn roll_broke_off(&self, instance: &Instance, left: Run) -> bool {
        let Some(service) = self.services.get(&instance.id.service) else { return false };
        service.roll.is_none() && instance.run <= left && instance.live().is_some()
    }

    fn outcome(&self, open: &Open, done: bool, now: Now) -> Outcome {
        let services = open
            .goals
            .iter()
            .filter_map(|goal| match goal {
                Goal::Ready { id, .. } => {
                    let instance = self.instance(id)?;
                    let waited = now.moment.since(open.asked_at);
                    let message = match (done, instance.plan.kind) {
                        (true, Kind::Task) => "completed".to_owned(),
                        (true, Kind::Service) if waited.is_zero() => "is ready".to_owned(),
                        (true, Kind::Service) => format!("ready after {}", format_duration(waited)),
                        (false, _) => "is being started".to_owned(),
                    };
                    let gap_ms = instance.gap.filter(|_| done).map(millis);
                    Some(ServiceOutcome { name: instance.label(), state: instance.state(), message, gap_ms })
                }
                Goal::Gone { id } => {
                    let name = self.label(id);
                    let state = self.instance(id).map_or(State::Stopped, Instance::state);
                    let message = if done { "stopped" } else { "is being stopped" }.to_owned();
                    Some(ServiceOutcome { name, state, message, gap_ms: None })
                }
                Goal::AllGone => None,
            })
            .collect();
        Outcome { done, services, changes: open.changes.clone(), notes: open.notes.clone() }
    }
}
