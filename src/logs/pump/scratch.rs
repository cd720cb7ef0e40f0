//! Memory for bytes that have to be looked at, or that no file takes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use nix::fcntl::{OFlag, SpliceFFlags, tee};

use crate::logs::LONGEST_LINE;

/// Memory and a pipe for looking at bytes, shared by all streams.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Holds a copy of what is at the front of a stream's pipe; empty between uses.
    peek: (File, File),
    bytes: Vec<u8>,
}

impl Scratch {
    /// Allocates both.
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { peek: (File::from(read), File::from(write)), bytes: vec![0; LONGEST_LINE] })
    }

    /// Looks at what is at the front of `pipe` without taking it.
    pub(super) fn peek(&mut self, pipe: BorrowedFd<'_>) -> nix::Result<&[u8]> {
        let seen = tee(pipe, &self.peek.1, self.bytes.len(), SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut filled = 0;
        while filled < seen {
            match self.peek.0.read(&mut self.bytes[filled..seen]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        Ok(&self.bytes[..filled])
    }

    /// Takes bytes from the front of `pipe`.
    pub(super) fn take(&mut self, pipe: BorrowedFd<'_>, limit: usize) -> nix::Result<&[u8]> {
        let limit = limit.min(self.bytes.len());
        let taken = nix::unistd::read(pipe, &mut self.bytes[..limit])?;
        Ok(&self.bytes[..taken])
    }
}
