//! All services together: the one way in.

mod apply;
mod commands;
pub mod memory;
mod reloading;
mod report;
mod requests;
mod settle;
mod shutdown;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::context::{Context, Dice};
use crate::core::event::{Event, RequestId};
use crate::core::graph;
use crate::core::health::Answer;
use crate::core::instance::Instance;
use crate::core::service::Service;
use crate::core::supervisor::memory::Touched;
use crate::core::supervisor::requests::Open;
use crate::core::supervisor::shutdown::Shutdown;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::{Plan, ServicePlan};
use crate::model::service::Cause;
use crate::model::status::Held;
use crate::model::units::{Moment, Now};

/// A step that comes this much after its deadline shows that everup was held up (stopped, starved, or the machine
/// slept): nobody is punished for that.
const HELD_UP: Duration = Duration::from_millis(250);
/// How often what has fallen due may make more fall due within one step; the bound only keeps a mistake from becoming a
/// hang.
const MOST_ROUNDS: usize = 16;

/// What an earlier life of everup left behind.
#[derive(Clone, Debug, Default)]
pub struct Seeds {
    /// The latest run of each instance, so that numbers are never reused.
    pub runs: BTreeMap<InstanceId, Run>,
    /// Instances that a person's stop still holds.
    pub held: BTreeMap<InstanceId, Held>,
    /// Runs of that life that still live.
    pub adopted: BTreeMap<InstanceId, Adopted>,
    /// For jitter.
    pub dice: u64,
    /// How long stopping everything may take; none: as long as the services' own timeouts allow.
    pub shutdown_budget: Option<Duration>,
}

/// A run that an earlier life of everup began, and that lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Its number.
    pub run: Run,
    /// When it began.
    pub since: Now,
    /// How often the instance had been restarted.
    pub restarts: u64,
    /// It was not wanted any more.
    pub down: bool,
    /// It was started as the file says no more.
    pub outdated: bool,
}

/// The next moment at which something falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Moment,
    /// A word for why.
    pub why: &'static str,
}

/// The whole of everup's decisions: owns every service's state.
///
/// A pure state machine: the same seeds, events and times give the same actions.
#[derive(Clone, Debug)]
pub struct Supervisor {
    plan: Arc<Plan>,
    services: BTreeMap<ServiceName, Service>,
    runs: BTreeMap<InstanceId, Run>,
    requests: BTreeMap<RequestId, Open>,
    shutdown: Option<Shutdown>,
    shutdown_budget: Option<Duration>,
    dice: Dice,
    budget: Budget,
    /// Something was being restarted in turns or reloaded when everything was last looked at.
    changing: bool,
    /// Counts the checks of new code.
    checks: u64,
    stale: u64,
    /// What may differ from what was last written down.
    touched: Touched,
    /// As it was after the latest step.
    deadline: Option<Deadline>,
}

impl Supervisor {
    /// A project none of whose services has started. `only` names the services wanted (with what they need); empty:
    /// all that are enabled. The first step starts them.
    pub fn new(plan: Arc<Plan>, seeds: Seeds, only: &[ServiceName]) -> Self {
        let mut supervisor = Self {
            services: plan.services.iter().map(|s| (s.name.clone(), Service::new(s, &seeds.runs))).collect(),
            plan,
            runs: seeds.runs,
            requests: BTreeMap::new(),
            shutdown: None,
            shutdown_budget: seeds.shutdown_budget,
            dice: Dice(seeds.dice),
            budget: Budget::new(),
            changing: false,
            checks: 0,
            stale: 0,
            touched: Touched { all: true, names: BTreeSet::new() },
            deadline: None,
        };
        let roots: Vec<ServiceName> = if only.is_empty() {
            supervisor.plan.services.iter().filter(|s| s.enabled).map(|s| s.name.clone()).collect()
        } else {
            only.to_vec()
        };
        for name in graph::with_needs(&supervisor.plans(), roots) {
            let named = only.contains(&name);
            let Some(service) = supervisor.services.get_mut(&name) else { continue };
            for instance in service.instances.values_mut() {
                match seeds.held.get(&instance.id) {
                    Some(held) if !named => {
                        instance.held = Some(held.clone());
                        instance.cause = Some(Cause::User);
                    }
                    Some(_) | None => instance.wish(None),
                }
            }
        }
        for (id, adopted) in seeds.adopted {
            if let Some(instance) = supervisor.instance_mut(&id) {
                instance.adopt(&adopted);
            }
        }
        supervisor
    }

