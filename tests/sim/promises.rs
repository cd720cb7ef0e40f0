//! What people are promised: answers, wishes, plans, and one end.

use everup::core::action::Action;
use everup::core::event::Event;
use everup::model::command::{Command, DeniedCode, PlanChangeKind};
use everup::model::event::EventWord;
use everup::model::names::InstanceId;
use everup::model::plan::ReloadPlan;
use everup::model::service::{Cause, Desired, State};
use everup::model::status::ServiceStatus;

use crate::invariants::{Checked, Step, Watch, ensure, find, with_named};

impl Watch {
    /// S31: an answer comes once, and says "done" only when it is.
    pub(crate) fn s31_answers_keep_promises(&mut self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Answer { id, result } = action else { return Ok(()) };
        let open = self.open.remove(id);
        let Some(open) = open.filter(|open| !open.abandoned) else {
            return ensure(false, "S31 each request is answered once", || format!("{id:?}"));
        };
        let Ok(outcome) = result else { return Ok(()) };
        if !outcome.done {
            return ensure(open.until.is_none(), "S31 whoever waits is told the end", || format!("{id:?}"));
        }
        let state = |id: &InstanceId| find(step.after, id);
        match &open.command {
            Command::Stop(_) => {
                for id in &open.ids {
                    let alive = step.kernel.alive(id).next().is_some();
                    ensure(!alive, "S31 stopped means gone", || format!("{id} is alive when its stop is answered"))?;
                }
                Ok(())
            }
            Command::Start(_) | Command::Restart { .. } | Command::Reload(_) => {
                for id in &open.ids {
                    let ready = state(id).is_none_or(|status| status.ready);
                    ensure(ready, "S31 started means ready", || {
                        format!("{id} is not ready when its start is answered")
                    })?;
                }
                Ok(())
            }
            Command::Down { .. } => {
                ensure(!step.kernel.any_alive(), "S31 down means gone", || "something is alive".to_owned())
            }
            Command::Scale { .. } | Command::Apply { .. } | Command::Signal { .. } | Command::Interrupt { .. } => {
                Ok(())
            }
        }
    }

    pub(crate) fn requests_are_answered_in_time(&self, step: &Step<'_>) -> Checked {
        for (id, open) in self.open.iter().filter(|(_, open)| !open.abandoned) {
            let until = open.until.unwrap_or(step.now);
            ensure(open.until.is_some() && until > step.now, "S31 every request is answered in time", || {
                format!("{id:?} {:?}", open.command)
            })?;
        }
        Ok(())
    }

    /// Everup ends once, when nothing is left and everybody has been answered.
    pub(crate) fn one_exit(&mut self, step: &Step<'_>, action: &Action) -> Checked {
        if !matches!(action, Action::Exit { .. }) {
            return Ok(());
        }
        self.exits += 1;
        ensure(self.exits == 1, "one exit", || "everup ends twice".to_owned())?;
        let left = step
            .kernel
            .trees
            .iter()
            .find(|(life, tree)| !tree.is_unkillable() && step.kernel.alive(&life.0).any(|run| run == life.1));
        ensure(left.is_none(), "exit when all are gone", || format!("{:?} lives", left.map(|(life, _)| life)))?;
        let open = self.open.iter().find(|(_, open)| !open.abandoned);
        ensure(open.is_none(), "S31 answers come before the exit", || format!("{:?}", open.map(|(id, _)| id)))
    }

    /// S12: the last wish of a person stands.
    pub(crate) fn s12_the_last_wish_wins(&mut self, step: &Step<'_>) -> Checked {
        for (id, wish) in &self.wishes {
            let Some(status) = find(step.after, id) else { continue };
            ensure(self.shutting_down || status.desired == *wish, "S12 the last wish wins", || {
                format!("{id} is wanted {:?}, a person said {wish:?}", status.desired)
            })?;
        }
        Ok(())
    }

