//! The processes that belong together, found without control groups.
//!
//! Whatever a child starts stays below us: its children hang on it, and what it leaves behind is handed to us as
//! subreaper. Such an orphan tells where it came from by its session, or by a variable in its environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::errno::Errno;

use crate::model::names::Pid;
use crate::os::procfs::{self, Stat};

/// A process, named so that its successor under the same number is never taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// The living process with this number; none when there is none, or only its zombie.
    pub fn find(pid: Pid) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (stat.state != b'Z' && stat.state != b'X').then_some(Self { pid, start: stat.start })
    }

    /// Sends a signal, to exactly this process: not to a later one of the same number, never to 0, 1 or ourselves.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `PermissionDenied` when it is not ours to signal.
    pub fn signal(self, signal: i32) -> io::Result<()> {
        signal::to(self, signal)
    }
}

/// Makes us the parent of every process that loses its own below us.
///
/// # Errors
/// As prctl(2).
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The parent of a process; none when it is gone.
pub fn parent(pid: Pid) -> Option<Pid> {
    Stat::of(pid).map(|stat| Pid(stat.parent))
}

/// All processes there are, in no order.
pub fn all() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid).collect()
}

/// The children of a process, zombies included, in no order; empty when it is gone.
pub fn children(parent: Pid) -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        let Some(path) = task.path().join("children").to_str().map(ToOwned::to_owned) else { continue };
        match procfs::read_up_to(&path, 1 << 20) {
            Ok(text) => found.extend(procfs::pids(&text)),
            // Some kernels have no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !has_children_files() => {
                return children_by_parent(parent);
            }
            Err(_) => {}
        }
    }
    found
}

/// `root` and all that hang on it, zombies included; what `skip` names is passed over with all below it.
pub fn descendants(root: Pid, skip: &dyn Fn(Pid) -> bool) -> Vec<Pid> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        // While they are read, numbers may come to stand for others; each is still looked at once.
        if !skip(pid) && found.insert(pid) {
            open.extend(children(pid));
        }
    }
    found.into_iter().collect()
}

/// The session a process is in.
pub fn session(pid: Pid) -> Option<i32> {
    Stat::of(pid).map(|stat| stat.session)
}

/// The value of a variable in the environment that a process was started with; none too when we may not look.
pub fn variable(pid: Pid, name: &str) -> Option<String> {
    let environment = procfs::read_up_to(format!("/proc/{pid}/environ"), 1 << 20).ok()?;
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// A process in words: its name and number; none when it is gone or only its zombie is left.
pub fn describe(pid: Pid) -> Option<String> {
    Process::find(pid)?;
    let name = procfs::read_up_to(format!("/proc/{pid}/comm"), 64).ok()?;
    let name = String::from_utf8_lossy(&name);
    // The name is the process's own choice, and people read it on a terminal.
    let shown: String = name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(format!("{shown} pid {pid}"))
}

fn has_children_files() -> bool {
    std::fs::exists("/proc/thread-self/children").unwrap_or(false)
}

fn children_by_parent(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid));
    let parents: BTreeMap<Pid, i32> = pids.filter_map(|pid| Some((pid, Stat::of(pid)?.parent))).collect();
    parents.into_iter().filter(|(_, of)| *of == parent.0).map(|(pid, _)| pid).collect()
}

mod signal {
    #![expect(unsafe_code, reason = "pidfd_open and pidfd_send_signal have no safe wrapper")]

    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::{Errno, Process, Stat, io};

    pub(super) fn to(process: Process, signal: i32) -> io::Result<()> {
        let pid = process.pid.0;
        if pid <= 1 || pid == std::process::id().cast_signed() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // SAFETY: plain numbers.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let pinned = match i32::try_from(opened) {
            // SAFETY: the kernel has just made it for us.
            Ok(fd) if fd >= 0 => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => match Errno::last() {
                Errno::ESRCH => return Err(io::ErrorKind::NotFound.into()),
                // An older kernel or a sandbox: the check below then comes as close as can be.
                _ => None,
            },
        };
        // Only now, with the number pinned, is it sure who bears it.
        if Stat::of(process.pid).is_none_or(|stat| stat.start != process.start) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let sent = match &pinned {
            // SAFETY: plain numbers and no further information.
            Some(fd) => unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, 0, 0) },
            // SAFETY: plain numbers; `pid` is above 1.
            None => unsafe { i64::from(libc::kill(pid, signal)) },
        };
        match sent {
            0 => Ok(()),
            _ if Errno::last() == Errno::ESRCH => Err(io::ErrorKind::NotFound.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