    /// Takes one piece of news and returns what the shell must now do. Whatever has fallen due by `now` is carried
    /// out as well.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Action> {
        self.steps([event], now)
    }

    /// Takes several pieces of news of the same moment, in order.
    pub fn steps(&mut self, events: impl IntoIterator<Item = Event>, now: Now) -> Vec<Action> {
        let mut out = vec![];
        self.excuse_own_delay(now.moment);
        for event in events {
            self.hear(event, now, &mut out);
        }
        for _ in 0..MOST_ROUNDS {
            if self.deadline.is_some_and(|deadline| deadline.at <= now.moment) {
                self.fall_due(now, &mut out);
            }
            self.settle(now, &mut out);
            self.deadline = self.find_deadline();
            if self.deadline.is_none_or(|deadline| deadline.at > now.moment) {
                break;
            }
        }
        if !self.requests.is_empty() {
            self.answer_requests(now, &mut out);
            self.deadline = self.find_deadline();
        }
        out
    }

    /// When the next step is due without any news.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    fn find_deadline(&self) -> Option<Deadline> {
        let mut next: Option<(Moment, &'static str)> = None;
        let mut consider = |found: (Moment, &'static str)| {
            if next.is_none_or(|(at, _)| found.0 < at) {
                next = Some(found);
            }
        };
        for service in self.services.values() {
            service.instances.values().filter_map(Instance::deadline).for_each(&mut consider);
            if self.changing {
                service.deadline().into_iter().for_each(&mut consider);
            }
        }
        for open in self.requests.values() {
            open.until.map(|at| (at, "request")).into_iter().for_each(&mut consider);
        }
        let shutdown = self.shutdown.as_ref().and_then(Shutdown::deadline);
        shutdown.map(|at| (at, "shutdown budget")).into_iter().for_each(&mut consider);
        next.map(|(at, why)| Deadline { at, why })
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether everything is being stopped, for good.
    pub fn is_ending(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Pieces of news dropped because they were about a run that is over.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    fn plans(&self) -> BTreeMap<ServiceName, &Arc<ServicePlan>> {
        self.services.iter().map(|(name, service)| (name.clone(), &service.plan)).collect()
    }

    fn hear(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        // News of a run that is over stops here, so no handler has to ask whose news it is.
        if event.run().is_some_and(|(id, run)| self.instance(id).and_then(Instance::current_run) != Some(run)) {
            self.stale += 1;
            return;
        }
        match event {
            Event::Asked { id, command, wait, by } => {
                self.touched.all = true;
                self.asked(id, command, wait, &by, now, out);
            }
            Event::Abandoned { id } => {
                self.requests.remove(&id);
            }
            Event::Spawned { instance, run, pid } => self.with(&instance, now, out, |i, cx| i.spawned(run, pid, cx)),
            Event::Ended { instance, run, end, traces } => {
                self.with(&instance, now, out, |i, cx| i.ended(run, &end, &traces, cx));
            }
            Event::TreeGone { instance, .. } => self.with(&instance, now, out, Instance::tree_gone),
            Event::Left { instance, processes, .. } => self.with(&instance, now, out, |i, _| i.left = processes),
            Event::Probed { instance, role, seq, verdict, took_us, busy, .. } => {
                let answer = Answer { role, seq, verdict: &verdict, took_us, busy };
                self.with(&instance, now, out, |i, cx| i.probed(&answer, cx));
            }
            Event::Notified { instance, notice, .. } => self.with(&instance, now, out, |i, cx| i.notified(notice, cx)),
            Event::Used { instance, memory_bytes, .. } => {
                self.with(&instance, now, out, |i, cx| i.used(memory_bytes, cx));
            }
            Event::HookEnded { instance, hook, result, .. } => {
                self.with(&instance, now, out, |i, cx| i.hook_ended(hook, &result, cx));
            }
            Event::Changed { service, files, since } => {
                self.touch(&service);
                self.changed(&service, &files, since, out);
            }
            Event::Checked { service, seq, result } => {
                self.touch(&service);
                self.checked(&service, seq, result);
            }
            Event::Tick => {}
        }
    }

    fn fall_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let due: Vec<InstanceId> =
            self.instances().filter(|instance| is_due(instance, now.moment)).map(|i| i.id.clone()).collect();
        for id in due {
            self.with(&id, now, out, Instance::fall_due);
        }
    }

    fn excuse_own_delay(&mut self, now: Moment) {
        let Some(lag) = self.deadline.map(|deadline| now.since(deadline.at)) else { return };
        if lag < HELD_UP {
            return;
        }
        self.touched.all = true;
        for instance in self.services.values_mut().flat_map(|service| service.instances.values_mut()) {
            instance.excuse(lag, now);
        }
        for service in self.services.values_mut() {
            service.excuse(lag, now);
        }
    }

    fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.services.values().flat_map(|service| service.instances.values())
    }

    fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.services.get(&id.service)?.instances.get(&id.index)
    }

    fn instance_mut(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.services.get_mut(&id.service)?.instances.get_mut(&id.index)
    }

    fn with(
        &mut self,
        id: &InstanceId,
        now: Now,
        out: &mut Vec<Action>,
        handle: impl FnOnce(&mut Instance, &mut Context<'_>),
    ) {
        self.touch(&id.service);
        let mut cx = Context { now, out, dice: &mut self.dice, budget: &mut self.budget };
        if let Some(instance) = self.services.get_mut(&id.service).and_then(|s| s.instances.get_mut(&id.index)) {
            handle(instance, &mut cx);
        }
    }

    fn touch(&mut self, name: &ServiceName) {
        if !self.touched.all && !self.touched.names.contains(name) {
            self.touched.names.insert(name.clone());
        }
    }

    fn context<'a>(dice: &'a mut Dice, budget: &'a mut Budget, now: Now, out: &'a mut Vec<Action>) -> Context<'a> {
        Context { now, out, dice, budget }
    }
}

fn is_due(instance: &Instance, now: Moment) -> bool {
    instance.deadline().is_some_and(|(at, _)| at <= now)
}
