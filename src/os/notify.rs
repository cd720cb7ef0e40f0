//! NOTIFY_SOCKET: a datagram socket on which services say how they are, as sd_notify(3) has it.
#![expect(unsafe_code, reason = "the sender's credentials come in control data that only libc can walk")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt};

use crate::model::names::Pid;

/// The longest datagram that is read, in bytes.
const LONGEST: usize = 4096;
/// The longest status text that is kept, in characters.
const STATUS_CHARS: usize = 256;
/// What fits into an abstract address.
const ADDRESS_BYTES: usize = 107;

/// A socket that services send their news to; gone when dropped.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    address: String,
}

impl NotifySocket {
    /// Opens a socket under an address of its own, in which `label` can be read (shortened where it is long).
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn bind(label: &str) -> io::Result<Self> {
        // The address is open to everyone on the machine; a guess at it must not be able to take it first.
        let random = RandomState::new().build_hasher().finish();
        let mut name = format!("everup/{}/{random:016x}/{label}", std::process::id());
        name.truncate(name.floor_char_boundary(ADDRESS_BYTES));
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(Self { socket, address: format!("@{name}") })
    }

    /// What NOTIFY_SOCKET is set to; begins with `@`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next datagram and who sent it, as the kernel knows it (pid 0: from outside of our pid namespace); none
    /// while there is none. One longer than 4 KiB comes back empty, and descriptors sent along are closed.
    ///
    /// # Errors
    /// As recvmsg(2).
    pub fn recv(&self) -> io::Result<Option<(Pid, Vec<u8>)>> {
        let mut buffer = [0_u8; LONGEST];
        // Room for the credentials, which come first, and for nothing more: descriptors then never reach this process.
        let mut control = [0_u64; CONTROL_WORDS];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zero is a valid value of this plain C struct.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        let length = loop {
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control) as _;
            // SAFETY: every pointer in `message` leads to a live place of the given size.
            let got = unsafe {
                libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC)
            };
            if let Ok(length) = usize::try_from(got) {
                break length;
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                error => return Err(error),
            }
        };
        let whole = message.msg_flags & libc::MSG_TRUNC == 0;
        let bytes = buffer.get(..length).filter(|_| whole).unwrap_or_default();
        Ok(Some((sender(&message), bytes.to_vec())))
    }
}

/// One header with the credentials, in the words that control data is aligned to.
const CONTROL_WORDS: usize = (size_of::<libc::cmsghdr>() + size_of::<libc::ucred>()).div_ceil(size_of::<u64>());

fn sender(message: &libc::msghdr) -> Pid {
    // SAFETY: the first header of control data that the kernel has just written, within its length.
    let Some(header) = (unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }) else { return Pid(0) };
    if header.cmsg_level != libc::SOL_SOCKET || header.cmsg_type != libc::SCM_CREDENTIALS {
        return Pid(0);
    }
    // SAFETY: the buffer has room for whole credentials, and by its header that is what the kernel put there; they
    // begin with the pid.
    Pid(i32::from_ne_bytes(unsafe { libc::CMSG_DATA(header).cast::<[u8; 4]>().read() }))
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`.
    Ready,
    /// `WATCHDOG=1`.
    Watchdog,
    /// `WATCHDOG=trigger`.
    WatchdogTrigger,
    /// `EXTEND_TIMEOUT_USEC=…`.
    ExtendTimeout(Duration),
    /// `STATUS=…`, without control characters, at most 256 characters.
    Status(String),
    /// `STOPPING=1`.
    Stopping,
    /// `RELOADING=1`.
    Reloading,
    /// `MAINPID=…`.
    MainPid(Pid),
    /// Anything else.
    Other,
}

/// What a datagram says, line by line.
pub fn parse(bytes: &[u8]) -> Vec<Message> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(message).collect()
}

fn message(line: &[u8]) -> Message {
    let line = String::from_utf8_lossy(line);
    match line.split_once('=') {
        Some(("READY", "1")) => Message::Ready,
        Some(("WATCHDOG", "1")) => Message::Watchdog,
        Some(("WATCHDOG", "trigger")) => Message::WatchdogTrigger,
        Some(("STOPPING", "1")) => Message::Stopping,
        Some(("RELOADING", "1")) => Message::Reloading,
        Some(("EXTEND_TIMEOUT_USEC", us)) => {
            us.parse().map_or(Message::Other, |us| Message::ExtendTimeout(Duration::from_micros(us)))
        }
        Some(("MAINPID", pid)) => match pid.parse() {
            Ok(pid) if pid > 1 => Message::MainPid(Pid(pid)),
            _ => Message::Other,
        },
        Some(("STATUS", text)) => {
            Message::Status(text.chars().filter(|letter| !letter.is_control()).take(STATUS_CHARS).collect())
        }
        _ => Message::Other,
    }
}
