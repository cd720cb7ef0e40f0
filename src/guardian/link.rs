//! The engine's end of the connection to its guardian.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::guardian::protocol::{self, FromGuardian, ToGuardian};
use crate::os::{environment, seqpacket};

/// The variable that tells the engine the number of its socket.
pub(super) const FD_VARIABLE: &str = "EVERUP_GUARDIAN_FD";
/// The variable that tells the engine that it takes over from one that died: not empty.
pub(super) const RESUMES_VARIABLE: &str = "EVERUP_RESUMES";

/// Longer than any message of the guardian: they hold at most four paths, two of them within a sentence, and no path of
/// a control group comes near the longest there can be.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Speaks to the guardian. Its descriptor becomes readable when the guardian has something to say.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// The link this process was started with, if it was started by a guardian. Takes the variable that tells of it
    /// out of the environment, so the second call finds none.
    pub fn from_env() -> Option<Self> {
        let number = environment::take(FD_VARIABLE)?.to_str()?.parse().ok()?;
        Some(Self(seqpacket::adopt(number).ok()?))
    }

    /// A link over one end of a pair, whose other end is read by a test.
    #[cfg(test)]
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends one message, with descriptors for its `StdioSpec::Passed` in their order, or the one to hold. Waits while the socket is full:
    /// the guardian always reads.
    ///
    /// # Errors
    /// `BrokenPipe` when the guardian is gone.
    pub fn send(&self, message: &ToGuardian, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            match protocol::send(self.0.as_fd(), message, fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut room, PollTimeout::NONE) {
                        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                done => return done,
            }
        }
    }

    /// The next message with its descriptors; none while there is none.
    ///
    /// # Errors
    /// `UnexpectedEof` when the guardian is gone and all it said has been read.
    pub fn try_recv(&self) -> io::Result<Option<(FromGuardian, Vec<OwnedFd>)>> {
        let mut buffer = [0; LONGEST_ANSWER];
        match protocol::receive(self.0.as_fd(), &mut buffer) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Link {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}
