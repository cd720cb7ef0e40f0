//! Stopping everything: dependents are gone before what they need gets its first signal.

use crate::core::action::Action;
use crate::core::cause::{Explained, exit_code};
use crate::core::context::Context;
use crate::core::instance::{Instance, Phase};
use crate::core::supervisor::Supervisor;
use crate::model::names::ServiceName;
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::units::{Moment, Now};

/// A shutdown under way.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Everything at once, and killed.
    force: bool,
    /// The exit code, unless a program's own is wanted.
    code: u8,
    why: Explained,
    /// When the budget is used up and what is left is killed.
    until: Option<Moment>,
    exit_said: bool,
}

impl Shutdown {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.until.filter(|_| !self.force)
    }
}

impl Supervisor {
    /// Begins to stop everything; asked again with `force`, patience ends.
    pub(super) fn shut_down(&mut self, why: Explained, code: u8, force: bool, now: Now) {
        let until = self.shutdown_budget.map(|budget| now.moment.after(budget));
        let shutdown = self.shutdown.get_or_insert(Shutdown { force: false, code, why, until, exit_said: false });
        shutdown.force |= force;
    }

    /// Takes the next steps of the shutdown. Returns whether anything moved.
    pub(super) fn advance_shutdown(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Some(shutdown) = &mut self.shutdown else { return false };
        if shutdown.until.is_some_and(|at| at <= now.moment) {
            shutdown.force = true;
        }
        let (force, why) = (shutdown.force, shutdown.why.clone());
        let blocked: Vec<ServiceName> = self
            .services
            .values()
            .filter(|service| !service.is_gone())
            .flat_map(|service| service.plan.needs.keys().cloned())
            .collect();
        let mut moved = false;
        for service in self.services.values_mut() {
            if !force && blocked.contains(&service.name) {
                continue;
            }
            service.roll = None;
            for instance in service.instances.values_mut() {
                let mut cx = Context { now, out, dice: &mut self.dice, budget: &mut self.budget };
                moved |= end(instance, &why, force, &mut cx);
            }
        }
        if self.services.values().all(super::Service::is_gone) {
            let code = self.final_code();
            if let Some(shutdown) = &mut self.shutdown {
                if !std::mem::replace(&mut shutdown.exit_said, true) {
                    out.push(Action::Exit { code });
                }
            }
        }
        moved
    }

    fn final_code(&self) -> u8 {
        let of_program = self
            .plan
            .exit_with
            .as_ref()
            .and_then(|name| self.services.get(name))
            .and_then(|service| service.instances.values().find_map(|instance| instance.end.as_ref()))
            .map(exit_code);
        of_program.or(self.shutdown.as_ref().map(|shutdown| shutdown.code)).unwrap_or(0)
    }

    /// Begins a shutdown when the service that everup ends with has ended, or a limit says so.
    pub(super) fn notice_exit(&mut self, now: Now, _out: &mut Vec<Action>) -> bool {
        let instances = || self.services.values().flat_map(|service| service.instances.values());
        let by_rule = instances().find(|instance| instance.ends_everup);
        let by_name = self.plan.exit_with.as_ref().and_then(|name| self.services.get(name)).and_then(|service| {
            let over =
                |i: &Instance| i.desired == Desired::Up && matches!(i.phase, Phase::Exited { .. } | Phase::Failed);
            let over = service.wanted().next().is_some() && service.wanted().all(over);
            over.then(|| service.wanted().next()).flatten()
        });
        let Some(instance) = by_rule.or(by_name) else { return false };
        let code = instance.end.as_ref().map_or(1, exit_code);
        let why = Explained {
            cause: Cause::Dependency,
            certainty: Certainty::Certain,
            evidence: vec![format!("everup ends with {}", instance.label())],
        };
        self.shut_down(why, code, false, now);
        true
    }
}

fn end(instance: &mut Instance, why: &Explained, force: bool, cx: &mut Context<'_>) -> bool {
    let mut moved = false;
    if instance.desired == Desired::Up || !matches!(instance.phase, Phase::Stopping(_) | Phase::Cleaning { .. }) {
        if instance.is_gone() {
            // What has ended keeps saying how.
            if matches!(instance.phase, Phase::Waiting | Phase::Backoff { .. }) {
                instance.phase = Phase::Stopped;
                moved = true;
            }
            instance.desired = Desired::Down;
        } else {
            instance.rest(why.clone(), cx);
            moved = true;
        }
    }
    if force && matches!(&instance.phase, Phase::Stopping(dying) if dying.killing.is_none()) {
        instance.kill(cx);
        moved = true;
    }
    moved
}
