//! The engine is killed: what it supervises goes on, and so does the next engine.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{PATIENCE, Project, alive, data, free_port, kill, python, wait_for};

/// `tests/data/resume.py` doing `what`.
pub(crate) fn child(what: &str) -> String {
    format!("python3 {} {what}", data("resume.py").display())
}

pub(crate) fn engine(project: &Project) -> i32 {
    let mut pid = None;
    wait_for("the engine to tell its pid", || {
        pid = project.status()["engine_pid"].as_i64();
        pid.is_some()
    });
    i32::try_from(pid.expect("a pid")).expect("a pid fits")
}

/// Kills the engine by this signal, and waits until another answers.
fn kill_engine_by(project: &Project, signal: Signal) {
    let before = engine(project);
    project.signal_engine(signal);
    wait_for("another engine to answer", || {
        project.status()["engine_pid"].as_i64().is_some_and(|pid| pid != i64::from(before))
    });
}

pub(crate) fn kill_engine(project: &Project) {
    kill_engine_by(project, Signal::SIGKILL);
}

/// A time without an engine, as long as this lives: the guardian that would start another is stopped.
struct Gap {
    guardian: i32,
    engine: i32,
}

impl Gap {
    fn begin(project: &Project) -> Self {
        let engine = engine(project);
        let guardian = project.status()["pid"].as_i64().expect("a pid");
        let gap = Self { guardian: i32::try_from(guardian).expect("a pid fits"), engine };
        project.signal_guardian(Signal::SIGSTOP);
        let state = format!("/proc/{guardian}/stat");
        wait_for("the guardian to stop", || fs::read_to_string(&state).is_ok_and(|stat| stat.contains(") T")));
        send(engine, Signal::SIGKILL);
        wait_for("the engine to be dead", || !alive(engine));
        gap
    }

    /// Sends everup a signal.
    fn signal(&self, signal: Signal) {
        send(self.guardian, signal);
    }

    /// Lets everup go on, and waits until another engine answers.
    fn end(self, project: &Project) {
        let engine = i64::from(self.engine);
        drop(self);
        wait_for("another engine to answer", || {
            project.status()["engine_pid"].as_i64().is_some_and(|pid| pid != engine)
        });
    }
}

impl Drop for Gap {
    fn drop(&mut self) {
        send(self.guardian, Signal::SIGCONT);
    }
}

pub(crate) fn send(pid: i32, signal: Signal) {
    assert!(pid > 1, "not a process to signal");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it can be signalled");
}

fn count(events: &[Value], event: &str, service: &str) -> usize {
    events.iter().filter(|e| e["event"] == event && (service.is_empty() || e["service"] == service)).count()
}

/// What must be the same before and after.
fn lives(project: &Project, service: &str) -> Vec<Value> {
    let instances = project.service(service)["instances"].as_array().cloned().unwrap_or_default();
    let of = |i: &Value| {
        ["name", "state", "pid", "run", "started_at", "restarts", "ready", "desired", "last_end"]
            .iter()
            .map(|key| i[*key].clone())
            .collect()
    };
    instances.iter().map(of).collect()
}

fn milliseconds(event: &Value) -> i64 {
    let at: everup::model::units::Timestamp = serde_json::from_value(event["at"].clone()).expect("a time");
    at.0
}

#[test]
fn what_runs_rests_or_is_held_stays_as_it_is_through_three_deaths() {
    let project = Project::up(
        "services:\n  prepare: {type: task, command: 'true'}\n  web: {command: sleep 1000, instances: 2, needs: {prepare: completed}, restart: {delay: 10ms}}\n  \
         held: {command: sleep 1000}\n  gone: {command: sh -c 'exit 3', restart: never}\n",
    );
    project.wait_ready("web");
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    project.ok(&["stop", "held"]);
    project.wait_service("gone", "to be over", |gone| gone["state"] == "failed" || gone["state"] == "exited");
    let began = project.status()["started_at"].clone();
    let all = || ["prepare", "web", "held", "gone"].map(|name| lives(&project, name));
    let (before, held) = (all(), project.service("held")["held"].clone());
    let starts = count(&project.events(), "starting", "");
    for round in 1..=3 {
        kill_engine(&project);
        assert_eq!(all(), before, "{round}");
        assert_eq!(project.service("held")["held"], held);
        assert_eq!(project.status()["started_at"], began);
    }
    let events = project.events();
    assert_eq!(count(&events, "starting", ""), starts, "nothing was started");
    assert_eq!(count(&events, "engine_restarted", ""), 3);
    let told = events.iter().find(|event| event["event"] == "engine_restarted").expect("the first");
    let message = told["message"].as_str().expect("a message");
    assert!(message.contains("signal KILL") || message.contains("SIGKILL"), "{message}");
    assert_eq!(project.status()["warnings"], serde_json::json!([]));
}

