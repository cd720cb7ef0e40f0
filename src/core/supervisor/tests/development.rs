//! `dev`: what fails before its files have proven good waits for their next change; Ctrl-C is for everup too.

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::instance::tests::{Bench, killed, needs, probe, watched};
use crate::model::command::Command;
use crate::model::event::EventWord;
use crate::model::plan::{CodeRange, HealthPlan, Kind, LimitThen, Policy, Rule, RuleThen, ServicePlan, Until};
use crate::model::service::{Cause, End, SpawnStage, State};

const WAITS: Option<&str> = Some("waits for a change of its files");

fn dev(change: impl FnOnce(&mut ServicePlan)) -> ServicePlan {
    watched("web", |s| {
        s.waits_for_change = true;
        change(s);
    })
}

#[test]
fn a_run_that_ends_before_its_files_have_proven_good_waits_for_a_change() {
    let not_spawned = End::NotSpawned { stage: SpawnStage::Exec, errno: 2 };
    for (policy, end, state) in [
        (Policy::Always, End::Code(1), State::Failed),
        (Policy::Always, End::Code(0), State::Failed),
        (Policy::UnlessStopped, End::Code(0), State::Failed),
        (Policy::OnFailure, End::Code(0), State::Exited),
        (Policy::OnFailure, End::Code(1), State::Failed),
        (Policy::Never, End::Code(1), State::Failed),
        (Policy::Always, killed(), State::Failed),
        (Policy::Always, not_spawned.clone(), State::Failed),
    ] {
        let mut bench = Bench::new(vec![dev(|s| s.restart.policy = policy)]);
        if end != not_spawned {
            bench.spawned("web");
            bench.pass(9_999);
        }
        bench.ends("web", end.clone());
        let status = bench.status("web");
        assert_eq!((status.state, status.reason.as_deref()), (state, WAITS), "{policy:?} {end:?}");
        assert_eq!(bench.told("web", EventWord::Backoff).len(), 0);
        assert!(bench.pass(600_000).is_empty(), "nothing brings it up by itself");
        if state == State::Failed {
            let told = bench.told("web", EventWord::Failed);
            assert_eq!(told[0].then.as_deref(), Some("waits for a change"));
        }
        bench.changed("web", "app.py 1 2");
        assert_eq!(bench.spawns(), ["web/1"], "{policy:?} {end:?}");
        assert_eq!(bench.status("web").cause, Some(Cause::Watch));
    }
}

#[test]
fn a_start_that_times_out_waits_for_a_change() {
    let mut bench = Bench::new(vec![dev(|s| s.health = HealthPlan::One(probe()))]);
    bench.spawned("web");
    bench.pass(60_000);
    bench.ends("web", End::Code(0));
    assert_eq!((bench.state("web"), bench.status("web").cause), (State::Failed, Some(Cause::StartTimeout)));
    assert_eq!(bench.status("web").reason.as_deref(), WAITS);
}

#[test]
fn code_that_has_proven_good_is_restarted_as_ever_until_its_files_change() {
    let mut bench = Bench::new(vec![dev(|_| {})]);
    bench.spawned("web");
    bench.pass(10_000);
    bench.ends("web", End::Code(1));
    assert_eq!(bench.spawns(), ["web/1"], "it was good for reset_after");
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!(bench.state("web"), State::Backoff, "and stays known as good");
    bench.pass(250);
    bench.spawned("web").changed("web", "app.py 1 2").ends("web", End::Code(0));
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!((bench.state("web"), bench.status("web").reason.as_deref()), (State::Failed, WAITS));
}

#[test]
fn goodness_is_counted_in_one_piece_and_from_the_newest_files() {
    // READY=1 again after the signal; good for 10 s before, for 9 s after.
    let mut bench =
        Bench::new(vec![dev(|s| s.reload = crate::model::plan::ReloadPlan::Signal(crate::model::signal::Signal::HUP))]);
    bench.spawned("web");
    bench.pass(10_000);
    bench.changed("web", "app.py 1 2");
    bench.pass(9_000);
    bench.ends("web", End::Code(1));
    assert_eq!(bench.state("web"), State::Failed);
}

#[test]
fn a_person_a_rule_and_the_end_of_everup_keep_their_say() {
    let rule = |then| Rule { codes: vec![CodeRange(3, 3)], signals: vec![], causes: vec![], then };
    let mut bench = Bench::new(vec![dev(|_| {})]);
    bench.spawned("web").ends("web", End::Code(3));
    bench.start("web");
    assert_eq!(bench.spawns(), ["web/1"]);
    bench.spawned("web").ends("web", End::Code(3));
    bench.restart("web");
    assert_eq!(bench.spawns(), ["web/1"]);
    for (then, state, ends) in [(RuleThen::Stop, State::Failed, false), (RuleThen::Exit, State::Failed, true)] {
        let mut bench = Bench::new(vec![dev(|s| s.restart.rules = vec![rule(then)])]);
        bench.spawned("web").ends("web", End::Code(3));
        assert_eq!((bench.state("web"), bench.core.is_ending()), (state, ends), "{then:?}");
        assert_ne!(bench.status("web").reason.as_deref(), WAITS);
    }
    let mut bench = Bench::new(vec![dev(|s| {
        s.restart.limit.count = 0;
        s.restart.limit.then = LimitThen::Exit;
    })]);
    bench.spawned("web").ends("web", End::Code(3));
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 3 }));
}

