//! Random projects: a few services with needs, probes, rules, limits, hooks, instances and tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use everup::model::names::ServiceName;
use everup::model::plan::{
    CodeRange, ControlPlan, HealthPlan, HistoryPlan, HooksPlan, Kind, LimitPlan, LimitThen, LimitsPlan, ListenAddress,
    ListenPlan, LogsPlan, LogsTo, MemoryRestart, Need, Plan, Policy, ReloadPlan, RestartPlan, Rule, RuleThen,
    ServicePlan, StopPlan, Until, WebPlan,
};
use everup::model::probe::{ProbeAddress, ProbeKind, ProbePlan};
use everup::model::service::Cause;
use everup::model::signal::Signal;
use everup::model::template::Template;
use everup::model::watch::{CheckWord, DevDefaults, WatchPlan, WatchWhen};

use crate::dice::Dice;
use crate::files::folder;

fn ms(dice: &mut Dice, among: &[u64]) -> Duration {
    Duration::from_millis(*dice.pick(among))
}

pub(crate) fn name(index: usize) -> ServiceName {
    ServiceName::new(["db", "cache", "api", "web", "mail", "cron"][index % 6]).unwrap()
}

pub(crate) fn project(dice: &mut Dice) -> Arc<Plan> {
    let count = usize::try_from(dice.between(1, 4)).unwrap();
    let mut services: Vec<Arc<ServicePlan>> = vec![];
    for index in 0..count {
        services.push(Arc::new(service(dice, index, &services)));
    }
    let exit_with = dice.percent(10).then(|| name(usize::try_from(dice.between(0, count as u64 - 1)).unwrap()));
    Arc::new(Plan {
        project: "sim".into(),
        file: None,
        read_from: vec![],
        root: PathBuf::from("/"),
        state_dir: PathBuf::from("/state"),
        exit_with,
        control: ControlPlan { socket: None, mode: 0o600, users: vec![], groups: vec![] },
        web: WebPlan::default(),
        history: HistoryPlan::default(),
        notify: vec![],
        watch: WatchWhen::Dev,
        on_supervisor_death: everup::model::plan::OnSupervisorDeath::Keep,
        services,
    })
}

/// The plan as someone might edit it.
pub(crate) fn edited(dice: &mut Dice, plan: &Plan) -> Arc<Plan> {
    let mut edited = plan.clone();
    for _ in 0..dice.between(0, 2) {
        let last = edited.services.len().saturating_sub(1);
        match dice.between(0, 9) {
            // A service goes, and with it what others need of it.
            0 if !edited.services.is_empty() => {
                let gone = edited.services.remove(usize::try_from(dice.between(0, last as u64)).unwrap());
                for service in &mut edited.services {
                    Arc::make_mut(service).needs.remove(&gone.name);
                }
            }
            1 => {
                let free = (0..6).find(|index| plan_lacks(&edited, *index));
                if let Some(free) = free {
                    let known = edited.services.clone();
                    edited.services.push(Arc::new(service(dice, free, &known)));
                }
            }
            edit if !edited.services.is_empty() => {
                let at = usize::try_from(dice.between(0, last as u64)).unwrap();
                let service = Arc::make_mut(&mut edited.services[at]);
                match edit {
                    2 => service.nice = Some(i32::try_from(dice.between(0, 19)).unwrap()),
                    3 => {
                        let word = Template::text(dice.between(0, 3).to_string());
                        service.env.insert("COLOUR".into(), word);
                    }
                    4 => service.health = health(dice),
                    5 => service.instances = u32::try_from(dice.between(1, 3)).unwrap(),
                    6 => service.watch = watch(dice, &service.name),
                    7 => service.reload = ReloadPlan::default(),
                    8 => service.stop.timeout = ms(dice, &[100, 1_000, 5_000]),
                    _ => service.needs.clear(),
                }
            }
            _ => {}
        }
    }
    Arc::new(edited)
}

fn plan_lacks(plan: &Plan, index: usize) -> bool {
    plan.service(&name(index)).is_none()
}

