//! What people ask for: the last wish wins, nothing is lost, every request is answered once.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::{Event, Hook, RequestId};
use crate::core::instance::tests::{Bench, killed, needs, probe, project, service, target, task};
use crate::core::supervisor::Seeds;
use crate::model::command::{Command, DeniedCode};
use crate::model::event::EventWord;
use crate::model::plan::{HealthPlan, LimitThen, Policy, Until};
use crate::model::service::{Cause, Desired, End, State};

fn one() -> Bench {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    bench.spawned("web");
    bench
}

#[test]
fn a_start_while_it_stops_is_kept_and_the_last_wish_wins() {
    for (wishes, spawns) in
        [("start", 1), ("start stop", 0), ("start stop start", 1), ("restart", 1), ("start stop restart", 1)]
    {
        let mut bench = one();
        bench.stop("web");
        for wish in wishes.split(' ') {
            match wish {
                "start" => bench.start("web"),
                "stop" => bench.stop("web"),
                _ => bench.restart("web"),
            };
        }
        assert_eq!(bench.spawns().len(), 0, "never beside the old one");
        bench.ends("web", End::Code(0));
        assert_eq!(bench.spawns().len(), spawns, "{wishes}");
        assert_eq!(bench.status("web").desired, if spawns == 1 { Desired::Up } else { Desired::Down });
    }
}

#[test]
fn a_stop_reaches_a_process_that_is_still_being_made() {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    let stop = bench.stop("web");
    assert_eq!(bench.blows(), [""; 0]);
    bench.spawned("web");
    assert_eq!(bench.blows(), ["web TERM"]);
    bench.ends("web", killed());
    assert!(bench.answers[&stop].is_ok());
    assert_eq!(bench.state("web"), State::Stopped);
}

#[test]
fn a_stop_while_before_start_runs_starts_nothing() {
    let mut bench = Bench::new(vec![service("web", |s| s.hooks.before_start = Some(vec![]))]);
    assert_eq!(bench.spawns(), [""; 0]);
    bench.stop("web");
    assert_eq!(bench.state("web"), State::Stopped);
    let (instance, run) = (Bench::id("web"), bench.run("web"));
    bench.step(Event::HookEnded { instance, run, hook: Hook::BeforeStart, result: Ok(()) });
    assert_eq!((bench.spawns().len(), bench.core.stale()), (0, 1));
}

#[test]
fn a_stop_goes_from_the_signal_to_the_whole_tree_to_kill() {
    let mut bench = one();
    bench.stop("web");
    assert_eq!(bench.blows(), ["web TERM"]);
    bench.pass(4_000);
    bench.ends_leaving("web", End::Code(0), false);
    assert_eq!(bench.blows(), ["web TERM"], "the others of the tree get it too");
    bench.pass(5_999);
    assert_eq!(bench.state("web"), State::Stopping);
    let blows = crate::core::instance::tests::blows(&bench.pass(1));
    assert_eq!(blows, ["web KILL tree"], "and the rest of the timeout, no more");
    bench.tree_gone("web");
    assert_eq!(bench.state("web"), State::Stopped);
}

#[test]
fn a_stop_command_asks_and_the_tree_is_signalled_after_it() {
    let mut bench = Bench::new(vec![service("web", |s| s.stop.command = Some(vec![]))]);
    bench.spawned("web");
    bench.stop("web");
    assert_eq!(bench.blows(), [""; 0]);
    bench.ends_leaving("web", End::Code(0), false);
    assert_eq!(bench.blows(), [""; 0], "the command still runs");
    let (instance, run) = (Bench::id("web"), bench.run("web"));
    bench.step(Event::HookEnded { instance, run, hook: Hook::Stop, result: Ok(()) });
    assert_eq!(bench.blows(), ["web TERM"]);
}

#[test]
fn a_persons_start_is_never_held_back() {
    for then in [LimitThen::Slow, LimitThen::Stop] {
        let mut bench = Bench::new(vec![service("web", |s| {
            s.restart.limit.count = 0;
            s.restart.limit.then = then;
        })]);
        bench.spawned("web").ends("web", End::Code(1));
        for _ in 0..50 {
            bench.start("web");
            assert_eq!(bench.spawns(), ["web/1"], "{then:?}");
            bench.spawned("web").ends("web", End::Code(1));
        }
    }
}

