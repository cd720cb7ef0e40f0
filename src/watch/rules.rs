//! Which files count: what is included, what is ignored, and by whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::model::watch::WatchPlan;

/// What no editor, tool or interpreter leaves behind for anybody to run.
const BUILT_IN: [&str; 43] = [
    ".git",
    ".hg",
    ".svn",
    ".jj",
    "node_modules",
    ".venv",
    "venv",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".eggs",
    "*.egg-info",
    ".ipynb_checkpoints",
    "target",
    "dist",
    "build",
    ".next",
    ".nuxt",
    ".svelte-kit",
    ".turbo",
    ".parcel-cache",
    ".cache",
    "coverage",
    ".idea",
    ".vscode",
    "*.py[cod]",
    "*~",
    ".#*",
    "#*#",
    ".*.sw?",
    ".*.sw?x",
    "4913",
    "*.tmp",
    "___jb_*",
    ".DS_Store",
    "*.log",
    "*.db-wal",
    "*.db-shm",
    "*.db-journal",
    "*.sqlite-journal",
];
/// Files with rules for the folder they lie in; those of the second beat those of the first.
pub(super) const RULE_FILES: [&str; 2] = [".gitignore", ".ignore"];
/// Everup's own folder.
const OWN: &str = ".everup";

/// The rules of one subject.
#[derive(Debug)]
pub(super) struct Rules {
    roots: Vec<Root>,
    built_in: Gitignore,
    honours_files: bool,
    /// `core.excludesFile` of git.
    global: Gitignore,
    /// The rules of each folder that has some, read as folders are entered.
    of_folders: BTreeMap<PathBuf, Vec<Gitignore>>,
    never: Vec<PathBuf>,
    disregarded: Vec<PathBuf>,
}

/// What the plan says about one watched path.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    include: Option<Gitignore>,
    ignore: Gitignore,
    /// Folders and files that a pattern with a slash names literally: they are open whatever is ignored.
    opened: Vec<PathBuf>,
}

impl Rules {
    pub(super) fn new(plan: &WatchPlan, never: &[PathBuf], disregarded: &[PathBuf]) -> Self {
        let mut rules = Self {
            roots: plan.paths.iter().map(|path| Root::new(path, plan)).collect(),
            built_in: globs(Path::new("/"), BUILT_IN),
            honours_files: plan.gitignore,
            global: if plan.gitignore { Gitignore::global().0 } else { Gitignore::empty() },
            of_folders: BTreeMap::new(),
            never: never.to_vec(),
            disregarded: disregarded.to_vec(),
        };
        for root in &plan.paths {
            rules.enter_parents(root);
        }
        rules
    }

    /// Reads the rule files of a folder that is about to be walked.
    pub(super) fn enter(&mut self, folder: &Path) {
        if !self.honours_files {
            return;
        }
        let mut found: Vec<Gitignore> =
            RULE_FILES.iter().rev().filter_map(|name| read(folder, &folder.join(name))).collect();
        found.extend(read(folder, &folder.join(".git/info/exclude")));
        if found.is_empty() {
            self.of_folders.remove(folder);
        } else {
            self.of_folders.insert(folder.to_owned(), found);
        }
    }

    /// The rules above a root, up to the repository it lies in.
    fn enter_parents(&mut self, root: &Path) {
        let above: Vec<&Path> = root.ancestors().skip(1).collect();
        let Some(top) = above.iter().position(|folder| folder.join(".git").exists()) else { return };
        if root.join(".git").exists() {
            return;
        }
        for folder in above.iter().take(top + 1) {
            self.enter(folder);
        }
    }

    /// Whether a file counts. Its folder has been entered.
    pub(super) fn counts(&self, file: &Path) -> bool {
        if self.is_never(file) || self.disregarded.iter().any(|path| path == file) {
            return false;
        }
        let Some(root) = self.root_of(file) else { return false };
        if root.path == file {
            return true;
        }
        match &root.include {
            Some(include) => include.matched_path_or_any_parents(file, false).is_ignore(),
            None => !self.is_ignored(root, file, false),
        }
    }

    /// Whether a folder is to be entered: something in it may count.
    pub(super) fn opens(&self, folder: &Path) -> bool {
        if self.is_never(folder) {
            return false;
        }
        let Some(root) = self.root_of(folder) else { return false };
        root.path == folder
            || root.opened.iter().any(|open| open.starts_with(folder) || folder.starts_with(open))
            || !self.is_ignored(root, folder, true)
    }

    /// Pays no more attention to a file.
    pub(super) fn disregard(&mut self, file: &Path) {
        self.disregarded.push(file.to_owned());
    }

    /// The files that are paid no attention to.
    pub(super) fn disregarded(&self) -> &[PathBuf] {
        &self.disregarded
    }

    fn is_never(&self, path: &Path) -> bool {
        path.iter().any(|part| part == OWN) || self.never.iter().any(|folder| path.starts_with(folder))
    }

    /// The innermost root it lies in.
    fn root_of(&self, path: &Path) -> Option<&Root> {
        self.roots.iter().filter(|root| path.starts_with(&root.path)).max_by_key(|root| root.path.as_os_str().len())
    }

    fn is_ignored(&self, root: &Root, path: &Path, is_folder: bool) -> bool {
        let of_folders = path
            .ancestors()
            .skip(1)
            .filter_map(|folder| self.of_folders.get(folder))
            .flatten()
            .chain([&self.global])
            .map(|rules| rules.matched(path, is_folder));
        let mut all = [root.ignore.matched(path, is_folder), self.built_in.matched(path, is_folder)]
            .into_iter()
            .chain(of_folders);
        // A pattern with ! in `ignore` takes back what is built in.
        match all.find(|found| !found.is_none()) {
            Some(Match::Ignore(_)) => true,
            Some(Match::Whitelist(_) | Match::None) | None => false,
        }
    }
}

impl Root {
    fn new(path: &Path, plan: &WatchPlan) -> Self {
        let literal = |pattern: &String| {
            let pattern = pattern.trim_start_matches('/');
            let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
            let plain = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '\\', '!'])).copied();
            let way: PathBuf = plain.collect();
            (parts.len() > 1 && !way.as_os_str().is_empty()).then(|| path.join(way))
        };
        Self {
            path: path.to_owned(),
            include: (!plan.include.is_empty()).then(|| globs(path, &plan.include)),
            ignore: globs(path, &plan.ignore),
            opened: plan.include.iter().filter_map(literal).collect(),
        }
    }
}

fn globs(root: &Path, patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in patterns {
        // What is no glob matches nothing.
        let _ = builder.add_line(None, pattern.as_ref());
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn read(folder: &Path, file: &Path) -> Option<Gitignore> {
    if !file.is_file() {
        return None;
    }
    let mut builder = GitignoreBuilder::new(folder);
    // Lines that cannot be read are left out, as git does.
    let _ = builder.add(file);
    builder.build().ok().filter(|rules| !rules.is_empty())
}
