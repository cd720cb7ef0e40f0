//! One everup to a state folder: a lock that is released with the process, whatever becomes of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::model::names::Pid;

/// The lock of a state folder, held until dropped.
#[derive(Debug)]
pub struct StateLock {
    file: Flock<File>,
}

/// Why a state folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("cannot lock {path:?}: another everup runs here{}", .holder.as_ref().map(|pid| format!(", pid {pid}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The pid in it; none in the moment before it is written.
        holder: Option<String>,
    },
    /// Something that is not ours lies there.
    #[error("cannot lock {path:?}: it is not a plain file")]
    NoFile {
        /// What lies there.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot lock {path:?}: {source}")]
    System {
        /// The lock file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

impl LockError {
    /// The pid of the everup that holds the lock, as text.
    pub fn holder(&self) -> Option<&str> {
        match self {
            Self::Held { holder, .. } => holder.as_deref(),
            Self::NoFile { .. } | Self::System { .. } => None,
        }
    }
}

impl StateLock {
    /// Writes into it whom to signal from now on.
    pub fn name(&mut self, pid: Pid) {
        // The lock holds without it.
        let _ = write_pid(&mut self.file, pid);
    }

    /// Goes on holding a lock that somebody else has taken and handed on.
    pub fn adopt(held: OwnedFd) -> Option<Self> {
        // The lock belongs to the open file, which is the same: this only asks for what it has.
        Flock::lock(File::from(held), FlockArg::LockExclusiveNonblock).ok().map(|file| Self { file })
    }

    /// Locks `dir/lock` without waiting, and writes our parent's pid into it: the guardian's, the one to signal.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let failed = |source: io::Error| LockError::System { path: path.clone(), source };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A pipe in its place must not keep us waiting.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => {
                return Err(LockError::NoFile { path });
            }
            Err(error) => return Err(failed(error)),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(LockError::NoFile { path });
        }
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((file, Errno::EWOULDBLOCK)) => return Err(LockError::Held { path, holder: pid_in(file) }),
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        // The lock holds even where the disk is full; then only the pid is missing.
        let _ = write_pid(&mut file, Pid(std::os::unix::process::parent_id().cast_signed()));
        Ok(Self { file })
    }
}

/// The open file, to be held by somebody else as well: the lock lasts as long as either holds it.
impl AsFd for StateLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn write_pid(file: &mut File, pid: Pid) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid}")
}

fn pid_in(file: File) -> Option<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim();
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then(|| pid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lock"), "a longer text of an earlier life\n").unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        let parent = std::os::unix::process::parent_id().to_string();
        let error = StateLock::take(dir.path()).unwrap_err();
        assert_eq!(error.holder(), Some(parent.as_str()));
        let text = error.to_string();
        assert!(text.starts_with("cannot lock") && text.ends_with(&format!("pid {parent}")), "{text}");
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_holder_that_wrote_nothing_of_use_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "\n", "someone", "12 34"] {
            let _held = StateLock::take(dir.path()).unwrap();
            std::fs::write(dir.path().join("lock"), text).unwrap();
            let error = StateLock::take(dir.path()).unwrap_err();
            assert!(matches!(error, LockError::Held { .. }) && error.holder().is_none(), "{text:?}");
        }
    }

    #[test]
    fn links_folders_and_pipes_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::NoFile { .. })));
        assert!(!target.exists());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::NoFile { .. })));
        std::fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::NoFile { .. })));
        let nowhere = StateLock::take(&dir.path().join("none")).unwrap_err();
        assert!(matches!(nowhere, LockError::System { .. }) && nowhere.holder().is_none());
    }
}
