//! The database file: opening, its shape, writing a batch, forgetting what is old, replacing a damaged file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use crate::history::run::RunRecord;
use crate::history::usage::keep::{self, Tracks};
use crate::history::usage::{Row, schema};
use crate::history::{HistoryError, query, row};
use crate::model::event::EventRecord;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::HistoryPlan;
use crate::model::units::Timestamp;
use crate::os::killpoint;

/// The version of a file with every step taken.
pub(super) const VERSION: u32 = 3;

/// The shape of the file, one step a version; `user_version` counts the steps taken.
pub(super) const STEPS: [&str; VERSION as usize] = [
    "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL,
        service TEXT, instance TEXT, run INTEGER, cause TEXT, certainty TEXT, code INTEGER, signal TEXT,
        pid INTEGER, ran_ms INTEGER, delay_ms INTEGER, message TEXT);
    CREATE INDEX events_seq ON events (seq);
    CREATE INDEX events_service ON events (service, id);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, service TEXT NOT NULL, idx INTEGER NOT NULL, label TEXT NOT NULL, run INTEGER,
        started INTEGER, ended INTEGER NOT NULL, cause TEXT NOT NULL, certainty TEXT NOT NULL, code INTEGER,
        signal TEXT, ran_ms INTEGER, evidence TEXT NOT NULL, last_lines TEXT NOT NULL,
        changed_before TEXT NOT NULL, then_done TEXT);
    CREATE INDEX runs_service ON runs (service, id);
    CREATE TABLE last_runs (
        service TEXT NOT NULL, idx INTEGER NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (service, idx)) WITHOUT ROWID;
",
    schema::STEP,
    // What is written down twice is kept once: an engine that goes on after another hands over again what it cannot know
    // to be written. Numbers of events may begin anew when no file could be read, hence the time beside them.
    "
    DELETE FROM events WHERE id NOT IN (SELECT min(id) FROM events GROUP BY seq, at);
    DROP INDEX IF EXISTS events_seq;
    CREATE UNIQUE INDEX events_once ON events (seq, at);
    DELETE FROM runs WHERE run IS NOT NULL AND id NOT IN (
        SELECT max(id) FROM runs WHERE run IS NOT NULL GROUP BY service, idx, run);
    CREATE UNIQUE INDEX runs_once ON runs (service, idx, run) WHERE run IS NOT NULL;
",
];

/// How long another connection's lock is waited for.
pub(super) const BUSY: Duration = Duration::from_millis(250);

const KEPT_ROWS: i64 = 100_000;
const KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// So many inserted rows later the old ones are looked for again.
const PRUNE_EVERY: usize = 1_000;
/// `max_size` lets that many of the newest events and ends of runs be.
const SPARED_ROWS: i64 = 1_000;
/// So many are forgotten for it at a time.
const FORGOTTEN_ROWS: i64 = 1_000;
/// How often the oldest are forgotten for `max_size` after one write; the rest follows after the next.
const ROUNDS: usize = 64;
/// Room that is left free in the file for what comes, in bytes; more is given back.
const SPARE: i64 = 1 << 20;

/// What is written in one transaction, oldest first.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Arc<EventRecord>>,
    pub(super) runs: Vec<Arc<RunRecord>>,
    pub(super) rows: Vec<Arc<[Row]>>,
    /// When usage was read last.
    pub(super) read_at: Timestamp,
    /// What is kept for how long.
    pub(super) plan: HistoryPlan,
}

/// Where numbering goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The number of the latest event; 0 before the first.
    pub(super) last_seq: u64,
    /// The latest run of every instance ever started.
    pub(super) last_runs: BTreeMap<InstanceId, Run>,
}

/// The open file, for its one writer.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
    /// Which file it is, whatever the path leads to later.
    identity: Option<(u64, u64)>,
    /// Rows since old ones were looked for.
    inserted: usize,
    tracks: Tracks,
    /// The latest event number of a damaged file that this one replaces.
    salvaged_seq: u64,
}