fn service(dice: &mut Dice, index: usize, earlier: &[Arc<ServicePlan>]) -> ServicePlan {
    let kind = if dice.percent(20) { Kind::Task } else { Kind::Service };
    let mut needs = BTreeMap::new();
    for other in earlier {
        if dice.percent(35) {
            let until = match other.kind {
                Kind::Task => *dice.pick(&[Until::Completed, Until::Ready]),
                Kind::Service => *dice.pick(&[Until::Ready, Until::Ready, Until::Started]),
            };
            needs.insert(other.name.clone(), Need { until, required: dice.percent(80) });
        }
    }
    ServicePlan {
        name: name(index),
        kind,
        command: vec![Template::text("app")],
        cwd: PathBuf::from("/"),
        env: BTreeMap::new(),
        instances: if dice.percent(75) { 1 } else { u32::try_from(dice.between(2, 3)).unwrap() },
        port: None,
        enabled: dice.percent(95),
        needs,
        user: None,
        group: None,
        umask: None,
        nice: None,
        limits: LimitsPlan::default(),
        restart: restart(dice, kind),
        health: if kind == Kind::Task { HealthPlan::None } else { health(dice) },
        stop: StopPlan {
            signal: Signal::TERM,
            timeout: ms(dice, &[0, 100, 1_000, 1_000, 5_000, 10_000]),
            command: dice.percent(15).then(|| vec![Template::text("halt")]),
        },
        hooks: HooksPlan {
            before_start: dice.percent(12).then(|| vec![Template::text("before")]),
            after_ready: dice.percent(12).then(|| vec![Template::text("ready")]),
            after_end: dice.percent(12).then(|| vec![Template::text("after")]),
        },
        watchdog: dice.percent(12).then(|| ms(dice, &[1_000, 5_000, 30_000])),
        logs: LogsPlan { to: LogsTo::None, max_size: 1 << 20, keep: 1, terminal: false },
        watch: watch(dice, &name(index)),
        reload: if dice.percent(25) { ReloadPlan::Signal(Signal::HUP) } else { ReloadPlan::Restart },
        listen: if dice.percent(25) { vec![socket()] } else { vec![] },
        dev_defaults: DevDefaults::default(),
        names_fds: false,
        waits_for_change: dice.percent(35),
        memory_restart: dice
            .percent(15)
            .then(|| MemoryRestart { above: 512 << 20, hold: ms(dice, &[1_000, 2_000, 5_000]) }),
        metrics: None,
        log_metrics: vec![],
    }
}

fn watch(dice: &mut Dice, service: &ServiceName) -> Option<WatchPlan> {
    let check = match dice.between(0, 9) {
        0..=1 => vec![CheckWord::Text(Template::text("check"))],
        2..=4 => vec![CheckWord::Text(Template::text("check")), CheckWord::Changed(vec![])],
        _ => vec![],
    };
    dice.percent(60).then(|| WatchPlan {
        paths: vec![folder(service)],
        include: vec![],
        ignore: vec![],
        gitignore: true,
        debounce: Duration::from_millis(20),
        check,
        poll: false,
    })
}

fn socket() -> ListenPlan {
    let address = ListenAddress::Unix(PathBuf::from("/run/app.sock"));
    ListenPlan { name: "http".into(), address }
}

fn restart(dice: &mut Dice, kind: Kind) -> RestartPlan {
    let policy = match kind {
        Kind::Task => *dice.pick(&[Policy::Never, Policy::OnFailure]),
        Kind::Service => *dice.pick(&[Policy::Always, Policy::Always, Policy::OnFailure, Policy::UnlessStopped]),
    };
    let policy = if dice.percent(5) { Policy::Never } else { policy };
    let then = match dice.between(0, 19) {
        0 | 1 => LimitThen::Stop,
        2 => LimitThen::Exit,
        _ => LimitThen::Slow,
    };
    let rule = |dice: &mut Dice| Rule {
        codes: vec![CodeRange(2, 3)],
        signals: vec![Signal::HUP],
        causes: if dice.percent(30) { vec![Cause::StartTimeout] } else { vec![] },
        then: *dice.pick(&[RuleThen::Restart, RuleThen::RestartNow, RuleThen::Slow, RuleThen::Stop]),
    };
    RestartPlan {
        policy,
        delay: ms(dice, &[0, 50, 250, 250, 1_000]),
        factor: *dice.pick(&[1.0, 2.0, 3.0]),
        max_delay: ms(dice, &[1_000, 5_000, 30_000]),
        jitter: *dice.pick(&[0.0, 0.2]),
        reset_after: ms(dice, &[500, 2_000, 10_000]),
        limit: LimitPlan {
            count: u32::try_from(dice.between(0, 6)).unwrap(),
            within: ms(dice, &[5_000, 30_000, 120_000]),
            then,
        },
        slow_delay: ms(dice, &[5_000, 20_000]),
        success_codes: vec![CodeRange(0, 0)],
        rules: if dice.percent(30) { vec![rule(dice)] } else { vec![] },
    }
}

fn health(dice: &mut Dice) -> HealthPlan {
    match dice.between(0, 9) {
        0..=3 => HealthPlan::None,
        4..=6 => HealthPlan::One(probe(dice, true)),
        _ => HealthPlan::Kinds {
            startup: dice.percent(50).then(|| probe(dice, true)),
            readiness: dice.percent(60).then(|| probe(dice, true)),
            liveness: dice.percent(60).then(|| probe(dice, false)),
        },
    }
}

fn probe(dice: &mut Dice, may_listen: bool) -> ProbePlan {
    let how = match dice.between(0, 9) {
        0 if may_listen => ProbeKind::Notify,
        1 if may_listen => ProbeKind::Log("listening".into()),
        2 => ProbeKind::Exec(vec![Template::text("check")]),
        _ => ProbeKind::Tcp(ProbeAddress::Tcp(Template::text("127.0.0.1:1"))),
    };
    ProbePlan {
        how,
        interval: ms(dice, &[1_000, 2_000, 10_000]),
        timeout: ms(dice, &[200, 1_000, 5_000]),
        failures: u32::try_from(dice.between(1, 3)).unwrap(),
        successes: if dice.percent(85) { 1 } else { 2 },
        start_timeout: ms(dice, &[1_000, 5_000, 30_000]),
    }
}
