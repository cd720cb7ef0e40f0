//! When the sockets that everup holds are closed.

use crate::core::action::Action;
use crate::core::instance::tests::{Bench, service};
use crate::model::command::Command;
use crate::model::plan::{ListenAddress, ListenPlan, ServicePlan};
use crate::model::service::End;

fn listening(change: impl FnOnce(&mut ServicePlan)) -> ServicePlan {
    service("web", |s| {
        let address = ListenAddress::Unix("/run/web.sock".into());
        s.listen = vec![ListenPlan { name: "http".into(), address }];
        change(s);
    })
}

fn closes(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::CloseSockets { .. })).count()
}

#[test]
fn sockets_are_closed_once_a_person_has_stopped_all_instances() {
    let mut bench = Bench::new(vec![listening(|s| s.instances = 2)]);
    bench.spawned("web").spawned("web/2");
    bench.stop("web");
    bench.ends("web", End::Code(0));
    assert_eq!(closes(&bench.last), 0, "one still listens");
    bench.ends("web/2", End::Code(0));
    assert_eq!(closes(&bench.last), 1);
    bench.stop("web");
    assert_eq!(closes(&bench.pass(60_000)) + closes(&bench.last), 0, "once per occasion");
    bench.start("web");
    bench.spawned("web").spawned("web/2");
    bench.stop("web");
    bench.ends("web", End::Code(0)).ends("web/2", End::Code(0));
    assert_eq!(closes(&bench.last), 1, "this is another occasion");
}

#[test]
fn sockets_stay_open_while_it_is_wanted() {
    let mut bench = Bench::new(vec![listening(|s| s.restart.limit.count = 2)]);
    let mut actions = vec![];
    for _ in 0..4 {
        bench.spawned("web").ends("web", End::Code(1));
        actions.extend(bench.last.clone());
        actions.extend(bench.pass(70_000));
    }
    bench.spawned("web");
    bench.restart("web");
    bench.ends("web", End::Code(0));
    actions.extend(bench.last.clone());
    bench.stop("web");
    bench.start("web");
    bench.spawned("web").ends("web", End::Code(0));
    actions.extend(bench.last.clone());
    assert_eq!(closes(&actions), 0);
}

#[test]
fn sockets_of_what_goes_for_good_are_closed_after_it() {
    for (way, command) in [
        ("retired", None),
        ("scaled to nothing", Some(Command::Scale { service: listening(|_| {}).name, instances: 0 })),
        ("shut down", Some(Command::Down { force: false })),
    ] {
        let mut bench = Bench::new(vec![listening(|_| {})]);
        bench.spawned("web");
        match command {
            Some(command) => bench.ask(command, None),
            None => bench.apply(vec![], &[]),
        };
        assert_eq!(closes(&bench.last), 0, "{way}");
        bench.ends("web", End::Code(0));
        assert_eq!(closes(&bench.last), 1, "{way}");
        let exit = bench.last.iter().position(|action| matches!(action, Action::Exit { .. }));
        let close = bench.last.iter().position(|action| matches!(action, Action::CloseSockets { .. }));
        assert!(exit.is_none_or(|exit| close < Some(exit)), "{way}: everup ends after that");
    }
}

#[test]
fn who_listens_on_nothing_has_nothing_closed() {
    let mut bench = Bench::new(vec![service("web", |_| {})]);
    bench.spawned("web");
    bench.stop("web");
    bench.ends("web", End::Code(0));
    assert_eq!(closes(&bench.last), 0);
}
