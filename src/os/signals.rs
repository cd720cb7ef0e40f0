//! Signals as things to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::model::names::Pid;
use crate::os::terminal;

/// Every signal that can be put off, blocked in this thread and readable one by one.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// Whether the terminal sent it (Ctrl-C, hang-up): then everyone in the terminal's foreground got it too.
    pub from_terminal: bool,
}

impl Signals {
    /// Blocks all signals but those that report a fault of our own, before anything else is done: from here on none is
    /// lost, and none ends us. A hang-up of our terminal that we were started to ignore stays ignored.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn block_all() -> io::Result<Self> {
        let mut set = SigSet::all();
        for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS]
        {
            set.remove(fault);
        }
        // As nohup has it: whoever closes the terminal does not mean us.
        if is_ignored(Signal::SIGHUP) && terminal::is_controlled() {
            set.remove(Signal::SIGHUP);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that came; none: no more now.
    ///
    /// # Errors
    /// As read(2).
    pub fn next(&self) -> io::Result<Option<Arrived>> {
        Ok(self.0.read_signal()?.map(|info| Arrived {
            signal: info.ssi_signo.cast_signed(),
            from_terminal: info.ssi_code == libc::SI_KERNEL,
        }))
    }
}

/// Puts off what a terminal or its end sends to all of its programs, in this thread and those it starts: who is to act
/// on it is our parent, which got it too. In the background reading from the terminal then fails instead of stopping us.
///
/// # Errors
/// As sigprocmask(2).
pub fn leave_to_parent() -> io::Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        set.add(signal);
    }
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?)
}

/// Whether this process ignores the signal; one that was ignored by whoever started it still is.
fn is_ignored(signal: Signal) -> bool {
    is_ignored_by(Pid(std::process::id().cast_signed()), signal)
}

/// Whether a process ignores the signal; no when it is gone.
pub fn is_ignored_by(pid: Pid, signal: Signal) -> bool {
    is_listed(pid, "SigIgn:", signal)
}

/// Whether a process has a handler for the signal; no when it is gone.
pub fn is_handled_by(pid: Pid, signal: Signal) -> bool {
    is_listed(pid, "SigCgt:", signal)
}

fn is_listed(pid: Pid, list: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(list));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
