//! Making reality match another plan: what is unchanged keeps its process.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::graph;
use crate::core::instance::{Instance, Next, Phase};
use crate::core::reconcile::{Difference, difference};
use crate::core::service::Service;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::commands::{Promised, before};
use crate::core::supervisor::requests::{Goal, Tell};
use crate::model::command::{Denied, PlanChange, PlanChangeKind, Target};
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::plan::{Kind, Plan, ServicePlan};
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::units::Now;

impl Supervisor {
    /// The differences between what runs and `plan`, in its order, removed ones last.
    pub(super) fn compare(&self, plan: &Plan) -> Vec<PlanChange> {
        let mut found = vec![];
        for new in &plan.services {
            let change = |what, keys| PlanChange { service: new.name.clone(), what, keys };
            let Some(service) = self.services.get(&new.name).filter(|service| !service.retiring) else {
                found.push(change(PlanChangeKind::Added, vec![]));
                continue;
            };
            let mut all = difference(&service.plan, new);
            // A restart that broke off has left instances behind that still run an older plan.
            for instance in service.wanted().filter(|i| i.is_under_way() && !Arc::ptr_eq(&i.plan, &service.plan)) {
                all.merge(difference(&instance.plan, new));
            }
            let running = u32::try_from(service.wanted().count()).unwrap_or(u32::MAX);
            if running != new.instances {
                all.merge(Difference { keys: vec!["instances".to_owned()], replaces_process: false });
            }
            let what = if all.keys.is_empty() {
                PlanChangeKind::Unchanged
            } else if all.replaces_process {
                PlanChangeKind::Restarted
            } else if running != new.instances {
                PlanChangeKind::Scaled
            } else {
                PlanChangeKind::Updated
            };
            found.push(change(what, all.keys));
        }
        for (name, service) in &self.services {
            if !service.retiring && plan.service(name).is_none() {
                found.push(PlanChange { service: name.clone(), what: PlanChangeKind::Removed, keys: vec![] });
            }
        }
        found
    }

    /// Makes reality match `plan`, and starts the services named in `start` whatever holds them.
    pub(super) fn apply(
        &mut self,
        plan: &Arc<Plan>,
        start: &[ServiceName],
        now: Now,
        out: &mut Vec<Action>,
    ) -> Promised {
        if let Some(unknown) = start.iter().find(|name| plan.service(name).is_none()) {
            return Err(Denied::no_such(unknown.as_str()));
        }
        let changes = self.compare(plan);
        let wishes = self.wishes(plan, &changes, start.is_empty());
        self.plan = plan.clone();
        let mut goals = vec![];
        for change in &changes {
            match plan.service(&change.service) {
                Some(new) => {
                    let replaced = self.take_over(new, wishes.contains(&new.name), &mut goals, now, out);
                    let why = Explained {
                        cause: Cause::Config,
                        certainty: Certainty::Certain,
                        evidence: vec![format!("its configuration changed: {}", change.keys.join(", "))],
                    };
                    goals.extend(self.replace(&replaced, &why, false, now, out));
                }
                None => self.retire_service(&change.service, &mut goals, out),
            }
            if change.what != PlanChangeKind::Unchanged {
                let word = what_word(change.what).to_owned();
                let message = Some(if change.keys.is_empty() { word } else { change.keys.join(", ") });
                let service = Some(change.service.clone());
                out.push(Action::Record(Fact { service, message, ..Fact::new(EventWord::ConfigApplied) }));
            }
        }
        let named: Vec<Target> = start.iter().cloned().map(Target::all).collect();
        let (started, (_, notes)) = self.start(&named).unwrap_or_default();
        goals.retain(|goal| !started.iter().any(|other| goal.id() == other.id()));
        goals.extend(started);
        Ok((goals, (changes, notes)))
    }

    /// The services that `plan` wants up, with what they need; where only some were asked for, those that are up or new.
    fn wishes(&self, plan: &Plan, changes: &[PlanChange], all: bool) -> BTreeSet<ServiceName> {
        let is_up = |name: &ServiceName| {
            self.services.get(name).is_some_and(|service| service.wanted().any(|i| i.desired == Desired::Up))
        };
        let changed = |name: &ServiceName| {
            changes.iter().any(|change| {
                &change.service == name
                    && (change.what == PlanChangeKind::Added || change.keys.iter().any(|key| key == "enabled"))
            })
        };
        let roots = plan
            .services
            .iter()
            .filter(|new| (new.enabled && (all || changed(&new.name))) || is_up(&new.name))
            .map(|new| new.name.clone());
        let plans = plan.services.iter().map(|service| (service.name.clone(), service)).collect();
        graph::with_needs(&plans, roots)
    }