#[test]
fn a_pause_before_the_next_attempt_goes_on() {
    let project = Project::up("services:\n  web: {command: sleep 1000, restart: {delay: 2500ms, jitter: 0}}\n");
    project.wait_ready("web");
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to wait", |web| web["state"] == "backoff");
    kill_engine(&project);
    kill_engine(&project);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    let events = project.events();
    let at = |word: &str, run: u64| events.iter().find(|e| e["event"] == word && e["run"] == run).map(milliseconds);
    let pause = at("starting", 2).expect("a start") - at("ended", 1).expect("an end");
    assert!(pause >= 2_500, "not earlier than it was due: {pause} ms");
    assert_eq!((count(&events, "ended", "web"), count(&events, "starting", "web")), (1, 2), "{events:#?}");
    assert_eq!(project.instance("web", 0)["restarts"], 1);
}

#[test]
fn a_stop_under_way_ends_as_one_and_its_signal_comes_once() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: {}, stop: {{timeout: 2500ms}}}}\n  other: {{command: sleep 1000}}\n",
        child("terms terms")
    ));
    wait_for("the child", || project.path("terms.ready").exists());
    let pid = project.pid("web");
    project.ok(&["stop", "web", "--no-wait"]);
    wait_for("the signal", || project.read("terms") == "TERM\n");
    kill_engine(&project);
    assert!(alive(pid), "it is given its time");
    assert_eq!(project.service("web")["state"], "stopping");
    project.wait_service("web", "to be stopped", |web| web["state"] == "stopped");
    assert!(!alive(pid));
    assert_eq!(project.read("terms"), "TERM\n");
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("user"), Some("KILL")), "{why:#}");
    assert_eq!(project.service("web")["held"]["by"].as_str().map(|by| by.contains("uid")), Some(true));
    assert_eq!(count(&project.events(), "ended", "web"), 1);
}

#[test]
fn a_stop_that_was_asked_for_after_another_signal_is_not_taken_for_sent() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: {}, stop: {{timeout: 30s, signal: TERM}}}}\n",
        child("terms terms")
    ));
    wait_for("the child", || project.path("terms.ready").exists());
    project.ok(&["signal", "WINCH", "web"]);
    kill_engine(&project);
    project.ok(&["stop", "web", "--no-wait"]);
    wait_for("the signal", || project.read("terms") == "TERM\n");
    kill_engine(&project);
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be stopped", |web| web["state"] == "stopped");
    assert_eq!(project.read("terms"), "TERM\n");
}

#[test]
fn a_start_that_waits_for_its_gate_goes_on() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, health: {exec: test -e open, interval: 50ms, start_timeout: 10m}}\n  \
         next: {command: sleep 1000, needs: [web]}\n",
    );
    let pid = project.pid("web");
    kill_engine(&project);
    let web = project.instance("web", 0);
    assert_eq!((web["state"].as_str(), web["pid"].as_i64()), (Some("starting"), Some(i64::from(pid))));
    assert_eq!(project.service("next")["state"], "waiting");
    project.write("open", "");
    project.wait_ready("next");
    let web = project.instance("web", 0);
    assert_eq!((web["run"].as_i64(), web["pid"].as_i64()), (Some(1), Some(i64::from(pid))));
    assert_eq!(count(&project.events(), "ready", "web"), 1);
}

