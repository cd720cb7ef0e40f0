//! Names that matter outside of the folders that are walked: links on the way to a watched path, the parent of a watched
//! file, the place where a missing one would appear, ignore files further up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use crate::watch::walk::{Deaf, Ear};

/// What an event of that name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A watched path may lead elsewhere, or be there now, or no more.
    Recheck,
    /// Rules may be others.
    Rules,
    /// This file may have another content.
    Touch(PathBuf),
}

/// The names, by folder.
#[derive(Debug, Default)]
pub(super) struct Lookouts(BTreeMap<Arc<Path>, Vec<(OsString, Then)>>);

impl Lookouts {
    pub(super) fn add(&mut self, folder: &Path, name: &OsStr, then: Then) {
        if !self.0.contains_key(folder) {
            self.0.insert(Arc::from(folder), vec![]);
        }
        let Some(names) = self.0.get_mut(folder) else { return };
        if !names.iter().any(|(known, known_then)| known == name && *known_then == then) {
            names.push((name.to_owned(), then));
        }
    }

    /// Whether a name in this folder matters.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.0.contains_key(folder)
    }

    /// What an event of this name means, if anything.
    pub(super) fn of(&self, folder: &Path, name: &OsStr) -> impl Iterator<Item = &Then> {
        self.0.get(folder).into_iter().flatten().filter(move |(known, _)| known == name).map(|(_, then)| then)
    }

    /// Where these names are.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.0.keys()
    }

    /// Hears of these folders from now on, but for those that cannot be listened to.
    ///
    /// # Errors
    /// When this user may watch no more folders.
    pub(super) fn listen(&self, ear: &mut Ear<'_>) -> Result<(), Deaf> {
        match self.folders().find(|folder| ear.watch(folder) == Err(Errno::ENOSPC)) {
            Some(_) => Err(Deaf::Limit),
            None => Ok(()),
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        for (folder, names) in more.0 {
            for (name, then) in names {
                self.add(&folder, &name, then);
            }
        }
    }
}
