//! What process trees use: CPU, memory, open files, read from /proc as cheaply as it goes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::model::names::Pid;
use crate::model::status::OwnUsage;
use crate::model::usage::Usage;
use crate::os::procfs::Stat;
use crate::os::{cgroup, clock, tree};

/// Reads trees again and again, keeping `/proc/PID/stat` of their processes open: at most one descriptor a process and
/// 256 a tree, closed when the process is gone or the tree is forgotten.
#[derive(Debug)]
pub struct Sampler {
    trees: BTreeMap<u64, Tree>,
    own: Tree,
    units: Units,
}

/// The most descriptors kept open for one tree; of processes beyond that the file is opened each time.
const KEPT: usize = 256;
/// Clock ticks are too coarse for a shorter time than this; the figure before holds then.
const SHORTEST_US: u64 = 100_000;

#[derive(Clone, Copy, Debug)]
struct Units {
    page_bytes: u64,
    ticks_per_second: f64,
}

/// One tree as it was at the last look.
#[derive(Debug, Default)]
struct Tree {
    members: BTreeMap<Pid, Member>,
    /// What processes that are gone had used, in ticks: the sum never goes down when one dies.
    gone_ticks: u64,
    /// From when the CPU is counted: time and sum.
    since: Option<(u64, u64)>,
    cpu_percent: Option<f64>,
}

#[derive(Debug)]
struct Member {
    start: u64,
    file: Option<File>,
    ticks: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { trees: BTreeMap::new(), own: Tree::default(), units: Units::of_this_machine() }
    }

    /// Reads the tree known as `key`: all in `cgroup`, or else `main`, its descendants, and those seen as such before.
    /// None when nothing of it lives.
    pub fn sample(&mut self, key: u64, main: Pid, cgroup: Option<&Path>) -> Option<Usage> {
        let tree = self.trees.entry(key).or_default();
        let found = match cgroup.and_then(|path| cgroup::procs(path).ok()) {
            Some(pids) => pids,
            None => tree.descendants(main),
        };
        let usage = tree.look(&found, self.units, clock::monotonic_us(), Fds::Count);
        (usage.processes > 0).then_some(usage)
    }

    /// Lets go of what is kept for `key`.
    pub fn forget(&mut self, key: u64) {
        self.trees.remove(&key);
    }

    /// What exactly these processes use, CPU since the call before.
    pub fn own(&mut self, pids: &[Pid]) -> OwnUsage {
        let usage = self.own.look(pids, self.units, clock::monotonic_us(), Fds::Skip);
        OwnUsage { cpu_percent: usage.cpu_percent, memory_bytes: (usage.processes > 0).then_some(usage.memory_bytes) }
    }
}

/// Whether a look counts open descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fds {
    Count,
    Skip,
}