#[test]
fn hooks_under_way_are_run_again() {
    const HOOK: &str = "echo $EVERUP_HOOK $$ >> hooks; until test -e go.$EVERUP_HOOK; do sleep 0.02; done";
    let project = Project::new(
        "services:\n  web:\n    command: sleep 1000\n    hooks: {before_start: sh hook.sh, after_end: sh hook.sh}\n    stop: {command: sh hook.sh, timeout: 2500ms}\n",
    );
    project.write("hook.sh", HOOK);
    let mut project = project;
    project.start(&["up"]);
    let told = |hook: &str| -> Vec<i32> {
        let lines = project.read("hooks");
        let of = lines.lines().filter_map(|line| line.strip_prefix(hook)?.trim().parse().ok());
        of.collect()
    };
    for hook in ["before_start", "stop.command", "after_end"] {
        wait_for(hook, || told(hook).len() == 1);
        let first = told(hook)[0];
        kill_engine(&project);
        if hook == "stop.command" {
            // It died with the engine that waited for it; what it was to say is said by the signal.
            wait_for("the service to end", || count(&project.events(), "ended", "web") == 1);
        } else {
            wait_for("it to begin again", || told(hook).len() == 2);
            project.write(&format!("go.{hook}"), "");
        }
        wait_for("the first to be gone", || !alive(first));
        if hook == "before_start" {
            project.wait_ready("web");
            assert_eq!(project.instance("web", 0)["run"], 1);
            project.ok(&["stop", "web", "--no-wait"]);
        }
    }
    project.wait_service("web", "to be stopped", |web| web["state"] == "stopped");
    assert_eq!(count(&project.events(), "ended", "web"), 1);
}

#[test]
fn a_roll_goes_on_with_the_instances_that_are_left() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, instances: 3, health: {exec: \"sh -c 'test $EVERUP_RUN = 1 || test -e go'\", interval: 50ms, start_timeout: 10m}}\n",
    );
    project.wait_ready("web");
    project.ok(&["restart", "web", "--no-wait"]);
    project.wait_service("web", "to roll", |web| {
        web["instances"].as_array().is_some_and(|all| all.iter().any(|i| i["run"] == 2 && i["state"] == "starting"))
    });
    kill_engine(&project);
    project.write("go", "");
    project.wait_service("web", "to have rolled", |web| {
        web["instances"].as_array().is_some_and(|all| all.iter().all(|i| i["run"] == 2 && i["ready"] == true))
    });
    assert_eq!(count(&project.events(), "starting", "web"), 6);
}

#[test]
fn what_a_service_says_of_itself_while_no_engine_lives_is_heard() {
    let script = data("notify.py");
    let project = Project::up(&format!(
        "services:\n  web:\n    command: python3 {} until:go READY=1 STATUS=warm touch:said\n    health: {{notify: true, start_timeout: 10m}}\n",
        script.display()
    ));
    wait_for("it to begin", || !project.read("address").is_empty());
    let gap = Gap::begin(&project);
    project.write("go", "");
    // It says it to a socket that the guardian holds.
    wait_for("it to have said so", || project.path("said").exists());
    gap.end(&project);
    project.wait_ready("web");
    assert_eq!(project.instance("web", 0)["run"], 1);
}

/// Long enough for what was set off to happen; nothing depends on it but that the test tests what it says.
fn take_a_moment() {
    let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = never.recv_timeout(std::time::Duration::from_millis(300));
}

fn ask(port: u16) -> Option<String> {
    crate::support::get(port, "/").map(|(_, body)| body)
}

#[test]
fn sockets_of_services_stay_open_and_who_connects_meanwhile_is_served() {
    let port = free_port();
    let (python, app) = (python().display(), data("listen/plain.py"));
    let project = Project::up(&format!(
        "services:\n  web:\n    command: [{python}, {}]\n    listen: {{http: '127.0.0.1:{port}'}}\n    restart: {{delay: 10ms}}\n",
        app.display()
    ));
    wait_for("a first answer", || ask(port).is_some_and(|body| body.starts_with("run 1 of web")));
    let pid = project.pid("web");
    let gap = Gap::begin(&project);
    assert!(ask(port).is_some_and(|body| body.starts_with("run 1 of web")), "it serves without an engine");
    kill(&project, pid, 9);
    wait_for("it to be dead", || !alive(pid));
    let waiting = std::thread::spawn(move || ask(port));
    take_a_moment();
    gap.end(&project);
    let answer = waiting.join().expect("a thread");
    assert!(answer.as_ref().is_some_and(|body| body.starts_with("run 2 of web")), "{answer:?}");
    kill_engine(&project);
    assert!(ask(port).is_some_and(|body| body.starts_with("run 2 of web")));
}

