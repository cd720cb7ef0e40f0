//! What processes use, read from `/proc` through files that stay open: about a microsecond a process.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::model::names::Pid;
use crate::model::status::OwnUsage;
use crate::os::procfs::Stat;
use crate::os::{cgroup, clock, limits, tree};

/// What a process tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU since the reading before, in percent of one core; none at the first reading.
    pub cpu_percent: Option<f64>,
    /// Resident memory, summed up over the processes.
    pub memory_bytes: u64,
    /// How many processes.
    pub processes: u32,
    /// Their open files; those of processes that we may not look into count as none.
    pub open_fds: u32,
    /// Their threads.
    pub threads: u32,
}

/// Reads usage again and again. Keeps one open file for each process, up to a quarter of the files we may open.
#[derive(Debug)]
pub struct Sampler {
    trees: BTreeMap<u64, Tree>,
    own: Tree,
    open: usize,
    most_open: usize,
    page: u64,
    ticks_per_second: f64,
}

/// One process tree as of its last reading.
#[derive(Debug, Default)]
struct Tree {
    members: BTreeMap<Pid, Member>,
    /// CPU of members that have gone, in ticks.
    past_ticks: u64,
    /// When it was read last (in microseconds), and all CPU until then, in ticks.
    last: Option<(u64, u64)>,
}

/// One process.
#[derive(Debug)]
struct Member {
    /// Its `stat`; reading it fails once the process is gone, even if its number has a new bearer.
    file: Option<File>,
    start: u64,
    ticks: u64,
}

/// One process, as read now.
struct Reading {
    stat: Stat,
    fds: u32,
}

impl Sampler {
    /// Knows nothing yet.
    pub fn new() -> Self {
        let sys =
            |name, otherwise| sysconf(name).ok().flatten().and_then(|n| u32::try_from(n).ok()).unwrap_or(otherwise);
        let most_open =
            limits::open_files().ok().and_then(|limit| usize::try_from(limit.rlim_cur / 4).ok()).unwrap_or(256);
        Self {
            trees: BTreeMap::new(),
            own: Tree::default(),
            open: 0,
            most_open,
            page: u64::from(sys(SysconfVar::PAGE_SIZE, 4096)),
            ticks_per_second: f64::from(sys(SysconfVar::CLK_TCK, 100)),
        }
    }

    /// What the tree of `main` uses, `key` naming its run: all of its control group where it has one, else what hangs
    /// on `main`. None when nothing of it lives.
    pub fn sample(&mut self, key: u64, main: Pid, cgroup: Option<&Path>) -> Option<Usage> {
        let grouped = cgroup.and_then(|group| cgroup::procs(group).ok());
        let pids = grouped.unwrap_or_else(|| tree::descendants(main, &|_| false));
        let mut tree = self.trees.remove(&key).unwrap_or_default();
        let usage = self.read(&mut tree, &pids);
        if usage.processes == 0 {
            self.open -= tree.open_files();
            return None;
        }
        self.trees.insert(key, tree);
        Some(usage)
    }

    /// Drops what is kept of a run.
    pub fn forget(&mut self, key: u64) {
        if let Some(tree) = self.trees.remove(&key) {
            self.open -= tree.open_files();
        }
    }

    /// What everup's own processes use.
    pub fn own(&mut self, pids: &[Pid]) -> OwnUsage {
        let mut tree = std::mem::take(&mut self.own);
        let usage = self.read(&mut tree, pids);
        self.own = tree;
        OwnUsage { cpu_percent: usage.cpu_percent, memory_bytes: (usage.processes > 0).then_some(usage.memory_bytes) }
    }

    fn read(&mut self, tree: &mut Tree, pids: &[Pid]) -> Usage {
        let now = clock::monotonic_us();
        let mut usage = Usage::default();
        let mut before = std::mem::take(&mut tree.members);
        for pid in pids {
            let known = before.remove(pid);
            let (member, reading) = self.look(*pid, known, tree);
            if let Some(Reading { stat, fds }) = reading {
                usage.processes += 1;
                usage.memory_bytes += stat.pages * self.page;
                usage.threads += stat.threads;
                usage.open_fds += fds;
            }
            if let Some(member) = member {
                tree.members.insert(*pid, member);
            }
        }
        for gone in before.into_values() {
            self.retire(&gone, tree);
        }
        let total = tree.past_ticks + tree.members.values().map(|member| member.ticks).sum::<u64>();
        if let Some((when, ticks)) = tree.last.filter(|(when, _)| *when < now) {
            let seconds = Duration::from_micros(now - when).as_secs_f64();
            // More ticks than fit would be four hundred days of one core between two readings.
            let ticks = f64::from(u32::try_from(total.saturating_sub(ticks)).unwrap_or(u32::MAX));
            usage.cpu_percent = Some(ticks / self.ticks_per_second / seconds * 100.0);
        }
        tree.last = Some((now, total));
        usage
    }

