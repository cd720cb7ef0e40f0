//! Sees files: which of the watched ones have another content than at the last look.
//!
//! One thread for all subjects, asleep while nothing happens. The kernel tells of folders, never of files (`inotify`), and
//! only of those with files that count (`rules`, `walk`). What it tells is a hint: when all is quiet (`window`) the files it
//! named are compared with what they held (`table`), so an event that changed nothing is nothing, and where events were lost
//! or cannot be had, another walk finds the same changes.

mod builtin;
mod filesystem;
mod ignored;
mod inotify;
mod lookout;
mod repository;
mod rules;
mod subject;
mod table;
mod trail;
mod tree;
mod trouble;
mod walk;
mod window;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::model::status::Warning;
use crate::model::units::Moment;
use crate::model::watch::{FileChange, WatchPlan};
use crate::watch::worker::Worker;

/// Something whose files are watched: a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Tells it apart from the others.
    pub name: String,
    /// Which files count.
    pub plan: WatchPlan,
    /// How long nothing must change before a change is told; instead of the plan's.
    pub quiet: Duration,
    /// A change is told at the latest this long after its first event; none: when all is quiet.
    pub cap: Option<Duration>,
    /// Files, and folders with all in them, that never count, whatever the plan says; absolute.
    pub never: Vec<PathBuf>,
}

/// What the watcher tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Files have another content than was told last, or than when watching began.
    Changed {
        /// Whose.
        subject: String,
        /// Which: by path, each once, never the same before and after.
        files: Vec<FileChange>,
        /// When the first event of it was seen.
        since: Moment,
    },
    /// From now on nothing is missed; said of each subject whenever they are replaced.
    Watching {
        /// Whose.
        subject: String,
        /// How many folders are watched.
        folders: usize,
        /// How many files are.
        files: usize,
    },
    /// What cannot be watched as wanted.
    Trouble {
        /// Whose.
        subject: String,
        /// All there is, with the codes `polling`, `watch_limit`, `watch_overflow`, `watch_missing`, `watch_unreadable` and
        /// `watch_glob`; empty: all is well.
        warnings: Vec<Warning>,
    },
}

/// Watches files. Dropping it ends its thread.
#[derive(Debug)]
pub struct Watcher {
    inbox: Arc<Inbox>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Order {
    Watch(Vec<Subject>),
    Disregard { subject: String, path: PathBuf },
    End,
}

/// Orders on their way to the thread. Bounded by what people configure and by the files a service writes.
#[derive(Debug)]
struct Inbox {
    orders: Mutex<Vec<Order>>,
    bell: EventFd,
}

impl Inbox {
    fn send(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // It can only fail when the counter is full, and then the bell rings already.
        let _ = self.bell.write(1);
    }

    fn take(&self) -> Vec<Order> {
        let _ = self.bell.read();
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watcher {
    /// Starts the thread. It calls `tell`, which should be quick: meanwhile nothing is looked at.
    ///
    /// # Errors
    /// When the kernel refuses the thread or its bell. Without inotify files are looked at every second.
    pub fn start(tell: impl FnMut(News) + Send + 'static) -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let inbox = Arc::new(Inbox { orders: Mutex::default(), bell });
        let worker = Worker::new(Arc::clone(&inbox), tell);
        std::thread::Builder::new().name("watch".to_owned()).stack_size(512 * 1024).spawn(move || worker.run())?;
        Ok(Self { inbox })
    }

    /// Watches these from now on, and no others. One that is equal to one watched already goes on undisturbed; one that
    /// has only its name in common goes by its new rules, and no change is lost on the way.
    pub fn watch(&self, subjects: Vec<Subject>) {
        self.inbox.send(Order::Watch(subjects));
    }

    /// Pays no more attention to one file of a subject, for as long as there is a subject of that name.
    pub fn disregard(&self, subject: &str, path: &Path) {
        self.inbox.send(Order::Disregard { subject: subject.to_owned(), path: path.to_owned() });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inbox.send(Order::End);
    }
}

#[cfg(test)]
mod tests;
