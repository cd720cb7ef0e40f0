use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::history::file;
use crate::history::query::{EventQuery, Reader, UsageQuery};
use crate::history::record::Recorder;
use crate::history::samples::{event, run, web};
use crate::history::store::{Batch, Store};
use crate::history::usage::gather::Gather;
use crate::history::usage::query::usual_step;
use crate::model::history::{HistoryReport, Metric};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::HistoryPlan;
use crate::model::units::{Moment, Now, Timestamp};
use crate::model::usage::{Sample, Usage};

const PATIENCE: Duration = Duration::from_secs(10);
/// A full hour: 2025-11-20T10:00:00Z.
const START: i64 = 1_763_632_800;
const MIB: u64 = 1 << 20;

/// So many seconds after the start, by both clocks.
fn now(second: i64) -> Now {
    Now { moment: Moment(u64::try_from(second + 1_000_000).unwrap() * 1_000), wall: wall(second) }
}

fn wall(second: i64) -> Timestamp {
    Timestamp((START + second) * 1_000)
}

fn sample(service: &str, run: u64, usage: Usage) -> Sample {
    Sample {
        instance: InstanceId { service: ServiceName::new(service).unwrap(), index: 1 },
        label: service.to_owned(),
        run: Run(run),
        at: Timestamp(0),
        usage,
        probe_ms: None,
    }
}

/// Of a program that takes so many milliseconds of CPU a second and grows by 1 MiB a second.
fn usual(second: i64, cpu_ms: u64) -> Usage {
    let second = u64::try_from(second).unwrap();
    Usage {
        cpu_user_us: second * cpu_ms * 1_000,
        memory_bytes: (100 + second) * MIB,
        processes: 1,
        threads: 4,
        open_fds: 12,
        read_bytes: Some(second * 4_096),
        written_bytes: Some(0),
        voluntary_switches: second * 3,
        minor_faults: second,
        ..Usage::default()
    }
}

/// Writes what `at` tells, read every `every` seconds, as the recorder would; the last rows are not complete.
fn fill(
    store: &mut Store,
    plan: &HistoryPlan,
    seconds: std::ops::Range<i64>,
    every: usize,
    at: impl Fn(i64) -> Vec<Sample>,
) {
    let mut gather = Gather::default();
    let mut rows = vec![];
    let mut minute = None;
    for second in seconds.step_by(every) {
        rows.extend(gather.take(now(second), &at(second)));
        if minute.replace(second / 60).is_some_and(|before| before != second / 60) {
            write(store, plan, std::mem::take(&mut rows), second);
        }
    }
}

fn write(store: &mut Store, plan: &HistoryPlan, rows: Vec<super::Row>, second: i64) {
    let batch = Batch { rows: vec![rows.into()], read_at: wall(second), plan: plan.clone(), ..Batch::default() };
    store.write(&batch).unwrap();
}

fn usage(reader: &Reader, since: i64, until: i64, step: Option<u64>) -> HistoryReport {
    let query = UsageQuery {
        service: web(),
        index: None,
        since: wall(since),
        until: wall(until),
        step: step.map(Duration::from_secs),
        metrics: vec![],
    };
    reader.usage(&query).unwrap()
}

