//! What cannot be watched as wanted, for people.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::model::status::Warning;
use crate::watch::tree::Tree;

/// Why files are looked at every second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Polling {
    /// The plan says so.
    Asked,
    /// This folder is on a filesystem, of this name, that is changed from elsewhere.
    Elsewhere(PathBuf, &'static str),
    /// This user may watch no more folders.
    Limit,
    /// The kernel gives no inotify.
    NoInotify(Errno),
}

/// All that is wrong with a subject.
pub(super) fn warnings(tree: &Tree, polling: Option<&Polling>, overflows: u64) -> Vec<Warning> {
    let warning = |code: &str, message| Warning { code: code.to_owned(), message };
    let mut all = vec![];
    if let Some((code, reason)) = polling.and_then(|why| reason(why, tree.folders())) {
        all.push(warning(code, format!("files are looked at every second: {reason}")));
    }
    if overflows > 0 {
        let times = if overflows == 1 { "once".to_owned() } else { format!("{overflows} times") };
        let message =
            format!("more files changed at a time than the kernel could tell, {times}: all were compared instead");
        all.push(warning("watch_overflow", message));
    }
    for path in tree.roots().filter(|path| !path.exists()) {
        all.push(warning("watch_missing", format!("{} does not exist: it is watched once it does", path.display())));
    }
    for (path, error) in tree.unreadable() {
        all.push(warning("watch_unreadable", format!("{} cannot be watched: {}", path.display(), error.desc())));
    }
    for error in tree.wrong_globs() {
        all.push(warning("watch_glob", format!("a pattern of watch is left out: {error}")));
    }
    all
}

/// The code and the reason; none where it was asked for.
fn reason(why: &Polling, folders: usize) -> Option<(&'static str, String)> {
    match why {
        Polling::Asked => None,
        Polling::Elsewhere(folder, kind) => {
            let text = format!("{} is on {kind}, where the kernel does not tell of every change", folder.display());
            Some(("polling", text))
        }
        Polling::Limit => {
            let limit = setting("max_user_watches");
            let enough = limit.saturating_add(folders as u64).next_power_of_two();
            let text = format!(
                "there are {folders} folders to watch, and this user's limit of {limit} is used up; \
                 `sudo sysctl fs.inotify.max_user_watches={enough}` and a new start of everup end this"
            );
            Some(("watch_limit", text))
        }
        Polling::NoInotify(Errno::EMFILE) => {
            let limit = setting("max_user_instances");
            let enough = limit.saturating_mul(2).max(128);
            let text = format!(
                "this user's limit of {limit} inotify instances is used up; \
                 `sudo sysctl fs.inotify.max_user_instances={enough}` and a new start of everup end this"
            );
            Some(("polling", text))
        }
        Polling::NoInotify(error) => Some(("polling", format!("the kernel gives no inotify: {}", error.desc()))),
    }
}

/// A limit of inotify; 0 where it cannot be read.
fn setting(name: &str) -> u64 {
    let file = Path::new("/proc/sys/fs/inotify").join(name);
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
