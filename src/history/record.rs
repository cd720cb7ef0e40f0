//! Takes events, ends of runs and readings of usage and sees that they get written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::history::backlog::Backlog;
use crate::history::query::Reader;
use crate::history::run::RunRecord;
use crate::history::store::{Marks, Store};
use crate::history::usage::gather::Gather;
use crate::history::{file, write};
use crate::model::event::EventRecord;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::HistoryPlan;
use crate::model::units::Now;
use crate::model::usage::Sample;

/// How long dropping a [`Recorder`] waits for its writer.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way into the history. Reporting never waits for the disk: at most 8,192 events and 1,024 ends queue for the
/// one writer thread; while the disk does not work the latest 1,000 and 200 are kept, and written once it does.
/// What is beyond these bounds is dropped, the oldest first, and counted.
///
/// Usage is gathered into rows of 10 s, which are written once a minute. At most 40,000 of them wait, 10,000 while the
/// disk does not work; they have room of their own, and what is beyond is dropped and shows as a gap.
#[derive(Debug)]
pub struct Recorder {
    backlog: Arc<Backlog>,
    gather: Arc<Mutex<Gather>>,
    marks: Marks,
    reader: Reader,
}

impl Recorder {
    /// Opens the history in the state folder `dir` and reads where numbering goes on.
    ///
    /// Never fails: without a usable disk it keeps what comes in memory, and [`Self::trouble`] says so. A damaged file
    /// is set aside as `history.db.corrupt-<unix time>`; one of a newer everup is left alone.
    pub fn open(dir: &Path) -> Self {
        let path = file(dir);
        let (backlog, gather) = (Arc::new(Backlog::default()), Arc::default());
        let opened = Store::open(&path).and_then(|store| Ok((store.marks()?, store)));
        let (marks, store) = match opened {
            Ok((marks, store)) => (marks, Some(store)),
            Err(error) => {
                let reason = write::explain(&error);
                tracing::warn!("the history is kept in memory for now: {reason}");
                backlog.failed(reason, Duration::ZERO);
                (Store::glance(&path), None)
            }
        };
        let writer = Arc::clone(&backlog);
        let reader = Reader::beside(path.clone(), Arc::clone(&backlog), Arc::clone(&gather));
        let started = std::thread::Builder::new()
            .name("history".to_owned())
            .stack_size(256 << 10)
            .spawn(move || write::run(&writer, &path, store));
        if let Err(error) = started {
            backlog.failed(format!("cannot start the thread that writes: {error}"), Duration::ZERO);
            backlog.ended();
        }
        backlog.settle_up_to(marks.last_seq);
        Self { backlog, gather, marks, reader }
    }

    /// Takes an event; numbers ascend. One that was written before, by an earlier recorder too, is kept once.
    pub fn event(&self, event: impl Into<Arc<EventRecord>>) {
        self.backlog.event(event.into());
    }

    /// Takes an end of a run, of which the first is kept, and gives it back as it is kept; where it was read, how its use of resources went is added.
    pub fn run(&self, mut record: RunRecord) -> Arc<RunRecord> {
        if let Some(run) = record.run {
            record.trend = self.gathered().trend(&record.instance, run).or(record.trend);
        }
        let record = Arc::new(record);
        self.backlog.run(record.clone());
        record
    }

    /// Takes one reading of all that runs.
    pub fn usage(&self, now: Now, samples: &[Sample]) {
        let complete = self.gathered().take(now, samples);
        self.backlog.rows(complete, now.wall);
    }

    /// From now on this is kept for that long.
    pub fn keep(&self, plan: &HistoryPlan) {
        self.backlog.keep(plan.clone());
    }

    fn gathered(&self) -> MutexGuard<'_, Gather> {
        self.gather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the latest event when this was opened; 0 where there was none.
    pub fn last_seq(&self) -> u64 {
        self.marks.last_seq
    }

