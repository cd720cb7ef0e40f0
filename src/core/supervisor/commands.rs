//! What people ask for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::cause::Explained;
use crate::core::event::RequestId;
use crate::core::graph;
use crate::core::instance::ending::{INTERRUPT, by_person};
use crate::core::instance::{Instance, Phase};
use crate::core::reconcile::{Difference, difference};
use crate::core::service::{Roll, Service};
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::requests::Goal;
use crate::model::command::{Caller, Command, Denied, DeniedCode, Outcome, PlanChange, PlanChangeKind, Target};
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::{Kind, Plan};
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::signal::Signal;
use crate::model::status::Held;
use crate::model::units::Now;

/// The most instances a service may have.
const MOST_INSTANCES: u32 = 1_000;

impl Supervisor {
    pub(super) fn asked(
        &mut self,
        id: RequestId,
        command: Command,
        wait: Option<Duration>,
        by: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let ending = self.shutdown.is_some();
        let result = match command {
            Command::Down { force } => {
                self.shut_down(by_person("stopped", &by.0), 0, force, now);
                Ok((vec![Goal::AllGone], (vec![], vec![])))
            }
            Command::Stop(targets) => self.stop(&targets, by, now, out),
            Command::Signal { targets, signal } => self.signal(&targets, signal, out).map(|()| Default::default()),
            Command::Interrupt { delivered } => {
                self.interrupt(delivered, by, now, out);
                Ok(Default::default())
            }
            Command::Start(_) | Command::Restart { .. } | Command::Scale { .. } | Command::Apply { .. } if ending => {
                Err(Denied {
                    code: DeniedCode::Unavailable,
                    message: "everup is stopping: nothing is started any more".to_owned(),
                    hint: Some("start it again with everup up".to_owned()),
                })
            }
            Command::Start(targets) => self.start(&targets, by),
            Command::Restart { targets, now: at_once } => self.restart(&targets, at_once, by, now, out),
            Command::Scale { service, instances } => self.scale(&service, instances, by, now, out),
            Command::Apply { plan, dry_run: true, .. } => {
                let changes = self.compare(&plan).into_iter().map(|(change, _)| change).collect();
                let outcome = Outcome { done: true, changes, ..Outcome::default() };
                out.push(Action::Answer { id, result: Ok(outcome) });
                return;
            }
            Command::Apply { plan, start, dry_run: false } => Ok(self.apply(&plan, &start, by, now, out)),
        };
        match result {
            Ok((goals, extras)) => self.promise(id, goals, wait, extras, now),
            Err(denied) => out.push(Action::Answer { id, result: Err(denied) }),
        }
    }

