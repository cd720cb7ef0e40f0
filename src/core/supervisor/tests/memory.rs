//! `memory_restart`: a tree that stays above its bound is restarted, one instance at a time, through the backoff.

use std::time::Duration;

use crate::core::event::Event;
use crate::core::instance::tests::{Bench, service};
use crate::model::event::EventWord;
use crate::model::plan::MemoryRestart;
use crate::model::service::{Cause, Certainty, End, State};

const MIB: u64 = 1 << 20;

fn bounded(instances: u32) -> Bench {
    Bench::new(vec![service("web", |s| {
        s.instances = instances;
        s.memory_restart = Some(MemoryRestart { above: 512 * MIB, hold: Duration::from_secs(30) });
    })])
}

fn read(bench: &mut Bench, text: &str, mib: u64) {
    let (instance, run) = (Bench::id(text), bench.run(text));
    bench.step(Event::Used { instance, run, memory_bytes: mib * MIB });
}

/// A reading every five seconds for so long.
fn stays(bench: &mut Bench, text: &str, mib: u64, seconds: u64) {
    for _ in 0..seconds / 5 {
        bench.pass(5_000);
        read(bench, text, mib);
    }
}

#[test]
fn what_stays_above_its_bound_is_restarted_and_why_says_so() {
    let mut bench = bounded(1);
    bench.spawned("web");
    read(&mut bench, "web", 612);
    stays(&mut bench, "web", 612, 25);
    assert_eq!(bench.state("web"), State::Running);
    stays(&mut bench, "web", 612, 5);
    assert_eq!(bench.blows(), ["web TERM"]);
    assert_eq!(bench.told("web", EventWord::Stopping)[0].cause, Some(Cause::MemoryLimit));
    bench.ends("web", End::Code(0));
    let ended = bench.told("web", EventWord::Ended)[0];
    assert_eq!((ended.cause, ended.certainty), (Some(Cause::MemoryLimit), Some(Certainty::Certain)));
    assert_eq!(ended.evidence, ["memory 612 MiB stayed above 512 MiB for 30s", "exit code 0"]);
    assert_eq!(bench.then("web"), "restarted after 250ms");
}

#[test]
fn it_goes_through_the_backoff_however_well_it_ran_before() {
    let mut bench = bounded(1);
    let mut told = vec![];
    for _ in 0..4 {
        bench.spawned("web");
        bench.pass(600_000);
        read(&mut bench, "web", 600);
        stays(&mut bench, "web", 600, 30);
        bench.ends("web", End::Code(0));
        told.push(bench.then("web").replace("restarted after ", ""));
        bench.pass(31_000);
    }
    assert_eq!(told, ["250ms", "500ms", "1s", "2s"]);
}

#[test]
fn a_peak_is_no_reason_and_neither_is_a_new_bound() {
    let mut bench = bounded(1);
    bench.spawned("web");
    for _ in 0..10 {
        stays(&mut bench, "web", 900, 25);
        stays(&mut bench, "web", 512, 5);
    }
    assert_eq!(bench.state("web"), State::Running);
    stays(&mut bench, "web", 900, 25);
    bench.apply(
        vec![service("web", |s| {
            s.memory_restart = Some(MemoryRestart { above: 800 * MIB, hold: Duration::from_secs(30) });
        })],
        &[],
    );
    stays(&mut bench, "web", 900, 30);
    assert_eq!((bench.state("web"), bench.run("web").0), (State::Running, 1), "counted from the new bound on");
    stays(&mut bench, "web", 900, 5);
    assert_eq!(bench.state("web"), State::Stopping);
}

#[test]
fn instances_are_restarted_one_at_a_time() {
    let mut bench = bounded(2);
    bench.spawned("web/1").spawned("web/2");
    for text in ["web/1", "web/2"] {
        read(&mut bench, text, 900);
    }
    bench.pass(30_000);
    for text in ["web/1", "web/2"] {
        read(&mut bench, text, 900);
    }
    let states = |bench: &Bench| (bench.state("web/1"), bench.state("web/2"));
    assert_eq!(states(&bench), (State::Stopping, State::Running));
    bench.ends("web/1", End::Code(0)).pass(1_000);
    assert_eq!(states(&bench), (State::Starting, State::Running));
    bench.spawned("web/1");
    assert_eq!(states(&bench), (State::Running, State::Stopping), "the first is back");
}

#[test]
fn a_sibling_that_shrinks_while_it_waits_is_left_alone() {
    let mut bench = bounded(2);
    bench.spawned("web/1").spawned("web/2");
    for _ in 0..2 {
        for text in ["web/1", "web/2"] {
            read(&mut bench, text, 900);
        }
        bench.pass(30_000);
    }
    read(&mut bench, "web/1", 900);
    read(&mut bench, "web/2", 900);
    assert_eq!(bench.state("web/1"), State::Stopping);
    read(&mut bench, "web/2", 100);
    bench.ends("web/1", End::Code(0)).pass(1_000);
    bench.spawned("web/1");
    assert_eq!(bench.state("web/2"), State::Running);
}
