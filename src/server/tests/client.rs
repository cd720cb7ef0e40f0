//! The client against the server.

use std::time::Duration;

use crate::client::action::Action;
use crate::client::lines::{EventArgs, LogArgs, Streamed};
use crate::client::{Client, ClientError};
use crate::model::command::DeniedCode;
use crate::model::event::EventRecord;
use crate::model::signal::Signal;
use crate::server::tests::world::{World, eventually};

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

#[test]
fn every_call_has_its_route() {
    let world = World::new();
    let client = Client::connect(&world.socket).unwrap();
    assert_eq!(client.status().unwrap().services.len(), 5);
    assert_eq!(client.service("web/2").unwrap().instances.len(), 1);
    assert_eq!(client.why("web", Some(3)).unwrap().entries, []);
    assert_eq!(client.probe("w*").unwrap().len(), 2);
    let on = |selector: &str| selector.to_owned();
    for (action, asked) in [
        (Action::Start(on("w*")), "Start([Target { service: ServiceName(\"web\"), index: None }, Target"),
        (Action::Stop(on("web/2")), "Stop([Target { service: ServiceName(\"web\"), index: Some(2) }]) wait Some(1s)"),
        (Action::Restart { selector: on("web"), now: false }, "Restart {"),
        (Action::Restart { selector: on("web"), now: true }, "Restart {"),
        (Action::Signal { selector: on("web"), signal: Signal::HUP }, "Signal {"),
        (Action::Scale { service: on("web"), instances: 3 }, "Scale {"),
        (Action::Up { config: Some("supervisor.yaml".into()), start: vec![], dry_run: false }, "up Some(\"/"),
        (Action::Up { config: None, start: vec![], dry_run: true }, "up None"),
    ] {
        client.act(&action, SECOND).unwrap();
        let found = world.asked();
        assert!(found.len() == 1 && found[0].starts_with(asked), "{action:?}: {found:?}");
    }
    assert_eq!(
        client.logs(&LogArgs { selectors: vec![on("web/2"), on("worker")], ..LogArgs::default() }).unwrap().count(),
        0
    );
    assert!(client.act(&Action::Down { force: false }, SECOND).unwrap().done);
}

#[test]
fn refusals_and_absence_are_told_apart() {
    let world = World::new();
    let client = Client::connect(&world.socket).unwrap();
    let code = |error: ClientError| match error {
        ClientError::Denied(denied) => denied.code,
        other => panic!("{other}"),
    };
    assert_eq!(code(client.service("wbe").unwrap_err()), DeniedCode::NoSuchService);
    assert_eq!(code(client.act(&Action::Start("slow".to_owned()), SECOND).unwrap_err()), DeniedCode::TimedOut);
    let bad = LogArgs { grep: Some("(".to_owned()), ..LogArgs::default() };
    assert_eq!(code(client.logs(&bad).unwrap_err()), DeniedCode::BadRequest);
    let nowhere = world.socket.with_extension("gone");
    assert!(matches!(Client::connect(&nowhere), Err(ClientError::NoSupervisor { .. })));
    drop(world);
    assert!(matches!(client.status(), Err(ClientError::NoSupervisor { .. })));
}

#[test]
fn while_a_change_is_under_way_the_status_can_be_asked() {
    let world = World::new();
    let client = Client::connect(&world.socket).unwrap();
    let mut stuck = client.begin(&Action::Stop("stuck".to_owned()), SECOND).unwrap();
    assert_eq!(stuck.poll(Duration::from_millis(30)).unwrap(), None);
    assert_eq!(client.status().unwrap().project, "shop");
    drop(stuck);
    eventually("the asker is missed", || *world.abandoned.lock().unwrap() == 1);
    let mut quick = client.begin(&Action::Stop("web".to_owned()), SECOND).unwrap();
    eventually("the answer comes", || quick.poll(Duration::from_millis(30)).unwrap().is_some());
    assert_eq!(quick.poll(Duration::from_millis(1)).unwrap(), None, "once");
}

#[test]
fn a_stream_is_an_iterator() {
    let world = World::new();
    let client = Client::connect(&world.socket).unwrap();
    world.event(7);
    let args = EventArgs { since: Some("seq:3".to_owned()), follow: true, ..EventArgs::default() };
    let mut events = client.events(&args).unwrap();
    let mut next = || -> Streamed<EventRecord> { events.next().unwrap().unwrap() };
    assert_eq!(next(), Streamed::Lost(3));
    assert!(matches!(next(), Streamed::Item(event) if event.seq == 7));
    world.event(8);
    assert!(matches!(next(), Streamed::Item(event) if event.seq == 8));
    world.shutdown.send(true).unwrap();
    assert!(events.next().is_none());
}