    /// The highest number of an event that is in the file, or was dropped: nobody needs to keep it elsewhere any more.
    pub fn written_seq(&self) -> u64 {
        self.backlog.settled_seq()
    }

    /// Which of these runs have their end in the file; none of them where it cannot be read. Waits for the disk: for the
    /// time before the loop begins.
    pub fn ended(&self, runs: &[(InstanceId, Run)]) -> Vec<bool> {
        self.reader.ended(runs).unwrap_or_else(|error| {
            tracing::warn!(%error, "what has ended already is not known: it may be told again");
            vec![false; runs.len()]
        })
    }

    /// The latest run of every instance ever started, when this was opened.
    pub fn last_runs(&self) -> &BTreeMap<InstanceId, Run> {
        &self.marks.last_runs
    }

    /// Waits until all is written, a fresh attempt failed, or `limit` has passed, and says whether all is written.
    /// For shutdown; the one call here that waits for the disk.
    pub fn flush(&self, limit: Duration) -> bool {
        self.finish();
        self.backlog.flush(limit)
    }

    /// Hands over the rows that are not complete: nothing follows.
    fn finish(&self) {
        let rows = self.gathered().finish();
        self.backlog.last_rows(rows);
    }

    /// Why things are not written now, for the warning `not_persisted`; none while they are.
    pub fn trouble(&self) -> Option<String> {
        self.backlog.trouble()
    }

    /// How many events and ends were dropped unwritten since this was opened.
    pub fn lost(&self) -> u64 {
        self.backlog.lost()
    }

