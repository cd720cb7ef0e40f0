//! The list of live projects: one small file each, in a folder that is only ours.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::os::socket::connect_unix;

/// One live project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub project: String,
    /// Its file; none for `run`.
    pub config: Option<PathBuf>,
    /// Where it keeps its state; what makes it this project and no other.
    pub state_dir: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// The process to signal.
    pub pid: i32,
}

/// Why a project cannot be listed. It runs all the same.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symlink, a file, or somebody else's folder stands there.
    #[error("cannot use {}: it is not a folder of our own", .0.display())]
    NotOurs(PathBuf),
    /// The entry cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An entry that is removed when this is dropped.
#[derive(Debug)]
pub struct Registered {
    file: PathBuf,
    pid: i32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // A later everup on the same state folder may have put its own there.
        if read(&self.file).is_some_and(|entry| entry.pid == self.pid) {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Lists this project until the result is dropped.
///
/// # Errors
/// [`RegistryError`] when the list cannot be kept.
pub fn register(entry: &Entry) -> Result<Registered, RegistryError> {
    register_in(&folder(), entry)
}

/// The live projects of this user, by name. What no longer answers is dropped from the list.
pub fn list() -> Vec<Entry> {
    list_in(&folder())
}

/// The live project of this file.
pub fn find_by_config(config: &Path) -> Option<Entry> {
    find_by_config_in(&folder(), config)
}

/// `/run/everup` for root, `$XDG_RUNTIME_DIR/everup` for others; where there is none, a folder of this user in the
/// temporary one.
fn folder() -> PathBuf {
    let uid = geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/everup");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir()) {
        Some(dir) => dir.join("everup"),
        None => std::env::temp_dir().join(format!("everup-{uid}")),
    }
}

fn register_in(folder: &Path, entry: &Entry) -> Result<Registered, RegistryError> {
    make(folder)?;
    let file = folder.join(file_name(&entry.state_dir));
    write(&file, entry).map_err(|source| RegistryError::Write { path: file.clone(), source })?;
    Ok(Registered { file, pid: entry.pid })
}

/// Makes the folder, or makes sure that it is one that nobody else can write to.
fn make(folder: &Path) -> Result<(), RegistryError> {
    let trouble = |source| RegistryError::Folder { path: folder.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(trouble(error)),
        Ok(()) | Err(_) => {}
    }
    if !is_ours(folder) {
        return Err(RegistryError::NotOurs(folder.to_owned()));
    }
    // Also undoes a umask that took bits from us.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(trouble)
}

/// A folder itself, not a link to one, that belongs to us.
fn is_ours(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

/// Whole or not at all: readers see the earlier entry until this one is complete.
fn write(file: &Path, entry: &Entry) -> io::Result<()> {
    let draft = file.with_extension(format!("{}.draft", std::process::id()));
    let _ = fs::remove_file(&draft);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = serde_json::to_vec(entry).map_err(io::Error::from).and_then(|json| out.write_all(&json));
    written.and_then(|()| fs::rename(&draft, file)).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

fn list_in(folder: &Path) -> Vec<Entry> {
    if !is_ours(folder) {
        return vec![];
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|found| found.path());
    let mut entries: Vec<Entry> = files
        .filter(|file| file.extension() == Some(OsStr::new("json")))
        .filter_map(|file| {
            let entry = read(&file)?;
            if answers(&entry.socket) {
                return Some(entry);
            }
            // One that is just being replaced has a process, though nobody answers for a moment.
            if !Path::new("/proc").join(entry.pid.to_string()).exists() {
                let _ = fs::remove_file(&file);
            }
            None
        })
        .collect();
    entries.sort_by(|a, b| (&a.project, &a.state_dir).cmp(&(&b.project, &b.state_dir)));
    entries
}

fn find_by_config_in(folder: &Path, config: &Path) -> Option<Entry> {
    let wanted = fs::canonicalize(config).ok()?;
    list_in(folder)
        .into_iter()
        .find(|entry| entry.config.as_ref().and_then(|config| fs::canonicalize(config).ok()).as_ref() == Some(&wanted))
}

/// Reads an entry; a link, anything but a small file, or what is no entry is none.
fn read(file: &Path) -> Option<Entry> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file).ok()?;
    opened.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut text = String::new();
    File::take(opened, 64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether somebody listens; one who is busy, or does not want us, is somebody.
fn answers(socket: &Path) -> bool {
    match connect_unix(socket) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied),
    }
}

/// The same folder always has the same file: FNV-1a, 64 bits, of its path.
fn file_name(state_dir: &Path) -> String {
    let hash = state_dir
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}.json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// No process has this id: it is above what the kernel hands out.
    const NOBODY: i32 = i32::MAX;

