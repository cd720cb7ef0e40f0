//! Makes processes: clone3, the child's set-up, execve; a failure comes back with its stage.
//!
//! Nobody waits for the child: that it executes its program is told later, by the end of a pipe. Waiting, as
//! posix_spawn(3) does, would start a hundred programs one after the other instead of on all processors.
#![expect(unsafe_code, reason = "clone, and descriptors fresh from the kernel")]

mod child;
mod spec;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

use crate::model::names::Pid;
use crate::model::service::SpawnStage;
use crate::os::limits;
use crate::os::spawn::child::Orders;
pub use crate::os::spawn::spec::{Credentials, Limits, Session, SpawnFailure, SpawnSpec, Strings};

/// What becomes one of the child's stdin, stdout and stderr.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// `/dev/null`.
    Null,
    /// Ours.
    Inherit,
    /// This descriptor.
    Fd(BorrowedFd<'a>),
}

/// The child's descriptors; all others are closed.
#[derive(Clone, Copy, Debug)]
pub struct Wiring<'a> {
    /// stdin, stdout, stderr.
    pub stdio: [Stdio<'a>; 3],
    /// One more that stays open under its own number.
    pub keep: Option<BorrowedFd<'a>>,
}

/// A process on its way to its program.
#[derive(Debug)]
pub struct Spawning {
    /// It; our child from now on, whatever becomes of it.
    pub pid: Pid,
    /// Readable once it executes its program or has failed to.
    report: File,
}

