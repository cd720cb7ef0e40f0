//! Job control: stopping with Ctrl-Z and going on with `fg`, as a shell expects it of what it has started.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, raise, sigprocmask};
use nix::sys::termios::tcgetsid;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid as Number, getpgid, getpgrp, getsid, tcgetpgrp};

use crate::model::names::Pid;
use crate::os::procfs::Stat;
use crate::os::signals;

/// Whether somebody above would notice that we have stopped, and let us go on: a shell with job control. Without one
/// (`xterm -e`, script(1), the first process of a container) whoever stops stays so for good.
pub fn has_shell() -> bool {
    let (group, session) = (getpgrp(), getsid(None));
    let mut child = Number::this();
    loop {
        let parent = match Stat::of(Pid(child.as_raw())) {
            Some(stat) if stat.parent > 0 => Number::from_raw(stat.parent),
            _ => return false,
        };
        if getsid(Some(parent)) != session {
            return false;
        }
        if getpgid(Some(parent)) != Ok(group) {
            return true;
        }
        child = parent;
    }
}

/// Stops this process until somebody lets it go on; whether anybody will is the caller's business.
///
/// # Errors
/// As raise(3).
pub fn stop() -> io::Result<()> {
    // Sent to this very thread, so that it goes no further.
    Ok(raise(Signal::SIGSTOP)?)
}

/// Stops this process, and its whole group if `whole`, as Ctrl-Z does on a terminal; comes back once somebody lets it
/// go on. The kernel does nothing where nobody would.
///
/// # Errors
/// As kill(2).
pub fn stop_as_by_key(whole: bool) -> io::Result<()> {
    let (mut key, mut before) = (SigSet::empty(), SigSet::empty());
    key.add(Signal::SIGTSTP);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&key), Some(&mut before))?;
    if whole { kill(Number::from_raw(0), Signal::SIGTSTP) } else { raise(Signal::SIGTSTP) }?;
    // Here it happens.
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&key), None)?;
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?)
}

/// Whether a child of ours has stopped with all of its threads. The state in `/proc` is that of its first thread: another
/// might still take what is typed from the terminal.
pub fn has_stopped(child: Pid) -> bool {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(Number::from_raw(child.0)), flags), Ok(WaitStatus::Stopped(..)))
}

/// The process group that leads the session of a pseudo-terminal. It has no shell above it, so the kernel does not let
/// Ctrl-Z stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(Number);

impl Group {
    /// The one at the other end, if it is in the foreground there: otherwise a shell inside sees to its jobs itself.
    pub fn in_foreground(master: BorrowedFd<'_>) -> Option<Self> {
        let (session, foreground) = (tcgetsid(master).ok()?, tcgetpgrp(master).ok()?);
        (session == foreground && session.as_raw() > 1 && session != getpgrp()).then_some(Self(session))
    }

    /// Whether its leader wants to hear nothing of Ctrl-Z.
    pub fn ignores_stop(self) -> bool {
        signals::is_ignored_by(Pid(self.0.as_raw()), Signal::SIGTSTP)
    }

    /// Whether its leader does something of its own on Ctrl-Z.
    pub fn handles_stop(self) -> bool {
        signals::is_handled_by(Pid(self.0.as_raw()), Signal::SIGTSTP)
    }

    /// Whether its leader is stopped, be it by a signal or by its debugger.
    pub fn is_stopped(self) -> bool {
        Stat::of(Pid(self.0.as_raw())).is_some_and(|stat| matches!(stat.state, b'T' | b't'))
    }

    /// Stops all of it.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `PermissionDenied` when it is not ours to signal.
    pub fn stop(self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets all of it go on, and draw itself anew if it draws.
    ///
    /// # Errors
    /// As [`Group::stop`].
    pub fn go_on(self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)?;
        self.signal(Signal::SIGWINCH)
    }

    fn signal(self, signal: Signal) -> io::Result<()> {
        match killpg(self.0, signal) {
            Ok(()) => Ok(()),
            Err(Errno::ESRCH) => Err(io::ErrorKind::NotFound.into()),
            Err(errno) => Err(errno.into()),
        }
    }
}
