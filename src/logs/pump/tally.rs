//! Counts what children write, for whoever asks, without a lock where bytes pass.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::log::{LogBytes, Stream};
use crate::model::names::InstanceId;

/// One instance's bytes since the pump began, over all its runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stdout: AtomicU64,
    stderr: AtomicU64,
    dropped: AtomicU64,
}

impl Tally {
    /// `kept` of `taken` bytes of a stream are in its file.
    pub(super) fn add(&self, stream: Stream, taken: usize, kept: usize) {
        let total = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        total.fetch_add(kept as u64, Ordering::Relaxed);
        if taken > kept {
            self.dropped.fetch_add((taken - kept) as u64, Ordering::Relaxed);
        }
    }
}

/// All instances that ever wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies(Arc<Mutex<BTreeMap<InstanceId, Arc<Tally>>>>);

impl Tallies {
    /// The one of this instance, begun at 0 where there is none.
    pub(super) fn of(&self, instance: &InstanceId) -> Arc<Tally> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(instance.clone()).or_default().clone()
    }

    pub(super) fn read(&self) -> Vec<(InstanceId, LogBytes)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |tally: &Tally| LogBytes {
            stdout: tally.stdout.load(Ordering::Relaxed),
            stderr: tally.stderr.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
        };
        all.iter().map(|(id, tally)| (id.clone(), bytes(tally))).collect()
    }
}
