//! The guardian's end of the connection: it never waits for the engine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::guardian::protocol::{self, FromGuardian, ToGuardian};

/// What the kernel says while it has no room.
const NO_ROOM: [i32; 4] = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::ETOOMANYREFS];

/// Sends at once, or keeps what the engine has no room for. It grows by at most three messages for each process asked
/// for, and the engine cannot ask while it does not read.
#[derive(Debug)]
pub(super) struct Post {
    socket: OwnedFd,
    waiting: VecDeque<(FromGuardian, Vec<OwnedFd>)>,
    buffer: Vec<u8>,
    open: bool,
}

impl Post {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: VecDeque::new(), buffer: vec![0; protocol::LONGEST_PACKET + 1], open: true }
    }

    /// Whether the engine is still there to be spoken to.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a message with descriptors, after those that wait.
    pub(super) fn send(&mut self, message: FromGuardian, fds: &[OwnedFd]) {
        if !self.open {
            return;
        }
        if self.waiting.is_empty() && self.try_send(&message, fds) {
            return;
        }
        // Without a descriptor to spare the engine gets the news without the pipe rather than not at all.
        let kept = fds.iter().filter_map(|fd| fd.try_clone().ok()).collect();
        self.waiting.push_back((message, kept));
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some((message, fds)) = self.waiting.pop_front() {
            if !self.try_send(&message, &fds) {
                self.waiting.push_front((message, fds));
                return;
            }
        }
        // A burst's memory is given back.
        self.waiting.shrink_to_fit();
    }

    /// The next message; none while there is none, or when the engine has gone.
    pub(super) fn receive(&mut self) -> Option<(ToGuardian, Vec<OwnedFd>)> {
        loop {
            match protocol::receive(self.socket.as_fd(), &mut self.buffer) {
                Ok(message) => return Some(message),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // Told once when the engine died with words of ours unheard; what it said before is still to be read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                // Not from an engine of this version, so nothing to act on.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(_) => {
                    self.close();
                    return None;
                }
            }
        }
    }

    /// False: there was no room.
    fn try_send(&mut self, message: &FromGuardian, fds: &[OwnedFd]) -> bool {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        match protocol::send(self.socket.as_fd(), message, &borrowed) {
            Ok(()) => true,
            // The last: too many descriptors are under way already; they arrive first.
            Err(error) if NO_ROOM.iter().any(|errno| error.raw_os_error() == Some(*errno)) => false,
            Err(_) => {
                self.close();
                true
            }
        }
    }

    fn close(&mut self) {
        self.open = false;
        self.waiting = VecDeque::new();
    }
}

impl AsFd for Post {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