fn count(dir: &Path, table: &str) -> i64 {
    let connection = Connection::open(file(dir)).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn readings_become_rows_of_ten_seconds() {
    let mut gather = Gather::default();
    let mut take = |second: i64, cpu_us: u64, probe_ms: Option<f64>| {
        let usage = Usage { cpu_user_us: cpu_us, ..usual(second, 0) };
        gather.take(now(second), &[Sample { probe_ms, ..sample("web", 1, usage) }])
    };
    assert_eq!(take(3, 1_000_000, None), []);
    assert_eq!(take(8, 1_500_000, Some(2.0)), []);
    let first = take(13, 1_500_000, None);
    // Half a second in five; what else is counted counts from the start of the run.
    assert_eq!((first.len(), first[0].cpu_percent, first[0].probe_ms), (1, Some(10.0), Some(2.0)));
    assert_eq!((first[0].memory_bytes, first[0].switches, first[0].read_bytes), (108 * MIB, 24, 8 * 4_096));
    assert_eq!(take(14, 1_600_000, Some(4.0)), []);
    assert_eq!(take(18, 2_500_000, Some(8.0)), []);
    let second = take(25, 2_500_000, None);
    // From the last reading of the row before: a second in ten.
    assert_eq!((second[0].cpu_percent, second[0].probe_ms), (Some(10.0), Some(6.0)));
    assert_eq!((second[0].slot, second[0].switches), (first[0].slot + 1, 30));
    // A run that is gone has no further row.
    assert_eq!(gather.take(now(31), &[]).len(), 1);
    assert_eq!((gather.take(now(41), &[]), gather.open()), (vec![], vec![]));
}

#[test]
fn a_seldom_reading_makes_a_row_each_and_one_reading_alone_has_no_cpu() {
    let mut gather = Gather::default();
    let rows: Vec<_> =
        (0..4).flat_map(|turn| gather.take(now(turn * 30), &[sample("web", 1, usual(turn * 30, 200))])).collect();
    let told: Vec<_> = rows.iter().map(|row| (row.slot - rows[0].slot, row.cpu_percent)).collect();
    assert_eq!(told, [(0, None), (3, Some(20.0)), (6, Some(20.0))]);
}

#[test]
fn a_clock_that_is_set_back_overwrites_nothing_and_makes_no_negative_figure() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    let plan = HistoryPlan::default();
    let mut gather = Gather::default();
    let mut rows = vec![];
    for turn in 0..30_i64 {
        // After a minute the time of day is forty seconds earlier; the other clock goes on.
        let shown = if turn < 12 { turn * 5 } else { turn * 5 - 40 };
        let at = Now { moment: now(turn * 5).moment, wall: wall(shown) };
        rows.extend(gather.take(at, &[sample("web", 1, usual(turn * 5, 300))]));
    }
    assert!(rows.iter().all(|row| row.cpu_percent.is_none_or(|percent| (percent - 30.0).abs() < 0.01)), "{rows:?}");
    let total: u64 = rows.iter().map(|row| row.switches).sum();
    let written = rows.len();
    write(&mut store, &plan, rows, 106);
    assert_eq!(usize::try_from(count(dir.path(), "usage")).unwrap(), written);
    let connection = Connection::open(file(dir.path())).unwrap();
    let (sum, tracks): (i64, i64) = connection
        .query_row("SELECT sum(switches), (SELECT count(*) FROM tracks) FROM usage", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((sum.unsigned_abs(), tracks), (total, 2));
    let report = usage(&Reader::new(dir.path()), 0, 200, Some(10));
    assert!(report.rows.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert_eq!(report.rows.iter().filter_map(|row| row.switches).sum::<u64>(), total);
}

#[test]
fn minutes_and_hours_are_made_of_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    // 10 % of a core and in the second half of each minute 40 %; the second run begins in the second hour.
    let at = |second: i64| {
        let run = if second < 5_400 { 1 } else { 2 };
        let own = u64::try_from(if run == 1 { second } else { second - 5_400 }).unwrap();
        let cpu_ms =
            (own / 60) * (30 * 100 + 30 * 400) + (own % 60).min(30) * 100 + (own % 60).saturating_sub(30) * 400;
        let usage = Usage { cpu_user_us: cpu_ms * 1_000, ..usual(second, 0) };
        vec![Sample {
            probe_ms: (second % 20 == 0).then_some(if second % 60 == 0 { 9.0 } else { 3.0 }),
            ..sample("web", run, usage)
        }]
    };
    fill(&mut store, &HistoryPlan::default(), 0..7_261, 5, at);
    let connection = Connection::open(file(dir.path())).unwrap();
    // Nothing is left out and nothing counted twice: every level has the same sums.
    for (coarse, fine) in [("usage_1m", "usage"), ("usage_1h", "usage_1m")] {
        let until = if coarse == "usage_1h" { "2025-11-20T12" } else { "2025-11-20T12:01" };
        for (column, run) in [("switches", 1), ("read_bytes", 1), ("faults", 2), ("read_bytes", 2)] {
            let sum = |view: &str| -> i64 {
                let sql = format!("SELECT sum({column}) FROM {view} WHERE time < ?1 AND run = ?2");
                connection.query_row(&sql, (until, run), |row| row.get(0)).unwrap()
            };
            assert_eq!(sum(coarse), sum(fine), "{column} of {coarse}");
        }
    }
    let row = |view: &str, time: &str, run: i64| -> [f64; 8] {
        let sql = format!(
            "SELECT cpu_percent, cpu_percent_min, cpu_percent_max, memory_bytes / 1048576.0, memory_bytes_min / 1048576.0, \
             memory_bytes_max / 1048576.0, probe_ms, probe_ms_max FROM {view} WHERE time = ?1 AND run = ?2"
        );
        let read = |row: &rusqlite::Row<'_>| {
            let mut all = [0.0; 8];
            all.iter_mut().enumerate().try_for_each(|(place, value)| row.get(place).map(|found| *value = found))?;
            Ok(all)
        };
        connection.query_row(&sql, (time, run), read).unwrap()
    };
    // Rows reach from reading to reading: 10:05:00 to :05, :15, … the last one 5 s after the change.
    let minute = row("usage_1m", "2025-11-20T10:05:00Z", 1);
    assert_eq!(minute[..3], [25.0, 10.0, 40.0]);
    assert_eq!(minute[3..], [430.0, 405.0, 455.0, 5.0, 9.0]);
    let hour = row("usage_1h", "2025-11-20T10:00:00Z", 1);
    assert_eq!((hour[0].round(), hour[1], hour[2]), (25.0, 10.0, 40.0));
    assert_eq!((hour[4], hour[5], hour[7]), (105.0, 3_695.0, 9.0));
    assert_eq!(count(dir.path(), "usage_1h"), 3);
    assert_eq!(count(dir.path(), "usage_1m"), 121);
    // The means are those of the rows, also where a minute has few of them.
    let fine: f64 = connection
        .query_row("SELECT avg(memory_bytes) FROM usage WHERE run = 2 AND time < '2025-11-20T12'", [], |row| row.get(0))
        .unwrap();
    let coarse: f64 =
        connection.query_row("SELECT memory_bytes FROM usage_1h WHERE run = 2", [], |row| row.get(0)).unwrap();
    assert!((fine - coarse).abs() < 8_192.0, "{fine} {coarse}");
}

