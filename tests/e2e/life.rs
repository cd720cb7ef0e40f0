//! Start, crash, restart, stop.

use crate::support::{Project, alive, free_port, get, kill, wait_for};

const KILL: i32 = 9;

#[test]
fn a_killed_program_is_back_with_a_new_run() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    kill(&project, pid, KILL);
    project.wait_service("web", "to have run 2", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert!(!alive(pid));
    let web = project.instance("web", 0);
    assert_eq!(web["restarts"], 1);
    assert_eq!(web["last_end"]["signal"], "KILL");
    assert_ne!(web["pid"], pid);
}

#[test]
fn ready_means_that_health_answers() {
    let port = free_port();
    let project = Project::up(&format!(
        "services:\n  web: {{command: '${{EVERUP}} demo-app --port ${{PORT}}', port: {port}, \
         health: 'http://127.0.0.1:${{PORT}}/health'}}\n"
    ));
    project.wait_ready("web");
    assert_eq!(get(port, "/health").expect("an answer").0, 200);
    assert_eq!(project.service("web")["healthy"], true);
    project.ok(&["stop", "web"]);
    assert!(get(port, "/health").is_none());
}

#[test]
fn what_is_needed_comes_first_and_goes_last() {
    let project = Project::up(
        "services:\n  app: {command: sleep 1000, needs: [db]}\n  db: {command: sleep 1000, needs: {setup: completed}}\n  \
         setup: {type: task, command: 'true'}\n",
    );
    project.wait_ready("app");
    let started: Vec<String> = project
        .events()
        .iter()
        .filter(|event| event["event"] == "started")
        .map(|event| event["service"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(started, ["setup", "db", "app"]);
    let (db, app) = (project.pid("db"), project.pid("app"));
    project.ok(&["down"]);
    wait_for("everything to be gone", || !alive(db) && !alive(app));
    let stopping: Vec<String> = project
        .events()
        .iter()
        .filter(|event| event["event"] == "ended" && event["service"] != "setup")
        .map(|event| event["service"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(stopping, ["app", "db"]);
}

#[test]
fn a_program_that_is_not_there_fails_alone_and_says_what_is_missing() {
    let project = Project::up(
        "services:\n  ghost: {command: no-such-program-anywhere}\n  lost: {command: sleep 1000, cwd: gone}\n  \
         web: {command: sleep 1000}\n",
    );
    project.wait_ready("web");
    for (name, stage) in [("ghost", "program"), ("lost", "cwd")] {
        project
            .wait_service(name, "to have failed to start", |s| s["instances"][0]["last_end"]["cause"] == "spawn_error");
        let why = project.why(name);
        let evidence = why["evidence"][0].as_str().unwrap_or_default();
        assert!(evidence.contains(stage) && evidence.contains("No such file"), "{evidence}");
        assert_eq!(why["certainty"], "certain");
    }
}

#[test]
fn sigterm_ends_everup_in_order_with_code_0() {
    let mut project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    let guardian = i32::try_from(project.supervisor().id()).expect("a pid");
    assert_eq!(project.status()["pid"], guardian);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), nix::sys::signal::Signal::SIGTERM).expect("our child");
    assert_eq!(project.wait_end(), Some(0));
    assert!(!alive(pid));
    assert!(!project.path(".everup/everup.sock").exists());
}

#[test]
fn a_signal_to_the_whole_group_stops_in_order() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    // Ctrl-C reaches the engine too; timeout(1) and systemd signal the guardian twice.
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut project = Project::up(
            "services:\n  web: {command: 'sh -c \"trap \\\"sleep 0.3; echo bye; exit 0\\\" TERM; while :; do sleep 0.05; done\"'}\n",
        );
        project.wait_ready("web");
        let guardian = Pid::from_raw(i32::try_from(project.supervisor().id()).expect("a pid"));
        let engine = project.status()["engine_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        for pid in [guardian, Pid::from_raw(engine), guardian] {
            kill(pid, signal).expect("our child, or its");
        }
        assert_eq!(project.wait_end(), Some(0), "{signal}: {}", project.read("everup.stderr"));
        assert_eq!(project.why("web")["code"], 0, "{signal}: {:#}", project.why("web"));
        assert!(project.read("everup.stdout").contains("bye"), "{signal}");
    }
}

#[test]
fn a_hang_up_without_a_terminal_applies_the_file() {
    let project = Project::new("services:\n  web: {command: sleep 1000}\n");
    project.ok(&["up", "-d", "--wait"]);
    let pid = project.pid("web");
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 1000}\n  db: {command: sleep 1000}\n");
    let guardian = project.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), nix::sys::signal::Signal::SIGHUP).expect("ours");
    project.wait_ready("db");
    assert_eq!(project.pid("web"), pid);
    project.ok(&["down"]);
}

#[test]
fn exit_with_ends_everup_with_the_programs_code() {
    let mut project = Project::new(
        "exit_with: job\nservices:\n  job: {command: 'sh -c \"sleep 0.3; exit 3\"', restart: never}\n  \
         helper: {command: sleep 1000}\n",
    );
    project.start(&["up"]);
    assert_eq!(project.wait_end(), Some(3));
}

#[test]
fn run_ends_with_the_programs_own_code() {
    let project = Project::new("services: {}\n");
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let output = project.everup(&["run", "--restart", "never", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", crate::support::text(&output.stderr));
    }
    let output = project.everup(&["run", "--", "no-such-program-anywhere"]);
    assert_eq!(output.status.code(), Some(127));
    let output = project.everup(&["run", "--", "/etc/hostname"]);
    assert_eq!(output.status.code(), Some(126));
}

#[test]
fn run_passes_bytes_through_and_records_them() {
    let project = Project::new("services: {}\n");
    let script = "printf 'out\\001without newline'; printf 'err\\n' >&2; cat";
    let output = project.command(&["run", "--name", "echo", "--restart", "never", "--", "sh", "-c", script]).output();
    let output = output.expect("everup runs");
    assert_eq!(output.stdout, b"out\x01without newline");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(project.read(".everup/echo/logs/echo.out.log"), "out\u{1}without newline");
    assert_eq!(project.read(".everup/echo/logs/echo.err.log"), "err\n");
}

#[test]
fn after_end_is_told_how_the_run_ended() {
    let project = Project::up(
        "services:\n  web: {command: 'sh -c \"exit 3\"', restart: never, instances: 2, port: 9000, \
         hooks: {after_end: 'sh -c \"env > told.${INDEX}; mv told.${INDEX} told-${INDEX}\"'}}\n",
    );
    wait_for("the hook", || project.path("told-2").exists());
    let told = project.read("told-2");
    for line in ["EVERUP_CAUSE=exit", "EVERUP_EXIT_CODE=3", "EVERUP_INSTANCE=web/2", "EVERUP_SERVICE=web", "PORT=9001"]
    {
        assert!(told.lines().any(|found| found == line), "{line} is missing in\n{told}");
    }
}
