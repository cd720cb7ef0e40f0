//! Listening sockets that are opened for a program and handed to it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrStorage, bind, getsockname, getsockopt, listen,
    setsockopt, shutdown, socket, sockopt,
};

use crate::model::plan::ListenAddress;
use crate::os::socket::{bind_at, check_replaceable, open_path, stream_socket, through_proc};

/// A socket that listens. Its file, if it has one, goes with it.
///
/// It blocks and is close-on-exec, as systemd hands sockets on (`NonBlocking=` of systemd.service(5) is off by default,
/// and that is what programs that know LISTEN_FDS expect): whoever wants to wait by other means says so itself, as
/// asyncio, gunicorn, Node and Go do. The other way round a plain accept(2) would fail where it should wait.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: ListenAddress,
    file: Option<FileMark>,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    address: ListenAddress,
    source: io::Error,
}

impl ListenError {
    /// Whether somebody listens there already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    /// The kernel's error number, or the one that says it best.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(match self.source.kind() {
            io::ErrorKind::AddrInUse => libc::EADDRINUSE,
            io::ErrorKind::AlreadyExists => libc::EEXIST,
            _ => libc::EIO,
        })
    }
}

/// Which file it is. As long as the socket lives, no other gets the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
}

/// As many connections wait to be taken as the machine allows (`net.core.somaxconn`, usually 4096): they are to outlast a
/// restart.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;

impl Listener {
    /// Listens at `address`. The file of a unix socket has exactly `mode` whatever the umask; one of ours that nobody
    /// listens at any more is replaced. `[::]` takes IPv4, too.
    ///
    /// # Errors
    /// When somebody listens there, or something else is at the path that is not ours to replace (no socket, a symlink,
    /// another user's), named in the text; else as bind(2).
    pub fn open(address: &ListenAddress, mode: u32) -> Result<Self, ListenError> {
        let opened = match address {
            ListenAddress::Tcp(at) => tcp(*at).map(|socket| Self { socket, address: address.clone(), file: None }),
            ListenAddress::Unix(path) => unix(path, mode),
        };
        opened.map_err(|source| ListenError { address: address.clone(), source })
    }

    /// Goes on with a socket that somebody else has opened at this address and handed on.
    pub fn adopt(socket: OwnedFd, address: ListenAddress) -> Self {
        let file = match &address {
            ListenAddress::Unix(path) => {
                std::fs::symlink_metadata(path).ok().filter(|about| about.file_type().is_socket())
            }
            ListenAddress::Tcp(_) => None,
        };
        let file = file.map(|about| FileMark { device: about.dev(), inode: about.ino() });
        Self { socket, address, file }
    }

    /// As [`Self::adopt`], of what was found in a program: none where it does not listen at this address.
    pub fn recovered(socket: OwnedFd, address: &ListenAddress) -> Option<Self> {
        let listens = getsockopt(&socket, sockopt::AcceptConn).ok()?;
        let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
        let is_at = match address {
            ListenAddress::Tcp(at) => {
                let v4 = bound.as_sockaddr_in().map(|at| SocketAddr::from(std::net::SocketAddrV4::from(*at)));
                let v6 = bound.as_sockaddr_in6().map(|at| SocketAddr::from(std::net::SocketAddrV6::from(*at)));
                v4.or(v6) == Some(*at)
            }
            ListenAddress::Unix(path) => bound.as_unix_addr().and_then(|at| at.path()) == Some(path),
        };
        (listens && is_at).then(|| Self::adopt(socket, address.clone()))
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Whether it still does: nobody has called shutdown(2) on it, and its path, if it has one, still leads to it.
    pub fn is_reachable(&self) -> bool {
        // The end of a socket is told unasked.
        let mut ask = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut ask, PollTimeout::ZERO) == Ok(0) && self.has_its_path()
    }

