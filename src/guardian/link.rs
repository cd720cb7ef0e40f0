//! The engine's end of the connection to its guardian.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::guardian::launch;
use crate::guardian::protocol::{self, Capabilities, FromGuardian, SocketKey, ToGuardian, Token};
use crate::model::names::{InstanceId, Pid, Run};
use crate::os::{environment, seqpacket};

/// The variable that tells the engine the number of its socket.
pub(super) const FD_VARIABLE: &str = "EVERUP_GUARDIAN_FD";
/// The variable that tells the engine that it takes over from one that died: not empty.
pub(super) const RESUMES_VARIABLE: &str = "EVERUP_RESUMES";

/// The variable that tells a guardian that an engine has called for it: the number of its socket and the engine's pid.
pub(super) const CALL_VARIABLE: &str = "EVERUP_CALL";

/// What a guardian is told by the engine that has called for it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) socket: OwnedFd,
    pub(super) engine: Pid,
}

impl Call {
    /// The call this process was started with, if it was. Takes the variable that tells of it out of the environment.
    pub(super) fn from_env() -> Option<Self> {
        let call = environment::take(CALL_VARIABLE)?.into_string().ok()?;
        let (number, engine) = call.split_once(' ')?;
        Some(Self { socket: seqpacket::adopt(number.parse().ok()?).ok()?, engine: Pid(engine.parse().ok()?) })
    }
}

/// Longer than any message of the guardian: they hold at most four paths, two of them within a sentence, and no path of
/// a control group comes near the longest there can be.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Speaks to the guardian. Its descriptor becomes readable when the guardian has something to say.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    resumes: bool,
}

/// What the guardian tells an engine that takes over from one that died.
#[derive(Debug)]
pub struct Welcome {
    /// What it can do here.
    pub capabilities: Capabilities,
    /// What the engine before has kept.
    pub memory: Option<OwnedFd>,
    /// The processes that were asked for and are not written down.
    pub known: BTreeMap<Token, Known>,
    /// What it holds.
    pub held: BTreeMap<SocketKey, OwnedFd>,
}

/// One process that the engine before has asked for.
#[derive(Debug)]
pub struct Known {
    /// The run it is; none: a command.
    pub of: Option<(InstanceId, Run)>,
    /// The signals that were sent to it: bit 0 for signal 1, and so on.
    pub signals: u64,
    /// What the engine before was told of it, in order.
    pub news: Vec<(FromGuardian, Vec<OwnedFd>)>,
}

impl Link {
    /// The link this process was started with, if it was started by a guardian. Takes the variable that tells of it
    /// out of the environment, so the second call finds none.
    pub fn from_env() -> Option<Self> {
        let number = environment::take(FD_VARIABLE)?.to_str()?.parse().ok()?;
        let resumes = environment::take(RESUMES_VARIABLE).is_some_and(|word| !word.is_empty());
        Some(Self { socket: seqpacket::adopt(number).ok()?, resumes })
    }

    /// Starts another guardian for this engine, whose own was killed.
    ///
    /// # Errors
    /// When the kernel refuses the process.
    pub fn call_guardian() -> io::Result<Self> {
        let (ours, theirs) = seqpacket::pair()?;
        launch::guardian(theirs.as_fd())?;
        Ok(Self { socket: ours, resumes: false })
    }

    /// A link over one end of a pair, whose other end is read by a test.
    #[cfg(test)]
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket, resumes: false }
    }

    /// Whether this engine takes over from one that died: then [`Self::welcome`] is to be heard first.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// What the guardian tells a successor; waits until it has said all.
    ///
    /// # Errors
    /// `UnexpectedEof` when the guardian is gone.
    pub fn welcome(&self) -> io::Result<Welcome> {
        let (mut capabilities, mut memory) = (None, None);
        let (mut known, mut held) = (BTreeMap::<Token, Known>::new(), BTreeMap::new());
        loop {
            let (message, fds) = self.recv()?;
            match message {
                FromGuardian::Hello(can) => (capabilities, memory) = (Some(can), fds.into_iter().next()),
                FromGuardian::Known { token, of, signals } => {
                    known.insert(token, Known { of, signals, news: vec![] });
                }
                FromGuardian::Held { key } => held.extend(fds.into_iter().next().map(|fd| (key, fd))),
                FromGuardian::Spawned { token, .. }
                | FromGuardian::Failed { token, .. }
                | FromGuardian::Ended { token, .. }
                | FromGuardian::TreeGone { token } => {
                    if let Some(known) = known.get_mut(&token) {
                        known.news.push((message, fds));
                    }
                }
                FromGuardian::Signalled { .. } => {}
                FromGuardian::Complete => break,
            }
        }
        let capabilities = capabilities.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Welcome { capabilities, memory, known, held })
    }

    /// The next message; waits until there is one.
    fn recv(&self) -> io::Result<(FromGuardian, Vec<OwnedFd>)> {
        loop {
            if let Some(message) = self.try_recv()? {
                return Ok(message);
            }
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends one message, with descriptors for its `StdioSpec::Passed` in their order, or the one to hold. Waits while the socket is full:
    /// the guardian always reads.
    ///
    /// # Errors
    /// `BrokenPipe` when the guardian is gone.
    pub fn send(&self, message: &ToGuardian, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            match protocol::send(self.socket.as_fd(), message, fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
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
        match protocol::receive(self.socket.as_fd(), &mut buffer) {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::os::fd::AsRawFd for Link {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}
