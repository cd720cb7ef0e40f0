//! What was reported and is not on the disk: the queue of the one writer, and, while the disk does not work, the
//! memory that questions are answered from.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::history::run::RunRecord;
use crate::history::store::Batch;
use crate::history::usage::{Row, slot};
use crate::model::event::EventRecord;
use crate::model::plan::HistoryPlan;
use crate::model::units::Timestamp;

/// How much waits at most. While the disk works: room for a burst. While it does not: the latest only.
/// When full, the oldest is dropped and counted.
const QUEUE: Bounds = Bounds { events: 8_192, runs: 1_024, rows: 40_000 };
const KEPT: Bounds = Bounds { events: 1_000, runs: 200, rows: 10_000 };

/// A write that takes longer is trouble worth telling.
const STALLED: Duration = Duration::from_secs(5);

struct Bounds {
    events: usize,
    runs: usize,
    /// Of usage. They have room of their own: nothing else is dropped for them.
    rows: usize,
}

/// Shared by whoever reports, the writer and the readers. Its lock is only ever held to move memory.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    /// Told when there may be something to write.
    work: Condvar,
    /// Told when an attempt to write is over.
    settled: Condvar,
    /// The highest number of an event that is written or lost; events come in the order of their numbers.
    settled_seq: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<EventRecord>>,
    runs: VecDeque<Arc<RunRecord>>,
    /// Rows of usage, as they became complete.
    rows: VecDeque<Arc<[Row]>>,
    /// How many these are in all.
    row_count: usize,
    /// Whether they are to be written without anything else: once a minute.
    rows_due: bool,
    /// When usage was read last.
    read_at: Timestamp,
    /// What is kept for how long.
    plan: HistoryPlan,
    /// How many at the front are being written now.
    writing: Writing,
    /// Since when.
    writing_since: Option<Instant>,
    /// Why the latest attempt failed.
    trouble: Option<String>,
    /// Before this no new attempt is made.
    not_before: Option<Instant>,
    /// Attempts that are over.
    attempts: u64,
    /// Of these, those that succeeded.
    writes: u64,
    /// Somebody waits: try at once.
    urgent: bool,
    /// Events and ends that were dropped unwritten.
    lost: u64,
    /// No more comes: write what is there, then end.
    closing: bool,
    /// The writer has ended.
    ended: bool,
}

#[derive(Debug, Default)]
struct Writing {
    events: usize,
    runs: usize,
    rows: usize,
    /// Of the batch being written, dropped here meanwhile: lost should the attempt fail.
    dropped: u64,
}

impl Backlog {
    /// Takes an event; never waits for the disk.
    pub(super) fn event(&self, event: Arc<EventRecord>) {
        let mut state = self.lock();
        state.events.push_back(event);
        self.trim(&mut state);
        drop(state);
        self.work.notify_one();
    }

    /// Takes an end of a run; never waits for the disk.
    pub(super) fn run(&self, run: Arc<RunRecord>) {
        let mut state = self.lock();
        state.runs.push_back(run);
        self.trim(&mut state);
        drop(state);
        self.work.notify_one();
    }

