//! Probes, watchdog, start timeout, and what everup's own delays excuse.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::{Event, Notice};
use crate::core::instance::tests::{Bench, killed, probe, probed, service};
use crate::model::event::EventWord;
use crate::model::plan::{HealthPlan, LimitThen};
use crate::model::probe::{ProbeKind, ProbePlan, ProbeRole};
use crate::model::service::{Cause, End, State};

fn probed_service(health: HealthPlan) -> Bench {
    let mut bench = Bench::new(vec![service("web", |s| s.health = health)]);
    bench.spawned("web");
    bench
}

#[test]
fn one_probe_gates_the_start_and_then_is_readiness_and_liveness() {
    let mut bench = probed_service(HealthPlan::One(probe()));
    bench.pass_answering(5_000, false);
    assert_eq!((bench.state("web"), bench.status("web").healthy), (State::Starting, None));
    bench.pass_answering(1_000, true);
    let status = bench.status("web");
    assert_eq!((status.state, status.ready, status.healthy), (State::Running, true, Some(true)));
    bench.pass_answering(20_000, false);
    assert_eq!((bench.state("web"), bench.told("web", EventWord::ProbeFailed).len()), (State::Running, 2));
    bench.pass_answering(10_000, false);
    assert_eq!(bench.told("web", EventWord::Stopping)[0].cause, Some(Cause::Probe));
}

#[test]
fn a_hang_that_comes_every_45_seconds_backs_off_up_to_the_longest_delay() {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.health = HealthPlan::One(probe());
        s.restart.limit.then = LimitThen::Slow;
        s.restart.limit.count = 100;
    })]);
    let mut told = vec![];
    for _ in 0..9 {
        bench.spawned("web");
        bench.pass_answering(45_000, true);
        bench.pass_answering(30_000, false);
        bench.ends("web", End::Code(0));
        told.push(bench.then("web").replace("restarted after ", ""));
        bench.pass(31_000);
    }
    assert_eq!(told, ["250ms", "500ms", "1s", "2s", "4s", "8s", "16s", "30s", "30s"]);
}

#[test]
fn readiness_changes_a_flag_and_never_ends_a_run() {
    let readiness = Some(probe());
    let mut bench = probed_service(HealthPlan::Kinds { startup: None, readiness, liveness: None });
    assert!(!bench.status("web").ready);
    bench.pass_answering(100, true);
    assert!(bench.status("web").ready);
    bench.pass_answering(600_000, false);
    assert_eq!((bench.state("web"), bench.status("web").ready), (State::Running, false));
    assert_eq!(bench.told("web", EventWord::Unready).len(), 1);
    bench.pass_answering(20_000, true);
    assert!(bench.status("web").ready);
}

#[test]
fn nothing_else_is_asked_before_the_start_gate_has_passed() {
    let kinds = HealthPlan::Kinds { startup: Some(probe()), readiness: Some(probe()), liveness: Some(probe()) };
    let mut bench = probed_service(kinds);
    let roles = |actions: &[Action]| -> Vec<ProbeRole> {
        actions.iter().filter_map(|a| if let Action::Ask { role, .. } = a { Some(*role) } else { None }).collect()
    };
    assert_eq!(roles(&bench.pass(20)), [ProbeRole::Startup]);
    assert_eq!(roles(&bench.pass(9_000)), [], "one question at a time");
    bench.step(probed(Bench::id("web"), bench.run("web"), ProbeRole::Startup, 1, true));
    assert!(bench.state("web") == State::Running && !bench.status("web").ready);
    let asked = roles(&bench.pass(10_000));
    assert!(asked.contains(&ProbeRole::Readiness) && asked.contains(&ProbeRole::Liveness), "{asked:?}");
}

#[test]
fn a_start_that_takes_too_long_is_ended_and_counts_as_a_failure() {
    let mut bench = probed_service(HealthPlan::One(probe()));
    bench.pass_answering(60_000, false);
    assert_eq!(bench.told("web", EventWord::Stopping)[0].cause, Some(Cause::StartTimeout));
    bench.ends("web", End::Code(0));
    assert_eq!(bench.then("web"), "restarted after 250ms");
}

#[test]
fn news_of_a_run_that_is_over_changes_nothing() {
    let mut bench = probed_service(HealthPlan::One(ProbePlan { failures: 1, ..probe() }));
    bench.pass_answering(20, true);
    bench.pass(10_000);
    let (id, old) = (Bench::id("web"), bench.run("web"));
    bench.ends("web", killed());
    bench.pass(1_000);
    bench.spawned("web");
    bench.pass_answering(20, true);
    for event in [
        probed(id.clone(), old, ProbeRole::Liveness, 2, false),
        Event::TreeGone { instance: id.clone(), run: old },
        Event::Notified { instance: id, run: old, notice: Notice::WatchdogTrigger },
    ] {
        bench.step(event);
        assert_eq!(bench.state("web"), State::Running);
    }
    assert_eq!(bench.core.stale(), 3);
}

