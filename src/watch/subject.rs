//! One subject while it is watched: hears, waits until all is quiet, compares, tells.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::InotifyEvent;

use crate::model::status::Warning;
use crate::model::units::Moment;
use crate::model::watch::FileChange;
use crate::os::clock;
use crate::watch::inotify::{Kernel, Key};
use crate::watch::repository::{Lock, Repository};
use crate::watch::rules::Rules;
use crate::watch::table::Stamp;
use crate::watch::tree::{Difference, Heard, Tree};
use crate::watch::trouble::{self, Polling};
use crate::watch::walk::{Deaf, Ear};
use crate::watch::window::Window;
use crate::watch::{News, Subject};

/// With more touched files than this everything is looked at instead.
const TOUCHED: usize = 1_000;

/// How often files are looked at where the kernel does not tell, in microseconds.
const INTERVAL: u64 = 1_000_000;

/// A subject that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub key: Key,
    pub subject: Subject,
    tree: Tree,
    window: Window,
    /// What may have another content when the window ends.
    touched: BTreeSet<PathBuf>,
    /// Whether there is more of that than `touched` holds.
    more: bool,
    /// A watched path may lead elsewhere: to be looked at as soon as the kernel has told all.
    recheck: bool,
    /// Rules may be others: everything is looked at when the window ends.
    rescan: bool,
    /// There while git changes these files.
    locks: Vec<Lock>,
    polled: Option<Polled>,
    overflows: u64,
    trouble: Vec<Warning>,
    /// Whether there may be other trouble than was told last.
    unsure: bool,
}