impl Spawning {
    /// What became of it; none: not yet decided. A process that failed still has to be reaped.
    pub fn outcome(&mut self) -> Option<Result<(), SpawnFailure>> {
        let mut bytes = [0; child::REPORT];
        match self.report.read(&mut bytes) {
            Ok(length) if length == bytes.len() => Some(Err(child::read_report(bytes))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            // The end of the pipe: execve closed it. (Or a signal ended the child before; its end then tells.)
            Ok(_) | Err(_) => Some(Ok(())),
        }
    }

    /// Waits until it is decided whether it executes its program.
    ///
    /// # Errors
    /// The stage that failed. The process still has to be reaped.
    pub fn wait(&mut self) -> Result<(), SpawnFailure> {
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            // Whatever poll says, the outcome is asked for again.
            let _ = poll(&mut [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        }
    }
}

impl AsFd for Spawning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// Makes processes one after the other. Keeps `/dev/null` for them, and what they get back of ours.
#[derive(Debug)]
pub struct Spawner {
    null: OwnedFd,
    /// Bit n-1: signal n is ignored here, and must not be there.
    ignored: u64,
    /// The limit of open files that we were started with.
    open_files: Option<libc::rlimit64>,
    /// clone3 is refused here (an older kernel, a sandbox): found out at the first spawn.
    plain: bool,
}

impl Spawner {
    /// Prepares to make processes. Children get the limit of open files that holds now, even if ours is raised later.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            null: open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?,
            ignored: ignored_signals(),
            open_files: limits::open_files().ok(),
            plain: false,
        })
    }

    /// Makes a process, born in `cgroup` (a descriptor of the group's folder) if one is given. It is on its way then;
    /// whether it comes to execute its program, [`Spawning`] tells.
    ///
    /// # Errors
    /// Stage `files`, `fork` or `cgroup`: there is no process.
    pub fn spawn(
        &mut self,
        spec: &SpawnSpec,
        wiring: &Wiring<'_>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Spawning, SpawnFailure> {
        let failed = |stage| move |error: io::Error| SpawnFailure { stage, errno: error.raw_os_error().unwrap_or(0) };
        let files = |errno: nix::Error| SpawnFailure { stage: SpawnStage::Files, errno: errno as i32 };
        let (argv, envp) = (spec.argv.pointers(), spec.env.pointers());
        // Held until the child has its copies: replacements for descriptors that stand in each other's way.
        let mut moved = Vec::new();
        let mut stdio = [None; 3];
        for (slot, wish) in stdio.iter_mut().zip(wiring.stdio) {
            *slot = match wish {
                Stdio::Inherit => None,
                Stdio::Null => Some(self.null.as_raw_fd()),
                Stdio::Fd(fd) => Some(above_stdio(fd, &mut moved).map_err(failed(SpawnStage::Files))?),
            };
        }
        let (report, told) = pipe2(OFlag::O_CLOEXEC).map_err(files)?;
        fcntl(&report, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(files)?;
        let mut orders = Orders {
            program: spec.program.as_ptr(),
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            cwd: spec.cwd.as_ptr(),
            session: spec.session,
            limits: self.limits(&spec.limits),
            nice: spec.nice,
            umask: spec.umask,
            stdio,
            keep: wiring.keep.map(|fd| fd.as_raw_fd()),
            credentials: spec.credentials.as_ref().map(|c| (c.uid, c.gid, c.groups.as_ptr(), c.groups.len())),
            reset: self.ignored,
            join: None,
            report: told.as_raw_fd(),
        };
        let _blocked = Blocked::all().map_err(failed(SpawnStage::Fork))?;
        let pid = self.make(&mut orders, cgroup)?;
        Ok(Spawning { pid: Pid(pid), report: File::from(report) })
    }

    fn make(&mut self, orders: &mut Orders, cgroup: Option<BorrowedFd<'_>>) -> Result<i32, SpawnFailure> {
        if !self.plain {
            let mut arguments = CloneArguments {
                flags: CLONE_CLEAR_SIGHAND,
                exit_signal: libc::SIGCHLD as u64,
                ..CloneArguments::default()
            };
            if let Some(folder) = cgroup {
                arguments.flags |= CLONE_INTO_CGROUP;
                arguments.cgroup = u64::from(folder.as_raw_fd().cast_unsigned());
            }
            let size = size_of::<CloneArguments>();
            // SAFETY: without CLONE_VM the child has a copy of all our memory, this stack included; it leaves this
            // function only by executing or exiting.
            match unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&arguments), size) } {
                0 => child::run(orders),
                pid if pid > 0 => return Ok(i32::try_from(pid).unwrap_or(i32::MAX)),
                _ => {}
            }
            match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::ENOSYS | libc::EINVAL | libc::EPERM => {}
                errno @ (libc::EACCES | libc::EBUSY | libc::EOPNOTSUPP | libc::ENODEV | libc::ENOENT | libc::EBADF) => {
                    return Err(SpawnFailure { stage: SpawnStage::Cgroup, errno });
                }
                errno => return Err(SpawnFailure { stage: SpawnStage::Fork, errno }),
            }
        }
        let procs = match cgroup {
            Some(folder) => Some(
                openat(folder, "cgroup.procs", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(|errno| SpawnFailure { stage: SpawnStage::Cgroup, errno: errno as i32 })?,
            ),
            None => None,
        };
        orders.join = procs.as_ref().map(AsRawFd::as_raw_fd);
        // The child has our handlers too, which clone3 leaves behind by itself.
        orders.reset = u64::MAX;
        // SAFETY: a fork(2), without the library's own preparations, which the child does not need; it leaves this
        // function only by executing or exiting.
        let pid = match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            0 => child::run(orders),
            pid if pid > 0 => pid,
            _ => {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                return Err(SpawnFailure { stage: SpawnStage::Fork, errno });
            }
        };
        self.plain = true;
        Ok(i32::try_from(pid).unwrap_or(i32::MAX))
    }

    fn limits(&self, wanted: &Limits) -> [Option<(u32, libc::rlimit64)>; 3] {
        let both = |value| libc::rlimit64 { rlim_cur: value, rlim_max: value };
        [
            wanted.open_files.map(both).or(self.open_files).map(|limit| (libc::RLIMIT_NOFILE, limit)),
            wanted.core.map(|value| (libc::RLIMIT_CORE, both(value))),
            wanted.processes.map(|value| (libc::RLIMIT_NPROC, both(value))),
        ]
    }
}

/// `struct clone_args` of the kernel, up to `cgroup` (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `fd`, or a copy above 2 kept in `moved`, so that wiring one of the three never overwrites the source of another.
fn above_stdio(fd: BorrowedFd<'_>, moved: &mut Vec<OwnedFd>) -> io::Result<i32> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd.as_raw_fd());
    }
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made it, and nobody else knows it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    let number = copy.as_fd().as_raw_fd();
    moved.push(copy);
    Ok(number)
}

fn ignored_signals() -> u64 {
    let mut ignored = 0;
    for signal in 1..=64_i32 {
        // The kernel's own structure, handler first: the library hides the two signals that it keeps for itself.
        let mut action = [0_u64; 4];
        let ask_only = ptr::null::<u64>();
        // SAFETY: only asks; the kernel writes into `action`.
        let asked = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, ask_only, action.as_mut_ptr(), 8_usize) };
        if asked == 0 && action[0] == libc::SIG_IGN as u64 {
            ignored |= 1 << (signal - 1);
        }
    }
    ignored
}

/// While it lives, this thread hears no signal.
struct Blocked(SigSet);

impl Blocked {
    fn all() -> io::Result<Self> {
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        Ok(Self(before))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Setting a mask that was in force before cannot fail.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None);
    }
}

#[cfg(test)]
mod tests;
