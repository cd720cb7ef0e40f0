//! Services that need each other, restarts one at a time, and the end of everything.

use std::sync::Arc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::{Event, Hook};
use crate::core::instance::tests::{Bench, blows, needs, probe, project, service, target, task};
use crate::core::supervisor::Seeds;
use crate::model::command::Command;
use crate::model::event::EventWord;
use crate::model::plan::{HealthPlan, Kind, LimitThen, Policy, ServicePlan, Until};
use crate::model::service::{Cause, End, State};

#[test]
fn a_need_holds_a_start_up_until_it_is_met() {
    for (until, at_spawn, at_ready) in [(Until::Started, 1, 0), (Until::Ready, 0, 1)] {
        let mut bench = Bench::new(vec![
            service("db", |s| s.health = HealthPlan::One(probe())),
            service("web", |s| needs(s, "db", until)),
        ]);
        assert_eq!((bench.spawns(), bench.state("web")), (vec!["db/1".to_owned()], State::Waiting));
        bench.spawned("db");
        assert_eq!(bench.spawns().len(), at_spawn, "{until:?}");
        bench.pass(20);
        bench.answer_probes(true);
        assert_eq!(bench.spawns().len(), at_ready, "{until:?}");
    }
}

#[test]
fn a_need_that_failed_is_named_and_its_return_starts_what_waited() {
    let mut bench = Bench::new(vec![
        service("db", |s| s.restart.policy = Policy::Never),
        service("web", |s| needs(s, "db", Until::Ready)),
    ]);
    bench.ends("db", End::NotSpawned { stage: crate::model::service::SpawnStage::Exec, errno: 2 });
    let status = bench.status("web");
    assert_eq!((status.state, status.cause), (State::Failed, Some(Cause::Dependency)));
    assert!(status.reason.unwrap().starts_with("needs db has ended (cannot start it"));
    bench.start("db");
    assert_eq!(bench.state("web"), State::Waiting);
    bench.spawned("db");
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn a_soft_need_is_waited_for_but_may_fail() {
    let soft = |s: &mut ServicePlan| {
        needs(s, "cache", Until::Ready);
        s.needs.values_mut().for_each(|need| need.required = false);
    };
    for then in [LimitThen::Stop, LimitThen::Slow] {
        let cache = service("cache", |s| {
            s.restart.limit.count = 1;
            s.restart.limit.then = then;
        });
        let mut bench = Bench::new(vec![cache, service("web", soft)]);
        bench.spawned("web");
        assert_eq!(bench.state("web"), State::Waiting);
        for _ in 0..2 {
            assert_eq!(bench.state("web"), State::Waiting, "{then:?}");
            bench.ends("cache", End::Code(1));
            bench.pass(500);
        }
        assert_eq!(bench.state("web"), State::Starting, "{then:?}");
    }
}

#[test]
fn what_loops_slowly_is_tried_at_once_when_a_need_becomes_ready() {
    let mut bench = Bench::new(vec![
        service("db", |_| {}),
        service("web", |s| {
            needs(s, "db", Until::Started);
            s.restart.limit.count = 0;
        }),
    ]);
    bench.spawned("db");
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!(bench.state("web"), State::Backoff);
    bench.ends("db", End::Code(1));
    bench.pass(250);
    bench.spawned("db");
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn stop_takes_what_is_needed_alone_and_names_those_that_live_on() {
    let mut bench = Bench::new(vec![service("db", |_| {}), service("web", |s| needs(s, "db", Until::Ready))]);
    bench.spawned("db").spawned("web");
    let id = bench.stop("db");
    assert_eq!(bench.blows(), ["db TERM"]);
    bench.ends("db", End::Code(0));
    assert_eq!(bench.answers[&id].as_ref().unwrap().notes, ["web needs db and lives on"]);
    assert_eq!(bench.state("web"), State::Running);
}

#[test]
fn those_that_go_together_go_dependents_first() {
    let chain = || {
        vec![
            service("db", |_| {}),
            service("api", |s| needs(s, "db", Until::Ready)),
            service("web", |s| needs(s, "api", Until::Ready)),
        ]
    };
    let all = || vec![target("db"), target("api"), target("web")];
    let nothing = Command::Apply { plan: Arc::new(project(vec![])), start: vec![], dry_run: false };
    for (way, command) in [("stop", Command::Stop(all())), ("down", Command::Down { force: false }), ("apply", nothing)]
    {
        let mut bench = Bench::new(chain());
        bench.spawned("db").spawned("api").spawned("web");
        bench.ask(command, None);
        let mut order = bench.blows();
        for text in ["web", "api", "db"] {
            bench.ends(text, End::Code(0));
            order.extend(bench.blows());
        }
        assert_eq!(order, ["web TERM", "api TERM", "db TERM"], "{way}");
    }
}

#[test]
fn a_shutdown_goes_in_order_past_what_only_waits() {
    let mut bench = Bench::new(vec![
        service("db", |_| {}),
        service("api", |s| needs(s, "db", Until::Ready)),
        service("web", |s| needs(s, "api", Until::Ready)),
        service("idle", |s| needs(s, "web", Until::Completed)),
    ]);
    bench.spawned("db").spawned("api").spawned("web");
    bench.ends("api", End::Code(1));
    assert_eq!((bench.state("api"), bench.state("idle")), (State::Backoff, State::Waiting));
    bench.ask(Command::Down { force: false }, Some(60_000));
    // api has no process, so nothing stands between web and db but web's own need of api.
    assert_eq!((bench.state("api"), bench.state("idle")), (State::Stopped, State::Stopped));
    assert!(bench.blows().contains(&"web TERM".to_owned()));
    assert!(bench.pass(9_000).iter().all(|action| !matches!(action, Action::Spawn { .. })), "nothing is started");
    bench.ends("web", End::Code(0));
    bench.ends("db", End::Code(0));
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 0 }));
}

