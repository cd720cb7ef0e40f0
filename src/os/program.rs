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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// `one/tool`, `two/tool` and `two/other` can be executed; `one/plain` is a file, `one/folder` a folder.
    fn world() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("one/tool", 0o755), ("two/tool", 0o755), ("two/other", 0o700), ("one/plain", 0o644)] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(dir.path().join("one/folder")).unwrap();
        std::os::unix::fs::symlink("../two/other", dir.path().join("one/link")).unwrap();
        dir
    }

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        let dir = world();
        let root = dir.path();
        let absolute = format!("{0}/two:{0}/one", root.display());
        let cases: &[(&str, &str, Result<&str, i32>)] = &[
            ("tool", "one:two", Ok("one/tool")),
            ("tool", "none:two:one", Ok("two/tool")),
            ("tool", &absolute, Ok("two/tool")),
            ("other", "one:two", Ok("two/other")),
            ("link", "one", Ok("one/link")),
            ("./one/tool", "two", Ok("./one/tool")),
            ("one/tool", "", Ok("one/tool")),
            ("plain", "one:two", Err(libc::EACCES)),
            ("folder", "two:one", Err(libc::EACCES)),
            ("one/plain", "", Err(libc::EACCES)),
            ("one/folder", "", Err(libc::EACCES)),
            ("one/none", "one", Err(libc::ENOENT)),
            ("one/tool/x", "one", Err(libc::ENOTDIR)),
            ("none", "one:two", Err(libc::ENOENT)),
            ("", "one", Err(libc::ENOENT)),
        ];
        for (name, path, expected) in cases {
            let found = find(OsStr::new(name), Some(OsStr::new(path)), root);
            assert_eq!(found, expected.map(|found| root.join(found)), "{name} in {path}");
        }
    }

    #[test]
    fn an_empty_entry_is_the_folder_it_runs_in() {
        let dir = world();
        for path in ["", ":/nowhere", "/nowhere:", "/nowhere::/nowhere"] {
            let found = find(OsStr::new("tool"), Some(OsStr::new(path)), &dir.path().join("one")).unwrap();
            assert_eq!(found, dir.path().join("one/tool"), "{path}");
        }
    }

    #[test]
    fn without_a_path_the_usual_folders_are_searched() {
        let found = find(OsStr::new("sh"), None, Path::new("/")).unwrap();
        assert!(found.is_absolute() && found.ends_with("bin/sh"), "{found:?}");
        assert!(find(OsStr::new("sh"), Some(OsStr::new("bin:usr/bin")), Path::new(".")).is_err());
    }
}
