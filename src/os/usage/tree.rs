//! One tree of processes: sums over those that live, with what those that are gone had used.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::names::Pid;
use crate::model::usage::{IoWaitFrom, Usage};
use crate::os::cgroup::Procs;
use crate::os::cgroup::counts::Counts;
use crate::os::tree;
use crate::os::usage::member::{FILES, Member, Passed};
use crate::os::usage::{Machine, Place};

/// Clock ticks are too coarse for a shorter time than this; the figure before holds then.
pub(super) const SHORTEST_US: u64 = 100_000;
/// How many readings share one of its group's pressure, for which the kernel sums up all CPUs.
const PRESSURE_EVERY: u32 = 3;
/// How many readings share one of the main process's limits, which rarely change.
const LIMITS_EVERY: u32 = 12;

/// One tree as it was at the last look.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) members: BTreeMap<Pid, Member>,
    /// What processes that are gone had used and nobody has taken over: a sum never goes down when one dies.
    pub(super) gone: Passed,
    gone_switches: [u64; 2],
    gone_io_wait: u64,
    /// Of it, what was counted at the last look and may show only now in the figures of the process named, which was
    /// read before the other one ended.
    pending: Vec<(Pid, Passed)>,
    /// What its control groups tell, once that has been looked for.
    groups: Option<OfGroups>,
    max_fds: Option<u64>,
    /// Its own pressure, which is read in turns too.
    io_wait_us: Option<u64>,
    readings: u32,
    /// From when the CPU is counted: time and ticks.
    since: Option<(u64, u64)>,
    pub(super) cpu_percent: Option<f64>,
}

/// What control groups tell of a tree.
#[derive(Debug)]
struct OfGroups {
    procs: Option<Procs>,
    counts: Counts,
}

impl OfGroups {
    fn open(place: &Place<'_>) -> Self {
        let procs = place.cgroup.and_then(|path| Procs::open(path).ok());
        Self { procs, counts: Counts::open(place.cgroup, place.memory) }
    }

    fn kept(&self) -> usize {
        self.counts.kept() + self.procs.as_ref().map_or(0, |_| Procs::KEPT)
    }
}

impl Tree {
    /// What it uses at `now_us`; descriptors stay open as long as there is `room` for them.
    pub(super) fn sample(&mut self, place: &Place<'_>, machine: &Machine, now_us: u64, room: usize) -> Usage {
        let groups = self.groups.get_or_insert_with(|| OfGroups::open(place));
        let listed = groups.procs.as_ref().and_then(|procs| procs.read().ok());
        let mut found = listed.unwrap_or_else(|| self.descendants(place.main));
        // Parents come before their children, see `bury`.
        found.sort_unstable();
        self.look(&found, room);
        self.count_cpu(self.ticks(), machine, now_us);
        if self.readings.is_multiple_of(LIMITS_EVERY) {
            self.max_fds = max_fds(place.main);
        }
        if self.readings.is_multiple_of(PRESSURE_EVERY) {
            self.io_wait_us = self.groups.as_ref().and_then(|groups| groups.counts.io_wait_us());
        }
        self.readings = self.readings.wrapping_add(1);
        self.usage(machine)
    }

    /// How many descriptors it keeps open.
    pub(super) fn kept(&self) -> usize {
        self.members.values().map(Member::kept).sum::<usize>() + self.groups.as_ref().map_or(0, OfGroups::kept)
    }

    fn descendants(&self, main: Pid) -> Vec<Pid> {
        let living = tree::descendants(main, &|_| false);
        // A process that lost its parent still belongs here.
        let known = self.members.keys().copied();
        let pids: BTreeSet<Pid> = living.into_iter().chain(known).collect();
        pids.into_iter().collect()
    }

    /// Reads these processes; those known from before that are not among them any more are gone.
    pub(super) fn look(&mut self, pids: &[Pid], room: usize) {
        let mut before = std::mem::take(&mut self.members);
        let mut gone: Vec<Member> = vec![];
        let mut grown: BTreeMap<Pid, Passed> = BTreeMap::new();
        let mut left = room;
        for pid in pids {
            let known = before.remove(pid).and_then(|mut member| {
                let earlier = member.taken_over;
                if member.look() {
                    grown.insert(*pid, minus(member.taken_over, earlier));
                    return Some(member);
                }
                gone.push(member);
                None
            });
            let Some(member) = known.or_else(|| Member::find(*pid, left >= FILES)) else { continue };
            left = left.saturating_sub(member.kept());
            self.members.insert(*pid, member);
        }
        gone.extend(before.into_values());
        self.bury(&gone, grown);
    }

    /// Keeps what those that are gone had used, except what a living forebear has taken over by waiting for them:
    /// that shows as growth of its own figures, in this look or in the next.
    pub(super) fn bury(&mut self, gone: &[Member], mut grown: BTreeMap<Pid, Passed>) {
        for (heir, counted) in std::mem::take(&mut self.pending) {
            if let Some(growth) = grown.get_mut(&heir) {
                let taken_over = least(counted, *growth);
                *growth = minus(*growth, taken_over);
                self.gone = minus(self.gone, taken_over);
            }
        }
        for member in gone {
            for (sum, own) in self.gone_switches.iter_mut().zip(member.switches) {
                *sum += own;
            }
            self.gone_io_wait += member.stat.io_wait;
            let heir = self.heir_of(member, gone).and_then(|pid| Some((pid, grown.get_mut(&pid)?)));
            let mut left = member.passed;
            if let Some((heir, growth)) = heir {
                let taken_over = least(left, *growth);
                *growth = minus(*growth, taken_over);
                left = minus(left, taken_over);
                self.pending.push((heir, left));
            }
            self.gone = plus(self.gone, left);
        }
    }

