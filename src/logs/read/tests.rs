use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::logs::folder::Folder;
use crate::logs::index::{IndexWriter, Kind, Record};
use crate::logs::names::Place;
use crate::logs::rotate::rotate;

fn id(service: &str, index: u32) -> InstanceId {
    InstanceId { service: ServiceName::new(service).unwrap(), index }
}

/// A log as the pump writes it, at invented times.
struct Log<'a> {
    dir: &'a Path,
    place: Place,
}

impl<'a> Log<'a> {
    fn new(dir: &'a TempDir, instance: &InstanceId, stream: Stream) -> Self {
        Self { dir: dir.path(), place: Place::stream(dir.path(), instance, stream) }
    }

    fn note(&self, kind: Kind, wall: i64, run: u64) -> &Self {
        let path = self.dir.join(&self.place.log);
        let meta = fs::OpenOptions::new().append(true).create(true).open(path).unwrap().metadata().unwrap();
        let folder = Folder::open(self.dir, false).unwrap();
        let mut index = IndexWriter::open(&folder, &self.place.index, meta.ino(), meta.len()).unwrap();
        index.push(&Record { kind, offset: meta.len(), wall: Timestamp(wall), run: Run(run) }).unwrap();
        self
    }

    fn write(&self, wall: i64, run: u64, text: &str) -> &Self {
        self.note(Kind::Time, wall, run).bytes(text.as_bytes())
    }

    fn bytes(&self, bytes: &[u8]) -> &Self {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.dir.join(&self.place.log)).unwrap();
        file.write_all(bytes).unwrap();
        self
    }

    fn rotate(&self) -> &Self {
        rotate(&self.place, 9).unwrap();
        self
    }
}

fn texts(lines: Vec<LogLine>) -> Vec<String> {
    lines.into_iter().map(|line| line.line).collect()
}

fn reader(dir: &TempDir) -> Reader {
    Reader::new(dir.path().to_path_buf())
}

/// Two streams over two runs, the older run rotated away.
fn sample() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (out, err) = (Log::new(&dir, &id("web", 1), Stream::Stdout), Log::new(&dir, &id("web", 1), Stream::Stderr));
    out.note(Kind::RunStart, 1, 1)
        .write(10, 1, "a 10\n")
        .write(30, 1, "c 30\nd 30\n")
        .note(Kind::RunEnd, 35, 1)
        .rotate();
    err.note(Kind::RunStart, 1, 1).write(20, 1, "b 20\n").write(31, 1, "e 31").note(Kind::RunEnd, 35, 1);
    out.note(Kind::RunStart, 40, 2).write(41, 2, "f 41\n");
    err.note(Kind::RunStart, 40, 2).write(42, 2, "g 42\r\n");
    out.write(43, 2, "h 43");
    dir
}

#[test]
fn streams_are_merged_by_time_in_whole_lines() {
    let dir = sample();
    let lines = reader(&dir).tail(&Query::default()).unwrap();
    assert_eq!(
        lines.iter().map(|line| (line.at.0, line.run.0)).collect::<Vec<_>>(),
        [(10, 1), (20, 1), (30, 1), (30, 1), (31, 1), (41, 2), (42, 2), (43, 2),]
    );
    assert_eq!(lines[6].stream, Stream::Stderr);
    assert_eq!(lines[6].instance, "web");
    assert_eq!(texts(lines), ["a 10", "b 20", "c 30", "d 30", "e 31", "f 41", "g 42", "h 43"]);
}

#[test]
fn a_query_chooses_its_lines() {
    let dir = sample();
    let all = Query::default;
    let web = |index| vec![(ServiceName::new("web").unwrap(), index)];
    let cases: Vec<(&str, Query, &str)> = vec![
        ("the last", Query { lines: 3, ..all() }, "fgh"),
        ("none", Query { lines: 0, ..all() }, ""),
        ("across a rotation", Query { lines: 3, stream: Some(Stream::Stdout), ..all() }, "dfh"),
        ("one stream", Query { stream: Some(Stream::Stderr), ..all() }, "beg"),
        ("since", Query { since: Some(Timestamp(31)), ..all() }, "efgh"),
        ("a run", Query { run: Some(Run(1)), ..all() }, "abcde"),
        ("its last lines", Query { run: Some(Run(1)), lines: 2, ..all() }, "de"),
        ("the run before", Query { previous: true, ..all() }, "abcde"),
        ("no such run", Query { run: Some(Run(7)), ..all() }, ""),
        ("matching", Query { grep: Some(regex::Regex::new("^[cg]").unwrap()), lines: 2, ..all() }, "cg"),
        ("a service", Query { services: web(None), ..all() }, "abcdefgh"),
        ("an instance", Query { services: web(Some(2)), ..all() }, ""),
    ];
    for (name, query, expected) in cases {
        let lines = texts(reader(&dir).tail(&query).unwrap());
        assert_eq!(lines.iter().map(|line| &line[..1]).collect::<String>(), expected, "{name}");
    }
    assert_eq!(reader(&dir).last_lines(&id("web", 1), Run(2), 9).unwrap(), ["g 42"]);
}

#[test]
fn instances_are_named_as_the_service_is_scaled() {
    let dir = TempDir::new().unwrap();
    Log::new(&dir, &id("web", 1), Stream::Stdout).write(1, 1, "one\n");
    Log::new(&dir, &id("db", 1), Stream::Stdout).write(2, 1, "db\n");
    Log::new(&dir, &id("web", 2), Stream::Stdout).write(3, 1, "two\n");
    let names = |labels: &[(&str, u32)]| {
        let labels = labels.iter().map(|(name, count)| (ServiceName::new(name).unwrap(), *count)).collect();
        let lines = reader(&dir).tail(&Query { labels, ..Query::default() }).unwrap();
        lines.into_iter().map(|line| line.instance).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["web/1", "db", "web/2"]);
    assert_eq!(names(&[("web", 1), ("db", 3)]), ["web", "db/1", "web/2"]);
}

