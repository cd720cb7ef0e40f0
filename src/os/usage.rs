//! What process trees use: CPU, memory, open files, read from /proc as cheaply as it goes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::model::names::Pid;
use crate::model::status::OwnUsage;
use crate::os::procfs::Stat;
use crate::os::{cgroup, clock, tree};

/// What one tree uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// CPU since the sample before, in percent of one core; none at the first.
    pub cpu_percent: Option<f64>,
    /// Resident memory, summed over the processes.
    pub memory_bytes: u64,
    /// Living processes.
    pub processes: u32,
    /// Open descriptors; those of processes we may not look into are missing.
    pub open_fds: u32,
    /// Threads.
    pub threads: u32,
}

/// Reads trees again and again, keeping `/proc/PID/stat` of their processes open: at most one descriptor a process and
/// [`KEPT`] a tree, closed when the process is gone or the tree is forgotten.
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
        let mut living = Vec::new();
        tree::collect(main, &|_| false, &mut living);
        // A process that lost its parent still belongs here.
        let known = self.members.keys().copied();
        let mut pids: Vec<Pid> = living.into_iter().map(|process| process.pid).chain(known).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn look(&mut self, pids: &[Pid], units: Units, now_us: u64, fds: Fds) -> Usage {
        let mut usage = Usage { cpu_percent: None, memory_bytes: 0, processes: 0, open_fds: 0, threads: 0 };
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
