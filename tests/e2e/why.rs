//! `why` is tried with traps: no wrong "certain", ever.

use crate::support::{Project, kill};

#[test]
fn exit_137_is_an_exit_code_and_no_memory_kill() {
    let project = Project::up("services:\n  web: {command: 'sh -c \"exit 137\"', restart: {delay: 20s}}\n");
    project.wait_service("web", "to have ended", |web| web["state"] == "backoff");
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["code"].as_i64()), (Some("exit"), Some(137)));
    assert!(why["evidence"].to_string().contains("proves nothing"), "{why:#}");
}

#[test]
fn a_kill_by_hand_is_a_signal_and_no_memory_kill() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2);
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("signal"), Some("KILL")), "{why:#}");
    assert!(!why["evidence"].to_string().contains("out of memory"), "{why:#}");
}

#[test]
fn an_innocent_change_is_shown_as_before_and_not_as_the_reason() {
    let file = |level: &str| {
        format!(
            "services:\n  web: {{command: 'sh -c \"sleep 3; echo boom >&2; exit 4\"', env: {{LEVEL: {level}}}, restart: {{delay: 20s}}}}\n"
        )
    };
    let project = Project::up(&file("info"));
    project.wait_ready("web");
    project.write("supervisor.yaml", &file("debug"));
    project.ok(&["up"]);
    project.wait_service("web", "to have ended by itself", |web| web["instances"][0]["last_end"]["code"] == 4);
    crate::support::wait_for("the end to be written down", || project.why("web")["code"] == 4);
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["certainty"].as_str()), (Some("exit"), Some("certain")));
    assert_eq!(why["changed_before"][0]["what"], "env.LEVEL");
    assert_eq!(why["last_lines"][0], "boom");
    assert!(!why["evidence"].to_string().contains("LEVEL"), "{why:#}");
}

#[test]
fn what_waits_for_another_names_it() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, needs: {migrate: completed}}\n  \
         migrate: {type: task, command: 'sh -c \"echo no such table; exit 1\"'}\n",
    );
    project.wait_service("web", "to have failed", |web| web["state"] == "failed");
    let web = project.service("web");
    assert_eq!(web["cause"], "dependency");
    assert!(web["reason"].as_str().is_some_and(|reason| reason.contains("migrate")), "{web:#}");
    let why = project.why("web");
    assert_eq!(why["cause"], "dependency");
    assert!(why["evidence"].to_string().contains("migrate"), "{why:#}");
}
