//! Another plan: what changes, what keeps its process.

use std::sync::Arc;
use std::time::Duration;

use crate::core::instance::tests::{Bench, needs, probe, project, service, task, watched};
use crate::model::command::{Command, DeniedCode, PlanChangeKind};
use crate::model::plan::{
    AccessFormat, HealthPlan, LimitThen, ListenAddress, ListenPlan, MemoryRestart, MetricsPlan, Policy, ReloadPlan,
    ServicePlan, Until,
};
use crate::model::service::{Cause, Desired, End, State};
use crate::model::signal::Signal;

fn kinds(bench: &Bench, id: u64) -> Vec<(String, PlanChangeKind, String)> {
    let outcome = bench.answers[&id].as_ref().unwrap();
    outcome.changes.iter().map(|c| (c.service.to_string(), c.what, c.keys.join(" "))).collect()
}

fn socket() -> ListenPlan {
    ListenPlan { name: "http".into(), address: ListenAddress::Unix("/run/web.sock".into()) }
}

const ABOVE: MemoryRestart = MemoryRestart { above: 512 << 20, hold: Duration::from_secs(30) };

type Case = (fn(&mut ServicePlan), PlanChangeKind, &'static str);

#[test]
fn each_difference_is_named_and_only_some_replace_the_process() {
    use PlanChangeKind::{Restarted, Scaled, Unchanged, Updated};
    let cases: [Case; 16] = [
        (|_| {}, Unchanged, ""),
        (|s| s.nice = Some(3), Restarted, "nice"),
        (|s| drop(s.env.insert("A".into(), crate::model::template::Template::text("1"))), Restarted, "env.A"),
        (|s| s.health = HealthPlan::One(probe()), Updated, "health"),
        (|s| s.restart.policy = Policy::Never, Updated, "restart"),
        (|s| s.instances = 2, Scaled, "instances"),
        (|s| s.enabled = false, Updated, "enabled"),
        (|s| s.watch = watched("web", |_| {}).watch, Updated, "watch"),
        (|s| s.reload = ReloadPlan::Signal(Signal::HUP), Updated, "reload"),
        (|s| s.limits.memory = Some(512 << 20), Restarted, "limits"),
        (|s| s.memory_restart = Some(ABOVE), Updated, "memory_restart"),
        (|s| s.metrics = Some(MetricsPlan { port: 9100, path: "/metrics".into() }), Updated, "metrics"),
        (|s| s.log_metrics = vec![AccessFormat::Tornado], Updated, "log_metrics"),
        (|s| s.listen = vec![socket()], Restarted, "listen"),
        (|s| s.names_fds = true, Restarted, "listen"),
        (|s| s.waits_for_change = true, Updated, "waits_for_change"),
    ];
    for (change, what, keys) in cases {
        let mut bench = Bench::new(vec![service("web", |_| {})]);
        bench.spawned("web");
        let plan = Arc::new(project(vec![service("web", change)]));
        let dry = bench.ask(Command::Apply { plan: plan.clone(), start: vec![], dry_run: true }, None);
        assert_eq!((bench.last.len(), bench.state("web")), (1, State::Running), "a dry run changes nothing");
        let real = bench.ask(Command::Apply { plan, start: vec![], dry_run: false }, None);
        for id in [dry, real] {
            assert_eq!(kinds(&bench, id), [("web".to_owned(), what, keys.to_owned())]);
        }
        let expected = if what == Restarted { State::Stopping } else { State::Running };
        assert_eq!((bench.state("web"), bench.status("web").run.unwrap().0), (expected, 1), "{keys}");
    }
}

#[test]
fn a_process_still_being_made_is_replaced_too() {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    bench.apply(vec![service("web", |s| s.nice = Some(3))], &[]);
    bench.spawned("web");
    assert_eq!(bench.blows(), ["web TERM"]);
    bench.ends("web", End::Code(0));
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn what_was_given_up_or_waits_gets_a_try_with_the_new_plan() {
    for then in [LimitThen::Stop, LimitThen::Slow] {
        let limited = |nice| {
            service("web", |s| {
                s.restart.limit.count = 0;
                s.restart.limit.then = then;
                s.nice = nice;
            })
        };
        let mut bench = Bench::new(vec![limited(None)]);
        bench.spawned("web").ends("web", End::Code(1));
        bench.apply(vec![limited(None)], &[]);
        assert_eq!(bench.spawns(), [""; 0], "nothing is new");
        bench.apply(vec![limited(Some(1))], &[]);
        assert_eq!(bench.spawns(), ["web/1"], "{then:?}");
    }
}

#[test]
fn what_a_broken_off_restart_left_behind_is_replaced_by_the_next_apply() {
    let plan = |nice| service("web", |s| (s.instances, s.nice) = (2, nice));
    let mut bench = Bench::new(vec![plan(None)]);
    bench.spawned("web").spawned("web/2");
    bench.apply(vec![plan(Some(1))], &[]);
    bench.ends("web", End::Code(0));
    bench.ends("web", End::NotSpawned { stage: crate::model::service::SpawnStage::Exec, errno: 2 });
    assert_eq!(bench.state("web/2"), State::Running);
    let again = Arc::new(project(vec![plan(Some(1))]));
    let id = bench.ask(Command::Apply { plan: again, start: vec![], dry_run: false }, None);
    assert_eq!(bench.blows(), ["web/2 TERM"]);
    assert_eq!(kinds(&bench, id)[0].1, PlanChangeKind::Restarted);
}

#[test]
fn a_service_that_goes_and_comes_back_while_it_stops_starts_again() {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    bench.spawned("web");
    bench.apply(vec![], &[]);
    assert_eq!((bench.blows(), bench.state("web")), (vec!["web TERM".to_owned()], State::Stopping));
    bench.apply(vec![service("web", |_| {})], &[]);
    bench.ends("web", End::Code(0));
    assert_eq!((bench.spawns(), bench.run("web").0), (vec!["web/1".to_owned()], 2));
}

#[test]
fn a_service_that_goes_is_forgotten_and_its_run_numbers_are_not() {
    let mut bench = Bench::new(vec![service("web", |_| {}), service("db", |_| {})]);
    bench.spawned("web").spawned("db");
    let id = bench.apply(vec![service("db", |_| {})], &[]);
    bench.ends("web", End::Code(0));
    assert!(bench.answers[&id].as_ref().unwrap().done);
    assert_eq!(bench.core.statuses(crate::model::units::Moment(bench.now)).len(), 1);
    bench.apply(vec![service("db", |_| {}), service("web", |_| {})], &[]);
    assert_eq!(bench.run("web").0, 2);
}

#[test]
fn a_need_that_goes_with_its_dependent_goes_after_it() {
    let mut bench = Bench::new(vec![service("db", |_| {}), service("web", |s| needs(s, "db", Until::Ready))]);
    bench.spawned("db").spawned("web");
    bench.apply(vec![service("web", |_| {})], &[]);
    assert_eq!(bench.blows(), ["db TERM"], "web needs it no more");
    assert_eq!(bench.state("web"), State::Running);
}

#[test]
fn up_starts_what_is_enabled_and_what_that_needs() {
    let plans = || {
        vec![
            service("db", |s| s.enabled = false),
            service("web", |s| needs(s, "db", Until::Ready)),
            service("extra", |s| s.enabled = false),
        ]
    };
    let mut bench = Bench::new(vec![]);
    bench.apply(plans(), &[]);
    assert_eq!((bench.state("db"), bench.state("web")), (State::Starting, State::Waiting));
    assert_eq!((bench.state("extra"), bench.status("extra").desired), (State::Stopped, Desired::Down));
    bench.apply(plans(), &["extra"]);
    assert_eq!(bench.state("extra"), State::Starting);
    let id = bench.apply(vec![], &["nobody"]);
    assert_eq!(bench.answers[&id].as_ref().unwrap_err().code, DeniedCode::NoSuchService);
    assert_eq!(bench.state("db"), State::Starting, "and nothing has changed");
}

#[test]
fn a_changed_task_runs_again_and_an_unchanged_one_does_not() {
    let migrate = |nice| task("migrate", |s| s.nice = nice);
    let mut bench = Bench::new(vec![migrate(None)]);
    bench.spawned("migrate").ends("migrate", End::Code(0));
    bench.apply(vec![migrate(None)], &[]);
    assert_eq!(bench.spawns(), [""; 0]);
    bench.apply(vec![migrate(Some(1))], &[]);
    assert_eq!((bench.spawns(), bench.status("migrate").cause), (vec!["migrate/1".to_owned()], Some(Cause::Config)));
}

#[test]
fn an_answer_to_a_probe_of_the_old_plan_is_not_taken_for_one_of_the_new() {
    use crate::core::instance::tests::probed;
    use crate::model::plan::HealthPlan::One;
    use crate::model::probe::{ProbePlan, ProbeRole};
    let strict = |timeout| {
        let timeout = std::time::Duration::from_secs(timeout);
        service("web", |s| s.health = One(ProbePlan { failures: 1, timeout, ..probe() }))
    };
    let mut bench = Bench::new(vec![strict(5)]);
    bench.spawned("web");
    bench.pass_answering(20, true);
    bench.pass(10_000);
    bench.apply(vec![strict(4)], &[]);
    bench.pass(10_000);
    bench.step(probed(Bench::id("web"), bench.run("web"), ProbeRole::Liveness, 2, false));
    assert_eq!((bench.state("web"), bench.status("web").healthy), (State::Running, Some(true)));
}
