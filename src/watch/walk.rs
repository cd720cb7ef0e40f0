//! One walk over the folders of a subject: what is ignored is left out before it is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use crate::watch::filesystem;
use crate::watch::inotify::{Kernel, Key};
use crate::watch::lookout::{Lookouts, Then};
use crate::watch::rules::{Rules, View};
use crate::watch::table::{Sighting, Stamp, Table};
use crate::watch::trail::{End, Trail};

/// How often a walk begins anew because a watched path led elsewhere meanwhile.
const ATTEMPTS: usize = 3;

/// The kernel as one subject hears it; without it files are looked at every second instead.
#[derive(Debug)]
pub(super) struct Ear<'a> {
    pub kernel: Option<&'a mut Kernel>,
    pub key: Key,
}

/// Why the kernel cannot tell of a subject's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deaf {
    /// This user may watch no more folders.
    Limit,
    /// This folder is on a filesystem, of this name, that is changed from elsewhere.
    Elsewhere(PathBuf, &'static str),
}

/// The folders that count, each as it is looked at from every watched path that holds it.
pub(super) type Folders = BTreeMap<Arc<Path>, Vec<View>>;

/// A file that is not known so far.
#[derive(Debug)]
pub(super) struct Unknown {
    pub folder: Arc<Path>,
    pub name: OsString,
    pub stamp: Stamp,
    pub link: bool,
}

/// A walk, and what it finds.
#[derive(Debug)]
pub(super) struct Walk<'a, 'k> {
    pub rules: &'a mut Rules,
    pub table: &'a mut Table,
    /// The folders of the walk before.
    pub known: &'a Folders,
    pub disregarded: &'a BTreeSet<PathBuf>,
    pub ear: &'a mut Ear<'k>,
    pub folders: Folders,
    pub lookouts: Lookouts,
    pub unknown: Vec<Unknown>,
    /// Known files that may have another content.
    pub differ: Vec<(PathBuf, Stamp)>,
    pub unreadable: BTreeMap<PathBuf, Errno>,
}

impl Walk<'_, '_> {
    /// Walks everything that is watched.
    pub(super) fn everything(&mut self) -> Result<(), Deaf> {
        for (folder, name) in self.rules.begin_pass() {
            self.lookouts.add(&folder, OsStr::new(name), Then::Rules);
        }
        let roots: Vec<Arc<Path>> = self.rules.roots().cloned().collect();
        for _ in 0..ATTEMPTS {
            let trails: Vec<Trail> = roots.iter().map(|root| Trail::of(root)).collect();
            for (number, (root, trail)) in roots.iter().zip(&trails).enumerate() {
                self.root(number, root, trail)?;
            }
            self.lookouts.listen(self.ear)?;
            // What moved before it was listened to is not told.
            if roots.iter().zip(trails).all(|(root, trail)| Trail::of(root) == trail) {
                break;
            }
            self.folders.clear();
            self.unknown.clear();
            self.differ.clear();
        }
        Ok(())
    }

    /// Walks one watched path.
    fn root(&mut self, number: usize, root: &Arc<Path>, trail: &Trail) -> Result<(), Deaf> {
        for (folder, name) in &trail.links {
            self.lookouts.add(folder, name, Then::Recheck);
        }
        match &trail.end {
            End::Folder(real) => {
                // A folder that a process stands in is not told of when it is removed; the one around it tells.
                if let Some((folder, name)) = real.parent().zip(real.file_name()) {
                    self.lookouts.add(folder, name, Then::Recheck);
                }
                match self.rules.admit_root(number) {
                    Some(view) => self.below(Arc::clone(root), view),
                    None => Ok(()),
                }
            }
            End::File(folder, name) => {
                self.needs_kernel(folder)?;
                if !self.rules.is_never(root) && !self.disregarded.contains(&**root) {
                    self.lookouts.add(folder, name, Then::Touch(root.to_path_buf()));
                    self.named_file(root);
                }
                Ok(())
            }
            End::Missing(folder, name) => {
                self.needs_kernel(folder)?;
                self.lookouts.add(folder, name, Then::Recheck);
                Ok(())
            }
        }
    }

    /// A watched path that is a file.
    fn named_file(&mut self, path: &Path) {
        let Some((folder, name)) = path.parent().zip(path.file_name()) else { return };
        if let Ok(metadata) = fs::metadata(path) {
            let link = path.is_symlink();
            self.meet(&Arc::from(folder), name, path, &metadata, link);
        }
    }

