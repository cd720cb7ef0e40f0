//! Answers questions about the past, while everup runs and when it does not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use crate::history::backlog::Backlog;
use crate::history::run::RunRecord;
use crate::history::store::{BUSY, Batch, VERSION, version};
use crate::history::usage::gather::Gather;
use crate::history::usage::query::{self, Span};
use crate::history::{HistoryError, file, row};
use crate::model::event::EventRecord;
use crate::model::history::{HistoryReport, Metric};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::units::Timestamp;
use crate::model::why::Why;

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this service; none: of all, and of the project.
    pub service: Option<ServiceName>,
    /// Not before this; none: from the beginning.
    pub since: Option<Since>,
    /// At most so many: the first ones after a [`Since::Seq`], else the latest.
    pub limit: usize,
}

/// All there are.
impl Default for EventQuery {
    fn default() -> Self {
        Self { service: None, since: None, limit: usize::MAX }
    }
}

/// Where a look back begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At this time or later.
    Time(Timestamp),
    /// After the event with this number.
    Seq(u64),
}

/// Which usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// Of this service.
    pub service: ServiceName,
    /// Of this instance; none: of all.
    pub index: Option<u32>,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How long each row lasts, at least 10 s; none: the shortest that is kept for this time and makes at most 2,000
    /// rows of a run. One that would make more than 20,000 is lengthened.
    pub step: Option<Duration>,
    /// Only these figures; empty: all.
    pub metrics: Vec<Metric>,
}

/// The shortest step people think in (`10s`, `1m`, `2h`) that makes at most so many rows of a time.
pub fn step_for(time: Duration, rows: u32) -> Duration {
    let least = i64::try_from(time.as_secs().div_ceil(u64::from(rows.max(1)))).unwrap_or(i64::MAX / 4);
    Duration::from_secs(query::usual_step(least).unsigned_abs())
}

/// A look is taken again when the writer wrote meanwhile, so often at most.
const TRIES: u32 = 10;

/// Reads events, ends of runs and usage. Cheap to clone; each call opens the file for itself.
///
/// A call waits for the disk: a door on the loop calls it on a thread of its own (`spawn_blocking`).
#[derive(Clone, Debug)]
pub struct Reader {
    path: Arc<Path>,
    beside: Option<(Arc<Backlog>, Arc<Mutex<Gather>>)>,
}

