//! NOTIFY_SOCKET: a datagram socket on which services say how they are, as sd_notify(3) has it: the one that our
//! services speak to, and the way to the manager that we are a service of.
#![expect(unsafe_code, reason = "the sender's credentials come in control data that only libc can walk")]

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt};

use crate::model::names::Pid;

/// The longest datagram that is read, in bytes.
const LONGEST: usize = 4096;
/// The longest status text that is kept, in characters.
const STATUS_CHARS: usize = 256;
/// What fits into an abstract address.
const ADDRESS_BYTES: usize = 107;
/// How long a manager whose queue is full is waited for. Whoever sends has better things to do than to wait.
const PATIENCE: Duration = Duration::from_millis(50);
/// Where a manager says how to reach it.
const VARIABLE: &str = "NOTIFY_SOCKET";

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
        Self::bind_at(&name)
    }

    /// Opens a socket under an address that was told to a program before: nobody listens there any more.
    ///
    /// # Errors
    /// `InvalidInput` for what is no address of ours, else as socket(2) and bind(2).
    pub fn bind_again(address: &str) -> io::Result<Self> {
        let name = address.strip_prefix("@everup/").ok_or(io::ErrorKind::InvalidInput)?;
        Self::bind_at(&format!("everup/{name}"))
    }

    fn bind_at(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(Self { socket, address: format!("@{name}") })
    }

    /// Goes on with a socket that somebody else has opened under this address and handed on.
    pub fn adopt(socket: OwnedFd, address: String) -> Self {
        Self { socket, address }
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

/// The manager that this process is a service of: systemd, or whoever speaks as it does.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that NOTIFY_SOCKET names; none where it names none that can be spoken to.
    pub fn from_env() -> Option<Self> {
        Self::at(&std::env::var_os(VARIABLE)?).ok()
    }

    /// The one behind this address: a path, or a name after `@`.
    ///
    /// # Errors
    /// As socket(2); also an address of another kind (`vsock:…`) or one that is too long.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, address })
    }

    /// Tells it one thing a line, as sd_notify(3) has it.
    ///
    /// # Errors
    /// As sendto(2): it is gone for the moment, or has taken nothing for 50 ms.
    pub fn tell(&self, text: &str) -> io::Result<()> {
        self.socket.send_to_addr(text.as_bytes(), &self.address).map(drop)
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

#[cfg(test)]
mod tests {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use proptest::prelude::*;
    use std::io::IoSlice;

    use super::*;

    fn address_of(socket: &NotifySocket) -> SocketAddr {
        SocketAddr::from_abstract_name(socket.address().strip_prefix('@').unwrap()).unwrap()
    }

    #[test]
    fn a_datagram_comes_with_the_pid_of_its_sender() {
        let socket = NotifySocket::bind("web.1").unwrap();
        assert!(socket.address().starts_with("@everup/") && socket.address().ends_with("/web.1"));
        assert_eq!(socket.recv().unwrap(), None);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to_addr(b"READY=1\nSTATUS=up", &address_of(&socket)).unwrap();
        let own = Pid(std::process::id().cast_signed());
        assert_eq!(socket.recv().unwrap(), Some((own, b"READY=1\nSTATUS=up".to_vec())));
        assert_eq!(socket.recv().unwrap(), None);
    }

    #[test]
    fn sockets_of_one_label_have_addresses_of_their_own_and_long_labels_fit() {
        let long = "\u{e9}".repeat(200);
        for label in ["web", long.as_str()] {
            let (one, other) = (NotifySocket::bind(label).unwrap(), NotifySocket::bind(label).unwrap());
            assert_ne!(one.address(), other.address());
            UnixDatagram::unbound().unwrap().send_to_addr(b"x", &address_of(&one)).unwrap();
            assert!(one.recv().unwrap().is_some() && other.recv().unwrap().is_none());
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_comes_back_empty() {
        let socket = NotifySocket::bind("long").unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        for (length, expected) in [(LONGEST, LONGEST), (LONGEST + 1, 0), (3, 3), (0, 0)] {
            sender.send_to_addr(&vec![b'x'; length], &address_of(&socket)).unwrap();
            let (pid, bytes) = socket.recv().unwrap().unwrap();
            assert_eq!((pid.0, bytes.len()), (std::process::id().cast_signed(), expected), "{length}");
        }
    }

    #[test]
    fn descriptors_sent_along_are_closed() {
        let socket = NotifySocket::bind("fds").unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect_addr(&address_of(&socket)).unwrap();
        let rights = [writer.as_raw_fd(); 3];
        let control = [ControlMessage::ScmRights(&rights)];
        let text = [IoSlice::new(b"FDSTORE=1")];
        sendmsg::<()>(sender.as_raw_fd(), &text, &control, MsgFlags::empty(), None).unwrap();
        drop(writer);
        let (pid, bytes) = socket.recv().unwrap().unwrap();
        assert_eq!((pid.0, bytes.as_slice()), (std::process::id().cast_signed(), b"FDSTORE=1".as_slice()));
        // Were a copy of the write end left anywhere, there would be no end to read.
        let mut poll = [nix::poll::PollFd::new(reader.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut poll, 5_000_u16).unwrap();
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let named = NotifySocket::bind("manager").unwrap();
        for address in [path.as_os_str(), OsStr::new(named.address())] {
            Manager::at(address).unwrap().tell("READY=1\nSTATUS=up").unwrap();
        }
        let mut heard = [0; 64];
        let length = at_path.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1\nSTATUS=up");
        assert_eq!(named.recv().unwrap().unwrap().1, b"READY=1\nSTATUS=up");
    }

    #[test]
    fn a_manager_that_takes_nothing_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let deaf = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str()).unwrap();
        let refused = (0..100_000).find_map(|_| manager.tell("WATCHDOG=1").err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(deaf);
        assert_eq!(manager.tell("READY=1").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for address in ["", "vsock:2:1234", "relative"] {
            assert_eq!(Manager::at(OsStr::new(address)).unwrap_err().kind(), io::ErrorKind::Unsupported, "{address}");
        }
    }

    #[test]
    fn messages_are_read_line_by_line() {
        let status = |text: &str| Message::Status(text.to_owned());
        for (text, expected) in [
            ("READY=1", vec![Message::Ready]),
            ("READY=1\nSTATUS=Serving 5 users\n", vec![Message::Ready, status("Serving 5 users")]),
            ("READY=0", vec![Message::Other]),
            ("WATCHDOG=1", vec![Message::Watchdog]),
            ("WATCHDOG=trigger", vec![Message::WatchdogTrigger]),
            ("EXTEND_TIMEOUT_USEC=1500000", vec![Message::ExtendTimeout(Duration::from_millis(1_500))]),
            ("EXTEND_TIMEOUT_USEC=-1", vec![Message::Other]),
            ("EXTEND_TIMEOUT_USEC=99999999999999999999", vec![Message::Other]),
            ("STOPPING=1", vec![Message::Stopping]),
            ("RELOADING=1\nMONOTONIC_USEC=5", vec![Message::Reloading, Message::Other]),
            ("MAINPID=42", vec![Message::MainPid(Pid(42))]),
            ("MAINPID=1\nMAINPID=0\nMAINPID=-5\nMAINPID=x", vec![Message::Other; 4]),
            ("STATUS=a=b\u{1b}[31m\r\tc\u{7f}", vec![status("a=b[31mc")]),
            ("STATUS=", vec![status("")]),
            ("ready=1\nREADY\n=1\n\n", vec![Message::Other; 3]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        let long = format!("STATUS={}", "\u{e9}".repeat(300));
        assert_eq!(parse(long.as_bytes()), [status(&"\u{e9}".repeat(256))]);
        assert_eq!(parse(b"STATUS=a\xffb"), [status("a\u{fffd}b")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            for message in parse(&bytes) {
                if let Message::Status(text) = message {
                    prop_assert!(text.chars().count() <= STATUS_CHARS && !text.chars().any(char::is_control));
                }
            }
        }
    }
}
