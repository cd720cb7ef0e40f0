//! What status shows, and what must be written down to go on later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::instance::ending::named;
use crate::core::instance::{Instance, Phase};
use crate::core::service::Service;
use crate::core::supervisor::Supervisor;
use crate::model::names::{InstanceId, Pid, Run, ServiceName};

use crate::model::plan::{Kind, Policy, ServicePlan};
use crate::model::service::{Desired, State};
use crate::model::status::{Held, InstanceStatus, ServiceKind, ServiceStatus, Warning};
use crate::model::units::{Moment, millis};

impl Supervisor {
    /// Every service in the file's order, those on their way out last; usage is left out.
    pub fn statuses(&self, now: Moment) -> Vec<ServiceStatus> {
        let configured = self.plan.services.iter().filter_map(|plan| self.services.get(&plan.name));
        let leaving = self.services.values().filter(|service| service.retiring);
        configured.filter(|service| !service.retiring).chain(leaving).map(|service| of_service(service, now)).collect()
    }

    /// The plan in force for a service, also for one on its way out.
    pub fn plan_of(&self, name: &ServiceName) -> Option<&Arc<ServicePlan>> {
        self.services.get(name).map(|service| &service.plan)
    }

    /// How many instances of a service there are: decides their names.
    pub fn siblings(&self, name: &ServiceName) -> u32 {
        let service = self.services.get(name);
        service.and_then(|service| service.instances.values().next()).map_or(1, |instance| instance.siblings)
    }

    /// The holds of persons, per instance; `lasting` only those that outlive `down` and `up` (`unless-stopped`).
    pub fn holds(&self, lasting: bool) -> BTreeMap<InstanceId, Held> {
        self.services
            .values()
            .flat_map(|service| service.instances.values())
            .filter(|instance| !lasting || instance.plan.restart.policy == Policy::UnlessStopped)
            .filter_map(|instance| instance.held.clone().map(|held| (instance.id.clone(), held)))
            .collect()
    }

    /// The latest run of every instance that ever was.
    pub fn runs(&self) -> &BTreeMap<InstanceId, Run> {
        &self.runs
    }

    /// Tells of every instance what a later everup is to know: its restarts, whether it is not wanted, and as what its
    /// latest run was started.
    pub fn for_state(&self, mut tell: impl FnMut(&InstanceId, u64, bool, &ServicePlan)) {
        for instance in self.instances() {
            tell(&instance.id, instance.restarts, instance.desired == Desired::Down, &instance.plan);
        }
    }

    /// The run of an instance whose news counts now.
    pub fn current_run(&self, id: &InstanceId) -> Option<Run> {
        self.instance(id)?.current_run()
    }

    /// The main processes that live, with their runs.
    pub fn live(&self) -> impl Iterator<Item = (&InstanceId, Run, Pid)> {
        self.services.values().flat_map(|service| service.instances.values()).filter_map(|instance| {
            let pid = main_pid(instance)?;
            Some((&instance.id, instance.run, pid))
        })
    }
}

fn main_pid(instance: &Instance) -> Option<Pid> {
    match &instance.phase {
        Phase::Starting { live, .. } | Phase::Running { live } => Some(live.pid),
        Phase::Stopping(dying) if !dying.main_ended => dying.pid,
        Phase::Stopped
        | Phase::Waiting
        | Phase::Preparing { .. }
        | Phase::Spawning { .. }
        | Phase::Stopping(_)
        | Phase::Cleaning { .. }
        | Phase::Backoff { .. }
        | Phase::Exited { .. }
        | Phase::Failed => None,
    }
}