impl Reader {
    /// Reads the history in the state folder `dir`, whether or not a supervisor runs there.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self { path: file(dir.as_ref()).into(), beside: None }
    }

    /// Also answers from what a recorder in this process has not written.
    pub(super) fn beside(path: PathBuf, backlog: Arc<Backlog>, gather: Arc<Mutex<Gather>>) -> Self {
        Self { path: path.into(), beside: Some((backlog, gather)) }
    }

    /// Events, oldest first. A missing file is an empty answer.
    ///
    /// # Errors
    /// [`HistoryError`] when the file cannot be read. Beside a recorder whose disk does not work, what is in memory
    /// is the answer instead.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<EventRecord>, HistoryError> {
        let (mut events, pending) =
            self.look(|batch| batch.events, |connection, _| stored_events(connection, query))?;
        if !pending.is_empty() {
            let known: BTreeSet<_> = pending.iter().map(|event| (event.seq, event.at)).collect();
            events.retain(|event| !known.contains(&(event.seq, event.at)));
            events.extend(pending.into_iter().filter(|event| wanted(query, event)).map(Arc::unwrap_or_clone));
        }
        let excess = events.len().saturating_sub(query.limit);
        match query.since {
            Some(Since::Seq(_)) => events.truncate(query.limit),
            Some(Since::Time(_)) | None => drop(events.drain(..excess)),
        }
        Ok(events)
    }

    /// The latest `n` ends of a service's runs, or of one instance's, newest first. A missing file is an empty answer.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn why(&self, service: &ServiceName, index: Option<u32>, n: usize) -> Result<Why, HistoryError> {
        let (mut stored, pending) =
            self.look(|batch| batch.runs, |connection, version| stored_runs(connection, version, service, index, n))?;
        stored.retain(|run| !pending.iter().any(|waiting| is_same_end(waiting, run)));
        let of_it = |run: &Arc<RunRecord>| {
            run.instance.service == *service && index.is_none_or(|index| run.instance.index == index)
        };
        let newest = pending.into_iter().rev().filter(of_it).map(Arc::unwrap_or_clone);
        let entries = newest.chain(stored).take(n).map(Into::into).collect();
        Ok(Why { v: 1, service: service.clone(), entries })
    }

    /// Which of these runs have their end written down (or waiting to be).
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn ended(&self, runs: &[(InstanceId, Run)]) -> Result<Vec<bool>, HistoryError> {
        let (stored, pending) = self.look(|batch| batch.runs, |connection, _| stored_ends(connection, runs))?;
        let waits = |(instance, run): &(InstanceId, Run)| {
            pending.iter().any(|waiting| waiting.run == Some(*run) && waiting.instance == *instance)
        };
        Ok(runs.iter().enumerate().map(|(at, run)| stored.get(at) == Some(&true) || waits(run)).collect())
    }

    /// What a service used, also in the ten seconds that are not over. A missing file is an empty answer, and so is one of
    /// an everup that kept no usage.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn usage(&self, query: &UsageQuery) -> Result<HistoryReport, HistoryError> {
        let span = Span::of(query);
        // First: what becomes complete meanwhile is then seen twice rather than not at all.
        let open = self
            .beside
            .as_ref()
            .map_or(vec![], |(_, gather)| gather.lock().unwrap_or_else(PoisonError::into_inner).open());
        let (stored, pending) = self.look(
            |batch| batch.rows,
            |connection, version| {
                if version < 2 { Ok(query::Stored::default()) } else { query::stored(connection, &span) }
            },
        )?;
        Ok(query::report(query, &span, stored, &pending, &open))
    }

    /// What is stored, and beside a recorder what is not (or just being) written, taken at one moment: everything is
    /// in one of the two, and nothing stored is newer than what waits.
    fn look<T: Default, P>(
        &self,
        pick: impl Fn(Batch) -> Vec<P>,
        ask: impl Fn(&Connection, u32) -> rusqlite::Result<T>,
    ) -> Result<(T, Vec<P>), HistoryError> {
        let Some((backlog, _)) = &self.beside else { return Ok((self.read(&ask)?, vec![])) };
        let mut tries = 0;
        loop {
            let writes = backlog.writes();
            let pending = pick(backlog.pending());
            let stored = match self.read(&ask) {
                // An unreadable file is no news beside a recorder in trouble: memory is the answer.
                Err(_) if backlog.trouble().is_some() => T::default(),
                read => read?,
            };
            tries += 1;
            if backlog.writes() == writes || tries == TRIES {
                return Ok((stored, pending));
            }
        }
    }

    fn read<T: Default>(&self, ask: impl Fn(&Connection, u32) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let failed = |source| HistoryError::of(&self.path, source);
        let Some(connection) = open(&self.path)? else { return Ok(T::default()) };
        match version(&connection).map_err(failed)? {
            // Created this instant, and its tables are still to come.
            0 => Ok(T::default()),
            newer if newer > VERSION => Err(HistoryError::Newer { path: self.path.to_path_buf(), version: newer }),
            version => ask(&connection, version).map_err(failed),
        }
    }
}

/// Opens the file for reading only; none when there is none.
pub(super) fn open(path: &Path) -> Result<Option<Connection>, HistoryError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| HistoryError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let look = |connection: Connection| -> rusqlite::Result<Connection> {
        connection.busy_timeout(BUSY)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    let plain = Connection::open_with_flags(path, flags).and_then(look);
    match plain {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
            ) =>
        {
            // The folder cannot be written, so the files that readers share cannot be made; nobody writes then either.
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(as_uri(path), flags).and_then(look).map(Some).map_err(|_| failed(error))
        }
        other => other.map(Some).map_err(failed),
    }
}

