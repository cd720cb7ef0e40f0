//! The socket on which services report (sd_notify(3)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt};

use crate::model::names::Pid;
use crate::os::message;

/// The longest report that is read, in bytes; longer ones are dropped.
const LONGEST: usize = 4096;
/// The longest status line that is kept, in characters.
const LONGEST_STATUS: usize = 256;

/// A datagram socket that tells who sent what. Its name is abstract: no folder's permissions stand between it and a
/// service that runs as another user.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    address: String,
}

impl NotifySocket {
    /// Binds a socket under a name that the kernel chooses.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn bind() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let bound: UnixAddr = getsockname(socket.as_raw_fd())?;
        let name = bound
            .as_abstract()
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let address = format!("@{name}");
        Ok(Self { socket, address })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next report and its sender, as the kernel saw it; none while there is none. Descriptors that come along are
    /// closed, which is what a barrier waits for.
    ///
    /// # Errors
    /// As recvmsg(2).
    pub fn recv(&self) -> io::Result<Option<(Pid, Vec<u8>)>> {
        let mut buffer = [0; LONGEST];
        loop {
            let message = match message::receive(self.socket.as_fd(), &mut buffer) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let text = buffer.get(..message.length).unwrap_or_default();
            let whole = !message.truncated || message.length < LONGEST;
            // A sender of number 0 lives in a namespace that we do not see.
            if let Some(sender) = message.sender.filter(|sender| sender.pid > 0 && whole) {
                return Ok(Some((Pid(sender.pid), text.to_vec())));
            }
        }
    }
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

/// What a service can report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`.
    Ready,
    /// `WATCHDOG=1`.
    Watchdog,
    /// `WATCHDOG=trigger`.
    WatchdogTrigger,
    /// `EXTEND_TIMEOUT_USEC=…`.
    Extend(Duration),
    /// `STATUS=…`, on one line, at most 256 characters, without control characters.
    Status(String),
    /// `STOPPING=1`.
    Stopping,
}

/// Reads a report: one assignment a line, in their order; what is unknown or wrong is passed over.
pub fn parse(report: &[u8]) -> Vec<Message> {
    report.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Message> {
    let line = String::from_utf8_lossy(line);
    let (key, value) = line.split_once('=')?;
    match (key, value.trim_end()) {
        ("READY", "1") => Some(Message::Ready),
        ("WATCHDOG", "1") => Some(Message::Watchdog),
        ("WATCHDOG", "trigger") => Some(Message::WatchdogTrigger),
        ("STOPPING", "1") => Some(Message::Stopping),
        ("EXTEND_TIMEOUT_USEC", number) => Some(Message::Extend(Duration::from_micros(number.parse().ok()?))),
        ("STATUS", text) => {
            let shown = text.chars().filter(|c| !c.is_control()).take(LONGEST_STATUS).collect();
            Some(Message::Status(shown))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use proptest::prelude::*;

    use super::*;

    fn send(to: &NotifySocket, text: &[u8], fds: &[RawFd]) {
        let from = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let address = UnixAddr::new_abstract(to.address().strip_prefix('@').unwrap().as_bytes()).unwrap();
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        sendmsg(from.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::empty(), Some(&address)).unwrap();
    }

    #[test]
    fn a_report_comes_with_its_sender() {
        let socket = NotifySocket::bind().unwrap();
        assert_eq!(socket.recv().unwrap(), None);
        send(&socket, b"READY=1", &[]);
        let own = Pid(std::process::id().cast_signed());
        assert_eq!(socket.recv().unwrap(), Some((own, b"READY=1".to_vec())));
        assert_ne!(socket.address(), NotifySocket::bind().unwrap().address());
    }

    #[test]
    fn descriptors_that_come_along_are_closed() {
        let socket = NotifySocket::bind().unwrap();
        let (kept, passed) = std::io::pipe().unwrap();
        send(&socket, b"BARRIER=1", &[passed.as_raw_fd(); 200]);
        drop(passed);
        assert!(socket.recv().unwrap().is_some());
        let mut end = [nix::poll::PollFd::new(kept.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut end, 0_u16).unwrap();
        let events = end[0].revents().unwrap();
        assert!(events.contains(nix::poll::PollFlags::POLLHUP), "every copy of the write end is closed");
    }

    #[test]
    fn a_report_that_is_too_long_is_dropped() {
        let socket = NotifySocket::bind().unwrap();
        send(&socket, &[b'x'; LONGEST + 1], &[]);
        send(&socket, b"READY=1", &[]);
        assert_eq!(socket.recv().unwrap().map(|(_, text)| text), Some(b"READY=1".to_vec()));
    }

    #[test]
    fn reports_are_read_line_by_line() {
        for (report, expected) in [
            ("READY=1", vec![Message::Ready]),
            ("READY=1\n", vec![Message::Ready]),
            ("READY=0\nREADY=\nready=1\nREADY", vec![]),
            (
                "STATUS=all \u{1b}[31mfine\nWATCHDOG=1",
                vec![Message::Status("all [31mfine".to_owned()), Message::Watchdog],
            ),
            ("WATCHDOG=trigger\nSTOPPING=1\nMAINPID=5", vec![Message::WatchdogTrigger, Message::Stopping]),
            ("EXTEND_TIMEOUT_USEC=1500000", vec![Message::Extend(Duration::from_millis(1_500))]),
            ("EXTEND_TIMEOUT_USEC=-1\nEXTEND_TIMEOUT_USEC=99999999999999999999", vec![]),
        ] {
            assert_eq!(parse(report.as_bytes()), expected, "{report}");
        }
        let Some(Message::Status(long)) = parse(format!("STATUS={}", "\u{fc}".repeat(5_000)).as_bytes()).pop() else {
            panic!()
        };
        assert_eq!(long.chars().count(), LONGEST_STATUS);
    }

    proptest! {
        #[test]
        fn no_report_makes_the_reader_panic(report in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&report);
        }

        #[test]
        fn a_known_word_is_found_among_anything(before in "[^\n]{0,40}", after in "[^\n]{0,40}") {
            let report = format!("{before}\nREADY=1\n{after}");
            prop_assert!(parse(report.as_bytes()).contains(&Message::Ready));
        }
    }
}
