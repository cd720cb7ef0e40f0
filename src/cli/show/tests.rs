//! Exact texts from canned answers.

use std::path::Path;

use crate::cli::output::{Paint, Surface};
use crate::cli::show::{service, state, status};
use crate::model::names::{Pid, Run, ServiceName};
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::signal::Signal;
use crate::model::status::{
    Held, InstanceStatus, LastEnd, OwnUsage, ProbeStatus, ServiceKind, ServiceStatus, Status, Warning,
};
use crate::model::units::Timestamp;

const NOW: Timestamp = Timestamp(1_763_632_800_000);

fn instance(name: &str, index: u32, state: State) -> InstanceStatus {
    let runs = matches!(state, State::Running);
    InstanceStatus {
        name: name.to_owned(),
        index,
        state,
        desired: Desired::Up,
        ready: runs,
        healthy: None,
        cause: None,
        reason: None,
        pid: runs.then_some(Pid(48_213)),
        run: Some(Run(4)),
        started_at: runs.then_some(Timestamp(NOW.0 - 7_860_000)),
        uptime_ms: runs.then_some(7_860_000),
        restarts: 3,
        next_attempt_in_ms: None,
        cpu_percent: runs.then_some(12.0),
        memory_bytes: runs.then_some(222_298_112),
        processes: runs.then_some(2),
        open_fds: runs.then_some(61),
        usage: None,
        probe: None,
        last_end: None,
        next_attempt_at: None,
        running_since: None,
    }
}

fn service_of(name: &str, instances: Vec<InstanceStatus>) -> ServiceStatus {
    ServiceStatus {
        name: ServiceName::new(name).unwrap(),
        kind: ServiceKind::Service,
        state: instances.first().map_or(State::Stopped, |instance| instance.state),
        desired: instances.first().map_or(Desired::Down, |instance| instance.desired),
        ready: instances.iter().all(|instance| instance.ready),
        healthy: instances.first().and_then(|instance| instance.healthy),
        cause: None,
        reason: None,
        restarts: 3,
        restarts_last_hour: 1,
        crash_looping: false,
        held: None,
        reload: None,
        warnings: vec![],
        instances,
    }
}

fn project(services: Vec<ServiceStatus>) -> Status {
    Status {
        v: 1,
        project: "shop".to_owned(),
        version: "0.1.0".to_owned(),
        pid: Pid(4_711),
        engine_pid: Pid(4_712),
        started_at: NOW,
        config: Some("/srv/shop/supervisor.yaml".to_owned()),
        web: None,
        own: OwnUsage::default(),
        stopping: false,
        warnings: vec![],
        services,
    }
}

fn crashed() -> InstanceStatus {
    InstanceStatus {
        next_attempt_in_ms: Some(3_000),
        last_end: Some(LastEnd {
            run: Run(4),
            cause: Cause::Exit,
            certainty: Certainty::Certain,
            code: Some(1),
            signal: None,
            at: Timestamp(NOW.0 - 12_000),
            ran_ms: 2_300,
        }),
        ..instance("api", 1, State::Backoff)
    }
}

fn shop() -> Status {
    let waiting = InstanceStatus {
        reason: Some("waits for api to be ready".to_owned()),
        run: None,
        restarts: 0,
        ..instance("jobs", 1, State::Waiting)
    };
    let unready = InstanceStatus {
        ready: false,
        probe: Some(ProbeStatus {
            ok: false,
            latency_ms: 2.0,
            streak: 1,
            message: "503 Service Unavailable".to_owned(),
        }),
        ..instance("web/2", 2, State::Running)
    };
    let stopped = InstanceStatus { desired: Desired::Down, ..instance("mail", 1, State::Stopped) };
    let mut held = service_of("mail", vec![stopped]);
    held.held = Some(Held { by: "uid 1000, pts/3".to_owned(), at: Timestamp(NOW.0 - 200_000) });
    project(vec![
        service_of("web", vec![instance("web/1", 1, State::Running), unready]),
        service_of("api", vec![crashed()]),
        service_of("jobs", vec![waiting]),
        held,
    ])
}

fn pipe() -> Surface {
    Surface { terminal: false, paint: Paint(false), width: None }
}