    fn ids(&self, targets: &[Target]) -> Result<Vec<InstanceId>, Denied> {
        let mut ids = vec![];
        for target in targets {
            let service = self.services.get(&target.service).filter(|service| !service.retiring);
            let service = service.ok_or_else(|| no_such(&target.service.to_string()))?;
            let of = |i: &&Instance| target.index.is_none_or(|index| index == i.id.index);
            let before = ids.len();
            ids.extend(service.wanted().filter(of).map(|instance| instance.id.clone()));
            if ids.len() == before && target.index.is_some() {
                let wanted = format!("{}/{}", target.service, target.index.unwrap_or_default());
                return Err(no_such(&wanted));
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn start(&mut self, targets: &[Target], by: &Caller) -> Promised {
        let named = self.ids(targets)?;
        let mut notes = vec![];
        let needed = graph::with_needs(&self.plans(), named.iter().map(|id| id.service.clone()));
        let mut wanted: BTreeSet<InstanceId> = named.iter().cloned().collect();
        for name in needed {
            let Some(service) = self.services.get(&name) else { continue };
            if !named.iter().any(|id| id.service == name) {
                let down = service.wanted().any(|i| i.desired == Desired::Down);
                if down {
                    notes.push(format!("starts {name} too, which it needs"));
                }
                wanted.extend(service.wanted().map(|instance| instance.id.clone()));
            }
        }
        let mut goals = vec![];
        for id in wanted {
            let direct = named.contains(&id);
            let Some(instance) = self.services.get_mut(&id.service).and_then(|s| s.instances.get_mut(&id.index)) else {
                continue;
            };
            let left = start_one(instance, direct);
            if direct {
                goals.push(Goal::Ready { id, left });
            }
        }
        let _ = by;
        Ok((goals, (vec![], notes)))
    }

    fn stop(&mut self, targets: &[Target], by: &Caller, now: Now, out: &mut Vec<Action>) -> Promised {
        let ids = self.ids(targets)?;
        let stopped: BTreeSet<ServiceName> = ids.iter().map(|id| id.service.clone()).collect();
        let mut notes = vec![];
        for service in self.services.values().filter(|service| !stopped.contains(&service.name)) {
            let lives_on = service.wanted().any(|i| i.desired == Desired::Up && !i.is_over());
            for needed in service.plan.needs.keys().filter(|name| stopped.contains(name) && lives_on) {
                notes.push(format!("{} needs {needed} and lives on", service.name));
            }
        }
        for id in &ids {
            let held = Held { by: by.0.clone(), at: now.wall };
            self.with(id, now, out, |instance, cx| {
                if instance.held.is_none() {
                    let message = Some(format!("stopped by {}", by.0));
                    cx.out.push(Action::Record(Fact { message, ..instance.fact(EventWord::Held) }));
                    instance.held = Some(held);
                }
                instance.rest(by_person("stopped", &by.0), cx);
            });
        }
        for name in &stopped {
            if let Some(service) = self.services.get_mut(name) {
                if service.wanted().all(|instance| instance.desired == Desired::Down) {
                    service.roll = None;
                }
            }
        }
        Ok((ids.into_iter().map(|id| Goal::Gone { id }).collect(), (vec![], notes)))
    }

    fn restart(&mut self, targets: &[Target], at_once: bool, by: &Caller, now: Now, out: &mut Vec<Action>) -> Promised {
        let ids = self.ids(targets)?;
        let why = by_person("restarted", &by.0);
        // What it needs is wanted again too, as with start.
        let (_, (_, notes)) = self.start(targets, by)?;
        let goals = self.replace(&ids, &why, at_once, now, out);
        Ok((goals, (vec![], notes)))
    }

    /// Gives each of `ids` a new process, one at a time where a service has several.
    fn replace(
        &mut self,
        ids: &[InstanceId],
        why: &Explained,
        at_once: bool,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Vec<Goal> {
        let mut goals = vec![];
        let services: BTreeSet<ServiceName> = ids.iter().map(|id| id.service.clone()).collect();
        for name in services {
            let of_service: Vec<&InstanceId> = ids.iter().filter(|id| id.service == name).collect();
            let Some(service) = self.services.get_mut(&name) else { continue };
            for id in &of_service {
                let left = service.instances.get(&id.index).map(|i| i.run).unwrap_or_default();
                goals.push(Goal::Ready { id: (*id).clone(), left });
            }
            let several = service.wanted().count() > 1 && of_service.len() > 1;
            if several && !at_once {
                let queue = of_service.iter().map(|id| id.index).collect();
                service.roll = Some(Roll { queue, current: None, why: why.clone() });
                continue;
            }
            service.roll = None;
            for id in of_service {
                self.with(id, now, out, |instance, cx| instance.again(why.clone(), cx));
            }
        }
        goals
    }

    fn signal(&mut self, targets: &[Target], signal: Signal, out: &mut Vec<Action>) -> Result<(), Denied> {
        let ids = self.ids(targets)?;
        let live: Vec<_> = ids
            .iter()
            .filter_map(|id| self.instance(id))
            .filter_map(|instance| instance.live().map(|live| (instance.id.clone(), live.run)))
            .collect();
        if live.is_empty() {
            return Err(Denied {
                code: DeniedCode::Conflict,
                message: "nothing of it runs, so there is nothing to signal".to_owned(),
                hint: Some("everup status".to_owned()),
            });
        }
        for (instance, run) in live {
            out.push(Action::Signal { instance, run, signal, scope: Scope::Main });
        }
        Ok(())
    }

    fn interrupt(&mut self, delivered: bool, by: &Caller, now: Now, out: &mut Vec<Action>) {
        let ids: Vec<InstanceId> =
            self.services.values().flat_map(|s| s.instances.values()).map(|instance| instance.id.clone()).collect();
        for id in ids {
            self.with(&id, now, out, |instance, cx| {
                instance.interrupted = Some(cx.now.moment);
                match (instance.live().map(|live| live.run), &instance.phase) {
                    (Some(run), _) if !delivered => {
                        let instance = instance.id.clone();
                        cx.out.push(Action::Signal { instance, run, signal: INTERRUPT, scope: Scope::Main });
                    }
                    // Nothing runs that could hear it: the wish is to leave.
                    (None, Phase::Backoff { .. } | Phase::Waiting | Phase::Failed) => {
                        instance.rest(by_person("interrupted", &by.0), cx);
                        instance.ends_everup = true;
                    }
                    (Some(_) | None, _) => {}
                }
            });
        }
    }

    fn scale(&mut self, name: &ServiceName, instances: u32, by: &Caller, now: Now, out: &mut Vec<Action>) -> Promised {
        if instances > MOST_INSTANCES {
            return Err(Denied {
                code: DeniedCode::BadRequest,
                message: format!("cannot run {instances} instances: at most {MOST_INSTANCES}"),
                hint: None,
            });
        }
        let runs = &self.runs;
        let service = self.services.get_mut(name).filter(|s| !s.retiring).ok_or_else(|| no_such(name.as_str()))?;
        if service.plan.port.is_some_and(|first| u32::from(first) + instances > 65_536) {
            return Err(Denied {
                code: DeniedCode::BadRequest,
                message: format!("cannot run {instances} instances of {name}: their ports would go beyond 65535"),
                hint: None,
            });
        }
        let before = u32::try_from(service.wanted().count()).unwrap_or(u32::MAX);
        service.resize(instances, runs);
        let mut goals = vec![];
        for instance in service.instances.values_mut() {
            if instance.retiring {
                goals.push(Goal::Gone { id: instance.id.clone() });
            } else if instance.desired == Desired::Down && instance.held.is_none() {
                instance.wish(Some(Cause::User));
                goals.push(Goal::Ready { id: instance.id.clone(), left: instance.run });
            }
        }
        if before != instances {
            let message = Some(format!("from {before} to {instances} by {}", by.0));
            let fact = Fact { service: Some(name.clone()), message, ..Fact::new(EventWord::Scaled) };
            out.push(Action::Record(fact));
        }
        let _ = now;
        Ok((goals, (vec![], vec![])))
    }

    /// The differences between what runs and `plan`, in its order, removed ones last.
    fn compare(&self, plan: &Plan) -> Vec<(PlanChange, Difference)> {
        let mut found = vec![];
        for new in &plan.services {
            let change = |what, keys| PlanChange { service: new.name.clone(), what, keys };
            match self.services.get(&new.name).filter(|service| !service.retiring) {
                None => found.push((change(PlanChangeKind::Added, vec![]), Difference::default())),
                Some(service) => {
                    let mut difference = difference(&service.plan, new);
                    let running = u32::try_from(service.wanted().count()).unwrap_or(u32::MAX);
                    if running != new.instances && !difference.scales {
                        difference.keys.push("instances".to_owned());
                        difference.scales = true;
                    }
                    let what = if difference.keys.is_empty() {
                        PlanChangeKind::Unchanged
                    } else if difference.replaces_process {
                        PlanChangeKind::Restarted
                    } else if difference.scales {
                        PlanChangeKind::Scaled
                    } else {
                        PlanChangeKind::Updated
                    };
                    found.push((change(what, difference.keys.clone()), difference));
                }
            }
        }
        for (name, service) in &self.services {
            if !service.retiring && plan.service(name).is_none() {
                let change = PlanChange { service: name.clone(), what: PlanChangeKind::Removed, keys: vec![] };
                found.push((change, Difference::default()));
            }
        }
        found
    }

    /// Makes reality match `plan`: what is unchanged keeps its process.
    fn apply(
        &mut self,
        plan: &Arc<Plan>,
        start: &[ServiceName],
        by: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> (Vec<Goal>, Extras) {
        let compared = self.compare(plan);
        let mut goals = vec![];
        let why = |keys: &[String]| Explained {
            cause: Cause::Config,
            certainty: Certainty::Certain,
            evidence: vec![format!("its configuration changed: {}", keys.join(", "))],
        };
        for (change, difference) in &compared {
            let name = &change.service;
            if change.what == PlanChangeKind::Removed {
                if let Some(service) = self.services.get_mut(name) {
                    service.retiring = true;
                    for instance in service.instances.values_mut() {
                        instance.retiring = true;
                        goals.push(Goal::Gone { id: instance.id.clone() });
                    }
                }
            }
            let Some(new) = plan.service(name) else { continue };
            let service = self.services.entry(name.clone()).or_insert_with(|| Service::new(new.clone(), &self.runs));
            let was_down = service.wanted().all(|i| i.desired == Desired::Down);
            service.retiring = false;
            service.plan = new.clone();
            service.resize(new.instances, &self.runs);
            let wanted = new.enabled
                && (change.what == PlanChangeKind::Added
                    || difference.keys.iter().any(|k| k == "enabled")
                    || !was_down);
            let mut replaced = vec![];
            for instance in service.instances.values_mut() {
                if instance.retiring {
                    goals.push(Goal::Gone { id: instance.id.clone() });
                } else if difference.replaces_process && instance.live().is_some() {
                    replaced.push(instance.id.clone());
                } else {
                    let health_changed = instance.plan.health != new.health;
                    instance.plan = new.clone();
                    if health_changed {
                        let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
                        instance.rethink_health(&mut cx);
                    }
                    if wanted && instance.held.is_none() && instance.desired == Desired::Down {
                        instance.wish(Some(Cause::Config));
                        goals.push(Goal::Ready { id: instance.id.clone(), left: instance.run });
                    } else if instance.desired == Desired::Up && !difference.keys.is_empty() {
                        // What was given up or waits for its next try gets one with the new configuration.
                        if matches!(instance.phase, Phase::Failed | Phase::Backoff { .. }) {
                            instance.forgive();
                            instance.wish(Some(Cause::Config));
                            instance.phase = Phase::Waiting;
                            goals.push(Goal::Ready { id: instance.id.clone(), left: instance.run });
                        }
                    }
                }
            }
            goals.extend(self.replace(&replaced, &why(&change.keys), false, now, out));
            if change.what != PlanChangeKind::Unchanged {
                let keys =
                    if change.keys.is_empty() { what_word(change.what).to_owned() } else { change.keys.join(", ") };
                let fact =
                    Fact { service: Some(name.clone()), message: Some(keys), ..Fact::new(EventWord::ConfigApplied) };
                out.push(Action::Record(fact));
            }
        }
        self.plan = plan.clone();
        let named: Vec<Target> = start.iter().cloned().map(Target::all).collect();
        let mut notes = vec![];
        if let Ok((more, (_, told))) = self.start(&named, by) {
            goals.extend(more.into_iter().filter(|goal| !goals.contains(goal)).collect::<Vec<_>>());
            notes = told;
        }
        let changes = compared.into_iter().map(|(change, _)| change).collect();
        (goals, (changes, notes))
    }
}

type Extras = (Vec<PlanChange>, Vec<String>);
type Promised = Result<(Vec<Goal>, Extras), Denied>;

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

/// Wants `instance` up by a person's wish. Returns the run that must be left behind for the wish to be fulfilled.
fn start_one(instance: &mut Instance, direct: bool) -> Run {
    let completed = instance.is_completed() && instance.plan.kind == Kind::Task;
    if completed && !direct {
        return Run(instance.run.0.saturating_sub(1));
    }
    instance.want_up(Some(Cause::User));
    if instance.live().is_some() {
        instance.start_cause = None;
        return Run(instance.run.0.saturating_sub(1));
    }
    match &mut instance.phase {
        // The wish is kept for when the old one is gone.
        Phase::Stopping(dying) => dying.next = Some(crate::core::instance::Next::Again),
        Phase::Cleaning { next, .. } => *next = crate::core::instance::Next::Again,
        Phase::Preparing { .. } | Phase::Spawning { .. } => return Run(instance.run.0.saturating_sub(1)),
        Phase::Stopped | Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => {
            instance.reason = None;
            instance.phase = Phase::Waiting;
        }
        Phase::Starting { .. } | Phase::Running { .. } => {}
    }
    instance.run
}

fn no_such(name: &str) -> Denied {
    Denied {
        code: DeniedCode::NoSuchService,
        message: format!("no service or instance {name:?}"),
        hint: Some("everup status lists them".to_owned()),
    }
}
