//! What people ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::cause::Explained;
use crate::core::event::RequestId;
use crate::core::graph;
use crate::core::instance::ending::{INTERRUPT, by_person};
use crate::core::instance::{Instance, Phase, Signalled};
use crate::core::service::{Service, Turn};
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::requests::{Goal, Tell};
use crate::model::command::{Caller, Command, Denied, DeniedCode, Outcome, PlanChange, Target};
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::Kind;
use crate::model::service::{Cause, Desired};
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
                self.shut_down(by_person("stopped", &by.0), None, force, now);
                Ok((vec![Goal::AllGone], (vec![], vec![])))
            }
            Command::Stop(targets) => self.stop(&targets, by, now, out),
            Command::Signal { targets, signal } => {
                self.signal(&targets, signal, by, now, out).map(|()| Default::default())
            }
            Command::Interrupt { delivered } => {
                self.interrupt(delivered, by, now, out);
                Ok(Default::default())
            }
            Command::Start(_)
            | Command::Restart { .. }
            | Command::Reload(_)
            | Command::Scale { .. }
            | Command::Apply { .. }
                if ending =>
            {
                Err(Denied {
                    code: DeniedCode::Unavailable,
                    message: "everup is stopping: nothing is started any more".to_owned(),
                    hint: Some("start it again with everup up".to_owned()),
                })
            }
            Command::Start(targets) => self.start(&targets),
            Command::Restart { targets, now: at_once } => self.restart(&targets, at_once, by, now, out),
            Command::Reload(targets) => self.ask_reload(&targets, by, now),
            Command::Scale { service, instances } => self.scale(&service, instances, by, out),
            Command::Apply { plan, dry_run: true, .. } => {
                let changes = self.compare(&plan);
                let outcome = Outcome { done: true, changes, ..Outcome::default() };
                out.push(Action::Answer { id, result: Ok(outcome) });
                return;
            }
            Command::Apply { plan, start, dry_run: false } => self.apply(&plan, &start, now, out),
        };
        match result {
            Ok((goals, extras)) => self.promise(id, goals, wait, extras, now),
            Err(denied) => out.push(Action::Answer { id, result: Err(denied) }),
        }
    }

    pub(super) fn ids(&self, targets: &[Target]) -> Result<Vec<InstanceId>, Denied> {
        let mut ids = vec![];
        for target in targets {
            let service = self.services.get(&target.service).filter(|service| !service.retiring);
            let service = service.ok_or_else(|| Denied::no_such(target.service.as_str()))?;
            let of = |i: &&Instance| target.index.is_none_or(|index| index == i.id.index);
            let before = ids.len();
            ids.extend(service.wanted().filter(of).map(|instance| instance.id.clone()));
            if ids.len() == before && target.index.is_some() {
                let wanted = format!("{}/{}", target.service, target.index.unwrap_or_default());
                return Err(Denied::no_such(&wanted));
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Wants `targets` up, and what they need.
    pub(super) fn start(&mut self, targets: &[Target]) -> Promised {
        let named = self.ids(targets)?;
        let mut goals = vec![];
        if let (true, Some(target)) = (named.is_empty(), targets.first()) {
            return Err(Denied {
                code: DeniedCode::Conflict,
                message: format!("{} has no instances to start", target.service),
                hint: Some(format!("everup scale {}=1", target.service)),
            });
        }
        for id in &named {
            let Some(instance) = self.instance_mut(id) else { continue };
            // What is on its way or there already fulfils the promise.
            let left = if instance.is_under_way() { before(instance.run) } else { instance.run };
            instance.want_up(Some(Cause::User));
            goals.push(Goal::Ready { id: id.clone(), left, tell: Tell::State });
        }
        Ok((goals, (vec![], self.start_needs(&named))))
    }

    /// Wants up what `named` need. Returns remarks about it for people.
    pub(super) fn start_needs(&mut self, named: &[InstanceId]) -> Vec<String> {
        let mut notes = vec![];
        for name in graph::with_needs(&self.plans(), named.iter().map(|id| id.service.clone())) {
            if named.iter().any(|id| id.service == name) {
                continue;
            }
            let Some(service) = self.services.get_mut(&name) else { continue };
            let mut starts = false;
            for instance in service.instances.values_mut().filter(|instance| !instance.retiring) {
                // A task that is done stays done; what is on its way keeps its history.
                let completed = instance.plan.kind == Kind::Task && instance.is_completed();
                if instance.desired == Desired::Up && (completed || instance.is_under_way()) {
                    continue;
                }
                starts |= instance.desired == Desired::Down;
                instance.want_up(Some(Cause::User));
            }
            if starts {
                notes.push(format!("starts {name} too, which is needed"));
            }
        }
        notes
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
                instance.leave(by_person("stopped", &by.0), cx);
            });
        }
        for name in &stopped {
            let stopped = |service: &&mut Service| service.wanted().all(|instance| instance.desired == Desired::Down);
            if let Some(service) = self.services.get_mut(name).filter(stopped) {
                service.roll = None;
            }
        }
        // Those that a smaller scale has sent away already are waited for as well.
        let whole = |instance: &&Instance| {
            targets.iter().any(|t| t.service == instance.id.service && t.index.is_none()) && instance.retiring
        };
        let others: Vec<InstanceId> = self.instances().filter(whole).map(|instance| instance.id.clone()).collect();
        Ok((ids.into_iter().chain(others).map(|id| Goal::Gone { id }).collect(), (vec![], notes)))
    }

    fn restart(&mut self, targets: &[Target], at_once: bool, by: &Caller, now: Now, out: &mut Vec<Action>) -> Promised {
        let ids = self.ids(targets)?;
        let why = by_person("restarted", &by.0);
        // What it needs is wanted again too, as with start.
        let (_, (_, notes)) = self.start(targets)?;
        let goals = self.replace(&ids, &why, at_once, now, out);
        Ok((goals, (vec![], notes)))
    }

    /// Gives each of `ids` a new process, one at a time where a service has several.
    pub(super) fn replace(
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
            let several = service.wanted().count() > 1;
            let tell = if several && !at_once { Tell::State } else { Tell::Gap };
            for id in &of_service {
                let left = service.instances.get(&id.index).map(|i| i.run).unwrap_or_default();
                goals.push(Goal::Ready { id: (*id).clone(), left, tell });
            }
            if several && !at_once && (of_service.len() > 1 || service.roll.is_some()) {
                let under_way =
                    |id: &&&InstanceId| service.instances.get(&id.index).is_some_and(Instance::is_under_way);
                let turn = |id: &&InstanceId| {
                    let left = service.instances.get(&id.index)?.run;
                    Some(Turn { index: id.index, left, why: why.clone(), reloads: false })
                };
                let queue: Vec<_> = of_service.iter().filter(under_way).filter_map(turn).collect();
                service.enroll(queue);
                continue;
            }
            if at_once && let Some(roll) = &mut service.roll {
                roll.queue.retain(|turn| of_service.iter().all(|id| id.index != turn.index));
            }
            for id in of_service {
                self.with(id, now, out, |instance, cx| instance.again(why.clone(), cx));
            }
        }
        goals
    }

    fn signal(
        &mut self,
        targets: &[Target],
        signal: Signal,
        by: &Caller,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Denied> {
        let ids = self.ids(targets)?;
        let live: Vec<_> = ids
            .iter()
            .filter_map(|id| self.instance(id))
            .filter_map(|instance| instance.live().map(|live| (instance.id.clone(), live.run)))
            .collect();
        if live.is_empty() {
            return Err(Denied {
                code: DeniedCode::NotRunning,
                message: "nothing of it runs, so there is nothing to signal".to_owned(),
                hint: Some("everup status".to_owned()),
            });
        }
        for (instance, run) in live {
            if let Some(signalled) = self.instance_mut(&instance) {
                let told = format!("{} had {signal} sent to it just before", by.0);
                signalled.signalled = Some(Signalled { signal, cause: Cause::User, told, at: now.moment });
            }
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
                    (Some(_), _) => {}
                    (None, Phase::Stopped | Phase::Exited { .. }) if !instance.plan.waits_for_change => {}
                    // Nothing runs that could hear it: the wish is to leave.
                    (
                        None,
                        Phase::Waiting
                        | Phase::Preparing { .. }
                        | Phase::Spawning { .. }
                        | Phase::Starting { .. }
                        | Phase::Running { .. }
                        | Phase::Stopping(_)
                        | Phase::Cleaning { .. }
                        | Phase::Backoff { .. }
                        | Phase::Stopped
                        | Phase::Exited { .. }
                        | Phase::Failed,
                    ) => {
                        instance.leave(by_person("interrupted", &by.0), cx);
                        instance.ends_everup = true;
                    }
                }
            });
        }
    }

    fn scale(&mut self, name: &ServiceName, instances: u32, by: &Caller, out: &mut Vec<Action>) -> Promised {
        if instances > MOST_INSTANCES {
            return Err(Denied {
                code: DeniedCode::BadRequest,
                message: format!("cannot run {instances} instances: at most {MOST_INSTANCES}"),
                hint: None,
            });
        }
        let runs = &self.runs;
        let service =
            self.services.get_mut(name).filter(|s| !s.retiring).ok_or_else(|| Denied::no_such(name.as_str()))?;
        if service.plan.port.is_some_and(|first| u32::from(first) + instances > 65_536) {
            return Err(Denied {
                code: DeniedCode::BadRequest,
                message: format!("cannot run {instances} instances of {name}: their ports would go beyond 65535"),
                hint: None,
            });
        }
        let count = u32::try_from(service.wanted().count()).unwrap_or(u32::MAX);
        service.resize(instances, runs);
        let mut goals = vec![];
        for instance in service.instances.values_mut() {
            if instance.retiring {
                goals.push(Goal::Gone { id: instance.id.clone() });
            } else if instance.desired == Desired::Down && instance.held.is_none() {
                let left = if instance.is_under_way() { before(instance.run) } else { instance.run };
                instance.wish(Some(Cause::User));
                goals.push(Goal::Ready { id: instance.id.clone(), left, tell: Tell::State });
            }
        }
        if count != instances {
            let message = Some(format!("from {count} to {instances} by {}", by.0));
            let fact = Fact { service: Some(name.clone()), message, ..Fact::new(EventWord::Scaled) };
            out.push(Action::Record(fact));
        }
        Ok((goals, (vec![], vec![])))
    }
}

/// What a request did to the plan, and remarks for people.
pub(super) type Extras = (Vec<PlanChange>, Vec<String>);
/// What a request promises, or why it is refused.
pub(super) type Promised = Result<(Vec<Goal>, Extras), Denied>;

/// The run to leave behind where the current one will do.
pub(super) fn before(run: Run) -> Run {
    Run(run.0.saturating_sub(1))
}