    /// Walks a folder that counts, and all below.
    pub(super) fn below(&mut self, folder: Arc<Path>, view: View) -> Result<(), Deaf> {
        let mut open = vec![(folder, view, None)];
        while let Some((folder, view, around)) = open.pop() {
            // It may be gone again, which its parent tells.
            let Ok(device) = fs::metadata(&folder).map(|seen| seen.dev()) else { continue };
            if around != Some(device) {
                self.needs_kernel(&folder)?;
            }
            // First listened to, then read: what appears in between is seen twice instead of not at all.
            match self.ear.watch(&folder).and_then(|()| entries(&folder)) {
                Ok(entries) => {
                    let known = self.known.contains_key(&folder);
                    let holds = |name: &OsStr| entries.iter().any(|entry| entry.file_name() == name);
                    let view = self.rules.descend(view, &folder, known, holds);
                    for entry in &entries {
                        if let Some((inner, view)) = self.entry(&folder, &view, entry) {
                            open.push((inner, view, Some(device)));
                        }
                    }
                    self.folders.entry(folder).or_default().push(view);
                }
                Err(Errno::ENOSPC) => return Err(Deaf::Limit),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => drop(self.unreadable.insert(folder.to_path_buf(), error)),
            }
        }
        Ok(())
    }

    /// Sees that the kernel can tell of this folder, where it is asked to.
    fn needs_kernel(&self, folder: &Path) -> Result<(), Deaf> {
        match filesystem::elsewhere(folder).filter(|_| self.ear.kernel.is_some()) {
            Some(kind) => Err(Deaf::Elsewhere(folder.to_owned(), kind)),
            None => Ok(()),
        }
    }

    /// Looks at one name in a folder; answers a folder that counts.
    fn entry(&mut self, folder: &Arc<Path>, view: &View, entry: &DirEntry) -> Option<(Arc<Path>, View)> {
        let kind = entry.file_type().ok()?;
        let path = entry.path();
        if kind.is_dir() {
            let view = self.rules.admit(view, &path)?;
            return Some((Arc::from(path), view));
        }
        if (kind.is_file() || kind.is_symlink()) && self.rules.counts(view, &path) && !self.disregarded.contains(&path)
        {
            let metadata = if kind.is_symlink() { fs::metadata(&path) } else { entry.metadata() };
            let metadata = metadata.ok().filter(Metadata::is_file)?;
            self.meet(folder, &entry.file_name(), &path, &metadata, kind.is_symlink());
        }
        None
    }

    /// Compares a file that counts with what is known of it.
    fn meet(&mut self, folder: &Arc<Path>, name: &OsStr, path: &Path, metadata: &Metadata, link: bool) {
        let stamp = Stamp::of(metadata);
        if link {
            follow(path, &mut self.lookouts);
        }
        match self.table.see(folder, name, stamp) {
            Sighting::Unknown => {
                self.unknown.push(Unknown { folder: Arc::clone(folder), name: name.to_owned(), stamp, link });
            }
            Sighting::Same => {}
            Sighting::Differs => self.differ.push((path.to_owned(), stamp)),
        }
    }
}

impl Ear<'_> {
    /// Hears of this folder from now on.
    pub(super) fn watch(&mut self, folder: &Arc<Path>) -> Result<(), Errno> {
        self.kernel.as_mut().map_or(Ok(()), |kernel| kernel.watch(self.key, folder))
    }

    /// Hears no more of this folder.
    pub(super) fn forget(&mut self, folder: &Arc<Path>) {
        if let Some(kernel) = &mut self.kernel {
            kernel.forget(self.key, folder);
        }
    }
}

/// Looks out for what a link leads to, at every step of its way.
pub(super) fn follow(link: &Path, lookouts: &mut Lookouts) {
    let trail = Trail::of(link);
    let end = match trail.end {
        End::File(folder, name) | End::Missing(folder, name) => Some((folder, name)),
        End::Folder(_) => None,
    };
    for (folder, name) in trail.links.into_iter().chain(end) {
        lookouts.add(&folder, &name, Then::Touch(link.to_owned()));
    }
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Ok(fs::read_dir(folder).map_err(errno)?.flatten().collect())
}
