//! Changed files: checked first, then swapped; the newest wins and none is lost.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::{Event, Hook, Notice};
use crate::core::instance::tests::{Bench, blows, changed, needs, probe, service, target, watched, with_check};
use crate::model::command::{Command, DeniedCode};
use crate::model::event::EventWord;
use crate::model::plan::{HealthPlan, LimitThen, Policy, ReloadPlan, ServicePlan, Until};
use crate::model::probe::{ProbeKind, ProbePlan};
use crate::model::service::{Cause, Certainty, End, State};
use crate::model::signal::Signal;
use crate::model::units::Moment;

fn one(change: impl FnOnce(&mut ServicePlan)) -> Bench {
    let mut bench = Bench::new(vec![watched("web", change)]);
    bench.spawned("web");
    bench
}

fn three(change: impl FnOnce(&mut ServicePlan)) -> Bench {
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
fn turn(bench: &mut Bench, text: &str) {
    bench.ends(text, End::Code(0));
    bench.spawned(text);
    bench.pass(20);
    bench.answer_probes(true);
}

fn states(bench: &Bench) -> Vec<State> {
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

#[test]
fn the_check_goes_first_and_the_old_run_serves_meanwhile() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2, gone.py 1 0");
    assert_eq!((bench.checks(), bench.state("web")), (vec![(1, "app.py".to_owned())], State::Reloading));
    assert!(bench.status("web").ready);
    bench.pass(1_000);
    bench.checked("web", 1, Ok(()));
    assert_eq!(bench.blows(), ["web TERM"]);
    bench.ends("web", End::Code(0)).spawned("web");
    assert_eq!(bench.reloads()[1], "reload_done app.py and gone.py: ready after 1s");
}

#[test]
fn a_failing_check_changes_nothing_and_the_next_one_has_all_files() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").checked("web", 1, Err("SyntaxError in app.py:3"));
    assert_eq!((bench.blows().len(), bench.state("web"), bench.run("web").0), (0, State::Running, 1));
    assert_eq!(bench.reloads()[1], "reload_rolled_back SyntaxError in app.py:3");
    let reload = bench.service("web").reload.unwrap();
    assert_eq!((reload.last.as_deref(), reload.message.as_deref()), (Some("failed"), Some("SyntaxError in app.py:3")));
    assert!(bench.pass(600_000).is_empty());
    bench.changed("web", "lib.py 1 2");
    assert_eq!(bench.checks(), [(2, "app.py lib.py".to_owned())]);
    bench.checked("web", 2, Ok(())).ends("web", End::Code(0)).spawned("web");
    assert_eq!(bench.service("web").reload.unwrap().generation, 2);
}

#[test]
fn a_failing_check_that_is_mended_by_changing_back_restarts_nothing() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").checked("web", 1, Err("SyntaxError")).changed("web", "app.py 2 1");
    assert_eq!((bench.last.len(), bench.run("web").0), (0, 1));
    assert_eq!(bench.service("web").reload.unwrap().last.as_deref(), Some("failed"), "that is how it went");
}

#[test]
fn a_change_during_the_check_begins_another_and_the_earlier_says_nothing() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").changed("web", "lib.py 1 2");
    assert_eq!(bench.checks(), [(2, "app.py lib.py".to_owned())]);
    for result in [Ok(()), Err("late")] {
        let stale = bench.core.stale();
        bench.checked("web", 1, result);
        assert_eq!((bench.last.len(), bench.core.stale()), (0, stale + 1));
    }
    bench.checked("web", 2, Ok(()));
    assert_eq!((bench.blows(), bench.reloads().len()), (vec!["web TERM".to_owned()], 1), "all of it is one reload");
}

#[test]
fn a_change_taken_back_during_the_check_drops_it() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").changed("web", "app.py 2 1");
    assert_eq!(bench.last, [Action::DropCheck { service: target("web").service }]);
    assert_eq!((bench.state("web"), bench.reloads().len()), (State::Running, 1));
    bench.checked("web", 1, Ok(()));
    assert_eq!(bench.last, []);
}

#[test]
fn a_check_without_anything_to_look_at_is_left_out() {
    for (words, change, checks) in
        [("compile {changed}", "app.py 1 0", 0), ("compile {changed}", "app.py 1 2", 1), ("make", "app.py 1 0", 1)]
    {
        let mut bench = one(|s| with_check(s, words));
        bench.changed("web", change);
        assert_eq!((bench.checks().len(), bench.blows().len()), (checks, 1 - checks), "{words} {change}");
    }
}

