//! The git repository that a watched path lies in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where git keeps what matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// The folder with the files.
    pub top: PathBuf,
    /// What belongs to this working tree.
    own: PathBuf,
    /// What belongs to all working trees.
    common: PathBuf,
}

impl Repository {
    /// The innermost one around `path`.
    pub(super) fn around(path: &Path) -> Option<Self> {
        path.ancestors().find_map(|top| {
            let git = top.join(".git");
            let own = if fs::metadata(&git).ok()?.is_dir() { git } else { pointed_at(&git, "gitdir:")? };
            let common = pointed_at(&own.join("commondir"), "").unwrap_or_else(|| own.clone());
            Some(Self { top: top.to_owned(), own, common })
        })
    }

    /// The folder of the rules that are not part of the tree, and the name in it.
    pub(super) fn exclude(&self) -> (PathBuf, &'static str) {
        (self.common.join("info"), "exclude")
    }

    /// There while git changes the tree.
    pub(super) fn lock(&self) -> Lock {
        Lock { path: self.own.join("index.lock"), outlasted: None }
    }
}

/// Reads the path that a file of git's names.
fn pointed_at(file: &Path, prefix: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    Some(file.parent()?.join(text.strip_prefix(prefix)?.trim()))
}

/// Git's lock on a tree.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// One that was waited for in vain, by inode and time: git was killed, or a person sits in its editor.
    outlasted: Option<(u64, i64)>,
}

impl Lock {
    /// Whether git is at work.
    pub(super) fn is_held(&self) -> bool {
        self.seen().is_some_and(|seen| self.outlasted != Some(seen))
    }

    /// Waits no more for the lock that is there now.
    pub(super) fn give_up(&mut self) {
        self.outlasted = self.seen();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn seen(&self) -> Option<(u64, i64)> {
        fs::symlink_metadata(&self.path).ok().map(|seen| (seen.ino(), seen.mtime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_found_from_below_and_through_a_worktrees_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("main/.git/worktrees/side")).unwrap();
        fs::create_dir_all(path.join("main/src/deep")).unwrap();
        fs::create_dir_all(path.join("side/src")).unwrap();
        fs::write(path.join("main/.git/worktrees/side/commondir"), "../..\n").unwrap();
        fs::write(path.join("side/.git"), format!("gitdir: {}/main/.git/worktrees/side\n", path.display())).unwrap();

        let main = Repository::around(&path.join("main/src/deep")).unwrap();
        assert_eq!((&main.top, main.lock().path()), (&path.join("main"), &*path.join("main/.git/index.lock")));
        assert_eq!(main.exclude().0, path.join("main/.git/info"));

        let side = Repository::around(&path.join("side/src")).unwrap();
        assert_eq!(side.lock().path(), path.join("main/.git/worktrees/side/index.lock"));
        assert_eq!(side.exclude().0, path.join("main/.git/worktrees/side/../../info"));
        assert_eq!(Repository::around(path), None);
    }

    #[test]
    fn a_lock_that_was_waited_for_in_vain_counts_no_more_but_the_next_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("index.lock");
        let mut lock = Lock { path: file.clone(), outlasted: None };
        assert!(!lock.is_held());
        fs::write(&file, "").unwrap();
        assert!(lock.is_held());
        lock.give_up();
        assert!(!lock.is_held());
        fs::write(folder.path().join("other"), "").unwrap();
        fs::rename(folder.path().join("other"), &file).unwrap();
        assert!(lock.is_held());
    }
}