#[test]
fn a_crash_in_the_middle_of_a_minute_leaves_no_gap_and_counts_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let plan = HistoryPlan::default();
    let mut gather = Gather::default();
    let mut rows = vec![];
    for second in (0..=130).step_by(5) {
        rows.extend(gather.take(now(second), &[sample("web", 1, usual(second, 100))]));
    }
    assert_eq!(rows.len(), 13);
    // Written with an event in the middle of the minute; then everup is killed, and again before the next is rolled up.
    for (part, second) in [(0..2, 25), (2..3, 35), (3..9, 95), (9..13, 125)] {
        let mut store = Store::open(&file(dir.path())).unwrap();
        write(&mut store, &plan, rows[part].to_vec(), second);
        std::mem::forget(store);
    }
    let connection = Connection::open(file(dir.path())).unwrap();
    let minutes: Vec<(String, i64)> = connection
        .prepare("SELECT time, switches FROM usage_1m ORDER BY time")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [("2025-11-20T10:00:00Z", 3 * 55), ("2025-11-20T10:01:00Z", 3 * 60)];
    assert_eq!(minutes.iter().map(|(time, sum)| (time.as_str(), *sum)).collect::<Vec<_>>(), expected);
}

#[test]
fn each_level_is_forgotten_in_its_time_and_none_is_kept_longer_than_asked_for() {
    for (keep, [ten, minute, hour]) in [
        (Duration::from_secs(400 * 86_400), [48 * 360, 60 * 71 + 1, 71]),
        (Duration::from_secs(2 * 3_600), [2 * 360, 120, 2]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&file(dir.path())).unwrap();
        let plan = HistoryPlan { keep, ..HistoryPlan::default() };
        // Every 10 s for 71 hours and a minute.
        fill(&mut store, &plan, 0..71 * 3_600 + 61, 10, |second| vec![sample("web", 1, usual(second / 100, 1))]);
        let about = |table: &str, expected: i64| {
            let found = count(dir.path(), table);
            assert!((found - expected).abs() <= 7, "{table}: {found}, expected {expected}");
        };
        about("usage", ten);
        about("usage_1m", minute);
        about("usage_1h", hour);
        assert_eq!(count(dir.path(), "tracks"), 1);
    }
}