#[test]
fn what_failed_is_checked_before_it_is_tried() {
    let mut bench = one(|s| {
        s.waits_for_change = true;
        with_check(s, "compile {changed}");
    });
    bench.ends("web", End::Code(1));
    bench.changed("web", "app.py 1 2");
    assert_eq!((bench.checks().len(), bench.state("web")), (1, State::Failed));
    bench.checked("web", 1, Err("SyntaxError"));
    assert_eq!(
        (bench.state("web"), bench.status("web").reason.as_deref()),
        (State::Failed, Some("check failed: SyntaxError"))
    );
    bench.changed("web", "app.py 2 3").checked("web", 2, Ok(()));
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn what_crashes_during_the_check_is_not_started_with_unchecked_files_at_once() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").ends("web", End::Code(1));
    assert_eq!(bench.state("web"), State::Backoff);
    bench.checked("web", 1, Ok(()));
    assert_eq!(bench.spawns(), ["web/1"]);
    // One that restarts by itself meanwhile has the new files: the check is not waited for.
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").ends("web", End::Code(1));
    bench.pass(250);
    bench.spawned("web");
    assert!(bench.last.contains(&Action::DropCheck { service: target("web").service }));
    assert_eq!(bench.reloads()[1], "reload_done app.py: ready after 250ms");
}

#[test]
fn a_reload_with_a_check_that_comes_during_a_roll_holds_it_up() {
    let mut bench = three(|s| with_check(s, "compile {changed}"));
    bench.changed("web", "app.py 1 2").checked("web", 1, Ok(()));
    bench.changed("web", "app.py 2 3");
    turn(&mut bench, "web/1");
    assert_eq!(
        states(&bench),
        [State::Running, State::Reloading, State::Reloading],
        "nobody starts with unchecked files"
    );
    bench.checked("web", 2, Err("SyntaxError"));
    assert_eq!(states(&bench), [State::Running; 3]);
    bench.changed("web", "app.py 3 2").checked("web", 3, Ok(()));
    // The first began after the second change was told; only the others have old code, or so the core must believe.
    assert_eq!(bench.reloads().len(), 3);
}

fn hup(change: impl FnOnce(&mut ServicePlan)) -> Bench {
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
    assert_eq!(bench.reloads(), ["reload_started app.py changed", "reload_done app.py: ready after 0ms"]);
    let reload = bench.service("web").reload.unwrap();
    assert_eq!((reload.mode.as_str(), reload.generation), ("signal", 2));
    bench.ends("web", End::Code(1));
    bench.changed("web", "app.py 2 3");
    assert_eq!((bench.blows().len(), bench.spawns()), (0, vec!["web/1".to_owned()]));
}

