//! A folder held by its descriptor, so that what is opened, renamed or removed in it is never elsewhere.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// One open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder at `path`; its last component may be a symlink only when `follow`.
    pub(super) fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let nofollow = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | nofollow;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens the folder at `path`; makes it first (0700, parents too) where it is missing. Not through a symlink.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        match Self::open(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                Self::open(path, false)
            }
            other => other,
        }
    }

    /// Opens a file in the folder, never through a symlink, never waiting for a device; created with 0600.
    pub(super) fn file(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let safe = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags | safe, Mode::S_IRUSR | Mode::S_IWUSR)?))
    }

    /// What is there under that name, a symlink itself and not its target; none: nothing.
    pub(super) fn status(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Renames within the folder, replacing what is there; a missing source is no error.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        absent_is_fine(renameat(&self.0, from, &self.0, to))
    }

    /// Removes a file; a missing one is no error.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        absent_is_fine(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir))
    }
}

fn absent_is_fine(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
