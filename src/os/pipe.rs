//! Pipes for what children write.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

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
    fn between_threads_the_reader_waits_for_bytes_and_for_the_end() {
        use std::os::fd::AsFd;

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
