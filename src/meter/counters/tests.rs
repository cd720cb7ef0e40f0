//! Counts over restarts.

use super::*;

fn fact(event: EventWord, run: u64) -> Fact {
    Fact { run: Some(Run(run)), ..Fact::new(event) }
}

fn count(counters: &mut Counters, fact: &Fact, at: u64) {
    counters.happened(fact, Kind::Service, Moment(at));
}

#[test]
fn causes_and_outcomes_are_counted_where_they_stand_in_their_lists() {
    for (place, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, place);
    }
    for (place, kind) in ExitKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
    }
    for (place, outcome) in ProbeOutcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place);
    }
    for (place, trigger) in Trigger::ALL.into_iter().enumerate() {
        assert_eq!(trigger as usize, place);
    }
    for (place, outcome) in ReloadOutcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place);
    }
}

#[test]
fn restarts_are_those_the_core_counts() {
    let mut counters = Counters::default();
    count(&mut counters, &fact(EventWord::Starting, 1), 0);
    let again = |run, cause| Fact { cause: Some(Cause::User), restart: cause, ..fact(EventWord::Starting, run) };
    count(&mut counters, &again(2, Some(Cause::Exit)), 10);
    count(&mut counters, &again(3, Some(Cause::Probe)), 20);
    count(&mut counters, &again(4, None), 30);
    assert_eq!(counters.starts, 4);
    assert_eq!(counters.restarts.iter().sum::<u64>(), 2);
    assert_eq!(counters.restarts[Cause::Exit as usize], 1);
    assert_eq!(counters.restarts[Cause::Probe as usize], 1);
}

#[test]
fn a_start_lasts_until_ready_and_a_stop_until_gone() {
    let mut counters = Counters::default();
    count(&mut counters, &fact(EventWord::Starting, 1), 1_000);
    count(&mut counters, &fact(EventWord::Started, 1), 1_010);
    assert_eq!(counters.startup.count(), 0);
    count(&mut counters, &fact(EventWord::Ready, 1), 1_300);
    // Ready again after a bad time is no start.
    count(&mut counters, &fact(EventWord::Ready, 1), 9_000);
    assert_eq!((counters.startup.count(), counters.startup.sum()), (1, 0.3));
    counters.gone(Moment(9_500));
    assert_eq!(counters.stop.count(), 0, "it was not asked to end");
    count(&mut counters, &fact(EventWord::Stopping, 1), 10_000);
    count(&mut counters, &fact(EventWord::Ended, 1), 10_100);
    counters.gone(Moment(10_250));
    assert_eq!((counters.stop.count(), counters.stop.sum()), (1, 0.25));
    counters.happened(&fact(EventWord::Starting, 2), Kind::Task, Moment(20_000));
    counters.happened(&fact(EventWord::Started, 2), Kind::Task, Moment(20_500));
    assert_eq!((counters.startup.count(), counters.startup.sum()), (2, 0.8));
}

#[test]
fn every_end_is_of_one_kind() {
    use crate::model::signal::Signal;
    let end = |cause, code, signal| Fact { cause: Some(cause), code, signal, ..fact(EventWord::Ended, 7) };
    for (fact, killed, expected) in [
        (end(Cause::Exit, Some(0), None), false, ExitKind::Success),
        (end(Cause::Exit, Some(3), None), false, ExitKind::Error),
        (end(Cause::SpawnError, None, None), false, ExitKind::Error),
        (end(Cause::User, None, Some(Signal::TERM)), false, ExitKind::Signal),
        (end(Cause::User, None, Some(Signal::KILL)), true, ExitKind::Timeout),
        (end(Cause::Watchdog, Some(0), None), false, ExitKind::Timeout),
        (end(Cause::StartTimeout, None, Some(Signal::TERM)), false, ExitKind::Timeout),
        (end(Cause::Oom, None, Some(Signal::KILL)), true, ExitKind::Oom),
    ] {
        let mut counters = Counters::default();
        if killed {
            counters.killed(Run(7));
        }
        count(&mut counters, &fact, 5);
        assert_eq!(counters.exits[expected as usize], 1, "{fact:?}");
        assert_eq!(counters.exits.iter().sum::<u64>(), 1);
    }
    // A kill of the run before says nothing about this one.
    let mut counters = Counters::default();
    counters.killed(Run(6));
    count(&mut counters, &end(Cause::User, None, Some(Signal::TERM)), 5);
    assert_eq!(counters.exits[ExitKind::Signal as usize], 1);
}

#[test]
fn reloads_count_by_what_asked_for_them_and_what_became_of_them() {
    let mut counters = Counters::default();
    let done = Fact {
        cause: Some(Cause::Watch),
        reload: Some(ReloadOutcome::Ok),
        ran_ms: Some(250),
        ..fact(EventWord::ReloadDone, 1)
    };
    count(&mut counters, &done, 5);
    let stayed = Fact {
        cause: Some(Cause::User),
        reload: Some(ReloadOutcome::RolledBack),
        ..fact(EventWord::ReloadRolledBack, 1)
    };
    count(&mut counters, &stayed, 5);
    assert_eq!(counters.reloads, [[1, 0, 0], [0, 0, 0], [0, 1, 0]]);
    assert_eq!((counters.reload_duration.count(), counters.reload_duration.sum()), (1, 0.25));
}

#[test]
fn the_wait_in_force_ends_with_the_next_start() {
    let mut counters = Counters::default();
    count(&mut counters, &Fact { delay_ms: Some(500), ..fact(EventWord::Backoff, 1) }, 5);
    assert_eq!(counters.backoff, Duration::from_millis(500));
    count(&mut counters, &fact(EventWord::Starting, 2), 505);
    assert_eq!(counters.backoff, Duration::ZERO);
}

#[test]
fn probes_count_by_role_and_outcome() {
    let mut counters = Counters::default();
    counters.probed(ProbeRole::Liveness, ProbeOutcome::Success, 4.0);
    counters.probed(ProbeRole::Liveness, ProbeOutcome::Timeout, 5_000.0);
    counters.probed(ProbeRole::Startup, ProbeOutcome::Refused, 0.2);
    let liveness = &counters.probes[&ProbeRole::Liveness];
    assert_eq!((liveness.results, liveness.passed, liveness.duration.count()), ([1, 0, 1, 0, 0], false, 2));
    assert_eq!(counters.probes[&ProbeRole::Startup].results, [0, 0, 0, 1, 0]);
    let verdict = Verdict::Skip { message: "held up".to_owned() };
    assert_eq!(ProbeOutcome::of(&verdict), None);
}

#[test]
fn only_a_proven_kill_for_memory_is_counted_as_one() {
    let mut counters = Counters::default();
    let end = |certainty| Fact { cause: Some(Cause::Oom), certainty: Some(certainty), ..fact(EventWord::Ended, 1) };
    count(&mut counters, &end(Certainty::Likely), 5);
    assert_eq!((counters.totals.oom_kills, counters.exits[ExitKind::Oom as usize]), (None, 1));
    count(&mut counters, &end(Certainty::Certain), 6);
    assert_eq!((counters.totals.oom_kills, counters.exits[ExitKind::Oom as usize]), (Some(1), 2));
}
