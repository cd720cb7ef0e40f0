//! Every kind of probe against something real.

use std::fs;

use crate::support::{Project, alive, data, free_port, wait_for};

/// A service on `answer.py` with this `health`.
fn server(arguments: &str, health: &str) -> Project {
    let script = data("answer.py");
    Project::new(&format!(
        "services:\n  web:\n    command: python3 {} {arguments}\n    health: {health}\n",
        script.display()
    ))
}

/// What `everup probe` says, as JSON, with its exit code.
fn probe(project: &Project) -> (Option<i32>, serde_json::Value) {
    let output = project.everup(&["probe", "web", "--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn tcp_waits_until_somebody_listens() {
    let port = free_port();
    let mut project = Project::new(&format!(
        "services:\n  web:\n    command: sh -c 'while test ! -e go; do sleep 0.05; done; exec python3 {} tcp {port}'\n    \
         health: tcp://127.0.0.1:{port}\n",
        data("answer.py").display()
    ));
    project.start(&["up"]);
    project.wait_service("web", "to be refused", |web| web["instances"][0]["probe"]["ok"] == false);
    assert_eq!(project.service("web")["state"], "starting");
    assert_eq!(probe(&project).0, Some(3));
    project.write("go", "");
    project.wait_ready("web");
    assert_eq!(probe(&project).0, Some(0));
}

#[test]
fn http_goes_over_a_unix_socket_and_the_body_must_match() {
    let mut project =
        server("unix web.sock", "{http: {url: 'http://app/health', socket: web.sock, body: '^all (is )?well'}}");
    project.start(&["up"]);
    project.wait_service("web", "to answer 503", |web| {
        web["instances"][0]["probe"]["message"].as_str().is_some_and(|message| message.contains("503"))
    });
    project.write("body", "no good");
    project.wait_service("web", "to answer wrongly", |web| {
        web["instances"][0]["probe"]["message"].as_str().is_some_and(|message| message.contains("does not match"))
    });
    assert_eq!(project.service("web")["ready"], false);
    project.write("body", "all is well");
    project.wait_ready("web");
    let (code, told) = probe(&project);
    assert_eq!(code, Some(0), "{told:#}");
    assert!(told.to_string().contains("web.sock") && told.to_string().contains("200"), "{told:#}");
    project.write("body", "out of order");
    assert_eq!(probe(&project).0, Some(3));
}

#[test]
fn the_short_form_of_a_unix_socket_works_too() {
    let mut project = server("unix web.sock", "WHERE");
    let url = format!("http://unix:{}:/health", project.path("web.sock").display());
    project.write("supervisor.yaml", &project.read("supervisor.yaml").replace("WHERE", &url));
    project.write("body", "well");
    project.start(&["up"]);
    project.wait_ready("web");
}

#[test]
fn a_self_signed_certificate_is_taken_only_when_told_so() {
    let port = free_port();
    let health = format!("{{http: {{url: 'https://127.0.0.1:{port}/', insecure: true}}}}");
    let mut project = server(&format!("tls {port} {}", data("self-signed.pem").display()), &health);
    project.write("body", "well");
    project.start(&["up"]);
    project.wait_ready("web");
    let strict = project.read("supervisor.yaml").replace(", insecure: true", "");
    project.write("supervisor.yaml", &strict);
    project.ok(&["up"]);
    wait_for("the new probe to refuse it", || {
        let (code, told) = probe(&project);
        code == Some(3) && told.to_string().to_lowercase().contains("certificate")
    });
}

#[test]
fn a_probe_command_passes_with_0_and_shows_what_it_said() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, health: {exec: \"sh -c 'echo checking $EVERUP_SERVICE; test -e fine'\", interval: 100ms}}\n",
    );
    project.wait_service("web", "to be refused", |web| web["instances"][0]["probe"]["ok"] == false);
    let (code, told) = probe(&project);
    assert_eq!(code, Some(3));
    assert!(told.to_string().contains("checking web"), "{told:#}");
    project.write("fine", "");
    project.wait_ready("web");
    fs::remove_file(project.path("fine")).expect("the mark");
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["last_end"]["cause"] == "probe");
}