    /// S13: what a person starts does not wait for a backoff.
    pub(crate) fn s13_a_persons_start_is_not_held_back(&self, step: &Step<'_>) -> Checked {
        let [Event::Asked { command: Command::Start(targets), .. }] = step.events else { return Ok(()) };
        if self.shutting_down {
            return Ok(());
        }
        let refused = step.actions.iter().any(|action| match action {
            Action::Answer { result: Err(denied), .. } => {
                matches!(denied.code, DeniedCode::NoSuchService | DeniedCode::Conflict)
            }
            _ => false,
        });
        for id in self.ids(targets).into_iter().flatten().filter(|_| !refused) {
            let Some(status) = find(step.after, &id) else { continue };
            let held_back = status.state == State::Backoff
                || (status.state == State::Failed && status.cause != Some(Cause::Dependency))
                || status.held.is_some_and(|held| held);
            ensure(!held_back, "S13 a person's start is never held back", || format!("{id} is {}", status.state))?;
        }
        let refused = step.actions.iter().any(|action| match action {
            Action::Answer { result: Err(denied), .. } => {
                let excusable =
                    [DeniedCode::NoSuchService, DeniedCode::Conflict, DeniedCode::Failed, DeniedCode::TimedOut];
                !excusable.contains(&denied.code)
            }
            _ => false,
        });
        ensure(!refused, "S13 a person's start is never refused", String::new)
    }
}

/// S29: what a new plan leaves as it is keeps its process; a dry run changes nothing; what is held stays held.
pub(crate) fn s29_unchanged_keeps_its_process(step: &Step<'_>) -> Checked {
    let [Event::Asked { command: Command::Apply { dry_run, start, plan }, .. }] = step.events else {
        return Ok(());
    };
    let changes = step.actions.iter().find_map(|action| match action {
        Action::Answer { result: Ok(outcome), .. } => Some(&outcome.changes),
        _ => None,
    });
    let Some(changes) = changes else { return Ok(()) };
    for service in step.before {
        let change = changes.iter().find(|change| change.service == service.name);
        let kept = change.is_some_and(|c| matches!(c.what, PlanChangeKind::Unchanged | PlanChangeKind::Updated));
        for old in service.instances.iter().filter(|i| i.pid.is_some() && i.desired == Desired::Up) {
            let id = InstanceId { service: service.name.clone(), index: old.index };
            let new = find(step.after, &id);
            let same = new.as_ref().is_some_and(|new| new.pid == old.pid && new.run == old.run);
            let touched = step.actions.iter().any(|action| match action {
                Action::Signal { instance, signal, .. } => {
                    let reload = plan.service(&service.name).map(|plan| plan.reload);
                    *instance == id && reload != Some(ReloadPlan::Signal(*signal))
                }
                Action::EndTree { instance, .. } => *instance == id,
                _ => false,
            });
            // A restart one at a time may go on, or a deadline may pass, in the same step.
            let rolled = step.actions.iter().any(|action| match action {
                Action::Record(fact) => fact.event == EventWord::Stopping && fact.cause != Some(Cause::Config),
                _ => false,
            });
            let due = old.state == State::Stopping || step.late > 0 || rolled;
            ensure(
                due || !(kept || *dry_run) || (same && !touched),
                "S29 what is unchanged keeps its process",
                || format!("{id}: {:?}", change.map(|c| &c.keys)),
            )?;
        }
        let held = |all: &[ServiceStatus]| {
            all.iter().find(|other| other.name == service.name).is_some_and(|s| s.held.is_some())
        };
        let removed = plan.service(&service.name).is_none();
        let named = with_named(start, plan).contains(&service.name);
        let scaled = step
            .after
            .iter()
            .find(|other| other.name == service.name)
            .is_none_or(|other| other.instances.len() != service.instances.len() || other.instances.len() > 1);
        ensure(
            !held(step.before) || held(step.after) || removed || named || scaled,
            "a hold outlives a new plan",
            || service.name.to_string(),
        )?;
    }
    Ok(())
}
