//! A project that exists only as its status.

use crate::model::names::{Pid, Run, ServiceName};
use crate::model::service::{Desired, State};
use crate::model::status::{InstanceStatus, OwnUsage, ProbeStatus, ServiceKind, ServiceStatus, Status};
use crate::model::units::{Moment, Timestamp};

/// A status in which all these services (name, instances) run and are ready.
pub(crate) fn status(services: &[(&str, u32)]) -> Status {
    Status {
        v: 1,
        project: "shop".to_owned(),
        version: "0.1.0".to_owned(),
        pid: Pid(4711),
        engine_pid: Pid(4712),
        started_at: Timestamp(1_763_632_800_000),
        config: Some("/srv/shop/supervisor.yaml".to_owned()),
        web: Some("127.0.0.1:9876".to_owned()),
        own: OwnUsage { cpu_percent: Some(0.1), memory_bytes: Some(9_000_000) },
        stopping: false,
        warnings: vec![],
        services: services.iter().map(|(name, instances)| service(name, *instances)).collect(),
    }
}

fn service(name: &str, instances: u32) -> ServiceStatus {
    ServiceStatus {
        name: ServiceName::new(name).unwrap(),
        kind: ServiceKind::Service,
        state: State::Running,
        desired: Desired::Up,
        ready: true,
        healthy: Some(true),
        cause: None,
        reason: None,
        restarts: 0,
        restarts_last_hour: 0,
        crash_looping: false,
        held: None,
        reload: None,
        warnings: vec![],
        instances: (1..=instances).map(|index| instance(name, index, instances)).collect(),
    }
}

fn instance(name: &str, index: u32, instances: u32) -> InstanceStatus {
    InstanceStatus {
        name: if instances == 1 { name.to_owned() } else { format!("{name}/{index}") },
        index,
        state: State::Running,
        desired: Desired::Up,
        ready: true,
        healthy: Some(true),
        cause: None,
        reason: None,
        pid: Some(Pid(48_213)),
        run: Some(Run(4)),
        started_at: Some(Timestamp(1_763_632_800_000)),
        uptime_ms: None,
        restarts: 3,
        next_attempt_in_ms: None,
        cpu_percent: Some(12.0),
        memory_bytes: Some(222_298_112),
        processes: Some(2),
        open_fds: Some(61),
        usage: None,
        probe: Some(ProbeStatus { ok: true, latency_ms: 4.1, streak: 312, message: "200 OK".to_owned() }),
        last_end: None,
        next_attempt_at: None,
        running_since: Some(Moment(1_000)),
    }
}