#[test]
fn a_service_that_was_removed_still_ends_and_the_plan_in_force_counts() {
    let yaml = format!(
        "services:\n  old: {{command: {}, stop: {{timeout: 2500ms}}}}\n  web: {{command: sleep 1000}}\n",
        child("terms terms")
    );
    let project = Project::up(&yaml);
    wait_for("the child", || project.path("terms.ready").exists());
    let (old, web) = (project.pid("old"), project.pid("web"));
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 1000}\n");
    project.ok(&["up", "-d"]);
    wait_for("the signal", || project.read("terms") == "TERM\n");
    project.write("supervisor.yaml", "services: [this is: no {file");
    kill_engine(&project);
    wait_for("the drift to be told", || project.status()["warnings"][0]["code"] == "drift");
    wait_for("the old service to be gone", || project.service("old").is_null());
    assert!(!alive(old));
    assert_eq!((project.read("terms").as_str(), project.pid("web")), ("TERM\n", web));
    kill_engine(&project);
    assert_eq!(project.pid("web"), web);
    wait_for("the drift to be told", || project.status()["warnings"][0]["code"] == "drift");
    assert!(!project.everup(&["up", "-d"]).status.success());
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 1000}\n");
    project.ok(&["up", "-d"]);
    assert_eq!(project.pid("web"), web);
}

#[test]
fn an_end_while_no_engine_lives_is_written_down_once() {
    let project = Project::up(
        "services:\n  coded: {command: 'sh -c \"until test -e go; do sleep 0.02; done; echo last words; exit 7\"', restart: never}\n  \
         killed: {command: sleep 1000, restart: {delay: 10ms}}\n",
    );
    project.wait_ready("killed");
    let (coded, killed) = (project.pid("coded"), project.pid("killed"));
    let gap = Gap::begin(&project);
    project.write("go", "");
    kill(&project, killed, 9);
    wait_for("both to be dead", || !alive(coded) && !alive(killed));
    gap.end(&project);
    project.wait_service("killed", "to be back", |s| s["instances"][0]["run"] == 2 && s["ready"] == true);
    wait_for("the last words", || project.why("coded")["last_lines"][0] == "last words");
    for _ in 0..2 {
        let why = project.why("coded");
        assert_eq!((why["cause"].as_str(), why["code"].as_i64()), (Some("exit"), Some(7)), "{why:#}");
        let why = project.why("killed");
        assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("signal"), Some("KILL")), "{why:#}");
        let events = project.events();
        assert_eq!((count(&events, "ended", "coded"), count(&events, "ended", "killed")), (1, 1));
        kill_engine(&project);
    }
}

/// How each of the 60 ends: a code, or (from 40 on) a signal.
fn fate(n: usize) -> (String, Option<i64>, Option<&'static str>) {
    match n {
        40.. => {
            let (number, name) = [(9, "KILL"), (15, "TERM"), (11, "SEGV"), (6, "ABRT")][n % 4];
            (format!("kill -{number} $$"), None, Some(name))
        }
        _ => (format!("exit {}", n + 1), Some(i64::try_from(n).expect("small") + 1), None),
    }
}

