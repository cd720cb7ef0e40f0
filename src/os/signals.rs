//! Signals as things to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

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
    /// lost, and none ends us.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn block_all() -> io::Result<Self> {
        let mut set = SigSet::all();
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGTRAP,
            Signal::SIGABRT,
            Signal::SIGSYS,
        ] {
            set.remove(fault);
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
/// on it is our parent, which got it too.
///
/// # Errors
/// As sigprocmask(2).
pub fn leave_to_parent() -> io::Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTSTP] {
        set.add(signal);
    }
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
