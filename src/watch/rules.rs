//! Which files of a subject count: its own globs, the ignore files of git, and the built-in list.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::model::watch::WatchPlan;
use crate::watch::builtin;
use crate::watch::ignored::{IgnoreFiles, Level};

/// The rules of one subject.
#[derive(Debug)]
pub(super) struct Rules {
    roots: Vec<Root>,
    never: Vec<PathBuf>,
    /// None: the plan does not want them honoured.
    ignore_files: Option<IgnoreFiles>,
    wrong: Vec<String>,
}

/// A watched path, with the globs that are read from there.
#[derive(Debug)]
struct Root {
    path: Arc<Path>,
    ignore: Gitignore,
    /// None: everything counts that is not ignored.
    include: Option<Include>,
}

/// Globs of what counts.
#[derive(Debug)]
struct Include {
    any: Gitignore,
    /// Those that name more than `*`: they bring back even what is on the built-in list.
    named: Gitignore,
    /// Those with a way.
    slashed: Gitignore,
    /// The leading parts without a wildcard, such as `node_modules/mylib` of `node_modules/mylib/**`: ignored folders on
    /// such a way are open.
    ways: Vec<PathBuf>,
}

/// How a folder is looked at: from which watched path, and by which ignore files.
#[derive(Clone, Debug)]
pub(super) struct View {
    root: usize,
    /// It is ignored, or below what is, and was opened by an include with a way: only those count here.
    opened: bool,
    level: Option<Arc<Level>>,
}

impl Rules {
    pub(super) fn new(plan: &WatchPlan, never: &[PathBuf]) -> Self {
        let mut wrong = vec![];
        let roots = plan.paths.iter().map(|path| Root {
            path: Arc::from(path.as_path()),
            ignore: compile(path, plan.ignore.iter().map(String::as_str), &mut wrong),
            include: (!plan.include.is_empty()).then(|| Include::new(path, &plan.include, &mut wrong)),
        });
        let roots = roots.collect();
        wrong.dedup();
        Self { roots, never: never.to_vec(), ignore_files: plan.gitignore.then(IgnoreFiles::default), wrong }
    }

    /// The watched paths.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.roots.iter().map(|root| &root.path)
    }

    /// Whether a file of this name holds rules.
    pub(super) fn is_ignore_file(&self, name: &OsStr) -> bool {
        self.ignore_files.is_some() && IgnoreFiles::NAMES.iter().any(|known| name == *known)
    }

    /// What is wrong with the globs of the plan, for people.
    pub(super) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Begins a pass over the tree; answers the folders above it that may hold rules, with the names of the files.
    pub(super) fn begin_pass(&mut self) -> Vec<(PathBuf, &'static str)> {
        let Some(files) = &mut self.ignore_files else { return vec![] };
        files.begin_pass();
        self.roots.iter().flat_map(|root| IgnoreFiles::above(&root.path)).collect()
    }

    /// Ends the pass; answers whether it went by other ignore files than the pass before.
    pub(super) fn end_pass(&mut self) -> bool {
        self.ignore_files.as_mut().is_some_and(IgnoreFiles::end_pass)
    }

    /// How the watched folder of this number is looked at, but for its own ignore files; none: it does not count.
    pub(super) fn admit_root(&mut self, number: usize) -> Option<View> {
        let path = Arc::clone(&self.roots.get(number)?.path);
        if self.is_never(&path) {
            return None;
        }
        let level = self.ignore_files.as_mut().and_then(|files| files.base(&path));
        Some(View { root: number, opened: false, level })
    }

    /// How a folder in a folder is looked at, but for its own ignore files; none: it does not count.
    pub(super) fn admit(&self, parent: &View, path: &Path) -> Option<View> {
        let root = self.roots.get(parent.root)?;
        let name = path.file_name()?;
        let below = path.strip_prefix(&root.path).ok()?;
        if name == builtin::OWN || self.is_never(path) {
            return None;
        }
        let on_way = root.include.as_ref().is_some_and(|include| include.leads_to(below));
        let ignored_around = || builtin::folder(name) || Level::ignores(parent.level.as_ref(), path, true);
        if parent.opened {
            if on_way {
                return Some(View { level: None, ..parent.clone() });
            }
            // Beyond its way an include opens nothing more.
            let led = root.include.as_ref().is_some_and(|include| include.leads_from(below));
            return (led && !ignored_around()).then(|| parent.clone());
        }
        let ignored = match root.ignore.matched(below, true) {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            Match::None => ignored_around(),
        };
        match (ignored, on_way) {
            (false, _) => Some(parent.clone()),
            // What ignores it from above is overruled, and not asked again below.
            (true, true) => Some(View { root: parent.root, opened: true, level: None }),
            (true, false) => None,
        }
    }

    /// Adds the ignore files of a folder. `known` tells whether the pass before met it, `holds` whether it has a file of that
    /// name.
    pub(super) fn descend(&mut self, view: View, path: &Path, known: bool, holds: impl Fn(&OsStr) -> bool) -> View {
        match &mut self.ignore_files {
            Some(files) => View { level: files.level(view.level, path, known, holds), ..view },
            None => view,
        }
    }

    /// Whether a file counts that lies in a folder looked at like this.
    pub(super) fn counts(&self, view: &View, path: &Path) -> bool {
        let Some((root, name)) = self.roots.get(view.root).zip(path.file_name()) else { return false };
        let Ok(below) = path.strip_prefix(&root.path) else { return false };
        if self.is_never(path) {
            return false;
        }
        if let Some(include) = &root.include {
            return include.wants(below, name, view.opened);
        }
        match root.ignore.matched(below, false) {
            Match::Ignore(_) => false,
            Match::Whitelist(_) => true,
            Match::None => !builtin::file(name) && !Level::ignores(view.level.as_ref(), path, false),
        }
    }

    /// Whether this is, or lies in, what never counts.
    pub(super) fn is_never(&self, path: &Path) -> bool {
        self.never.iter().any(|never| path.starts_with(never))
    }
}

