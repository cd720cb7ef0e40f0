//! The engine is killed while somebody talks to it: what can be asked again is, and who follows goes on where he was.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::resume::{child, engine, kill_engine, send};
use crate::support::{Project, kill, wait_for};

/// An everup command at work, writing into a file.
fn begin(project: &Project, args: &[&str], into: &str) -> Child {
    let out = File::create(project.path(into)).expect("a file");
    let err = File::create(project.path(&format!("{into}.err"))).expect("a file");
    project.command(args).stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("everup runs")
}

fn end(mut child: Child) {
    child.kill().expect("it can be ended");
    child.wait().expect("it ends");
}

/// The numbers of the child's lines, per output.
fn numbers(text: &str, stream: &str, word: &str) -> Vec<u64> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mine = lines.filter(|line| line["stream"] == stream);
    mine.filter_map(|line| line["line"].as_str()?.strip_prefix(word)?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn who_follows_logs_and_events_misses_nothing_and_reads_nothing_twice() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: {}, logs: {{max_size: 64KiB, keep: 1000}}}}\n  crash: {{command: sleep 0.05, restart: {{delay: 20ms, jitter: 0, max_delay: 20ms}}}}\n",
        child("lines 0.004")
    ));
    project.wait_ready("web");
    let logs = begin(&project, &["logs", "-f", "web", "--json"], "followed.logs");
    let events = begin(&project, &["events", "-f", "--json"], "followed.events");
    let nothing_yet = begin(&project, &["events", "web", "-f", "--json"], "followed.web");
    wait_for("the first lines", || project.read("followed.logs").lines().count() > 60);
    wait_for("the first events", || project.read("followed.events").lines().count() > 3);
    for _ in 0..6 {
        let (lines, told) = (project.read("followed.logs").len(), project.read("followed.events").len());
        kill_engine(&project);
        wait_for("more of both", || {
            project.read("followed.logs").len() > lines + 2_000 && project.read("followed.events").len() > told
        });
    }
    project.write("enough", "");
    let is_at_end = || numbers(&project.read("followed.logs"), "stderr", "end ").len() == 1;
    wait_for("the last line", || is_at_end() && numbers(&project.read("followed.logs"), "stdout", "end ").len() == 1);
    let followed = project.read("followed.logs");
    for (stream, word) in [("stdout", "out "), ("stderr", "err ")] {
        let total = numbers(&followed, stream, "end ")[0];
        let numbers = numbers(&followed, stream, word);
        let expected: Vec<u64> = (numbers[0]..total).collect();
        let odd = numbers.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(numbers, expected, "{stream}, from place {odd:?} on");
    }
    let followed = project.read("followed.events");
    let seqs: Vec<u64> =
        followed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seq"].as_u64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert_eq!(followed.matches("\"engine_restarted\"").count(), 6);
    project.ok(&["stop", "web"]);
    wait_for("its event", || project.read("followed.web").contains("\"ended\""));
    for name in ["followed.logs.err", "followed.events.err", "followed.web.err"] {
        assert_eq!(project.read(name), "");
    }
    [logs, events, nothing_yet].into_iter().for_each(end);
}

#[test]
fn questions_are_answered_through_one_death_after_another() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    for round in 0..6 {
        let asked = [["status", "--json"], ["events", "--json"], ["why", "web"], ["logs", "web"]];
        let before = engine(&project);
        let asking: Vec<Child> =
            asked.iter().enumerate().map(|(n, args)| begin(&project, args, &format!("asked.{n}"))).collect();
        send(before, Signal::SIGKILL);
        for (n, mut child) in asking.into_iter().enumerate() {
            let status = child.wait().expect("it ends");
            assert!(status.success(), "{round} {:?}: {}", asked[n], project.read(&format!("asked.{n}.err")));
        }
        wait_for("another engine", || engine(&project) != before);
    }
}

#[test]
fn what_may_be_asked_twice_is_and_of_the_rest_it_is_said_that_it_is_not_known() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: {}, stop: {{timeout: 2500ms}}}}\n  other: {{command: sleep 1000}}\n",
        child("terms terms")
    ));
    wait_for("the child", || project.path("terms.ready").exists());
    let mut stop = begin(&project, &["stop", "web"], "stop");
    wait_for("the signal", || project.read("terms") == "TERM\n");
    kill_engine(&project);
    assert_eq!(stop.wait().expect("it ends").code(), Some(0), "{}", project.read("stop.err"));
    assert_eq!(project.service("web")["state"], "stopped");

    for name in ["terms", "terms.ready"] {
        fs::remove_file(project.path(name)).expect("a file");
    }
    project.ok(&["start", "web"]);
    wait_for("the child", || project.path("terms.ready").exists());
    let mut restart = begin(&project, &["restart", "web"], "restart");
    wait_for("the signal", || project.read("terms") == "TERM\n");
    kill_engine(&project);
    assert_eq!(restart.wait().expect("it ends").code(), Some(1));
    let said = project.read("restart.err");
    assert!(said.contains("everup's engine was restarted") && said.contains("`everup status` shows"), "{said}");
    // It was heard all the same.
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["run"] == 3 && web["ready"] == true);
    assert_eq!(project.read("terms"), "TERM\n");
}

#[test]
fn down_ends_as_asked_though_the_engine_dies_over_it() {
    let mut project =
        Project::up(&format!("services:\n  web: {{command: {}, stop: {{timeout: 2500ms}}}}\n", child("terms terms")));
    wait_for("the child", || project.path("terms.ready").exists());
    let mut down = begin(&project, &["down"], "down");
    wait_for("the signal", || project.read("terms") == "TERM\n");
    send(engine(&project), Signal::SIGKILL);
    assert_eq!(down.wait().expect("it ends").code(), Some(0), "{}", project.read("down.err"));
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn a_kill_of_the_service_at_the_same_moment_is_no_loss() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, restart: {delay: 10ms, limit: {count: 1000, within: 1h}}}\n",
    );
    for run in 1..=10 {
        project.wait_service("web", "to run", |web| web["instances"][0]["run"] == run && web["ready"] == true);
        let (web, engine) = (project.pid("web"), engine(&project));
        if run % 2 == 0 {
            kill(&project, web, 9);
            send(engine, Signal::SIGKILL);
        } else {
            send(engine, Signal::SIGKILL);
            kill(&project, web, 9);
        }
    }
    project.wait_service("web", "to run", |web| web["instances"][0]["run"] == 11 && web["ready"] == true);
    let events = project.ok(&["events", "--json", "--since", "seq:0"]);
    for word in ["ended", "starting"] {
        let runs: Vec<u64> = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["event"] == word)
            .filter_map(|event| event["run"].as_u64())
            .collect();
        let last = if word == "ended" { 10 } else { 11 };
        assert_eq!(runs, (1..=last).collect::<Vec<_>>(), "{word}");
    }
}
