//! After the news: what one service's change means for the others.

use std::collections::BTreeSet;

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::instance::{Instance, Phase};
use crate::core::reconcile::difference;
use crate::core::service::Standing;
use crate::core::supervisor::Supervisor;
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::units::Now;

impl Supervisor {
    /// Moves on everything that waits for something else, until nothing moves.
    pub(super) fn settle(&mut self, now: Now, out: &mut Vec<Action>) {
        // Each round moves at least one instance one phase on, and phases within a moment form no circle; the bound
        // only keeps a mistake here from becoming a hang.
        for round in 0.. {
            let census = self.census();
            self.changing = census.changing || census.reloading;
            if census.sockets {
                self.close_sockets(out);
            }
            let moved = if self.shutdown.is_some() {
                self.touched.all = true;
                self.advance_shutdown(now, out)
            } else {
                // What goes, goes first: nothing is started on ground that is just giving way.
                self.notice_exit(now) || {
                    // What only waits is told apart below; all the rest is rare.
                    self.touched.all |= census.retiring || census.leaving || census.reloading || census.changing;
                    let retired = census.retiring && self.retire(now, out);
                    let left = (retired || census.leaving) && self.let_go(false, now, out);
                    // A reload that has ended may be what the end of everup waited for.
                    (census.reloading && self.reload(now, out)) || {
                        let mended = census.changing && self.heal_and_roll(now, out);
                        let woken = self.wake_dependents();
                        let started = (census.waiting || mended || woken) && self.start_waiting(now, out);
                        retired || left || mended || woken || started
                    }
                }
            };
            if !moved || round > 4 + 4 * census.instances {
                break;
            }
        }
    }

    /// Closes the sockets of what a person has stopped and of what is not in the plan any more.
    pub(super) fn close_sockets(&mut self, out: &mut Vec<Action>) {
        for service in self.services.values_mut().filter(|service| service.is_at_rest()) {
            if std::mem::take(&mut service.holds_sockets) {
                self.touched.all = true;
                out.push(Action::CloseSockets { service: service.name.clone() });
            }
        }
    }

    /// One look at everything, so that what nobody waits for costs nothing.
    fn census(&self) -> Census {
        let mut census = Census::default();
        for service in self.services.values() {
            census.changing |= service.roll.is_some();
            census.reloading |= service.reload.is_under_way();
            census.sockets |= service.holds_sockets;
            census.retiring |= service.retiring;
            for instance in service.instances.values() {
                census.instances += 1;
                census.retiring |= instance.retiring;
                census.leaving |= instance.leaving.is_some();
                census.changing |= instance.waits_to_heal.is_some();
                census.reloading |= instance.has_open_files();
                census.waiting |= instance.waits_for_need();
            }
        }
        census
    }

    /// Starts what waits and has what it needs; fails what needs something that failed.
    fn start_waiting(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let waiting: Vec<InstanceId> =
            self.instances().filter(|one| one.waits_for_need()).map(|instance| instance.id.clone()).collect();
        let mut met = vec![];
        let mut moved = false;
        for id in waiting {
            let standing = self.standing_of(&id.service);
            self.touch(&id.service);
            let Some(instance) = self.instance_mut(&id) else { continue };
            match standing {
                Standing::Met => met.push(id),
                Standing::Pending(whom) => {
                    if matches!(instance.phase, Phase::Failed) {
                        instance.phase = Phase::Waiting;
                        moved = true;
                    }
                    instance.cause = Some(Cause::Dependency);
                    instance.reason = Some(format!("waits for {whom}"));
                }
                Standing::Broken(whom) => {
                    moved |= matches!(instance.phase, Phase::Waiting);
                    instance.fail_for_need(&whom, out);
                }
            }
        }
        // A failure may be the end of everup; then nothing is to be started any more.
        if moved {
            return true;
        }
        for id in &met {
            let Some(service) = self.services.get_mut(&id.service) else { continue };
            let plan = service.plan.clone();
            let Some(instance) = service.instances.get_mut(&id.index) else { continue };
            service.holds_sockets |= !plan.listen.is_empty();
            instance.untried |= difference(&instance.plan, &plan).replaces_process;
            instance.plan = plan;
            let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
            instance.begin(&mut cx);
            self.runs.insert(id.clone(), instance.run);
        }
        !met.is_empty()
    }

    /// How everything that `name` needs stands, the worst first.
    fn standing_of(&self, name: &ServiceName) -> Standing {
        let Some(service) = self.services.get(name) else { return Standing::Met };
        let mut pending = None;
        for (needed, need) in &service.plan.needs {
            let standing = match self.services.get(needed) {
                Some(dependency) => dependency.standing(*need),
                None => Standing::Met,
            };
            match standing {
                Standing::Met => {}
                Standing::Pending(whom) => pending = pending.or(Some(whom)),
                Standing::Broken(whom) => return Standing::Broken(whom),
            }
        }
        pending.map_or(Standing::Met, Standing::Pending)
    }

