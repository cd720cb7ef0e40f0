use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as channel;
use std::thread;

use nix::fcntl::OFlag;
use tempfile::TempDir;

use super::*;
use crate::logs::read::Query;
use crate::logs::read::Reader;
use crate::model::names::ServiceName;
use crate::model::plan::LogsTo;
use crate::os::clock;

mod takeover;

const PATIENCE_US: u64 = 20_000_000;

fn id(service: &str) -> InstanceId {
    InstanceId { service: ServiceName::new(service).unwrap(), index: 1 }
}

fn plan(to: LogsTo, max_size: u64, keep: u32) -> LogsPlan {
    LogsPlan { to, max_size, keep, terminal: true }
}

fn pipe() -> (OwnedFd, File) {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    (read, File::from(write))
}

/// Attaches both streams; answers the ends a child would write to.
fn attach(pump: &Pump, service: &str, run: u64, plan: LogsPlan) -> (File, File) {
    let ((out, stdout), (err, stderr)) = (pipe(), pipe());
    pump.attach(output(service, run, plan, Some(out), Some(err)));
    (stdout, stderr)
}

/// The output of a run that begins.
fn output(service: &str, run: u64, plan: LogsPlan, stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) -> Attach {
    Attach { instance: id(service), run: Run(run), plan, stdout, stderr, goes_on: false }
}

fn streams() -> LogsPlan {
    plan(LogsTo::Streams, 10 << 20, 5)
}

fn finish(pump: &Pump, service: &str, run: u64) -> Vec<String> {
    pump.finish(id(service), Run(run)).blocking_recv().unwrap()
}

/// Waits until `holds`, each time after the pump tells of progress.
fn wait(pump: &Pump, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock::monotonic_us() + PATIENCE_US;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut progress = pump.progress();
    while !holds() {
        assert!(clock::monotonic_us() < deadline, "in vain: {what}");
        let _ = runtime
            .block_on(async { tokio::time::timeout(std::time::Duration::from_millis(10), progress.changed()).await });
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The whole chain of a log, oldest first.
fn chain(dir: &Path, name: &str) -> Vec<Vec<u8>> {
    let older = (1..).map_while(|age| fs::read(dir.join(format!("{name}.{age}"))).ok());
    let mut files: Vec<_> = std::iter::once(fs::read(dir.join(name)).unwrap()).chain(older).collect();
    files.reverse();
    files
}

/// Lines of many lengths, written in pieces that are no lines.
fn babble(mut to: File, mut seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut text = Vec::new();
    while text.len() < bytes {
        let length = if random(50) == 0 { 5_000 } else { random(120) };
        text.extend(std::iter::repeat_n(b'a' + u8::try_from(random(26)).unwrap(), length));
        text.push(b'\n');
    }
    let mut rest = &text[..];
    while !rest.is_empty() {
        let piece = rest.len().min(1 + random(3_000));
        to.write_all(&rest[..piece]).unwrap();
        rest = &rest[piece..];
    }
    text
}

#[test]
fn every_byte_is_kept_once_in_whole_lines_through_many_rotations() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (out, err) = attach(&pump, "web", 1, plan(LogsTo::Streams, 10_000, 10_000));
    let writers = [(out, "web.out.log", 7), (err, "web.err.log", 8)]
        .map(|(to, name, seed)| (name, thread::spawn(move || babble(to, seed, 2 << 20))));
    for (name, writer) in writers {
        let written = writer.join().unwrap();
        finish(&pump, "web", 1);
        let files = chain(dir.path(), name);
        assert!(files.concat() == written, "{name}: exact bytes");
        assert!(files.len() > 100, "{name}: {} files", files.len());
        assert!(files.iter().all(|file| file.ends_with(b"\n")), "{name}: whole lines");
        assert!(files.iter().all(|file| file.len() <= 10_000 + 5_001), "{name}: size");
    }
}

#[test]
fn a_line_that_never_ends_is_torn_but_kept() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut out, _err) = attach(&pump, "web", 1, plan(LogsTo::Streams, 1_000, 1_000));
    let written = vec![b'x'; 1 << 20];
    out.write_all(&written).unwrap();
    finish(&pump, "web", 1);
    let files = chain(dir.path(), "web.out.log");
    assert!(files.concat() == written);
    assert!(files.iter().all(|file| file.len() <= 1_000 + 64 * 1024));
}

