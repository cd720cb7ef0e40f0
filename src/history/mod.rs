//! Remembers: events, the ends of runs and what runs use, in SQLite (`history.db` in the state folder).
//!
//! The disk may stall, fill up or break at any time; nobody who reports something here ever waits for it.

pub mod query;
pub mod record;
pub mod run;
pub mod telling;

mod backlog;
mod row;
#[cfg(test)]
mod samples;
mod store;
mod usage;
mod write;

use std::path::{Path, PathBuf};

/// The version of the file's shape that is read and written here; older ones are made so.
pub const SCHEMA: u32 = store::VERSION;

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It was written by a newer everup, whose shape this one does not know; it is left alone.
    #[error("cannot use {path:?}: a newer everup wrote it (version {version})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Its content is damaged.
    #[error("cannot use {path:?}: it is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// A damaged file cannot be moved out of the way.
    #[error("cannot set the damaged {path:?} aside")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The disk or the folder does not allow it.
    #[error("cannot access {path:?}")]
    Access {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    /// Tells a damaged file, which must be replaced, from a disk that may work again.
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged { path, source },
            _ => Self::Access { path, source },
        }
    }
}

/// The file in the state folder `dir`.
fn file(dir: &Path) -> PathBuf {
    dir.join("history.db")
}