    /// What loops slowly is tried at once when something it needs has become ready. Returns whether anything is.
    fn wake_dependents(&mut self) -> bool {
        let mut risen = vec![];
        for service in self.services.values_mut() {
            let ready = service.is_ready();
            if ready && !service.was_ready {
                risen.push(service.name.clone());
            }
            service.was_ready = ready;
        }
        let mut woken = false;
        if risen.is_empty() {
            return woken;
        }
        for service in self.services.values_mut() {
            if risen.iter().any(|name| service.plan.needs.contains_key(name)) {
                for instance in service.instances.values_mut() {
                    if matches!(instance.phase, Phase::Backoff { slow: true, .. }) {
                        instance.phase = Phase::Waiting;
                        self.touched.all = true;
                        woken = true;
                    }
                }
            }
        }
        woken
    }

    fn heal_and_roll(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let mut moved = false;
        for service in self.services.values_mut() {
            let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
            // At once to the next step, so that nothing is started beside an instance that is about to go.
            while service.advance_roll(&mut cx) || service.heal(&mut cx) {
                moved = true;
            }
        }
        moved
    }

    /// Lets go of what is not in the plan any more, and forgets it once it is gone.
    fn retire(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let mut moved = false;
        for service in self.services.values_mut() {
            for instance in service.instances.values_mut().filter(|i| i.retiring && i.desired == Desired::Up) {
                let why = Explained {
                    cause: Cause::Config,
                    certainty: Certainty::Certain,
                    evidence: vec!["it is no longer wanted".to_owned()],
                };
                let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
                instance.leave(why, &mut cx);
                moved = true;
            }
            let before = service.instances.len();
            service.instances.retain(|_, instance| !(instance.retiring && instance.is_gone()));
            moved |= service.instances.len() != before;
        }
        self.close_sockets(out);
        let before = self.services.len();
        let touched = &mut self.touched.names;
        self.services.retain(|name, service| {
            let stays = !(service.retiring && service.instances.is_empty());
            if !stays {
                touched.insert(name.clone());
            }
            stays
        });
        moved || self.services.len() != before
    }

    /// Ends what is not wanted any more, unless something that needs it is on its way out too and still there: that goes
    /// first. With `all` nobody waits. Returns whether anything moved.
    pub(super) fn let_go(&mut self, all: bool, now: Now, out: &mut Vec<Action>) -> bool {
        let needed: BTreeSet<ServiceName> = self
            .services
            .values()
            .filter(|service| !all && service.instances.values().any(is_departing))
            .flat_map(|service| service.plan.needs.keys().cloned())
            .collect();
        let mut moved = false;
        for service in self.services.values_mut().filter(|service| !needed.contains(&service.name)) {
            for instance in service.instances.values_mut() {
                if let Some(why) = instance.leaving.take() {
                    let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
                    instance.rest(why, &mut cx);
                    moved = true;
                }
            }
        }
        moved
    }
}

impl Instance {
    /// It waits in vain for `whom`.
    fn fail_for_need(&mut self, whom: &str, out: &mut Vec<Action>) {
        let reason = format!("needs {whom}");
        self.reason = Some(reason.clone());
        if !matches!(self.phase, Phase::Waiting) {
            return;
        }
        self.phase = Phase::Failed;
        self.cause = Some(Cause::Dependency);
        out.push(Action::Record(Fact {
            cause: Some(Cause::Dependency),
            certainty: Some(Certainty::Certain),
            message: Some(reason.clone()),
            evidence: vec![reason],
            then: Some("starts once what it needs is back".to_owned()),
            ..self.fact(EventWord::Failed)
        }));
    }
}

/// On its way out, and still there. Nobody waits for what even SIGKILL does not end.
fn is_departing(instance: &Instance) -> bool {
    instance.desired == Desired::Down && !instance.is_gone() && !instance.unkillable
}

/// What there is to settle.
#[derive(Debug, Default)]
struct Census {
    instances: usize,
    /// Something is in no plan any more.
    retiring: bool,
    /// Something waits for those that need it to go.
    leaving: bool,
    /// Something is to be restarted when its turn comes.
    changing: bool,
    /// Something starts as soon as what it needs is there.
    waiting: bool,
    /// Something has new code, or is about to.
    reloading: bool,
    /// Something may hold sockets that nobody needs any more.
    sockets: bool,
}