#[test]
fn nothing_older_is_kept_with_keep_0() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut out, _err) = attach(&pump, "web", 1, plan(LogsTo::Streams, 100, 0));
    for n in 0..100 {
        writeln!(out, "line {n}").unwrap();
    }
    assert_eq!(finish(&pump, "web", 1).last().unwrap(), "line 99");
    assert!(!dir.path().join("web.out.log.1").exists());
    assert!(read(&dir.path().join("web.out.log")).len() <= 110);
}

#[test]
fn a_flood_does_not_delay_another_stream() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut flood, _err) = attach(&pump, "flood", 1, plan(LogsTo::Streams, 1 << 20, 1));
    let (mut trickle, _err) = attach(&pump, "trickle", 1, streams());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let block = "0123456789abcdef0123456789abcde\n".repeat(2_048);
    let writer = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            flood.write_all(block.as_bytes()).unwrap();
        }
    });
    let log = dir.path().join("trickle.out.log");
    let mut worst = 0;
    for n in 1..=30 {
        let before = clock::monotonic_us();
        writeln!(trickle, "tick").unwrap();
        wait(&pump, "a tick beside a flood", || read(&log).lines().count() == n);
        worst = worst.max(clock::monotonic_us() - before);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(worst < 2_000_000, "{worst} us");
}

#[test]
fn all_that_was_written_is_kept_once_a_drain_is_answered() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let mut writers: Vec<_> = (0..50).map(|n| attach(&pump, &format!("s{n}"), 1, streams())).collect();
    for (out, _) in &mut writers {
        out.write_all(&vec![b'x'; 30_000]).unwrap();
    }
    pump.drain().blocking_recv().unwrap();
    for n in 0..50 {
        assert_eq!(read(&dir.path().join(format!("s{n}.out.log"))).len(), 30_000);
    }
    writeln!(writers[0].0, "more").unwrap();
    wait(&pump, "what comes after it", || read(&dir.path().join("s0.out.log")).ends_with("more\n"));
}

#[test]
fn the_end_of_a_run_answers_its_last_lines() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut out, mut err) = attach(&pump, "web", 1, streams());
    writeln!(out, "hello").unwrap();
    writeln!(err, "Traceback").unwrap();
    write!(err, "TypeError: no newline").unwrap();
    assert_eq!(finish(&pump, "web", 1), ["Traceback", "TypeError: no newline"]);
    assert_eq!(finish(&pump, "web", 1), [""; 0], "it is over");

    let (mut out, _err) = attach(&pump, "web", 2, streams());
    for n in 0..30 {
        writeln!(out, "{n}").unwrap();
    }
    let lines = finish(&pump, "web", 2);
    assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "10", "29"));

    attach(&pump, "web", 3, streams());
    assert_eq!(finish(&pump, "web", 3), [""; 0], "a silent run has no lines");
}

#[test]
fn a_new_run_ends_the_one_before_it() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (mut out, _err) = attach(&pump, "web", 1, streams());
    write!(out, "first").unwrap();
    let (mut out, _err) = attach(&pump, "web", 2, streams());
    writeln!(out, "second").unwrap();
    finish(&pump, "web", 2);
    assert_eq!(read(&dir.path().join("web.out.log")), "firstsecond\n");
    let lines = Reader::new(dir.path().to_path_buf()).tail(&Query::default()).unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.run.0, line.line.as_str())).collect();
    assert_eq!(lines, [(1, "first"), (2, "second")]);
}

#[test]
fn a_new_pump_goes_on_where_the_last_one_ended() {
    let dir = TempDir::new().unwrap();
    for run in 1..=2 {
        let pump = Pump::start(dir.path().to_path_buf()).unwrap();
        let (mut out, _err) = attach(&pump, "web", run, streams());
        writeln!(out, "run {run}").unwrap();
        finish(&pump, "web", run);
    }
    assert_eq!(read(&dir.path().join("web.out.log")), "run 1\nrun 2\n");
    let lines = Reader::new(dir.path().to_path_buf()).tail(&Query { previous: true, ..Query::default() }).unwrap();
    assert_eq!(lines.iter().map(|line| (line.run.0, line.line.as_str())).collect::<Vec<_>>(), [(1, "run 1")]);
}

