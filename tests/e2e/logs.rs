//! What children write is kept, byte for byte.

use std::fmt::Write as _;
use std::fs;

use crate::support::{Project, wait_for};

/// The bytes of a stream over its rotated files, oldest first.
fn whole(project: &Project, stream: &str) -> Vec<u8> {
    let file = |n: usize| match n {
        0 => format!(".everup/logs/web.{stream}.log"),
        n => format!(".everup/logs/web.{stream}.log.{n}"),
    };
    (0..1_000).rev().filter_map(|n| fs::read(project.path(&file(n))).ok()).flatten().collect()
}

#[test]
fn both_streams_are_kept_exactly_through_rotation() {
    let script = "import os,sys\nfor i in range(40000):\n  os.write(1, b'out %06d %s\\n' % (i, b'x' * (i % 97)))\n  \
                  os.write(2, b'err %06d %s\\n' % (i, b'y' * (i % 89)))\n";
    let project = Project::new(
        "services:\n  web: {command: python3 -u write.py, type: task, logs: {max_size: 256KiB, keep: 900}}\n",
    );
    project.write("write.py", script);
    let mut project = project;
    project.start(&["up"]);
    project.wait_service("web", "to complete", |web| web["state"] == "exited");
    let (mut out, mut err) = (String::new(), String::new());
    for i in 0..40_000 {
        let _ = writeln!(out, "out {i:06} {}", "x".repeat(i % 97));
        let _ = writeln!(err, "err {i:06} {}", "y".repeat(i % 89));
    }
    wait_for("all of stdout", || whole(&project, "out").len() == out.len());
    wait_for("all of stderr", || whole(&project, "err").len() == err.len());
    assert!(whole(&project, "out") == out.as_bytes(), "stdout differs");
    assert!(whole(&project, "err") == err.as_bytes(), "stderr differs");
    assert!(project.path(".everup/logs/web.out.log.3").exists(), "nothing was rotated");
    for n in 1..4 {
        let file = fs::read(project.path(&format!(".everup/logs/web.out.log.{n}"))).expect("a rotated file");
        assert!(file.starts_with(b"out ") && file.ends_with(b"\n"), "a line is torn over two files");
    }
}

#[test]
fn a_flood_does_not_delay_another_service() {
    let project = Project::up(
        "services:\n  flood: {command: 'yes a flood of text', logs: {max_size: 1MiB, keep: 1}}\n  \
         quiet: {command: 'sh -c \"while :; do sleep 0.2; echo still here; done\"'}\n",
    );
    project.wait_ready("quiet");
    wait_for("the quiet one to be heard", || project.ok(&["logs", "quiet", "-n", "3"]).lines().count() >= 3);
    crate::support::kill(&project, project.pid("quiet"), 9);
    project.wait_service("quiet", "to be back", |quiet| quiet["instances"][0]["run"] == 2);
}

#[test]
fn logs_merge_services_and_name_run_and_stream() {
    let project = Project::up(
        "services:\n  one: {command: 'sh -c \"echo from one; echo trouble >&2; sleep 1000\"'}\n  \
         two: {command: 'sh -c \"echo from two; sleep 1000\"'}\n",
    );
    wait_for("three lines", || project.ok(&["logs", "--json"]).lines().count() == 3);
    let lines: Vec<serde_json::Value> =
        project.ok(&["logs", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let trouble = lines.iter().find(|line| line["line"] == "trouble").expect("stderr");
    assert_eq!((trouble["stream"].as_str(), trouble["run"].as_u64()), (Some("stderr"), Some(1)));
    let only = project.ok(&["logs", "two"]);
    assert!(only.contains("from two") && !only.contains("from one"), "{only}");
    let grepped = project.ok(&["logs", "--grep", "tr.uble"]);
    assert!(grepped.contains("trouble") && !grepped.contains("from"), "{grepped}");
}

#[test]
fn a_full_disk_never_stops_a_child() {
    let project = Project::up(
        "services:\n  web: {command: 'sh -c \"while :; do echo line; sleep 0.01; done\"', logs: {file: /dev/full}}\n",
    );
    project.wait_ready("web");
    wait_for("the loss to be told", || project.events().iter().any(|event| event["event"] == "log_lost"));
    assert_eq!(project.service("web")["restarts"], 0);
}
