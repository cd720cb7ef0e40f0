use std::process::{Child, Command, Stdio};

use super::*;
use crate::os::usage::member::{FILES, Member};
use crate::os::usage::tree::SHORTEST_US;

fn own() -> Pid {
    Pid(std::process::id().cast_signed())
}

fn at(main: Pid) -> Place<'static> {
    Place { main, cgroup: None, memory: None }
}

#[test]
fn our_own_usage_is_seen_and_cpu_from_the_second_look_on() {
    let mut sampler = Sampler::new();
    let first = sampler.sample(1, &at(own())).unwrap();
    assert_eq!(first.cpu_percent, None);
    assert!(first.memory_bytes > 100_000 && first.processes >= 1, "{first:?}");
    assert!(first.open_fds >= 3 && first.threads >= 2 && first.minor_faults > 0, "{first:?}");
    assert!(first.voluntary_switches > 0 && first.memory_percent.is_some_and(|share| share > 0.0), "{first:?}");
    assert!(first.max_fds.is_some_and(|most| most >= 3), "{first:?}");
    assert_eq!((first.oom_kills, first.memory_limit_bytes), (None, None));
    assert_eq!(first.io_wait_us.is_some(), first.io_wait_from.is_some());
    let until = clock::monotonic_us() + SHORTEST_US + 60_000;
    while clock::monotonic_us() < until {}
    let second = sampler.sample(1, &at(own())).unwrap();
    let percent = second.cpu_percent.unwrap();
    assert!(percent > 1.0 && percent < 100_000.0, "{percent}");
    assert!(second.cpu_user_us + second.cpu_system_us > first.cpu_user_us + first.cpu_system_us);
    // Too soon after the last one to say anything new.
    assert_eq!(sampler.sample(1, &at(own())).unwrap().cpu_percent, Some(percent));
    sampler.forget(1);
    assert_eq!(sampler.sample(1, &at(own())).unwrap().cpu_percent, None);
}

