//! The writer: a thread that sleeps until something is to be written, and tries again when the disk fails.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::history::HistoryError;
use crate::history::backlog::Backlog;
use crate::history::store::{Batch, Store};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Writes what comes to `backlog` until it is closed. `store` is none where opening it failed.
pub(super) fn run(backlog: &Backlog, path: &Path, mut store: Option<Store>) {
    let mut pause = FIRST_PAUSE;
    // Opening it has failed already, and its reason has been told.
    let mut works = store.is_some();
    while let Some(batch) = backlog.next() {
        match write(path, store.take(), &batch) {
            Ok(open) => {
                store = Some(open);
                pause = FIRST_PAUSE;
                backlog.written();
                if !std::mem::replace(&mut works, true) {
                    tracing::info!("the history is written again; {} events and ends were lost", backlog.lost());
                }
            }
            Err(error) => {
                let reason = explain(&error);
                if std::mem::replace(&mut works, false) {
                    tracing::warn!("the history is kept in memory for now: {reason}");
                }
                backlog.failed(reason, pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                if backlog.is_closing() {
                    break;
                }
            }
        }
    }
    drop(store);
    backlog.ended();
}

/// Writes `batch`; after a failure the file is opened anew next time, for it may be another one by then.
fn write(path: &Path, store: Option<Store>, batch: &Batch) -> Result<Store, HistoryError> {
    let mut store = match store {
        Some(store) if store.is_in_place() => store,
        gone => {
            drop(gone);
            Store::open(path)?
        }
    };
    match store.write(batch) {
        Ok(()) => Ok(store),
        Err(HistoryError::Damaged { source, .. }) => {
            drop(store);
            let mut fresh = Store::replace(path, &source)?;
            fresh.write(batch)?;
            Ok(fresh)
        }
        Err(other) => Err(other),
    }
}

/// The error and what it rests on, in one line.
pub(super) fn explain(error: &HistoryError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
