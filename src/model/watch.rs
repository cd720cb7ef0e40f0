//! Watched files: which ones count, and what happened to them.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::template::Template;

/// `watch:` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPlan {
    /// The folders and files that are watched; absolute, never empty.
    pub paths: Vec<PathBuf>,
    /// gitignore-style globs. Where there are any only what matches one counts, and it beats everything that is ignored.
    pub include: Vec<String>,
    /// gitignore-style globs of what does not count, beside the built-in list.
    pub ignore: Vec<String>,
    /// Whether `.gitignore` and `.ignore` files are honoured.
    pub gitignore: bool,
    /// How long nothing must change before a change counts.
    pub debounce: Duration,
    /// A command that must succeed before running code is replaced; empty: none.
    pub check: Vec<CheckWord>,
    /// Whether files are looked at every second instead of being told by the kernel.
    pub poll: bool,
}

impl WatchPlan {
    /// As `watch:` says it that gives nothing but paths.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            include: vec![],
            ignore: vec![],
            gitignore: true,
            debounce: Duration::from_millis(20),
            check: vec![],
            poll: false,
        }
    }
}

/// One word of `watch.check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckWord {
    /// As it is.
    Text(Template),
    /// `{changed}` or `{changed:*.py,*.pyi}`: the changed files (that match one of these), each a word of its own. Without
    /// any there is nothing to check.
    Changed(Vec<String>),
    /// `{file}` or `{file:*.js}`: as [`CheckWord::Changed`], but the command is run once for each.
    File(Vec<String>),
}

/// What `dev` adds to `watch:` of a service by the language it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevDefaults {
    /// All of it: the file says nothing.
    #[default]
    Whole,
    /// The check: the file says what is watched, but not how it is checked.
    Check,
    /// Nothing: the file says it all, or `watch: false`.
    Nothing,
}

/// Whether `watch:` of services acts under `up`, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchWhen {
    /// Only in `dev`.
    #[default]
    Dev,
    /// Always.
    Always,
}

/// What a file holds, as far as telling one content from another goes: a hash of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content(pub u64);

/// What became of one watched file between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Which; absolute.
    pub path: PathBuf,
    /// What it held at the look before; none: it was not there.
    pub before: Option<Content>,
    /// What it holds now; none: it is gone.
    pub after: Option<Content>,
}
