//! The state folder.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Why a folder cannot hold our state.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be made or looked at.
    #[error("cannot make the state folder {path}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has its name; it is left alone.
    #[error("cannot use {path} as the state folder: it is {what}")]
    Taken {
        /// The folder.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

/// Makes the state folder, for us alone, with a `.gitignore` of everything in it. One that exists is taken if it is
/// ours, and closed to writing by others.
///
/// # Errors
/// [`DirError`]: a link, a file or another user's folder is refused.
pub fn state_dir(path: &Path) -> Result<(), DirError> {
    let failed = |source| DirError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => accept(path)?,
        Err(error) => return Err(failed(error)),
    }
    let mut ignore = File::options();
    ignore.write(true).create_new(true).mode(0o600);
    match ignore.open(path.join(".gitignore")) {
        Ok(mut file) => file.write_all(b"*\n").map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn accept(path: &Path) -> Result<(), DirError> {
    let failed = |source| DirError::Io { path: path.to_owned(), source };
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    let what = match found.file_type() {
        kind if kind.is_symlink() => Some("a symbolic link"),
        kind if !kind.is_dir() => Some("not a folder"),
        _ if found.uid() != geteuid().as_raw() => Some("another user's"),
        _ => None,
    };
    if let Some(what) = what {
        return Err(DirError::Taken { path: path.to_owned(), what });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode & !0o022)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_folder_is_ours_alone_and_unseen_by_git() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/.everup");
        state_dir(&path).unwrap();
        state_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(std::fs::read_to_string(path.join(".gitignore")).unwrap(), "*\n");
        std::fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        state_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn what_is_no_folder_of_ours_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        for (path, what) in [(&file, "not a folder"), (&link, "a symbolic link")] {
            match state_dir(path) {
                Err(DirError::Taken { what: told, .. }) => assert_eq!(told, what),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
