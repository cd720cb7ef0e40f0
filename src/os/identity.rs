//! Which process is meant, whatever its number means by then: for a later everup that finds what an earlier one left.

use serde::{Deserialize, Serialize};

use crate::model::names::Pid;
use crate::os::pidfd::PidFd;
use crate::os::procfs::{Stat, read_up_to};

/// One process among all that ever bear its number.
///
/// Numbers are used again, and everything else here starts over with the machine. The inode is the same in every pid
/// namespace and never used again, so a namesake in another container does not match. Before Linux 6.9 there is none:
/// a namesake would have to have started within the same 10 ms of the same boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number, in the namespace it was seen from.
    pub pid: Pid,
    /// When it started, in clock ticks since boot: field 22 of proc_pid_stat(5).
    pub started: u64,
    /// `/proc/sys/kernel/random/boot_id`; in a container that of the host.
    pub boot: String,
    /// The inode of its pidfd, Linux 6.9 and later.
    pub inode: Option<u64>,
}

impl Identity {
    /// Of the process that bears this number now, also of one that has ended and is not reaped yet; none where there is
    /// none, or no pidfd to be had.
    pub fn of(pid: Pid) -> Option<Self> {
        Self::held(&PidFd::open(pid).ok()?)
    }

    /// Holds the process if it still lives; none once it has ended, whoever bears its number now.
    pub fn find(&self) -> Option<PidFd> {
        // Only what is read after the number is pinned counts.
        let fd = PidFd::open(self.pid).ok()?;
        let found = Self::held(&fd)?;
        // It may have been recorded under a kernel of another version: then the boot is another one too.
        (found == *self && !fd.has_ended()).then_some(fd)
    }

    fn held(fd: &PidFd) -> Option<Self> {
        let pid = fd.number()?;
        let started = Stat::of(pid)?.start;
        let boot = String::from_utf8(read_up_to("/proc/sys/kernel/random/boot_id", 64).ok()?).ok()?;
        // Not reaped until here: the start was read of this process and not of the next one with its number.
        fd.number()?;
        Some(Self { pid, started, boot: boot.trim_end().to_owned(), inode: fd.inode() })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::os::testing::{start, wait_for};

    fn child() -> Child {
        start(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()))
    }

    #[test]
    fn a_process_is_found_until_it_ends() {
        let mut child = child();
        let identity = Identity::of(Pid(child.id().cast_signed())).unwrap();
        assert_eq!(Identity::of(identity.pid), Some(identity.clone()), "it says the same each time");
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity, "{text}");
        let fd = identity.find().unwrap();
        drop(child.stdin.take());
        wait_for(&fd);
        assert!(identity.find().is_none(), "a zombie is not found");
        assert_eq!(Identity::of(identity.pid), Some(identity.clone()), "but it is still this one");
        child.wait().unwrap();
        assert!(identity.find().is_none() && Identity::of(identity.pid).is_none());
    }

    #[test]
    fn each_mark_tells_another_process_of_the_same_number() {
        let own = Identity::of(Pid(std::process::id().cast_signed())).unwrap();
        assert!(own.find().is_some());
        assert!(Identity { started: own.started + 1, ..own.clone() }.find().is_none());
        assert!(Identity { boot: "an earlier boot".to_owned(), ..own.clone() }.find().is_none());
        assert!(Identity { inode: Some(1), ..own.clone() }.find().is_none());
    }

    #[test]
    fn two_processes_differ_and_only_pidfs_numbers_count() {
        let (mut one, mut two) = (child(), child());
        let of = |child: &Child| Identity::of(Pid(child.id().cast_signed())).unwrap();
        let (first, second) = (of(&one), of(&two));
        // Before Linux 6.9 all pidfds share one inode, which must not pass for a number of their own.
        assert_eq!(first.inode == second.inode, first.inode.is_none());
        for child in [&mut one, &mut two] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}