#[test]
fn force_and_the_budget_kill_everything_at_once() {
    for forced in [true, false] {
        let plan = project(vec![
            service("db", |s| s.hooks.after_end = Some(vec![])),
            service("web", |s| needs(s, "db", Until::Ready)),
        ]);
        let budget = Some(Duration::from_secs(3));
        let mut bench = Bench::with(plan, Seeds { shutdown_budget: budget, ..Seeds::default() });
        bench.spawned("db").spawned("web");
        bench.ask(Command::Down { force: false }, None);
        assert_eq!(bench.blows(), ["web TERM"]);
        let killed = if forced {
            bench.ask(Command::Down { force: true }, None);
            bench.blows()
        } else {
            blows(&bench.pass(3_000))
        };
        assert_eq!(killed, ["db KILL tree", "web KILL tree"], "forced: {forced}");
        bench.ends("web", End::Code(0));
        bench.ends("db", End::Code(0));
        assert_eq!(bench.last.last(), Some(&Action::Exit { code: 0 }), "hooks are not waited for");
    }
}

#[test]
fn what_even_kill_does_not_end_cannot_keep_everup_from_ending() {
    let mut bench = Bench::new(vec![service("db", |_| {}), service("web", |s| needs(s, "db", Until::Ready))]);
    bench.spawned("db").spawned("web");
    let down = bench.ask(Command::Down { force: false }, Some(60_000));
    let blows = blows(&bench.pass(20_000));
    assert_eq!(blows, ["web TERM", "web KILL tree", "web KILL tree", "db TERM"][1..]);
    bench.ends("db", End::Code(0));
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 0 }));
    assert!(bench.answers[&down].as_ref().unwrap_err().message.contains("even SIGKILL does not end it"));
}

fn three() -> Bench {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.instances = 3;
        s.health = HealthPlan::One(probe());
    })]);
    for index in 1..=3 {
        bench.spawned(&format!("web/{index}"));
    }
    bench.pass_answering(100, true);
    bench
}

fn turn(bench: &mut Bench, text: &str) {
    bench.ends(text, End::Code(0));
    bench.spawned(text);
    bench.pass(20);
    bench.answer_probes(true);
}

#[test]
fn a_restart_of_several_goes_one_at_a_time() {
    let mut bench = three();
    let id = bench.restart("web");
    for text in ["web/1", "web/2", "web/3"] {
        assert_eq!(blows(&bench.last), [format!("{text} TERM").replace("web/1", "web")], "{text}");
        turn(&mut bench, text);
    }
    let outcome = bench.answers[&id].as_ref().unwrap();
    assert!(outcome.services.iter().all(|told| told.gap_ms.is_none()), "somebody listened all the time");
    let id = bench.ask(Command::Restart { targets: vec![target("web")], now: true }, None);
    assert_eq!((bench.blows().len(), bench.answers.contains_key(&id)), (3, true));
}

