//! What is told of a story, and when.

use super::*;
use crate::core::instance::tests::{needs, project, service};
use crate::model::plan::Until;
use crate::model::service::Certainty;

/// `at` seconds: an event about `web` (or `web/2`, `api`), or nothing but time.
type Step = (u64, &'static str);

fn plan() -> Plan {
    let mut web = service("web", |_| {});
    web.instances = 2;
    project(vec![web, service("api", |s| needs(s, "web", Until::Ready))])
}

fn fact(words: &str) -> Fact {
    let (event, who) = words.split_once(' ').unwrap_or((words, "web"));
    let (name, index) = who.split_once('/').unwrap_or((who, "1"));
    let event_word = |word: &str| serde_json::from_value(word.into()).unwrap();
    let (event, cause) = match event {
        "oom" => (EventWord::Ended, Some(Cause::Oom)),
        "crash" => (EventWord::Ended, Some(Cause::Exit)),
        "needs" => (EventWord::Failed, Some(Cause::Dependency)),
        "user" => (EventWord::Ended, Some(Cause::User)),
        word => (event_word(word), None),
    };
    Fact {
        service: Some(ServiceName::new(name).unwrap()),
        index: index.parse().ok(),
        cause,
        certainty: Some(Certainty::Certain),
        ..Fact::new(event)
    }
}

/// Plays the steps; between them whatever is due comes at its own time. Gives `SECOND KIND WHO xTIMES` a message.
fn told(steps: &[Step]) -> Vec<String> {
    let (mut alarms, plan, mut told) = (Alarms::default(), plan(), vec![]);
    let mut note = |at: Moment, due: Vec<Alarm>| {
        for alarm in due {
            let times = if alarm.times > 1 { format!(" x{}", alarm.times) } else { String::new() };
            told.push(format!("{} {:?} {}{times}", at.0 / 1_000, alarm.on, alarm.fact.instance().unwrap()));
        }
    };
    for (second, what) in steps {
        let now = Moment(second * 1_000);
        while let Some(at) = alarms.next_deadline().filter(|at| *at <= now) {
            let due = alarms.due(at);
            assert!(alarms.next_deadline() != Some(at), "a deadline that does not pass: {steps:?}");
            note(at, due);
        }
        if !what.is_empty() {
            note(now, alarms.hear(&fact(what), &plan, now));
        }
    }
    told
}

#[test]
fn trouble_is_told_once_while_it_lasts_and_its_end_once() {
    let cases: &[(&[Step], &[&str])] = &[
        (&[(0, "failed"), (9, "starting"), (10, "failed"), (300, "failed")], &["0 Failed web/1"]),
        (&[(0, "failed"), (100, "starting"), (101, "ready"), (200, "")], &["0 Failed web/1", "111 Recovered web/1"]),
        (
            &[(0, "failed"), (100, "ready"), (105, "crash"), (200, "ready"), (205, "unready"), (300, "")],
            &["0 Failed web/1"],
        ),
        (
            &[(0, "crash_looping"), (70, "ready"), (75, "recovered"), (200, "ready"), (400, "")],
            &["0 CrashLooping web/1", "75 Recovered web/1"],
        ),
        // Another kind is news of its own; one recovery ends both.
        (
            &[(0, "crash_looping"), (70, "failed"), (100, "ready"), (400, "")],
            &["0 CrashLooping web/1", "70 Failed web/1", "110 Recovered web/1"],
        ),
        // Recovered, and failed again later: told again.
        (
            &[(0, "failed"), (5, "completed"), (500, "failed"), (600, "completed")],
            &["0 Failed web/1", "5 Recovered web/1", "500 Failed web/1", "600 Recovered web/1"],
        ),
        // Without trouble nobody hears of health.
        (&[(0, "starting"), (1, "ready"), (2, "recovered"), (3, "healthy"), (9, "crash"), (100, "")], &[]),
        // The service has recovered when the last of its instances has.
        (
            &[(0, "failed web/1"), (1, "failed web/2"), (2, "ready web/1"), (100, "ready web/2"), (200, "")],
            &["0 Failed web/1", "110 Recovered web/2"],
        ),
        // Ready is not enough while it is unhealthy.
        (
            &[(0, "failed"), (10, "ready"), (15, "unhealthy"), (40, "healthy"), (100, "")],
            &["0 Failed web/1", "50 Recovered web/1"],
        ),
    ];
    for (steps, expected) in cases {
        assert_eq!(told(steps), *expected, "{steps:?}");
    }
}

#[test]
fn of_one_kind_at_most_one_a_minute_goes_out() {
    let cases: &[(&[Step], &[&str])] = &[
        (
            &[(0, "oom"), (10, "oom"), (20, "oom"), (70, "oom"), (300, "")],
            &["0 Oom web/1", "60 Oom web/1 x2", "120 Oom web/1"],
        ),
        (&[(0, "oom"), (60, "oom")], &["0 Oom web/1", "60 Oom web/1"]),
        // Another service and another kind have their own minute.
        (&[(0, "oom"), (1, "oom api"), (2, "failed")], &["0 Oom web/1", "1 Oom api/1", "2 Failed web/1"]),
        // Flapping: the second round is held back, trouble before its end.
        (
            &[(0, "failed"), (2, "completed"), (10, "failed"), (12, "completed"), (300, "")],
            &["0 Failed web/1", "2 Recovered web/1", "60 Failed web/1", "62 Recovered web/1"],
        ),
        (
            &[
                (0, "failed"),
                (2, "completed"),
                (10, "failed"),
                (11, "completed"),
                (12, "failed"),
                (13, "completed"),
                (300, ""),
            ],
            &["0 Failed web/1", "2 Recovered web/1", "60 Failed web/1 x2", "62 Recovered web/1"],
        ),
        // A recovery that did not last is not told after the trouble has come back.
        (
            &[(0, "failed"), (2, "completed"), (50, "failed"), (58, "completed"), (61, "failed"), (300, "")],
            &["0 Failed web/1", "2 Recovered web/1", "60 Failed web/1", "120 Failed web/1"],
        ),
    ];
    for (steps, expected) in cases {
        assert_eq!(told(steps), *expected, "{steps:?}");
    }
}

#[test]
fn what_was_meant_says_nothing() {
    let cases: &[(&[Step], &[&str])] = &[
        (&[(0, "stopping"), (1, "user"), (2, "held"), (300, "")], &[]),
        // Stopped by a person: its trouble is over without a word, and the next one is news.
        (&[(0, "failed"), (9, "held"), (90, "ready"), (200, "failed")], &["0 Failed web/1", "200 Failed web/1"]),
        // Whoever needs what failed fails with it; the one message names the one that is to blame.
        (
            &[(0, "failed"), (0, "needs api"), (50, "completed web/1"), (51, "ready api"), (300, "")],
            &["0 Failed web/1", "50 Recovered web/1"],
        ),
        (&[(0, "needs api"), (100, "ready api"), (300, "")], &["0 Failed api/1", "110 Recovered api/1"]),
    ];
    for (steps, expected) in cases {
        assert_eq!(told(steps), *expected, "{steps:?}");
    }
}

#[test]
fn what_is_scaled_away_keeps_nobody_in_trouble() {
    let (mut alarms, plan) = (Alarms::default(), plan());
    assert_eq!(alarms.hear(&fact("failed web/2"), &plan, Moment(0)).len(), 1);
    alarms.forget(|id| id.index > 1);
    assert_eq!((alarms.due(Moment(1_000)).len(), alarms.0.len()), (0, 1), "its minute still counts");
    assert_eq!((alarms.due(Moment(60_000)).len(), alarms.0.len(), alarms.next_deadline()), (0, 0, None));
    assert_eq!(alarms.hear(&fact("failed web/1"), &plan, Moment(61_000)).len(), 1);
}
