//! A configured service and its instances.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::instance::{Instance, Phase};
use crate::core::reload::Reloads;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::{Kind, Need, ServicePlan, Until};
use crate::model::service::{Desired, State};
use crate::model::units::Moment;

/// A service with its instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    pub(crate) name: ServiceName,
    #[serde(skip, default = "crate::model::bare::nameless")]
    pub(crate) plan: Arc<ServicePlan>,
    pub(crate) instances: BTreeMap<u32, Instance>,
    /// Gone from the file: stopped, then forgotten.
    pub(crate) retiring: bool,
    /// A restart of several instances, one at a time.
    pub(crate) roll: Option<Roll>,
    pub(crate) reload: Reloads,
    /// A run may have been given the sockets it listens on.
    pub(crate) holds_sockets: bool,
    /// Whether it was ready when last looked at.
    pub(crate) was_ready: bool,
}

/// A restart of several instances, one at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Roll {
    /// Those to come.
    pub(crate) queue: VecDeque<Turn>,
    /// The instance whose turn it is, and the run it must leave behind.
    pub(crate) current: Option<(u32, Run)>,
}

/// One instance's turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) index: u32,
    /// The run it must leave behind.
    pub(crate) left: Run,
    pub(crate) why: Explained,
    /// It is restarted for new code alone.
    pub(crate) reloads: bool,
}

/// How a need stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It holds.
    Met,
    /// Not so far; a sentence on what is missing.
    Pending(String),
    /// It cannot come to hold by itself.
    Broken(String),
}

impl Service {
    /// Its name.
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// A service none of whose instances has started.
    pub(crate) fn new(plan: &Arc<ServicePlan>, runs: &BTreeMap<InstanceId, Run>) -> Self {
        let mut service = Self {
            name: plan.name.clone(),
            instances: BTreeMap::new(),
            retiring: false,
            roll: None,
            reload: Reloads::default(),
            holds_sockets: false,
            was_ready: false,
            plan: plan.clone(),
        };
        service.resize(plan.instances, runs);
        service
    }

    /// Adds the instances missing up to `count` and marks those above it as no longer wanted. New ones are held as
    /// those are that were there before.
    pub(crate) fn resize(&mut self, count: u32, runs: &BTreeMap<InstanceId, Run>) {
        let all_held = self.wanted().all(|instance| instance.held.is_some());
        let held = self.wanted().find_map(|instance| instance.held.clone()).filter(|_| all_held);
        for index in 1..=count {
            let id = InstanceId { service: self.name.clone(), index };
            let run = runs.get(&id).copied().unwrap_or_default();
            let plan = self.plan.clone();
            let made = || Instance { held: held.clone(), ..Instance::new(id, plan, count, run) };
            self.instances.entry(index).or_insert_with(made).retiring = false;
        }
        for instance in self.instances.values_mut() {
            instance.retiring = instance.id.index > count;
            instance.siblings = count;
        }
    }

