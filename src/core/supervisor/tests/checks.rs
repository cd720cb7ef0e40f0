//! New code is checked before it is swapped in.

use crate::core::action::Action;
use crate::core::instance::tests::{Bench, target, watched, with_check};
use crate::core::supervisor::tests::reloads::{one, states, three, turn};
use crate::model::command::Command;
use crate::model::plan::Policy;
use crate::model::service::{End, State};

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
