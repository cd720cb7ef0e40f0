//! Makes processes: clone3, the child's set-up, execve; a failure comes back with its stage.
//!
//! Nobody waits for the child: that it executes its program is told later, by the end of a pipe. Waiting, as
//! posix_spawn(3) does, would start a hundred programs one after the other instead of on all processors.
#![expect(unsafe_code, reason = "clone, and descriptors fresh from the kernel")]

mod bare;
mod child;
mod clone;
mod spec;
mod workspace;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

use crate::model::names::Pid;
use crate::model::service::SpawnStage;
use crate::os::limits;
use crate::os::spawn::child::{MOST_JOINS, Orders, Report};
pub use crate::os::spawn::spec::{Credentials, Limits, Session, SpawnFailure, SpawnSpec, Strings};
use crate::os::spawn::workspace::{Memory, Stack, Workspace};

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
    /// What follows these.
    pub beyond: Beyond<'a>,
}

/// What a child has open besides its three streams.
#[derive(Clone, Copy, Debug)]
pub enum Beyond<'a> {
    /// Nothing.
    Nothing,
    /// This, under its own number.
    Kept(BorrowedFd<'a>),
    /// These, under the numbers 3, 4, … in their order.
    Numbered(&'a [BorrowedFd<'a>]),
}

/// Where a child is born; by default as our own child, in our control groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Home<'a> {
    /// The folder of the v2 group it is born in.
    pub born: Option<BorrowedFd<'a>>,
    /// The `cgroup.procs` of the v1 groups it joins before it executes its program, at most two. Joining takes
    /// milliseconds, being born in a group next to nothing.
    pub joins: &'a [OwnedFd],
    /// Beside us, as a child of our parent, where the kernel can do that: it is to be told of its end, not we.
    pub beside: bool,
}

/// A process on its way to its program.
#[derive(Debug)]
pub struct Spawning {
    /// It; our child from now on, whatever becomes of it.
    pub pid: Pid,
    /// Readable once it executes its program or has failed to.
    told: File,
    workspace: Workspace,
    stacks: Stacks,
}

/// Stacks that wait for the next child.
type Stacks = Rc<RefCell<Vec<Stack>>>;

/// The number after stdin, stdout and stderr.
const FIRST_BEYOND: i32 = 3;
/// How many stacks are kept for later: as many as there may be children on their way in a calm moment.
const KEPT_STACKS: usize = 8;
/// How many children may share our memory at once; the next ones get a copy.
const MOST_SHARING: usize = 64;

