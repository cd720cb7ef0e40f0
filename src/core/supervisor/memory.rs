//! What outlives the process: a supervisor is written down service by service as it changes, and goes on from that.
//!
//! What was decided is kept before it is done, so that after a death in between it can be told what was not done: a
//! process the guardian was never asked for, a signal it was never told to send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::action::{Action, Scope};
use crate::core::budget::Budget;
use crate::core::context::{Context, Dice};
use crate::core::event::{Event, Hook, Traces};
use crate::core::instance::{Instance, Phase};
pub use crate::core::service::Service;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::shutdown::Shutdown;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::ServicePlan;
use crate::model::service::End;
use crate::model::signal::Signal;
use crate::model::units::{Now, Timestamp};

/// Which services may differ from what was last written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Any of them.
    pub(super) all: bool,
    /// These.
    pub(super) names: BTreeSet<ServiceName>,
}

/// What is kept beside the services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    shutdown: Option<Shutdown>,
    dice: Dice,
    budget: Budget,
    checks: u64,
}

/// What a supervisor was when its process died.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Beside the services; none: nothing had been written down yet.
    pub common: Option<Common>,
    /// The services, as [`Supervisor::service`] gave them.
    pub services: BTreeMap<ServiceName, Service>,
    /// What instances run as where that is not what the plan in force says.
    pub plans: BTreeMap<InstanceId, Arc<ServicePlan>>,
}

/// What the guardian knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The signals it was told to send it: bit 0 for signal 1, and so on.
    pub signals: u64,
}

impl Witness {
    fn has_sent(self, signal: Signal) -> bool {
        signal.number().checked_sub(1).is_some_and(|bit| self.signals >> bit & 1 == 1)
    }
}

impl Supervisor {
    /// Counts every service as changed: all is to be written down anew.
    pub(crate) fn touch_all(&mut self) {
        self.touched.all = true;
    }

    /// When the runs under way began.
    pub(crate) fn begun(&self) -> impl Iterator<Item = (&InstanceId, Timestamp)> {
        self.instances().filter_map(|instance| match &instance.phase {
            Phase::Preparing { since, .. } | Phase::Spawning { since, .. } => Some((&instance.id, since.wall)),
            Phase::Starting { live, .. } | Phase::Running { live } => Some((&instance.id, live.since.wall)),
            Phase::Stopping(dying) => Some((&instance.id, dying.since.wall)),
            Phase::Cleaning { .. }
            | Phase::Stopped
            | Phase::Waiting
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => None,
        })
    }

    /// The services that may have changed since this was last asked, whether or not they still exist.
    pub fn touched(&mut self) -> Vec<ServiceName> {
        let Touched { all, names } = std::mem::take(&mut self.touched);
        if all {
            let gone = names.into_iter().filter(|name| !self.services.contains_key(name));
            return self.services.keys().cloned().chain(gone).collect();
        }
        names.into_iter().collect()
    }

    /// A service as it is to be written down; without its plans.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// All services as they are to be written down.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// What is to be written down beside the services.
    pub fn common(&self) -> Common {
        Common {
            shutdown: self.shutdown.clone(),
            dice: self.dice.clone(),
            budget: self.budget.clone(),
            checks: self.checks,
        }
    }

    /// What instances of a service run as where that is not what the plan in force says.
    pub fn other_plans(&self, name: &ServiceName) -> impl Iterator<Item = (&InstanceId, &Arc<ServicePlan>)> {
        let current = self.plan.service(name);
        let instances = self.services.get(name).into_iter().flat_map(|service| service.instances.values());
        let differs = move |plan: &Arc<ServicePlan>| current.is_none_or(|current| !Arc::ptr_eq(current, plan));
        instances.filter(move |instance| differs(&instance.plan)).map(|instance| (&instance.id, &instance.plan))
    }