/// A subject whose files are looked at every second.
#[derive(Debug)]
struct Polled {
    why: Polling,
    /// When next.
    at: u64,
    /// What was seen to differ since the window opened: it extends the window only when it differs once more.
    glimpsed: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Watched {
    /// Begins to watch.
    pub(super) fn begin(key: Key, subject: Subject, kernel: &mut Result<Kernel, Errno>) -> Self {
        let mut watched = Self {
            key,
            tree: Tree::new(Rules::new(&subject.plan, &subject.never)),
            window: Window::new(subject.quiet, subject.cap),
            touched: BTreeSet::new(),
            more: false,
            recheck: false,
            rescan: false,
            locks: vec![],
            polled: None,
            overflows: 0,
            trouble: vec![],
            unsure: true,
            subject,
        };
        watched.polled = watched.wants_polling(kernel);
        watched.pass(kernel);
        watched
    }

    /// Goes on with other rules; what was known and what waits to be told stays.
    pub(super) fn change(&mut self, subject: Subject, kernel: &mut Result<Kernel, Errno>) {
        self.window.change(subject.quiet, subject.cap);
        self.tree.change(Rules::new(&subject.plan, &subject.never));
        self.subject = subject;
        self.polled = self.wants_polling(kernel);
        if self.polled.is_some() {
            self.end(kernel);
        }
        let now = clock::monotonic_us();
        for (path, _) in self.pass(kernel) {
            self.touch(path, now);
        }
    }

    /// Hears no more of the kernel.
    pub(super) fn end(&self, kernel: &mut Result<Kernel, Errno>) {
        if let Ok(kernel) = kernel {
            kernel.forget_all(self.key);
        }
    }

    fn wants_polling(&self, kernel: &Result<Kernel, Errno>) -> Option<Polled> {
        let why = match kernel {
            _ if self.subject.plan.poll => Polling::Asked,
            Err(error) => Polling::NoInotify(*error),
            Ok(_) => return None,
        };
        Some(Polled { why, at: 0, glimpsed: BTreeMap::new() })
    }

    /// Walks everything; where the kernel cannot tell of these files they are looked at every second from here on.
    fn pass(&mut self, kernel: &mut Result<Kernel, Errno>) -> Vec<Difference> {
        self.unsure = true;
        let repositories = self.subject.plan.paths.iter().filter_map(|path| Repository::around(path));
        let locks: BTreeMap<PathBuf, Lock> =
            repositories.map(|found| found.lock()).map(|lock| (lock.path().to_owned(), lock)).collect();
        self.locks.retain(|lock| locks.contains_key(lock.path()));
        for (path, lock) in locks {
            if !self.locks.iter().any(|known| known.path() == path) {
                self.locks.push(lock);
            }
        }
        if self.polled.is_none() {
            let touched = (!self.more).then_some(&self.touched);
            match self.tree.pass(touched, &mut Ear { kernel: kernel.as_mut().ok(), key: self.key }) {
                Ok(differences) => return differences,
                Err(why) => self.deafen(why, kernel),
            }
        }
        if let Some(polled) = &mut self.polled {
            polled.at = clock::monotonic_us().saturating_add(INTERVAL);
        }
        let touched = (!self.more).then_some(&self.touched);
        self.tree.pass(touched, &mut Ear { kernel: None, key: self.key }).unwrap_or_default()
    }

    fn deafen(&mut self, why: Deaf, kernel: &mut Result<Kernel, Errno>) {
        let why = match why {
            Deaf::Limit => Polling::Limit,
            Deaf::Elsewhere(folder, kind) => Polling::Elsewhere(folder, kind),
        };
        self.polled = Some(Polled { why, at: 0, glimpsed: BTreeMap::new() });
        self.unsure = true;
        self.end(kernel);
    }

    /// Takes an event of the kernel in, about what is called `folder` here.
    pub(super) fn hear(
        &mut self,
        event: &InotifyEvent,
        folder: &Arc<Path>,
        kernel: &mut Result<Kernel, Errno>,
        now: u64,
    ) {
        if self.polled.is_some() {
            return;
        }
        let mut heard = Heard::default();
        let result =
            self.tree.hear(event, folder, &mut Ear { kernel: kernel.as_mut().ok(), key: self.key }, &mut heard);
        self.recheck |= heard.recheck;
        if heard.rescan {
            self.rescan = true;
            self.window.touch(now);
        }
        for path in heard.touched {
            self.touch(path, now);
        }
        if let Err(why) = result {
            self.deafen(why, kernel);
        }
    }

    /// The kernel has forgotten events: anything may have changed.
    pub(super) fn overflowed(&mut self, now: u64) {
        if self.polled.is_none() {
            self.overflows += 1;
            self.more = true;
            self.window.touch(now);
        }
    }

    fn touch(&mut self, path: PathBuf, now: u64) {
        self.window.touch(now);
        if self.touched.len() < TOUCHED {
            self.touched.insert(path);
        } else {
            self.more |= !self.touched.contains(&path);
        }
    }

    /// Looks at once at what cannot wait for the window's end, and at what is looked at every second.
    pub(super) fn look(&mut self, kernel: &mut Result<Kernel, Errno>, now: u64) {
        let is_due = self.polled.as_ref().is_some_and(|polled| now >= polled.at);
        if !mem::take(&mut self.recheck) && !is_due {
            return;
        }
        for (path, stamp) in self.pass(kernel) {
            let glimpsed = self.polled.as_mut().map(|polled| polled.glimpsed.insert(path.clone(), stamp));
            if glimpsed.flatten() != Some(stamp) {
                self.touch(path, now);
            }
        }
    }

    /// Tells what has changed, if it is time, and what is wrong.
    pub(super) fn tell(&mut self, kernel: &mut Result<Kernel, Errno>, now: u64, tell: &mut impl FnMut(News)) {
        let locks = &self.locks;
        if let Some(ended) = self.window.end(now, || locks.iter().any(Lock::is_held)) {
            if ended.outlasted {
                self.locks.iter_mut().for_each(Lock::give_up);
            }
            let files = self.compare(kernel);
            if !files.is_empty() {
                tell(News::Changed { subject: self.subject.name.clone(), files, since: Moment(ended.since / 1_000) });
            }
        }
        if self.unsure && !self.window.is_open() {
            self.unsure = false;
            let trouble = trouble::warnings(&self.tree, self.polled.as_ref().map(|polled| &polled.why), self.overflows);
            if trouble != self.trouble {
                self.trouble.clone_from(&trouble);
                tell(News::Trouble { subject: self.subject.name.clone(), warnings: trouble });
            }
        }
    }

    fn compare(&mut self, kernel: &mut Result<Kernel, Errno>) -> Vec<FileChange> {
        self.unsure = true;
        let met = if mem::take(&mut self.rescan) || self.more { self.pass(kernel) } else { vec![] };
        self.more = false;
        let mut paths = mem::take(&mut self.touched);
        paths.extend(met.into_iter().map(|(path, _)| path));
        if let Some(polled) = &mut self.polled {
            polled.glimpsed.clear();
        }
        let changes = paths.iter().filter_map(|path| self.tree.compare(path)).collect();
        if self.polled.is_none() {
            let ear = &mut Ear { kernel: kernel.as_mut().ok(), key: self.key };
            if let Err(why) = paths.iter().try_for_each(|path| self.tree.follow(path, ear)) {
                self.deafen(why, kernel);
            }
        }
        changes
    }

    /// Pays no more attention to a file.
    pub(super) fn disregard(&mut self, path: &Path) {
        self.tree.disregard(path);
        self.touched.remove(path);
    }

    /// When [`Watched::look`] and [`Watched::tell`] have something to do next.
    pub(super) fn due(&self) -> Option<u64> {
        self.window.due().into_iter().chain(self.polled.as_ref().map(|polled| polled.at)).min()
    }

    /// What to say when watching begins.
    pub(super) fn watching(&self) -> News {
        News::Watching { subject: self.subject.name.clone(), folders: self.tree.folders(), files: self.tree.files() }
    }

    /// Reads one file that was only looked at so far.
    pub(super) fn read_one(&mut self) {
        self.tree.read_one();
    }

    /// Whether files wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        self.tree.has_unread()
    }
}
