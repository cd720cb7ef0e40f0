//! Changed files: one instance after the other is swapped, the newest wins, and none is lost.

use std::time::Duration;

use crate::core::event::{Event, Hook, Notice};
use crate::core::instance::tests::{
    Bench, blows, changed, needs, probe, project, service, target, watched, with_check,
};
use crate::core::supervisor::Seeds;
use crate::model::command::Command;
use crate::model::event::EventWord;
use crate::model::plan::{HealthPlan, LimitThen, Policy, ReloadPlan, ServicePlan, Until};
use crate::model::probe::{ProbeKind, ProbePlan};
use crate::model::service::{Cause, Certainty, End, State};
use crate::model::signal::Signal;
use crate::model::units::Moment;

pub(super) fn one(change: impl FnOnce(&mut ServicePlan)) -> Bench {
    let mut bench = Bench::new(vec![watched("web", change)]);
    bench.spawned("web");
    bench
}

pub(super) fn three(change: impl FnOnce(&mut ServicePlan)) -> Bench {
    let mut bench = Bench::new(vec![watched("web", |s| {
        s.instances = 3;
        s.health = HealthPlan::One(probe());
        change(s);
    })]);
    for index in 1..=3 {
        bench.spawned(&format!("web/{index}"));
    }
    bench.pass_answering(100, true);
    bench
}

/// The old run ends, the new one comes and passes its gate.
pub(super) fn turn(bench: &mut Bench, text: &str) {
    bench.ends(text, End::Code(0));
    bench.spawned(text);
    bench.pass(20);
    bench.answer_probes(true);
}

pub(super) fn states(bench: &Bench) -> Vec<State> {
    bench.service("web").instances.iter().map(|instance| instance.state).collect()
}

#[test]
fn a_changed_file_restarts_what_runs_and_is_named_everywhere() {
    let mut bench = one(|_| {});
    bench.pass(5_000);
    let since = Moment(bench.now - 25);
    bench.step(changed("web", "app.py 1 2", since));
    assert_eq!((bench.blows(), bench.state("web")), (vec!["web TERM".to_owned()], State::Stopping));
    bench.pass(100);
    bench.ends("web", End::Signal { signal: Signal::TERM, core: false });
    let ended = bench.told("web", EventWord::Ended)[0];
    assert_eq!((ended.cause, ended.certainty), (Some(Cause::Watch), Some(Certainty::Certain)));
    assert_eq!(ended.evidence, ["app.py changed", "ended by SIGTERM"]);
    assert_eq!(bench.told("web", EventWord::Starting)[1].cause, Some(Cause::Watch));
    bench.pass(30);
    assert_eq!(bench.service("web").reload.unwrap().last, None, "it is under way");
    bench.spawned("web");
    assert_eq!(bench.reloads(), ["reload_started app.py changed", "reload_done app.py: ready after 155ms"]);
    let done = bench.facts.iter().find(|fact| fact.event == EventWord::ReloadDone).unwrap();
    assert_eq!((done.ran_ms, done.cause, done.index), (Some(155), Some(Cause::Watch), None));
    let reload = bench.service("web").reload.unwrap();
    assert_eq!((reload.mode.as_str(), reload.generation, reload.last.as_deref()), ("restart", 2, Some("ok")));
    assert_eq!((reload.changed, reload.message, reload.at.is_some()), (vec!["app.py".to_owned()], None, true));
}

#[test]
fn files_are_named_in_few_words_and_listed_up_to_twenty() {
    for (count, words) in [(2, "f0.py and f1.py"), (5, "f0.py, f1.py and 3 more"), (30, "f0.py, f1.py and 28 more")] {
        let mut bench = one(|_| {});
        let files: Vec<String> = (0..count).map(|number| format!("f{number}.py 1 2")).collect();
        bench.changed("web", &files.join(", "));
        assert_eq!(bench.reloads(), [format!("reload_started {words} changed")]);
        assert_eq!(bench.service("web").reload.unwrap().changed.len(), count.min(20));
    }
}