#[test]
fn start_starts_what_it_needs_and_leaves_what_is_done_or_runs() {
    let mut bench = Bench::new(vec![
        service("db", |_| {}),
        task("migrate", |_| {}),
        service("web", |s| {
            needs(s, "db", Until::Ready);
            needs(s, "migrate", Until::Completed);
        }),
    ]);
    bench.spawned("db").spawned("migrate").ends("migrate", End::Code(0));
    bench.spawned("web");
    bench.stop("web");
    bench.ends("web", End::Code(0));
    bench.stop("db");
    bench.ends("db", End::Code(0));
    let start = bench.start("web");
    assert_eq!(bench.spawns(), ["db/1"], "migrate is done");
    bench.spawned("db");
    assert_eq!(bench.spawns(), ["web/1"]);
    bench.spawned("web");
    assert_eq!(bench.answers[&start].as_ref().unwrap().notes, ["starts db too, which is needed"]);
}

#[test]
fn what_is_so_already_succeeds_and_what_does_not_exist_is_named() {
    let mut bench = one();
    for id in [bench.start("web"), bench.ask(Command::Start(vec![target("web/1")]), None)] {
        assert!(bench.answers[&id].as_ref().unwrap().done);
    }
    for text in ["web/2", "nobody"] {
        let id = bench.stop(text);
        let denied = bench.answers[&id].as_ref().unwrap_err();
        assert_eq!(denied.code, DeniedCode::NoSuchService);
        assert!(denied.message.contains(text), "{}", denied.message);
    }
}

#[test]
fn a_wait_that_runs_out_names_whom_it_waited_for() {
    let mut bench = Bench::new(vec![
        service("db", |s| s.health = HealthPlan::One(probe())),
        service("web", |s| needs(s, "db", Until::Ready)),
    ]);
    let id = bench.ask(Command::Start(vec![target("web")]), Some(2_000));
    bench.spawned("db");
    bench.pass(2_000);
    let denied = bench.answers[&id].as_ref().unwrap_err();
    assert_eq!(denied.code, DeniedCode::TimedOut);
    assert_eq!(denied.message, "still waiting after 2s for web (waits for db (starting))");
    assert_eq!(bench.status("web").cause, Some(Cause::Dependency));
}

#[test]
fn whoever_does_not_wait_is_answered_at_once_and_truly() {
    let mut bench =
        Bench::new(vec![task("migrate", |_| {}), service("web", |s| needs(s, "migrate", Until::Completed))]);
    bench.spawned("migrate").ends("migrate", End::Code(1));
    let id = bench.ask(Command::Restart { targets: vec![target("migrate")], now: false }, None);
    assert!(!bench.answers[&id].as_ref().unwrap().done);
    bench.spawned("migrate").ends("migrate", End::Code(1));
    let id = bench.ask(Command::Scale { service: target("web").service, instances: 1 }, None);
    assert!(bench.answers[&id].is_ok());
    assert_eq!(bench.status("web").reason.as_deref(), Some("needs migrate failed (exit code 1)"));
}

#[test]
fn a_request_is_told_that_another_wish_came_between() {
    let mut bench = one();
    let stop = bench.stop("web");
    let start = bench.start("web");
    assert_eq!(bench.answers[&stop].as_ref().unwrap_err().code, DeniedCode::Failed);
    bench.stop("web");
    assert_eq!(bench.answers[&start].as_ref().unwrap_err().message, "web was stopped meanwhile");
    let gone = bench.ask(Command::Stop(vec![target("web")]), Some(1_000));
    bench.step(Event::Abandoned { id: RequestId(gone) });
    bench.ends("web", End::Code(0));
    assert!(!bench.answers.contains_key(&gone));
}

#[test]
fn a_restart_says_how_long_nobody_listened() {
    let mut bench = one();
    let id = bench.restart("web");
    bench.pass(300);
    bench.ends("web", End::Code(0));
    bench.pass(40);
    bench.spawned("web");
    let outcome = bench.answers[&id].as_ref().unwrap();
    assert_eq!((outcome.services[0].gap_ms, outcome.services[0].message.as_str()), (Some(340), "ready after 340ms"));
}

