//! What processes use, against psutil's figures for the same ones; limits that control groups keep.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Project, alive, python, text, wait_for};

/// All that a service's first instance uses, from its answer alone.
fn usage(project: &Project, name: &str) -> Value {
    let output = project.everup(&["status", name, "--json"]);
    let service: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    service["instances"][0]["usage"].clone()
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("no {key} in {of:#}"))
}

fn cpu_seconds(usage: &Value) -> f64 {
    (number(usage, "cpu_user_us") + number(usage, "cpu_system_us")) / 1e6
}

/// What psutil says of one process.
fn oracle(pid: i32) -> Value {
    let script = r"
import json, psutil, sys
p = psutil.Process(int(sys.argv[1]))
with p.oneshot():
    cpu, io, full, switches = p.cpu_times(), p.io_counters(), p.memory_full_info(), p.num_ctx_switches()
    fields = open(f'/proc/{p.pid}/stat').read().rsplit(') ', 1)[1].split()
    print(json.dumps({
        'cpu': cpu.user + cpu.system, 'memory_bytes': full.rss, 'pss_bytes': full.pss, 'swap_bytes': full.swap,
        'memory_percent': p.memory_percent(), 'threads': p.num_threads(), 'open_fds': p.num_fds(),
        'max_fds': p.rlimit(psutil.RLIMIT_NOFILE)[0], 'read_bytes': io.read_bytes, 'written_bytes': io.write_bytes,
        'voluntary_switches': switches.voluntary, 'involuntary_switches': switches.involuntary,
        'minor_faults': int(fields[7]), 'major_faults': int(fields[9])}))
";
    let output = Command::new(python()).args(["-c", script, &pid.to_string()]).output().expect("python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("psutil's figures")
}

/// Whether limits of this kind can be kept here; if not, the reason that everup gives is looked for instead.
fn can_limit(project: &Project, check: &str) -> bool {
    let output = project.everup(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("doctor's report");
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let found = checks.iter().find(|one| one["name"] == check).expect("doctor looks at it");
    found["verdict"] == "ok"
}

const BUSY_APP: &str = r"
import os, threading, time
kept = bytearray(os.urandom(40 << 20))
files = [open('/dev/null') for _ in range(7)]
for _ in range(3):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
with open('data', 'wb') as f:
    f.write(kept[:2 << 20])
    os.fsync(f.fileno())
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
open('done', 'w').close()
time.sleep(1000)
";

/// Where our figures of a process are not psutil's; empty where they are.
fn difference(ours: &Value, theirs: &Value) -> String {
    let near = |key: &str, most: f64| {
        let (one, other) = (ours[key].as_f64().unwrap_or(f64::NAN), number(theirs, key));
        if (one - other).abs() <= most { String::new() } else { format!("{key}: {one}, not {other}; ") }
    };
    let mut wrong = String::new();
    for key in ["swap_bytes", "threads", "open_fds", "max_fds", "read_bytes", "written_bytes", "major_faults"] {
        wrong += &near(key, 0.0);
    }
    for (key, share) in [("memory_bytes", 0.03), ("pss_bytes", 0.05), ("memory_percent", 0.03), ("minor_faults", 0.02)]
    {
        wrong += &near(key, number(theirs, key) * share);
    }
    for key in ["voluntary_switches", "involuntary_switches"] {
        wrong += &near(key, 20.0);
    }
    if (cpu_seconds(ours) - number(theirs, "cpu")).abs() > 0.02 {
        wrong += "cpu; ";
    }
    wrong
}

#[test]
fn the_figures_are_psutils() {
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: [{}, app.py], limits: {{open_files: 321}}}}\n",
        python().display()
    ));
    project.write("app.py", BUSY_APP);
    project.start(&["up"]);
    wait_for("the app to be at rest", || project.path("done").exists());
    let pid = project.pid("web");
    // Not every reading reads everything, and what is read lags behind; at rest both come to say the same.
    let (mut ours, mut wrong) = (Value::Null, String::new());
    let until = Instant::now() + Duration::from_secs(30);
    wait_for("our figures to be psutil's", || {
        ours = usage(&project, "web");
        wrong = if ours.is_null() { "no figures".to_owned() } else { difference(&ours, &oracle(pid)) };
        wrong.is_empty() || Instant::now() > until
    });
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(ours["processes"], 1);
    assert!(number(&ours, "written_bytes") >= 2_097_152.0 && cpu_seconds(&ours) >= 0.3);
    assert_eq!(ours["io_wait_us"].is_null(), ours["io_wait_from"].is_null());

    let shown = text(&project.everup(&["status", "web"]).stdout);
    for part in
        ["cpu ", " resident, ", "with what is shared counted once", "may have 321", " read, ", " forced", "I/O wait"]
    {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert!(project.instance("web", 0)["usage"].is_null(), "the whole project's status stays small");
}

#[test]
fn a_tree_keeps_what_a_child_used_that_has_ended() {
    let burn = "import time\nwhile time.process_time() < 0.8: pass";
    let project = Project::up(&format!(
        "services:\n  web: {{command: [sh, -c, '{} -c \"$BURN\"; touch done; sleep 1000'], env: {{BURN: \"{}\"}}}}\n",
        python().display(),
        burn.replace('\n', "\\n")
    ));
    let mut most = 0.0;
    let mut look = || {
        let used = usage(&project, "web");
        if used.is_object() {
            let seconds = cpu_seconds(&used);
            assert!(seconds >= most, "it went down from {most} to {seconds}");
            most = seconds;
        }
        used
    };
    wait_for("the child to have ended", || {
        look();
        project.path("done").exists()
    });
    wait_for("a reading after its end", || look().is_object() && cpu_seconds(&look()) >= 0.75);
    let used = cpu_seconds(&look());
    assert!(used < 1.4, "counted once: {used}");
}

