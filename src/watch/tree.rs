//! What one subject watches: walked, listened to, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InotifyEvent};

use crate::model::watch::FileChange;
use crate::watch::lookout::{Lookouts, Then};
use crate::watch::rules::Rules;
use crate::watch::table::{Stamp, Table};
use crate::watch::walk::{self, Deaf, Ear, Folders, Walk};

/// What news of the kernel comes to.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Files that may have another content now.
    pub touched: Vec<PathBuf>,
    /// A watched path may lead elsewhere now: walk at once, to hear what happens in there.
    pub recheck: bool,
    /// Rules may be others now: walk when all is quiet.
    pub rescan: bool,
}

/// A file that a walk met otherwise than it was known; without a stamp it was not met.
pub(super) type Difference = (PathBuf, Option<Stamp>);

/// The folders and files of one subject.
#[derive(Debug)]
pub(super) struct Tree {
    rules: Rules,
    table: Table,
    folders: Folders,
    lookouts: Lookouts,
    disregarded: BTreeSet<PathBuf>,
    unreadable: BTreeMap<PathBuf, Errno>,
    /// No walk has gone by these rules yet.
    fresh: bool,
}

impl Tree {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            table: Table::default(),
            folders: Folders::new(),
            lookouts: Lookouts::default(),
            disregarded: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            fresh: true,
        }
    }

    /// Goes by other rules from the next walk on.
    pub(super) fn change(&mut self, rules: Rules) {
        self.rules = rules;
        self.fresh = true;
    }

    /// Walks everything, and answers what may differ. Files that count only because the rules are others now are none of
    /// that, unless they were `touched` (none: nobody knows which were): they are known from here on.
    ///
    /// # Errors
    /// When the kernel cannot tell of these files; what was known stays as it was.
    pub(super) fn pass(
        &mut self,
        touched: Option<&BTreeSet<PathBuf>>,
        ear: &mut Ear<'_>,
    ) -> Result<Vec<Difference>, Deaf> {
        self.table.begin_pass();
        let mut walk = self.walk(ear);
        walk.everything()?;
        let Walk { folders, lookouts, unknown, differ, unreadable, .. } = walk;

        let old_folders = mem::replace(&mut self.folders, folders);
        let old_lookouts = mem::replace(&mut self.lookouts, lookouts);
        for folder in old_folders.keys().chain(old_lookouts.folders()) {
            if !self.listens_to(folder) {
                ear.forget(folder);
            }
        }
        self.unreadable = unreadable;

        let silent = self.rules.end_pass() | mem::take(&mut self.fresh);
        let mut differences: Vec<Difference> = differ.into_iter().map(|(path, stamp)| (path, Some(stamp))).collect();
        for file in unknown {
            let path = file.folder.join(&file.name);
            if silent && touched.is_some_and(|touched| !touched.contains(&path)) {
                self.table.keep(&file.folder, &file.name, file.stamp, file.link);
            } else {
                differences.push((path, Some(file.stamp)));
            }
        }
        for path in self.table.unseen() {
            if path.exists() && !self.counts(&path) {
                self.table.forget(&path);
            } else {
                differences.push((path, None));
            }
        }
        Ok(differences)
    }

    fn walk<'a, 'k>(&'a mut self, ear: &'a mut Ear<'k>) -> Walk<'a, 'k> {
        Walk {
            rules: &mut self.rules,
            table: &mut self.table,
            known: &self.folders,
            disregarded: &self.disregarded,
            ear,
            folders: Folders::new(),
            lookouts: Lookouts::default(),
            unknown: vec![],
            differ: vec![],
            unreadable: BTreeMap::new(),
        }
    }

    /// Takes an event of the kernel in.
    ///
    /// # Errors
    /// When the kernel cannot tell of a folder that appeared.
    pub(super) fn hear(
        &mut self,
        event: &InotifyEvent,
        folder: &Arc<Path>,
        ear: &mut Ear<'_>,
        heard: &mut Heard,
    ) -> Result<(), Deaf> {
        let Some(name) = &event.name else {
            // The folder itself is gone. Of those within the tree their parent tells, too.
            heard.recheck |= self.lookouts.has(folder) || self.rules.roots().any(|root| root == folder);
            return Ok(());
        };
        let is_folder = event.mask.contains(AddWatchFlags::IN_ISDIR);
        for then in self.lookouts.of(folder, name) {
            match then {
                Then::Recheck => heard.recheck = true,
                Then::Rules => heard.rescan = true,
                Then::Touch(_) if is_folder => heard.recheck = true,
                Then::Touch(path) => heard.touched.extend(is_news(event.mask, path).then(|| path.clone())),
            }
        }
        if !self.folders.contains_key(folder) {
            return Ok(());
        }
        let path = folder.join(name);
        if is_folder {
            if event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
                return self.enter(&path, folder, ear, heard);
            }
            self.leave(&path, ear, heard);
        } else {
            heard.rescan |= self.rules.is_ignore_file(name);
            if self.counts(&path) && is_news(event.mask, &path) {
                heard.touched.push(path);
            }
        }
        Ok(())
    }

    /// A folder appeared: whatever is in it already has come unheard.
    fn enter(&mut self, path: &Path, around: &Path, ear: &mut Ear<'_>, heard: &mut Heard) -> Result<(), Deaf> {
        let views = self.folders.get(around).cloned().unwrap_or_default();
        let mut walk = self.walk(ear);
        for view in views {
            if let Some(view) = walk.rules.admit(&view, path) {
                walk.below(Arc::from(path), view)?;
            }
        }
        let Walk { folders, lookouts, unknown, differ, unreadable, .. } = walk;
        self.folders.extend(folders);
        self.unreadable.extend(unreadable);
        heard.touched.extend(unknown.into_iter().map(|file| file.folder.join(file.name)));
        heard.touched.extend(differ.into_iter().map(|(path, _)| path));
        self.look_out(lookouts, ear)
    }

    /// A folder went away: by what is known, its files did.
    fn leave(&mut self, path: &Path, ear: &mut Ear<'_>, heard: &mut Heard) {
        let below = self.folders.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        let below: Vec<Arc<Path>> =
            below.map(|(folder, _)| Arc::clone(folder)).take_while(|folder| folder.starts_with(path)).collect();
        for folder in below {
            self.folders.remove(&folder);
            if !self.lookouts.has(&folder) {
                ear.forget(&folder);
            }
        }
        heard.touched.extend(self.table.below(path));
    }

    /// What became of a file since it was last told; none: nothing.
    pub(super) fn compare(&mut self, path: &Path) -> Option<FileChange> {
        // Rules that changed meanwhile may leave it out.
        if !self.table.contains(path) && !self.counts(path) {
            return None;
        }
        self.table.compare(path)
    }

    /// Looks out for where a file leads now, if it is a link.
    ///
    /// # Errors
    /// When the kernel cannot tell of what is there.
    pub(super) fn follow(&mut self, path: &Path, ear: &mut Ear<'_>) -> Result<(), Deaf> {
        if !self.table.is_link(path) {
            return Ok(());
        }
        let mut lookouts = Lookouts::default();
        walk::follow(path, &mut lookouts);
        self.look_out(lookouts, ear)
    }

    /// Looks out for these, too.
    fn look_out(&mut self, lookouts: Lookouts, ear: &mut Ear<'_>) -> Result<(), Deaf> {
        lookouts.listen(ear)?;
        self.lookouts.extend(lookouts);
        Ok(())
    }

    /// Pays no more attention to a file.
    pub(super) fn disregard(&mut self, path: &Path) {
        self.disregarded.insert(path.to_owned());
        self.table.forget(path);
    }

    /// Whether this file counts, if it is one.
    fn counts(&self, path: &Path) -> bool {
        let named = || self.rules.roots().any(|root| **root == *path) && !self.rules.is_never(path);
        let found = || {
            let views = path.parent().and_then(|folder| self.folders.get(folder));
            views.is_some_and(|views| views.iter().any(|view| self.rules.counts(view, path)))
        };
        !self.disregarded.contains(path) && (found() || named())
    }

    fn listens_to(&self, folder: &Path) -> bool {
        self.folders.contains_key(folder) || self.lookouts.has(folder)
    }

    /// Whether files wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        self.table.has_unread()
    }

    /// Reads one file that was only looked at so far.
    pub(super) fn read_one(&mut self) {
        self.table.read_one();
    }

    /// How many folders are watched.
    pub(super) fn folders(&self) -> usize {
        self.folders.len()
    }

    /// How many files are watched.
    pub(super) fn files(&self) -> usize {
        self.table.len()
    }

    /// The watched paths.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.rules.roots()
    }

    /// What is wrong with the globs, for people.
    pub(super) fn wrong_globs(&self) -> &[String] {
        self.rules.wrong()
    }

    /// The folders that count and cannot be read.
    pub(super) fn unreadable(&self) -> &BTreeMap<PathBuf, Errno> {
        &self.unreadable
    }
}

/// Whether an event says that the file has its new content by now. One that is made says so when its writer closes it, unless
/// nobody writes: it was linked.
fn is_news(mask: AddWatchFlags, path: &Path) -> bool {
    !mask.contains(AddWatchFlags::IN_CREATE)
        || fs::symlink_metadata(path).is_ok_and(|seen| seen.nlink() > 1 || seen.len() > 0)
}

#[cfg(test)]
mod tests;
