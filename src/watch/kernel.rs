//! Asks the kernel to tell about folders: inotify(7).
//!
//! Through nix, not the `notify` crate: its stable version (8) asks for every open, read and chmod too, so an app that only
//! reads its files wakes us for each of them; the version that can leave those out is not released.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// What says that a file may hold something else: it was written and closed, moved, made or removed. Not MODIFY, which comes
/// in the middle of a save, and nothing that only reads.
const ASKED: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The kernel's side of watching.
#[derive(Debug)]
pub(super) struct Kernel {
    inotify: Option<Inotify>,
}

/// Why a folder cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such folder (any more), or it may not be read.
    Missing,
    /// The limit of the user's watches is reached.
    Limit,
    /// There is no inotify to be had.
    Unavailable,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self { inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok() }
    }

    /// Watches a folder; the same folder has the same descriptor.
    pub(super) fn add(&self, folder: &Path) -> Result<WatchDescriptor, Refusal> {
        let inotify = self.inotify.as_ref().ok_or(Refusal::Unavailable)?;
        inotify.add_watch(folder, ASKED).map_err(|errno| match errno {
            nix::errno::Errno::ENOSPC => Refusal::Limit,
            nix::errno::Errno::ENOMEM => Refusal::Unavailable,
            _ => Refusal::Missing,
        })
    }

    pub(super) fn remove(&self, watch: WatchDescriptor) {
        if let Some(inotify) = &self.inotify {
            // The folder may be gone, and its watch with it.
            let _ = inotify.rm_watch(watch);
        }
    }

    /// What has happened so far.
    pub(super) fn events(&self) -> Vec<InotifyEvent> {
        self.inotify.as_ref().and_then(|inotify| inotify.read_events().ok()).unwrap_or_default()
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

/// Wakes the thread; `rope` is the end to pull.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) rope: OwnedFd,
    pub(super) bell: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let bell = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        Ok(Self { rope: bell.try_clone()?, bell })
    }
}

/// Rings it.
pub(super) fn ring(rope: &OwnedFd) {
    // It can only be full of rings already.
    let _ = nix::unistd::write(rope, &1_u64.to_ne_bytes());
}

/// Hears all rings so far.
pub(super) fn hush(bell: &OwnedFd) {
    let _ = nix::unistd::read(bell, &mut [0; 8]);
}