#[test]
fn the_table_says_who_runs_and_why_others_do_not() {
    let expected = "\
NAME   STATE               UPTIME  RESTARTS  CPU   MEMORY    PID  WHY
web/1  running              2h11m         3  12%  212 MiB  48213
web/2  running, not ready   2h11m         3  12%  212 MiB  48213  probe: 503 Service Unavailable
api    backoff 3s               -         3    -        -      -  exit 1 · 12s ago
jobs   waiting                  -         0    -        -      -  waits for api to be ready
mail   stopped                  -         3    -        -      -  stopped by uid 1000, pts/3 · 3m ago
";
    assert_eq!(status::services(shop().services.iter(), NOW, &pipe()), expected);
    let eighty = "\
NAME   STATE               UPTIME  RESTARTS   MEMORY  WHY
web/1  running              2h11m         3  212 MiB
web/2  running, not ready   2h11m         3  212 MiB  probe: 503 Service Unavai…
api    backoff 3s               -         3        -  exit 1 · 12s ago
jobs   waiting                  -         0        -  waits for api to be ready
mail   stopped                  -         3        -  stopped by uid 1000, pts/…
";
    assert_eq!(status::services(shop().services.iter(), NOW, &Surface { width: Some(80), ..pipe() }), eighty);
}

#[test]
fn projects_stand_in_one_row_each() {
    let quiet = project(vec![service_of("web", vec![instance("web", 1, State::Running)])]);
    let expected = "\
PROJECT  STATE                                  PID  FILE
shop     1 up                                  4711  /srv/shop/supervisor.yaml
shop     1 of 3 up: api backoff, jobs waiting  4711  /srv/shop/supervisor.yaml
";
    assert_eq!(status::projects(&[quiet, shop()], &pipe()), expected);
}

#[test]
fn one_service_in_full_reads_from_state_to_log_files() {
    let mut one = service_of("api", vec![crashed()]);
    one.warnings =
        vec![Warning { code: "no_cgroup".to_owned(), message: "its tree is followed without a cgroup".to_owned() }];
    let expected = "\
api  backoff 3s
  restarts   3, 1 of them in the last hour
  warning    its tree is followed without a cgroup (no_cgroup)

api  backoff 3s
  process    none; the latest was run 4
  last end   run 4: exit 1 (certain) after 2.3s, 12s ago
  stdout     /srv/shop/.everup/logs/api.out.log
  stderr     /srv/shop/.everup/logs/api.err.log
";
    assert_eq!(service::full(&one, None, Path::new("/srv/shop/.everup/logs"), NOW, Paint(false)), expected);
}

#[test]
fn trouble_is_what_should_run_and_does_not_or_runs_unhealthy() {
    let up = |state| instance("web", 1, state);
    let down = |state| InstanceStatus { desired: Desired::Down, ..instance("web", 1, state) };
    let ended = |cause, code| InstanceStatus {
        last_end: Some(LastEnd { cause, code, ..crashed().last_end.unwrap() }),
        ..up(State::Exited)
    };
    for (instance, trouble) in [
        (up(State::Running), false),
        (InstanceStatus { healthy: Some(true), ..up(State::Running) }, false),
        (InstanceStatus { healthy: Some(false), ..up(State::Running) }, true),
        (InstanceStatus { ready: false, ..up(State::Running) }, false),
        (up(State::Reloading), false),
        (up(State::Starting), true),
        (up(State::Waiting), true),
        (up(State::Backoff), true),
        (up(State::Stopping), true),
        (up(State::Failed), true),
        (down(State::Failed), true),
        (down(State::Stopped), false),
        (down(State::Stopping), false),
        (ended(Cause::Exit, Some(0)), false),
        (ended(Cause::Exit, Some(1)), true),
    ] {
        let text = format!("{:?} {:?} {:?}", instance.state, instance.desired, instance.healthy);
        assert_eq!(state::project_in_trouble(&project(vec![service_of("web", vec![instance])])), trouble, "{text}");
    }
}

#[test]
fn an_end_says_no_more_than_is_known() {
    let end = crashed().last_end.unwrap();
    for (cause, certainty, code, signal, text) in [
        (Cause::Exit, Certainty::Certain, Some(137), None, "exit 137"),
        (Cause::Signal, Certainty::Certain, None, Some(Signal::KILL), "signal KILL"),
        (Cause::Oom, Certainty::Certain, None, Some(Signal::KILL), "out of memory"),
        (Cause::Oom, Certainty::Likely, None, Some(Signal::KILL), "probably out of memory"),
        (Cause::Oom, Certainty::Guess, None, Some(Signal::KILL), "perhaps out of memory"),
        (Cause::Probe, Certainty::Certain, None, Some(Signal::TERM), "probe failed"),
    ] {
        assert_eq!(state::end_words(&LastEnd { cause, certainty, code, signal, ..end.clone() }), text);
    }
}
