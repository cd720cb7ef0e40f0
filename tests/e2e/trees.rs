//! Whole process trees: nothing is left behind, whatever shape a program takes.

use std::fs;

use crate::support::{Project, alive, kill, wait_for};

/// A wrapper whose child ignores that the wrapper ends.
const WRAPPER: &str = r#"sh -c 'sleep 4321 & echo $! > child.pid; trap "exit 0" TERM; while :; do sleep 1; done'"#;
/// A process that puts itself into a session of its own.
const ESCAPEE: &str = r#"sh -c 'setsid -f sh -c "echo \$\$ > escaped.pid; exec sleep 4322"; sleep 1000'"#;

fn written_pid(project: &Project, file: &str) -> i32 {
    wait_for(file, || project.read(file).trim().parse::<i32>().is_ok());
    project.read(file).trim().parse().expect("a pid")
}

#[test]
fn stop_ends_only_when_the_whole_tree_is_gone() {
    for (command, file) in [(WRAPPER, "child.pid"), (ESCAPEE, "escaped.pid")] {
        let project =
            Project::up(&format!("services:\n  web:\n    command: {}\n    stop: {{timeout: 3s}}\n", yaml(command)));
        project.wait_ready("web");
        let child = written_pid(&project, file);
        assert!(alive(child), "{file}");
        project.ok(&["stop", "web"]);
        assert!(!alive(child), "{file} was left behind");
    }
}

#[test]
fn a_crash_takes_the_rest_of_its_tree_along() {
    let project = Project::up(&format!("services:\n  web:\n    command: {}\n", yaml(ESCAPEE)));
    project.wait_ready("web");
    let escaped = written_pid(&project, "escaped.pid");
    kill(&project, project.pid("web"), 9);
    wait_for("the escapee to be gone", || !alive(escaped));
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2);
}

#[test]
fn two_hundred_restarts_leak_nothing_and_leave_no_zombie() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, restart: {delay: 0ms, jitter: 0, limit: {count: 100000, within: 1s}}}\n",
    );
    project.wait_ready("web");
    let status = project.status();
    let own: Vec<i64> = ["pid", "engine_pid"].iter().filter_map(|key| status[*key].as_i64()).collect();
    let restart = |run: u64| {
        kill(&project, project.pid("web"), 9);
        project.wait_service("web", "to be back", |web| {
            web["instances"][0]["run"].as_u64() > Some(run) && web["ready"] == true
        });
    };
    let run = || project.instance("web", 0)["run"].as_u64().expect("a run");
    for _ in 0..5 {
        restart(run());
    }
    let before = open_files(&own);
    for _ in 0..195 {
        restart(run());
    }
    // Those of the run that is measured now come and go with it; a leak of one a restart would be two hundred.
    wait_for("descriptors to be given back", || open_files(&own) <= before + 20);
    let zombies: Vec<String> = own.iter().flat_map(|pid| zombies_of(*pid)).collect();
    assert!(zombies.is_empty(), "{zombies:?}");
    assert_eq!(run(), 201);
}

#[test]
fn a_child_inherits_no_descriptor_but_its_three() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let mut fds: Vec<String> = fs::read_dir(format!("/proc/{}/fd", project.pid("web")))
        .expect("the child's descriptors")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    fds.sort();
    assert_eq!(fds, ["0", "1", "2"]);
}

fn open_files(pids: &[i64]) -> usize {
    pids.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

fn zombies_of(parent: i64) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z ")))
        .map(str::to_owned)
        .collect()
}

/// A text as a YAML scalar.
fn yaml(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

#[test]
#[ignore = "needs npm: bash tests/peers/setup"]
fn npm_start_leaves_nothing_behind() {
    let port = crate::support::free_port();
    let project = Project::new(&format!(
        "services:\n  web: {{command: npm start --silent, port: {port}, stop: {{timeout: 3s}}, \
         health: {{tcp: '127.0.0.1:{port}', start_timeout: 40s}}}}\n"
    ));
    project.write("package.json", r#"{"name": "app", "version": "1.0.0", "scripts": {"start": "node server.js"}}"#);
    project.write(
        "server.js",
        "require('fs').writeFileSync('node.pid', String(process.pid));\n\
         require('http').createServer((q, a) => a.end('hello')).listen(process.env.PORT, '127.0.0.1');\n",
    );
    let mut project = project;
    project.start(&["up"]);
    for _ in 0..3 {
        project.wait_ready("web");
        let node = written_pid(&project, "node.pid");
        project.ok(&["restart", "web"]);
        assert!(!alive(node), "node was left behind, holding the port");
    }
}
