//! Commands around a run's life.

use crate::support::{Project, kill, wait_for};

/// Writes one line about itself into `hooks`.
const TELL: &str = "echo $EVERUP_HOOK $EVERUP_SERVICE $EVERUP_INSTANCE run=$EVERUP_RUN cause=$EVERUP_CAUSE >> hooks";

fn told(project: &Project) -> Vec<String> {
    project.read("hooks").lines().map(str::to_owned).collect()
}

#[test]
fn hooks_run_around_a_life_and_know_what_it_is_about() {
    let project = Project::new(
        "services:\n  web:\n    command: sleep 1000\n    restart: {delay: 10ms}\n    hooks: {before_start: sh tell.sh, after_ready: sh tell.sh, after_end: sh tell.sh}\n    stop: {command: sh stop.sh}\n",
    );
    project.write("tell.sh", TELL);
    project.write("stop.sh", &format!("{TELL}\nkill -INT $(cat main.pid)\n"));
    let mut project = project;
    project.start(&["up"]);
    project.wait_ready("web");
    wait_for("after_ready", || told(&project).len() == 2);
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    wait_for("the second after_ready", || told(&project).len() == 5);
    project.write("main.pid", &project.pid("web").to_string());
    project.ok(&["stop", "web"]);
    wait_for("the last hook", || told(&project).len() == 7);
    let told = told(&project);
    assert_eq!(
        told,
        [
            "before_start web web run=1 cause=",
            "after_ready web web run=1 cause=",
            "after_end web web run=1 cause=signal",
            "before_start web web run=2 cause=signal",
            "after_ready web web run=2 cause=signal",
            "stop.command web web run=2 cause=user",
            "after_end web web run=2 cause=user",
        ]
    );
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("user"), Some("INT")), "{why:#}");
}

#[test]
fn a_before_start_that_fails_fails_the_start_and_is_named() {
    let project = Project::up(
        "services:\n  web: {command: sh -c 'touch started; sleep 1000', hooks: {before_start: \"sh -c 'echo no database; exit 9'\"}, \
         restart: {delay: 20s}}\n  gone: {command: sleep 1000, hooks: {before_start: ./not-there}, restart: never}\n  \
         other: {command: sleep 1000}\n",
    );
    for (name, parts) in
        [("web", ["before_start", "exit code 9", "no database"]), ("gone", ["before_start", "No such", ""])]
    {
        project.wait_service(name, "to have failed", |s| s["instances"][0]["last_end"]["cause"] == "spawn_error");
        let why = project.why(name);
        let shown = why["evidence"].to_string();
        assert!(parts.iter().all(|part| shown.contains(part)), "{why:#}");
    }
    assert!(!project.path("started").exists());
    project.wait_ready("other");
}

#[test]
fn a_stop_command_that_fails_or_hangs_does_not_keep_the_service_alive() {
    for command in ["'false'", "sleep 1000"] {
        let project = Project::up(&format!(
            "services:\n  web: {{command: sleep 1000, stop: {{command: {command}, timeout: 700ms}}}}\n"
        ));
        project.wait_ready("web");
        let pid = project.pid("web");
        project.ok(&["stop", "web"]);
        assert!(!crate::support::alive(pid), "{command}");
        assert_eq!(project.service("web")["state"], "stopped");
    }
}

#[test]
fn a_hook_that_leaves_something_behind_has_it_taken_away() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, hooks: {before_start: \"sh -c 'sleep 4323 & echo $! > left.pid'\"}}\n",
    );
    project.wait_ready("web");
    let left: i32 = project.read("left.pid").trim().parse().expect("a pid");
    wait_for("it to be gone", || !crate::support::alive(left));
    project.ok(&["stop", "web"]);
}
