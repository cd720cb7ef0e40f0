//! The kernel's news of folders.
//!
//! inotify itself instead of the `notify` crate: 1,000 reads of a watched file wake the thread of its stable release (8.2, whose
//! mask holds OPEN) 2,000 times, and by this mask never. Release 9, which lets the mask be chosen, is not out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// A file is news when its writer closes it, not while it writes; a folder when its names change.
const MASK: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Tells the subjects apart.
pub(super) type Key = u32;

/// The folders the kernel tells of. One that several subjects want, or that has several names, is told of once by the kernel
/// and handed out to each.
#[derive(Debug)]
pub(super) struct Kernel {
    inotify: Inotify,
    wanted: HashMap<WatchDescriptor, Vec<(Key, Arc<Path>)>>,
    folders: BTreeMap<(Key, Arc<Path>), WatchDescriptor>,
}

impl Kernel {
    /// # Errors
    /// When the kernel has no inotify, or gives this user no more of it.
    pub(super) fn open() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, wanted: HashMap::new(), folders: BTreeMap::new() })
    }

    /// Tells of this folder from now on. Of a name that leads to another folder than before, the new one is told of.
    ///
    /// # Errors
    /// The kernel's: ENOSPC where this user may watch no more folders.
    pub(super) fn watch(&mut self, key: Key, folder: &Arc<Path>) -> Result<(), Errno> {
        let new = self.inotify.add_watch(&**folder, MASK)?;
        match self.folders.insert((key, Arc::clone(folder)), new) {
            Some(old) if old == new => return Ok(()),
            Some(old) => self.release(old, key, folder),
            None => {}
        }
        self.wanted.entry(new).or_default().push((key, Arc::clone(folder)));
        Ok(())
    }

    /// Tells this subject no more of the folder.
    pub(super) fn forget(&mut self, key: Key, folder: &Arc<Path>) {
        if let Some(wd) = self.folders.remove(&(key, Arc::clone(folder))) {
            self.release(wd, key, folder);
        }
    }

    /// Tells this subject nothing more.
    pub(super) fn forget_all(&mut self, key: Key) {
        let first = (key, Arc::from(Path::new("")));
        let folders = self.folders.range((Bound::Included(first), Bound::Unbounded));
        let folders: Vec<_> =
            folders.take_while(|((other, _), _)| *other == key).map(|(k, _)| Arc::clone(&k.1)).collect();
        for folder in folders {
            self.forget(key, &folder);
        }
    }

    /// What has happened; empty when there is nothing more to read.
    pub(super) fn read(&mut self) -> Vec<InotifyEvent> {
        // Nothing to read is the only failure there is.
        self.inotify.read_events().unwrap_or_default()
    }

    /// Who wants to hear of an event, and what each of them calls the folder.
    pub(super) fn listeners(&self, event: &InotifyEvent) -> Vec<(Key, Arc<Path>)> {
        self.wanted.get(&event.wd).cloned().unwrap_or_default()
    }

    /// The kernel has ended this watch: its folder is gone.
    pub(super) fn ended(&mut self, wd: WatchDescriptor) {
        for (key, folder) in self.wanted.remove(&wd).unwrap_or_default() {
            let name = (key, folder);
            if self.folders.get(&name) == Some(&wd) {
                self.folders.remove(&name);
            }
        }
    }

    fn release(&mut self, wd: WatchDescriptor, key: Key, folder: &Path) {
        let Some(wanted) = self.wanted.get_mut(&wd) else { return };
        wanted.retain(|(other, name)| *other != key || **name != *folder);
        if wanted.is_empty() {
            self.wanted.remove(&wd);
            // It may have ended by itself.
            let _ = self.inotify.rm_watch(wd);
        }
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
