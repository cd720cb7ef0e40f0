//! The ignore files of git and its kin: `.gitignore` and `.ignore` of every folder, those above a watched path up to the top
//! of its repository, `.git/info/exclude`, and the file that git's own configuration names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::watch::repository::Repository;
use crate::watch::table::Stamp;

/// The rules that hold in a folder: its own, then those of the folders around it.
#[derive(Debug)]
pub(super) struct Level {
    around: Option<Arc<Level>>,
    /// Of `.gitignore`.
    git: Option<Arc<Gitignore>>,
    /// Of `.ignore`, which is stronger at any depth.
    own: Option<Arc<Gitignore>>,
}

impl Level {
    /// Whether the nearest rule about `path` says that it does not count.
    pub(super) fn ignores(level: Option<&Arc<Self>>, path: &Path, is_folder: bool) -> bool {
        let nearest = |kind: fn(&Level) -> Option<&Arc<Gitignore>>| {
            std::iter::successors(level, |level| level.around.as_ref())
                .filter_map(|level| kind(level))
                .map(|rules| rules.matched(path, is_folder))
                .find(|found| !found.is_none())
                .map(|found| found.is_ignore())
        };
        nearest(|level| level.own.as_ref()).or_else(|| nearest(|level| level.git.as_ref())).unwrap_or(false)
    }
}

/// The ignore files met so far: read anew only when they were written.
#[derive(Debug, Default)]
pub(super) struct IgnoreFiles {
    known: BTreeMap<PathBuf, Known>,
    global: Option<Arc<Gitignore>>,
    pass: u32,
    changed: bool,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    rules: Arc<Gitignore>,
    /// The pass that met it last.
    pass: u32,
}

impl IgnoreFiles {
    /// Their names.
    pub(super) const NAMES: [&str; 2] = [".gitignore", ".ignore"];

    /// Begins a pass over the tree; one that was broken off counts with the next.
    pub(super) fn begin_pass(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// Ends it; answers whether rules have changed for a folder that was known before.
    pub(super) fn end_pass(&mut self) -> bool {
        let pass = self.pass;
        // Gone together with its folder it leaves nothing behind that would count now.
        let folder_is_there = |path: &Path| path.parent().is_some_and(Path::exists);
        let lost = self.known.iter().any(|(path, known)| known.pass != pass && folder_is_there(path));
        self.known.retain(|_, known| known.pass == pass);
        mem::take(&mut self.changed) || lost
    }

    /// The folders above a watched path that may hold rules for it, with the names of the files.
    pub(super) fn above(path: &Path) -> Vec<(PathBuf, &'static str)> {
        let Some(repository) = Repository::around(path) else { return vec![] };
        let above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&repository.top));
        above
            .flat_map(|folder| Self::NAMES.map(|name| (folder.to_owned(), name)))
            .chain([repository.exclude()])
            .filter(|(folder, _)| folder.is_dir())
            .collect()
    }

    /// The rules from above that hold in a watched folder. None where there are none, or where they ignore the folder itself.
    pub(super) fn base(&mut self, path: &Path) -> Option<Arc<Level>> {
        let repository = Repository::around(path)?;
        if self.global.is_none() {
            self.global = Some(Arc::new(GitignoreBuilder::new(&repository.top).build_global().0));
        }
        let (info, name) = repository.exclude();
        let mut level = Some(Arc::new(Level { around: None, git: self.global.clone(), own: None }));
        if let Some(git) = self.load(&info.join(name), &repository.top, true) {
            level = Some(Arc::new(Level { around: level, git: Some(git), own: None }));
        }
        let mut above: Vec<&Path> = path.ancestors().take_while(|folder| folder.starts_with(&repository.top)).collect();
        above.reverse();
        for pair in above.windows(2) {
            let [folder, inner] = pair else { continue };
            level = self.level(level, folder, true, |_| true);
            if Level::ignores(level.as_ref(), inner, true) {
                return None;
            }
        }
        level
    }

    /// Adds the rules of a folder to those around it. `known` tells whether the pass before met the folder, `holds` whether
    /// it has a file of that name.
    pub(super) fn level(
        &mut self,
        around: Option<Arc<Level>>,
        folder: &Path,
        known: bool,
        holds: impl Fn(&OsStr) -> bool,
    ) -> Option<Arc<Level>> {
        let [git, own] = Self::NAMES
            .map(|name| if holds(OsStr::new(name)) { self.load(&folder.join(name), folder, known) } else { None });
        if git.is_none() && own.is_none() { around } else { Some(Arc::new(Level { around, git, own })) }
    }

    fn load(&mut self, file: &Path, from: &Path, known: bool) -> Option<Arc<Gitignore>> {
        let stamp = Stamp::of(&fs::metadata(file).ok().filter(fs::Metadata::is_file)?);
        if let Some(known) = self.known.get_mut(file)
            && known.stamp == stamp
        {
            known.pass = self.pass;
            return Some(Arc::clone(&known.rules));
        }
        self.changed |= known;
        let mut builder = GitignoreBuilder::new(from);
        // As git does: what cannot be understood is passed over.
        let _ = builder.add(file);
        let rules = Arc::new(builder.build().unwrap_or_else(|_| Gitignore::empty()));
        self.known.insert(file.to_owned(), Known { stamp, rules: Arc::clone(&rules), pass: self.pass });
        Some(rules)
    }
}