    /// Goes on from what was written down, over the project as `self` would begin it.
    #[must_use]
    pub fn remember(mut self, memory: Memory) -> Self {
        let Memory { common, services, plans } = memory;
        if let Some(Common { shutdown, dice, budget, checks }) = common {
            (self.shutdown, self.dice, self.budget, self.checks) = (shutdown, dice, budget, checks);
        }
        for (name, mut service) in services {
            let current = self.plan.service(&name).cloned();
            for instance in service.instances.values_mut() {
                self.runs.insert(instance.id.clone(), instance.run);
                if let Some(plan) = plans.get(&instance.id).or(current.as_ref()) {
                    instance.plan = plan.clone();
                }
            }
            // What is in the plan no more is known by what its instances run as.
            let of_an_instance = || service.instances.values().next().map(|instance| instance.plan.clone());
            let Some(plan) = current.or_else(of_an_instance) else { continue };
            service.plan = plan;
            self.services.insert(name, service);
        }
        self.touched.all = true;
        // Whether anything does is found out in the next step.
        self.changing = true;
        self.deadline = self.find_deadline();
        self
    }

    /// Takes up again what died with the process: what was asked of it, and what it was about to do. `witness` tells
    /// what the guardian knows of a run; of one it does not know nobody knows what became of it.
    ///
    /// The actions come first; the news that follows from them is to be taken in with the next step.
    pub fn take_up(
        &mut self,
        now: Now,
        witness: impl Fn(&InstanceId, Run) -> Option<Witness>,
    ) -> (Vec<Action>, Vec<Event>) {
        let (mut out, mut news) = (vec![], vec![]);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.say_exit_again();
        }
        for service in self.services.values_mut() {
            for path in &service.reload.disregarded {
                out.push(Action::Disregard { service: service.name.clone(), path: path.clone() });
            }
            out.extend(service.check_again());
            let mut cx = Context { now, out: &mut out, dice: &mut self.dice, budget: &mut self.budget };
            for instance in service.instances.values_mut() {
                let known = instance.current_run().and_then(|run| witness(&instance.id, run));
                news.extend(instance.take_up(known, &mut cx));
            }
        }
        (out, news)
    }
}

impl Instance {
    fn take_up(&mut self, known: Option<Witness>, cx: &mut Context<'_>) -> Option<Event> {
        let instance = self.id.clone();
        match &mut self.phase {
            Phase::Preparing { .. } => cx.out.push(self.hook(Hook::BeforeStart)),
            Phase::Cleaning { .. } => cx.out.push(self.hook(Hook::AfterEnd)),
            Phase::Spawning { .. } if known.is_none() => cx.out.push(self.spawn()),
            Phase::Starting { live, .. } | Phase::Running { live } => {
                if known.is_none() {
                    return Some(lost(instance, live.run));
                }
                live.health.ask_again(cx.now.moment);
            }
            Phase::Stopping(dying) => {
                let run = dying.run;
                match known {
                    None if dying.main_ended => return Some(Event::TreeGone { instance, run }),
                    None => return Some(lost(instance, run)),
                    Some(_) if dying.killing.is_some() => {
                        cx.out.push(Action::EndTree { instance, run, overdue: false });
                    }
                    // It is asked to end once it is known to run.
                    Some(_) if dying.pid.is_none() && !dying.main_ended => {}
                    // `stop.command` died with the process that waited for it, or the signal was never sent.
                    Some(witness) if dying.command_runs || !witness.has_sent(self.plan.stop.signal) => {
                        let scope = if dying.main_ended { Scope::Tree } else { Scope::Main };
                        dying.command_runs = false;
                        cx.out.push(self.stop_signal(run, scope));
                    }
                    Some(_) => {}
                }
            }
            Phase::Spawning { .. }
            | Phase::Stopped
            | Phase::Waiting
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
        None
    }
}

/// Nobody saw what became of it.
fn lost(instance: InstanceId, run: Run) -> Event {
    Event::Ended { instance, run, end: End::Unknown, traces: Traces { tree_empty: true, ..Traces::default() } }
}
