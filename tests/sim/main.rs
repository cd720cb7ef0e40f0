//! A seeded world around the core: a fake kernel, late and doubled news, stalls, people; the invariants are checked
//! after every step. `EVERUP_SEEDS=100000` runs more seeds, `EVERUP_SEED=7` one.

#![allow(clippy::unwrap_used, reason = "a broken world should fail loudly")]

mod deaths;
mod dice;
mod files;
mod invariants;
mod kernel;
mod plans;
mod promises;
mod reloads;
mod restarts;
mod runs;
mod views;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use invariants::Violation;
use world::{Options, Report, run};

/// S27: the core never panics; anything that does is a violation like others.
fn try_run(seed: u64, options: Options) -> Report {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
        Report { violation: Some(Violation { name: "S27 no panic", told }), ..Report::default() }
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn told(seed: u64, options: Options, violation: &Violation) -> String {
    let replay = try_run(seed, Options { trace: true, ..options });
    let trace: Vec<String> = replay.trace.into();
    format!(
        "seed {seed} breaks \"{}\": {}\n{}\nagain: EVERUP_SEED={seed} cargo test --test sim\n",
        violation.name,
        violation.told,
        trace.join("\n")
    )
}

#[test]
fn every_invariant_holds_in_every_world() {
    in_many_worlds(Options::default(), 20_000);
}

/// Each of its successors goes on from what was written down, at any moment.
#[test]
fn every_invariant_holds_though_the_engine_dies() {
    in_many_worlds(Options { mortal: true, ..Options::default() }, 1_500);
}

fn in_many_worlds(options: Options, usual: u64) {
    let (first, count) = number("EVERUP_SEED").map_or((1, number("EVERUP_SEEDS").unwrap_or(usual)), |seed| (seed, 1));
    let (next, steps) = (AtomicU64::new(first), AtomicU64::new(0));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
    let broken: Vec<(u64, Violation)> = std::thread::scope(|scope| {
        let work = || {
            let mut broken = vec![];
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count || broken.len() >= 50 {
                    return broken;
                }
                let report = try_run(seed, options);
                steps.fetch_add(report.steps, Ordering::Relaxed);
                broken.extend(report.violation.map(|violation| (seed, violation)));
            }
        };
        let hands: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        hands.into_iter().flat_map(|hand| hand.join().unwrap_or_default()).collect()
    });
    println!("{count} seeds, {} steps, {} broken", steps.into_inner(), broken.len());
    let mut names: Vec<&str> = broken.iter().map(|(_, violation)| violation.name).collect();
    names.sort_unstable();
    names.dedup();
    // One seed for each invariant that broke.
    let samples: Vec<String> = names
        .iter()
        .filter_map(|name| broken.iter().find(|(_, violation)| violation.name == *name))
        .map(|(seed, violation)| told(*seed, options, violation))
        .collect();
    assert!(samples.is_empty(), "{}\n{} of {count} seeds are broken", samples.join("\n"), broken.len());
}

#[test]
fn the_same_seed_gives_the_same_actions_whatever_the_time_of_day() {
    for seed in 1..=200 {
        let keep = Options { keep: true, ..Options::default() };
        let first = run(seed, keep).actions;
        assert_eq!(first, run(seed, keep).actions, "S28 seed {seed}");
        let jumping = run(seed, Options { wall_jumps: true, ..keep }).actions;
        assert_eq!(first, jumping, "S8 seed {seed}: the wall clock decides something");
    }
}
