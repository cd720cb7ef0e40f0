//! Unix stream sockets: listening with an exact mode, reaching long paths, and who is at the other end.
#![expect(unsafe_code, reason = "the groups of the other end have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::Mode;

use crate::model::names::Pid;
use crate::os::procfs::Stat;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process.
    pub pid: i32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The longest path that a socket address holds.
const ADDRESS_BYTES: usize = 107;
/// Connections that wait to be taken; further ones are refused for the moment.
const BACKLOG: i32 = 128;

/// Listens at `path`, whose file has exactly `mode` whatever the umask. A socket file of ours that nobody listens at
/// any more is replaced.
///
/// # Errors
/// `AddrInUse` when somebody listens there; `AlreadyExists` when something else is there that is not ours to replace
/// (no socket, a symlink, another user's), named in the text; else as bind(2).
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    check_replaceable(path)?;
    let socket = stream_socket(SockFlag::empty())?;
    // Bound under another name until all is right: whoever sees `path` sees it complete.
    let temporary = path.with_file_name(format!(".everup-{}-{}.sock", std::process::id(), socket.as_raw_fd()));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    bind_at(&socket, &temporary)?;
    let finished = std::fs::set_permissions(&temporary, PermissionsExt::from_mode(mode))
        .and_then(|()| Ok(listen(&socket, Backlog::new(BACKLOG)?)?))
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = finished {
        // The first trouble is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(UnixListener::from(socket))
}

/// Connects to the socket at `path`, however long that is.
///
/// # Errors
/// `NotFound` without such a file, `ConnectionRefused` when nobody listens there, else as connect(2).
pub fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let socket = stream_socket(SockFlag::empty())?;
    loop {
        match connect_at(&socket, path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(UnixStream::from(socket)),
        }
    }
}

pub(super) fn stream_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)?)
}

/// Whether there is nothing at `path`, or a socket of ours that nobody listens at.
pub(super) fn check_replaceable(path: &Path) -> io::Result<()> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} {why}", path.display())));
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if about.file_type().is_symlink() {
        return refused("is a symbolic link, not a socket");
    }
    if !about.file_type().is_socket() {
        return refused("is there already and is not a socket");
    }
    if about.uid() != nix::unistd::geteuid().as_raw() {
        return refused("is the socket of another user");
    }
    // Not to be kept waiting by one who listens but does not take connections.
    let probe = stream_socket(SockFlag::SOCK_NONBLOCK)?;
    match connect_at(&probe, path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, format!("somebody listens at {}", path.display()))),
    }
}

/// Binds to `path`, however long that is.
pub(super) fn bind_at(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    if fits(path) {
        return Ok(bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?);
    }
    let (folder, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let folder = open_path(folder, OFlag::O_DIRECTORY)?;
    Ok(bind(socket.as_raw_fd(), &UnixAddr::new(&through_proc(&folder).join(name))?)?)
}

fn connect_at(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    if fits(path) {
        return Ok(connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?);
    }
    let file = open_path(path, OFlag::empty())?;
    Ok(connect(socket.as_raw_fd(), &UnixAddr::new(&through_proc(&file))?)?)
}

fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= ADDRESS_BYTES
}

