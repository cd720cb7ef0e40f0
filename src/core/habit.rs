//! Files that a program writes into its own tree right after each start: they must not restart it for ever.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::units::Moment;
use crate::model::watch::FileChange;

/// What changes this soon after a start may be the program's own doing.
const RIGHT_AFTER: Duration = Duration::from_secs(2);
/// A program takes about as long each time; a person who saves as soon as the new code runs does not.
const SPREAD: Duration = Duration::from_millis(150);
/// So often in a row, it is.
const TIMES: u8 = 3;
/// The same for source, which people write too, and tools as regularly as programs.
const TIMES_OF_SOURCE: u8 = 10;

/// What an instance writes after its starts. Taking over new files without a new process counts as a start too.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Habits {
    /// Counts the starts.
    start: u64,
    at: Moment,
    /// The files that led to the latest start.
    because: BTreeSet<PathBuf>,
    /// The files that changed right after starts they had led to.
    written: BTreeMap<PathBuf, Written>,
}

/// A file that may be the program's own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Written {
    /// After which start the last time.
    start: u64,
    /// How long after it.
    after: Duration,
    /// How often in a row.
    times: u8,
}

impl Habits {
    /// A start; `because` are the files that led to it.
    pub(crate) fn begin(&mut self, because: Vec<PathBuf>, now: Moment) {
        let before = self.start;
        self.written.retain(|_, written| written.start == before);
        self.start += 1;
        self.at = now;
        self.because = because.into_iter().collect();
    }

    /// The start goes on: only now does the program run.
    pub(crate) fn spawn(&mut self, now: Moment) {
        self.at = now;
    }

    /// Takes in changes first seen at `since`. Returns the files that have changed so once too often.
    pub(crate) fn note(
        &mut self,
        files: &[FileChange],
        since: Moment,
        is_source: impl Fn(&Path) -> bool,
    ) -> Vec<PathBuf> {
        if since < self.at || since.since(self.at) >= RIGHT_AFTER {
            return vec![];
        }
        let mut own = vec![];
        for path in files.iter().map(|file| &file.path).filter(|path| self.because.contains(*path)) {
            let after = since.since(self.at);
            let before = self.written.get(path).copied();
            if before.is_some_and(|written| written.start == self.start) {
                continue;
            }
            let in_a_row = before.filter(|written| written.after.abs_diff(after) <= SPREAD);
            let times = in_a_row.map_or(1, |written| written.times.saturating_add(1));
            self.written.insert(path.clone(), Written { start: self.start, after, times });
            if times >= if is_source(path) { TIMES_OF_SOURCE } else { TIMES } {
                own.push(path.clone());
            }
        }
        own
    }

    /// Nothing is made of this file any more.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.written.remove(path);
    }
}
