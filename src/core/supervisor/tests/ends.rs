//! What follows an end: policy, rules, backoff, forgiveness, limit.

use std::time::Duration;

use crate::core::instance::tests::{Bench, killed, service, task};
use crate::model::event::EventWord;
use crate::model::plan::{CodeRange, LimitPlan, LimitThen, Policy, Rule, RuleThen};
use crate::model::service::{Cause, Certainty, Desired, End, SpawnStage, State};
use crate::model::signal::Signal;

fn running(policy: Policy) -> Bench {
    let mut bench = Bench::new(vec![service("web", |s| s.restart.policy = policy)]);
    bench.spawned("web");
    bench
}

#[test]
fn the_policy_decides_which_ends_are_restarted() {
    let term = || End::Signal { signal: Signal::TERM, core: false };
    for (policy, end, state) in [
        (Policy::Always, End::Code(0), State::Backoff),
        (Policy::Always, End::Code(1), State::Backoff),
        (Policy::UnlessStopped, End::Code(0), State::Backoff),
        (Policy::OnFailure, End::Code(0), State::Exited),
        (Policy::OnFailure, End::Code(1), State::Backoff),
        (Policy::OnFailure, term(), State::Backoff),
        (Policy::Never, End::Code(0), State::Exited),
        (Policy::Never, killed(), State::Exited),
    ] {
        let mut bench = running(policy);
        bench.ends("web", end.clone());
        assert_eq!(bench.state("web"), state, "{policy:?} {end:?}");
    }
}

#[test]
fn an_exit_0_loop_under_always_backs_off() {
    let mut bench = running(Policy::Always);
    let mut told = vec![];
    for _ in 0..4 {
        bench.ends("web", End::Code(0));
        told.push(bench.then("web"));
        bench.pass(60_000);
        bench.spawned("web");
    }
    let expected = ["250ms", "500ms", "1s", "2s"].map(|delay| format!("restarted after {delay}"));
    assert_eq!(told, expected);
}

#[test]
fn good_running_is_forgiven_only_where_the_program_ended_by_itself() {
    let mut bench = running(Policy::Always);
    for (ran_ms, then) in
        [(0, "restarted after 250ms"), (9_999, "restarted after 500ms"), (10_000, "restarted at once")]
    {
        bench.pass(ran_ms);
        bench.ends("web", killed());
        assert_eq!(bench.then("web"), then, "after {ran_ms} ms");
        bench.pass(5_000);
        bench.spawned("web");
    }
    // Forgiven: the next early end begins at the first delay.
    bench.ends("web", killed());
    assert_eq!(bench.then("web"), "restarted after 250ms");
}

#[test]
fn the_first_rule_that_matches_wins() {
    let rule = |codes: &[i32], then| Rule {
        codes: codes.iter().map(|code| CodeRange(*code, *code)).collect(),
        signals: if then == RuleThen::Restart { vec![Signal::KILL] } else { vec![] },
        causes: if then == RuleThen::Slow { vec![Cause::SpawnError] } else { vec![] },
        then,
    };
    let rules = vec![
        rule(&[3], RuleThen::Stop),
        rule(&[3, 4], RuleThen::RestartNow),
        rule(&[5], RuleThen::Restart),
        rule(&[], RuleThen::Slow),
    ];
    let no_program = End::NotSpawned { stage: SpawnStage::Exec, errno: 2 };
    for (end, state, then) in [
        (End::Code(3), State::Failed, "given up: a restart rule says stop"),
        (End::Code(4), State::Starting, "restarted at once"),
        (End::Code(5), State::Backoff, "restarted after 250ms"),
        (killed(), State::Backoff, "restarted after 250ms"),
        (End::Code(6), State::Exited, "left as it is: restart is never"),
        (no_program, State::Backoff, "tried again after 1m (a restart rule says slow)"),
    ] {
        let mut bench = Bench::new(vec![service("web", |s| {
            s.restart.policy = Policy::Never;
            s.restart.rules.clone_from(&rules);
        })]);
        if !matches!(end, End::NotSpawned { .. }) {
            bench.spawned("web");
        }
        bench.ends("web", end.clone());
        assert_eq!((bench.state("web"), bench.then("web").as_str()), (state, then), "{end:?}");
    }
}

#[test]
fn rules_do_not_read_an_answer_to_everups_own_stop() {
    let mut bench = Bench::new(vec![service("web", |s| {
        let then = RuleThen::Stop;
        s.restart.rules =
            vec![Rule { codes: vec![CodeRange(0, 255)], signals: vec![Signal::TERM], causes: vec![], then }];
        s.watchdog = Some(Duration::from_secs(3));
    })]);
    bench.spawned("web");
    bench.pass(3_000);
    bench.ends("web", End::Code(143));
    assert_eq!(bench.then("web"), "restarted after 250ms");
}

#[test]
fn what_cannot_be_started_waits_the_longest_delay_and_what_lacked_memory_the_shortest() {
    for (stage, errno, then) in [
        (SpawnStage::Exec, 2, "restarted after 30s"),
        (SpawnStage::Cwd, 2, "restarted after 30s"),
        (SpawnStage::Exec, 13, "restarted after 30s"),
        (SpawnStage::Fork, 11, "restarted after 250ms"),
        (SpawnStage::Fork, 12, "restarted after 250ms"),
        (SpawnStage::Files, 24, "restarted after 250ms"),
    ] {
        let mut bench = Bench::new(vec![service("web", |_| {})]);
        bench.ends("web", End::NotSpawned { stage, errno });
        assert_eq!(bench.then("web"), then, "{stage} {errno}");
        assert_eq!(bench.status("web").cause, Some(Cause::SpawnError));
    }
}