pub(super) fn open_path(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(open(path, flags | OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// A path that leads to what `fd` stands for, whatever becomes of its name.
pub(super) fn through_proc(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Who is at the other end, as the kernel noted it when the connection was made.
///
/// # Errors
/// As getsockopt(2). Where the kernel cannot tell the groups, there are none.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let found = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer { uid: found.uid(), gid: found.gid(), pid: found.pid(), groups: peer_groups(stream)? })
}

fn peer_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    // The second time round the size is known.
    for _ in 0..2 {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
        // SAFETY: the kernel writes at most `bytes` into `groups`, which is as long, and the length into `bytes`.
        let done = unsafe {
            let place = groups.as_mut_ptr().cast();
            libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, place, &raw mut bytes)
        };
        let count = bytes as usize / size_of::<u32>();
        match (done, Errno::last()) {
            (0, _) => {
                groups.truncate(count);
                return Ok(groups);
            }
            (_, Errno::ERANGE) => groups.resize(count, 0),
            (_, Errno::ENOPROTOOPT | Errno::ENODATA) => return Ok(Vec::new()),
            (_, errno) => return Err(errno.into()),
        }
    }
    Err(Errno::ERANGE.into())
}

/// The controlling terminal of a process, e.g. `pts/3`; none when it has none or is gone.
pub fn tty_of(pid: i32) -> Option<String> {
    let device = Stat::of(Pid(pid))?.terminal;
    if device == 0 {
        return None;
    }
    // As the kernel packs device numbers for user space.
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    terminal_name(major, minor).or_else(|| {
        let link = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    })
}

fn terminal_name(major: u32, minor: u32) -> Option<String> {
    match (major, minor) {
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        (4, 0..64) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_socket_has_exactly_its_mode_and_talks() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
            let path = dir.path().join(format!("{mode:o}.sock"));
            let listener = listen_unix(&path, mode).unwrap();
            let about = std::fs::symlink_metadata(&path).unwrap();
            assert!(about.file_type().is_socket());
            assert_eq!(about.mode() & 0o7777, mode);
            if mode != 0 {
                talk(&listener, &path);
            }
        }
        // Nothing but the sockets is left behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn paths_longer_than_an_address_work() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        for name in ["short.sock".to_owned(), "n".repeat(200)] {
            let path = deep.join(name);
            let listener = listen_unix(&path, 0o600).unwrap();
            talk(&listener, &path);
            assert_eq!(listen_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(listener);
            assert_eq!(connect_unix(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            talk(&listen_unix(&path, 0o600).unwrap(), &path);
        }
        assert_eq!(connect_unix(&deep.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = listen_unix(&path, 0o600).unwrap();
        let error = listen_unix(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // The look at it left a connection behind that has ended; the next one is served.
        drop(first.accept().unwrap());
        talk(&first, &path);
        drop(first);
        let second = listen_unix(&path, 0o600).unwrap();
        talk(&second, &path);
    }

    #[test]
    fn a_socket_that_takes_no_more_connections_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = listen_unix(&path, 0o600).unwrap();
        let mut waiting = Vec::new();
        while waiting.len() < 1_000 {
            let socket = stream_socket(SockFlag::SOCK_NONBLOCK).unwrap();
            if connect_at(&socket, &path).is_err() {
                break;
            }
            waiting.push(socket);
        }
        assert_eq!(listen_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
    }

    #[test]
    fn what_is_not_our_socket_is_left_alone_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "precious").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        drop(listen_unix(&at("dead"), 0o600).unwrap());
        std::os::unix::fs::symlink(at("dead"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        for name in ["file", "folder", "link", "dangling"] {
            let error = listen_unix(&at(name), 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert!(error.to_string().contains(at(name).to_str().unwrap()), "{error}");
        }
        assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "precious");
        assert!(std::fs::symlink_metadata(at("link")).unwrap().is_symlink());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(at("dead"), Some(12_345), None).unwrap();
            let error = listen_unix(&at("dead"), 0o600).unwrap_err();
            assert!(error.to_string().contains("another user"), "{error}");
            assert!(at("dead").exists());
        }
        assert_eq!(listen_unix(&at("no/s"), 0o600).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_other_end_is_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer(&one).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
        assert_eq!(peer.pid, std::process::id().cast_signed());
        let mut expected: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        let mut groups = peer.groups;
        expected.sort_unstable();
        groups.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn terminals_are_called_as_people_know_them() {
        for (major, minor, expected) in [
            (136, 3, Some("pts/3")),
            (136, 300, Some("pts/300")),
            (137, 1, Some("pts/257")),
            (4, 1, Some("tty1")),
            (4, 64, Some("ttyS0")),
            (7, 1, None),
        ] {
            assert_eq!(terminal_name(major, minor).as_deref(), expected, "{major}:{minor}");
        }
        assert_eq!(tty_of(i32::MAX), None);
    }

    fn talk(listener: &UnixListener, path: &Path) {
        let mut client = connect_unix(path).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
}