#[test]
fn what_is_not_watched_is_restarted_as_ever() {
    let mut bench = Bench::new(vec![dev(|s| s.watch = None)]);
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!(bench.state("web"), State::Backoff);
}

#[test]
fn a_new_plan_for_the_process_is_as_good_as_new_files() {
    let mut bench = Bench::new(vec![dev(|_| {})]);
    bench.spawned("web");
    bench.pass(10_000);
    bench.apply(vec![dev(|s| s.nice = Some(1))], &[]);
    bench.ends("web", End::Code(0));
    bench.spawned("web").ends("web", End::Code(1));
    assert_eq!(bench.status("web").reason.as_deref(), WAITS);
}

#[test]
fn dependents_go_on_once_it_stands() {
    let mut bench = Bench::new(vec![dev(|_| {}), watched("api", |s| needs(s, "web", Until::Ready))]);
    bench.spawned("web").spawned("api");
    bench.ends("api", End::Code(0));
    bench.ends("web", End::Code(1));
    bench.pass(300);
    assert_eq!((bench.state("api"), bench.status("api").cause), (State::Failed, Some(Cause::Dependency)));
    bench.changed("web", "app.py 1 2").spawned("web");
    assert_eq!(bench.spawns(), ["api/1"]);
}

#[test]
fn a_task_in_dev_runs_again_when_its_files_change() {
    let task = |s: &mut ServicePlan| {
        s.kind = Kind::Task;
        s.restart.policy = Policy::Never;
    };
    for (end, state) in [(End::Code(0), State::Exited), (End::Code(1), State::Failed)] {
        let mut bench = Bench::new(vec![dev(task)]);
        bench.spawned("web").ends("web", end);
        assert_eq!(bench.state("web"), state);
        bench.changed("web", "app.py 1 2");
        assert_eq!(bench.spawns(), ["web/1"]);
        bench.spawned("web").ends("web", End::Code(0));
        assert_eq!(bench.reloads()[1], "reload_done app.py: ready after 0ms");
        assert_eq!(bench.service("web").reload, None, "a task has no reload in status");
    }
}

#[test]
fn ctrl_c_ends_everup_with_the_program() {
    for (end, code) in [(End::Code(0), 0), (End::Code(3), 3), (killed(), 137)] {
        let mut bench = Bench::new(vec![dev(|_| {})]);
        bench.spawned("web");
        bench.pass(20_000);
        bench.ask(Command::Interrupt { delivered: true }, None);
        assert!(!bench.core.is_ending(), "it has not ended yet");
        bench.pass(5_000);
        bench.ends("web", end);
        assert_eq!(bench.last.last(), Some(&Action::Exit { code }));
    }
}

#[test]
fn an_app_that_survives_ctrl_c_lives_on() {
    let mut bench = Bench::new(vec![dev(|_| {})]);
    bench.spawned("web");
    bench.pass(20_000);
    bench.ask(Command::Interrupt { delivered: true }, None);
    bench.pass(10_000);
    bench.ends("web", End::Code(1));
    assert_eq!((bench.core.is_ending(), bench.spawns()), (false, vec!["web/1".to_owned()]));
}

#[test]
fn ctrl_c_leaves_at_once_where_nothing_runs() {
    type Way = (&'static str, fn(&mut ServicePlan), fn(&mut Bench), u8);
    let ways: [Way; 4] = [
        ("failed", |_| {}, |bench| _ = bench.spawned("web").ends("web", End::Code(4)), 4),
        (
            "exited",
            |s| s.restart.policy = Policy::OnFailure,
            |bench| _ = bench.spawned("web").ends("web", End::Code(0)),
            0,
        ),
        (
            "backoff",
            |_| {},
            |bench| {
                bench.spawned("web").pass(10_000);
                bench.ends("web", End::Code(2)).spawned("web").ends("web", End::Code(5));
            },
            5,
        ),
        (
            "stopped",
            |_| {},
            |bench| {
                bench.spawned("web");
                bench.stop("web");
                bench.ends("web", End::Code(0));
            },
            0,
        ),
    ];
    for (way, change, prepare, code) in ways {
        let mut bench = Bench::new(vec![dev(change)]);
        prepare(&mut bench);
        assert!(!bench.core.is_ending(), "{way}");
        bench.ask(Command::Interrupt { delivered: true }, None);
        assert_eq!(bench.last.last(), Some(&Action::Exit { code }), "{way}");
        bench.step(Event::Tick);
    }
}
