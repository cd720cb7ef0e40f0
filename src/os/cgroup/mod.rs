//! Control groups (v2): one for each run, so that nothing of it can hide.
//!
//! Only plain groups below our own are made. Controllers are left as they are, so nothing of the system's layout
//! changes and no rule about inner processes is touched, until a run is to be limited: see [`bounds`].

pub mod bounds;
pub mod counts;
mod find;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::model::names::Pid;
use crate::os::cgroup::find::Kind;
pub use crate::os::cgroup::find::NoCgroup;
use crate::os::procfs;

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The longest list of processes that is read, in bytes: more than there can be numbers.
const LONGEST_LIST: u64 = 64 << 20;

/// The folder that holds the groups of all our runs; removed when dropped, if nothing runs in it any more.
#[derive(Debug)]
pub struct Groups {
    path: PathBuf,
    /// Locked as long as we live, so that nobody takes our groups for leftovers.
    folder: Flock<OwnedFd>,
}

/// The group of one run, by its name below [`Groups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(Box<str>);

impl Group {
    /// The group at `path`, which another supervisor has made; none where there is none.
    pub fn adopt(path: &Path) -> Option<Self> {
        // A whole path stands for itself wherever a name below a folder is expected.
        let path = path.to_str().filter(|_| path.is_absolute() && path.join("cgroup.procs").exists())?;
        Some(Self(path.into()))
    }
}

impl Groups {
    /// Makes the folder, below our own group, and removes what dead supervisors left beside it.
    ///
    /// # Errors
    /// [`NoCgroup`] says why control groups cannot be used here: no tree, no permission, read-only, …
    pub fn create() -> Result<Self, NoCgroup> {
        Self::create_below(&own_group(Kind::V2)?)
    }

    /// A folder that is there already.
    #[cfg(test)]
    fn at(path: &Path) -> Self {
        let folder = open_folder(path).unwrap();
        let folder = Flock::lock(folder, FlockArg::LockExclusiveNonblock).unwrap();
        Self { path: path.to_owned(), folder }
    }

    /// As [`Groups::create`], below a group that we are in.
    fn create_below(own: &Path) -> Result<Self, NoCgroup> {
        let cannot = |what: &str| {
            let shown = own.display().to_string();
            let what = what.to_owned();
            move |error: io::Error| NoCgroup(format!("cannot {what} the control group {shown}: {error}"))
        };
        if !holds(own, std::process::id()).map_err(cannot("read"))? {
            return Err(NoCgroup(format!("cannot use control groups: {} is not the group we are in", own.display())));
        }
        let parent = open_folder(own).map_err(cannot("open"))?;
        remove_leftovers(own, parent.as_fd());
        // Moving a process into a group below needs this too, so it is asked before anything is made.
        nix::unistd::access(&own.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK)
            .map_err(io::Error::from)
            .map_err(cannot("manage"))?;
        let (name, folder) = make_base(parent.as_fd()).map_err(cannot("make a group in"))?;
        Ok(Self { path: own.join(name), folder })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one group.
    pub fn path_of(&self, group: &Group) -> PathBuf {
        self.path.join(&*group.0)
    }

    /// Makes the group `label` (with `otherwise` appended if there is one already); also its folder's descriptor, to
    /// be born in it.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn make(&self, label: &str, otherwise: u64) -> io::Result<(Group, OwnedFd)> {
        let mut name: String =
            label.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        if name.is_empty() || name.starts_with('.') || name.starts_with("cgroup.") {
            name.insert(0, '_');
        }
        name.truncate(200);
        let mode = Mode::from_bits_truncate(0o755);
        match mkdirat(&*self.folder, name.as_str(), mode) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                name = format!("{name}.{otherwise}");
                mkdirat(&*self.folder, name.as_str(), mode)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        let folder = openat(&*self.folder, name.as_str(), FOLDER, Mode::empty())?;
        Ok((Group(name.into()), folder))
    }

