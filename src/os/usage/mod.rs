//! What process trees use: read from /proc and control groups as cheaply as it goes.

mod member;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::names::Pid;
use crate::model::status::OwnUsage;
use crate::model::usage::Usage;
use crate::os::usage::tree::Tree;
use crate::os::{clock, limits, procfs};

/// Reads trees again and again, keeping the files of their processes open: at most 1,024 descriptors in all and a
/// quarter of those we may have; closed when the process is gone or the tree is forgotten.
#[derive(Debug)]
pub struct Sampler {
    trees: BTreeMap<u64, Tree>,
    own: Tree,
    machine: Machine,
    most_kept: usize,
    /// How many the trees keep open.
    kept: usize,
}

/// The most descriptors kept open; the files of processes beyond that are opened each time.
const MOST_KEPT: u64 = 1_024;

/// Where a tree is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its main process.
    pub main: Pid,
    /// The folder of its own control group, which holds all of it; none: it is found by descent.
    pub cgroup: Option<&'a Path>,
    /// The folder of the control group that limits and counts its memory.
    pub memory: Option<&'a Path>,
}

/// What the kernel's figures mean here.
#[derive(Clone, Copy, Debug)]
struct Machine {
    page_bytes: u64,
    ticks_per_second: u64,
    memory_bytes: Option<u64>,
    /// Whether the kernel accounts for delays.
    counts_delays: bool,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// One that has seen nothing.
    pub fn new() -> Self {
        let may_open = limits::open_files().map_or(MOST_KEPT, |limit| limit.rlim_cur);
        Self {
            trees: BTreeMap::new(),
            own: Tree::default(),
            machine: Machine::of_this_one(),
            most_kept: usize::try_from(MOST_KEPT.min(may_open / 4)).unwrap_or(0),
            kept: 0,
        }
    }

    /// Reads the tree known as `key`: all in its control group, or else its main process, the descendants, and those
    /// seen as such before. None when nothing of it lives.
    pub fn sample(&mut self, key: u64, place: &Place<'_>) -> Option<Usage> {
        let tree = self.trees.entry(key).or_default();
        self.kept -= tree.kept();
        let usage = tree.sample(place, &self.machine, clock::monotonic_us(), self.most_kept.saturating_sub(self.kept));
        self.kept += tree.kept();
        // A process that is ending has given its memory back before it is a zombie: its last reading would be a fall.
        (usage.processes > 0 && usage.memory_bytes > 0).then_some(usage)
    }

    /// The processes of the tree known as `key`, as they were at the last look.
    pub fn pids(&self, key: u64) -> Vec<Pid> {
        self.trees.get(&key).map(|tree| tree.members.keys().copied().collect()).unwrap_or_default()
    }

    /// Lets go of what is kept for `key`.
    pub fn forget(&mut self, key: u64) {
        if let Some(tree) = self.trees.remove(&key) {
            self.kept -= tree.kept();
        }
    }

    /// What exactly these processes use, CPU since the call before.
    pub fn own(&mut self, pids: &[Pid]) -> OwnUsage {
        let (cpu_percent, memory_bytes) = self.own.look_alone(pids, &self.machine, clock::monotonic_us());
        OwnUsage { cpu_percent, memory_bytes }
    }
}

/// The proportional set size of these processes together, in bytes: what they share with each other counts once. Takes
/// milliseconds for large ones, as the kernel walks every page. None when it cannot be read of any.
pub fn pss(pids: &[Pid]) -> Option<u64> {
    let of = |pid: &Pid| {
        let rollup = procfs::read_up_to(format!("/proc/{pid}/smaps_rollup"), 4096).ok()?;
        procfs::figure(&rollup, b"Pss:").map(|kb| kb.saturating_mul(1024))
    };
    pids.iter().filter_map(of).reduce(u64::saturating_add)
}

impl Machine {
    fn of_this_one() -> Self {
        use nix::unistd::{SysconfVar, sysconf};
        let ask = |what| sysconf(what).ok().flatten().filter(|value| *value > 0).map(i64::cast_unsigned);
        let memory = procfs::read_up_to("/proc/meminfo", 8192).ok();
        let delays = procfs::read_up_to("/proc/sys/kernel/task_delayacct", 16).ok();
        Self {
            page_bytes: ask(SysconfVar::PAGE_SIZE).unwrap_or(4096),
            ticks_per_second: ask(SysconfVar::CLK_TCK).unwrap_or(100),
            memory_bytes: memory.and_then(|text| procfs::figure(&text, b"MemTotal:")).map(|kb| kb.saturating_mul(1024)),
            counts_delays: delays.is_some_and(|text| text.first() == Some(&b'1')),
        }
    }

    fn ticks_to_us(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(1_000_000 / self.ticks_per_second)
    }

    /// As a share of the machine's memory, in percent.
    fn share(&self, bytes: u64) -> Option<f64> {
        self.memory_bytes.map(|all| 100.0 * bytes as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests;