#[test]
fn runs_that_are_forgotten_leave_no_track() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    let plan = HistoryPlan { keep: Duration::from_secs(3_600), ..HistoryPlan::default() };
    fill(&mut store, &plan, 0..6 * 3_600, 10, |second| {
        vec![sample("web", u64::try_from(second / 600).unwrap(), usual(second, 1))]
    });
    let tracks = count(dir.path(), "tracks");
    assert!((6..=24).contains(&tracks), "{tracks}");
    assert_eq!(count(dir.path(), "rows_10s"), count(dir.path(), "usage"));
}

#[test]
fn a_file_that_is_too_large_shrinks_and_the_oldest_finest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let mut store = Store::open(&path).unwrap();
    let size = || std::fs::metadata(&path).unwrap().len();
    let many = |second: i64| (1..=50).map(|run| sample("web", run, usual(second / 100, run))).collect::<Vec<_>>();
    let large = HistoryPlan::default();
    fill(&mut store, &large, 0..7_261, 10, many);
    let (before, minutes) = (size(), count(dir.path(), "rows_1m"));
    assert!(before > 900_000, "{before}");
    let small = HistoryPlan { max_size: 500_000, ..large };
    fill(&mut store, &small, 7_320..7_500, 10, many);
    let wal = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    assert!(wal <= 3 << 20, "{wal}");
    store.checkpoint();
    assert!(size() <= 500_000, "{} of {before}", size());
    assert_eq!(count(dir.path(), "rows_1m"), minutes + 50 * 2);
    let connection = Connection::open(&path).unwrap();
    let oldest: String = connection.query_row("SELECT min(time) FROM usage", [], |row| row.get(0)).unwrap();
    assert!(oldest.as_str() > "2025-11-20T11", "{oldest}");
    drop(connection);

    // Even less: all usage goes, then events, of which some stay in any case.
    let events = (1..=3_000).map(|seq| event(seq).into()).collect();
    store.write(&Batch { events, read_at: wall(7_500), plan: small.clone(), ..Batch::default() }).unwrap();
    let tiny = HistoryPlan { max_size: 1, ..small };
    fill(&mut store, &tiny, 7_560..7_700, 10, many);
    assert_eq!((count(dir.path(), "rows_1h"), count(dir.path(), "events")), (0, 1_000));
}

#[test]
fn a_file_of_version_1_goes_on_and_is_read_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let old = Connection::open(file(dir.path())).unwrap();
    old.execute_batch(crate::history::store::STEPS[0]).unwrap();
    old.execute_batch(
        "PRAGMA user_version = 1; INSERT INTO runs VALUES (1, 'web', 1, 'web', 1, NULL, 1763632800000, 'exit', 'certain', 1, NULL, 9, \
         '[]', '[]', '[]', NULL)",
    )
    .unwrap();
    drop(old);
    let reader = Reader::new(dir.path());
    let told = |reader: &Reader| {
        reader.why(&web(), None, 9).unwrap().entries.iter().map(|e| e.trend.is_some()).collect::<Vec<_>>()
    };
    assert_eq!((told(&reader), usage(&reader, 0, 60, None).rows), (vec![false], vec![]));
    let recorder = Recorder::open(dir.path());
    recorder.run(run(1, 2));
    recorder.usage(now(1), &[sample("web", 1, usual(1, 1))]);
    assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
    assert_eq!((told(&reader), usage(&reader, 0, 60, None).rows.len()), (vec![true, false], 1));
}

