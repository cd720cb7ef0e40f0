//! What was used over time: told while everup runs and when it does not, and open to anybody with sqlite3.

use std::process::Command;

use serde_json::Value;

use crate::support::{Project, text, wait_for};

/// A program that keeps some memory and some files, and works a little.
const BUSY: &str = "services:\n  web:\n    command: [python3, -u, work.py]\n    stop: {timeout: 2s}\n";
const WORK: &str = "\
import time
kept = bytearray(40 << 20)
files = [open('/dev/null') for _ in range(20)]
while True:
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        pass
    time.sleep(0.1)
";

fn working() -> Project {
    let mut project = Project::new(BUSY);
    project.write("work.py", WORK);
    project.start(&["up"]);
    project.wait_ready("web");
    project
}

fn json(project: &Project, args: &[&str]) -> Value {
    let output = project.everup(args);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// Waits until a row tells everything; each look has usage read.
fn recorded(project: &Project) -> Value {
    let mut row = Value::Null;
    wait_for("a row with everything in it", || {
        project.status();
        let report = json(project, &["history", "web", "--json"]);
        row = report["rows"].as_array().and_then(|rows| rows.last()).cloned().unwrap_or(Value::Null);
        let working = row["cpu_percent"].as_f64().is_some_and(|cpu| cpu > 1.0);
        working && row["memory_bytes"].as_u64() > Some(40 << 20) && row["open_fds"].as_u64() >= Some(20)
    });
    row
}

#[test]
fn a_service_that_runs_has_a_table_csv_and_json() {
    let project = working();
    let row = recorded(&project);
    assert_eq!(
        (row["instance"].as_str(), row["run"].as_u64(), row["processes"].as_u64()),
        (Some("web"), Some(1), Some(1))
    );
    assert!(row["threads"].as_u64() >= Some(1) && row["switches"].as_u64() > Some(0), "{row:#}");

    let table = project.ok(&["history", "web", "--since", "10m"]);
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|heading| heading.starts_with("TIME") && heading.contains("MEM")), "{table}");
    assert!(lines.next().is_some_and(|row| row.contains("MiB") && row.contains('%')), "{table}");

    let csv = project.ok(&["history", "web", "--csv"]);
    let heading =
        "time,service,instance,run,cpu_percent,memory_bytes,processes,threads,open_fds,read_bytes,written_bytes";
    assert_eq!(csv.lines().next(), Some(heading));
    let last: Vec<&str> = csv.lines().last().unwrap_or_default().split(',').collect();
    assert_eq!((last.len(), last[1], last[3]), (11, "web", "1"), "{csv}");
    let csv = project.ok(&["history", "web", "--csv", "--metric", "memory,cpu"]);
    assert_eq!(csv.lines().next(), Some("time,service,instance,run,memory_bytes,cpu_percent"));

    let only = json(&project, &["history", "web/1", "--json", "--metric", "fds"]);
    assert!(only["rows"][0]["open_fds"].is_u64() && only["rows"][0]["cpu_percent"].is_null(), "{only:#}");
}

#[test]
fn what_cannot_be_told_says_why_and_what_to_do() {
    let project = working();
    let refused = |args: &[&str]| {
        let output = project.everup(args);
        assert!(!output.status.success(), "{args:?}");
        (output.status.code(), text(&output.stderr))
    };
    let (code, told) = refused(&["history", "web", "--metric", "memroy"]);
    assert!(code == Some(2) && told.contains("did you mean memory?"), "{told}");
    let (code, told) = refused(&["history", "wbe"]);
    assert!(code == Some(4) && told.contains("did you mean web?"), "{told}");
    let (code, told) = refused(&["history", "web", "--csv", "--json"]);
    assert!(code == Some(2) && told.contains("CSV"), "{told}");
    let (code, told) = refused(&["history", "web", "--since", "1m", "--until", "1h"]);
    assert!(code == Some(2) && told.contains("--since"), "{told}");
    let output = project.everup(&["history", "web", "--since", "2h", "--until", "1h"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(text(&output.stderr).contains("nothing of web was recorded"), "{}", text(&output.stderr));
}

#[test]
fn the_database_is_read_without_everup_by_it_and_by_python() {
    let mut project = working();
    recorded(&project);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));

    let output = project.everup(&["history", "web", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["rows"][0]["memory_bytes"].as_u64() > Some(0), "{report:#}");
    assert!(text(&output.stderr).contains("no supervisor runs"), "{}", text(&output.stderr));

    let script = "\
import json, sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
db.row_factory = sqlite3.Row
views = {name: [dict(row) for row in db.execute(f'SELECT * FROM {name}')] for name in ('usage', 'usage_1m', 'usage_1h')}
assert db.execute('PRAGMA integrity_check').fetchone()[0] == 'ok'
print(json.dumps(views))
";
    let read = Command::new("python3").args(["-c", script]).arg(project.path(".everup/history.db")).output();
    let read = read.expect("python3 runs");
    assert!(read.status.success(), "{}", text(&read.stderr));
    let views: Value = serde_json::from_slice(&read.stdout).expect("JSON");
    let rows = views["usage"].as_array().expect("rows");
    let stored = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), stored.len());
    for (row, same) in rows.iter().zip(stored) {
        assert_eq!(row["service"], "web");
        let time = row["time"].as_str().and_then(|time| time.strip_suffix('Z')).expect("a time");
        assert!(same["at"].as_str().is_some_and(|at| at.starts_with(time)), "{row} {same}");
        for key in
            ["run", "memory_bytes", "processes", "threads", "open_fds", "read_bytes", "written_bytes", "switches"]
        {
            assert_eq!(row[key], same[key], "{key}");
        }
    }
}

#[test]
fn a_run_that_grew_before_its_end_shows_its_trend_and_not_as_the_cause() {
    let mut project = Project::new(
        "services:\n  web: {command: [python3, -u, leak.py], restart: {delay: 20s}, limits: {open_files: 256}}\n",
    );
    project.write(
        "leak.py",
        "import os, time\nkept, files = [], []\nwhile not os.path.exists('enough'):\n    time.sleep(0.05)\n\
         for _ in range(12):\n    kept.append(bytearray(8 << 20))\n    files += [open('/dev/null') for _ in range(20)]\n\
         while not os.path.exists('over'):\n    time.sleep(0.05)\nos._exit(3)\n",
    );
    project.start(&["up"]);
    let used = |least: u64, files: u64| {
        let web = project.instance("web", 0);
        web["memory_bytes"].as_u64() >= Some(least) && web["open_fds"].as_u64() >= Some(files)
    };
    wait_for("a first reading", || used(1, 1));
    project.write("enough", "");
    wait_for("it to be read with all it took", || used(96 << 20, 240));
    project.write("over", "");
    wait_for("the end to be written down", || project.why("web")["code"] == 3);
    let why = project.why("web");
    let trend = &why["trend"];
    assert!(trend["memory_end_bytes"].as_u64() > trend["memory_start_bytes"].as_u64(), "{why:#}");
    assert_eq!((why["cause"].as_str(), trend["max_fds"].as_u64()), (Some("exit"), Some(256)), "{why:#}");
    let told = project.ok(&["why", "web"]);
    let line = told.lines().find(|line| line.trim_start().starts_with("trend")).unwrap_or_default();
    assert!(
        line.contains("memory") && line.contains('→') && line.contains("of 256 (nearly all it may open)"),
        "{told}"
    );
    assert!(told.contains("cause     exit, certain"), "{told}");
}