    fn entry(root: &Path, project: &str, pid: i32) -> Entry {
        let state_dir = root.join(project);
        Entry {
            project: project.to_owned(),
            config: Some(root.join(format!("{project}.yaml"))),
            socket: root.join(format!("{project}.sock")),
            state_dir,
            pid,
        }
    }

    #[test]
    fn a_project_is_listed_while_it_lives() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("list");
        let (web, db) = (entry(root.path(), "web", NOBODY), entry(root.path(), "db", NOBODY));
        let listening = [&web, &db].map(|entry| UnixListener::bind(&entry.socket).unwrap());
        let registered = [&web, &db].map(|entry| register_in(&folder, entry).unwrap());
        assert_eq!(list_in(&folder), [db.clone(), web.clone()]);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        drop(registered);
        assert_eq!(list_in(&folder), []);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        drop(listening);
    }

    #[test]
    fn a_dead_one_is_dropped_and_a_silent_one_is_kept_while_its_process_lives() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("list");
        let living = i32::try_from(std::process::id()).unwrap();
        for (project, pid, left) in [("dead", NOBODY, 0), ("silent", living, 1)] {
            let registered = register_in(&folder, &entry(root.path(), project, pid)).unwrap();
            std::mem::forget(registered);
            assert_eq!(list_in(&folder), [], "{project}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), left, "{project}");
        }
    }

    #[test]
    fn a_later_everup_on_the_same_folder_keeps_its_entry() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("list");
        let (earlier, later) = (entry(root.path(), "web", NOBODY), entry(root.path(), "web", NOBODY - 1));
        let _listening = UnixListener::bind(&later.socket).unwrap();
        let first = register_in(&folder, &earlier).unwrap();
        let _second = register_in(&folder, &later).unwrap();
        drop(first);
        assert_eq!(list_in(&folder), [later]);
    }

    #[test]
    fn a_file_is_found_by_any_of_its_names() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("list");
        let web = entry(root.path(), "web", NOBODY);
        let _listening = UnixListener::bind(&web.socket).unwrap();
        fs::write(root.path().join("web.yaml"), "").unwrap();
        symlink("web.yaml", root.path().join("link.yaml")).unwrap();
        let _registered = register_in(&folder, &web).unwrap();
        for name in ["web.yaml", "link.yaml", "./web.yaml", "list/../web.yaml"] {
            assert_eq!(find_by_config_in(&folder, &root.path().join(name)), Some(web.clone()), "{name}");
        }
        assert_eq!(find_by_config_in(&folder, &root.path().join("other.yaml")), None);
    }

    #[test]
    fn links_and_odd_files_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert!(matches!(register_in(&link, &entry(root.path(), "web", NOBODY)), Err(RegistryError::NotOurs(_))));
        assert_eq!(list_in(&link), []);
        fs::write(root.path().join("target.json"), serde_json::to_vec(&entry(root.path(), "x", NOBODY)).unwrap())
            .unwrap();
        symlink(root.path().join("target.json"), real.join("0.json")).unwrap();
        fs::write(real.join("1.json"), "not json").unwrap();
        fs::create_dir(real.join("2.json")).unwrap();
        assert_eq!(list_in(&real), []);
        assert_eq!(fs::read_dir(&real).unwrap().count(), 3);
    }
}