fn notifying(s: &mut ServicePlan) {
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

#[test]
fn a_person_reloads_without_any_change() {
    let mut bench = one(|s| with_check(s, "compile {changed}"));
    let id = bench.reload("web");
    assert_eq!((bench.checks().len(), bench.blows()), (0, vec!["web TERM".to_owned()]), "there is nothing to check");
    assert_eq!(bench.reloads(), ["reload_started asked for by uid 1000, pts/3"]);
    assert_eq!(bench.told("web", EventWord::Stopping)[0].cause, Some(Cause::User));
    bench.pass(40);
    bench.ends("web", End::Code(0)).spawned("web");
    let outcome = bench.answers[&id].as_ref().unwrap();
    assert_eq!((outcome.services[0].message.as_str(), outcome.services[0].gap_ms), ("ready after 40ms", Some(40)));
    assert_eq!(bench.reloads()[1], "reload_done ready after 40ms");
}

#[test]
fn a_person_is_told_that_the_check_failed() {
    for (runs, message) in
        [(true, "check failed: SyntaxError; the running one stays"), (false, "check failed: SyntaxError")]
    {
        let mut bench = one(|s| {
            s.waits_for_change = true;
            with_check(s, "make");
        });
        if !runs {
            bench.ends("web", End::Code(1));
        }
        let id = bench.reload("web");
        assert!(!bench.answers.contains_key(&id));
        bench.checked("web", 1, Err("SyntaxError"));
        let denied = bench.answers[&id].as_ref().unwrap_err();
        assert_eq!((denied.code, denied.message.as_str()), (DeniedCode::Failed, message));
    }
}

#[test]
fn a_person_is_told_that_the_new_code_failed() {
    let mut bench = three(|_| {});
    let id = bench.reload("web");
    bench.ends("web/1", End::Code(0)).spawned("web/1").ends("web/1", End::Code(1));
    let denied = bench.answers[&id].as_ref().unwrap_err();
    assert_eq!(denied.message, "web/1 ended before it was ready: exit code 1; the others stay as they are");
}

#[test]
fn a_reload_asked_for_during_another_is_part_of_it() {
    let mut bench = three(|_| {});
    bench.changed("web", "app.py 1 2");
    turn(&mut bench, "web/1");
    let id = bench.reload("web");
    for text in ["web/2", "web/1", "web/3"] {
        assert!(!bench.answers.contains_key(&id), "{text}");
        turn(&mut bench, text);
    }
    if !bench.answers.contains_key(&id) {
        turn(&mut bench, "web/2");
    }
    assert!(bench.answers[&id].is_ok());
    assert_eq!(bench.reloads().len(), 2, "{:?}", bench.reloads());
}

#[test]
fn a_reload_by_signal_is_answered_when_it_is_done() {
    let mut bench = hup(notifying);
    bench.says("web", Notice::Ready);
    let id = bench.reload("web");
    assert_eq!((bench.blows(), bench.answers.contains_key(&id)), (vec!["web HUP".to_owned()], false));
    bench.says("web", Notice::Ready);
    assert!(bench.answers[&id].is_ok());
    let id = bench.ask(Command::Reload(vec![target("web")]), Some(1_000));
    bench.pass(1_000);
    let denied = bench.answers[&id].as_ref().unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (DeniedCode::TimedOut, "still waiting after 1s for web (reloading)")
    );
}

#[test]
fn a_reload_of_what_is_down_starts_it_and_what_it_needs() {
    let mut bench = Bench::new(vec![service("db", |_| {}), watched("web", |s| needs(s, "db", Until::Ready))]);
    bench.spawned("db").spawned("web");
    bench.ask(Command::Stop(vec![target("web"), target("db")]), None);
    bench.ends("web", End::Code(0)).ends("db", End::Code(0));
    let id = bench.reload("web");
    assert_eq!(bench.spawns(), ["db/1"]);
    bench.spawned("db").spawned("web");
    assert_eq!(bench.answers[&id].as_ref().unwrap().notes, ["starts db too, which is needed"]);
    assert_eq!(bench.reloads(), [""; 0]);
    bench.ask(Command::Down { force: false }, None);
    let id = bench.reload("web");
    assert_eq!(bench.answers[&id].as_ref().unwrap_err().code, DeniedCode::Unavailable);
}

#[test]
fn a_stop_ends_a_reload_without_a_word() {
    let mut bench = one(|s| with_check(s, "make"));
    let id = bench.reload("web");
    bench.stop("web");
    assert!(bench.last.contains(&Action::DropCheck { service: target("web").service }));
    assert_eq!(bench.answers[&id].as_ref().unwrap_err().message, "web was stopped meanwhile");
    bench.ends("web", End::Code(0));
    bench.start("web");
    bench.spawned("web");
    assert_eq!((bench.reloads().len(), bench.run("web").0), (1, 2));
    assert_eq!(bench.service("web").reload.unwrap().last, None);
}

#[test]
fn a_restart_at_once_takes_no_change_from_the_others() {
    let mut bench = three(|_| {});
    bench.changed("web", "app.py 1 2");
    bench.ask(Command::Restart { targets: vec![target("web/2")], now: true }, None);
    for text in ["web/2", "web/1", "web/3"] {
        turn(&mut bench, text);
    }
    assert_eq!((bench.run("web/1").0, bench.run("web/2").0, bench.run("web/3").0), (2, 2, 2));
    assert_eq!(bench.reloads()[1], "reload_done app.py: ready after 60ms");
}

/// It writes `cache.json` anew right after each start.
fn write_own(bench: &mut Bench, round: u64, after: u64) {
    bench.pass(after);
    bench.changed("web", &format!("cache.json {round} {}", round + 1));
}