#[test]
fn a_probe_command_that_hangs_is_killed_as_a_tree() {
    let script = "sleep 4324 & echo $! >> pids; sh -c 'echo $$ >> pids; exec sleep 4325' & echo $$ >> pids; wait";
    let project = Project::new(
        "services:\n  web: {command: sleep 1000, health: {exec: sh hang.sh, timeout: 300ms, interval: 100ms, start_timeout: 1h}}\n",
    );
    project.write("hang.sh", script);
    let mut project = project;
    project.start(&["up"]);
    project.wait_service("web", "to time out", |web| {
        let message = web["instances"][0]["probe"]["message"].as_str().unwrap_or_default().to_owned();
        web["instances"][0]["probe"]["ok"] == false && message.contains("300ms")
    });
    wait_for("a second round", || project.read("pids").lines().count() > 3);
    project.ok(&["stop", "web"]);
    let pids: Vec<i32> = project.read("pids").lines().filter_map(|line| line.parse().ok()).collect();
    wait_for("no process of a probe to be left", || pids.iter().all(|pid| !alive(*pid)));
    let status = project.status();
    let children = |pid: &serde_json::Value| {
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default().split_whitespace().count()
    };
    // The guardian has the engine and nothing else left, no zombie either.
    wait_for("no zombie to be left", || children(&status["pid"]) == 1 && children(&status["engine_pid"]) == 0);
}

#[test]
fn a_line_of_this_run_makes_it_ready() {
    let project = Project::up(
        "services:\n  web:\n    command: sh -c 'while test ! -e go$EVERUP_RUN; do sleep 0.05; done; echo >&2 server is listening on 80; sleep 1000'\n    \
         health: {log: 'listening on \\d+'}\n    restart: {delay: 10ms}\n",
    );
    project.wait_service("web", "to start", |web| web["state"] == "starting" && web["instances"][0]["pid"].is_i64());
    assert_eq!(project.service("web")["ready"], false);
    project.write("go1", "");
    project.wait_ready("web");
    crate::support::kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to start again", |web| web["instances"][0]["run"] == 2 && web["state"] == "starting");
    assert_eq!(project.service("web")["ready"], false, "the line of an earlier run counted");
    project.write("go2", "");
    project.wait_ready("web");
}

#[test]
fn startup_gates_readiness_takes_out_and_liveness_restarts() {
    let exec = |file: &str| format!("{{exec: test -e {file}, interval: 50ms, failures: 2}}");
    let mut project = Project::new(&format!(
        "services:\n  web:\n    command: sleep 1000\n    restart: {{delay: 10ms}}\n    \
         health: {{startup: {}, readiness: {}, liveness: {}}}\n  front: {{command: sleep 1000, needs: [web]}}\n",
        exec("begun"),
        exec("ready"),
        exec("alive")
    ));
    project.write("alive", "");
    project.start(&["up"]);
    project.wait_service("web", "to be starting", |web| web["state"] == "starting");
    project.write("begun", "");
    project.wait_service("web", "to be running, not ready", |web| web["state"] == "running" && web["ready"] == false);
    assert_eq!(project.service("front")["state"], "waiting");
    project.write("ready", "");
    project.wait_ready("front");
    let pid = project.pid("web");
    fs::remove_file(project.path("ready")).expect("the mark");
    project.wait_service("web", "to be out of readiness", |web| web["ready"] == false);
    assert_eq!(project.everup(&["probe", "web"]).status.code(), Some(3));
    let asked = || project.instance("web", 0)["probe"]["streak"].as_u64().unwrap_or_default();
    let before = asked();
    wait_for("many more questions", || asked() > before + 10);
    let web = project.service("web");
    assert_eq!((web["state"].as_str(), web["restarts"].as_u64()), (Some("running"), Some(0)), "{web:#}");
    assert_eq!(project.pid("web"), pid);
    project.write("ready", "");
    project.wait_ready("web");
    fs::remove_file(project.path("alive")).expect("the mark");
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["run"].as_u64() >= Some(2));
    assert_eq!(project.why("web")["cause"], "probe");
    project.write("alive", "");
    project.wait_ready("web");
}

#[test]
fn a_start_that_never_passes_is_ended_and_tried_again() {
    let port = free_port();
    let project = Project::up(&format!(
        "services:\n  web: {{command: sleep 1000, restart: {{delay: 10ms}}, health: {{tcp: '127.0.0.1:{port}', start_timeout: 300ms}}}}\n"
    ));
    project.wait_service("web", "to be tried again", |web| web["restarts"].as_u64() >= Some(2));
    let why = project.why("web");
    assert_eq!(why["cause"], "start_timeout", "{why:#}");
    assert!(why["evidence"].to_string().contains("refused"), "{why:#}");
    assert_eq!(project.everup(&["status"]).status.code(), Some(3));
}
