//! One process of a tree, and what it has used.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

use crate::model::names::Pid;
use crate::os::procfs::{self, Stat};

/// How many readings of a process share one of its `status` file, which costs twice as much as `stat`, and one of the
/// number of its descriptors.
const TURNS: u8 = 3;
/// The most descriptors kept open for one process.
pub(super) const FILES: usize = 4;

/// Figures that a parent takes over from a child it has waited for, all of them totals: CPU time in user mode and in
/// the kernel in clock ticks, page faults without and with I/O, bytes read and written.
pub(super) type Passed = [u64; 6];

/// One process as it was at the last look.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: Pid,
    pub(super) stat: Stat,
    files: Option<Files>,
    turn: u8,
    /// What it has used itself, and what the children had used that it has waited for.
    pub(super) passed: Passed,
    /// Where a child that is waited for shows: at its counters for children, or, as I/O has none, at all of it.
    pub(super) taken_over: Passed,
    /// Context switches of its main thread, of its own accord and forced. Those of further threads can only be had
    /// one by one, at the price of as many processes; psutil counts the main thread, too.
    pub(super) switches: [u64; 2],
    pub(super) swap_bytes: u64,
    /// Whether its I/O may be read.
    pub(super) shows_io: bool,
    pub(super) open_fds: u32,
}

/// What is kept open of one process.
#[derive(Debug)]
struct Files {
    stat: File,
    io: Option<File>,
    status: Option<File>,
    folder: Option<OwnedFd>,
}

impl Member {
    /// Looks at a process for the first time; its files stay open if there is `room`.
    pub(super) fn find(pid: Pid, room: bool) -> Option<Self> {
        let files = if room { Files::open(pid).ok() } else { None };
        let stat = files.as_ref().map_or_else(|| Stat::of(pid), |files| Stat::read(&files.stat))?;
        let mut member = Self {
            pid,
            stat,
            files,
            // Processes that were found together have different turns.
            turn: u8::try_from(pid.0.rem_euclid(i32::from(TURNS))).unwrap_or(0),
            passed: Passed::default(),
            taken_over: Passed::default(),
            switches: [0; 2],
            swap_bytes: 0,
            shows_io: true,
            open_fds: 0,
        };
        member.take(stat, true);
        Some(member)
    }

    /// Looks at it again; false: it is gone, and what is known of it is from before.
    pub(super) fn look(&mut self) -> bool {
        let stat = self.files.as_ref().map_or_else(|| Stat::of(self.pid), |files| Stat::read(&files.stat));
        // Another process may have its number by now.
        match stat.filter(|stat| stat.start == self.stat.start) {
            Some(stat) => {
                self.take(stat, false);
                true
            }
            None => false,
        }
    }

    /// Whether only its end is yet to be noticed by its parent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stat.state, b'Z' | b'X')
    }

    /// How many descriptors it keeps open here.
    pub(super) fn kept(&self) -> usize {
        if self.files.is_some() { FILES } else { 0 }
    }

    fn take(&mut self, stat: Stat, first: bool) {
        let before = self.passed;
        let mut buffer = [0; 4096];
        let io = self.read(&mut buffer, "io", |files| files.io.as_ref());
        self.shows_io = io.is_some();
        let written = |key: &[u8]| io.and_then(|text| procfs::figure(text, key));
        // Of one that is over these may not be readable any more.
        let (read, wrote) =
            (written(b"read_bytes:").unwrap_or(before[4]), written(b"write_bytes:").unwrap_or(before[5]));
        let sum = |of: [u64; 2]| of[0].saturating_add(of[1]);
        self.passed = [sum(stat.user), sum(stat.system), sum(stat.minor), sum(stat.major), read, wrote];
        self.taken_over = [stat.user[1], stat.system[1], stat.minor[1], stat.major[1], read, wrote];
        self.stat = stat;
        if self.is_over() {
            return;
        }
        // What is dear and moves slowly is read in turns, and all of it at the first look.
        self.turn = (self.turn + 1) % TURNS;
        if first || self.turn == 1 {
            self.open_fds = self.count_fds();
        }
        if !first && self.turn != 0 {
            return;
        }
        if let Some(status) = self.read(&mut buffer, "status", |files| files.status.as_ref()) {
            // The three lines stand in this order; kernel threads have no first one.
            let (swap, after) = procfs::next_figure(status, b"\nVmSwap:").unwrap_or((0, status));
            self.swap_bytes = swap.saturating_mul(1024);
            if let Some((voluntary, after)) = procfs::next_figure(after, b"\nvoluntary_ctxt_switches:")
                && let Some((involuntary, _)) = procfs::next_figure(after, b"\nnonvoluntary_ctxt_switches:")
            {
                self.switches = [voluntary, involuntary];
            }
        }
    }

    fn read<'a>(
        &self,
        buffer: &'a mut [u8],
        name: &str,
        kept: impl FnOnce(&Files) -> Option<&File>,
    ) -> Option<&'a [u8]> {
        let length = match &self.files {
            Some(files) => kept(files)?.read_at(buffer, 0).ok()?,
            None => File::open(format!("/proc/{}/{name}", self.pid)).ok()?.read_at(buffer, 0).ok()?,
        };
        buffer.get(..length)
    }

    /// Since Linux 6.2 the size of the folder is the number; before, it is 0 and they have to be counted.
    fn count_fds(&self) -> u32 {
        let path = || format!("/proc/{}/fd", self.pid);
        let size = match self.files.as_ref().map(|files| &files.folder) {
            Some(Some(folder)) => fstat(folder.as_fd()).ok().and_then(|about| u64::try_from(about.st_size).ok()),
            Some(None) => return 0,
            None => std::fs::metadata(path()).ok().map(|about| about.len()),
        };
        let count = match size {
            Some(0) => std::fs::read_dir(path()).map_or(0, |entries| entries.count() as u64),
            other => other.unwrap_or(0),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl Files {
    fn open(pid: Pid) -> io::Result<Self> {
        let file = |name: &str| File::open(format!("/proc/{pid}/{name}"));
        let folder = open(format!("/proc/{pid}/fd").as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        Ok(Self { stat: file("stat")?, io: file("io").ok(), status: file("status").ok(), folder: folder.ok() })
    }
}