#[test]
fn a_service_that_started_just_now_has_a_row_already_and_later_the_same_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path());
    recorder.usage(now(1), &[sample("web", 1, usual(1, 500)), sample("db", 1, usual(1, 1))]);
    recorder.usage(now(6), &[sample("web", 1, usual(6, 500))]);
    let report = usage(&recorder.reader(), -3_600, 6, None);
    assert_eq!((report.step_s, report.rows.len()), (10, 1));
    let row = &report.rows[0];
    assert_eq!((row.cpu_percent, row.memory_bytes, row.memory_bytes_max), (Some(50.0), Some(106 * MIB), None));
    assert_eq!((row.at, row.instance.as_str(), row.run), (wall(0), "web", Run(1)));
    for second in (11..100).step_by(5) {
        recorder.usage(now(second), &[sample("web", 1, usual(second, 500))]);
    }
    let told = usage(&recorder.reader(), -3_600, 100, None);
    assert_eq!(told.rows.len(), 10);
    assert!(told.rows.iter().all(|row| row.cpu_percent == Some(50.0)));
    assert!(recorder.flush(PATIENCE));
    assert_eq!(usage(&Reader::new(dir.path()), -3_600, 100, None).rows, told.rows);
    // Coarser than what is rolled up: made from what there is.
    for (step, rows) in [(60, 2), (3_600, 1), (20, 5), (65, 2)] {
        let coarse = usage(&Reader::new(dir.path()), -3_600, 100, Some(step));
        assert_eq!((coarse.rows.len(), coarse.step_s), (rows, step.div_ceil(10) * 10));
        assert_eq!(coarse.rows.iter().filter_map(|row| row.switches).sum::<u64>(), 96 * 3, "{step}");
        assert_eq!(coarse.rows.last().unwrap().memory_bytes_max, Some(196 * MIB), "{step}");
    }
}

#[test]
fn the_step_fits_the_time_asked_for_and_gaps_are_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    let plan = HistoryPlan::default();
    fill(&mut store, &plan, 0..7_201, 10, |second| vec![sample("web", 1, usual(second, 100))]);
    fill(&mut store, &plan, 10_800..14_461, 10, |second| vec![sample("web", 2, usual(second, 100))]);
    let reader = Reader::new(dir.path());
    for (since, until, step) in
        [(0, 7_200, 10), (0, 14_400, 10), (0, 8 * 3_600, 20), (-86_400, 14_400, 60), (-90 * 86_400, 14_400, 7_200)]
    {
        let report = usage(&reader, since, until, None);
        assert_eq!(report.step_s, step, "{since}..{until}");
        assert!(report.rows.len() <= 2_000);
    }
    let report = usage(&reader, 0, 14_400, Some(600));
    let told: Vec<_> = report.rows.iter().map(|row| ((row.at.0 / 1_000 - START) / 600, row.run.0)).collect();
    let expected: Vec<_> = (0..12).map(|at| (at, 1)).chain((18..25).map(|at| (at, 2))).collect();
    assert_eq!(told, expected);
    // A year in rows of ten seconds is more than anybody reads.
    assert_eq!(usage(&reader, -365 * 86_400, 0, Some(10)).step_s, 1_800);
    for (least, step) in [(0, 10), (11, 20), (61, 120), (604_800, 604_800), (604_801, 2 * 604_800)] {
        assert_eq!(usual_step(least), step);
    }
}

#[test]
fn where_the_finest_rows_are_forgotten_coarser_ones_tell() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    fill(&mut store, &HistoryPlan::default(), 0..3_661, 10, |second| vec![sample("web", 1, usual(second, 100))]);
    let connection = Connection::open(file(dir.path())).unwrap();
    connection.execute_batch("DELETE FROM rows_10s WHERE id < (SELECT max(id) FROM rows_10s) - (60 << 18)").unwrap();
    let reader = Reader::new(dir.path());
    assert_eq!((usage(&reader, 0, 3_600, None).step_s, usage(&reader, 3_300, 3_600, None).step_s), (60, 10));
    assert_eq!(usage(&reader, 0, 3_600, None).rows.len(), 61);
}

#[test]
fn usage_that_is_read_seldom_has_no_gaps_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    fill(&mut store, &HistoryPlan::default(), 0..601, 45, |second| vec![sample("web", 1, usual(second, 100))]);
    let report = usage(&Reader::new(dir.path()), 0, 600, None);
    assert_eq!((report.step_s, report.rows.len()), (60, 9));
}

