//! Unix sockets with paths of any length, and who is on the other side.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use crate::model::names::Pid;
use crate::os::procfs::Stat;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens at `path` with exactly these permission bits, whatever the umask; never wider, not even for a moment. A
/// dead socket of ours in its place is replaced.
///
/// # Errors
/// `AddrInUse` when somebody listens there; `AlreadyExists` when something else is there (a file, a link, another
/// user's socket), which is left alone; `InvalidInput` when the last part of the path is longer than 70 bytes.
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let place = Place::of(path)?;
    if let Some(name) = place.blocked_by()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is {name}", path.display())));
    }
    match UnixStream::connect(place.path()) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => {}
            // Nobody will ever listen there again.
            io::ErrorKind::ConnectionRefused => std::fs::remove_file(place.path())?,
            // A full queue: somebody is there, and busy.
            io::ErrorKind::WouldBlock => return Err(io::ErrorKind::AddrInUse.into()),
            _ => return Err(error),
        },
    }
    let mode = mode & 0o777;
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The file gets the bits of the unbound socket, less the umask; what the umask took is given back below.
    fchmod(&listener, Mode::from_bits_truncate(mode))?;
    // The plain path where it fits: tools show it.
    let address = if is_short(path) { UnixAddr::new(path) } else { UnixAddr::new(&place.path()) }?;
    bind(listener.as_raw_fd(), &address)?;
    std::fs::set_permissions(place.path(), Permissions::from_mode(mode))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(listener))
}

/// Connects to the socket at `path`.
///
/// # Errors
/// As connect(2); `NotFound` and `ConnectionRefused` mean that nobody listens.
pub fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Place::of(path)?.path())
}

/// A path for a socket, through the descriptor of its folder, which keeps it short.
struct Place {
    folder: OwnedFd,
    name: PathBuf,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().filter(|name| name.len() <= 70).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { folder, name: PathBuf::from(name) })
    }

    /// The path to give to the kernel; valid as long as `self`.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd())).join(&self.name)
    }

    /// What stands here that is not a socket of ours.
    fn blocked_by(&self) -> io::Result<Option<&'static str>> {
        let found = match std::fs::symlink_metadata(self.path()) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(match found.file_type() {
            kind if kind.is_symlink() => Some("a symbolic link"),
            kind if !kind.is_socket() => Some("not a socket"),
            _ if found.uid() != geteuid().as_raw() => Some("a socket of another user"),
            _ => None,
        })
    }
}

/// Who is on the other side of a connection, as the kernel saw it when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its main group.
    pub gid: u32,
    /// Its process; 0 when that lives in a namespace we do not see. It may have ended since.
    pub pid: Pid,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// Who is on the other side of `stream`.
///
/// # Errors
/// As getsockopt(2).
pub fn peer(stream: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
    let groups = groups::of_peer(stream.as_fd())?;
    Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: Pid(credentials.pid()), groups })
}

/// The controlling terminal of a process, e.g. `pts/3`.
pub fn tty_of(pid: Pid) -> Option<String> {
    tty_name(Stat::of(pid)?.terminal)
}

fn tty_name(device: u32) -> Option<String> {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0x000f_ff00);
    match major {
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("tty{minor}")),
        4 => Some(format!("ttyS{}", minor - 64)),
        _ => None,
    }
}

mod groups {
    #![expect(unsafe_code, reason = "SO_PEERGROUPS has no safe wrapper")]

    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    /// The supplementary groups of the other side; empty where the kernel does not tell (before Linux 4.13).
    pub(super) fn of_peer(stream: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
        let mut groups = vec![0_u32; 64];
        loop {
            let mut length =
                libc::socklen_t::try_from(size_of_val(&*groups)).map_err(|_| io::ErrorKind::InvalidData)?;
            let room = groups.as_mut_ptr().cast();
            // SAFETY: the kernel writes at most `length` bytes, which `groups` has.
            let asked = unsafe {
                libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, room, &raw mut length)
            };
            let count = length as usize / size_of::<u32>();
            if asked == 0 {
                groups.truncate(count);
                return Ok(groups);
            }
            match io::Error::last_os_error() {
                // It has told how much room it needs.
                error if error.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => groups.resize(count, 0),
                error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => return Ok(Vec::new()),
                error => return Err(error),
            }
        }
    }
}

/// Whether `path` is short enough for tools that know no way around the limit, e.g. `curl --unix-socket`.
pub fn is_short(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() < 108
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_takes_a_dead_ones_place_but_not_a_living_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("everup.sock");
        for mode in [0o600, 0o660] {
            let listener = listen_unix(&path, mode).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
            assert_eq!(listen_unix(&path, mode).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            // The one who asked whether somebody listens comes first.
            let (mut asker, _) = listener.accept().unwrap();
            assert_eq!(asker.read(&mut [0]).unwrap(), 0);
            let mut client = connect_unix(&path).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            let peer = peer(&server).unwrap();
            assert_eq!((peer.uid, peer.pid.0.cast_unsigned()), (geteuid().as_raw(), std::process::id()));
        }
        assert_eq!(connect_unix(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn what_is_no_socket_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(listen_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert_eq!(listen_unix(&link, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(link.is_symlink());
    }

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(100)).join("y".repeat(100));
        std::fs::create_dir_all(&long).unwrap();
        let path = long.join("everup.sock");
        assert!(!is_short(&path));
        let _listener = listen_unix(&path, 0o600).unwrap();
        connect_unix(&path).unwrap();
        assert_eq!(connect_unix(&long.join("z".repeat(80))).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_terminal_goes_by_its_name() {
        for (device, name) in [
            (0, None),
            (0x8803, Some("pts/3")),
            (0x8900, Some("pts/256")),
            (0x0401, Some("tty1")),
            (0x0440, Some("ttyS0")),
        ] {
            assert_eq!(tty_name(device).as_deref(), name);
        }
    }
}
