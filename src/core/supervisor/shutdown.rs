//! Stopping everything: dependents are gone before what they need gets its first signal.

use crate::core::action::Action;
use crate::core::cause::{Explained, exit_code};
use crate::core::context::Context;
use crate::core::instance::{Instance, Phase};
use crate::core::supervisor::Supervisor;
use crate::model::service::{Cause, Certainty, Desired, End};
use crate::model::units::{Moment, Now};
use serde::{Deserialize, Serialize};

/// A shutdown under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shutdown {
    /// Everything at once, and killed.
    force: bool,
    /// The exit code; none: that of the program everup ends with, or 0.
    code: Option<u8>,
    why: Explained,
    /// When the budget is used up and what is left is killed.
    until: Option<Moment>,
    exit_said: bool,
}

impl Shutdown {
    /// The one who was to be told has died.
    pub(super) fn say_exit_again(&mut self) {
        self.exit_said = false;
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.until.filter(|_| !self.force)
    }
}

impl Supervisor {
    /// Begins to stop everything; asked again with `force`, patience ends.
    pub(super) fn shut_down(&mut self, why: Explained, code: Option<u8>, force: bool, now: Now) {
        let until = self.shutdown_budget.map(|budget| now.moment.after(budget));
        let shutdown = self.shutdown.get_or_insert(Shutdown { force: false, code, why, until, exit_said: false });
        shutdown.force |= force;
    }

    /// Takes the next steps of the shutdown. Returns whether anything moved.
    pub(super) fn advance_shutdown(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Some(shutdown) = &mut self.shutdown else { return false };
        shutdown.force |= shutdown.until.is_some_and(|at| at <= now.moment);
        let (force, why) = (shutdown.force, shutdown.why.clone());
        let mut moved = false;
        for service in self.services.values_mut() {
            service.roll = None;
            service.drop_reload(out);
            for instance in service.instances.values_mut() {
                let mut cx = Context { now, out, dice: &mut self.dice, budget: &mut self.budget };
                moved |= dismiss(instance, &why, &mut cx);
            }
        }
        moved |= self.let_go(force, now, out);
        if force {
            for instance in self.services.values_mut().flat_map(|service| service.instances.values_mut()) {
                let mut cx = Context { now, out, dice: &mut self.dice, budget: &mut self.budget };
                moved |= lose_patience(instance, &mut cx);
            }
        }
        self.close_sockets(out);
        // What even SIGKILL does not end cannot keep everup from ending.
        if self.instances().all(|instance| instance.is_gone() || instance.unkillable) {
            let code = self.final_code();
            if let Some(shutdown) = self.shutdown.as_mut().filter(|shutdown| !shutdown.exit_said) {
                shutdown.exit_said = true;
                out.push(Action::Exit { code });
            }
        }
        moved
    }

    fn final_code(&self) -> u8 {
        let own = || {
            let service = self.plan.exit_with.as_ref().and_then(|name| self.services.get(name))?;
            worst(service.instances.values().filter_map(|instance| instance.end.as_ref()))
        };
        let ending = || worst(self.instances().filter(|i| i.ends_everup).filter_map(|i| i.end.as_ref()));
        self.shutdown.as_ref().and_then(|shutdown| shutdown.code).or_else(own).or_else(ending).unwrap_or(0)
    }

    /// Begins a shutdown when the service that everup ends with has ended, or a limit says so.
    pub(super) fn notice_exit(&mut self, now: Now) -> bool {
        let by_rule = self.instances().find(|instance| instance.ends_everup);
        // A rule or limit gives the code; after Ctrl-C it is that of the program once it has ended.
        let found = by_rule.map(|instance| {
            let given_up = matches!(instance.phase, Phase::Failed);
            (instance.label(), given_up.then(|| instance.end.as_ref().map_or(1, exit_code)))
        });
        let Some((whom, code)) = found.or_else(|| self.ended_service()) else { return false };
        let why = Explained {
            cause: Cause::Dependency,
            certainty: Certainty::Certain,
            evidence: vec![format!("everup ends with {whom}")],
        };
        self.shut_down(why, code, false, now);
        true
    }

    /// The service that everup ends with, if it has ended and nothing will start it again, and its code.
    fn ended_service(&self) -> Option<(String, Option<u8>)> {
        let name = self.plan.exit_with.as_ref()?;
        let service = self.services.get(name)?;
        let is_over = |i: &Instance| {
            i.desired == Desired::Up && matches!(i.phase, Phase::Exited { .. } | Phase::Failed) && !i.waits_for_change()
        };
        let over = !service.reload.is_under_way() && service.wanted().next().is_some() && service.wanted().all(is_over);
        let code = worst(service.wanted().filter_map(|instance| instance.end.as_ref())).unwrap_or(1);
        over.then(|| (name.to_string(), Some(code)))
    }
}

/// The first code that is not 0, else 0; none when there is no end at all.
fn worst<'a>(ends: impl Iterator<Item = &'a End>) -> Option<u8> {
    let codes: Vec<u8> = ends.map(exit_code).collect();
    codes.iter().copied().find(|code| *code != 0).or_else(|| codes.first().copied())
}

/// Nothing is wanted any more; what has ended by itself keeps saying how.
fn dismiss(instance: &mut Instance, why: &Explained, cx: &mut Context<'_>) -> bool {
    if instance.desired == Desired::Down {
        return false;
    }
    if matches!(instance.phase, Phase::Exited { .. } | Phase::Failed) {
        instance.desired = Desired::Down;
    } else {
        instance.leave(why.clone(), cx);
    }
    true
}

/// Kills what is still there.
fn lose_patience(instance: &mut Instance, cx: &mut Context<'_>) -> bool {
    match &instance.phase {
        Phase::Stopping(dying) if dying.killing.is_none() => instance.kill_at_once(cx),
        Phase::Cleaning { .. } => instance.cut_cleaning(cx),
        Phase::Stopped
        | Phase::Waiting
        | Phase::Preparing { .. }
        | Phase::Spawning { .. }
        | Phase::Starting { .. }
        | Phase::Running { .. }
        | Phase::Stopping(_)
        | Phase::Backoff { .. }
        | Phase::Exited { .. }
        | Phase::Failed => return false,
    }
    true
}
