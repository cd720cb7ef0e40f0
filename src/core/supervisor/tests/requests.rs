//! People who ask for a reload, and what comes between.

use crate::core::action::Action;
use crate::core::event::Notice;
use crate::core::instance::tests::{Bench, needs, service, target, watched, with_check};
use crate::core::supervisor::tests::reloads::{hup, notifying, one, three, turn};
use crate::model::command::{Command, DeniedCode};
use crate::model::event::EventWord;
use crate::model::plan::Until;
use crate::model::service::{Cause, End};

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
    bench.changed("web", "app.py 1 2");
    assert_eq!(bench.reloads()[1], "reload_started app.py changed; check: make", "the request is forgotten");
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