    /// Gives one service its new plan. Returns the instances whose process must be replaced for it.
    fn take_over(
        &mut self,
        new: &Arc<ServicePlan>,
        wished: bool,
        goals: &mut Vec<Goal>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Vec<InstanceId> {
        let service = self.services.entry(new.name.clone()).or_insert_with(|| Service::new(new, &self.runs));
        service.retiring = false;
        let rewatched = service.plan.watch != new.watch;
        service.plan = new.clone();
        service.resize(new.instances, &self.runs);
        if rewatched {
            service.rewatch(now.moment);
        }
        let mut replaced = vec![];
        for instance in service.instances.values_mut() {
            let id = instance.id.clone();
            if instance.retiring {
                goals.push(Goal::Gone { id });
                continue;
            }
            let was_wanted = instance.desired == Desired::Up;
            if wished && instance.held.is_none() && !was_wanted {
                instance.wish(Some(Cause::Config));
            }
            let mut cx = Context { now, out, dice: &mut self.dice, budget: &mut self.budget };
            if instance.take_over(new, &mut cx) {
                replaced.push(id);
                continue;
            }
            let left =
                if instance.is_under_way() || instance.is_completed() { before(instance.run) } else { instance.run };
            let ended = instance.plan.kind == Kind::Service && matches!(instance.phase, Phase::Exited { .. });
            if instance.desired == Desired::Up && !ended {
                // Who was wanted before is news only where nothing brings it up any more.
                let given_up = matches!(instance.phase, Phase::Failed);
                let tell = if was_wanted && !given_up { Tell::Nothing } else { Tell::State };
                goals.push(Goal::Ready { id, left, tell });
            }
        }
        replaced
    }

    fn retire_service(&mut self, name: &ServiceName, goals: &mut Vec<Goal>, out: &mut Vec<Action>) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.retiring = true;
        service.roll = None;
        service.drop_reload(out);
        for instance in service.instances.values_mut() {
            instance.retiring = true;
            goals.push(Goal::Gone { id: instance.id.clone() });
        }
    }
}

impl Instance {
    /// Takes over another plan as far as that is possible. Returns whether its process must be replaced for the rest.
    fn take_over(&mut self, new: &Arc<ServicePlan>, cx: &mut Context<'_>) -> bool {
        let own = difference(&self.plan, new);
        let (changed, replaces) = (!own.keys.is_empty(), own.replaces_process);
        if self.is_under_way() {
            if replaces {
                return self.desired == Desired::Up;
            }
            let asked_anew = self.plan.health != new.health;
            let bounded_anew = self.plan.memory_restart != new.memory_restart;
            self.plan = new.clone();
            if bounded_anew {
                self.forget_memory();
            }
            if asked_anew {
                self.rethink_health(cx);
            }
            return false;
        }
        self.untried |= replaces;
        // What was given up or waits for its next try gets one with the new configuration.
        let tries_again = |next: &Next| match next {
            Next::Retry { .. } | Next::GiveUp | Next::AwaitChange => changed,
            Next::Exit { .. } => replaces,
            Next::Rest | Next::Again | Next::EndEverup => false,
        };
        let wanted = self.desired == Desired::Up;
        match &mut self.phase {
            // The run that is ending ends as it was configured; the next one takes the new plan.
            Phase::Stopping(dying) => {
                if wanted && dying.next.as_ref().is_some_and(tries_again) {
                    self.want_up(Some(Cause::Config));
                }
            }
            Phase::Cleaning { next, .. } => {
                if wanted && tries_again(next) {
                    self.want_up(Some(Cause::Config));
                }
            }
            Phase::Failed | Phase::Backoff { .. } | Phase::Exited { .. } => {
                let ended = matches!(self.phase, Phase::Exited { .. });
                self.plan = new.clone();
                if wanted && (if ended { replaces } else { changed }) {
                    self.want_up(Some(Cause::Config));
                }
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. } => self.plan = new.clone(),
        }
        false
    }
}

fn what_word(what: PlanChangeKind) -> &'static str {
    match what {
        PlanChangeKind::Added => "added",
        PlanChangeKind::Removed => "removed",
        PlanChangeKind::Restarted => "restarted",
        PlanChangeKind::Updated => "updated",
        PlanChangeKind::Scaled => "scaled",
        PlanChangeKind::Unchanged => "unchanged",
    }
}