#[test]
fn what_is_changed_back_before_anything_was_decided_restarts_nothing() {
    let mut bench = one(|_| {});
    let now = Moment(bench.now);
    bench.steps(vec![changed("web", "app.py 1 2", now), changed("web", "app.py 2 1", now)]);
    assert_eq!((bench.last.len(), bench.state("web")), (0, State::Running));
}

#[test]
fn a_service_that_is_not_watched_ignores_files() {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    bench.spawned("web").changed("web", "app.py 1 2");
    assert_eq!(bench.last, []);
    bench.changed("nobody", "app.py 1 2");
    assert_eq!(bench.last, []);
}

#[test]
fn what_is_stopped_stays_so_and_starts_with_the_newest() {
    let mut bench = one(|_| {});
    bench.stop("web");
    bench.ends("web", End::Code(0));
    bench.changed("web", "app.py 1 2");
    assert_eq!((bench.last.len(), bench.state("web")), (0, State::Stopped));
    bench.start("web");
    bench.spawned("web");
    assert_eq!((bench.run("web").0, bench.state("web")), (2, State::Running));
    assert_eq!(bench.reloads(), [""; 0]);
    assert!(bench.pass(60_000).is_empty());
}

#[test]
fn a_change_during_a_stop_that_is_taken_back_is_not_lost() {
    // db waits for web to go, web takes its time, and then both are wanted again: db still runs its old code.
    let mut bench = Bench::new(vec![watched("db", |_| {}), service("web", |s| needs(s, "db", Until::Ready))]);
    bench.spawned("db").spawned("web");
    bench.ask(Command::Stop(vec![target("db"), target("web")]), None);
    bench.changed("db", "app.py 1 2");
    assert_eq!(bench.state("db"), State::Running);
    bench.start("db");
    assert_eq!(bench.blows(), ["db TERM"]);
    assert_eq!(bench.told("db", EventWord::Stopping)[0].cause, Some(Cause::Watch));
}

