//! Where services are not to outlive everup: waits for the death of guardian and engine, and ends what both have left.
//!
//! Either of them ends everything when the other dies. This one is for the case that nobody is left to do so, and for
//! nothing else: it is killed when everup ends in order.

use std::path::PathBuf;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::guardian::protocol::TOKEN_VARIABLE;
use crate::model::names::Pid;
use crate::os::pidfd::PidFd;
use crate::os::signals::Signals;
use crate::os::tree::{self, Process};
use crate::os::{cgroup, environment};

/// The variable that tells it whom to wait for, and what is theirs.
const WATCH_VARIABLE: &str = "EVERUP_WATCH";
/// How long it looks again for what it has killed, in rounds and in milliseconds each.
const ROUNDS: u32 = 200;
const PAUSE: u16 = 50;

/// Whom to wait for, and how to know what is theirs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) guardian: Pid,
    pub(super) engine: Pid,
    /// What their processes carry.
    pub(super) mark: String,
    /// The folder of their control groups.
    pub(super) cgroup: Option<PathBuf>,
}

impl Watch {
    /// As its environment holds it.
    pub(super) fn variable(&self) -> (&'static str, String) {
        let Self { guardian, engine, mark, cgroup } = self;
        let cgroup = cgroup.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        (WATCH_VARIABLE, format!("{guardian} {engine} {mark} {cgroup}"))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let mut pid = || Some(Pid(words.next()?.parse().ok()?));
        let (guardian, engine) = (pid()?, pid()?);
        let mark = words.next()?.to_owned();
        let cgroup = words.next().filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Self { guardian, engine, mark, cgroup })
    }

    /// What is left of theirs.
    fn left(&self) -> Vec<Process> {
        let inside = self.cgroup.as_deref().and_then(|path| cgroup::procs(path).ok()).unwrap_or_default();
        let is_marked = |pid: &Pid| {
            let words = tree::variable(*pid, TOKEN_VARIABLE).unwrap_or_default();
            words.split(' ').any(|word| word.starts_with(&self.mark))
        };
        let marked = tree::all().into_iter().filter(is_marked);
        marked.chain(inside).filter_map(Process::find).collect()
    }
}

/// Waits until both are dead, and then kills until nothing of theirs is left.
pub fn run() -> ExitCode {
    // What is sent to the terminal's whole group must not end it first.
    let _signals = Signals::block_all();
    let watch = environment::take(WATCH_VARIABLE).and_then(|text| Watch::read(&text.into_string().ok()?));
    let Some(watch) = watch else { return ExitCode::FAILURE };
    for pid in [watch.guardian, watch.engine] {
        if let Ok(process) = PidFd::open(pid) {
            let mut ended = [PollFd::new(std::os::fd::AsFd::as_fd(&process), PollFlags::POLLIN)];
            while poll(&mut ended, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        }
    }
    for _ in 0..ROUNDS {
        let left = watch.left();
        if left.is_empty() {
            break;
        }
        for process in left {
            // It may have ended meanwhile; what lives is found again.
            let _ = process.signal(libc::SIGKILL);
        }
        // Nothing tells when they are gone.
        let _ = poll(&mut [], PAUSE);
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whom_to_wait_for() {
        for cgroup in [None, Some(PathBuf::from("/sys/fs/cgroup/a b/everup-7"))] {
            let watch = Watch { guardian: Pid(7), engine: Pid(8), mark: "7-123.".to_owned(), cgroup };
            assert_eq!(Watch::read(&watch.variable().1), Some(watch));
        }
        assert_eq!(Watch::read("7 x y"), None);
    }
}
