//! A run whose output was kept by somebody else before.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::logs::index::{Kind, records};
use crate::os::testing::start;

/// Names the folder to the process that [`a_pump_to_be_killed`] is.
const FOLDER: &str = "EVERUP_TEST_PUMP";

fn goes_on(service: &str, run: u64, plan: LogsPlan, stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) -> Attach {
    Attach { goes_on: true, ..output(service, run, plan, stdout, stderr) }
}

/// How often all indexes of a log say this of the run, and at which bytes of their files.
fn marks(dir: &Path, name: &str, kind: Kind, run: u64) -> Vec<u64> {
    let names = std::iter::once(name.to_owned()).chain((1..1_000).map(|age| format!("{name}.{age}")));
    let files = names.filter_map(|name| File::open(dir.join(name)).ok());
    let all = files.flat_map(|file| records(&file));
    all.filter(|mark| mark.kind == kind && mark.run == Run(run)).map(|mark| mark.offset).collect()
}

/// Ends a pump as a death does: without a word in the files. Waits for its thread, as a death would be waited for.
fn end(pump: Pump) {
    let inbox = Arc::clone(&pump.inbox);
    drop(pump);
    let deadline = clock::monotonic_us() + PATIENCE_US;
    while Arc::strong_count(&inbox) > 1 {
        assert!(clock::monotonic_us() < deadline, "the thread ends");
        thread::yield_now();
    }
}

/// The other process of [`every_byte_is_kept_once_whenever_the_pump_is_killed`]: its stdin is the pipe.
#[test]
fn a_pump_to_be_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let pump = Pump::start(folder.into()).unwrap();
    let stdin = std::io::stdin();
    pump.attach(goes_on("web", 1, small(), Some(stdin.as_fd().try_clone_to_owned().unwrap()), None));
    // Nobody is left once the writer is gone.
    poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::empty())], PollTimeout::NONE).unwrap();
}

/// With many rotations.
fn small() -> LogsPlan {
    plan(LogsTo::Streams, 40_000, 10_000)
}

fn length(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let logs = files.into_iter().filter(|entry| entry.file_name().to_str().is_some_and(|name| name.contains(".log")));
    logs.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

#[test]
fn every_byte_is_kept_once_whenever_the_pump_is_killed() {
    let dir = TempDir::new().unwrap();
    let (read, write) = pipe();
    let writer = thread::spawn(move || {
        let held = write.try_clone().unwrap();
        (babble(write, 11, 6 << 20), held)
    });
    let (mut kills, mut seed) = (0_u64, 5_u64);
    let deadline = clock::monotonic_us() + 3 * PATIENCE_US;
    while !writer.is_finished() {
        let mut killed = start(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "logs::pump::tests::takeover::a_pump_to_be_killed", "--quiet"])
                .env(FOLDER, dir.path())
                .stdin(Stdio::from(read.try_clone().unwrap()))
                .stdout(Stdio::null()),
        );
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let enough = length(dir.path()) + 1 + (seed >> 33) % 400_000;
        while length(dir.path()) < enough && !writer.is_finished() {
            assert!(clock::monotonic_us() < deadline, "{} of the bytes", length(dir.path()));
            poll(&mut [], 1_u8).unwrap();
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        kills += 1;
    }
    let (written, _held) = writer.join().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    pump.attach(goes_on("web", 1, small(), Some(read), None));
    let lines = finish(&pump, "web", 1);
    let files = chain(dir.path(), "web.out.log");
    assert!(files.concat() == written, "after {kills} kills: exact bytes");
    assert!(files.iter().all(|file| file.ends_with(b"\n")), "whole lines");
    assert!(kills > 3, "{kills}");
    let last = String::from_utf8(written).unwrap();
    let last: Vec<_> = last.lines().rev().take(20).collect();
    assert_eq!(lines.iter().rev().map(String::as_str).collect::<Vec<_>>(), last);
    let marked = |kind| marks(dir.path(), "web.out.idx", kind, 1).len();
    assert_eq!((marked(Kind::RunStart), marked(Kind::RunEnd)), (1, 1), "after {kills} kills");
}