#[test]
fn a_hold_is_kept_by_everything_but_a_persons_start() {
    let mut bench = one();
    bench.stop("web");
    bench.ends("web", End::Code(0));
    assert!(bench.status("web").desired == Desired::Down && bench.told("web", EventWord::Held).len() == 1);
    bench.apply(vec![service("web", |s| s.nice = Some(5))], &[]);
    assert_eq!(bench.state("web"), State::Stopped);
    bench.apply(vec![service("web", |s| s.instances = 2)], &[]);
    assert_eq!((bench.state("web"), bench.state("web/2")), (State::Stopped, State::Stopped), "new ones are held too");
    bench.apply(vec![service("web", |s| s.instances = 2)], &["web"]);
    assert_eq!(bench.spawns(), ["web/1", "web/2"], "up web releases it");
}

#[test]
fn a_hold_of_an_earlier_life_is_kept_at_boot() {
    let mut bench = one();
    bench.stop("web");
    let held = bench.core.holds(false);
    let plan = || project(vec![service("web", |s| s.restart.policy = Policy::UnlessStopped)]);
    let bench = Bench::with(plan(), Seeds { held, ..Seeds::default() });
    assert_eq!((bench.state("web"), bench.spawns().len()), (State::Stopped, 0));
    assert_eq!(bench.core.holds(true).len(), 1);
}

#[test]
fn ctrl_c_is_the_persons_doing_and_leaves_it_ended() {
    let wrapped = |policy| {
        let mut plan = project(vec![service("app", |s| s.restart.policy = policy)]);
        plan.exit_with = Some(target("app").service);
        Bench::with(plan, Seeds::default())
    };
    for (delivered, end, code) in [(true, End::Code(0), 0), (false, End::Code(3), 3), (true, killed(), 137)] {
        let mut bench = wrapped(Policy::OnFailure);
        bench.spawned("app");
        bench.ask(Command::Interrupt { delivered }, None);
        assert_eq!(bench.blows().len(), usize::from(!delivered));
        bench.ends("app", end);
        assert_eq!(bench.last.last(), Some(&Action::Exit { code }));
    }
    // Nothing runs that could hear it: the wish is to leave.
    let mut bench = wrapped(Policy::Always);
    bench.spawned("app").ends("app", End::Code(4));
    bench.ask(Command::Interrupt { delivered: true }, None);
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 4 }));
}

#[test]
fn exit_with_waits_until_no_restart_is_due() {
    for (policy, ends, code) in
        [(Policy::OnFailure, vec![End::Code(1), End::Code(0)], 0), (Policy::Never, vec![End::Code(3)], 3)]
    {
        let mut plan = project(vec![service("db", |_| {}), service("web", |s| s.restart.policy = policy)]);
        plan.exit_with = Some(target("web").service);
        let mut bench = Bench::with(plan, Seeds::default());
        bench.spawned("db").spawned("web");
        for end in ends {
            assert!(!bench.core.is_ending());
            bench.ends("web", end);
            bench.pass(500);
            if !bench.core.is_ending() {
                bench.spawned("web");
            }
        }
        assert!(bench.core.is_ending());
        bench.ends("db", End::Code(0));
        assert_eq!(bench.last.last(), Some(&Action::Exit { code }));
    }
}

#[test]
fn exit_with_several_instances_waits_for_all_and_tells_of_a_failure() {
    let mut plan = project(vec![service("web", |s| {
        s.instances = 2;
        s.restart.policy = Policy::Never;
    })]);
    plan.exit_with = Some(target("web").service);
    let mut bench = Bench::with(plan, Seeds::default());
    bench.spawned("web").spawned("web/2");
    bench.ends("web", End::Code(0));
    assert!(!bench.core.is_ending());
    bench.ends("web/2", End::Code(9));
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 9 }));
}

#[test]
fn every_request_is_answered_before_the_exit() {
    let mut bench = one();
    let start = bench.ask(Command::Restart { targets: vec![target("web")], now: false }, Some(60_000));
    let down = bench.ask(Command::Down { force: false }, Some(60_000));
    let late = bench.start("web");
    assert_eq!(bench.answers[&late].as_ref().unwrap_err().code, DeniedCode::Unavailable);
    bench.ends("web", End::Code(0));
    assert!(bench.answers[&start].is_err() && bench.answers[&down].as_ref().unwrap().done);
    let exits = |a: &Action| matches!(a, Action::Exit { code: 0 });
    assert!(exits(bench.last.last().unwrap()));
    assert!(!bench.pass(Duration::from_hours(1).as_secs() * 1_000).iter().any(exits));
}
