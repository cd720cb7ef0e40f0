//! Finds programs as execvp(3) would, for a child whose PATH and folder may differ from ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Where to look when there is no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The absolute path of program `name`: with a slash as it is, seen from `cwd`; else the first in `path` that can be
/// executed.
///
/// # Errors
/// The kernel's number: `EACCES` when something of that name is there but no executable file, else as a rule
/// `ENOENT`.
pub fn find(name: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, i32> {
    if name.is_empty() {
        return Err(libc::ENOENT);
    }
    let cwd = std::path::absolute(cwd).map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT))?;
    if name.as_bytes().contains(&b'/') {
        return executable(cwd.join(name));
    }
    let fallback = OsString::from(DEFAULT_PATH);
    let mut worst = libc::ENOENT;
    for folder in std::env::split_paths(path.unwrap_or(&fallback)) {
        // An empty entry is the current folder, and joins as such.
        match executable(cwd.join(folder).join(name)) {
            Ok(found) => return Ok(found),
            Err(libc::EACCES) => worst = libc::EACCES,
            Err(_) => {}
        }
    }
    Err(worst)
}

fn executable(path: PathBuf) -> Result<PathBuf, i32> {
    let about = std::fs::metadata(&path).map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT))?;
    if !about.is_file() {
        return Err(libc::EACCES);
    }
    access(&path, AccessFlags::X_OK).map_err(|errno| errno as i32)?;
    Ok(path)
}