fn of_service(service: &Service, now: Moment) -> ServiceStatus {
    let instances: Vec<InstanceStatus> =
        service.instances.values().map(|instance| of_instance(service, instance, now)).collect();
    let state = service.state();
    let telling = service.instances.values().find(|instance| service.state_of(instance) == state);
    let wanted = || service.wanted();
    let desired = if wanted().any(|i| i.desired == Desired::Up) { Desired::Up } else { Desired::Down };
    let healths: Vec<bool> = wanted().filter_map(|i| i.live().and_then(|live| live.healthy)).collect();
    let own_files = service.reload.own_files(&service.plan);
    let mut warnings: Vec<Warning> =
        own_files.map(|message| Warning { code: "self_writing".to_owned(), message }).into_iter().collect();
    if let Some(trouble) = service.reload.trouble().filter(|_| wanted().any(Instance::is_started)) {
        let first = trouble.lines().next().unwrap_or_default();
        let message = format!("the newest code does not run: {first}");
        warnings.push(Warning { code: "not_reloaded".to_owned(), message });
    }
    for instance in service.instances.values().filter(|instance| instance.unkillable) {
        warnings.push(Warning {
            code: "unkillable".to_owned(),
            message: format!(
                "{} survives SIGKILL: something of it sleeps in the kernel or is another user's{}",
                instance.label(),
                named(&instance.left)
            ),
        });
    }
    for instance in service.instances.values().filter(|one| one.daemonised && !one.is_proven(now)) {
        warnings.push(Warning {
            code: "daemonised".to_owned(),
            message: format!(
                "{} ended while other processes of it ran on{}, and they were ended too: run it in the foreground",
                instance.label(),
                named(&instance.left)
            ),
        });
    }
    ServiceStatus {
        name: service.name.clone(),
        kind: match service.plan.kind {
            Kind::Service => ServiceKind::Service,
            Kind::Task => ServiceKind::Task,
        },
        state,
        desired,
        ready: service.is_ready(),
        healthy: (!healths.is_empty()).then(|| healths.iter().all(|healthy| *healthy)),
        cause: telling.and_then(|instance| instance.cause),
        reason: service.check_under_way().or_else(|| telling.and_then(reason)),
        restarts: service.instances.values().map(|instance| instance.restarts).sum(),
        restarts_last_hour: service.instances.values().map(|instance| instance.restarts_last_hour(now)).sum(),
        crash_looping: service.instances.values().any(|instance| instance.crash_looping),
        held: if wanted().all(|instance| instance.held.is_some()) {
            wanted().find_map(|instance| instance.held.clone())
        } else {
            None
        },
        reload: service.reload.status(&service.plan),
        warnings,
        instances,
    }
}

/// A sentence beside its state: everup's, else what the program says of itself while it runs.
fn reason(instance: &Instance) -> Option<String> {
    let says = || instance.said.clone().filter(|_| instance.is_started());
    instance.reason.clone().or_else(says)
}

fn of_instance(service: &Service, instance: &Instance, now: Moment) -> InstanceStatus {
    let live = instance.live();
    let next_attempt_at = if let Phase::Backoff { until, .. } = instance.phase { Some(until) } else { None };
    InstanceStatus {
        name: instance.label(),
        index: instance.id.index,
        state: service.state_of(instance),
        desired: instance.desired,
        ready: instance.is_ready(),
        healthy: live.and_then(|live| live.healthy),
        cause: instance.cause,
        reason: reason(instance),
        pid: main_pid(instance),
        run: (instance.run.0 > 0).then_some(instance.run),
        started_at: live.map(|live| live.since.wall),
        uptime_ms: live.map(|live| millis(now.since(live.since.moment))),
        restarts: instance.restarts,
        next_attempt_in_ms: next_attempt_at
            .filter(|_| instance.state() == State::Backoff)
            .map(|at| millis(at.since(now))),
        cpu_percent: None,
        memory_bytes: None,
        processes: None,
        open_fds: None,
        usage: None,
        probe: live.and_then(|live| live.health.last.clone()),
        last_end: instance.last_end.clone(),
        next_attempt_at,
        running_since: live.map(|live| live.since.moment),
    }
}