impl Spawning {
    /// What became of it; none: not yet decided. A process that failed still has to be reaped.
    pub fn outcome(&mut self) -> Option<Result<(), SpawnFailure>> {
        let mut bytes = [0; 8];
        let told = match self.told.read(&mut bytes) {
            Ok(length) if length == bytes.len() => {
                // Its memory is a copy, so it is in nobody's way.
                Some(Report::from_bytes(bytes))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return None;
            }
            // The end of the pipe: execve or exit closed it, and before that the child left our memory.
            Ok(_) | Err(_) => None,
        };
        let (written, stack) = self.workspace.close();
        if let (Some(stack), Ok(mut stacks)) = (stack, self.stacks.try_borrow_mut())
            && stacks.len() < KEPT_STACKS
        {
            stacks.push(stack);
        }
        match told.or(written).filter(|report| report.errno != 0) {
            // Or a signal ended the child before; its end then tells.
            None => Some(Ok(())),
            Some(Report { errno, stage }) => {
                let stage = usize::try_from(stage).ok().and_then(|place| child::STAGES.get(place));
                Some(Err(SpawnFailure { stage: stage.copied().unwrap_or(SpawnStage::Exec), errno }))
            }
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
            let _ = poll(&mut [PollFd::new(self.told.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        }
    }
}

impl AsFd for Spawning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
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
    /// That of core dumps.
    core: Option<libc::rlimit64>,
    /// clone3 is refused here (an older kernel, a sandbox): found out at the first spawn.
    plain: bool,
    stacks: Stacks,
}

impl Spawner {
    /// Prepares to make processes. Children get the limits of open files and core dumps that hold now, even if ours are
    /// others later.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            null: open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?,
            ignored: ignored_signals(),
            open_files: limits::open_files().ok(),
            core: limits::core().ok(),
            plain: false,
            stacks: Stacks::default(),
        })
    }

    /// Makes a process. It is on its way then; whether it comes to execute its program, [`Spawning`] tells.
    ///
    /// # Errors
    /// Stage `files`, `fork` or `cgroup`: there is no process.
    pub fn spawn(
        &mut self,
        spec: &Rc<SpawnSpec>,
        wiring: &Wiring<'_>,
        home: Home<'_>,
    ) -> Result<Spawning, SpawnFailure> {
        let files =
            |error: io::Error| SpawnFailure { stage: SpawnStage::Files, errno: error.raw_os_error().unwrap_or(0) };
        // Held until the child has its copies: replacements for descriptors that stand in each other's way.
        let mut moved = Vec::new();
        let mut stdio = [None; 3];
        for (slot, wish) in stdio.iter_mut().zip(wiring.stdio) {
            *slot = match wish {
                Stdio::Inherit => None,
                Stdio::Null => Some(self.null.as_raw_fd()),
                Stdio::Fd(fd) => Some(from_number(FIRST_BEYOND, fd, &mut moved).map_err(files)?),
            };
        }
        let (keep, numbered) = match wiring.beyond {
            Beyond::Nothing => (None, &[][..]),
            Beyond::Kept(fd) => (Some(fd.as_raw_fd()), &[][..]),
            Beyond::Numbered(fds) => (None, fds),
        };
        // The first number that the child's own descriptors leave free: nothing it still needs may lie below.
        let free = i32::try_from(numbered.len()).map_or(i32::MAX, |count| FIRST_BEYOND.saturating_add(count));
        let sources: io::Result<Vec<i32>> = numbered.iter().map(|fd| from_number(free, *fd, &mut moved)).collect();
        let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| files(errno.into()))?;
        let tell_as = from_number(free, tell.as_fd(), &mut moved).map_err(files)?;
        fcntl(&told, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| files(errno.into()))?;
        let mut joins = [None; MOST_JOINS];
        joins.iter_mut().zip(home.joins).for_each(|(join, procs)| *join = Some(procs.as_raw_fd()));
        let mut memory = Memory::new(spec, self.stack(spec), sources.map_err(files)?);
        memory.orders = Some(Orders {
            program: memory.spec.program.as_ptr(),
            argv: memory.argv.as_ptr(),
            envp: memory.envp.as_ptr(),
            cwd: memory.spec.cwd.as_ptr(),
            session: spec.session,
            limits: self.limits(&spec.limits),
            nice: spec.nice,
            umask: spec.umask,
            stdio,
            numbered: (memory.numbered.as_ptr(), memory.numbered.len()),
            closed_from: free.cast_unsigned(),
            keep,
            credentials: spec.credentials.as_ref().map(|c| (c.uid, c.gid, c.groups.as_ptr(), c.groups.len())),
            reset: self.ignored,
            pid_digits: memory.pid_digits(),
            join: None,
            joins,
            report: memory.report.get(),
            told: None,
        });
        let pid = {
            let _blocked = Blocked::all().map_err(|error| fork_failed(&error))?;
            self.make(&mut memory, tell_as, home)?
        };
        let workspace = Workspace::new(memory);
        Ok(Spawning { pid: Pid(pid), told: File::from(told), workspace, stacks: Rc::clone(&self.stacks) })
    }

    /// A stack for a child that may share our memory; none: it is to have a copy.
    ///
    /// One that changes its user always has a copy: until it executes, that user might be able to trace it, and so
    /// reach our memory.
    fn stack(&self, spec: &SpawnSpec) -> Option<Stack> {
        // Each child on its way holds the stacks too, besides us.
        let sharing = Rc::strong_count(&self.stacks) - 1;
        if !clone::CAN_SHARE || self.plain || spec.credentials.is_some() || sharing >= MOST_SHARING {
            return None;
        }
        let kept = self.stacks.try_borrow_mut().ok().and_then(|mut stacks| stacks.pop());
        kept.or_else(|| Stack::new().ok())
    }

    fn make(&mut self, memory: &mut Memory, tell: i32, home: Home<'_>) -> Result<i32, SpawnFailure> {
        let Memory { stack, orders: Some(orders), .. } = memory else {
            return Err(SpawnFailure { stage: SpawnStage::Fork, errno: libc::EINVAL });
        };
        if stack.is_none() {
            orders.told = Some(tell);
        }
        if !self.plain {
            let made = match stack {
                // SAFETY: the memory goes into a `Workspace`, which keeps it until the child has left; on an error
                // there is no child. Signals are blocked by the caller.
                Some(stack) => unsafe { clone::sharing_memory(orders, stack, home) },
                None => clone::with_a_copy(orders, home),
            };
            match made.map_err(|error| (error.raw_os_error().unwrap_or(0), error)) {
                Ok(pid) => return Ok(pid),
                Err((libc::ENOSYS | libc::EINVAL | libc::EPERM, _)) => {}
                Err((errno, _)) if CGROUP_REFUSALS.contains(&errno) => {
                    return Err(SpawnFailure { stage: SpawnStage::Cgroup, errno });
                }
                Err((_, error)) => return Err(fork_failed(&error)),
            }
        }
        *stack = None;
        orders.told = Some(tell);
        let procs = match home.born {
            Some(folder) => Some(
                openat(folder, "cgroup.procs", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(|errno| SpawnFailure { stage: SpawnStage::Cgroup, errno: errno as i32 })?,
            ),
            None => None,
        };
        orders.join = procs.as_ref().map(AsRawFd::as_raw_fd);
        // The child has our handlers too, which clone3 leaves behind by itself.
        orders.reset = u64::MAX;
        let pid = clone::by_fork(orders).map_err(|error| fork_failed(&error))?;
        self.plain = true;
        Ok(pid)
    }

    fn limits(&self, wanted: &Limits) -> [Option<(u32, libc::rlimit64)>; 3] {
        let both = |value| libc::rlimit64 { rlim_cur: value, rlim_max: value };
        [
            wanted.open_files.map(both).or(self.open_files).map(|limit| (libc::RLIMIT_NOFILE, limit)),
            wanted.core.map(both).or(self.core).map(|limit| (libc::RLIMIT_CORE, limit)),
            wanted.processes.map(|value| (libc::RLIMIT_NPROC, both(value))),
        ]
    }
}

/// What clone3 says when the group cannot take a process: not ours to manage, of another kind, removed.
const CGROUP_REFUSALS: [i32; 6] =
    [libc::EACCES, libc::EBUSY, libc::EOPNOTSUPP, libc::ENODEV, libc::ENOENT, libc::EBADF];

fn fork_failed(error: &io::Error) -> SpawnFailure {
    SpawnFailure { stage: SpawnStage::Fork, errno: error.raw_os_error().unwrap_or(0) }
}

/// `fd`, or a copy with the number `first` or above kept in `moved`, so that giving the child one descriptor never
/// overwrites another that is needed after it.
fn from_number(first: i32, fd: BorrowedFd<'_>, moved: &mut Vec<OwnedFd>) -> io::Result<i32> {
    if fd.as_raw_fd() >= first {
        return Ok(fd.as_raw_fd());
    }
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first))?;
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
