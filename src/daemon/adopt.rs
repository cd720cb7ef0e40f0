//! Takes over what an earlier everup, or this one's own guardian, left running when it was killed.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crate::core::event::{Event, Traces};
use crate::core::supervisor::Adopted;
use crate::daemon::engine::Engine;
use crate::daemon::ledger::fingerprint;
use crate::daemon::processes::Running;
use crate::daemon::state::{Kept, State};
use crate::guardian::link::Link;
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Pid};
use crate::model::plan::{Plan, ServicePlan};
use crate::model::service::End;
use crate::model::units::Now;
use crate::os::identity::Identity;
use crate::os::listen::Listener;
use crate::os::notify::NotifySocket;
use crate::os::pidfd::PidFd;
use crate::os::{reap, tree};

/// The first descriptor of a socket that a program was given: sd_listen_fds(3).
const FIRST_SOCKET: i32 = 3;

/// What was found of an earlier everup that did not end in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the processes of its guardian carry.
    mark: Option<String>,
    /// Runs that live and are in the plan.
    living: BTreeMap<InstanceId, (Kept, Identity)>,
    /// What else it had: runs that are in no plan any more, and trees whose main process is gone.
    rest: Vec<(InstanceId, Kept, Identity)>,
}

impl Found {
    /// Looks for what `before` says to have been running.
    pub(super) fn of(before: &State, plan: &Plan) -> Self {
        let mut found = Self { mark: before.mark.clone(), ..Self::default() };
        if before.clean {
            return found;
        }
        for (id, kept) in before.by_instance() {
            let Some(identity) = kept.identity.clone() else { continue };
            let wanted = plan.service(&id.service).is_some_and(|service| id.index <= service.instances);
            if wanted && identity.find().is_some() {
                found.living.insert(id, (kept.clone(), identity));
            } else {
                found.rest.push((id, kept.clone(), identity));
            }
        }
        found
    }

    /// Whether this instance lives on.
    pub(super) fn has(&self, id: &InstanceId) -> bool {
        self.living.contains_key(id)
    }

    /// As the core is told of them.
    pub(super) fn adopted(&self, plan: &Plan, now: Now) -> BTreeMap<InstanceId, Adopted> {
        let one = |(id, (kept, _)): (&InstanceId, &(Kept, Identity))| {
            let service = plan.service(&id.service)?;
            let wall = kept.since.unwrap_or(now.wall);
            let since = Now { moment: now.moment.before(now.wall.since(wall)), wall };
            let outdated = kept.plan != Some(fingerprint::<ServicePlan>(service));
            let adopted = Adopted { run: kept.run, since, restarts: kept.restarts, down: kept.down, outdated };
            Some((id.clone(), adopted))
        };
        self.living.iter().filter_map(one).collect()
    }
}

impl Engine {
    /// Whether services outlive everup's own death.
    pub(super) fn lasts(&self) -> bool {
        self.publisher.ledger.is_open()
    }

    /// Has the guardian take over what an earlier everup left running, and end what nobody knows.
    pub(super) fn adopt(&mut self, found: Found) {
        let Found { mark, living, rest } = found;
        for (instance, (kept, identity)) in living {
            self.recover_sockets(&instance, &identity);
            let running = running(&instance, &kept, &identity);
            let token = self.processes.next_token();
            self.adopted.insert(token);
            self.processes.adopt(token, &running, identity);
            self.processes.know(token, running);
        }
        for (instance, kept, identity) in rest {
            // Nobody listens to what becomes of it.
            let token = self.processes.next_token();
            self.processes.adopt(token, &running(&instance, &kept, &identity), identity);
            self.processes.end_tree(token);
            self.processes.forget(token);
        }
        if let Some(mark) = mark {
            self.processes.sweep(mark);
        }
    }

    /// The sockets that a program was given are still open in it; and its notify socket is listened to again.
    fn recover_sockets(&mut self, instance: &InstanceId, identity: &Identity) {
        let Some(plan) = self.core.plan().service(&instance.service).cloned() else { return };
        if self.listeners.of(&plan.name).is_empty() && !plan.listen.is_empty() {
            let Ok(process) = PidFd::open(identity.pid) else { return };
            let theirs = (FIRST_SOCKET..)
                .zip(&plan.listen)
                .filter_map(|(number, listen)| Listener::recovered(process.take(number).ok()?, &listen.address));
            let held = theirs.map(|listener| (self.processes.hold(listener.as_fd()), listener)).collect();
            self.listeners.recall(plan.name.clone(), held);
            self.publisher.ledger.listens(&plan.name, self.listeners.of(&plan.name));
        }
        if plan.wants_notify()
            && let Some(address) = tree::variable(identity.pid, "NOTIFY_SOCKET")
            && let Ok(socket) = NotifySocket::bind_again(&address)
        {
            self.notify_from(instance, socket);
        }
    }

    /// The guardian was killed: starts another and has it take over all that lives. The news that follows from it.
    pub(super) fn regain_guardian(&mut self) -> Vec<Event> {
        self.now = crate::os::clock::now();
        // An earlier successor of it was our child.
        while reap::next().is_some() {}
        let called = Link::call_guardian().and_then(crate::os::readiness::readable);
        let link = match called {
            Ok(link) => link,
            Err(error) => {
                tracing::error!(%error, "cannot start another guardian");
                self.publisher.ledger.close();
                return vec![Event::Tick];
            }
        };
        self.processes.speak_to(link);
        self.processes.lose_commands();
        let before = self.capabilities.take();
        let mut events = vec![];
        for (token, running) in self.processes.running() {
            let Some(pid) = running.pid else {
                // It was on its way to its program; what has come of it is ended below.
                self.processes.over(token);
                let traces = Traces { tree_empty: true, ..Traces::default() };
                events.push(Event::Ended { instance: running.instance, run: running.run, end: End::Unknown, traces });
                continue;
            };
            let identity = running.identity.clone().or_else(|| Identity::of(pid));
            let identity = identity.unwrap_or(Identity { pid, started: 0, boot: String::new(), inode: None });
            self.processes.adopt(token, &running, identity);
        }
        if let Some(before) = &before {
            self.processes.sweep(before.mark.clone());
        }
        self.hold_all();
        self.remember_anew();
        let gone = before.map_or(Pid(0), |before| before.guardian);
        let message = format!("the guardian (pid {gone}) was killed: another one has taken over what it held");
        tracing::error!(message);
        self.publisher.fact(Fact { message: Some(message), ..Fact::new(EventWord::Adopted) }, self.now.wall);
        events.push(Event::Tick);
        events
    }
}

fn running(instance: &InstanceId, kept: &Kept, identity: &Identity) -> Running {
    Running {
        pid: Some(identity.pid),
        cgroup: kept.cgroup.clone(),
        identity: Some(identity.clone()),
        pipes: kept.pipes,
        ..Running::new(instance.clone(), kept.run)
    }
}