fn crash(bench: &mut Bench, times: usize) {
    for _ in 0..times {
        bench.ends("web", End::Code(1));
        bench.pass(1_000);
        bench.spawned("web");
    }
}

fn limited(then: LimitThen) -> Bench {
    let mut bench = Bench::new(vec![service("web", |s| {
        s.restart.factor = 1.0;
        s.restart.limit = LimitPlan { count: 3, within: Duration::from_mins(5), then };
    })]);
    bench.spawned("web");
    crash(&mut bench, 3);
    bench.ends("web", End::Code(7));
    bench
}

#[test]
fn a_crash_loop_slows_down_and_stays_slow_until_it_has_recovered() {
    let mut bench = limited(LimitThen::Slow);
    assert_eq!(bench.then("web"), "tried again after 1m (crash-looping)");
    assert_eq!(bench.told("web", EventWord::CrashLooping).len(), 1);
    // The window has emptied, but it has never been good.
    for _ in 0..8 {
        bench.pass(60_000);
        bench.spawned("web");
        bench.ends("web", End::Code(7));
        assert_eq!(bench.then("web"), "tried again after 1m (crash-looping)");
    }
    assert_eq!(bench.told("web", EventWord::CrashLooping).len(), 1, "said once");
    bench.pass(60_000);
    bench.spawned("web");
    bench.pass(10_000);
    assert_eq!(bench.told("web", EventWord::Recovered).len(), 1);
    bench.ends("web", killed());
    assert_ne!(bench.state("web"), State::Failed);
}

#[test]
fn a_limit_can_give_up_or_end_everup() {
    let bench = limited(LimitThen::Stop);
    assert_eq!(bench.state("web"), State::Failed);
    assert_eq!(bench.status("web").reason.as_deref(), Some("restarted 3 times within 5m"));
    let bench = limited(LimitThen::Exit);
    let exits: Vec<_> =
        bench.last.iter().filter(|a| matches!(a, crate::core::action::Action::Exit { code: 7 })).collect();
    assert_eq!(exits.len(), 1, "{:?}", bench.last);
}

#[test]
fn a_task_completes_whatever_its_policy_and_fails_otherwise() {
    for (policy, end, state) in [
        (Policy::Never, End::Code(0), State::Exited),
        (Policy::Always, End::Code(0), State::Exited),
        (Policy::OnFailure, End::Code(1), State::Backoff),
        (Policy::Never, End::Code(1), State::Failed),
        (Policy::Never, killed(), State::Failed),
    ] {
        let mut bench = Bench::new(vec![task("migrate", |s| s.restart.policy = policy)]);
        bench.spawned("migrate").ends("migrate", end.clone());
        assert_eq!(bench.state("migrate"), state, "{policy:?} {end:?}");
        assert_eq!(bench.status("migrate").ready, state == State::Exited);
    }
}

#[test]
fn the_rest_of_a_tree_goes_with_its_main_process_and_nothing_starts_beside_it() {
    let mut bench = running(Policy::Always);
    bench.ends_leaving("web", End::Code(1), false);
    assert_eq!(bench.blows(), ["web KILL tree"]);
    assert_eq!(bench.state("web"), State::Stopping);
    assert_eq!(bench.pass(9_000), []);
    bench.pass(1_000);
    assert_eq!(bench.core.statuses(crate::model::units::Moment(bench.now))[0].warnings[0].code, "unkillable");
    bench.start("web");
    assert!(bench.pass(100_000).iter().all(|a| !matches!(a, crate::core::action::Action::Spawn { .. })));
    bench.tree_gone("web");
    assert_eq!(bench.spawns(), ["web/1"]);
}

#[test]
fn a_signal_that_a_person_had_sent_is_not_called_somebody_elses() {
    use crate::core::instance::tests::target;
    use crate::model::command::Command;
    let mut bench = running(Policy::OnFailure);
    bench.ask(Command::Signal { targets: vec![target("web")], signal: Signal::KILL }, None);
    bench.ends("web", killed());
    let end = bench.status("web").last_end.unwrap();
    assert_eq!((end.cause, end.certainty), (Cause::User, Certainty::Likely));
    assert_eq!((bench.state("web"), bench.status("web").desired), (State::Exited, Desired::Up));
}

#[test]
fn automatic_restarts_over_all_services_keep_to_the_budget() {
    let crowd = service("web", |s| {
        s.instances = 800;
        s.restart.delay = Duration::ZERO;
        s.restart.limit.count = 1_000;
    });
    let mut bench = Bench::new(vec![crowd]);
    assert_eq!(bench.spawns().len(), 800, "boot is not limited");
    for index in 1..=800 {
        bench.spawned(&format!("web/{index}"));
    }
    let mut restarted = 0;
    for index in 1..=800 {
        bench.ends(&format!("web/{index}"), End::Code(1));
        restarted += bench.spawns().len();
    }
    assert_eq!(restarted, 500);
    let spawned = |actions: Vec<crate::core::action::Action>| {
        actions.iter().filter(|a| matches!(a, crate::core::action::Action::Spawn { .. })).count()
    };
    assert!((99..=101).contains(&spawned(bench.pass(1_000))));
    bench.start("web");
    assert_eq!(bench.spawns().len(), 200, "people are not limited");
}