impl Tree {
    fn descendants(&self, main: Pid) -> Vec<Pid> {
        let living = tree::descendants(main, &|_| false);
        // A process that lost its parent still belongs here.
        let known = self.members.keys().copied();
        let mut pids: Vec<Pid> = living.into_iter().chain(known).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn look(&mut self, pids: &[Pid], units: Units, now_us: u64, fds: Fds) -> Usage {
        let mut usage = Usage::default();
        let mut before = std::mem::take(&mut self.members);
        for pid in pids {
            let known = before.remove(pid);
            let room = self.members.len() < KEPT;
            let Some((member, stat)) = self.read(*pid, known, room) else { continue };
            self.members.insert(*pid, member);
            if matches!(stat.state, b'Z' | b'X') {
                continue;
            }
            usage.processes += 1;
            usage.threads = usage.threads.saturating_add(stat.threads);
            usage.memory_bytes = usage.memory_bytes.saturating_add(stat.pages.saturating_mul(units.page_bytes));
            if fds == Fds::Count {
                usage.open_fds = usage.open_fds.saturating_add(open_fds(*pid));
            }
        }
        self.gone_ticks += before.values().map(|member| member.ticks).sum::<u64>();
        self.count_cpu(units, now_us);
        usage.cpu_percent = self.cpu_percent;
        usage
    }

    /// Reads a process that may be known; what a predecessor under its number had used stays counted.
    fn read(&mut self, pid: Pid, known: Option<Member>, keep: bool) -> Option<(Member, Stat)> {
        if let Some(member) = known {
            let stat = match &member.file {
                Some(file) => Stat::read(file),
                None => Stat::of(pid),
            };
            if let Some(stat) = stat.filter(|stat| stat.start == member.start) {
                return Some((Member { ticks: stat.ticks, ..member }, stat));
            }
            self.gone_ticks += member.ticks;
        }
        let file = if keep { File::open(format!("/proc/{pid}/stat")).ok() } else { None };
        let stat = match &file {
            Some(file) => Stat::read(file),
            None => Stat::of(pid),
        }?;
        Some((Member { start: stat.start, file, ticks: stat.ticks }, stat))
    }

    fn count_cpu(&mut self, units: Units, now_us: u64) {
        let ticks = self.gone_ticks + self.members.values().map(|member| member.ticks).sum::<u64>();
        let Some((since_us, since_ticks)) = self.since else {
            self.since = Some((now_us, ticks));
            return;
        };
        let elapsed_us = now_us.saturating_sub(since_us);
        if elapsed_us >= SHORTEST_US {
            #[expect(clippy::cast_precision_loss, reason = "exact far beyond any interval between two looks")]
            let (used, elapsed) = (ticks.saturating_sub(since_ticks) as f64, elapsed_us as f64 / 1e6);
            self.cpu_percent = Some(100.0 * used / units.ticks_per_second / elapsed);
            self.since = Some((now_us, ticks));
        }
    }
}

impl Units {
    fn of_this_machine() -> Self {
        use nix::unistd::{SysconfVar, sysconf};
        let ask = |what| sysconf(what).ok().flatten().filter(|value| *value > 0);
        Self {
            page_bytes: ask(SysconfVar::PAGE_SIZE).map_or(4096, i64::cast_unsigned),
            ticks_per_second: ask(SysconfVar::CLK_TCK)
                .and_then(|ticks| i32::try_from(ticks).ok())
                .map_or(100.0, f64::from),
        }
    }
}

fn open_fds(pid: Pid) -> u32 {
    let path = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the size of the folder is the number; before, it is 0 and they have to be counted.
    let count = match std::fs::metadata(&path) {
        Ok(about) if about.len() > 0 => about.len(),
        Ok(_) => std::fs::read_dir(&path).map_or(0, |entries| entries.count() as u64),
        Err(_) => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn our_own_usage_is_seen_and_cpu_from_the_second_look_on() {
        let own = Pid(std::process::id().cast_signed());
        let mut sampler = Sampler::new();
        let first = sampler.sample(1, own, None).unwrap();
        assert_eq!(first.cpu_percent, None);
        assert!(first.memory_bytes > 100_000 && first.processes >= 1, "{first:?}");
        assert!(first.open_fds >= 3 && first.threads >= 2, "{first:?}");
        let until = clock::monotonic_us() + SHORTEST_US + 60_000;
        while clock::monotonic_us() < until {}
        let percent = sampler.sample(1, own, None).unwrap().cpu_percent.unwrap();
        assert!(percent > 1.0 && percent < 100_000.0, "{percent}");
        // Too soon after the last one to say anything new.
        assert_eq!(sampler.sample(1, own, None).unwrap().cpu_percent, Some(percent));
        sampler.forget(1);
        assert_eq!(sampler.sample(1, own, None).unwrap().cpu_percent, None);
    }

    #[test]
    fn everups_own_usage_has_memory_at_once_and_none_of_nobody() {
        let mut sampler = Sampler::new();
        let own = sampler.own(&[Pid(std::process::id().cast_signed())]);
        assert!(own.cpu_percent.is_none() && own.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{own:?}");
        assert_eq!(Sampler::new().own(&[]).memory_bytes, None);
    }

    #[test]
    fn what_a_process_used_stays_counted_when_it_is_gone() {
        let mut busy = Busy::start();
        let pids = [busy.pid()];
        let units = Units::of_this_machine();
        let mut tree = Tree::default();
        let deadline = clock::monotonic_us() + 20_000_000;
        let ticks = loop {
            tree.look(&pids, units, 0, Fds::Count);
            let ticks = tree.members[&pids[0]].ticks;
            if ticks >= 3 {
                break ticks;
            }
            assert!(clock::monotonic_us() < deadline, "it never ran");
            nix::poll::poll(&mut [], 10_u16).unwrap();
        };
        busy.end();
        let usage = tree.look(&pids, units, 1_000_000, Fds::Count);
        assert_eq!((usage.processes, usage.memory_bytes), (0, 0));
        assert!(tree.members.is_empty() && tree.gone_ticks >= ticks);
        assert!(usage.cpu_percent.is_some_and(|percent| percent >= 0.0));
    }

    #[test]
    fn a_process_that_lost_its_parent_still_belongs_to_the_tree() {
        let busy = Busy::start();
        let mut sampler = Sampler::new();
        let own = Pid(std::process::id().cast_signed());
        assert!(sampler.sample(1, own, None).unwrap().processes >= 2);
        // As if the main process had gone: nothing hangs on a number that nobody bears.
        let usage = sampler.sample(1, Pid(i32::MAX), None).unwrap();
        assert!(usage.processes >= 2, "{usage:?}");
        drop(busy);
        assert_eq!(sampler.sample(2, Pid(i32::MAX), None), None);
    }

    #[test]
    fn descriptors_are_kept_within_bounds_and_let_go() {
        let own = Pid(std::process::id().cast_signed());
        let mut tree = Tree::default();
        tree.look(&[own], Units::of_this_machine(), 0, Fds::Skip);
        assert!(tree.members[&own].file.is_some());
        let (without, stat) = Tree::default().read(own, None, false).unwrap();
        assert!(without.file.is_none() && without.start == stat.start);
        let stranger = Member { start: without.start + 1, file: None, ticks: 77 };
        tree.read(own, Some(stranger), false).unwrap();
        assert_eq!(tree.gone_ticks, 77, "another process under the same number");
        tree.look(&[], Units::of_this_machine(), 0, Fds::Skip);
        assert!(tree.members.is_empty());
    }

    #[test]
    fn cpu_is_the_difference_between_two_looks() {
        let units = Units { page_bytes: 4096, ticks_per_second: 100.0 };
        let mut tree = Tree::default();
        for (now_us, ticks, expected) in [
            (0, 1_000, None),
            (1_000_000, 1_050, Some(50.0)),
            (1_050_000, 1_099, Some(50.0)),
            (3_000_000, 1_450, Some(200.0)),
            (4_000_000, 1_450, Some(0.0)),
        ] {
            tree.gone_ticks = ticks;
            tree.count_cpu(units, now_us);
            assert_eq!(tree.cpu_percent, expected, "{now_us}");
        }
    }

    /// A process that uses CPU until dropped.
    struct Busy(Child);

    impl Busy {
        #[expect(clippy::disallowed_methods, reason = "a test needs something to look at")]
        fn start() -> Self {
            let mut command = Command::new("/bin/sh");
            Self(command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> Pid {
            Pid(self.0.id().cast_signed())
        }

        fn end(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            self.end();
        }
    }
}
