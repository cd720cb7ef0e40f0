//! Real apps: Tornado with the tutorials' /health, and gunicorn with workers.

use std::thread;

use crate::support::{PATIENCE, Project, alive, data, free_port, get, kill, python, wait_for};

fn tornado(port: u16, more: &str) -> String {
    format!(
        "services:\n  web:\n    command: [{python}, {app}, '{port}']\n    \
         health: {{http: 'http://127.0.0.1:{port}/health', interval: 200ms, timeout: 300ms, start_timeout: 40s}}\n{more}",
        python = python().display(),
        app = data("tornado/app.py").display(),
    )
}

#[test]
fn tornado_is_ready_only_once_health_answers_and_comes_back_after_a_kill() {
    let port = free_port();
    let project = Project::up(&tornado(port, "    env: {START_DELAY: '1'}\n"));
    project
        .wait_service("web", "to be starting", |web| web["state"] == "starting" && web["instances"][0]["pid"].is_i64());
    assert_eq!(project.service("web")["ready"], false);
    project.wait_ready("web");
    assert_eq!(get(port, "/").expect("an answer"), (200, "Hello, world".to_owned()));
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be ready again", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert_eq!(get(port, "/health").expect("an answer").0, 200);
}

#[test]
fn a_blocked_loop_is_restarted_again_and_again_with_growing_backoff() {
    let port = free_port();
    let project = Project::up(&tornado(
        port,
        "    restart: {delay: 200ms, jitter: 0, reset_after: 100ms}\n    stop: {timeout: 500ms}\n",
    ));
    for run in 1..=3 {
        project.wait_service("web", "to be ready", |web| web["instances"][0]["run"] == run && web["ready"] == true);
        let asked = thread::spawn(move || get(port, "/hang"));
        project.wait_service("web", "to be restarted", |web| web["instances"][0]["run"] == run + 1);
        let _ = asked.join();
        let why = project.why("web");
        assert_eq!(why["cause"], "probe", "{why:#}");
        assert!(why["evidence"].to_string().contains("3 probes in a row"), "{why:#}");
    }
    let delays: Vec<u64> = project
        .events()
        .iter()
        .filter(|event| event["event"] == "backoff")
        .filter_map(|event| event["delay_ms"].as_u64())
        .collect();
    assert_eq!(delays.len(), 3, "{delays:?}");
    assert!(delays[0] <= 200 && delays[1] > delays[0] && delays[2] > delays[1], "{delays:?}");
}

#[test]
fn health_500_restarts_it_too() {
    let port = free_port();
    let project = Project::up(&tornado(port, ""));
    project.wait_ready("web");
    assert_eq!(get(port, "/sick").expect("an answer").0, 200);
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    let why = project.why("web");
    assert_eq!(why["cause"], "probe");
    assert!(why["evidence"].to_string().contains("500"), "{why:#}");
}

#[test]
fn dead_at_start_backs_off_and_why_shows_the_type_error() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: [{}, {}], restart: {{delay: 100ms}}}}\n",
        python().display(),
        data("tornado/dead_at_start.py").display()
    ));
    project.wait_service("web", "to back off", |web| web["restarts"].as_u64() >= Some(2));
    wait_for("why to show the line", || project.why("web")["last_lines"].to_string().contains("TypeError"));
    assert_eq!(project.why("web")["cause"], "exit");
    let shown = project.ok(&["why", "web"]);
    assert!(shown.contains("TypeError") && shown.contains("io_loop"), "{shown}");
}

#[test]
fn stop_lets_the_request_in_flight_finish() {
    let port = free_port();
    let project = Project::up(&tornado(port, ""));
    project.wait_ready("web");
    let asked = thread::spawn(move || get(port, "/slow?s=1.5"));
    wait_for("the request to begin", || project.ok(&["logs", "web"]).contains("slow request began"));
    project.ok(&["stop", "web"]);
    let answer = asked.join().expect("the asking thread").expect("an answer");
    assert_eq!(answer, (200, "finished".to_owned()));
}

#[test]
fn gunicorn_is_supervised_as_a_tree() {
    let port = free_port();
    let project = Project::up(&format!(
        "services:\n  web:\n    command: [{}, -m, gunicorn, --workers, '2', --bind, '127.0.0.1:{port}', 'wsgi:app']\n    \
         cwd: {}\n    health: {{http: 'http://127.0.0.1:{port}/', interval: 500ms}}\n",
        python().display(),
        data("gunicorn").display()
    ));
    project.wait_ready("web");
    project.wait_service("web", "to have its workers", |web| web["instances"][0]["processes"].as_u64() >= Some(3));
    let (_, body) = get(port, "/").expect("an answer");
    let worker: i32 = body.trim().parse().expect("the worker's pid");
    let master = project.pid("web");
    assert_ne!(worker, master);
    kill(&project, master, 9);
    wait_for("the old worker to be gone", || !alive(worker));
    project.wait_service("web", "to be ready again", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    let asked = thread::spawn(move || get(port, "/slow"));
    wait_for("the request to arrive", || {
        asked.is_finished() || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    project.ok(&["stop", "web", &format!("--wait={}s", PATIENCE.as_secs())]);
    assert!(get(port, "/").is_none());
}