    /// Whether nothing lives in the group or below it; zombies do not count.
    pub fn is_empty(&self, group: &Group) -> bool {
        match self.read(&format!("{}/cgroup.events", group.0)) {
            // A count that lags behind the last process's end is put right by looking for one.
            Ok(events) => is_unpopulated(&events) || procs(&self.path_of(group)).is_ok_and(|procs| procs.is_empty()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Kills everything in the group and below it, at once where the kernel can do that (Linux 5.14).
    ///
    /// # Errors
    /// When not even the list of processes can be read.
    pub fn kill(&self, group: &Group) -> io::Result<()> {
        let path = format!("{}/cgroup.kill", group.0);
        let all_at_once = openat(&*self.folder, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(b"1"));
        if all_at_once.is_ok() {
            return Ok(());
        }
        for pid in procs(&self.path_of(group))? {
            if let Some(process) = crate::os::tree::Process::find(pid) {
                // It may have ended meanwhile; who cannot be signalled is found again in the next round.
                let _ = process.signal(libc::SIGKILL);
            }
        }
        Ok(())
    }

    /// The processes in the group and below it.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn procs(&self, group: &Group) -> io::Result<Vec<Pid>> {
        procs(&self.path_of(group))
    }

    /// Removes the group with all groups below it; those in which something lives stay. Whether it is gone.
    pub fn remove(&self, group: &Group) -> bool {
        match unlinkat(&*self.folder, &*group.0, UnlinkatFlags::RemoveDir) {
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => remove_tree(&self.path_of(group)),
            removed => removed.is_ok(),
        }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut text = vec![0; 128];
        let file = openat(&*self.folder, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let length = File::from(file).read(&mut text)?;
        text.truncate(length);
        Ok(text)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // What still lives in it keeps it; a later supervisor clears it away.
        remove_tree(&self.path);
    }
}

/// The list of a group's processes, kept open: opening it anew costs more than all that is read of a process.
#[derive(Debug)]
pub struct Procs {
    path: PathBuf,
    list: File,
    folder: OwnedFd,
}

impl Procs {
    /// How many descriptors one keeps open.
    pub const KEPT: usize = 2;

    /// Of the group at `path`.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), list: File::open(path.join("cgroup.procs"))?, folder })
    }

    /// The processes in the group and in all groups below it.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn read(&self) -> io::Result<Vec<Pid>> {
        let mut buffer = [0; 4096];
        let length = self.list.read_at(&mut buffer, 0)?;
        // See `procs`; and the kernel gives a long list out in pieces.
        let has_more = fstat(&self.folder).is_ok_and(|folder| folder.st_nlink > 2) || length >= buffer.len() / 2;
        if has_more { procs(&self.path) } else { Ok(procfs::pids(buffer.get(..length).unwrap_or_default()).collect()) }
    }
}

/// The processes in the group at `path` and in all groups below it.
///
/// # Errors
/// When the group's own list cannot be read.
pub fn procs(path: &Path) -> io::Result<Vec<Pid>> {
    let mut found = procs_of(path)?;
    // Beside the entries for itself, a folder has one link for each folder in it; most groups have none.
    if std::fs::metadata(path).is_ok_and(|folder| folder.nlink() > 2)
        && let Ok(entries) = std::fs::read_dir(path)
    {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            // A group that has just been removed holds nobody.
            found.extend(procs(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}

/// The folder of our own group in a tree.
fn own_group(kind: Kind<'_>) -> Result<PathBuf, NoCgroup> {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(|e| NoCgroup(format!("cannot use control groups: {path} cannot be read ({e})")))
    };
    find::own_group(kind, &read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, FOLDER, Mode::empty())?)
}

/// Makes `everup-PID` in `parent`, under another name if a supervisor of another namespace has that one.
fn make_base(parent: BorrowedFd<'_>) -> io::Result<(String, Flock<OwnedFd>)> {
    let mut name = format!("everup-{}", std::process::id());
    for attempt in 2..100 {
        match mkdirat(parent, name.as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                // Another supervisor may just be clearing leftovers away, this one among them; then the next name.
                let opened = openat(parent, name.as_str(), FOLDER, Mode::empty());
                match opened.map(|folder| Flock::lock(folder, FlockArg::LockExclusiveNonblock)) {
                    Ok(Ok(folder)) => return Ok((name, folder)),
                    Ok(Err((_, Errno::EWOULDBLOCK))) | Err(Errno::ENOENT) => {}
                    Ok(Err((_, errno))) | Err(errno) => return Err(errno.into()),
                }
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        name = format!("everup-{}-{attempt}", std::process::id());
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the folders of supervisors that are gone: nobody holds their lock, and nothing runs in them.
fn remove_leftovers(own: &Path, parent: BorrowedFd<'_>) {
    let Ok(entries) = std::fs::read_dir(own) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b"everup-") {
            continue;
        }
        let Ok(folder) = openat(parent, name.as_os_str(), FOLDER, Mode::empty()) else { continue };
        if let Ok(_ours) = Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            remove_tree(&entry.path());
        }
    }
}

/// Removes a group and all below it, the innermost first; the kernel refuses where something lives. Whether it is gone.
fn remove_tree(path: &Path) -> bool {
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    std::fs::remove_dir(path).is_ok()
}

fn is_unpopulated(events: &[u8]) -> bool {
    events.split(|byte| *byte == b'\n').any(|line| line == b"populated 0")
}

/// Whether the group at `path` lists this process.
fn holds(path: &Path, pid: u32) -> io::Result<bool> {
    Ok(procs_of(path)?.iter().any(|found| found.0.cast_unsigned() == pid))
}

/// The processes in exactly this group.
fn procs_of(path: &Path) -> io::Result<Vec<Pid>> {
    Ok(procfs::pids(&procfs::read_up_to(path.join("cgroup.procs"), LONGEST_LIST)?).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_group_says_so() {
        assert!(is_unpopulated(b"populated 0\nfrozen 0\n"));
        assert!(!is_unpopulated(b"populated 1\nfrozen 0\n"));
        assert!(!is_unpopulated(b""));
    }

    #[test]
    fn groups_are_made_and_removed_where_the_machine_allows() {
        let Ok(groups) = Groups::create() else { return };
        let (group, _folder) = groups.make("web.1-7", 1).unwrap();
        let (second, _folder) = groups.make("web.1-7", 2).unwrap();
        assert_ne!(group, second);
        assert!(groups.is_empty(&group) && groups.procs(&group).unwrap().is_empty());
        assert_eq!(Procs::open(&groups.path_of(&group)).unwrap().read().unwrap(), []);
        let inner = groups.path_of(&group).join("inner");
        std::fs::create_dir(&inner).unwrap();
        groups.remove(&group);
        assert!(!groups.path_of(&group).exists());
        let base = groups.path().to_owned();
        drop(groups);
        assert!(!base.exists());
    }
}