    /// The next one above it that still lives.
    fn heir_of(&self, member: &Member, gone: &[Member]) -> Option<Pid> {
        let mut above = Pid(member.stat.parent);
        // Numbers that were given anew could close a circle; no line is longer than this.
        for _ in 0..=gone.len() {
            if self.members.contains_key(&above) {
                return Some(above);
            }
            above = Pid(gone.iter().find(|other| other.pid == above)?.stat.parent);
        }
        None
    }

    fn totals(&self) -> Passed {
        self.members.values().fold(self.gone, |sum, member| plus(sum, member.passed))
    }

    fn ticks(&self) -> u64 {
        let totals = self.totals();
        totals[0] + totals[1]
    }

    fn usage(&self, machine: &Machine) -> Usage {
        let mut usage = Usage { cpu_percent: self.cpu_percent, max_fds: self.max_fds, ..Usage::default() };
        let [user, system, minor, major, read, written] = self.totals();
        usage.cpu_user_us = machine.ticks_to_us(user);
        usage.cpu_system_us = machine.ticks_to_us(system);
        (usage.minor_faults, usage.major_faults) = (minor, major);
        let [mut voluntary, mut involuntary] = self.gone_switches;
        let mut io_wait = self.gone_io_wait;
        let mut shows_io = true;
        for member in self.members.values() {
            voluntary += member.switches[0];
            involuntary += member.switches[1];
            io_wait += member.stat.io_wait;
            if member.is_over() {
                continue;
            }
            shows_io &= member.shows_io;
            usage.processes += 1;
            usage.threads = usage.threads.saturating_add(member.stat.threads);
            usage.memory_bytes += member.stat.pages.saturating_mul(machine.page_bytes);
            usage.swap_bytes += member.swap_bytes;
            usage.open_fds = usage.open_fds.saturating_add(member.open_fds);
        }
        (usage.voluntary_switches, usage.involuntary_switches) = (voluntary, involuntary);
        (usage.read_bytes, usage.written_bytes) = (shows_io.then_some(read), shows_io.then_some(written));
        usage.memory_percent = machine.share(usage.memory_bytes);
        let counts = self.groups.as_ref().map(|groups| &groups.counts);
        (usage.io_wait_us, usage.io_wait_from) = match self.io_wait_us {
            Some(us) => (Some(us), Some(IoWaitFrom::CgroupPressure)),
            None if machine.counts_delays => (Some(machine.ticks_to_us(io_wait)), Some(IoWaitFrom::DelayAccounting)),
            None => (None, None),
        };
        usage.oom_kills = counts.and_then(Counts::oom_kills);
        usage.memory_limit_bytes = counts.and_then(Counts::memory_limit_bytes);
        usage
    }

    /// Notes that `ticks` have been used in all by `now_us`.
    pub(super) fn count_cpu(&mut self, ticks: u64, machine: &Machine, now_us: u64) {
        let Some((since_us, since_ticks)) = self.since else {
            self.since = Some((now_us, ticks));
            return;
        };
        let elapsed_us = now_us.saturating_sub(since_us);
        if elapsed_us >= SHORTEST_US {
            let used_us = machine.ticks_to_us(ticks.saturating_sub(since_ticks));
            self.cpu_percent = Some(100.0 * used_us as f64 / elapsed_us as f64);
            self.since = Some((now_us, ticks));
        }
    }

    /// What exactly these processes use themselves, without the children they have waited for.
    pub(super) fn look_alone(&mut self, pids: &[Pid], machine: &Machine, now_us: u64) -> (Option<f64>, Option<u64>) {
        self.look(pids, usize::MAX);
        let own = self.members.values().map(|member| member.stat.user[0] + member.stat.system[0]).sum();
        self.count_cpu(own, machine, now_us);
        let pages: u64 = self.members.values().map(|member| member.stat.pages).sum();
        (self.cpu_percent, (!self.members.is_empty()).then(|| pages.saturating_mul(machine.page_bytes)))
    }
}

fn plus(mut sum: Passed, more: Passed) -> Passed {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    sum
}

fn minus(mut from: Passed, less: Passed) -> Passed {
    from.iter_mut().zip(less).for_each(|(from, less)| *from = from.saturating_sub(less));
    from
}

fn least(mut one: Passed, other: Passed) -> Passed {
    one.iter_mut().zip(other).for_each(|(one, other)| *one = (*one).min(other));
    one
}

/// How many descriptors the process may have open: its soft limit. None: unlimited, or not to be read.
fn max_fds(pid: Pid) -> Option<u64> {
    let limits = crate::os::procfs::read_up_to(format!("/proc/{pid}/limits"), 4096).ok()?;
    let line = limits.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Max open files".as_slice()))?;
    crate::os::procfs::number(line.trim_ascii_start().split(|byte| *byte == b' ').next()?)
}
