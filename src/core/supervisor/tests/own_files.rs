//! Files that a program writes itself right after each start.

use crate::core::action::Action;
use crate::core::instance::tests::{Bench, changed, target, watched};
use crate::core::supervisor::tests::reloads::{hup, one};
use crate::model::service::End;
use crate::model::units::Moment;

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
fn what_a_person_starts_again_and_again_is_not_started_for_its_files() {
    let mut bench = one(|_| {});
    for round in 0..6 {
        bench.stop("web");
        bench.ends("web", End::Code(0));
        bench.changed("web", &format!("cache.json {} {}", 2 * round + 1, 2 * round + 2));
        bench.start("web");
        bench.spawned("web").pass(100);
        bench.changed("web", &format!("cache.json {} {}", 2 * round + 2, 2 * round + 3));
        assert_eq!(bench.blows(), ["web TERM"], "{round}");
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
