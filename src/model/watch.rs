//! Watched files: which ones count, and what happened to them.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::selector::fits;
use crate::model::template::{Slots, Template};

/// `watch:` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The commands that check `files` (absolute), in order: none where there is nothing to check. Files below `folder`,
    /// where the commands run, are named relative to it.
    pub fn checks(&self, files: &[PathBuf], folder: &Path, slots: Slots) -> Vec<CheckCommand> {
        let of = |globs: &[String]| -> Vec<String> {
            // A name that is no text cannot stand among words.
            let fitting = files.iter().filter(|path| fits_any(globs, path));
            let shown = fitting.filter_map(|path| path.strip_prefix(folder).unwrap_or(path).to_str());
            shown.map(str::to_owned).collect()
        };
        let each = self.check.iter().find_map(|word| match word {
            CheckWord::File(globs) => Some(of(globs)),
            CheckWord::Text(_) | CheckWord::Changed(_) => None,
        });
        let in_vain = |word: &CheckWord| match word {
            CheckWord::Changed(globs) => of(globs).is_empty(),
            CheckWord::Text(_) | CheckWord::File(_) => false,
        };
        if self.check.is_empty() || self.check.iter().any(in_vain) {
            return vec![];
        }
        let command = |file: Option<&String>| {
            let words = |fill: fn(&Template, Slots) -> String| -> Vec<String> {
                let words = self.check.iter().flat_map(|word| match word {
                    CheckWord::Text(text) => vec![fill(text, slots)],
                    CheckWord::Changed(globs) => of(globs),
                    CheckWord::File(_) => file.cloned().into_iter().collect(),
                });
                words.collect()
            };
            CheckCommand { words: words(Template::render), shown: in_short(&words(Template::shown)) }
        };
        match each {
            Some(files) => files.iter().map(|file| command(Some(file))).collect(),
            None => vec![command(None)],
        }
    }
}

impl WatchPlan {
    /// Whether the check asks for files of this kind: it is source then, not data.
    pub fn check_reads(&self, file: &Path) -> bool {
        self.check.iter().any(|word| match word {
            CheckWord::Changed(globs) | CheckWord::File(globs) => !globs.is_empty() && fits_any(globs, file),
            CheckWord::Text(_) => false,
        })
    }
}

/// One command of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckCommand {
    /// Its words.
    pub words: Vec<String>,
    /// The same for people: without secrets, cut where it is long.
    pub shown: String,
}

/// A command for people, cut where it is long.
fn in_short(command: &[String]) -> String {
    const LONGEST: usize = 120;
    let whole = command.join(" ");
    match whole.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// Whether a file's name fits one of the globs; without any, every file does.
fn fits_any(globs: &[String], file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    globs.is_empty() || globs.iter().any(|glob| fits(glob, &name))
}

/// One word of `watch.check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchWhen {
    /// Only in `dev`.
    #[default]
    Dev,
    /// Always.
    Always,
}

/// What a file holds, as far as telling one content from another goes: a hash of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_the_files_it_can_read() {
        let text = |text: &str| CheckWord::Text(Template::text(text));
        let globs = |globs: &[&str]| globs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let files = ["/srv/app.py", "/srv/lib/a.js", "/srv/lib/b.js", "/etc/c.toml"].map(PathBuf::from);
        let slots = Slots { index: 1, port: None };
        for (check, expected) in [
            (vec![], vec![]),
            (vec![text("make"), text("check")], vec!["make check"]),
            (vec![text("py"), CheckWord::Changed(globs(&["*.py", "*.pyi"]))], vec!["py app.py"]),
            (vec![text("all"), CheckWord::Changed(vec![])], vec!["all app.py lib/a.js lib/b.js /etc/c.toml"]),
            (vec![text("py"), CheckWord::Changed(globs(&["*.rb"]))], vec![]),
            (vec![text("js"), CheckWord::File(globs(&["*.js"])), text("!")], vec!["js lib/a.js !", "js lib/b.js !"]),
            (vec![text("rb"), CheckWord::File(globs(&["*.rb"]))], vec![]),
        ] {
            let plan = WatchPlan {
                paths: vec![PathBuf::from("/srv")],
                include: vec![],
                ignore: vec![],
                gitignore: true,
                debounce: Duration::ZERO,
                check: check.clone(),
                poll: false,
            };
            let found: Vec<String> =
                plan.checks(&files, Path::new("/srv"), slots).iter().map(|one| one.words.join(" ")).collect();
            assert_eq!(found, expected, "{check:?}");
        }
    }
}