    /// Makes it block again: whether it does is the same for all who hold it, and a program that has ended may have
    /// chosen otherwise.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn make_blocking(&self) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.socket, FcntlArg::F_GETFL)?);
        if flags.contains(OFlag::O_NONBLOCK) {
            fcntl(&self.socket, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    /// Listens no more, for nobody who holds it, so that its address is free at once. Connections that wait are refused.
    pub fn silence(&self) {
        // One that has been silenced before is so still.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    fn has_its_path(&self) -> bool {
        let (ListenAddress::Unix(path), Some(mark)) = (&self.address, self.file) else { return true };
        let found = std::fs::symlink_metadata(path);
        found.is_ok_and(|about| FileMark { device: about.dev(), inode: about.ino() } == mark)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddress::Unix(path) = &self.address
            && self.has_its_path()
        {
            // Whoever finds it meets silence, and may replace it.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tcp(at: SocketAddr) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Connections of an earlier process that are yet to time out are in nobody's way.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        // Matters to `[::]` alone, and is not left to the machine's default.
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn unix(path: &Path, mode: u32) -> io::Result<Listener> {
    clear(path)?;
    let socket = stream_socket(SockFlag::empty())?;
    // At its own path from the start, not renamed to it: servers ask the socket for its name.
    bind_at(&socket, path)?;
    // Nobody can connect before listen(2), so the file is never open to too many.
    let file = open_path(path, OFlag::O_NOFOLLOW)?;
    let about = std::fs::metadata(through_proc(&file))?;
    if !about.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mark = FileMark { device: about.dev(), inode: about.ino() };
    let listener = Listener { socket, address: ListenAddress::Unix(path.to_owned()), file: Some(mark) };
    std::fs::set_permissions(through_proc(&file), PermissionsExt::from_mode(mode))?;
    listen(&listener.socket, BACKLOG)?;
    Ok(listener)
}

/// Takes away what is left of a socket of ours.
fn clear(path: &Path) -> io::Result<()> {
    check_replaceable(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::os::socket::connect_unix;

    const MODE: u32 = 0o666;

    fn tcp_at(text: &str) -> ListenAddress {
        ListenAddress::Tcp(text.parse().unwrap())
    }

    /// The port it got where the kernel was left to choose.
    fn port_of(listener: &Listener) -> u16 {
        TcpListener::from(listener.socket.try_clone().unwrap()).local_addr().unwrap().port()
    }

    /// A greeting through a plain accept, which waits.
    fn talk(listener: &Listener, mut client: impl Write) {
        client.write_all(b"hello").unwrap();
        let socket = listener.socket.try_clone().unwrap();
        let mut heard = [0; 5];
        match listener.address {
            ListenAddress::Tcp(_) => TcpListener::from(socket).accept().unwrap().0.read_exact(&mut heard).unwrap(),
            ListenAddress::Unix(_) => UnixListener::from(socket).accept().unwrap().0.read_exact(&mut heard).unwrap(),
        }
        assert_eq!(&heard, b"hello");
    }

    #[test]
    fn each_address_takes_what_is_meant_for_it() {
        for (address, reached_by, not_by) in [
            ("127.0.0.1:0", "127.0.0.1", Some("127.0.0.2")),
            ("0.0.0.0:0", "127.0.0.2", Some("::1")),
            ("[::1]:0", "::1", Some("127.0.0.1")),
            ("[::]:0", "::1", None),
            ("[::]:0", "127.0.0.1", None),
        ] {
            let listener = Listener::open(&tcp_at(address), MODE).unwrap();
            let port = port_of(&listener);
            talk(&listener, TcpStream::connect((reached_by, port)).unwrap());
            if let Some(other) = not_by {
                let refused = TcpStream::connect((other, port)).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{address} by {other}");
            }
        }
    }

    #[test]
    fn an_address_that_is_taken_is_told_and_free_after_the_end() {
        let first = Listener::open(&tcp_at("127.0.0.1:0"), MODE).unwrap();
        let address = tcp_at(&format!("127.0.0.1:{}", port_of(&first)));
        assert_eq!(Listener::open(&address, MODE).unwrap_err().errno(), libc::EADDRINUSE);
        // A connection that ends here first leaves the address in TIME_WAIT.
        let client = TcpStream::connect(("127.0.0.1", port_of(&first))).unwrap();
        drop(TcpListener::from(first.socket.try_clone().unwrap()).accept().unwrap());
        drop((first, client));
        assert!(Listener::open(&address, MODE).unwrap().is_reachable());
    }

    #[test]
    fn a_silenced_socket_leaves_its_address_at_once_although_others_hold_it() {
        let first = Listener::open(&tcp_at("127.0.0.1:0"), MODE).unwrap();
        let port = port_of(&first);
        let held_elsewhere = first.socket.try_clone().unwrap();
        assert!(first.is_reachable());
        first.silence();
        assert!(!first.is_reachable());
        let second = Listener::open(&tcp_at(&format!("0.0.0.0:{port}")), MODE).unwrap();
        talk(&second, TcpStream::connect(("127.0.0.1", port)).unwrap());
        drop(held_elsewhere);
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_its_name_and_goes_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        for (path, mode) in
            [(folder.path().join("s"), 0o666), (folder.path().join("t"), 0o600), (deep.join("u"), 0o660)]
        {
            let listener = Listener::open(&ListenAddress::Unix(path.clone()), mode).unwrap();
            assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode);
            talk(&listener, connect_unix(&path).unwrap());
            if path.as_os_str().len() < 100 {
                let own = UnixListener::from(listener.socket.try_clone().unwrap()).local_addr().unwrap();
                assert_eq!(own.as_pathname(), Some(path.as_path()));
            }
            let again = Listener::open(&ListenAddress::Unix(path.clone()), mode).unwrap_err();
            assert!(again.is_taken() && again.errno() == libc::EADDRINUSE, "{again}");
            drop(listener);
            assert!(!path.exists());
        }
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_longer_its_own_is_noticed_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = ListenAddress::Unix(path.clone());
        let first = Listener::open(&address, MODE).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!first.is_reachable());
        let second = Listener::open(&address, MODE).unwrap();
        drop(first);
        assert!(second.is_reachable());
        talk(&second, connect_unix(&path).unwrap());
    }

    #[test]
    fn what_a_killed_everup_left_is_replaced_and_what_is_not_ours_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        drop(UnixListener::bind(at("stale")).unwrap());
        assert!(Listener::open(&ListenAddress::Unix(at("stale")), MODE).unwrap().is_reachable());
        std::fs::write(at("file"), "precious").unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        for name in ["file", "link"] {
            let error = Listener::open(&ListenAddress::Unix(at(name)), MODE).unwrap_err();
            assert_eq!((error.errno(), error.is_taken()), (libc::EEXIST, false), "{name}");
            assert!(error.to_string().contains(at(name).to_str().unwrap()), "{error}");
        }
        assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "precious");
        let missing = Listener::open(&ListenAddress::Unix(at("no/s")), MODE).unwrap_err();
        assert_eq!(missing.errno(), libc::ENOENT);
    }

    #[test]
    fn it_blocks_again_whatever_a_program_made_of_it() {
        let listener = Listener::open(&tcp_at("127.0.0.1:0"), MODE).unwrap();
        let theirs = TcpListener::from(listener.socket.try_clone().unwrap());
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(theirs.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        listener.make_blocking().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&listener.socket, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }
}