#[test]
fn sixty_ends_around_the_engines_deaths_are_each_told_once_and_right() {
    let service = |n| format!("  s{n}: {{command: \"sh -c 'read how < pipe.s{n}; eval $how'\", restart: never}}\n");
    let services = (0..60).map(service).collect::<Vec<_>>().concat();
    let mut project = Project::new(&format!("services:\n{services}"));
    for n in 0..60 {
        nix::unistd::mkfifo(&project.path(&format!("pipe.s{n}")), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    }
    project.start(&["up"]);
    let running = || {
        let status = project.status();
        status["services"].as_array().is_some_and(|all| all.iter().all(|s| s["instances"][0]["pid"].is_i64()))
    };
    wait_for("all to run", running);
    let end = |n: usize| {
        let mut pipe = fs::OpenOptions::new().write(true).open(project.path(&format!("pipe.s{n}"))).expect("a pipe");
        writeln!(pipe, "{}", fate(n).0).expect("it is read");
    };
    // Before, at and after the death; and in a time without an engine.
    for round in 0..5 {
        let mine: Vec<usize> = (round * 12..(round + 1) * 12).collect();
        mine[..4].iter().copied().for_each(end);
        if round % 2 == 0 {
            let pid = engine(&project);
            send(pid, Signal::SIGKILL);
            mine[4..8].iter().copied().for_each(end);
            wait_for("another engine", || project.status()["engine_pid"].as_i64().is_some_and(|p| p != i64::from(pid)));
        } else {
            let gap = Gap::begin(&project);
            mine[4..8].iter().copied().for_each(end);
            gap.end(&project);
        }
        mine[8..].iter().copied().for_each(end);
    }
    let over = || {
        let status = project.status();
        let is_over = |s: &Value| s["instances"][0]["last_end"].is_object() && s["instances"][0]["pid"].is_null();
        status["services"].as_array().is_some_and(|all| all.iter().all(is_over))
    };
    wait_for("all to be over", over);
    kill_engine(&project);
    let output = project.ok(&["events", "--json", "--since", "seq:0"]);
    let events: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    for n in 0..60 {
        let (name, (_, code, signal)) = (format!("s{n}"), fate(n));
        let ends: Vec<&Value> = events.iter().filter(|e| e["event"] == "ended" && e["service"] == name).collect();
        assert_eq!(ends.len(), 1, "{name}: {ends:#?}");
        assert_eq!((ends[0]["code"].as_i64(), ends[0]["signal"].as_str()), (code, signal), "{name}");
    }
    wait_for("the history to be written", || runs_of(&project).len() == 60);
    let mut runs = runs_of(&project);
    runs.sort();
    let mut expected: Vec<_> = (0..60).map(|n| (format!("s{n}"), fate(n).1, fate(n).2.map(str::to_owned))).collect();
    expected.sort();
    assert_eq!(runs, expected);
    for n in [0, 17, 39, 40, 41, 42, 43, 59] {
        let (name, (_, code, signal)) = (format!("s{n}"), fate(n));
        let why = project.why(&name);
        assert_eq!((why["code"].as_i64(), why["signal"].as_str()), (code, signal), "{why:#}");
    }
}

/// Service, code and signal of every end in the history.
fn runs_of(project: &Project) -> Vec<(String, Option<i64>, Option<String>)> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(db) = rusqlite::Connection::open_with_flags(project.path(".everup/history.db"), flags) else {
        return vec![];
    };
    let mut statement = db.prepare("SELECT service, code, signal FROM runs").expect("a table");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.filter_map(Result::ok).collect()
}

/// The numbers of the lines that were kept of a stream, over all its files, oldest first.
fn kept(project: &Project, stream: &str) -> String {
    let folder = project.path(".everup/logs");
    let mut files: Vec<(u32, std::path::PathBuf)> = fs::read_dir(&folder)
        .expect("logs")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            let rest = name.strip_prefix("web.")?.strip_prefix(stream)?;
            let age = match rest {
                ".log" => 0,
                rest => rest.strip_prefix(".log.")?.parse().ok()?,
            };
            Some((age, path))
        })
        .collect();
    files.sort();
    files.iter().rev().map(|(_, path)| fs::read_to_string(path).unwrap_or_default()).collect()
}

#[test]
fn every_line_is_kept_once_and_in_order_through_fifteen_deaths() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: {}, logs: {{max_size: 16KiB, keep: 1000}}}}\n",
        child("lines")
    ));
    project.wait_ready("web");
    let pid = project.pid("web");
    for round in 0..15 {
        // At some place of its work.
        let lines = 1 + round * 37 % 200;
        let before = kept(&project, "out").lines().count();
        wait_for("more lines", || kept(&project, "out").lines().count() > before + lines);
        kill_engine(&project);
    }
    project.write("enough", "");
    let ended = |stream: &str| kept(&project, stream).lines().last().is_some_and(|line| line.starts_with("end "));
    wait_for("the last line", || ended("out") && ended("err"));
    assert_eq!(project.pid("web"), pid);
    for stream in ["out", "err"] {
        let all = kept(&project, stream);
        let mut lines: Vec<&str> = all.lines().collect();
        let total: usize = lines.pop().and_then(|line| line.strip_prefix("end ")?.parse().ok()).expect("the end");
        assert!(total > 1_000, "{total}");
        assert_eq!(lines.len(), total, "{stream}");
        for (number, line) in lines.into_iter().enumerate() {
            let found = line.split(' ').nth(1).and_then(|text| text.parse().ok());
            assert_eq!(found, Some(number), "{stream}: {line}");
        }
    }
    assert!(fs::read_dir(project.path(".everup/logs")).expect("logs").count() > 6, "they were rotated");
}