#[test]
fn ready_said_before_anybody_waits_for_it_is_not_lost() {
    let notify = || Some(ProbePlan { how: ProbeKind::Notify, ..probe() });
    for health in [
        HealthPlan::One(ProbePlan { how: ProbeKind::Notify, ..probe() }),
        HealthPlan::Kinds { startup: None, readiness: notify(), liveness: None },
    ] {
        let mut bench = Bench::new(vec![service("web", |s| s.health = health)]);
        bench.says("web", Notice::Ready);
        assert!(!bench.status("web").ready);
        bench.spawned("web");
        assert!(bench.status("web").ready);
    }
}

#[test]
fn a_missed_watchdog_ends_the_run_and_a_ping_puts_it_off() {
    let mut bench = Bench::new(vec![service("web", |s| s.watchdog = Some(Duration::from_secs(3)))]);
    bench.spawned("web");
    bench.pass(2_000);
    bench.says("web", Notice::Watchdog);
    bench.pass(2_900);
    assert_eq!(bench.state("web"), State::Running);
    bench.pass(100);
    assert_eq!(bench.told("web", EventWord::Stopping)[0].cause, Some(Cause::Watchdog));
}

#[test]
fn everups_own_delay_ends_nobody_but_cannot_put_it_off_for_ever() {
    let watched = || service("web", |s| s.watchdog = Some(Duration::from_secs(3)));
    let gated = || service("web", |s| s.health = HealthPlan::One(probe()));
    for (plan, delay) in [(watched(), 60_000), (watched(), 300), (gated(), 3_600_000)] {
        let mut bench = Bench::new(vec![plan]);
        bench.spawned("web");
        // Each time it wakes up too late.
        let mut late = 0;
        while bench.told("web", EventWord::Stopping).is_empty() {
            let deadline = bench.core.next_deadline().unwrap();
            bench.now = deadline.at.0 + delay;
            bench.step(Event::Tick);
            late += 1;
            assert!(late < 5_000, "it is never ended");
            assert!(late > 1 || bench.told("web", EventWord::Stopping).is_empty(), "ended by the first delay");
        }
    }
}

#[test]
fn a_failure_that_a_delay_may_have_caused_is_not_counted() {
    let mut bench = probed_service(HealthPlan::One(ProbePlan { failures: 1, ..probe() }));
    bench.pass_answering(20, true);
    bench.pass(10_000);
    // A question is under way; everup sleeps for a minute; the answer says it timed out.
    bench.now += 60_000;
    bench.step(probed(Bench::id("web"), bench.run("web"), ProbeRole::Liveness, 2, false));
    assert_eq!((bench.state("web"), bench.status("web").healthy), (State::Running, Some(true)));
    bench.pass_answering(10_000, false);
    assert_eq!(bench.state("web"), State::Stopping, "the next one counts");
}

#[test]
fn one_instance_at_a_time_is_restarted_for_its_probe() {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.instances = 3;
        s.health = HealthPlan::One(probe());
    })]);
    for index in 1..=3 {
        bench.spawned(&format!("web/{index}"));
    }
    bench.pass_answering(100, true);
    bench.pass_answering(40_000, false);
    let stopping = |bench: &Bench| (1..=3).filter(|i| bench.state(&format!("web/{i}")) == State::Stopping).count();
    assert_eq!(stopping(&bench), 1);
    let first = (1..=3).map(|i| format!("web/{i}")).find(|id| bench.state(id) == State::Stopping).unwrap();
    bench.ends(&first, End::Code(0));
    assert_eq!(stopping(&bench), 0, "the next one waits for the first to be ready");
    bench.pass(300);
    bench.spawned(&first);
    bench.pass(20);
    bench.answer_probes(true);
    assert_eq!(stopping(&bench), 1, "now it is its turn");
}

#[test]
fn a_lone_instance_that_hangs_again_before_it_is_ready_is_restarted_again() {
    let kinds = HealthPlan::Kinds { startup: None, readiness: Some(probe()), liveness: Some(probe()) };
    let mut bench = probed_service(kinds);
    for round in 1..=3 {
        bench.pass_answering(60_000, false);
        assert_eq!(bench.told("web", EventWord::Stopping).len(), round);
        bench.ends("web", End::Code(0));
        bench.pass(2_000);
        bench.spawned("web");
    }
}

#[test]
fn a_line_is_waited_for_again_when_the_wait_was_cut_short() {
    let readiness = Some(ProbePlan { how: ProbeKind::Log("listening".into()), ..probe() });
    let mut bench = probed_service(HealthPlan::Kinds { startup: None, readiness, liveness: None });
    bench.pass_answering(3_000, false);
    assert!(!bench.status("web").ready);
    bench.pass_answering(2_000, true);
    assert!(bench.status("web").ready);
    assert_eq!(bench.pass(100_000), [], "what was seen is not looked for again");
}