    /// Reads one process, through its open file if there is one.
    fn look(&mut self, pid: Pid, known: Option<Member>, tree: &mut Tree) -> (Option<Member>, Option<Reading>) {
        if let Some(mut member) = known {
            let stat = match &member.file {
                Some(file) => Stat::read(file),
                None => Stat::of(pid).filter(|stat| stat.start == member.start),
            };
            if let Some(stat) = stat {
                member.ticks = stat.ticks;
                return (Some(member), Some(Reading { stat, fds: open_fds(pid) }));
            }
            // It has gone; its number may already be another's.
            self.retire(&member, tree);
        }
        let Ok(file) = File::open(format!("/proc/{pid}/stat")) else { return (None, None) };
        let Some(stat) = Stat::read(&file) else { return (None, None) };
        let file = (self.open < self.most_open).then_some(file);
        self.open += usize::from(file.is_some());
        let member = Member { file, start: stat.start, ticks: stat.ticks };
        (Some(member), Some(Reading { stat, fds: open_fds(pid) }))
    }

    fn retire(&mut self, member: &Member, tree: &mut Tree) {
        tree.past_ticks += member.ticks;
        self.open -= usize::from(member.file.is_some());
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    fn open_files(&self) -> usize {
        self.members.values().filter(|member| member.file.is_some()).count()
    }
}

/// How many files a process has open; 0 when we may not look.
fn open_fds(pid: Pid) -> u32 {
    let path = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the folder's size is their number.
    match std::fs::metadata(&path).map(|folder| folder.size()) {
        Ok(size) if size > 0 => u32::try_from(size).unwrap_or(u32::MAX),
        _ => std::fs::read_dir(&path).map_or(0, |entries| u32::try_from(entries.count()).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Pid {
        Pid(std::process::id().cast_signed())
    }

    #[test]
    fn our_own_usage_is_plausible_and_cpu_comes_with_the_second_reading() {
        let mut sampler = Sampler::new();
        let first = sampler.sample(1, own(), None).unwrap();
        assert_eq!(first.cpu_percent, None);
        assert!(
            first.memory_bytes > 100_000 && first.threads >= 1 && first.processes >= 1 && first.open_fds >= 3,
            "{first:?}"
        );
        let second = sampler.sample(1, own(), None).unwrap();
        assert!(second.cpu_percent.is_some_and(|cpu| cpu >= 0.0), "{second:?}");
        assert!(sampler.open >= 1);
        sampler.forget(1);
        assert_eq!(sampler.open, 0);
        assert_eq!(sampler.sample(1, own(), None).unwrap().cpu_percent, None, "what is forgotten starts anew");
    }

    #[test]
    fn what_a_gone_process_used_still_counts() {
        let mut sampler = Sampler::new();
        let mut tree = Tree::default();
        let gone = Member { file: None, start: 1, ticks: 500 };
        tree.members.insert(Pid(4_000_000), gone);
        tree.last = Some((clock::monotonic_us() - 1_000_000, 500));
        let usage = sampler.read(&mut tree, &[Pid(4_000_000)]);
        assert_eq!((usage.processes, tree.past_ticks), (0, 500));
        assert!(usage.cpu_percent.is_some_and(|cpu| cpu.abs() < 0.001), "{usage:?}");
    }

    #[test]
    fn nothing_alive_is_none() {
        assert_eq!(Sampler::new().sample(1, Pid(4_000_000), None), None);
        assert_eq!(Sampler::new().own(&[Pid(4_000_000)]).memory_bytes, None);
        assert!(Sampler::new().own(&[own()]).memory_bytes.is_some());
    }

    #[test]
    #[ignore = "a measurement: cargo test --lib usage::tests::measure -- --ignored --nocapture"]
    fn measure() {
        let mut sampler = Sampler::new();
        let mut took: Vec<u64> = (0..1_000)
            .map(|_| {
                let start = clock::monotonic_us();
                sampler.sample(1, own(), None).unwrap();
                clock::monotonic_us() - start
            })
            .collect();
        took.sort_unstable();
        println!("sample without cgroup: median {} µs", took[500]);
        let mut took: Vec<u64> = (0..1_000)
            .map(|_| {
                let start = clock::monotonic_us();
                sampler.own(&[own()]);
                clock::monotonic_us() - start
            })
            .collect();
        took.sort_unstable();
        println!("one process: median {} µs", took[500]);
        let Ok(groups) = cgroup::Groups::create() else { return };
        let (group, folder) = groups.make("measured", 0).unwrap();
        let spec =
            crate::os::spawn::SpawnSpec::new(Path::new("/bin/sleep"), ["sleep", "100"], [("A", "b")], Path::new("/"));
        let null = [crate::os::spawn::Stdio::Null; 3];
        let wiring = crate::os::spawn::Wiring { stdio: null, keep: None };
        let folder = std::os::fd::AsFd::as_fd(&folder);
        let mut spawner = crate::os::spawn::Spawner::new().unwrap();
        let mut sleeper = spawner.spawn(&std::rc::Rc::new(spec.unwrap()), &wiring, Some(folder)).unwrap();
        sleeper.wait().unwrap();
        let path = groups.path_of(&group);
        let mut took: Vec<u64> = (0..1_000)
            .map(|_| {
                let start = clock::monotonic_us();
                assert_eq!(sampler.sample(2, sleeper.pid, Some(&path)).unwrap().processes, 1);
                clock::monotonic_us() - start
            })
            .collect();
        took.sort_unstable();
        println!("sample with cgroup: median {} µs", took[500]);
        tree::Process::find(sleeper.pid).unwrap().signal(libc::SIGKILL).unwrap();
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(sleeper.pid.0), None).unwrap();
    }
}
