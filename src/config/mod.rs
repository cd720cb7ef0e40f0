//! Reads: text → plan. Uses the words of `model` and the file system, never the network, the clock or the kernel.
//!
//! `document` holds the tree that `compose` makes of a text; `keys` is the table of every key with its
//! `shape`; `resolve` turns the tree into a plan with `decode`, and `diagnose` says what is wrong.

mod compose;
mod decode;
pub mod develop;
pub mod diagnose;
mod document;
mod dotenv;
mod expand;
pub mod init;
mod keys;
mod resolve;
mod schema;
mod secret;
mod shape;
mod show;
mod split;
mod suggest;
mod words;
pub mod wrap;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::diagnose::{Diagnostics, Faults};
use crate::config::wrap::RunOptions;
use crate::model::names::ServiceName;
use crate::model::plan::Plan;

/// The names a file is looked for by.
pub const FILE_NAMES: [&str; 2] = ["supervisor.yaml", "supervisor.yml"];

/// What reading needs to know about the process that reads.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// everup's own environment.
    pub environment: BTreeMap<String, String>,
    /// The running binary, for `${EVERUP}`.
    pub everup: PathBuf,
    /// Whether root reads, which decides about the default state folder.
    pub is_root: bool,
    /// Whether a folder can be made and written at this path.
    pub can_write: fn(&Path) -> bool,
}

/// The file of `start` or of the nearest folder above it.
pub fn find(start: &Path) -> Option<PathBuf> {
    start.ancestors().flat_map(|folder| FILE_NAMES.map(|name| folder.join(name))).find(|path| path.is_file())
}

/// Reads the file at `path`.
///
/// # Errors
/// Everything that is wrong with it, or that it cannot be read.
pub fn load(path: &Path, around: &Surroundings) -> Result<Plan, Diagnostics> {
    let (plan, diagnostics) = check(path, around);
    plan.ok_or(diagnostics)
}

/// Reads the file at `path` and gives also the remarks that leave it valid. No plan: there are errors.
pub fn check(path: &Path, around: &Surroundings) -> (Option<Plan>, Diagnostics) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    match read(path) {
        Ok(text) => examine(&text, path, Some(&absolute), &root, around),
        Err(diagnostics) => (None, *diagnostics),
    }
}

/// Reads a text as if it stood in the file `path`, whose relative paths start from `root` (absolute).
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, path: &Path, root: &Path, around: &Surroundings) -> Result<Plan, Diagnostics> {
    let (plan, diagnostics) = examine(text, path, Some(path), root, around);
    plan.ok_or(diagnostics)
}

/// A plan for one program that no file describes, for `everup run`.
///
/// # Errors
/// What is wrong with the options, drawn as if they were a file.
pub fn wrap(options: &RunOptions, around: &Surroundings) -> Result<Plan, Diagnostics> {
    wrap::wrap(options, around)
}

/// A plan for one program that no file describes, for `everup dev`; [`develop::develop`] makes the rest of it.
///
/// # Errors
/// What is wrong with the options, drawn as if they were a file.
pub fn wrap_dev(options: &RunOptions, around: &Surroundings) -> Result<Plan, Diagnostics> {
    wrap::wrap_dev(options, around)
}

/// The resolved file as YAML, or one of its services (empty: there is none of that name): defaults filled in, paths
/// absolute, secrets as `<hidden>`.
pub fn show(plan: &Plan, only: Option<&ServiceName>) -> String {
    show::show(plan, only)
}

/// The JSON schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    schema::schema()
}

fn read(path: &Path) -> Result<String, Box<Diagnostics>> {
    let refuse = |message: String, help: &str| {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        Box::new(Diagnostics::unreadable(path, message, help))
    };
    let too_long = || refuse("cannot read a file above 1 MiB".to_owned(), "split it into several projects");
    let failed = |error: &std::io::Error| refuse(format!("cannot read this file: {error}"), "");
    let about = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refuse("there is no such file".to_owned(), "`everup init` proposes one"),
        _ => failed(&error),
    })?;
    if about.is_dir() {
        return Err(refuse("cannot read a folder".to_owned(), "name the file in it"));
    }
    let mut bytes = Vec::new();
    let limit = compose::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() > compose::MAX_BYTES {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        refuse(format!("cannot read line {line}: it is not UTF-8"), "")
    })
}

fn examine(
    text: &str,
    shown: &Path,
    file: Option<&Path>,
    root: &Path,
    around: &Surroundings,
) -> (Option<Plan>, Diagnostics) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > compose::MAX_BYTES {
        return (None, Diagnostics::unreadable(shown, "cannot read a file above 1 MiB".to_owned(), None));
    }
    let mut faults = Faults::default();
    let tree = compose::compose(text, &mut faults);
    let plan = tree.as_ref().map(|tree| resolve::project(tree, text, file, root, around, &mut faults));
    faults.finish();
    let plan = plan.filter(|_| !faults.has_errors());
    (plan, Diagnostics::new(shown, text, tree.as_ref(), faults))
}

#[cfg(test)]
mod tests;