    /// Answers questions, also about what is not on the disk.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

/// Writes what waits; gives a disk that does not answer a second.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
        self.backlog.close(FAREWELL);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::history::query::EventQuery;
    use crate::history::samples::{DAY_MS, event, run, web};
    use crate::model::event::EventWord;
    use crate::model::units::Timestamp;
    use crate::model::why::WhyEntry;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn set_aside(dir: &Path) -> Vec<PathBuf> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let number = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_prefix("history.db.corrupt-")?.to_owned());
        names.filter(|path| number(path).is_some_and(|number| number.parse::<u64>().is_ok())).collect()
    }

    fn bare(seq: u64) -> EventRecord {
        EventRecord {
            service: None,
            instance: None,
            run: None,
            cause: None,
            certainty: None,
            code: None,
            signal: None,
            pid: None,
            ran_ms: None,
            delay_ms: None,
            message: None,
            event: EventWord::ConfigApplied,
            ..event(seq)
        }
    }

    #[test]
    fn what_was_reported_reads_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let waits = RunRecord { run: None, started: None, ran_ms: None, signal: None, then: None, ..run(1, 2) };
        let ended = RunRecord { code: Some(0), ..run(1, 1) };
        {
            let recorder = Recorder::open(dir.path());
            recorder.event(event(1));
            recorder.event(Arc::new(bare(2)));
            recorder.run(ended.clone());
            recorder.run(waits.clone());
            assert!(recorder.flush(PATIENCE));
            assert_eq!(recorder.trouble(), None);
        }
        let reader = Reader::new(dir.path());
        assert_eq!(reader.events(&EventQuery::default()).unwrap(), [event(1), bare(2)]);
        assert_eq!(reader.why(&web(), None, 9).unwrap().entries, [WhyEntry::from(waits), ended.into()]);
    }

    #[test]
    fn numbering_goes_on_after_reopening_also_for_runs_that_have_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let web = |index| InstanceId { service: web(), index };
        {
            let recorder = Recorder::open(dir.path());
            assert_eq!((recorder.last_seq(), recorder.last_runs().len()), (0, 0));
            recorder.event(EventRecord { event: EventWord::Starting, ..event(7) });
            recorder.event(EventRecord { instance: Some("web/2".to_owned()), run: Some(Run(3)), ..event(8) });
            recorder.run(run(2, 4));
            recorder.run(run(3, 1));
        }
        let recorder = Recorder::open(dir.path());
        assert_eq!(recorder.last_seq(), 8);
        assert_eq!(recorder.last_runs(), &BTreeMap::from([(web(1), Run(7)), (web(2), Run(4)), (web(3), Run(1))]));
    }

    #[test]
    fn what_is_handed_over_again_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let later = RunRecord { ended: Timestamp(run(1, 1).ended.0 + 5_000), ..run(1, 1) };
        let waits = RunRecord { run: None, ..run(1, 0) };
        {
            let recorder = Recorder::open(dir.path());
            (1..=3).for_each(|seq| recorder.event(event(seq)));
            for record in [run(1, 1), waits.clone(), waits.clone(), run(2, 1)] {
                recorder.run(record);
            }
        }
        let recorder = Recorder::open(dir.path());
        (2..=5).for_each(|seq| recorder.event(event(seq)));
        // Its end is derived anew, at another time.
        recorder.run(later.clone());
        recorder.run(run(1, 2));
        let ends = |reader: &Reader| reader.why(&web(), Some(1), 9).unwrap().entries;
        let written: [WhyEntry; 4] = [run(1, 2).into(), waits.clone().into(), waits.into(), run(1, 1).into()];
        assert_eq!(ends(&recorder.reader()).len(), 4, "also while it waits to be written");
        assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
        assert_eq!(ends(&recorder.reader()), written, "the first stays");
        let all = recorder.reader().events(&EventQuery::default()).unwrap();
        assert_eq!(all, (1..=5).map(event).collect::<Vec<_>>());
        // A number that began anew is another event.
        recorder.event(EventRecord { at: Timestamp(1), ..event(5) });
        assert!(recorder.flush(PATIENCE));
        assert_eq!(recorder.reader().events(&EventQuery::default()).unwrap().len(), 6);
    }

    #[test]
    fn a_file_of_version_2_with_duplicates_goes_on_without_them() {
        let dir = tempfile::tempdir().unwrap();
        {
            let recorder = Recorder::open(dir.path());
            (1..=3).for_each(|seq| recorder.event(event(seq)));
            recorder.run(run(1, 1));
            recorder.run(RunRecord { run: None, ..run(1, 9) });
        }
        let old = rusqlite::Connection::open(file(dir.path())).unwrap();
        old.execute_batch(
            "PRAGMA user_version = 2; DROP INDEX events_once; DROP INDEX runs_once; CREATE INDEX events_seq ON events (seq);
             CREATE TEMP TABLE e AS SELECT * FROM events; UPDATE e SET id = NULL; INSERT INTO events SELECT * FROM e;
             CREATE TEMP TABLE r AS SELECT * FROM runs; UPDATE r SET id = NULL, code = 77;
             INSERT INTO runs SELECT * FROM r",
        )
        .unwrap();
        drop(old);
        let recorder = Recorder::open(dir.path());
        assert_eq!((recorder.trouble(), recorder.last_seq()), (None, 3));
        recorder.event(event(3));
        recorder.event(event(4));
        assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
        let all = recorder.reader().events(&EventQuery::default()).unwrap();
        assert_eq!(all, (1..=4).map(event).collect::<Vec<_>>());
        let ends = recorder.reader().why(&web(), None, 9).unwrap().entries;
        let ends: Vec<_> = ends.iter().map(|end| (end.run, end.code)).collect();
        assert_eq!(ends, [(None, Some(77)), (Some(Run(1)), Some(77)), (None, None)], "the newest of a run stays");
    }

    #[test]
    fn what_is_written_or_lost_needs_to_be_kept_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let id = |index| InstanceId { service: web(), index };
        {
            let recorder = Recorder::open(&dir.path().join("later"));
            (1..=1_500).for_each(|seq| recorder.event(event(seq)));
            recorder.run(run(1, 4));
            assert!(!recorder.flush(PATIENCE));
            assert_eq!((recorder.lost(), recorder.written_seq()), (500, 500));
            assert_eq!(recorder.ended(&[(id(1), Run(4)), (id(1), Run(5))]), [true, false], "one waits");
            std::fs::create_dir(dir.path().join("later")).unwrap();
            assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
            assert_eq!(recorder.written_seq(), 1_500);
        }
        let recorder = Recorder::open(&dir.path().join("later"));
        assert_eq!(recorder.written_seq(), 1_500);
        let asked = [(id(1), Run(5)), (id(1), Run(4)), (id(2), Run(4))];
        assert_eq!(recorder.ended(&asked), [false, true, false]);
        assert_eq!(Recorder::open(&dir.path().join("empty")).ended(&asked), [false; 3]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_fresh_one_begun() {
        let garbage = |path: &Path| std::fs::write(path, "no database at all ".repeat(1_000)).unwrap();
        let cut = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(4_096 + 100).unwrap();
        let damages: [&dyn Fn(&Path); 2] = [&garbage, &cut];
        for (case, damage) in damages.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            {
                let recorder = Recorder::open(dir.path());
                (1..=500).for_each(|seq| recorder.event(event(seq)));
                assert!(recorder.flush(PATIENCE));
            }
            damage(&file(dir.path()));
            let recorder = Recorder::open(dir.path());
            assert_eq!(recorder.trouble(), None, "{case}");
            recorder.event(event(900));
            assert!(recorder.flush(PATIENCE), "{case}");
            assert_eq!(recorder.reader().events(&EventQuery::default()).unwrap(), [event(900)], "{case}");
            assert_eq!(set_aside(dir.path()).len(), 1, "{case}");
        }
    }

    #[test]
    fn damage_found_while_writing_loses_nothing_that_is_still_to_be_written() {
        let dir = tempfile::tempdir().unwrap();
        drop(Recorder::open(dir.path()));
        let recorder = Recorder::open(dir.path());
        recorder.event(event(1));
        assert!(recorder.flush(PATIENCE));
        // A table in the way of its own index: SQLite calls a schema like that malformed.
        let other = rusqlite::Connection::open(file(dir.path())).unwrap();
        other.execute_batch("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE nonsense' WHERE name='events'; PRAGMA schema_version=99").unwrap();
        drop(other);
        recorder.event(event(2));
        assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
        assert_eq!(recorder.reader().events(&EventQuery::default()).unwrap(), [event(2)]);
        assert_eq!(set_aside(dir.path()).len(), 1);
    }

    #[test]
    fn a_disk_that_does_not_work_is_said_answered_from_memory_and_recovered_from() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(&dir.path().join("later"));
        assert!(recorder.trouble().unwrap().contains("history.db"), "{:?}", recorder.trouble());
        for seq in 1..=1_500 {
            recorder.event(event(seq));
            recorder.run(run(1, seq));
        }
        assert!(!recorder.flush(PATIENCE));
        assert_eq!(recorder.lost(), 500 + 1_300);
        let kept: Vec<u64> =
            recorder.reader().events(&EventQuery::default()).unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(kept, (501..=1_500).collect::<Vec<_>>());
        assert_eq!(recorder.reader().why(&web(), None, 9_999).unwrap().entries.len(), 200);

        std::fs::create_dir(dir.path().join("later")).unwrap();
        assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
        assert_eq!(recorder.trouble(), None);
        let stored = Reader::new(dir.path().join("later")).events(&EventQuery::default()).unwrap();
        assert_eq!((stored.len(), stored.last()), (1_000, Some(&event(1_500))));
    }

    #[test]
    fn a_file_that_somebody_deletes_or_moves_is_made_anew() {
        for deleted in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let recorder = Recorder::open(dir.path());
            recorder.event(event(1));
            assert!(recorder.flush(PATIENCE));
            let path = file(dir.path());
            let away =
                if deleted { std::fs::remove_file(&path) } else { std::fs::rename(&path, path.with_extension("old")) };
            away.unwrap();
            recorder.event(event(2));
            assert!(recorder.flush(PATIENCE), "{deleted}: {:?}", recorder.trouble());
            assert_eq!(Reader::new(dir.path()).events(&EventQuery::default()).unwrap(), [event(2)], "{deleted}");
        }
    }

    #[test]
    fn a_folder_where_the_file_should_be_and_a_folder_without_permission_are_trouble_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(file(dir.path())).unwrap();
        let recorder = Recorder::open(dir.path());
        recorder.run(run(1, 1));
        assert!(!recorder.flush(PATIENCE));
        assert!(recorder.trouble().is_some());
        assert_eq!(recorder.reader().why(&web(), None, 1).unwrap().entries, [run(1, 1).into()]);

        let locked = dir.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();
        let recorder = Recorder::open(&locked);
        recorder.run(run(1, 1));
        // Root may write all the same.
        assert_eq!(recorder.flush(PATIENCE), recorder.trouble().is_none());
        assert_eq!(recorder.reader().why(&web(), None, 1).unwrap().entries.len(), 1);
    }

    #[test]
    fn a_file_of_a_newer_everup_is_left_alone_and_its_numbering_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        {
            let recorder = Recorder::open(dir.path());
            recorder.event(event(41));
            assert!(recorder.flush(PATIENCE));
        }
        rusqlite::Connection::open(file(dir.path())).unwrap().pragma_update(None, "user_version", 7).unwrap();
        let before = std::fs::read(file(dir.path())).unwrap();
        let recorder = Recorder::open(dir.path());
        assert!(recorder.trouble().unwrap().contains("newer"), "{:?}", recorder.trouble());
        assert_eq!(recorder.last_seq(), 41);
        recorder.event(event(42));
        assert!(!recorder.flush(PATIENCE));
        assert_eq!(recorder.reader().events(&EventQuery::default()).unwrap(), [event(42)]);
        drop(recorder);
        assert_eq!(std::fs::read(file(dir.path())).unwrap(), before);
    }

    #[test]
    fn a_stalled_disk_holds_nobody_up_and_what_does_not_fit_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(dir.path());
        // Another connection's lock stands for the disk that does not answer.
        let lock = rusqlite::Connection::open(file(dir.path())).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let begun = tokio::time::Instant::now();
        for seq in 1..=20_000 {
            recorder.event(event(seq));
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        assert!(!recorder.flush(PATIENCE));
        assert!(recorder.lost() > 0);
        let told = recorder.trouble().unwrap();
        assert!(told.contains("lost"), "{told}");
        lock.execute_batch("ROLLBACK").unwrap();
        assert!(recorder.flush(PATIENCE));
        assert_eq!(
            Reader::new(dir.path()).events(&EventQuery::default()).unwrap().len() as u64 + recorder.lost(),
            20_000
        );
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten_but_never_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let late = |seq: u64, days: i64| EventRecord { at: Timestamp(event(seq).at.0 + days * DAY_MS), ..event(seq) };
        let recorder = Recorder::open(dir.path());
        (1..=1_000).for_each(|seq| recorder.event(event(seq)));
        recorder.run(run(1, 1));
        assert!(recorder.flush(PATIENCE));
        (1_001..=2_500).for_each(|seq| recorder.event(late(seq, 91)));
        assert!(recorder.flush(PATIENCE));
        recorder.event(late(2_501, 91));
        (0..1_000).for_each(|more| recorder.event(late(2_502 + more, 91)));
        assert!(recorder.flush(PATIENCE));
        let stored = Reader::new(dir.path()).events(&EventQuery::default()).unwrap();
        assert_eq!(stored.first().map(|event| event.seq), Some(1_001));
        assert_eq!(Reader::new(dir.path()).why(&web(), None, 9).unwrap().entries.len(), 1);
    }
}