/// The path as a URI that tells SQLite that nobody changes the file.
fn as_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            uri.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri + "?immutable=1"
}

fn stored_events(connection: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<EventRecord>> {
    let (condition, order, bound) = match query.since {
        None => ("?2 IS NULL", "id DESC", None),
        Some(Since::Time(at)) => ("at >= ?2", "id DESC", Some(at.0)),
        Some(Since::Seq(seq)) => ("seq > ?2", "seq, id", Some(row::signed(seq))),
    };
    let whose = if query.service.is_some() { "service = ?1" } else { "?1 IS NULL" };
    let sql =
        format!("SELECT {} FROM events WHERE {whose} AND {condition} ORDER BY {order} LIMIT ?3", row::EVENT_COLUMNS);
    let service = query.service.as_ref().map(ServiceName::as_str);
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params![service, bound, limit(query.limit)], row::event)?;
    let mut events = rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    if !matches!(query.since, Some(Since::Seq(_))) {
        events.reverse();
    }
    Ok(events)
}

fn stored_runs(
    connection: &Connection,
    version: u32,
    service: &ServiceName,
    index: Option<u32>,
    n: usize,
) -> rusqlite::Result<Vec<RunRecord>> {
    let columns = if version < 2 { row::RUN_COLUMNS_1 } else { row::RUN_COLUMNS };
    let sql =
        format!("SELECT {columns} FROM runs WHERE service = ?1 AND (?2 IS NULL OR idx = ?2) ORDER BY id DESC LIMIT ?3");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params![service.as_str(), index, limit(n)], row::run)?;
    rows.filter_map(Result::transpose).collect()
}

fn stored_ends(connection: &Connection, runs: &[(InstanceId, Run)]) -> rusqlite::Result<Vec<bool>> {
    let mut statement = connection.prepare("SELECT 1 FROM runs WHERE service = ?1 AND idx = ?2 AND run = ?3")?;
    let mut is_stored = |(instance, run): &(InstanceId, Run)| {
        statement.exists(params![instance.service.as_str(), instance.index, row::signed(run.0)])
    };
    runs.iter().map(&mut is_stored).collect()
}

/// Whether both tell of the same end: a run ends once, what never ran is told by its content.
fn is_same_end(one: &RunRecord, other: &RunRecord) -> bool {
    one.run == other.run && one.instance == other.instance && (one.run.is_some() || one == other)
}

