//! Pipes for what children write.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::pipe2;

use crate::model::names::Pid;

/// A pipe: our non-blocking end, and the child's.
#[derive(Debug)]
pub struct Pipe {
    /// Stays here; never blocks.
    pub ours: OwnedFd,
    /// Goes to the child; blocks.
    pub theirs: OwnedFd,
}

/// A pipe that a child writes into.
///
/// The child's end is open for reading too, so that the child outlives every reader: a full pipe makes it wait, and
/// it never gets SIGPIPE. Where `/proc` does not allow that, a plain write end takes its place.
///
/// # Errors
/// As pipe2(2).
pub fn from_child() -> io::Result<Pipe> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let both_ways = open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    Ok(Pipe { ours, theirs: both_ways.unwrap_or(theirs) })
}

/// A pipe that a child reads from.
///
/// # Errors
/// As pipe2(2).
pub fn to_child() -> io::Result<Pipe> {
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Pipe { ours, theirs })
}

/// A pipe inside this process.
#[derive(Debug)]
pub struct Between {
    /// Where bytes come out; never blocks.
    pub read: OwnedFd,
    /// Where they go in; blocks while the pipe is full.
    pub write: OwnedFd,
}

/// A pipe from a thread that may wait to a loop that may not.
///
/// # Errors
/// As pipe2(2).
pub fn between_threads() -> io::Result<Between> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Between { read, write })
}

/// The pipe's own number, the same for both ends; none where `fd` is no pipe.
///
/// Numbers are used again, after very many other pipes and sockets: what tells for sure is the process that holds it.
pub fn inode(fd: BorrowedFd<'_>) -> Option<u64> {
    let status = fstat(fd).ok()?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    (kind == SFlag::S_IFIFO).then_some(status.st_ino)
}

/// A new read end of the pipe with this inode, which is descriptor `number` of a living process; it never blocks.
///
/// What was written while nobody read is in it: a child's end is open for reading too (see [`from_child`]), so the pipe
/// lives as long as the child holds it. It takes the right to read the process's state, which the same user has (unless
/// the program gave up being traced), not the right to trace it, which Yama restricts.
///
/// # Errors
/// As open(2), `NotFound` also where that descriptor is another file by now.
pub fn reopen(pid: Pid, number: i32, inode: u64) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    // A plain look first: opening a device can do things.
    let path = format!("/proc/{pid}/fd/{number}");
    if std::fs::metadata(&path)?.ino() != inode {
        return Err(io::ErrorKind::NotFound.into());
    }
    let opened = open(path.as_str(), flags, Mode::empty())?;
    // The process may have put another file there in between.
    if self::inode(opened.as_fd()) == Some(inode) { Ok(opened) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Waits, as long as it takes, until a read would not block: there is something, or there will be nothing more.
///
/// # Errors
/// As poll(2).
pub fn wait_readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_writer_outlives_its_reader() {
        let Pipe { ours, theirs } = from_child().unwrap();
        drop(ours);
        // A plain pipe would answer EPIPE here.
        std::fs::File::from(theirs).write_all(b"still here").unwrap();
    }

    #[test]
    fn our_end_never_blocks() {
        let Pipe { ours, theirs } = from_child().unwrap();
        let mut reader = std::fs::File::from(ours);
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        std::fs::File::from(theirs).write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 1);
    }

    #[test]
    fn a_pipe_is_opened_again_through_the_child_that_holds_it() {
        use std::process::{Command, Stdio};

        let Pipe { ours, theirs } = from_child().unwrap();
        let number = inode(ours.as_fd()).unwrap();
        assert_eq!(inode(theirs.as_fd()), Some(number));
        let mut child = Command::new("sh");
        child.args(["-c", "echo one; echo two; read x; echo three"]).stdin(Stdio::piped()).stdout(theirs);
        let mut running = crate::os::testing::start(&mut child);
        drop(child);
        let pid = Pid(running.id().cast_signed());
        wait_readable(ours.as_fd()).unwrap();
        let mut first = [0; 2];
        assert_eq!(nix::unistd::read(&ours, &mut first), Ok(2));
        // Nobody else reads now; the child goes on.
        drop(ours);
        let mut again = std::fs::File::from(reopen(pid, 1, number).unwrap());
        running.stdin.take().unwrap().write_all(b"\n").unwrap();
        running.wait().unwrap();
        let mut rest = String::new();
        again.read_to_string(&mut rest).unwrap();
        assert_eq!((&first, rest.as_str()), (b"on", "e\ntwo\nthree\n"));
        assert!(reopen(pid, 1, number).is_err(), "it is gone");
    }

    #[test]
    fn another_file_under_that_number_is_refused() {
        let own = Pid(std::process::id().cast_signed());
        let (one, other) = (from_child().unwrap(), from_child().unwrap());
        let number = inode(one.ours.as_fd()).unwrap();
        let reopened = reopen(own, one.theirs.as_raw_fd(), number).unwrap();
        assert_eq!(inode(reopened.as_fd()), Some(number));
        let mut byte = [0];
        assert_eq!(nix::unistd::read(&reopened, &mut byte), Err(Errno::EAGAIN), "it never blocks");
        let wrong = reopen(own, other.theirs.as_raw_fd(), number).unwrap_err();
        assert_eq!(wrong.kind(), io::ErrorKind::NotFound);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(inode(file.as_fd()), None);
        let its = file.metadata().unwrap().ino();
        assert!(reopen(own, file.as_raw_fd(), its).is_err(), "a file is no pipe");
    }

    #[test]
    fn between_threads_the_reader_waits_for_bytes_and_for_the_end() {
        let Between { read, write } = between_threads().unwrap();
        let mut reader = std::fs::File::from(read);
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let writer = std::thread::spawn(move || std::fs::File::from(write).write_all(b"xyz").unwrap());
        wait_readable(reader.as_fd()).unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 3);
        writer.join().unwrap();
        wait_readable(reader.as_fd()).unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }
}