#[test]
fn only_what_is_asked_for_is_told_and_of_one_instance_alone() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path());
    let second = Sample {
        instance: InstanceId { service: web(), index: 2 },
        label: "web/2".to_owned(),
        ..sample("web", 7, usual(1, 0))
    };
    recorder.usage(now(1), &[sample("web", 1, usual(1, 0)), second]);
    let query = UsageQuery {
        service: web(),
        index: Some(2),
        since: wall(0),
        until: wall(9),
        step: None,
        metrics: vec![Metric::Threads],
    };
    let report = recorder.reader().usage(&query).unwrap();
    let json = serde_json::to_value(&report.rows).unwrap();
    assert_eq!(json, serde_json::json!([{"at": wall(0), "instance": "web/2", "run": 7, "threads": 4}]));
}

#[test]
fn what_the_kernel_does_not_tell_is_left_out_and_not_zero() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path());
    let blind =
        Usage { read_bytes: None, written_bytes: None, io_wait_us: Some(2_500), swap_bytes: 8_192, ..usual(1, 0) };
    recorder.usage(now(1), &[sample("web", 1, blind)]);
    let told = |reader: Reader| {
        let row = usage(&reader, 0, 9, None).rows.remove(0);
        (row.read_bytes, row.written_bytes, row.io_wait_ms, row.swap_bytes)
    };
    assert_eq!(told(recorder.reader()), (None, None, Some(2.5), Some(8_192)));
    assert!(recorder.flush(PATIENCE));
    assert_eq!(told(Reader::new(dir.path())), (None, None, Some(2.5), Some(8_192)));
}

#[test]
fn usage_never_crowds_out_events_and_is_bounded_while_the_disk_does_not_work() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir.path().join("later"));
    recorder.event(event(1));
    recorder.run(run(1, 1));
    let samples: Vec<Sample> = (1..=100).map(|run| sample("web", run, usual(1, 1))).collect();
    for turn in 0..200 {
        recorder.usage(now(turn * 10), &samples);
    }
    assert!(!recorder.flush(PATIENCE));
    assert_eq!(recorder.lost(), 0);
    std::fs::create_dir(dir.path().join("later")).unwrap();
    assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
    let stored = dir.path().join("later");
    assert!((9_900..=10_100).contains(&count(&stored, "usage")), "{}", count(&stored, "usage"));
    let newest = usage(&Reader::new(&stored), 1_990, 2_000, None);
    assert_eq!((newest.rows.len(), count(&stored, "events"), count(&stored, "runs")), (100, 1, 1));
}

#[test]
fn damage_found_while_writing_loses_no_usage_that_is_still_to_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path());
    recorder.usage(now(1), &[sample("web", 1, usual(1, 1))]);
    recorder.event(event(1));
    assert!(recorder.flush(PATIENCE));
    let other = Connection::open(file(dir.path())).unwrap();
    other.execute_batch("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE nonsense' WHERE name='tracks'; PRAGMA schema_version=99").unwrap();
    drop(other);
    recorder.usage(now(61), &[sample("web", 1, usual(61, 1))]);
    assert!(recorder.flush(PATIENCE), "{:?}", recorder.trouble());
    assert_eq!(usage(&Reader::new(dir.path()), 0, 100, None).rows.len(), 1);
    assert_eq!(recorder.reader().events(&EventQuery::default()).unwrap(), []);
}

#[test]
fn the_end_of_a_run_carries_its_trend() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path());
    for second in (0..=120).step_by(5) {
        recorder.usage(now(second), &[sample("web", 3, usual(second, 70))]);
    }
    recorder.usage(now(125), &[]);
    recorder.run(run(1, 3));
    recorder.run(crate::history::run::RunRecord { trend: None, ..run(1, 4) });
    let entries = recorder.reader().why(&web(), None, 2).unwrap().entries;
    let trend = entries[1].trend.as_ref().unwrap();
    assert_eq!((trend.over_ms, trend.memory_start_bytes, trend.memory_end_bytes), (120_000, 110 * MIB, 220 * MIB));
    assert_eq!((trend.cpu_end_percent, trend.memory_bytes_per_minute), (Some(7.0), Some(60.0 * MIB as f64)));
    assert_eq!(entries[0].trend, None);
    assert!(recorder.flush(PATIENCE));
    assert_eq!(Reader::new(dir.path()).why(&web(), None, 2).unwrap().entries, entries);
}