#[test]
fn a_restart_of_several_stops_after_a_failing_first() {
    let mut bench = three();
    let id = bench.restart("web");
    bench.ends("web/1", End::Code(0));
    bench.spawned("web/1").ends("web/1", End::Code(1));
    let denied = bench.answers[&id].as_ref().unwrap_err();
    assert_eq!(denied.message, "web/2 was not restarted: an instance before it did not become ready");
    assert_eq!((bench.state("web/2"), bench.state("web/3")), (State::Running, State::Running));
}

#[test]
fn a_second_restart_does_not_take_a_second_instance_down() {
    let mut bench = three();
    bench.restart("web");
    turn(&mut bench, "web/1");
    bench.restart("web");
    let down = (1..=3).filter(|index| bench.state(&format!("web/{index}")) != State::Running).count();
    assert_eq!(down, 1);
}

#[test]
fn what_is_begun_anew_while_it_prepares_keeps_its_turn() {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.instances = 2;
        s.hooks.before_start = Some(vec![]);
        s.restart.delay = Duration::ZERO;
        s.health = HealthPlan::Kinds { startup: None, readiness: None, liveness: Some(probe()) };
    })]);
    for text in ["web/1", "web/2"] {
        let (instance, run) = (Bench::id(text), bench.run(text));
        bench.step(Event::HookEnded { instance, run, hook: Hook::BeforeStart, result: Ok(()) });
        bench.spawned(text);
    }
    bench.pass_answering(40_000, false);
    let (sick, other) = if bench.state("web/1") == State::Stopping { ("web/1", "web/2") } else { ("web/2", "web/1") };
    bench.ends(sick, End::Code(0));
    assert_eq!((bench.state(sick), bench.state(other)), (State::Starting, State::Running), "it prepares");
    bench.restart(sick);
    assert_eq!((bench.run(sick).0, bench.state(other)), (3, State::Running), "one probe restart at a time");
}

#[test]
fn scaling_during_a_restart_of_several_loses_nobody() {
    let mut bench = three();
    bench.restart("web");
    let id = bench.ask(Command::Scale { service: target("web").service, instances: 1 }, Some(60_000));
    turn(&mut bench, "web/1");
    bench.ends("web/2", End::Code(0));
    bench.ends("web/3", End::Code(0));
    assert!(bench.answers[&id].as_ref().unwrap().done);
    assert_eq!(bench.core.statuses(crate::model::units::Moment(bench.now))[0].instances.len(), 1);
    bench.ask(Command::Scale { service: target("web").service, instances: 2 }, None);
    assert_eq!((bench.spawns(), bench.run("web/2").0), (vec!["web/2".to_owned()], 2), "run numbers are never reused");
}

#[test]
fn scaling_up_again_while_one_is_leaving_brings_it_back() {
    let mut bench = three();
    for instances in [2, 3] {
        bench.ask(Command::Scale { service: target("web").service, instances }, None);
    }
    bench.ends("web/3", End::Code(0));
    assert_eq!(bench.spawns(), ["web/3"]);
}

#[test]
fn a_completed_task_is_not_run_again_by_its_dependents() {
    let mut bench = Bench::new(vec![
        task("migrate", |s| s.kind = Kind::Task),
        service("web", |s| needs(s, "migrate", Until::Completed)),
    ]);
    bench.spawned("migrate");
    assert_eq!(bench.spawns(), [""; 0]);
    bench.ends("migrate", End::Code(0));
    assert_eq!(bench.spawns(), ["web/1"]);
    for _ in 0..3 {
        bench.spawned("web").ends("web", End::Code(1));
        bench.pass(5_000);
    }
    bench.restart("web");
    assert_eq!(bench.told("migrate", EventWord::Starting).len(), 1);
    bench.start("migrate");
    assert_eq!(bench.told("migrate", EventWord::Starting).len(), 2, "asked for by name it is");
}

#[test]
fn the_next_start_waits_for_after_end() {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.hooks.after_end = Some(vec![]);
        s.restart.delay = Duration::ZERO;
    })]);
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!((bench.state("web"), bench.spawns().len()), (State::Stopping, 0));
    let (instance, run) = (Bench::id("web"), bench.run("web"));
    bench.step(Event::HookEnded { instance, run, hook: Hook::AfterEnd, result: Err("exit code 1".into()) });
    assert_eq!(bench.spawns(), ["web/1"]);
}
