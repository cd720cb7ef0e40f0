//! What people ask, and what they are told.

use crate::support::{Project, free_port, get, text, wait_for};

#[test]
fn a_stopped_service_stays_so_until_somebody_starts_it() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n  db: {command: sleep 1000}\n");
    project.wait_ready("web");
    project.ok(&["stop", "web"]);
    let web = project.service("web");
    assert_eq!((web["state"].as_str(), web["desired"].as_str()), (Some("stopped"), Some("down")));
    assert!(web["held"]["by"].as_str().is_some_and(|by| by.starts_with("uid ")), "{web:#}");
    project.ok(&["up"]);
    assert_eq!(project.service("web")["state"], "stopped");
    project.ok(&["stop", "web"]);
    project.ok(&["start", "web"]);
    assert_eq!(project.service("web")["ready"], true);
    assert!(project.service("web")["held"].is_null());
}

#[test]
fn restart_replaces_the_process_and_waits_until_it_is_ready() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    project.ok(&["restart", "web"]);
    let web = project.instance("web", 0);
    assert_ne!(web["pid"], pid);
    assert_eq!(web["ready"], true);
    assert_eq!(project.why("web")["cause"], "user");
}

#[test]
fn scale_adds_and_takes_away_the_highest() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    project.ok(&["scale", "web=3"]);
    let names = |project: &Project| -> Vec<String> {
        let all = project.service("web")["instances"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names(&project), ["web/1", "web/2", "web/3"]);
    project.ok(&["scale", "web=1"]);
    assert_eq!(names(&project), ["web"]);
    assert_eq!(project.pid("web"), pid);
}

