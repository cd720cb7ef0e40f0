//! A process held by a descriptor: its number cannot come to mean another one, and its end can be waited for by anybody.
#![expect(unsafe_code, reason = "pidfd_open, pidfd_send_signal, pidfd_getfd and PIDFD_GET_INFO have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, fstatfs};

use crate::model::names::Pid;
use crate::model::service::End;
use crate::os::procfs::{Stat, figure, read_up_to};
use crate::os::reap;

/// `PIDFD_INFO_EXIT` of linux/pidfd.h: how it ended, since Linux 6.15.
const INFO_EXIT: u64 = 1 << 3;

/// `PID_FS_MAGIC` of linux/magic.h.
const PIDFS: FsType = FsType(0x5049_4446);

/// `struct pidfd_info` of linux/pidfd.h in its first size, `PIDFD_INFO_SIZE_VER0`.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    /// What is asked for, and what was answered.
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    parent: u32,
    /// Real, effective, saved and file system user and group.
    owners: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<Info>() == 64);

mod get {
    // `PIDFD_GET_INFO` of linux/pidfd.h.
    nix::ioctl_readwrite!(info, 0xFF, 11, super::Info);
}

/// A process, also one that is no child of ours. Readable once it has ended, whoever reaps it.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Holds the process that bears this number now, also one that has ended and is not reaped yet.
    ///
    /// # Errors
    /// `NotFound` where there is none, else as pidfd_open(2): Linux 5.3 and later, not in every sandbox.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: plain numbers.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) };
        descriptor(opened).map(Self)
    }

    /// Sends a signal; 0 only asks whether that is possible.
    ///
    /// # Errors
    /// `NotFound` once it is reaped, else as pidfd_send_signal(2).
    pub fn signal(&self, number: i32) -> io::Result<()> {
        // SAFETY: plain numbers and no further information.
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), number, 0, 0) } {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    }

    /// A copy of its descriptor `number`, closed at exec.
    ///
    /// # Errors
    /// As pidfd_getfd(2), Linux 5.6 and later: it takes the right to trace the process, which Yama refuses even the
    /// same user for a process that is no descendant.
    pub fn take(&self, number: i32) -> io::Result<OwnedFd> {
        // SAFETY: plain numbers.
        descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0) })
    }

    /// Whether it has ended, with all its threads.
    pub fn has_ended(&self) -> bool {
        // A main thread that ended before the others is a zombie in /proc, while the process lives: only this tells.
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// How it ended; none while it lives, and where that cannot be known (now).
    ///
    /// A reaped process leaves its status to those who held it before (Linux 6.15). One that its parent lets lie as a
    /// zombie shows it in /proc, to those who may look into the process. An older kernel tells it of zombies only, so
    /// this is to be asked as soon as the descriptor becomes readable.
    pub fn exit(&self) -> Option<End> {
        if !self.has_ended() {
            return None;
        }
        // It may be reaped between the first look and the second.
        let status = self.left().or_else(|| self.of_zombie()).or_else(|| self.left())?;
        reap::end(status)
    }

    /// The wait status that a reaped process left. Seen on 6.18: bit and code are there once it is reaped, not before;
    /// no right over the process is needed.
    fn left(&self) -> Option<i32> {
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        // SAFETY: the kernel writes at most the size of `Info`, which is part of the request.
        unsafe { get::info(self.0.as_raw_fd(), &raw mut info) }.ok()?;
        (info.mask & INFO_EXIT != 0).then_some(info.exit_code)
    }

    /// The wait status of a process that is not reaped yet.
    fn of_zombie(&self) -> Option<i32> {
        let pid = self.number()?;
        let status = Stat::of(pid)?.exit_code;
        // Who may not look into the process reads 0 there; and this link of a zombie is missing for those who may.
        let may_look = || {
            let link = std::fs::read_link(format!("/proc/{pid}/exe"));
            link.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        // Still not reaped: so all of it was about this process and not about the next one of that number.
        ((status != 0 || may_look()) && self.number() == Some(pid)).then_some(status)
    }

    /// Its number, as `/proc` shows it here; none once it is reaped, or in another pid namespace.
    pub(super) fn number(&self) -> Option<Pid> {
        let text = read_up_to(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()), 4096).ok()?;
        // -1 of a reaped one, 0 of one that is not seen from here.
        if text.windows(6).any(|part| part == b"Pid:\t-") {
            return None;
        }
        let number = i32::try_from(figure(&text, b"Pid:")?).ok()?;
        (number > 0).then_some(Pid(number))
    }

    /// Its number in pidfs, which no other process has until the machine restarts, in any namespace; none before
    /// Linux 6.9, where all share one inode.
    pub(super) fn inode(&self) -> Option<u64> {
        if fstatfs(&self.0).ok()?.filesystem_type() != PIDFS {
            return None;
        }
        Some(nix::sys::stat::fstat(&self.0).ok()?.st_ino)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn descriptor(answer: i64) -> io::Result<OwnedFd> {
    match i32::try_from(answer) {
        // SAFETY: the kernel has just made it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last_error()),
    }
}

fn last_error() -> io::Error {
    match Errno::last() {
        Errno::ESRCH => io::ErrorKind::NotFound.into(),
        errno => errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::model::signal::Signal;
    use crate::os::testing::{in_a_process_of_its_own, start, wait_for};

    fn child(script: &str) -> Child {
        start(Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()))
    }

    fn pid(child: &Child) -> Pid {
        Pid(child.id().cast_signed())
    }

    #[test]
    fn an_end_is_read_from_a_zombie_and_after_somebody_else_reaped_it() {
        for (script, end) in [
            ("read x; exit 7", End::Code(7)),
            ("read x; exit 0", End::Code(0)),
            ("read x; kill -KILL $$", End::Signal { signal: Signal::KILL, core: false }),
        ] {
            let mut child = child(script);
            let fd = PidFd::open(pid(&child)).unwrap();
            assert_eq!((fd.exit(), fd.number()), (None, Some(pid(&child))), "it lives");
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
            wait_for(&fd);
            assert_eq!(fd.left(), None, "the kernel keeps it until the process is reaped");
            assert_eq!(fd.exit(), Some(end.clone()), "{script}: of the zombie");
            child.wait().unwrap();
            assert_eq!((fd.exit(), fd.of_zombie(), fd.number()), (Some(end), None, None), "{script}: reaped");
            assert_eq!(fd.signal(0).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn the_end_of_a_process_that_is_no_child_of_ours_is_read() {
        let mut parent = child("exec 3<&0; sh -c 'read x; exit 9' <&3 & echo $!; wait $!; read y");
        let (mut said, mut number) = (parent.stdout.take().unwrap(), String::new());
        while !number.ends_with('\n') {
            let mut byte = [0];
            said.read_exact(&mut byte).unwrap();
            number.push(char::from(byte[0]));
        }
        let fd = PidFd::open(Pid(number.trim().parse().unwrap())).unwrap();
        parent.stdin.take().unwrap().write_all(b"\n").unwrap();
        wait_for(&fd);
        assert_eq!(fd.exit(), Some(End::Code(9)), "whether its parent has reaped it or not");
        parent.wait().unwrap();
        assert_eq!(fd.exit(), Some(End::Code(9)));
    }

    #[test]
    fn nobody_takes_the_zero_of_a_foreign_zombie_for_an_exit_code() {
        use nix::unistd::{Gid, Uid, geteuid, setgid, setuid};

        if !geteuid().is_root() {
            return;
        }
        let mut child = child("read x; exit 0");
        let fd = PidFd::open(pid(&child)).unwrap();
        drop(child.stdin.take());
        wait_for(&fd);
        let seen_by_nobody = || {
            in_a_process_of_its_own(|| {
                setgid(Gid::from_raw(65_534)).unwrap();
                setuid(Uid::from_raw(65_534)).unwrap();
                match fd.exit() {
                    None => 100,
                    Some(End::Code(code)) => u8::try_from(code).unwrap(),
                    Some(_) => 101,
                }
            })
        };
        assert_eq!((seen_by_nobody(), fd.exit()), (100, Some(End::Code(0))), "a zombie");
        child.wait().unwrap();
        assert_eq!(seen_by_nobody(), 0, "reaped");
    }

    #[test]
    fn a_signal_reaches_exactly_this_process() {
        let mut child = child("read x");
        let fd = PidFd::open(pid(&child)).unwrap();
        fd.signal(0).unwrap();
        fd.signal(libc::SIGTERM).unwrap();
        child.wait().unwrap();
        assert_eq!(fd.exit(), Some(End::Signal { signal: Signal::TERM, core: false }));
        assert_eq!(PidFd::open(pid(&child)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_descriptor_is_taken_from_a_process() {
        let mut child = child("read x");
        let fd = PidFd::open(pid(&child)).unwrap();
        // Where a sandbox forbids tracing there is nothing to see.
        if let Ok(output) = fd.take(1) {
            File::from(output).write_all(b"through its pipe").unwrap();
            drop(child.stdin.take());
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(said, "through its pipe");
        }
        assert!(fd.take(999).is_err());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