fn wanted(query: &EventQuery, event: &EventRecord) -> bool {
    (query.service.is_none() || query.service == event.service)
        && match query.since {
            None => true,
            Some(Since::Time(at)) => event.at >= at,
            Some(Since::Seq(seq)) => event.seq > seq,
        }
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::record::Recorder;
    use crate::history::run::RunRecord;
    use crate::history::samples::{event, run, web};

    fn filled(dir: &Path) {
        let recorder = Recorder::open(dir);
        for seq in 1..=20 {
            recorder.event(event(seq));
        }
        for number in 1..=5 {
            recorder.run(run(1, number));
            recorder.run(run(2, number));
        }
        assert!(recorder.flush(Duration::from_secs(10)));
    }

    fn seqs(events: &[EventRecord]) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn a_missing_file_is_an_empty_answer() {
        let dir = tempfile::tempdir().unwrap();
        for reader in [Reader::new(dir.path()), Reader::new(dir.path().join("nowhere"))] {
            assert_eq!(reader.events(&EventQuery { limit: 10, ..EventQuery::default() }).unwrap(), []);
            assert_eq!(reader.why(&web(), None, 5).unwrap().entries, []);
        }
    }

    #[test]
    fn a_question_picks_by_service_beginning_and_number() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let reader = Reader::new(dir.path());
        let at = event(15).at;
        let other = ServiceName::new("db").unwrap();
        for (service, since, limit, wanted) in [
            (None, None, 3, vec![18, 19, 20]),
            (Some(web()), None, 2, vec![19, 20]),
            (Some(other), None, 2, vec![]),
            (None, Some(Since::Time(at)), 100, vec![15, 16, 17, 18, 19, 20]),
            (None, Some(Since::Time(at)), 2, vec![19, 20]),
            (None, Some(Since::Seq(15)), 2, vec![16, 17]),
            (Some(web()), Some(Since::Seq(18)), usize::MAX, vec![19, 20]),
            (None, Some(Since::Seq(u64::MAX)), 2, vec![]),
            (None, None, 0, vec![]),
        ] {
            let events = reader.events(&EventQuery { service: service.clone(), since, limit }).unwrap();
            assert_eq!(seqs(&events), wanted, "{service:?} {since:?} {limit}");
        }
    }

    #[test]
    fn why_tells_the_newest_end_first_of_all_instances_or_one() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let reader = Reader::new(dir.path());
        let why = reader.why(&web(), None, 3).unwrap();
        let told: Vec<_> = why.entries.iter().map(|entry| (entry.instance.as_str(), entry.run.unwrap().0)).collect();
        assert_eq!(told, [("web/2", 5), ("web/1", 5), ("web/2", 4)]);
        let why = reader.why(&web(), Some(1), 2).unwrap();
        assert_eq!(why.entries, [run(1, 5).into(), run(1, 4).into()]);
    }

    #[test]
    fn a_reader_works_beside_the_writer_and_sees_what_is_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(dir.path());
        let (inside, outside) = (recorder.reader(), Reader::new(dir.path()));
        for seq in 1..=300 {
            recorder.event(event(seq));
            recorder.run(run(1, seq));
            let latest = EventQuery { limit: 2, ..EventQuery::default() };
            let expected: Vec<u64> = (seq.saturating_sub(1).max(1)..=seq).collect();
            assert_eq!(seqs(&inside.events(&latest).unwrap()), expected);
            assert_eq!(inside.why(&web(), None, 1).unwrap().entries, [run(1, seq).into()]);
            let seen = seqs(&outside.events(&EventQuery::default()).unwrap());
            assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
        }
        assert!(recorder.flush(Duration::from_secs(10)));
        assert_eq!(outside.events(&EventQuery::default()).unwrap().len(), 300);
    }

    #[test]
    fn a_newer_or_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let reader = Reader::new(dir.path());
        let query = EventQuery { limit: 1, ..EventQuery::default() };
        Connection::open(file(dir.path())).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(reader.events(&query), Err(HistoryError::Newer { version, .. }) if version == VERSION + 1));
        std::fs::write(
            file(dir.path()),
            "garbage, long enough to be looked at as a header of a database file".repeat(99),
        )
        .unwrap();
        assert!(matches!(reader.why(&web(), None, 1), Err(HistoryError::Damaged { .. })));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_read_all_the_same() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("odd %41?#name").tempdir().unwrap();
        filled(dir.path());
        let set = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o500);
        let read = Reader::new(dir.path()).why(&web(), None, 1);
        set(0o700);
        assert_eq!(read.unwrap().entries.len(), 1);
        // Root may write everywhere, so the way without permission is also gone directly.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(as_uri(&file(dir.path())), flags).unwrap();
        assert_eq!(stored_runs(&connection, VERSION, &web(), None, 99).unwrap().len(), 10);
    }

    #[test]
    fn a_word_of_another_version_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let connection = Connection::open(file(dir.path())).unwrap();
        connection.execute_batch("UPDATE events SET event = 'teleported' WHERE seq = 20; UPDATE runs SET cause = 'moon' WHERE run = 5; UPDATE runs SET evidence = '{' WHERE run = 4").unwrap();
        let reader = Reader::new(dir.path());
        assert_eq!(seqs(&reader.events(&EventQuery { limit: 2, ..EventQuery::default() }).unwrap()), [19]);
        assert!(reader.why(&web(), None, 99).unwrap().entries.iter().all(|entry| entry.run.unwrap().0 <= 3));
        let _: Vec<RunRecord> = stored_runs(&connection, VERSION, &web(), Some(1), 99).unwrap();
    }
}
