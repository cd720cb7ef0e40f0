//! One everup for one state folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::model::names::Pid;

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another everup has it.
    #[error("cannot use {path}: another everup runs there{}", .pid.map(|pid| format!(", pid {pid}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process to signal, as the other has written it down; none: it has not yet.
        pid: Option<Pid>,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Holds the state folder until dropped. The lock goes with the process, however it ends; the file stays.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl StateLock {
    /// Takes the lock of the folder `dir` and writes `pid` down in it, for whoever comes second.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(dir: &Path, pid: Pid) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
        let mut options = File::options();
        // Nobody's link leads us to write elsewhere.
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).and_then(|()| file.write_all(format!("{pid}\n").as_bytes())).map_err(failed)?;
                Ok(Self(file))
            }
            Err((file, Errno::EWOULDBLOCK)) => Err(LockError::Held { path, pid: read_pid(file) }),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

fn read_pid(file: File) -> Option<Pid> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path(), Pid(4711)).unwrap();
        let refusal = StateLock::take(folder.path(), Pid(4712)).unwrap_err();
        assert!(matches!(refusal, LockError::Held { pid: Some(Pid(4711)), .. }), "{refusal}");
        assert!(refusal.to_string().ends_with("another everup runs there, pid 4711"), "{refusal}");
        drop(first);
        StateLock::take(folder.path(), Pid(5)).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("lock")).unwrap(), "5\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("lock")).unwrap();
        assert!(matches!(StateLock::take(folder.path(), Pid(5)), Err(LockError::Io { .. })));
    }
}