#[test]
fn what_waits_or_was_given_up_is_tried_at_once_and_forgiven() {
    type Case = (&'static str, fn(&mut ServicePlan), State);
    let cases: [Case; 4] = [
        ("backoff", |s| s.restart.delay = Duration::from_secs(30), State::Backoff),
        ("slow", |s| s.restart.limit.count = 0, State::Backoff),
        (
            "given up",
            |s| {
                s.restart.limit.count = 0;
                s.restart.limit.then = LimitThen::Stop;
            },
            State::Failed,
        ),
        ("left", |s| s.restart.policy = Policy::Never, State::Exited),
    ];
    for (way, change, state) in cases {
        let mut bench = one(change);
        bench.ends("web", End::Code(1));
        assert_eq!(bench.state("web"), state, "{way}");
        bench.changed("web", "app.py 1 2");
        assert_eq!(
            (bench.spawns(), bench.status("web").cause),
            (vec!["web/1".to_owned()], Some(Cause::Watch)),
            "{way}"
        );
        assert!(!bench.service("web").crash_looping);
        bench.spawned("web");
        assert_eq!(bench.reloads().len(), 2, "{way}: {:?}", bench.reloads());
    }
}

#[test]
fn the_newest_wins_while_it_is_being_started() {
    let mut bench = one(|s| s.health = HealthPlan::One(probe()));
    bench.pass_answering(30, true);
    bench.changed("web", "app.py 1 2").ends("web", End::Code(0));
    for round in [3, 4, 5] {
        // Being made, then started, then being ended.
        assert_eq!(bench.spawns(), ["web/1"]);
        bench.changed("web", &format!("f{round}.py 1 2"));
        assert_eq!(bench.blows(), [""; 0], "nobody is there to be asked");
        bench.spawned("web");
        assert_eq!(bench.blows(), ["web TERM"]);
        bench.ends("web", End::Code(0));
    }
    bench.spawned("web").changed("web", "f6.py 1 2");
    assert_eq!(bench.blows(), ["web TERM"]);
    bench.changed("web", "f7.py 1 2").ends("web", End::Code(0));
    bench.spawned("web").pass(20);
    bench.answer_probes(true);
    assert_eq!((bench.state("web"), bench.told("web", EventWord::Starting).len()), (State::Running, 6));
    let told = bench.reloads();
    assert_eq!((told.len(), told[1].as_str()), (2, "reload_done app.py, f3.py and 4 more: ready after 20ms"));
    assert!(!bench.service("web").crash_looping, "no restart of these counts for the limit");
}

#[test]
fn a_change_while_before_start_runs_begins_anew() {
    let mut bench = Bench::new(vec![watched("web", |s| s.hooks.before_start = Some(vec![]))]);
    bench.changed("web", "app.py 1 2");
    assert_eq!((bench.spawns().len(), bench.run("web").0), (0, 2));
    let (instance, run) = (Bench::id("web"), bench.run("web"));
    bench.step(Event::HookEnded { instance, run, hook: Hook::BeforeStart, result: Ok(()) });
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn what_would_rest_after_its_end_starts_with_the_new_files() {
    for policy in [Policy::Never, Policy::OnFailure, Policy::Always] {
        let mut bench = one(|s| {
            s.restart.policy = policy;
            s.hooks.after_end = Some(vec![]);
        });
        bench.ends_leaving("web", End::Code(0), false);
        bench.changed("web", "app.py 1 2");
        bench.tree_gone("web");
        let (instance, run) = (Bench::id("web"), bench.run("web"));
        bench.step(Event::HookEnded { instance, run, hook: Hook::AfterEnd, result: Ok(()) });
        assert_eq!(
            (bench.spawns(), bench.status("web").cause),
            (vec!["web/1".to_owned()], Some(Cause::Watch)),
            "{policy:?}"
        );
    }
}

#[test]
fn new_files_come_before_the_end_of_everup_and_before_backoff() {
    for words in ["", "make"] {
        let mut plan = project(vec![watched("web", |s| {
            s.restart.policy = Policy::Never;
            with_check(s, words);
        })]);
        plan.exit_with = Some(target("web").service);
        let mut bench = Bench::with(plan, Seeds::default());
        bench.spawned("web").ends_leaving("web", End::Code(0), false);
        bench.changed("web", "app.py 1 2").tree_gone("web");
        assert_eq!((bench.core.is_ending(), bench.spawns()), (false, vec!["web/1".to_owned()]));
    }
    let mut bench = one(|s| s.watchdog = Some(Duration::from_secs(1)));
    bench.pass(1_000);
    bench.changed("web", "app.py 1 2").ends("web", End::Code(1));
    assert_eq!((bench.spawns(), bench.then("web").as_str()), (vec!["web/1".to_owned()], "started with the new files"));
    assert_eq!(bench.told("web", EventWord::Backoff).len(), 0);
}

#[test]
fn a_reload_of_several_goes_one_at_a_time() {
    let mut bench = three(|_| {});
    bench.changed("web", "app.py 1 2");
    assert_eq!(states(&bench), [State::Stopping, State::Reloading, State::Reloading]);
    for text in ["web/1", "web/2", "web/3"] {
        assert_eq!(blows(&bench.last), [format!("{text} TERM").replace("web/1", "web")], "{text}");
        turn(&mut bench, text);
    }
    assert_eq!(states(&bench), [State::Running; 3]);
    assert_eq!(bench.reloads()[1], "reload_done app.py: ready after 60ms");
}

#[test]
fn those_that_have_not_served_yet_are_begun_anew_at_once() {
    let mut bench = Bench::new(vec![watched("web", |s| {
        s.instances = 2;
        s.health = HealthPlan::One(probe());
    })]);
    bench.spawned("web/1").spawned("web/2").changed("web", "app.py 1 2");
    assert_eq!(states(&bench), [State::Stopping, State::Stopping]);
}

#[test]
fn a_failing_first_one_stops_the_reload_of_several() {
    let mut bench = three(|_| {});
    bench.changed("web", "app.py 1 2");
    bench.ends("web/1", End::Code(0)).spawned("web/1").ends("web/1", End::Code(1));
    assert_eq!(states(&bench)[1..], [State::Running; 2]);
    assert_eq!(bench.reloads()[1], "reload_rolled_back web/1 ended before it was ready: exit code 1");
    let reload = bench.service("web").reload.unwrap();
    assert_eq!((reload.generation, reload.last.as_deref()), (1, Some("failed")));
    assert_eq!(reload.message.as_deref(), Some("web/1 ended before it was ready: exit code 1"));
    // The next change reaches those that were left as well.
    bench.changed("web", "app.py 2 3");
    for text in ["web/1", "web/2", "web/3"] {
        if text == "web/1" {
            bench.spawned(text).pass(20);
            bench.answer_probes(true);
        } else {
            turn(&mut bench, text);
        }
    }
    assert_eq!(bench.reloads().last().unwrap(), "reload_done app.py: ready after 60ms");
}

#[test]
fn a_second_change_goes_to_all_again_and_what_is_changed_back_to_none() {
    let mut bench = three(|_| {});
    bench.changed("web", "app.py 1 2");
    turn(&mut bench, "web/1");
    assert_eq!(states(&bench), [State::Running, State::Stopping, State::Reloading]);
    bench.changed("web", "app.py 2 1");
    turn(&mut bench, "web/2");
    // The third has never left the old content; the first has.
    assert_eq!(states(&bench), [State::Stopping, State::Running, State::Running]);
    turn(&mut bench, "web/1");
    assert_eq!((bench.run("web/1").0, bench.run("web/2").0, bench.run("web/3").0), (3, 2, 1));
    assert_eq!(bench.reloads().len(), 2, "{:?}", bench.reloads());
}

#[test]
fn what_has_begun_anew_is_waited_for_though_a_later_change_is_taken_back() {
    let mut bench = Bench::new(vec![watched("web", |s| {
        s.instances = 2;
        s.health = HealthPlan::Kinds { startup: None, readiness: Some(probe()), liveness: None };
    })]);
    bench.spawned("web/1").spawned("web/2");
    bench.pass_answering(100, true);
    bench.changed("web", "app.py 1 2").ends("web/1", End::Code(0)).spawned("web/1");
    bench.changed("web", "lib.py 1 2").changed("web", "lib.py 2 1");
    bench.stop("web/2");
    bench.ends("web/2", End::Code(0));
    assert_eq!(bench.reloads().len(), 1, "the first is not ready");
    bench.pass_answering(100, true);
    assert_eq!(bench.reloads()[1], "reload_done app.py and lib.py: ready after 20ms");
}

#[test]
fn what_it_needs_may_come_back_later() {
    let mut bench = Bench::new(vec![
        service("db", |s| s.restart.policy = Policy::Never),
        watched("web", |s| needs(s, "db", Until::Ready)),
    ]);
    bench.spawned("db").spawned("web").ends("db", End::Code(1));
    bench.changed("web", "app.py 1 2").ends("web", End::Code(0));
    assert_eq!((bench.state("web"), bench.status("web").cause), (State::Failed, Some(Cause::Dependency)));
    let id = bench.reload("web");
    bench.changed("web", "lib.py 1 2");
    bench.spawned("db").spawned("web");
    assert!(bench.answers[&id].is_ok(), "a person's reload starts what is needed");
    assert_eq!(bench.reloads().len(), 2, "{:?}", bench.reloads());
    bench.ends("db", End::Code(1)).changed("web", "app.py 2 3").ends("web", End::Code(0));
    bench.changed("web", "lib.py 2 3");
    bench.start("db");
    bench.spawned("db").spawned("web");
    assert_eq!(bench.reloads()[3], "reload_done app.py and lib.py: ready after 0ms");
}

#[test]
fn those_that_do_not_serve_go_first_and_the_others_wait_for_them() {
    let mut bench = three(|s| s.restart.delay = Duration::from_secs(20));
    bench.ends("web/2", End::Code(1));
    bench.changed("web", "app.py 1 2");
    assert_eq!((bench.spawns(), bench.blows()), (vec!["web/2".to_owned()], vec![]));
    bench.spawned("web/2").ends("web/2", End::Code(1));
    assert_eq!(
        states(&bench),
        [State::Running, State::Backoff, State::Running],
        "new code that fails takes nobody along"
    );
    assert!(bench.reloads()[1].starts_with("reload_rolled_back web/2 ended"));
}

pub(super) fn hup(change: impl FnOnce(&mut ServicePlan)) -> Bench {
    one(|s| {
        s.reload = ReloadPlan::Signal(Signal::HUP);
        change(s);
    })
}

#[test]
fn a_signal_tells_what_runs_and_starts_what_does_not() {
    let mut bench = hup(|_| {});
    bench.changed("web", "app.py 1 2");
    assert_eq!((bench.blows(), bench.run("web").0), (vec!["web HUP".to_owned()], 1));
    assert_eq!(bench.reloads(), ["reload_started app.py changed", "reload_done app.py: told by HUP"]);
    let reload = bench.service("web").reload.unwrap();
    assert_eq!((reload.mode.as_str(), reload.generation), ("signal", 2));
    bench.ends("web", End::Code(1));
    bench.changed("web", "app.py 2 3");
    assert_eq!((bench.blows().len(), bench.spawns()), (0, vec!["web/1".to_owned()]));
}

pub(super) fn notifying(s: &mut ServicePlan) {
    s.health = HealthPlan::One(ProbePlan { how: ProbeKind::Notify, ..probe() });
}

#[test]
fn one_that_says_when_it_is_ready_is_waited_for() {
    let mut bench = hup(notifying);
    bench.says("web", Notice::Ready).changed("web", "app.py 1 2");
    assert_eq!((bench.blows(), bench.state("web")), (vec!["web HUP".to_owned()], State::Reloading));
    bench.pass(500);
    bench.says("web", Notice::Ready);
    assert_eq!(
        (bench.state("web"), bench.reloads()[1].as_str()),
        (State::Running, "reload_done app.py: ready after 500ms")
    );
    bench.changed("web", "app.py 2 3").pass(60_000);
    assert_eq!(bench.reloads()[3], "reload_rolled_back web did not say READY=1 again within 1m");
    assert_eq!((bench.state("web"), bench.run("web").0), (State::Running, 1), "the process is left alone");
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn a_signal_that_ends_it_is_named_as_the_reason() {
    let mut bench = hup(notifying);
    bench.says("web", Notice::Ready).changed("web", "app.py 1 2");
    bench.ends("web", End::Signal { signal: Signal::HUP, core: false });
    let ended = bench.told("web", EventWord::Ended)[0];
    assert_eq!((ended.cause, ended.certainty), (Some(Cause::Watch), Some(Certainty::Likely)));
    assert_eq!(ended.evidence[0], "everup had SIGHUP sent to it just before: app.py changed");
    assert_eq!(bench.reloads()[1], "reload_rolled_back web ended before it was ready: ended by SIGHUP");
}

#[test]
fn everups_own_delay_is_given_to_what_reads_its_code_anew() {
    let mut bench = hup(notifying);
    bench.says("web", Notice::Ready).changed("web", "app.py 1 2");
    bench.now += 100_000;
    bench.step(Event::Tick);
    assert_eq!(bench.state("web"), State::Reloading);
}