impl Store {
    /// Opens or creates the file. A damaged one is set aside and a fresh one begun.
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        match Self::open_as_it_is(path) {
            Err(HistoryError::Damaged { source, .. }) => Self::replace(path, &source),
            other => other,
        }
    }

    fn open_as_it_is(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::of(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let version = version(&connection).map_err(failed)?;
        if version > VERSION {
            return Err(HistoryError::Newer { path: path.to_owned(), version });
        }
        prepare(&mut connection, version).map_err(failed)?;
        let store = Self {
            connection,
            path: path.to_owned(),
            identity: identity(path),
            inserted: PRUNE_EVERY,
            tracks: Tracks::default(),
            salvaged_seq: 0,
        };
        // A file cut short shows here rather than at the first write.
        store.marks()?;
        Ok(store)
    }

    /// Sets the damaged file at `path` aside as `history.db.corrupt-<unix time>` and begins a fresh one, which
    /// takes over what can still be read of the numbering.
    pub(super) fn replace(path: &Path, damage: &rusqlite::Error) -> Result<Self, HistoryError> {
        let salvaged = Self::glance(path);
        let aside = set_aside(path).map_err(|source| HistoryError::SetAside { path: path.to_owned(), source })?;
        tracing::warn!(%damage, "the history was damaged: it is kept as {} and a new one begun", aside.display());
        let mut store = Self::open_as_it_is(path)?;
        keep_last_runs(&store.connection, &salvaged.last_runs).map_err(|source| HistoryError::of(path, source))?;
        store.salvaged_seq = salvaged.last_seq;
        Ok(store)
    }

    /// What can be read of the numbering in a file that cannot be used otherwise.
    pub(super) fn glance(path: &Path) -> Marks {
        query::open(path)
            .ok()
            .flatten()
            .map(|old| Marks { last_seq: last_seq(&old).unwrap_or(0), last_runs: last_runs(&old).unwrap_or_default() })
            .unwrap_or_default()
    }

    /// Whether the path still leads to this file; SQLite itself would go on writing into a deleted one.
    pub(super) fn is_in_place(&self) -> bool {
        self.identity.is_some() && self.identity == identity(&self.path)
    }

    /// Writes `batch` whole or not at all, what is in the file already only once, then now and then forgets what is old or too much.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        let minute_over = self.insert(batch).map_err(|source| HistoryError::of(&self.path, source))?;
        self.inserted += batch.events.len() + batch.runs.len();
        let newest = batch.events.last().map(|event| event.at).or(batch.runs.last().map(|run| run.ended));
        // The batch is safe already; a disk that fails only here shows at the next write.
        if let Err(error) = self.forget(batch, newest, minute_over) {
            tracing::debug!(%error, "cannot forget old history");
        }
        Ok(())
    }

    fn forget(&mut self, batch: &Batch, newest: Option<Timestamp>, minute_over: bool) -> rusqlite::Result<()> {
        let mut looked = false;
        if let Some(newest) = newest.filter(|_| self.inserted >= PRUNE_EVERY) {
            self.inserted = 0;
            self.prune(newest.0)?;
            looked = true;
        }
        if minute_over {
            keep::forget_old(&mut self.connection, &mut self.tracks, &batch.plan, batch.read_at)?;
        }
        if looked || minute_over {
            self.shrink(i64::try_from(batch.plan.max_size).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }

    /// Where numbering goes on.
    pub(super) fn marks(&self) -> Result<Marks, HistoryError> {
        let failed = |source| HistoryError::of(&self.path, source);
        Ok(Marks {
            last_seq: last_seq(&self.connection).map_err(failed)?.max(self.salvaged_seq),
            last_runs: last_runs(&self.connection).map_err(failed)?,
        })
    }

    /// Whether a minute is over by it.
    fn insert(&mut self, batch: &Batch) -> rusqlite::Result<bool> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(row::INSERT_EVENT)?;
            for event in &batch.events {
                row::insert_event(&mut statement, event)?;
            }
            let mut statement = transaction.prepare_cached(row::INSERT_RUN)?;
            for run in &batch.runs {
                row::insert_run(&mut statement, run)?;
            }
        }
        keep_last_runs(&transaction, &latest_runs(batch))?;
        for rows in &batch.rows {
            keep::insert(&transaction, &mut self.tracks, rows)?;
        }
        let minute_over = !batch.rows.is_empty() && keep::roll_up(&transaction, batch.read_at)?;
        killpoint::pass("store-before");
        transaction.commit()?;
        killpoint::pass("store-after");
        Ok(minute_over)
    }

    /// Forgets rows beyond the limits. The newest row always stays, so that numbering goes on from it.
    fn prune(&mut self, newest_ms: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (table, at) in [("events", "at"), ("runs", "ended")] {
            transaction
                .execute(&format!("DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?1"), [KEPT_ROWS])?;
            // The oldest rows come first by id, so no index on the time is needed.
            transaction.execute(
                &format!(
                    "DELETE FROM {table} WHERE {at} < ?1 AND id < (SELECT max(id) FROM {table}) \
                     AND id IN (SELECT id FROM {table} ORDER BY id LIMIT 5000)"
                ),
                [newest_ms.saturating_sub(KEPT_MS)],
            )?;
        }
        transaction.commit()
    }

    /// Forgets the oldest until the file fits into `max_size` bytes, usage before all else; gives free room back.
    fn shrink(&mut self, max_size: i64) -> rusqlite::Result<()> {
        for _ in 0..ROUNDS {
            let (bytes, free) = self.size()?;
            let excess = bytes - free - max_size;
            if excess <= 0 {
                break;
            }
            // A little more than must be, so that not every minute something has to go.
            if keep::forget_oldest(&mut self.connection, excess + max_size / 100)? == 0 && self.forget_records()? == 0 {
                break;
            }
        }
        let (bytes, free) = self.size()?;
        if free > SPARE || bytes > max_size {
            let mut statement = self.connection.prepare("PRAGMA incremental_vacuum")?;
            let mut freed = statement.query([])?;
            // A row for every page that is given back.
            while freed.next()?.is_some() {}
        }
        Ok(())
    }

    /// Forgets some of the oldest events and ends of runs; how many.
    fn forget_records(&mut self) -> rusqlite::Result<usize> {
        let mut forgotten = 0;
        for table in ["events", "runs"] {
            forgotten += self.connection.execute(
                &format!(
                    "DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?1 \
                     AND id < (SELECT min(id) FROM {table}) + ?2"
                ),
                [SPARED_ROWS, FORGOTTEN_ROWS],
            )?;
        }
        Ok(forgotten)
    }

    /// Moves all that is written into the file itself.
    #[cfg(test)]
    pub(super) fn checkpoint(&self) {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }

    /// Its bytes, and how many of them are free.
    fn size(&self) -> rusqlite::Result<(i64, i64)> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let page = number("page_size")?;
        Ok((number("page_count")? * page, number("freelist_count")? * page))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The file's version; 0 for a new one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn prepare(connection: &mut Connection, version: u32) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
         PRAGMA cache_size=-512; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=256;
         PRAGMA journal_size_limit=1048576; PRAGMA foreign_keys=OFF;",
    )?;
    if version < VERSION {
        let transaction = connection.transaction()?;
        for step in STEPS.iter().skip(version as usize) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

fn last_seq(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT max(seq) FROM events", [], |row| Ok(row.get::<_, Option<i64>>(0)?.map_or(0, row::unsigned)))
}

fn last_runs(connection: &Connection) -> rusqlite::Result<BTreeMap<InstanceId, Run>> {
    let mut statement = connection.prepare("SELECT service, idx, run FROM last_runs")?;
    let mut rows = statement.query([])?;
    let mut runs = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (service, index, run): (String, u32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if let Some(service) = row::word(&service) {
            runs.insert(InstanceId { service, index }, Run(row::unsigned(run)));
        }
    }
    Ok(runs)
}

/// The highest run of each instance that `batch` mentions. Events count too: a run that still lives has no end yet.
fn latest_runs(batch: &Batch) -> BTreeMap<InstanceId, Run> {
    let of_events = batch.events.iter().filter_map(|event| {
        let (service, label) = (event.service.clone()?, event.instance.as_deref()?);
        let index = label.rsplit_once('/').map_or(Some(1), |(_, index)| index.parse().ok())?;
        Some((InstanceId { service, index }, event.run?))
    });
    let of_runs = batch.runs.iter().filter_map(|run| Some((run.instance.clone(), run.run?)));
    let mut latest = BTreeMap::new();
    for (instance, run) in of_events.chain(of_runs) {
        let known = latest.entry(instance).or_insert(run);
        *known = run.max(*known);
    }
    latest
}

fn keep_last_runs(connection: &Connection, runs: &BTreeMap<InstanceId, Run>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO last_runs (service, idx, run) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET run = max(run, excluded.run)",
    )?;
    for (instance, run) in runs {
        statement.execute(params![instance.service.as_str(), instance.index, row::signed(run.0)])?;
    }
    Ok(())
}

/// Renames the file and drops the journals that belong to it; gives its new name.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "names a file; nothing is decided by it")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside =
        (now..now + 1_000).map(|time| with_suffix(path, &format!(".corrupt-{time}"))).find(|aside| !aside.exists());
    let aside = aside.ok_or(std::io::ErrorKind::AlreadyExists)?;
    std::fs::rename(path, &aside)?;
    for journal in ["-wal", "-shm", "-journal"] {
        match std::fs::rename(with_suffix(path, journal), with_suffix(&aside, journal)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