#[test]
fn a_long_log_is_read_from_its_end() {
    let dir = TempDir::new().unwrap();
    let log = Log::new(&dir, &id("web", 1), Stream::Stdout);
    let line = |n: usize| format!("{n} {}", "x".repeat(n % 900));
    for n in 0..3_000 {
        log.bytes(format!("{}\n", line(n)).as_bytes());
    }
    for count in [1, 2, 150, 1_000, 3_000, 9_999] {
        let lines = texts(reader(&dir).tail(&Query { lines: count, ..Query::default() }).unwrap());
        let expected: Vec<_> = (3_000_usize.saturating_sub(count)..3_000).map(line).collect();
        assert!(lines == expected, "{count}");
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let dir = TempDir::new().unwrap();
    Log::new(&dir, &id("web", 1), Stream::Stdout).bytes(b"a\0b\xff\n").bytes(&vec![b'x'; 100_000]);
    let lines = texts(reader(&dir).tail(&Query::default()).unwrap());
    assert_eq!(lines[0], "a\0b\u{fffd}");
    assert_eq!(lines[1..].iter().map(String::len).collect::<Vec<_>>(), [65_536, 34_464]);
}

#[test]
fn a_folder_that_is_not_there_has_no_lines() {
    let reader = Reader::new("/nonexistent/logs".into());
    assert_eq!(reader.tail(&Query::default()).unwrap(), []);
    assert_eq!(reader.follow(&Query::default()).unwrap().next_lines(9).unwrap(), []);
}

#[test]
fn a_follower_gives_the_last_lines_and_then_each_new_one() {
    let dir = sample();
    let mut follower = reader(&dir).follow(&Query { lines: 2, ..Query::default() }).unwrap();
    assert_eq!(texts(follower.next_lines(99).unwrap()), ["f 41", "g 42"], "the last line has no newline yet");
    let next = |follower: &mut Follower| texts(follower.next_lines(99).unwrap());
    assert_eq!(next(&mut follower), [""; 0]);

    let out = Log::new(&dir, &id("web", 1), Stream::Stdout);
    out.bytes(b" and more");
    assert_eq!(next(&mut follower), [""; 0]);
    out.bytes(b"\nnext\npar");
    assert_eq!(next(&mut follower), ["h 43 and more", "next"]);
    out.note(Kind::RunEnd, 50, 2);
    assert_eq!(next(&mut follower), ["par"], "the end of its run completes a line");

    out.write(60, 3, "before\n").rotate().write(61, 3, "between\n").rotate();
    Log::new(&dir, &id("db", 1), Stream::Stderr).write(62, 1, "a new service\n");
    assert_eq!(next(&mut follower), ["before", "between", "a new service"]);
    out.write(63, 3, "after\n");
    assert_eq!(next(&mut follower), ["after"]);
    fs::write(dir.path().join("web.out.log"), "anew\n").unwrap();
    assert_eq!(next(&mut follower), ["anew"]);
}

#[test]
fn a_follower_gives_as_much_as_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let out = Log::new(&dir, &id("web", 1), Stream::Stdout);
    let err = Log::new(&dir, &id("web", 1), Stream::Stderr);
    let mut follower = reader(&dir).follow(&Query { lines: 0, ..Query::default() }).unwrap();
    for n in 0..2_000 {
        out.write(2 * n, 1, &format!("{:0400}\n", 2 * n));
        err.write(2 * n + 1, 1, &format!("{:0400}\n", 2 * n + 1));
    }
    let mut got = Vec::new();
    while got.len() < 4_000 {
        let lines = follower.next_lines(700).unwrap();
        assert!(!lines.is_empty() && lines.len() <= 700);
        got.extend(texts(lines).into_iter().map(|line| line.parse::<usize>().unwrap()));
    }
    assert_eq!(got, (0..4_000).collect::<Vec<_>>());
}

proptest::proptest! {
    #[test]
    fn any_index_leaves_all_lines_readable(garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("web.out.log"), "one\ntwo\nthree").unwrap();
        fs::write(dir.path().join("web.out.idx"), garbage).unwrap();
        let lines = texts(reader(&dir).tail(&Query::default()).unwrap());
        proptest::prop_assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn any_records_leave_all_bytes_readable(records in proptest::collection::vec((0_u64..20, 0_i64..9, 0_u64..4), 0..20)) {
        let dir = TempDir::new().unwrap();
        let log = Log::new(&dir, &id("web", 1), Stream::Stdout);
        log.bytes(b"one\ntwo\nthree");
        let inode = fs::metadata(dir.path().join("web.out.log")).unwrap().ino();
        let folder = Folder::open(dir.path(), false).unwrap();
        let mut index = IndexWriter::open(&folder, &log.place.index, inode, 13).unwrap();
        for (offset, wall, run) in records {
            let kind = [Kind::RunStart, Kind::Time, Kind::RunEnd, Kind::Gap][usize::try_from(offset % 4).unwrap()];
            index.push(&Record { kind, offset, wall: Timestamp(wall), run: Run(run) }).unwrap();
        }
        proptest::prop_assert_eq!(texts(reader(&dir).tail(&Query::default()).unwrap()).concat(), "onetwothree");
    }
}
