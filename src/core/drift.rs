//! Which watched files differ from what a run started with, and how they are named.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::watch::{Content, FileChange};

/// So many files are named by name where there are more.
const NAMED: usize = 2;

/// The files that differ from what a run started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drift {
    files: BTreeMap<PathBuf, Differs>,
    /// It is known what becomes of them while the instance is wanted.
    pub(crate) decided: bool,
    /// Nothing speaks against starting with them: they have passed the check, or there is none.
    pub(crate) approved: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Differs {
    at_start: Option<Content>,
    now: Option<Content>,
}

impl Drift {
    /// Takes in a change. What holds again what it held at the start differs no more.
    pub(crate) fn note(&mut self, change: &FileChange) {
        let differs = Differs { at_start: change.before, now: change.before };
        let file = self.files.entry(change.path.clone()).or_insert(differs);
        file.now = change.after;
        if file.now == file.at_start {
            self.files.remove(&change.path);
        }
        (self.decided, self.approved) = (false, false);
    }

    /// A run begins with the files as they are now. Returns those that are new to it.
    pub(crate) fn take(&mut self) -> Vec<PathBuf> {
        std::mem::take(self).files.into_keys().collect()
    }

    /// Pays no more attention to the files for which `counts` is false.
    pub(crate) fn retain(&mut self, counts: impl Fn(&Path) -> bool) {
        self.files.retain(|path, _| counts(path));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether something is to be decided about them.
    pub(crate) fn is_open(&self) -> bool {
        !self.decided && !self.is_empty()
    }

    /// The files, each with whether it is there.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&PathBuf, bool)> {
        self.files.iter().map(|(path, differs)| (path, differs.now.is_some()))
    }
}

/// A file as people know it: relative to the service's folder where it is in there.
pub(crate) fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// The files in a few words: `app.py`, `app.py and b.py`, `app.py, b.py and 3 more`.
pub(crate) fn in_words(files: impl ExactSizeIterator<Item = impl AsRef<Path>>, folder: &Path) -> String {
    let count = files.len();
    let shown = if count == NAMED + 1 { count } else { NAMED };
    let mut names: Vec<String> = files.take(shown).map(|path| relative(path.as_ref(), folder)).collect();
    let last = if count > shown { Some(format!("{} more", count - shown)) } else { names.pop() };
    let (names, last) = (names.join(", "), last.unwrap_or_default());
    if names.is_empty() { last } else { format!("{names} and {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, before: u64, after: u64) -> FileChange {
        let content = |number| (number > 0).then_some(Content(number));
        FileChange { path: path.into(), before: content(before), after: content(after) }
    }

    #[test]
    fn what_holds_again_what_it_held_at_the_start_differs_no_more() {
        for (changes, differs) in [
            (vec![(1, 2)], true),
            (vec![(1, 2), (2, 1)], false),
            (vec![(1, 2), (2, 3), (3, 1)], false),
            (vec![(1, 0)], true),
            (vec![(1, 0), (0, 1)], false),
            (vec![(0, 1), (1, 0)], false),
            (vec![(1, 2), (2, 1), (1, 2)], true),
        ] {
            let mut drift = Drift::default();
            for (before, after) in &changes {
                drift.note(&change("/srv/app.py", *before, *after));
            }
            assert_eq!(!drift.is_empty(), differs, "{changes:?}");
        }
    }

    #[test]
    fn a_new_change_is_neither_decided_about_nor_approved() {
        let mut drift = Drift { decided: true, approved: true, ..Drift::default() };
        drift.note(&change("/srv/app.py", 1, 2));
        assert!(drift.is_open() && !drift.approved);
        assert_eq!((drift.take(), drift.is_empty()), (vec![PathBuf::from("/srv/app.py")], true));
    }

    #[test]
    fn files_are_named_in_a_few_words() {
        for (files, words) in [
            (vec!["/srv/app.py"], "app.py"),
            (vec!["/srv/app.py", "/etc/x"], "app.py and /etc/x"),
            (vec!["/srv/a", "/srv/b", "/srv/lib/c"], "a, b and lib/c"),
            (vec!["/srv/a", "/srv/b", "/srv/c", "/srv/d", "/srv/e"], "a, b and 3 more"),
        ] {
            assert_eq!(in_words(files.iter(), Path::new("/srv")), words);
        }
    }
}