#[test]
fn up_applies_only_the_difference_and_a_bad_file_changes_nothing() {
    let file = |level: &str, command: &str| {
        format!("services:\n  web: {{command: sleep 1000, env: {{LEVEL: {level}}}}}\n  db: {{command: {command}}}\n")
    };
    let project = Project::up(&file("info", "sleep 1000"));
    project.wait_ready("web");
    project.wait_ready("db");
    let (web, db) = (project.pid("web"), project.pid("db"));
    project.write("supervisor.yaml", "services:\n  web: {comand: sleep 1000}\n");
    let refused = project.everup(&["up"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("command"), "{}", text(&refused.stderr));
    assert_eq!((project.pid("web"), project.pid("db")), (web, db));
    project.write("supervisor.yaml", &file("debug", "sleep 1000"));
    let told = project.ok(&["up"]);
    assert!(told.contains("env.LEVEL"), "{told}");
    project.wait_service("web", "to be replaced", |s| s["instances"][0]["pid"] != web && s["ready"] == true);
    assert_eq!(project.pid("db"), db);
    assert_eq!(project.why("web")["cause"], "config");
}

#[test]
fn unknown_names_get_the_nearest_one_and_code_4() {
    let project = Project::up("services:\n  worker: {command: sleep 1000}\n");
    project.wait_ready("worker");
    let output = project.everup(&["restart", "wroker"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("worker"), "{}", text(&output.stderr));
}

#[test]
fn without_a_supervisor_looking_reads_the_folder_and_acting_ends_with_6() {
    let mut project = Project::up("services:\n  web: {command: 'sh -c \"echo hello; sleep 1000\"'}\n");
    project.wait_ready("web");
    wait_for("a line", || project.ok(&["logs", "web"]).contains("hello"));
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
    let logs = project.everup(&["logs", "web"]);
    assert!(text(&logs.stdout).contains("hello"), "{}", text(&logs.stderr));
    assert!(!logs.stderr.is_empty(), "it does not say that no supervisor runs");
    assert_eq!(project.why("web")["cause"], "user");
    assert_eq!(project.everup(&["restart", "web"]).status.code(), Some(6));
}

#[test]
fn run_numbers_go_on_after_everup_is_started_again() {
    let mut project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    project.ok(&["down"]);
    project.wait_end();
    project.start(&["up"]);
    project.wait_ready("web");
    assert_eq!(project.instance("web", 0)["run"], 2);
}

#[test]
fn a_second_everup_on_the_same_folder_is_refused() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    project.write("other.yaml", "state_dir: .everup\nservices:\n  web: {command: sleep 1000}\n");
    let output = project.everup(&["up", "-c", "other.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let pid = project.status()["pid"].to_string();
    assert!(text(&output.stderr).contains(&pid), "{}", text(&output.stderr));
}

#[test]
fn up_in_the_background_returns_once_all_is_ready_and_down_ends_it() {
    let port = free_port();
    let project = Project::new(&format!(
        "services:\n  web: {{command: '${{EVERUP}} demo-app --port {port}', health: 'http://127.0.0.1:{port}/health'}}\n"
    ));
    assert_eq!(project.ok(&["up", "-d", "--wait"]), "", "nothing changed: everything was started");
    assert_eq!(get(port, "/health").expect("an answer").0, 200);
    let pid = project.status()["pid"].as_i64().expect("a pid");
    project.ok(&["down"]);
    assert!(!crate::support::alive(i32::try_from(pid).expect("a pid")), "down returned before everup was gone");
    assert_eq!(project.everup(&["status"]).status.code(), Some(6));
}

#[test]
fn the_api_answers_curl_and_describes_itself() {
    use std::io::{Read, Write};
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let ask = |request: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(project.path(".everup/everup.sock")).expect("a socket");
        write!(stream, "{request} HTTP/1.1\r\nHost: everup\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert!(ask("GET /v1/status").contains("\"project\""));
    assert!(ask("GET /v1/openapi.json").contains("\"3.1"));
    assert!(ask("POST /v1/services/web/restart?wait=20s").starts_with("HTTP/1.1 200"));
    assert!(ask("POST /v1/services/wbe/restart").contains("no_such_service"));
    assert!(ask("DELETE /v1/status").starts_with("HTTP/1.1 405"));
}

#[test]
fn a_project_is_reached_by_its_name_from_anywhere() {
    let project =
        Project::up("name: everup-e2e-by-name\nservices:\n  web: {command: 'sh -c \"seq 1 12000; sleep 1000\"'}\n");
    project.wait_ready("web");
    let elsewhere = |args: &[&str]| {
        let mut command = project.command(&["-p", "everup-e2e-by-name"]);
        let output = command.args(args).current_dir("/").output().expect("everup runs");
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    for args in [vec!["status"], vec!["check"], vec!["config", "web"], vec!["up", "--dry-run"], vec!["logs", "-n", "1"]]
    {
        let (code, said) = elsewhere(&args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }
    wait_for("all lines", || project.ok(&["logs", "web", "--since", "1h"]).lines().count() == 12_000);
    assert_eq!(project.ok(&["logs", "web", "--since", "1h", "-n", "3"]).lines().last(), Some("12000"));
}

#[test]
fn a_program_that_puts_itself_in_the_background_is_warned_of() {
    let project = Project::up("services:\n  web: {command: 'sh -c \"sleep 1000 & exit 0\"', restart: never}\n");
    project.wait_service("web", "to be warned of", |web| web["warnings"][0]["code"] == "daemonised");
}

#[test]
fn what_is_about_something_that_does_not_run_ends_with_3() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, enabled: false, health: {exec: 'true'}}\n  db: {command: sleep 1000}\n  \
         lost: {command: 'false', restart: {delay: 30s, jitter: 0}}\n",
    );
    project.wait_service("lost", "to wait for its next try", |lost| lost["state"] == "backoff");
    for args in [vec!["probe", "web"], vec!["signal", "HUP", "web"]] {
        let output = project.everup(&args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", text(&output.stderr));
    }
    assert_eq!(project.ok(&["up"]), "nothing to change\n");
}
