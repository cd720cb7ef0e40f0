//! Finds the program that a command names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

/// Where programs are looked for without a `PATH`.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// The absolute path of the program `name`, as execvp(3) finds it for a process with this `PATH` that runs in `cwd`
/// (absolute).
///
/// # Errors
/// The error number: `ENOENT` when there is none, `EACCES` when what there is cannot be executed.
pub fn find(name: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, i32> {
    if name.is_empty() {
        return Err(libc::ENOENT);
    }
    if name.as_encoded_bytes().contains(&b'/') {
        let program = cwd.join(name);
        return check(&program).map(|()| program);
    }
    let mut refusal = libc::ENOENT;
    for folder in std::env::split_paths(path.unwrap_or(OsStr::new(USUAL_PATH))) {
        // An empty entry stands for the working folder, by old custom.
        let program = cwd.join(folder).join(name);
        match check(&program) {
            Ok(()) => return Ok(program),
            Err(libc::EACCES) => refusal = libc::EACCES,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn check(program: &Path) -> Result<(), i32> {
    let found = std::fs::metadata(program).map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT))?;
    if !found.is_file() {
        return Err(libc::EACCES);
    }
    faccessat(AT_FDCWD, program, AccessFlags::X_OK, AtFlags::AT_EACCESS).map_err(|errno| errno as i32)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (name, mode) in [("first/tool", 0o644), ("second/tool", 0o755), ("second/plain", 0o644)] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(root.join("second/folder")).unwrap();
        let path = format!("{0}/none:{0}/first:{0}/second", root.display());
        for (name, expected) in [
            ("tool", Ok("second/tool")),
            ("plain", Err(libc::EACCES)),
            ("folder", Err(libc::EACCES)),
            ("missing", Err(libc::ENOENT)),
            ("", Err(libc::ENOENT)),
            ("second/tool", Ok("second/tool")),
            ("./second/tool", Ok("./second/tool")),
            ("second/missing", Err(libc::ENOENT)),
            ("second/tool/x", Err(libc::ENOTDIR)),
        ] {
            let found = find(OsStr::new(name), Some(OsStr::new(&path)), root);
            assert_eq!(found, expected.map(|below| root.join(below)), "{name}");
        }
        let absolute = root.join("second/tool");
        assert_eq!(find(absolute.as_os_str(), None, Path::new("/")), Ok(absolute.clone()));
        assert_eq!(
            find(OsStr::new("tool"), Some(OsStr::new("second")), root),
            Ok(absolute),
            "relative entries count from cwd"
        );
        assert!(find(OsStr::new("sh"), None, Path::new("/")).is_ok(), "a usual place serves without PATH");
    }
}