#[test]
fn everups_own_usage_has_memory_at_once_and_none_of_nobody() {
    let mut sampler = Sampler::new();
    let usage = sampler.own(&[own()]);
    assert!(usage.cpu_percent.is_none() && usage.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
    assert_eq!(Sampler::new().own(&[]).memory_bytes, None);
}

#[test]
fn what_is_shared_counts_once_and_nobody_has_no_share() {
    let share = pss(&[own()]).unwrap();
    let resident = Sampler::new().sample(1, &at(own())).unwrap().memory_bytes;
    assert!(share > 100_000 && share <= resident.saturating_mul(2), "{share} of {resident}");
    assert_eq!(pss(&[Pid(i32::MAX)]), None);
}

#[test]
fn what_a_process_used_stays_counted_when_it_is_gone() {
    let mut busy = Busy::start();
    let pids = [busy.pid()];
    let mut tree = Tree::default();
    let used = wait(|| {
        tree.look(&pids, 0);
        let member = &tree.members[&pids[0]];
        (member.passed[0] + member.passed[1] >= 3).then_some(member.passed)
    });
    busy.end();
    tree.look(&pids, 0);
    assert!(tree.members.is_empty());
    assert!(tree.gone[0] + tree.gone[1] >= used[0] + used[1] && tree.gone[2] >= used[2], "{:?}", tree.gone);
}

#[test]
fn what_a_parent_takes_over_from_a_child_is_counted_once() {
    // The shell waits for the inner one, which uses CPU until it is told to end, and then sleeps itself.
    let mut shell = Busy::running("sh -c 'trap \"exit 0\" TERM; while :; do :; done'; while :; do sleep 1000; done");
    let mut tree = Tree::default();
    let machine = Machine::of_this_one();
    let main = shell.pid();
    let ticks = |tree: &mut Tree| {
        let usage = tree.sample(&at(main), &machine, clock::monotonic_us(), 100);
        (usage.cpu_user_us + usage.cpu_system_us, usage)
    };
    let (child, before) = wait(|| {
        let (used, _) = ticks(&mut tree);
        let child = tree.members.keys().copied().find(|pid| *pid != main)?;
        (used >= 100_000).then_some((child, used))
    });
    let process = crate::os::tree::Process::find(child).unwrap();
    process.signal(libc::SIGTERM).unwrap();
    let after = wait(|| {
        let (used, _) = ticks(&mut tree);
        (!tree.members.contains_key(&child)).then_some(used)
    });
    assert!(after >= before, "{after} after {before}");
    // Once more: what came late to the parent's figures must not count again.
    let (later, usage) = ticks(&mut tree);
    let waited = tree.members[&main].taken_over;
    assert!(waited[0] + waited[1] > 0, "the shell has waited for it");
    let shell_and_child = machine.ticks_to_us(tree.members[&main].passed[..2].iter().sum());
    assert!(later <= shell_and_child + 50_000, "{later} of {shell_and_child}: {usage:?}, {tree:?}");
    shell.end();
}

#[test]
fn growth_is_taken_for_a_child_at_this_look_or_the_next() {
    let mut tree = Tree::default();
    let busy = Busy::start();
    tree.look(&[own(), busy.pid()], 0);
    let mut child = tree.members.remove(&busy.pid()).unwrap();
    child.passed = [50, 10, 7, 0, 4096, 0];
    let grown = |user: u64| std::iter::once((own(), [user, 10, 7, 0, 9000, 0])).collect();
    tree.bury(&[child], grown(20));
    assert_eq!(tree.gone, [30, 0, 0, 0, 0, 0], "20 of the 50 show in the parent already");
    tree.bury(&[], grown(90));
    assert_eq!(tree.gone, [0; 6], "and the rest a look later");
    tree.bury(&[], grown(90));
    assert_eq!(tree.gone, [0; 6]);
}

#[test]
fn a_process_that_lost_its_parent_still_belongs_to_the_tree() {
    let busy = Busy::start();
    let mut sampler = Sampler::new();
    assert!(sampler.sample(1, &at(own())).unwrap().processes >= 2);
    // As if the main process had gone: nothing hangs on a number that nobody bears.
    let usage = sampler.sample(1, &at(Pid(i32::MAX))).unwrap();
    assert!(usage.processes >= 2, "{usage:?}");
    drop(busy);
    assert_eq!(sampler.sample(2, &at(Pid(i32::MAX))), None);
}

#[test]
fn descriptors_are_kept_within_bounds_and_let_go() {
    let mut tree = Tree::default();
    tree.look(&[own()], FILES);
    assert_eq!(tree.kept(), FILES);
    let without = Member::find(own(), false).unwrap();
    assert_eq!(without.kept(), 0);
    let mut stranger = Member::find(own(), false).unwrap();
    stranger.stat.start += 1;
    stranger.passed = [77, 0, 0, 0, 0, 0];
    tree.members.insert(own(), stranger);
    tree.look(&[own()], 0);
    assert_eq!(tree.gone[0], 77, "another process under the same number");
    tree.look(&[], 0);
    assert!(tree.members.is_empty() && tree.kept() == 0);
}

#[test]
fn cpu_is_the_difference_between_two_looks() {
    let machine = Machine { page_bytes: 4096, ticks_per_second: 100, memory_bytes: None, counts_delays: false };
    let mut tree = Tree::default();
    for (now_us, ticks, expected) in [
        (0, 1_000, None),
        (1_000_000, 1_050, Some(50.0)),
        (1_050_000, 1_099, Some(50.0)),
        (3_000_000, 1_450, Some(200.0)),
        (4_000_000, 1_450, Some(0.0)),
    ] {
        tree.count_cpu(ticks, &machine, now_us);
        assert_eq!(tree.cpu_percent, expected, "{now_us}");
    }
}

/// What a reading costs: `cargo test --release --lib -- os::usage::tests::cost --ignored --nocapture`.
#[test]
#[ignore = "a measurement, to be read by a person"]
fn cost_of_a_reading() {
    let children: Vec<Busy> = (0..100).map(|_| Busy::running("sleep 1000")).collect();
    let mut sampler = Sampler::new();
    let mut round = || {
        let before = clock::monotonic_us();
        for (key, child) in (0..).zip(&children) {
            assert!(sampler.sample(key, &at(child.pid())).is_some());
        }
        clock::monotonic_us() - before
    };
    round();
    let mut rounds: Vec<u64> = (0..30).map(|_| round()).collect();
    rounds.sort_unstable();
    let sum: u64 = rounds.iter().sum();
    println!("100 processes: {} us at best, {} us on average", rounds[0], sum / 30);
}

/// What `look` gives, once it gives something.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::monotonic_us() + 20_000_000;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::monotonic_us() < deadline, "waited in vain");
        nix::poll::poll(&mut [], 10_u16).unwrap();
    }
}

/// A shell at work until dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        Self::running("while :; do :; done")
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs something to look at")]
    fn running(script: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        Self(command.args(["-c", script]).stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id().cast_signed())
    }

    fn end(&mut self) {
        // Its children first: they are found by it.
        for pid in crate::os::tree::descendants(self.pid(), &|_| false) {
            if let Some(process) = crate::os::tree::Process::find(pid) {
                let _ = process.signal(libc::SIGKILL);
            }
        }
        self.0.wait().unwrap();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.end();
        }
    }
}