#[test]
fn deaths_in_a_row_are_answered_more_and_more_slowly_and_then_all_is_normal() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let web = project.pid("web");
    let guardian = i32::try_from(project.status()["pid"].as_i64().expect("a pid")).expect("a pid fits");
    let mut last = engine(&project);
    send(last, Signal::SIGKILL);
    for _ in 1..8 {
        wait_for("the next engine", || engine_of(guardian).is_some_and(|pid| pid != last));
        last = engine_of(guardian).unwrap_or(last);
        send(last, Signal::SIGKILL);
    }
    wait_for("an engine that stays", || project.status()["engine_pid"].is_i64());
    assert_eq!(project.pid("web"), web);
    let told = project.read("everup.stderr");
    assert!(told.contains("at once") && told.contains(" in 100 ms") && told.contains(" in 200 ms"), "{told}");
    let last = project.events().into_iter().rev().find(|e| e["event"] == "engine_restarted").expect("an event");
    let message = last["message"].as_str().unwrap_or_default().to_owned();
    let deaths = message.split('(').nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(deaths.is_some_and(|deaths| (6..=8).contains(&deaths)), "{message}");
    kill(&project, web, 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
}

/// The engine of a guardian: its child that executes the same program.
fn engine_of(guardian: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{guardian}/task/{guardian}/children")).ok()?;
    let is_engine = |pid: &i32| {
        alive(*pid)
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_everup")))
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_engine)
}

#[test]
fn a_signal_that_comes_while_no_engine_lives_is_not_lost() {
    let mut project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let web = project.pid("web");
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 1000}\n  more: {command: sleep 1000}\n");
    let gap = Gap::begin(&project);
    gap.signal(Signal::SIGHUP);
    gap.end(&project);
    project.wait_ready("more");
    let more = project.pid("more");
    assert_eq!(project.pid("web"), web);
    let gap = Gap::begin(&project);
    gap.signal(Signal::SIGTERM);
    drop(gap);
    assert_eq!(project.wait_end(), Some(0), "{}", project.read("everup.stderr"));
    assert!(!alive(web) && !alive(more));
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("user"), Some("TERM")), "{why:#}");
}

#[test]
fn a_shutdown_under_way_goes_on_to_its_end() {
    let mut project = Project::up(&format!(
        "services:\n  web: {{command: {}, stop: {{timeout: 2500ms}}}}\n  other: {{command: sleep 1000}}\n",
        child("terms terms")
    ));
    wait_for("the child", || project.path("terms.ready").exists());
    project.ok(&["down", "--no-wait"]);
    wait_for("the signal", || project.read("terms") == "TERM\n");
    kill_engine(&project);
    assert_eq!(project.wait_end(), Some(0), "{}", project.read("everup.stderr"));
    assert_eq!(project.read("terms"), "TERM\n");
}

#[test]
fn where_it_is_not_wanted_everything_ends_with_the_engine() {
    let keys = "on_supervisor_death: kill\nservices:\n  web: {command: CHILD}\n".replace("CHILD", &child("stay pids"));
    let run = child("stay pids");
    let mut run: Vec<&str> = run.split(' ').collect();
    run.splice(0..0, ["run", "--"]);
    for args in [vec!["up"], run, vec!["dev"]] {
        let mut project = Project::new(&keys);
        project.start(&args);
        wait_for("the processes", || !project.read("pids").is_empty());
        let pids: Vec<i32> = project.read("pids").split(' ').filter_map(|pid| pid.parse().ok()).collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| alive(*pid)));
        let engine = engine(&project);
        send(engine, Signal::SIGKILL);
        assert_eq!(project.wait_end(), Some(1), "{args:?}");
        assert!(pids.iter().all(|pid| !alive(*pid)), "{args:?}");
    }
}

#[test]
fn however_the_engine_dies_the_next_goes_on() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let web = project.pid("web");
    for signal in [Signal::SIGILL, Signal::SIGABRT, Signal::SIGKILL] {
        kill_engine_by(&project, signal);
        assert_eq!(project.pid("web"), web);
    }
    let guardian = project.status()["pid"].clone();
    assert_eq!(count(&project.events(), "engine_restarted", ""), 3);
    assert_eq!(project.status()["pid"], guardian);
}

#[test]
fn who_comes_while_no_engine_lives_is_answered_by_the_next() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    let gap = Gap::begin(&project);
    let mut stream = UnixStream::connect(project.path(".everup/everup.sock")).expect("the guardian holds it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: everup\r\nConnection: close\r\n\r\n").expect("it waits");
    let mut asking = project.command(&["status", "--json"]).stdout(Stdio::piped()).spawn().expect("everup runs");
    take_a_moment();
    gap.end(&project);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(asking.wait().expect("it ends").success());
}
