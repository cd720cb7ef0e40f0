use super::*;
use crate::model::status::LastEnd;
use crate::model::units::Timestamp;
use crate::server::tests::canned;

const GUARDIAN: Pid = Pid(4_711);

fn announcer(beat: Option<Duration>) -> Announcer {
    Announcer { wanted: true, beat, ..Announcer::default() }
}

fn at(ms: u64) -> Moment {
    Moment(ms)
}

/// Three services on their way: `web` needs `db`.
fn starting() -> Status {
    let mut status = canned::status(&[("web", 1), ("db", 1), ("job", 2)]);
    for service in &mut status.services {
        service.ready = false;
        service.healthy = None;
        for instance in &mut service.instances {
            instance.ready = false;
        }
    }
    put(&mut status, 0, State::Waiting, false);
    put(&mut status, 1, State::Starting, false);
    put(&mut status, 2, State::Starting, false);
    status
}

fn put(status: &mut Status, service: usize, state: State, ready: bool) {
    let service = &mut status.services[service];
    (service.state, service.ready) = (state, ready);
    for instance in &mut service.instances {
        (instance.state, instance.ready) = (state, ready);
        instance.last_end = None;
    }
}

fn says(announcer: &mut Announcer, status: &Status, ms: u64) -> Vec<String> {
    let said = announcer.next(&Arc::new(status.clone()), GUARDIAN, at(ms)).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn ready_is_said_once_and_only_when_every_start_is_decided() {
    let mut announcer = announcer(None);
    let mut status = starting();
    assert_eq!(
        says(&mut announcer, &status, 0),
        ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=0 of 3 ready, web waiting, db starting, job starting"]
    );
    put(&mut status, 1, State::Running, true);
    put(&mut status, 0, State::Starting, false);
    assert_eq!(says(&mut announcer, &status, 1), [""; 0]);
    // One of the two instances has ended by itself: its first attempt is over, also while it tries again.
    status.services[2].instances[0].last_end = Some(LastEnd {
        run: crate::model::names::Run(1),
        cause: crate::model::service::Cause::Exit,
        certainty: crate::model::service::Certainty::Certain,
        code: Some(1),
        signal: None,
        at: Timestamp(0),
        ran_ms: 5,
    });
    put(&mut status, 0, State::Running, true);
    assert_eq!(says(&mut announcer, &status, 2), [""; 0]);
    status.services[2].instances[1].ready = true;
    let said = says(&mut announcer, &status, 3);
    assert_eq!(said, ["READY=1", "MAINPID=4711", "STATUS=2 of 3 running, job starting"]);
    put(&mut status, 2, State::Running, true);
    assert_eq!(says(&mut announcer, &status, 4), [""; 0], "the line rests");
    assert_eq!(announcer.next_deadline(), Some(at(503)));
    assert_eq!(says(&mut announcer, &status, 503), ["STATUS=3 of 3 running"]);
    assert_eq!(announcer.next_deadline(), Some(at(10_000)));
    assert_eq!(says(&mut announcer, &status, 10_000), [""; 0], "nobody asked for a watchdog");
    assert_eq!(announcer.next_deadline(), None);
}

#[test]
fn what_waits_for_a_failed_one_keeps_no_start_open() {
    let mut announcer = announcer(None);
    let mut status = starting();
    put(&mut status, 1, State::Failed, false);
    put(&mut status, 2, State::Exited, false);
    let said = says(&mut announcer, &status, 0);
    assert_eq!(said[0], "READY=1");
    assert_eq!(said.last().unwrap(), "STATUS=0 of 2 running, web waiting, db failed");
}

#[test]
fn the_watchdog_hears_of_every_half_period() {
    let mut announcer = announcer(Some(Duration::from_secs(15)));
    let mut status = starting();
    assert_eq!(says(&mut announcer, &status, 0)[..2], ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]);
    assert_eq!(announcer.next_deadline(), Some(at(10_000)), "progress comes more often");
    for service in 0..3 {
        put(&mut status, service, State::Running, true);
    }
    assert_eq!(says(&mut announcer, &status, 9_999)[0], "READY=1");
    assert_eq!(says(&mut announcer, &status, 10_000), ["WATCHDOG=1"]);
    assert_eq!(announcer.next_deadline(), Some(at(25_000)));
    assert_eq!(says(&mut announcer, &status, 24_999), [""; 0]);
    assert_eq!(says(&mut announcer, &status, 25_000), ["WATCHDOG=1"]);
}

#[test]
fn a_reload_is_framed_and_a_refused_file_stays_in_the_line() {
    let mut announcer = announcer(None);
    let mut status = starting();
    assert_eq!(announcer.reload(5), None, "a file applied during the start is a part of it");
    for service in 0..3 {
        put(&mut status, service, State::Running, true);
    }
    says(&mut announcer, &status, 0);
    assert_eq!(announcer.reload(77).as_deref(), Some("RELOADING=1\nMONOTONIC_USEC=77"));
    assert_eq!(announcer.reload(78), None, "one at a time");
    announcer.refused = true;
    let said = says(&mut announcer, &status, 1);
    let line = "STATUS=the changed file was refused (everup check says why); 3 of 3 running";
    assert_eq!(said, ["READY=1", line]);
}

#[test]
fn stopping_is_said_once_and_asks_for_time() {
    let mut announcer = announcer(None);
    let mut status = starting();
    for service in 0..3 {
        put(&mut status, service, State::Running, true);
    }
    says(&mut announcer, &status, 0);
    assert_eq!(announcer.stop().as_deref(), Some("STOPPING=1"));
    assert_eq!(announcer.stop(), None);
    assert_eq!(announcer.reload(5), None);
    for service in &mut status.services {
        (service.desired, service.state) = (Desired::Down, State::Stopping);
    }
    status.services[0].instances[0].pid = None;
    let said = says(&mut announcer, &status, 20_000);
    assert_eq!(said, ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=stopping: db, job"]);
    assert_eq!(announcer.next_deadline(), Some(at(30_000)));
}

#[test]
fn a_long_list_of_trouble_is_cut() {
    let mut status = canned::status(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]);
    for service in 0..5 {
        put(&mut status, service, State::Backoff, false);
    }
    status.services[4].state = State::Running;
    status.services[4].healthy = Some(false);
    let line = announcer(None).line(&status);
    assert_eq!(line, "0 of 5 ready, a in backoff, b in backoff, c in backoff and 2 more");
    status.services[0].ready = true;
    status.services[0].state = State::Running;
    assert_eq!(announcer(None).line(&status), "1 of 5 ready, b in backoff, c in backoff, d in backoff and 1 more");
    let line = Announcer { stage: Stage::Ready, ..announcer(None) }.line(&canned::status(&[]));
    assert_eq!(line, "0 of 0 running");
}

#[test]
fn nobody_is_told_where_nobody_asked() {
    let mut announcer = Announcer::default();
    assert_eq!((announcer.reload(1), announcer.stop(), announcer.next_deadline()), (None, None, None));
}
