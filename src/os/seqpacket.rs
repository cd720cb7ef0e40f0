//! Messages with descriptors over a pair of sockets: each arrives whole, in order, or not at all.
#![expect(unsafe_code, reason = "a descriptor known by its number only")]

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, getsockopt, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::os::message::{self, Message};

/// One message that arrived.
#[derive(Debug)]
pub struct Received {
    /// How many bytes; 0: the other side has closed.
    pub length: usize,
    /// The descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Bytes or descriptors were lost: the buffer was too small, or no descriptor was free.
    pub truncated: bool,
}

/// A connected pair, both ends non-blocking and close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for end in [&one, &other] {
        // More room lets a burst pass without waiting; the kernel grants what its limit allows.
        let _ = setsockopt(end, sockopt::SndBuf, &(1 << 20));
    }
    Ok((one, other))
}

/// Takes over one end of a pair, inherited under this number: checks that it is one, and makes it non-blocking and
/// close-on-exec.
///
/// # Errors
/// `InvalidInput` when there is no such socket under this number.
pub fn adopt(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number without taking it over.
    let probe = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number <= 2 || probe < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, and by the caller's word nobody else in this process knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if getsockopt(&socket, sockopt::SockType) != Ok(SockType::SeqPacket) {
        // Not ours to close.
        std::mem::forget(socket);
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(socket)
}

/// Sends `bytes` and descriptors (at most 253) as one message.
///
/// # Errors
/// `WouldBlock` while the socket is full; `BrokenPipe` once the other side is gone (no signal is raised).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            // ECONNRESET: the other side left without reading all of ours; for the sender it is simply gone.
            Err(Errno::ECONNRESET) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes the next message.
///
/// # Errors
/// `WouldBlock` while there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let Message { length, fds, truncated, .. } = message::receive(socket, buffer)?;
    Ok(Received { length, fds, truncated })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (one, other) = pair().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(receive(other.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let null = std::fs::File::open("/dev/null").unwrap();
        send(one.as_fd(), b"first", &[null.as_fd(), null.as_fd()]).unwrap();
        send(one.as_fd(), b"second", &[]).unwrap();
        drop(one);
        let first = receive(other.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..first.length], first.fds.len(), first.truncated), (&b"first"[..], 2, false));
        let second = receive(other.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..second.length], second.fds.len()), (&b"second"[..], 0));
        assert_eq!(receive(other.as_fd(), &mut buffer).unwrap().length, 0);
    }

    #[test]
    fn what_a_dead_peer_said_is_still_heard() {
        let (one, other) = pair().unwrap();
        send(other.as_fd(), b"unread", &[]).unwrap();
        send(one.as_fd(), b"last words", &[]).unwrap();
        drop(one);
        let mut buffer = [0; 64];
        assert_eq!(receive(other.as_fd(), &mut buffer).unwrap().length, 10);
        assert_eq!(send(other.as_fd(), b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_message_larger_than_the_buffer_is_told() {
        let (one, other) = pair().unwrap();
        send(one.as_fd(), &[7; 100], &[]).unwrap();
        assert!(receive(other.as_fd(), &mut [0; 10]).unwrap().truncated);
    }
}