    /// The instances that are wanted at all.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|instance| !instance.retiring)
    }

    /// Whether no process of it exists and none is on its way.
    pub(crate) fn is_gone(&self) -> bool {
        self.instances.values().all(Instance::is_gone)
    }

    /// Nothing of it exists, and nobody wants it to.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_gone() && self.wanted().all(|instance| instance.desired == Desired::Down)
    }

    /// Every wanted instance is ready, and there is one.
    pub(crate) fn is_ready(&self) -> bool {
        self.wanted().next().is_some() && self.wanted().all(Instance::is_ready)
    }

    /// How `need` of this service stands.
    pub(crate) fn standing(&self, need: Need) -> Standing {
        let met = |instance: &Instance| match need.until {
            _ if instance.leaving.is_some() => false,
            Until::Started => instance.is_started() || instance.is_completed(),
            Until::Ready => instance.is_ready(),
            Until::Completed => instance.is_completed(),
        };
        let Some(missing) = self.wanted().find(|instance| !met(instance)) else {
            return if self.wanted().next().is_some() {
                Standing::Met
            } else if need.required {
                Standing::Pending(format!("{} has no instances", self.name))
            } else {
                Standing::Met
            };
        };
        let label = missing.label();
        let standing = match (&missing.phase, need.until) {
            (Phase::Failed, _) => Standing::Broken(format!("{label} failed{}", in_brackets(missing))),
            _ if missing.leaving.is_some() => Standing::Pending(format!("{label} (about to stop)")),
            (Phase::Exited { .. }, _) => Standing::Broken(format!("{label} has ended{}", in_brackets(missing))),
            (Phase::Stopped, _) if missing.desired == Desired::Down => {
                let by = missing.held.as_ref().map(|held| format!(" by {}", held.by)).unwrap_or_default();
                // A soft need does not hold anybody up for what nobody wants.
                if !need.required {
                    return Standing::Met;
                }
                Standing::Pending(format!("{label} (stopped{by})"))
            }
            // So is what has been failing for long.
            (Phase::Backoff { .. } | Phase::Waiting, _) if missing.crash_looping && !need.required => {
                return Standing::Met;
            }
            (
                Phase::Stopped
                | Phase::Waiting
                | Phase::Preparing { .. }
                | Phase::Spawning { .. }
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Stopping(_)
                | Phase::Cleaning { .. }
                | Phase::Backoff { .. },
                _,
            ) => Standing::Pending(format!("{label} ({})", missing.state())),
        };
        match standing {
            Standing::Broken(_) if !need.required => Standing::Met,
            other => other,
        }
    }

    /// The state of an instance as people see it: what serves old code while new code is on its way is reloading.
    pub(crate) fn state_of(&self, instance: &Instance) -> State {
        match instance.state() {
            State::Running if self.reload.concerns(instance.id.index, instance.run, !instance.drift.is_empty()) => {
                State::Reloading
            }
            state => state,
        }
    }

    /// The state of the instance that most needs attention.
    pub(crate) fn state(&self) -> State {
        self.instances
            .values()
            .map(|instance| self.state_of(instance))
            .min_by_key(|state| urgency(*state))
            .unwrap_or(State::Stopped)
    }

    /// Restarts those of its instances whose turn has come. Returns whether anything moved.
    pub(crate) fn heal(&mut self, cx: &mut Context<'_>) -> bool {
        let now = cx.now.moment;
        let rolled = self.roll.as_ref().and_then(|roll| roll.current).map(|(index, _)| index);
        let holder =
            rolled.or_else(|| self.instances.values().find(|i| i.has_its_turn(now)).map(|instance| instance.id.index));
        let Some(sick) = self
            .instances
            .values_mut()
            .filter(|instance| holder.is_none_or(|index| index == instance.id.index) && instance.desired == Desired::Up)
            .find(|instance| instance.waits_to_heal.is_some())
        else {
            return false;
        };
        let Some(why) = sick.waits_to_heal.take() else { return false };
        sick.healing = Some(sick.run);
        sick.end_for(why, None, cx);
        true
    }

    /// Has `turns` restarted one at a time. One whose turn it is already is waited for; those queued before keep their
    /// place unless they are queued anew. Who is restarted for another reason gets new code with it.
    pub(crate) fn enroll(&mut self, turns: Vec<Turn>) {
        let roll = self.roll.get_or_insert_with(|| Roll { queue: VecDeque::new(), current: None });
        for turn in turns {
            let known = roll.queue.iter().position(|other| other.index == turn.index);
            match known {
                Some(at) if turn.reloads && roll.queue.get(at).is_some_and(|other| !other.reloads) => {}
                Some(at) => {
                    roll.queue.remove(at);
                    roll.queue.push_back(turn);
                }
                None => roll.queue.push_back(turn),
            }
        }
    }

    /// Whether a restart one at a time has come to `index` or will.
    pub(crate) fn has_turn(&self, index: u32) -> bool {
        self.roll.as_ref().is_some_and(|roll| {
            roll.current.is_some_and(|(current, _)| current == index)
                || roll.queue.iter().any(|turn| turn.index == index)
        })
    }

    /// Takes the next step of a restart of several instances. Returns whether anything moved.
    pub(crate) fn advance_roll(&mut self, cx: &mut Context<'_>) -> bool {
        let now = cx.now.moment;
        let Some(roll) = &mut self.roll else { return false };
        if let Some((index, left)) = roll.current {
            let Some(instance) = self.instances.get(&index).filter(|i| !i.retiring && i.desired == Desired::Up) else {
                roll.current = None;
                return true;
            };
            if instance.run > left && instance.is_ready() {
                roll.current = None;
                return true;
            }
            let over = matches!(instance.phase, Phase::Backoff { .. } | Phase::Failed | Phase::Exited { .. });
            if instance.run > left && (over || instance.took_too_long(now)) {
                // The others stay as they are: going on would take the whole service down.
                self.roll = None;
                return true;
            }
            return false;
        }
        if self.instances.values().any(|instance| instance.has_its_turn(now)) {
            return false;
        }
        let Some(Turn { index, left, why, reloads }) = roll.queue.pop_front() else {
            self.roll = None;
            return true;
        };
        if let Some(instance) = self.instances.get_mut(&index) {
            // One that has begun anew meanwhile has left that run behind already; its turn lasts until it is ready.
            let wanted = instance.desired == Desired::Up && !instance.retiring;
            roll.current = wanted.then_some((index, left));
            if wanted && instance.run <= left {
                if reloads {
                    instance.swap(why, cx);
                } else {
                    instance.again(why, cx);
                }
            }
        }
        true
    }
}

impl Instance {
    /// Whether its siblings wait for its restart: until the new run is ready, has ended, or has had the time that a start
    /// may take.
    fn has_its_turn(&self, now: Moment) -> bool {
        let Some(sick) = self.healing.filter(|_| self.desired == Desired::Up && !self.is_over()) else { return false };
        self.run <= sick || !self.took_too_long(now)
    }

    /// Whether the run has had the time that a start may take, and is not ready.
    pub(crate) fn took_too_long(&self, now: Moment) -> bool {
        self.live().is_some_and(|live| !live.ready && now.since(live.since.moment) >= self.start_limit())
            && self.plan.kind == Kind::Service
    }

    /// By when a run after `left` must be ready, while it is not.
    pub(crate) fn ready_by(&self, left: Run) -> Option<Moment> {
        let live = self.live().filter(|live| live.run > left && !live.ready && self.plan.kind == Kind::Service)?;
        Some(live.since.moment.after(self.start_limit()))
    }

    /// How long a start may take.
    pub(crate) fn start_limit(&self) -> Duration {
        self.plan.health.probes().iter().map(|(_, probe)| probe.start_timeout).max().unwrap_or_default()
    }
}

/// The smaller, the more attention it needs.
fn urgency(state: State) -> u8 {
    match state {
        State::Failed => 0,
        State::Backoff => 1,
        State::Stopping => 2,
        State::Reloading => 3,
        State::Starting => 4,
        State::Waiting => 5,
        State::Running => 6,
        State::Exited => 7,
        State::Stopped => 8,
    }
}

fn in_brackets(instance: &Instance) -> String {
    let told = instance.end.as_ref().map(crate::core::cause::describe).or_else(|| instance.reason.clone());
    told.map(|told| format!(" ({told})")).unwrap_or_default()
}
