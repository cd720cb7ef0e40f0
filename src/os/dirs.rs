//! The state folder: ours alone, and out of everyone's version control.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

/// For us alone.
const PRIVATE: u32 = 0o700;

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// A file or a symbolic link lies there; it is left alone.
    #[error("cannot keep state in {path:?}: it is not a real folder")]
    NoFolder {
        /// What lies there.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("cannot keep state in {path:?}: it belongs to uid {owner}")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The kernel refused.
    #[error("cannot keep state in {path:?}: {source}")]
    System {
        /// The folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// Makes `dir` fit to keep state in: it and its missing parents are created, it is closed to all others, and in it are
/// a `.gitignore` of `*` and the folder `logs`.
///
/// # Errors
/// [`DirError`] when something else lies there, it belongs to somebody else (and we are not root), or the kernel
/// refuses.
pub fn prepare(dir: &Path) -> Result<(), DirError> {
    match std::fs::symlink_metadata(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
            made.map_err(|source| DirError::System { path: dir.to_owned(), source })?;
        }
        Err(source) => return Err(DirError::System { path: dir.to_owned(), source }),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = open_private(dir, open(dir, flags, Mode::empty()))?;
    // A convenience: a folder that is full or read-only is told of by those who need to write.
    let _ = write_gitignore(dir);
    let logs = dir.join("logs");
    match mkdirat(&folder, "logs", Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(DirError::System { path: logs, source: errno.into() }),
    }
    open_private(&logs, openat(&folder, "logs", flags, Mode::empty()))?;
    Ok(())
}

/// Checks a folder that was opened without following links, and closes it to others.
fn open_private(path: &Path, opened: nix::Result<OwnedFd>) -> Result<OwnedFd, DirError> {
    let failed = |source: io::Error| DirError::System { path: path.to_owned(), source };
    let folder = match opened {
        Ok(folder) => File::from(folder),
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(DirError::NoFolder { path: path.to_owned() }),
        Err(errno) => return Err(failed(errno.into())),
    };
    let about = folder.metadata().map_err(failed)?;
    let own = nix::unistd::geteuid();
    if about.uid() != own.as_raw() && !own.is_root() {
        return Err(DirError::Foreign { path: path.to_owned(), owner: about.uid() });
    }
    if about.mode() & 0o7777 != PRIVATE {
        folder.set_permissions(PermissionsExt::from_mode(PRIVATE)).map_err(failed)?;
    }
    Ok(folder.into())
}

/// Leaves one that is there as it is.
fn write_gitignore(dir: &Path) -> io::Result<()> {
    let path = dir.join(".gitignore");
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(b"*\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_folder_is_made_with_all_that_belongs_to_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/.everup");
        prepare(&dir).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join(".gitignore")).unwrap(), "*\n");
        for made in [root.path().join("a"), dir.clone(), dir.join("logs")] {
            assert_eq!(mode(&made), 0o700, "{made:?}");
        }
        std::fs::write(dir.join(".gitignore"), "logs\n").unwrap();
        prepare(&dir).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.join(".gitignore")).unwrap(),
            "logs\n",
            "ours to make, theirs to change"
        );
    }

    #[test]
    fn an_open_folder_is_closed_and_keeps_what_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state");
        std::fs::create_dir_all(dir.join("logs")).unwrap();
        std::fs::write(dir.join("logs/web.out.log"), "x").unwrap();
        for open in [&dir, &dir.join("logs")] {
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o777)).unwrap();
        }
        prepare(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&dir.join("logs"))), (0o700, 0o700));
        assert!(dir.join("logs/web.out.log").exists());
    }

    #[test]
    fn links_and_files_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::fs::set_permissions(at("real"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        std::fs::write(at("file"), "precious").unwrap();
        for name in ["link", "dangling", "file"] {
            let error = prepare(&at(name)).unwrap_err();
            assert!(matches!(error, DirError::NoFolder { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(mode(&at("real")), 0o755);
        assert!(!at("nowhere").exists() && std::fs::read_dir(at("real")).unwrap().count() == 0);
        std::fs::create_dir(at("state")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("state/logs")).unwrap();
        assert!(matches!(prepare(&at("state")).unwrap_err(), DirError::NoFolder { path } if path == at("state/logs")));
        assert!(matches!(prepare(&at("file/below")).unwrap_err(), DirError::System { .. }));
    }

    #[test]
    fn anothers_folder_is_only_for_root() {
        // Root owns the root folder: others find it foreign, and for root itself there is nothing to find.
        let own = nix::unistd::geteuid();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if own.is_root() {
            let root = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(root.path(), Some(12_345), None).unwrap();
            prepare(root.path()).unwrap();
        } else {
            let refused = open_private(Path::new("/"), open("/", flags, Mode::empty())).unwrap_err();
            assert!(matches!(refused, DirError::Foreign { owner: 0, .. }), "{refused}");
        }
    }
}