#[test]
fn what_cannot_be_kept_is_counted_and_blocks_nobody() {
    let dir = TempDir::new().unwrap();
    let blocked = dir.path().join("blocked.log");
    fs::create_dir(&blocked).unwrap();
    let target = dir.path().join("target");
    fs::write(&target, "mine").unwrap();
    let link = dir.path().join("link.log");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for path in [Path::new("/dev/full"), &blocked, &link, Path::new("/dev/null/x"), Path::new("/nonexistent/x.log")] {
        let logs = TempDir::new().unwrap();
        let pump = Pump::start(logs.path().to_path_buf()).unwrap();
        let mut faults = pump.faults();
        let ((out, mut stdout), size) = (pipe(), 1 << 20);
        let merged = plan(LogsTo::Merged(Some(path.to_path_buf())), 10 << 20, 5);
        pump.attach(output("web", 1, merged, Some(out), None));
        stdout.write_all(&vec![b'x'; size]).unwrap();
        finish(&pump, "web", 1);
        drop(pump);
        let mut lost = 0;
        while let Some(fault) = faults.blocking_recv() {
            assert!(fault.reason.starts_with("cannot write the log"), "{}", fault.reason);
            lost += fault.bytes_lost;
        }
        assert_eq!(lost, size as u64, "{}", path.display());
    }
    assert_eq!(read(&target), "mine");
}

#[test]
fn a_log_that_works_again_is_written_again() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("web.out.log");
    fs::create_dir(&log).unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let mut faults = pump.faults();
    let (mut out, _err) = attach(&pump, "web", 1, streams());
    writeln!(out, "lost").unwrap();
    assert_eq!(faults.blocking_recv().unwrap().bytes_lost, 5);
    fs::remove_dir(&log).unwrap();
    wait(&pump, "the log is tried again", || {
        writeln!(out, "kept").unwrap();
        read(&log).contains("kept\n")
    });
}

#[test]
fn a_log_taken_away_from_outside_is_begun_anew() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("logs");
    let log = state.join("web.out.log");
    let pump = Pump::start(state.clone()).unwrap();
    let (mut out, _err) = attach(&pump, "web", 1, streams());
    writeln!(out, "one").unwrap();
    wait(&pump, "one", || read(&log) == "one\n");
    fs::remove_file(&log).unwrap();
    writeln!(out, "two").unwrap();
    wait(&pump, "two", || read(&log) == "two\n");
    fs::remove_dir_all(&state).unwrap();
    writeln!(out, "three").unwrap();
    wait(&pump, "three", || read(&log) == "three\n");
    fs::write(&log, "").unwrap();
    writeln!(out, "four").unwrap();
    wait(&pump, "four", || read(&log) == "four\n");
    fs::rename(&log, state.join("moved")).unwrap();
    wait(&pump, "the new log", || {
        writeln!(out, "five").unwrap();
        log.exists()
    });
    assert_eq!(finish(&pump, "web", 1).last().unwrap(), "five");
}

#[test]
fn a_merged_log_elsewhere_is_found_by_readers() {
    let (dir, user) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = user.path().join("app.log");
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (out, mut stdout) = pipe();
    let merged = plan(LogsTo::Merged(Some(path.clone())), 60, 3);
    pump.attach(output("web", 4, merged, Some(out), None));
    for n in 0..20 {
        writeln!(stdout, "line {n}").unwrap();
    }
    assert_eq!(finish(&pump, "web", 4).len(), 20);
    assert!(path.exists() && user.path().join("app.log.1").exists() && dir.path().join("web.idx.1").exists());
    assert_eq!(fs::read_dir(user.path()).unwrap().count(), chain(user.path(), "app.log").len());
}

#[test]
fn output_that_is_not_a_pipe_is_copied() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    pump.attach(output("web", 1, plan(LogsTo::Streams, 5_000, 1_000), Some(ours.into()), None));
    let written = babble(File::from(OwnedFd::from(theirs)), 9, 300_000);
    finish(&pump, "web", 1);
    let files = chain(dir.path(), "web.out.log");
    assert!(files.concat() == written && files.iter().all(|file| file.ends_with(b"\n")));
}