    /// Takes rows of usage as of `read_at`; never waits for the disk. They are written once a minute, or with what else
    /// is to be written.
    pub(super) fn rows(&self, rows: Vec<Row>, read_at: Timestamp) {
        let mut state = self.lock();
        let minute_over = slot(state.read_at, 60) != slot(read_at, 60);
        state.read_at = read_at;
        if !rows.is_empty() {
            state.row_count += rows.len();
            state.rows.push_back(rows.into());
            self.trim(&mut state);
        }
        if minute_over && !state.rows.is_empty() {
            state.rows_due = true;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Takes the last rows, which are written with what else is to be written.
    pub(super) fn last_rows(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            let mut state = self.lock();
            state.row_count += rows.len();
            state.rows.push_back(rows.into());
        }
    }

    /// From now on this is kept for that long.
    pub(super) fn keep(&self, plan: HistoryPlan) {
        self.lock().plan = plan;
    }

    /// What is not on the disk (for certain), oldest first.
    pub(super) fn pending(&self) -> Batch {
        self.lock().batch()
    }

    /// All events up to this number are on the disk, or were before this began.
    pub(super) fn settle_up_to(&self, seq: u64) {
        self.settled_seq.fetch_max(seq, Ordering::Release);
    }

    /// The highest number of an event that is written or lost.
    pub(super) fn settled_seq(&self) -> u64 {
        self.settled_seq.load(Ordering::Acquire)
    }

    fn trim(&self, state: &mut State) {
        if let Some(lost) = state.trim() {
            self.settle_up_to(lost);
        }
    }

    /// How many batches were written.
    pub(super) fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Waits until something is to be written and gives all of it; none: the end.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let rows_wait = !state.rows_due && !state.urgent && !state.closing;
            let empty = state.events.is_empty() && state.runs.is_empty() && (rows_wait || state.rows.is_empty());
            let pause = state.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            if empty && state.closing {
                return None;
            }
            state = if empty {
                self.work.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if pause.is_zero() || state.urgent || state.closing {
                state.urgent = false;
                state.writing =
                    Writing { events: state.events.len(), runs: state.runs.len(), rows: state.rows.len(), dropped: 0 };
                state.writing_since = Some(Instant::now());
                return Some(state.batch());
            } else {
                self.work.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// The batch that [`Self::next`] gave is on the disk.
    pub(super) fn written(&self) {
        let mut state = self.lock();
        let Writing { events, runs, rows, .. } = std::mem::take(&mut state.writing);
        if let Some(last) = state.events.drain(..events).next_back() {
            self.settle_up_to(last.seq);
        }
        state.runs.drain(..runs);
        let rows: usize = state.rows.drain(..rows).map(|rows| rows.len()).sum();
        state.row_count -= rows;
        state.rows_due = false;
        state.writes += 1;
        state.trouble = None;
        state.not_before = None;
        self.settle(state);
    }

    /// The batch could not be written: it waits on, the next attempt comes after `pause` (or when somebody waits).
    pub(super) fn failed(&self, reason: String, pause: Duration) {
        let mut state = self.lock();
        state.lost += std::mem::take(&mut state.writing).dropped;
        state.trouble = Some(reason);
        state.not_before = Some(Instant::now() + pause);
        self.trim(&mut state);
        self.settle(state);
    }

    fn settle(&self, mut state: MutexGuard<'_, State>) {
        state.writing_since = None;
        state.attempts += 1;
        drop(state);
        self.settled.notify_all();
    }

    /// Waits until all is written, an attempt begun after this call failed, or `limit` has passed.
    /// Whether all is written.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        // An attempt under way does not hold the latest yet.
        let enough = state.attempts + if state.writing_since.is_some() { 2 } else { 1 };
        loop {
            if state.events.is_empty() && state.runs.is_empty() && state.rows.is_empty() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended || state.attempts >= enough && state.trouble.is_some() {
                return false;
            }
            state.urgent = true;
            self.work.notify_one();
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks the writer to end once it has tried to write what is there, and waits for that, at most `limit`.
    pub(super) fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        state.closing = true;
        self.work.notify_one();
        while !state.ended && !deadline.saturating_duration_since(Instant::now()).is_zero() {
            let left = deadline.saturating_duration_since(Instant::now());
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// The writer has ended.
    pub(super) fn ended(&self) {
        self.lock().ended = true;
        self.settled.notify_all();
    }

    /// How many events and ends were dropped unwritten.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// What is wrong, for people; none while all gets written.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        let stalled = state.writing_since.map(|since| since.elapsed()).filter(|since| *since > STALLED);
        let what = match (&state.trouble, stalled) {
            (_, Some(since)) => format!("the disk has not answered for {}s", since.as_secs()),
            (Some(reason), None) => reason.clone(),
            (None, None) => return None,
        };
        let lost = if state.lost > 0 { format!("; {} are lost", state.lost) } else { String::new() };
        Some(format!("events and ends of runs are kept in memory only: {what}{lost}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn batch(&self) -> Batch {
        Batch {
            events: self.events.iter().cloned().collect(),
            runs: self.runs.iter().cloned().collect(),
            rows: self.rows.iter().cloned().collect(),
            read_at: self.read_at,
            plan: self.plan.clone(),
        }
    }

    /// Drops what does not fit; the number of the latest event that was dropped.
    fn trim(&mut self) -> Option<u64> {
        let bounds = if self.trouble.is_some() { KEPT } else { QUEUE };
        let mut dropped = None;
        while self.events.len() > bounds.events {
            dropped = self.events.pop_front().map(|event| event.seq);
            let written_now = self.writing.events > 0;
            self.writing.events = self.writing.events.saturating_sub(1);
            self.count(written_now);
        }
        while self.runs.len() > bounds.runs {
            self.runs.pop_front();
            let written_now = self.writing.runs > 0;
            self.writing.runs = self.writing.runs.saturating_sub(1);
            self.count(written_now);
        }
        // Usage that is missing shows as a gap; events and ends that are missing are counted.
        while self.row_count > bounds.rows
            && let Some(oldest) = self.rows.pop_front()
        {
            self.row_count -= oldest.len();
            self.writing.rows = self.writing.rows.saturating_sub(1);
        }
        dropped
    }

    fn count(&mut self, written_now: bool) {
        if written_now {
            self.writing.dropped += 1;
        } else {
            self.lost += 1;
        }
    }
}