/// Takes 4 MiB at a time until it has `mib`.
fn eater(mib: u32) -> String {
    format!(
        // Should the kernel have to choose, it is this one.
        "import time\nopen('/proc/self/oom_score_adj', 'w').write('1000')\nkept = []\nfor _ in range({mib} // 4):\n    kept.append(bytearray(b'x') * (4 << 20))\ntime.sleep(1000)\n"
    )
}

#[test]
fn beyond_its_limit_of_memory_a_service_is_killed_and_why_proves_it() {
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: [{}, app.py], restart: never, limits: {{memory: 64MiB}}}}\n",
        python().display()
    ));
    project.write("app.py", &eater(400));
    project.start(&["up"]);
    if !can_limit(&project, "memory limit") {
        project.wait_service("web", "to say what is missing", |service| {
            service["warnings"].as_array().is_some_and(|all| all.iter().any(|one| one["code"] == "no_memory_limit"))
        });
        return;
    }
    project.wait_service("web", "to be killed", |service| service["state"] == "exited");
    let why = project.why("web");
    assert_eq!((&why["cause"], &why["certainty"], &why["signal"]), (&"oom".into(), &"certain".into(), &"KILL".into()));
    assert_eq!(why["evidence"][0], "its control group counted 1 kill for memory (limit 64 MiB)");
    assert!(project.service("web")["warnings"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_worker_killed_for_memory_is_counted_and_the_rest_lives_on() {
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: [sh, -c, '{} app.py; sleep 1000'], limits: {{memory: 64MiB}}}}\n",
        python().display()
    ));
    project.write("app.py", &eater(400));
    project.start(&["up"]);
    if !can_limit(&project, "memory limit") {
        println!("skipped: memory cannot be limited here");
        return;
    }
    let mut used = Value::Null;
    wait_for("the worker to be killed", || {
        used = usage(&project, "web");
        used["oom_kills"] == 1
    });
    assert_eq!(used["memory_limit_bytes"], 64 << 20);
    let service = project.service("web");
    if service["restarts"] != 0 && project.why("web")["cause"] == "oom" {
        println!("skipped: the kernel has killed the shell, too");
        return;
    }
    let as_before = (&service["state"], &service["restarts"]) == (&"running".into(), &0.into());
    assert!(as_before, "{}", project.why("web"));
    // Another kill, by a person, is not taken for one of memory.
    let pid = project.pid("web");
    crate::support::kill(&project, pid, 9);
    project.wait_service("web", "to be restarted", |service| service["restarts"] == 1);
    assert_eq!(project.why("web")["cause"], "signal");
}

#[test]
fn a_busy_loop_gets_its_share_of_the_cpu_and_the_groups_are_cleared_away() {
    let mut project =
        Project::up("services:\n  web: {command: [sh, -c, 'while :; do :; done'], limits: {cpu: 0.2, memory: 1GiB}}\n");
    if !can_limit(&project, "cpu limit") {
        project.wait_service("web", "to say what is missing", |service| {
            service["warnings"].as_array().is_some_and(|all| all.iter().any(|one| one["code"] == "no_cpu_limit"))
        });
        return;
    }
    let pid = project.pid("web");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    wait_for("the kernel to hold it back", || {
        group_files(&groups, "cpu.stat").iter().any(|counts| {
            let throttled = counts.lines().find_map(|line| line.strip_prefix("nr_throttled "));
            throttled.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0)
        })
    });
    wait_for("its use to be shown", || usage(&project, "web")["cpu_user_us"].as_u64() > Some(0));
    project.ok(&["down"]);
    project.wait_end();
    wait_for("the process to be gone", || !alive(pid));
    let left = group_files(&groups, "cgroup.procs");
    assert!(left.is_empty(), "groups are left of {groups}");
}

/// This file of each of everup's own groups among those a process says it is in, whatever the hierarchy.
fn group_files(groups: &str, name: &str) -> Vec<String> {
    let ours: Vec<&str> =
        groups.lines().filter(|line| line.contains("/everup-")).filter_map(|line| line.rsplit(':').next()).collect();
    ["", "/memory", "/cpu", "/unified"]
        .iter()
        .flat_map(|tree| ours.iter().map(move |group| format!("/sys/fs/cgroup{tree}{group}/{name}")))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

#[test]
fn a_service_that_stays_above_memory_restart_is_restarted() {
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: [{}, app.py], memory_restart: {{above: 60MiB, for: 1s}}}}\n",
        python().display()
    ));
    project.write("app.py", &eater(120));
    project.start(&["up"]);
    project.wait_service("web", "to be restarted", |service| service["restarts"].as_u64() >= Some(1));
    let why = project.why("web");
    assert_eq!((&why["cause"], &why["certainty"]), (&"memory_limit".into(), &"certain".into()));
    let evidence = why["evidence"][0].as_str().unwrap_or_default();
    assert!(evidence.starts_with("memory 1") && evidence.ends_with(" MiB stayed above 60 MiB for 1s"), "{evidence}");
    let told = text(&project.everup(&["why", "web"]).stdout);
    assert!(told.contains("memory limit") && told.contains("stayed above 60 MiB"), "{told}");
}
