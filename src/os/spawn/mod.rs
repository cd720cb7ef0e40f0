//! Makes processes: clone3 into our own memory, the child's set-up, execve; a failure comes back with its stage.
#![expect(unsafe_code, reason = "clone, and the memory that parent and child share")]

mod child;
mod clone;
mod spec;

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;

use crate::model::names::Pid;
use crate::model::service::SpawnStage;
use crate::os::limits;
use crate::os::spawn::child::{Orders, Report};
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

/// Size of the shared area: one page for the report, one that catches an overflow, the rest is the child's stack.
const AREA: usize = 128 * 1024;

/// Makes processes one after the other. Keeps a stack for them, `/dev/null`, and what children get back of ours.
#[derive(Debug)]
pub struct Spawner {
    area: NonNull<u8>,
    page: usize,
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
    /// When memory or `/dev/null` cannot be had.
    pub fn new() -> io::Result<Self> {
        let length = NonZeroUsize::new(AREA).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice. Shared, so that a child with a copy of our
        // memory can still report into it.
        let area = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?.cast::<u8>();
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size <= AREA / 4)
            .unwrap_or(4096);
        // SAFETY: the second page of the mapping, which nobody uses yet.
        unsafe { mprotect(area.add(page).cast(), page, ProtFlags::PROT_NONE) }?;
        Ok(Self {
            area,
            page,
            null: open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?,
            ignored: ignored_signals(),
            open_files: limits::open_files().ok(),
            plain: false,
        })
    }

    /// Makes a process, born in `cgroup` (a descriptor of the group's folder) if one is given, and returns once it
    /// executes its program.
    ///
    /// # Errors
    /// The stage that failed; nothing is left of the process then, not even a zombie.
    pub fn spawn(
        &mut self,
        spec: &SpawnSpec,
        wiring: &Wiring<'_>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Pid, SpawnFailure> {
        let failed = |stage| move |error: io::Error| SpawnFailure { stage, errno: error.raw_os_error().unwrap_or(0) };
        let (argv, envp) = (spec.argv.pointers(), spec.env.pointers());
        // Held until the child has executed: replacements for descriptors that stand in each other's way.
        let mut moved = Vec::new();
        let mut stdio = [None; 3];
        for (slot, wish) in stdio.iter_mut().zip(wiring.stdio) {
            *slot = match wish {
                Stdio::Inherit => None,
                Stdio::Null => Some(self.null.as_raw_fd()),
                Stdio::Fd(fd) => Some(above_stdio(fd, &mut moved).map_err(failed(SpawnStage::Fds))?),
            };
        }
        let report = self.area.cast::<Report>();
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
            report: report.as_ptr(),
        };
        // SAFETY: the first page of our own mapping; no child is under way.
        unsafe { ptr::write_volatile(report.as_ptr(), Report { errno: 0, stage: SpawnStage::Fork }) };

        let pid = {
            let _blocked = Blocked::all().map_err(failed(SpawnStage::Fork))?;
            self.make(&mut orders, cgroup)?
        };
        // SAFETY: the child has executed or ended, so nobody else writes.
        let report = unsafe { ptr::read_volatile(report.as_ptr()) };
        if report.errno == 0 {
            return Ok(Pid(pid));
        }
        // It is our own child and about to end, so this neither waits long nor takes another's status.
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        Err(SpawnFailure { stage: report.stage, errno: report.errno })
    }

    fn make(&mut self, orders: &mut Orders, cgroup: Option<BorrowedFd<'_>>) -> Result<i32, SpawnFailure> {
        let fork = |error: &io::Error| SpawnFailure { stage: SpawnStage::Fork, errno: error.raw_os_error().unwrap_or(0) };
        if !self.plain {
            let guard = 2 * self.page;
            // SAFETY: behind the report and the guard page the area is the child's; `run` keeps to its promise; signals
            // are blocked by the caller.
            let made = unsafe {
                let stack = self.area.add(guard).as_ptr();
                clone::into_our_memory(child::run, orders, stack, AREA - guard, cgroup.map(|fd| fd.as_raw_fd()))
            };
            match made {
                Ok(pid) => return Ok(pid),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => {}
                    Some(errno @ (libc::EACCES | libc::EBUSY | libc::EOPNOTSUPP | libc::ENODEV | libc::ENOENT | libc::EBADF)) => {
                        return Err(SpawnFailure { stage: SpawnStage::Cgroup, errno });
                    }
                    _ => return Err(fork(&error)),
                },
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
        // The child has handlers of its own to reset, which clone3 does by itself.
        orders.reset = u64::MAX;
        // SAFETY: `run` keeps to its promise; signals are blocked by the caller.
        let pid = unsafe { clone::into_a_copy(child::run, orders) }.map_err(|error| fork(&error))?;
        self.plain = true;
        Ok(pid)
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

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no child uses it between two spawns.
        let _ = unsafe { munmap(self.area.cast(), AREA) };
    }
}

/// `fd`, or a copy above 2 kept in `moved`, so that wiring one of the three never overwrites the source of another.
fn above_stdio(fd: BorrowedFd<'_>, moved: &mut Vec<OwnedFd>) -> io::Result<i32> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd.as_raw_fd());
    }
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made it, and nobody else knows it.
    let copy = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) };
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
