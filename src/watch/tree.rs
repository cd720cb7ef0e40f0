//! What the files of one subject hold, as far as anybody has looked.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::model::watch::{Content, FileChange};
use crate::watch::content::{Hasher, Mark};

/// The files that count, by path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<Box<Path>, Entry>,
    /// Files that were seen but not read so far.
    unread: VecDeque<Box<Path>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: Mark,
    content: Option<Content>,
}

impl Entry {
    /// What it held; where nobody has read it, what stands for it.
    fn known(self) -> Content {
        self.content.unwrap_or_else(|| self.mark.stand_in())
    }
}

/// Files seen by a walk.
pub(super) type Seen = BTreeMap<Box<Path>, Mark>;

impl Tree {
    /// Takes what the first walk saw as it is.
    pub(super) fn begin(&mut self, seen: Seen) {
        self.unread = seen.keys().cloned().collect();
        self.files = seen.into_iter().map(|(path, mark)| (path, Entry { mark, content: None })).collect();
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The files that a later walk saw otherwise than they are known, and those it did not see any more.
    pub(super) fn differing(&self, seen: &Seen) -> Vec<PathBuf> {
        let other = seen.iter().filter(|(path, mark)| self.files.get(*path).is_none_or(|entry| entry.mark != **mark));
        let gone = self.files.keys().filter(|path| !seen.contains_key(*path));
        other.map(|(path, _)| path).chain(gone).map(|path| path.to_path_buf()).collect()
    }

    /// The known files below a folder.
    pub(super) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.files.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.take_while(|(path, _)| path.starts_with(folder)).map(|(path, _)| path.to_path_buf()).collect()
    }

    /// Looks at one file; `counts` says whether it is still one that does. A change if it holds something else.
    pub(super) fn look(&mut self, path: &Path, counts: bool, hasher: &mut Hasher) -> Option<FileChange> {
        let before = self.files.get(path).copied();
        let Some(mark) = Mark::of(path).filter(|_| counts) else {
            let before = self.files.remove(path)?;
            return Some(FileChange { path: path.to_owned(), before: Some(before.known()), after: None });
        };
        let content = hasher.read(path, mark).unwrap_or_else(|| mark.stand_in());
        self.files.insert(path.into(), Entry { mark, content: Some(content) });
        let before = match before {
            // Never read, and nothing says that it has changed since.
            Some(Entry { mark: known, content: None }) if known == mark => return None,
            other => other.map(Entry::known),
        };
        (before != Some(content)).then(|| FileChange { path: path.to_owned(), before, after: Some(content) })
    }

    /// Reads some of the files that nobody has read so far.
    pub(super) fn read_some(&mut self, hasher: &mut Hasher) {
        /// Between two looks at what has happened meanwhile.
        const AT_ONCE: usize = 16;
        for path in self.unread.drain(..self.unread.len().min(AT_ONCE)) {
            if let Some(entry) = self.files.get_mut(&path).filter(|entry| entry.content.is_none())
                && let Some(content) = hasher.read(&path, entry.mark)
                // What changed just now will be told, and is compared with what stands for the content before.
                && Mark::of(&path) == Some(entry.mark)
            {
                entry.content = Some(content);
            }
        }
        if self.unread.is_empty() {
            self.unread.shrink_to_fit();
        }
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }
}
