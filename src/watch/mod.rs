//! Sees files: which of the watched ones have another content than at the last look.
//!
//! Events only say where to look; what counts is the content. `rules` says which files count, `tree` knows what they hold,
//! `window` when a change is told, `kernel` asks to be told about folders, `worker` is the thread that does it all.

mod content;
mod filesystem;
mod kernel;
mod rules;
#[cfg(test)]
mod tests;
mod tree;
mod watched;
mod window;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::model::status::Warning;
use crate::model::units::Moment;
use crate::model::watch::{FileChange, WatchPlan};
use crate::watch::kernel::Bell;

/// One thing to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The caller's word for it.
    pub name: String,
    /// Which files count; its `debounce` is not looked at.
    pub plan: WatchPlan,
    /// How long nothing must change before a change is told.
    pub quiet: Duration,
    /// At the latest this long after the first change it is told all the same; none: it waits for quiet.
    pub cap: Option<Duration>,
    /// Files, and folders with all in them, that never count, whatever the plan includes.
    pub never: Vec<PathBuf>,
}

/// What the watcher tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Files hold something else than before: all that changed within one window.
    Changed {
        /// Of whom.
        subject: String,
        /// By path, each once, never with the same content before and after.
        files: Vec<FileChange>,
        /// When the first sign of it was seen.
        since: Moment,
    },
    /// It has been looked at once: from now on nothing is missed.
    Watching {
        /// Who.
        subject: String,
        /// How many folders are watched.
        folders: usize,
        /// How many files count.
        files: usize,
    },
    /// What cannot be watched as wanted: all there is, none when all is well. Codes: `polling`, `watch_limit`,
    /// `watch_missing`, `watch_overflow`.
    Trouble {
        /// Of whom.
        subject: String,
        /// For people.
        warnings: Vec<Warning>,
    },
}

/// What the thread is asked for.
#[derive(Debug)]
enum Wish {
    Watch(Vec<Subject>),
    Disregard { subject: String, path: PathBuf },
    End,
}

/// Watches files on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    wishes: Sender<Wish>,
    bell: Arc<OwnedFd>,
}

impl Watcher {
    /// Starts the thread; `tell` is called on it and may wait.
    ///
    /// # Errors
    /// When the thread or its descriptors cannot be had.
    pub fn start(tell: impl FnMut(News) + Send + 'static) -> io::Result<Self> {
        let Bell { rope, bell } = Bell::new()?;
        // At most one wish a person's action, and the thread takes them at once.
        #[expect(clippy::disallowed_methods, reason = "one wish for each change of the plan")]
        let (wishes, inbox) = channel();
        let work = move || worker::work(&bell, &inbox, tell);
        std::thread::Builder::new().name("watch".to_owned()).stack_size(256 << 10).spawn(work)?;
        Ok(Self { wishes, bell: Arc::new(rope) })
    }

    /// Watches these and nothing else; what is watched already goes on as it is.
    pub fn watch(&self, subjects: Vec<Subject>) {
        self.wish(Wish::Watch(subjects));
    }

    /// Pays no more attention to a file.
    pub fn disregard(&self, subject: &str, path: &Path) {
        self.wish(Wish::Disregard { subject: subject.to_owned(), path: path.to_owned() });
    }

    fn wish(&self, wish: Wish) {
        // A thread that has ended watches nothing any more; it only ends with its owner.
        if self.wishes.send(wish).is_ok() {
            kernel::ring(&self.bell);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.wish(Wish::End);
    }
}