impl Include {
    fn new(root: &Path, globs: &[String], wrong: &mut Vec<String>) -> Self {
        let set = |wanted: &dyn Fn(&str) -> bool, wrong: &mut Vec<String>| {
            let chosen = globs.iter().map(String::as_str).filter(|glob| glob.starts_with('!') || wanted(glob));
            compile(root, chosen, wrong)
        };
        // The first set has them all, and has told what is wrong.
        Self {
            any: set(&|_| true, wrong),
            named: set(&names_files, &mut vec![]),
            slashed: set(&|glob| way(glob).is_some(), &mut vec![]),
            ways: globs.iter().filter_map(|glob| way(glob)).collect(),
        }
    }

    fn wants(&self, below: &Path, name: &OsStr, opened: bool) -> bool {
        let globs = if opened { &self.slashed } else { &self.any };
        globs.matched_path_or_any_parents(below, false).is_ignore()
            && (!builtin::file(name) || self.named.matched(below, false).is_ignore())
    }

    /// Whether a way passes through this folder, or ends there.
    fn leads_to(&self, folder: &Path) -> bool {
        self.ways.iter().any(|way| way.starts_with(folder))
    }

    /// Whether this folder lies at the end of a way, or below.
    fn leads_from(&self, folder: &Path) -> bool {
        self.ways.iter().any(|way| folder.starts_with(way))
    }
}

/// Whether the last part of a glob is more than a wildcard for everything.
fn names_files(glob: &str) -> bool {
    glob.rsplit('/').next().is_some_and(|last| last.bytes().any(|byte| byte != b'*'))
}

/// The leading part of a glob that is bound to the watched path and has no wildcard.
fn way(glob: &str) -> Option<PathBuf> {
    let glob = glob.trim_end();
    let bound = glob.trim_end_matches('/').contains('/');
    if !bound || glob.starts_with('!') {
        return None;
    }
    let is_wild = |part: &&str| part.contains(['*', '?', '[', '{', '\\']);
    let way: PathBuf =
        glob.split('/').filter(|part| !part.is_empty() && *part != ".").take_while(|part| !is_wild(part)).collect();
    (way != Path::new("")).then_some(way)
}

fn compile<'a>(root: &Path, globs: impl Iterator<Item = &'a str>, wrong: &mut Vec<String>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for glob in globs {
        if let Err(error) = builder.add_line(None, glob) {
            wrong.push(error.to_string());
        }
    }
    builder.build().unwrap_or_else(|error| {
        wrong.push(error.to_string());
        Gitignore::empty()
    })
}