#[test]
fn the_same_pipes_may_come_again_as_other_descriptors_in_the_middle_of_a_flood() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let ((out, stdout), (err, mut stderr)) = (pipe(), pipe());
    let copies = || (Some(out.try_clone().unwrap()), Some(err.try_clone().unwrap()));
    let (first, second) = copies();
    pump.attach(output("web", 1, small(), first, second));
    writeln!(stderr, "before").unwrap();
    let writer = thread::spawn(move || babble(stdout, 13, 2 << 20));
    let mut progress = pump.progress();
    while !writer.is_finished() {
        let (first, second) = copies();
        pump.attach(goes_on("web", 1, small(), first, second));
        // Not more often than it can do something in between.
        progress.borrow_and_update();
        wait(&pump, "more", || progress.has_changed().unwrap() || writer.is_finished());
    }
    let written = writer.join().unwrap();
    writeln!(stderr, "after").unwrap();
    assert_eq!(finish(&pump, "web", 1), ["before", "after"]);
    assert!(chain(dir.path(), "web.out.log").concat() == written, "exact bytes");
    for name in ["web.out.idx", "web.err.idx"] {
        let marked = |kind| marks(dir.path(), name, kind, 1).len();
        assert_eq!((marked(Kind::RunStart), marked(Kind::RunEnd)), (1, 1), "{name}");
    }
}

#[test]
fn the_lines_of_a_run_are_one_story_over_two_pumps() {
    let dir = TempDir::new().unwrap();
    let ((out, mut stdout), (err, mut stderr)) = (pipe(), pipe());
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    pump.attach(output("web", 7, streams(), Some(out.try_clone().unwrap()), Some(err.try_clone().unwrap())));
    write!(stdout, "one\ntorn ").unwrap();
    wait(&pump, "the first line", || read(&dir.path().join("web.out.log")) == "one\ntorn ");
    end(pump);
    writeln!(stdout, "in two").unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    pump.attach(goes_on("web", 7, streams(), Some(out), Some(err)));
    wait(&pump, "the second line", || read(&dir.path().join("web.out.log")) == "one\ntorn in two\n");
    assert!(!dir.path().join("web.err.log").exists(), "no file before its first byte");
    writeln!(stderr, "late").unwrap();
    wait(&pump, "stderr", || read(&dir.path().join("web.err.log")) == "late\n");
    assert_eq!(finish(&pump, "web", 7), ["late"]);
    let lines = Reader::new(dir.path().to_path_buf())
        .tail(&Query { stream: Some(crate::model::log::Stream::Stdout), ..Query::default() })
        .unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.run.0, line.line.as_str())).collect();
    assert_eq!(lines, [(7, "one"), (7, "torn in two")]);
    assert_eq!(marks(dir.path(), "web.out.idx", Kind::RunStart, 7), [0]);
    assert_eq!(marks(dir.path(), "web.err.idx", Kind::RunStart, 7), [0], "begun by the second pump");
}

#[test]
fn the_end_of_a_run_is_marked_once_also_when_its_pipes_are_lost() {
    let dir = TempDir::new().unwrap();
    let (out, mut stdout) = pipe();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    pump.attach(output("web", 1, streams(), Some(out.try_clone().unwrap()), None));
    writeln!(stdout, "early").unwrap();
    assert_eq!(finish(&pump, "web", 1), ["early"]);
    end(pump);
    // It was killed after it had marked the end.
    let orphans = "from an orphan\n";
    let again = [(Some(out.try_clone().unwrap()), ""), (None, ""), (Some(out), orphans), (None, orphans)];
    for (pipe, more) in again {
        if pipe.is_some() {
            stdout.write_all(more.as_bytes()).unwrap();
        }
        let pump = Pump::start(dir.path().to_path_buf()).unwrap();
        pump.attach(goes_on("web", 1, streams(), pipe, None));
        assert_eq!(finish(&pump, "web", 1), format!("early\n{more}").lines().collect::<Vec<_>>());
        assert_eq!(marks(dir.path(), "web.out.idx", Kind::RunEnd, 1), [6]);
        end(pump);
    }

    // The next one was killed before.
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut stdout, _stderr) = attach(&pump, "web", 2, streams());
    writeln!(stdout, "second").unwrap();
    wait(&pump, "its line", || read(&dir.path().join("web.out.log")).ends_with("second\n"));
    end(pump);
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    pump.attach(goes_on("web", 2, streams(), None, None));
    assert_eq!(finish(&pump, "web", 2), ["second"]);
    assert_eq!(marks(dir.path(), "web.out.idx", Kind::RunEnd, 2).len(), 1);
    assert!(!dir.path().join("web.err.log").exists(), "nothing was written there");

    // And of this one nothing was kept before.
    let (out, mut stdout) = pipe();
    pump.attach(goes_on("web", 3, streams(), Some(out), None));
    writeln!(stdout, "third").unwrap();
    assert_eq!(finish(&pump, "web", 3), ["third"]);
    assert_eq!(marks(dir.path(), "web.out.idx", Kind::RunStart, 3).len(), 1);
}
