//! How everup itself ends, or is ended.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::support::{PATIENCE, Project, alive, wait_for};

const IN_ORDER: &str = "services:\n  app: {command: sleep 1000, needs: [db]}\n  db: {command: sleep 1000}\n";

fn raw(pid: i64) -> Pid {
    let pid = i32::try_from(pid).expect("a pid");
    assert!(pid > 1, "not a process to signal");
    Pid::from_raw(pid)
}

#[test]
fn a_signal_to_the_whole_group_is_one_orderly_stop() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        let project = Project::new(IN_ORDER);
        let mut command = project.command(&["up"]);
        let mut everup =
            command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn().expect("everup starts");
        project.wait_ready("app");
        let group = raw(i64::from(everup.id()));
        killpg(group, signal).expect("the group of our child");
        let mut code = None;
        wait_for("everup to end", || {
            code = everup.try_wait().expect("a child of ours").map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(0)), "{signal}");
        let events = project.events();
        let at = |service: &str, word: &str| events.iter().position(|e| e["service"] == service && e["event"] == word);
        let (gone, next) = (at("app", "ended"), at("db", "stopping"));
        assert!(gone.is_some() && gone < next, "{signal}: not in order: {events:#?}");
        assert_eq!(project.why("app")["signal"], "TERM", "{signal}");
    }
}

#[test]
fn without_its_guardian_everup_ends_what_it_started() {
    let mut project = Project::up(&format!("on_supervisor_death: kill\n{IN_ORDER}"));
    project.wait_ready("app");
    let (app, db) = (project.pid("app"), project.pid("db"));
    let guardian = raw(i64::from(project.supervisor().id()));
    let engine = project.status()["engine_pid"].as_i64().expect("a pid");
    kill(guardian, Signal::SIGKILL).expect("our child");
    wait_for("everything to be gone", || !alive(app) && !alive(db) && !alive(i32::try_from(engine).expect("a pid")));
    project.wait_end();
    project.start(&["up"]);
    project.wait_ready("app");
    assert_eq!(project.instance("app", 0)["run"], 2);
}

#[test]
fn what_a_killed_everup_took_along_is_explained_later() {
    let mut project = Project::up("on_supervisor_death: kill\nservices:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let web = project.pid("web");
    wait_for("the state to be written", || project.read(".everup/state.json").contains(&format!("\"pid\":{web}")));
    let engine = raw(project.status()["engine_pid"].as_i64().expect("a pid"));
    kill(engine, Signal::SIGKILL).expect("the engine of our child");
    assert_eq!(project.wait_end(), Some(1));
    assert!(!alive(web));
    project.start(&["up"]);
    project.wait_ready("web");
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["run"].as_u64()), (Some("supervisor_lost"), Some(1)), "{why:#}");
    assert_ne!(why["certainty"], "certain");
}

#[test]
fn run_ends_with_its_reader_as_the_program_alone_would() {
    let project = Project::new("services: {}\n");
    let everup = env!("CARGO_BIN_EXE_everup");
    let script = format!("{everup} run -- yes | head -n 1; echo ${{PIPESTATUS[0]}}");
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).args(["bash", "-c", &script]);
    let output = command.current_dir(project.folder.path()).env("XDG_RUNTIME_DIR", project.path("run")).output();
    let output = output.expect("bash runs");
    assert_eq!(crate::support::text(&output.stdout), "y\n141\n", "{}", crate::support::text(&output.stderr));
}