/// What a day of 100 idle web apps costs. In a release build: `cargo test --release -- --ignored a_day --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_day_of_100_services() {
    let cpu = || Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&file(dir.path())).unwrap();
    let plan = HistoryPlan::default();
    let mut gather = Gather::default();
    let (mut gathering, mut writing, mut longest, mut minutes) = (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0);
    let mut dice = 42_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut all: Vec<Usage> = (0..100_u64)
        .map(|place| Usage {
            memory_bytes: (30 + place * 2) * MIB + roll(256) * 4_096,
            processes: if place % 10 == 0 { 5 } else { 1 },
            threads: if place % 10 == 0 { 9 } else { 1 + u32::try_from(place % 6).unwrap() },
            open_fds: 9 + u32::try_from(place % 40).unwrap(),
            read_bytes: Some(0),
            written_bytes: Some(0),
            io_wait_us: Some(0),
            ..Usage::default()
        })
        .collect();
    let mut rows = vec![];
    for second in (0..86_461).step_by(5) {
        let mut samples = vec![];
        for (place, usage) in all.iter_mut().enumerate() {
            // A probe each 10 s takes 8 to 20 ms of CPU (tornado, measured), nothing happens between them.
            let probed = second % 10 == 0;
            usage.cpu_user_us += if probed { 8_000 + roll(12) * 1_000 } else { roll(2) * 1_000 };
            usage.voluntary_switches += if probed { 12 + roll(10) } else { 2 };
            usage.minor_faults += if roll(8) == 0 { roll(6) } else { 0 };
            usage.memory_bytes += if roll(20) == 0 { roll(8) * 4_096 } else { 0 };
            usage.memory_bytes -= if roll(90) == 0 { roll(30) * 4_096 } else { 0 };
            usage.open_fds = if roll(30) == 0 {
                9 + u32::try_from(place % 40).unwrap() + u32::try_from(roll(2)).unwrap()
            } else {
                usage.open_fds
            };
            // One in ten writes to its own files now and then.
            let writes = place % 10 == 3 && roll(4) == 0;
            usage.written_bytes = usage.written_bytes.map(|bytes| bytes + if writes { 4_096 } else { 0 });
            let probe_ms = probed.then(|| 0.8 + roll(40) as f64 / 20.0);
            samples.push(Sample { probe_ms, ..sample(&format!("service-{place}"), 1, usage.clone()) });
        }
        let begun = cpu();
        rows.extend(gather.take(now(second), &samples));
        gathering += cpu().checked_sub(begun).unwrap();
        if second % 60 == 0 {
            let begun = cpu();
            write(&mut store, &plan, std::mem::take(&mut rows), second);
            let took = cpu().checked_sub(begun).unwrap();
            (writing, longest, minutes) = (writing + took, longest.max(took), minutes + 1);
        }
    }
    store.checkpoint();
    let size = std::fs::metadata(file(dir.path())).unwrap().len();
    println!("{:.2} MiB a day", size as f64 / MIB as f64);
    println!("gathering 100 samples: {:?}", gathering / (86_460 / 5));
    println!("writing a minute (600 rows, rolled up): {:?}, longest {longest:?}", writing / minutes);
    println!("so for 100 samples every 5 s: {:?}", gathering / (86_460 / 5) + writing / (86_460 / 5));
    let connection = Connection::open(file(dir.path())).unwrap();
    for (table, rows) in [("rows_10s", 864_000.0), ("rows_1m", 144_000.0), ("io_10s", 1.0), ("rows_1h", 2_400.0)] {
        let sql = "SELECT count(*) * 1.0 FROM sqlite_schema WHERE name = ?1";
        let _: f64 = connection.query_row(sql, [table], |row| row.get(0)).unwrap();
        println!("{table}: {} rows (of {rows})", count(dir.path(), table));
    }
    let begun = cpu();
    let query = UsageQuery {
        service: ServiceName::new("service-7").unwrap(),
        index: None,
        since: wall(86_400 - 5 * 3_600),
        until: wall(86_400),
        step: None,
        metrics: vec![],
    };
    let points = Reader::new(dir.path()).usage(&query).unwrap().rows.len();
    println!("reading {points} points: {:?}", cpu().checked_sub(begun).unwrap());
    assert!(size < 25 * MIB, "{size}");
}