/// Starts a pump whose thread is known.
fn known_thread(dir: &Path) -> (Pump, i32) {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
    let inbox = Arc::new(Inbox { orders: Mutex::default(), bell });
    let (sender, progress) = watch::channel(0);
    let tallies = Tallies::default();
    let worker = Worker::new(dir.to_path_buf(), Arc::clone(&inbox), sender, tallies.clone()).unwrap();
    let (tell, told) = channel::sync_channel(1);
    thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        worker.run();
    });
    (Pump { inbox, progress, tallies }, told.recv().unwrap())
}

/// Nanoseconds of CPU and time slices of a thread.
fn used(thread: i32) -> (u64, u64) {
    let text = read(Path::new(&format!("/proc/self/task/{thread}/schedstat")));
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.nth(1).unwrap())
}

#[test]
fn a_closed_output_and_idle_ones_do_not_keep_the_thread_awake() {
    let dir = TempDir::new().unwrap();
    let (pump, thread) = known_thread(dir.path());
    let ((out, mut stdout), (err, _stderr)) = (pipe(), pipe());
    // The guardian holds the same pipes.
    let held = out.try_clone().unwrap();
    pump.attach(output("web", 1, streams(), Some(out), Some(err)));
    writeln!(stdout, "bye").unwrap();
    drop(stdout);
    wait(&pump, "bye", || read(&dir.path().join("web.out.log")) == "bye\n");
    // Another instance's life shows that time passes while this thread sleeps.
    let clock = Pump::start(dir.path().join("other")).unwrap();
    let (mut out, _err) = attach(&clock, "clock", 1, streams());
    let (mut quiet, mut last) = (0, used(thread).1);
    wait(&clock, "a thread that sleeps", || {
        writeln!(out, "tick").unwrap();
        let slices = used(thread).1;
        quiet = if slices == last { quiet + 1 } else { 0 };
        last = slices;
        quiet == 20
    });
    drop(held);
}

#[test]
#[ignore = "a measurement: run it alone, optimised"]
fn what_the_pump_costs() {
    for length in [64, 200, 4_096] {
        let dir = TempDir::new_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "/tmp" }).unwrap();
        let (pump, thread) = known_thread(dir.path());
        let (mut out, _err) = attach(&pump, "web", 1, plan(LogsTo::Streams, 1 << 40, 0));
        let mut line = vec![b'x'; length];
        line[length - 1] = b'\n';
        let count = (256 << 20) / length;
        let (before, began) = (used(thread), clock::monotonic_us());
        for _ in 0..count {
            out.write_all(&line).unwrap();
        }
        finish(&pump, "web", 1);
        let (after, took) = (used(thread), clock::monotonic_us() - began);
        let bytes = fs::metadata(dir.path().join("web.out.log")).unwrap().len();
        assert_eq!(bytes, (count * length) as u64);
        #[expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "figures for people")]
        {
            let gib = bytes as f64 / f64::from(1 << 30);
            let (cpu, rate) = ((after.0 - before.0) as f64 / 1e9 / gib, bytes as f64 / took as f64);
            println!("{length} bytes a write: {cpu:.2} CPU s/GiB, {rate:.0} MB/s, {} wake-ups", after.1 - before.1);
        }
    }
}

#[test]
fn bytes_are_counted_by_stream_over_all_runs() {
    let dir = TempDir::new().unwrap();
    let pump = Pump::start(dir.path().to_path_buf()).unwrap();
    assert_eq!(pump.bytes(), []);
    for run in 1..=2 {
        let (mut stdout, mut stderr) = attach(&pump, "web", run, streams());
        stdout.write_all(b"four\n").unwrap();
        stderr.write_all(b"ten bytes\n").unwrap();
        drop((stdout, stderr));
        finish(&pump, "web", run);
    }
    assert_eq!(pump.bytes(), [(id("web"), LogBytes { stdout: 10, stderr: 20, dropped: 0 })]);
    let full = plan(LogsTo::Merged(Some("/dev/full".into())), 10 << 20, 5);
    let (mut stdout, stderr) = attach(&pump, "web", 3, full);
    stdout.write_all(b"lost\n").unwrap();
    drop((stdout, stderr));
    finish(&pump, "web", 3);
    assert_eq!(pump.bytes(), [(id("web"), LogBytes { stdout: 10, stderr: 20, dropped: 5 })]);
}