#[test]
fn a_file_that_it_writes_itself_is_dropped_after_three_starts_for_it() {
    let mut bench = one(|_| {});
    for round in 1..=3 {
        write_own(&mut bench, round, 100);
        assert_eq!(bench.blows(), ["web TERM"], "{round}");
        bench.ends("web", End::Code(0)).spawned("web");
    }
    write_own(&mut bench, 4, 100);
    assert_eq!(bench.last, [Action::Disregard { service: target("web").service, path: "/srv/cache.json".into() }]);
    let warnings = bench.service("web").warnings;
    assert_eq!(warnings[0].code, "self_writing");
    assert_eq!(
        warnings[0].message,
        "everup pays no more attention to cache.json: web writes it itself right after each start"
    );
    write_own(&mut bench, 5, 10_000);
    assert_eq!(bench.last, [], "what slips through is not heard");
    bench.changed("web", "app.py 1 2, cache.json 6 7");
    assert_eq!(bench.reloads().last().unwrap(), "reload_started app.py changed");
    bench.ends("web", End::Code(0)).spawned("web");
    bench.apply(vec![watched("web", |s| s.watch.as_mut().unwrap().poll = true)], &[]);
    assert_eq!(bench.service("web").warnings, []);
    bench.changed("web", "cache.json 7 8");
    assert_eq!(bench.blows(), ["web TERM"], "another way of watching begins anew");
}

#[test]
fn only_what_follows_each_start_in_a_row_is_its_own_writing() {
    // A change that comes late, one that was there before the start, a start for another reason, and a person's saves,
    // which take longer one time than the other.
    for (way, after) in [("late", 2_000), ("early", 0), ("restarted", 100), ("unsteady", 200)] {
        let mut bench = one(|_| {});
        for round in 1..=6 {
            let before = Moment(bench.now.saturating_sub(10));
            match way {
                "unsteady" => write_own(&mut bench, round, after + 300 * (round % 3)),
                "early" => _ = bench.step(changed("web", &format!("cache.json {round} {}", round + 1), before)),
                _ => write_own(&mut bench, round, after),
            }
            assert_eq!(bench.blows(), ["web TERM"], "{way} {round}");
            bench.ends("web", End::Code(0)).spawned("web");
            if way == "restarted" && round % 2 == 0 {
                bench.restart("web");
                bench.ends("web", End::Code(0)).spawned("web");
            }
        }
    }
}

#[test]
fn a_reload_signal_counts_as_a_start_for_what_it_writes() {
    let mut bench = hup(|_| {});
    for round in 1..=3 {
        write_own(&mut bench, round, 100);
        assert_eq!(bench.blows(), ["web HUP"], "{round}");
    }
    write_own(&mut bench, 4, 100);
    assert_eq!(bench.blows(), [""; 0]);
}

#[test]
fn what_is_no_longer_watched_is_neither_checked_nor_swapped() {
    let mut bench = one(|s| with_check(s, "make"));
    bench.changed("web", "app.py 1 2");
    bench.apply(vec![watched("web", |s| s.watch = None)], &[]);
    assert!(bench.last.contains(&Action::DropCheck { service: target("web").service }));
    assert_eq!((bench.state("web"), bench.run("web").0), (State::Running, 1));
}

#[test]
fn another_check_is_tried_on_what_failed_before() {
    let mut bench = one(|s| with_check(s, "make"));
    bench.changed("web", "app.py 1 2").checked("web", 1, Err("no rule"));
    bench.apply(vec![watched("web", |s| with_check(s, "make all"))], &[]);
    assert_eq!(bench.checks(), [(2, "app.py".to_owned())]);
}

#[test]
fn the_end_of_everup_waits_for_new_code() {
    let mut plan = crate::core::instance::tests::project(vec![watched("web", |s| {
        s.restart.policy = Policy::Never;
        with_check(s, "make");
    })]);
    plan.exit_with = Some(target("web").service);
    let mut bench = Bench::with(plan, crate::core::supervisor::Seeds::default());
    bench.spawned("web").changed("web", "app.py 1 2").ends("web", End::Code(3));
    assert!(!bench.core.is_ending(), "it may be started again");
    bench.checked("web", 1, Err("no"));
    assert_eq!(bench.last.last(), Some(&Action::Exit { code: 3 }));
}

#[test]
fn a_shutdown_drops_the_check_and_hears_no_files() {
    let mut bench = one(|s| with_check(s, "make"));
    bench.changed("web", "app.py 1 2");
    bench.ask(Command::Down { force: false }, None);
    assert!(bench.last.contains(&Action::DropCheck { service: target("web").service }));
    bench.changed("web", "app.py 2 3");
    assert_eq!(bench.last, []);
}
