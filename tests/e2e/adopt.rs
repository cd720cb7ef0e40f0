//! What becomes of services when the guardian is killed, or all of everup at once.

use std::fs;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::support::{Project, alive, free_port, kill, text, wait_for};

/// Kills guardian and engine so that neither sees the other's end.
fn kill_everup(project: &Project) {
    let status = project.status();
    let (guardian, engine) = (number(&status, "pid"), number(&status, "engine_pid"));
    project.signal_everup(guardian, Signal::SIGSTOP);
    project.signal_everup(engine, Signal::SIGKILL);
    project.signal_everup(guardian, Signal::SIGKILL);
    for pid in [guardian, engine] {
        wait_for("everup to be gone", || !alive(pid));
    }
}

/// Events of one kind, in words.
fn told(project: &Project, event: &str) -> Vec<String> {
    let of_kind = project.events().into_iter().filter(|one| one["event"] == event);
    of_kind.map(|one| format!("{} {} {}", one["service"], one["run"], one["message"])).collect()
}

const COUNTER: &str = "services:\n  web: {command: [sh, -c, 'i=0; while :; do i=$$((i+1)); echo $$i; sleep 0.01; done'], stop: {timeout: 1s}}\n  db: {command: sleep 1000}\n";

#[test]
fn another_guardian_takes_over_from_one_that_was_killed() {
    let project = Project::up(COUNTER);
    project.wait_ready("web");
    let (web, before) = (project.pid("web"), project.status());
    for round in 1..=3 {
        project.signal_guardian(Signal::SIGKILL);
        wait_for("another guardian", || told(&project, "adopted").len() == round);
        let now = project.status();
        assert_ne!(now["pid"], before["pid"]);
        assert_eq!((project.pid("web"), &now["engine_pid"]), (web, &before["engine_pid"]));
        assert_eq!(project.instance("web", 0)["run"], 1);
    }
    // It notices ends and signals as if it had started them.
    kill(&project, web, 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert_eq!(project.why("web")["cause"], "signal", "{}", project.why("web"));
    let db = project.pid("db");
    project.ok(&["stop", "db"]);
    assert!(!alive(db));
    assert_eq!(project.instance("db", 0)["last_end"]["signal"], "TERM", "the signal is known though it was no child");
    assert_counted(&project);
    project.ok(&["down"]);
    wait_for("all to be gone", || !alive(number(&before, "pid")));
}

fn number(status: &serde_json::Value, key: &str) -> i32 {
    status[key].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

/// The first run's lines are all there, once and in order.
fn assert_counted(project: &Project) {
    let log = project.read(".everup/logs/web.out.log");
    let mut next = 1;
    for line in log.lines() {
        let number: u64 = line.parse().expect("a number");
        if number == 1 && next > 1 {
            break;
        }
        assert_eq!(number, next);
        next += 1;
    }
    assert!(next > 5, "{log}");
}

#[test]
fn up_goes_on_with_what_a_killed_everup_has_left() {
    let mut project = Project::up(COUNTER);
    project.wait_ready("web");
    let (web, db) = (project.pid("web"), project.pid("db"));
    wait_for("the state to be kept", || project.read(".everup/state.json").contains(&format!("\"pid\":{db}")));
    kill_everup(&project);
    assert!(alive(web) && alive(db), "the services go on");
    project.start(&["up"]);
    project.wait_service("web", "to be taken over", |web| web["ready"] == true);
    assert_eq!((project.pid("web"), project.pid("db")), (web, db));
    assert_eq!(project.instance("web", 0)["run"], 1);
    assert_eq!(told(&project, "adopted").len(), 2);
    assert!(told(&project, "ended").is_empty());
    let lines = || project.read(".everup/logs/web.out.log").lines().count();
    let before = lines();
    wait_for("its output to go on", || lines() > before + 20);
    kill(&project, db, 9);
    project.wait_service("db", "to be back", |db| db["instances"][0]["run"] == 2 && db["ready"] == true);
    assert_counted(&project);
    project.ok(&["down"]);
    assert!(!alive(web));
}

#[test]
fn what_ended_meanwhile_is_unknown_and_what_changed_is_restarted() {
    let mut project = Project::up(COUNTER);
    project.wait_ready("web");
    let (web, db) = (project.pid("web"), project.pid("db"));
    wait_for("the state to be kept", || project.read(".everup/state.json").contains(&format!("\"pid\":{db}")));
    kill_everup(&project);
    kill(&project, db, 9);
    wait_for("it to be gone", || !alive(db));
    project.write("supervisor.yaml", &COUNTER.replace("timeout: 1s}}", "timeout: 1s}, env: {A: b}}"));
    project.start(&["up"]);
    project.wait_service("web", "to be restarted", |web| web["ready"] == true && web["instances"][0]["run"] == 2);
    assert!(!alive(web));
    let why = project.why("web");
    assert_eq!((&why["cause"], &why["certainty"]), (&"config".into(), &"certain".into()), "{why}");
    let why = project.why("db");
    assert_eq!(
        (&why["cause"], &why["certainty"], &why["code"]),
        (&"supervisor_lost".into(), &"likely".into(), &serde_json::Value::Null)
    );
}

#[test]
fn what_is_not_the_same_process_is_left_alone() {
    let mut project = Project::up("services:\n  db: {command: sleep 1000}\n");
    project.wait_ready("db");
    let db = project.pid("db");
    wait_for("the state to be kept", || project.read(".everup/state.json").contains("\"started\""));
    kill_everup(&project);
    // As if the number were another's by now.
    let state = project.read(".everup/state.json");
    let mut state: serde_json::Value = serde_json::from_str(&state).expect("a state");
    state["instances"]["db/1"]["identity"]["started"] = 1.into();
    state["instances"]["db/1"]["cgroup"] = serde_json::Value::Null;
    state["mark"] = serde_json::Value::Null;
    project.write(".everup/state.json", &state.to_string());
    project.start(&["up"]);
    project.wait_service("db", "to run anew", |db| db["ready"] == true && db["instances"][0]["run"] == 2);
    assert_ne!(project.pid("db"), db);
    assert!(alive(db), "nobody knows whose it is, so nobody ends it");
    kill(&project, db, 9);
}

#[test]
fn the_sockets_of_what_lives_on_are_held_again() {
    let port = free_port();
    let mut project = Project::up(&format!(
        "services:\n  web: {{command: sleep 1000, listen: {{http: 127.0.0.1:{port}}}, stop: {{timeout: 1s}}}}\n"
    ));
    project.wait_ready("web");
    let web = project.pid("web");
    wait_for("the state to be kept", || project.read(".everup/state.json").contains("\"started\""));
    kill_everup(&project);
    project.start(&["up"]);
    project.wait_service("web", "to be taken over", |web| web["ready"] == true);
    kill(&project, web, 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn nothing_is_left_where_nothing_is_to_outlive_everup() {
    let yaml = "on_supervisor_death: kill\nservices:\n  web: {command: [sh, -c, 'setsid sleep 1000 & echo $$! > orphan; exec sleep 1000']}\n";
    for whom in ["engine", "guardian", "both"] {
        let mut project = Project::up(yaml);
        project.wait_ready("web");
        wait_for("its child", || !project.read("orphan").trim().is_empty());
        let (web, orphan) = (project.pid("web"), project.read("orphan").trim().parse().expect("a pid"));
        match whom {
            "engine" => project.signal_engine(Signal::SIGKILL),
            "guardian" => project.signal_guardian(Signal::SIGKILL),
            _ => kill_everup(&project),
        }
        wait_for(&format!("all to be gone after the end of {whom}"), || !alive(web) && !alive(orphan));
        project.wait_end();
        let _ = fs::remove_file(project.path(".everup/everup.sock"));
    }
}

#[test]
fn a_state_of_a_newer_everup_is_refused() {
    let project = Project::new("services:\n  db: {command: sleep 1000}\n");
    fs::create_dir(project.path(".everup")).expect("a folder");
    project.write(".everup/state.json", "{\"v\":99,\"what\":\"ever\"}");
    let output = project.everup(&["up"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("newer everup (v99)"), "{}", text(&output.stderr));
    assert_eq!(project.read(".everup/state.json"), "{\"v\":99,\"what\":\"ever\"}");
}
