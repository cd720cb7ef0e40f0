//! What follows an end: backoff, limits, rules, and what a person's wish changes about them.

use serde_json::Value;

use crate::support::{Project, alive, kill, text, wait_for};

/// A service that crashes with this code whenever it starts, with these keys of `restart`.
fn crashing(code: u8, restart: &str) -> String {
    format!(
        "services:\n  web: {{command: 'sh -c \"exit {code}\"', restart: {{delay: 5ms, {restart}}}}}\n  other: {{command: sleep 1000}}\n"
    )
}

#[test]
fn a_crash_loop_is_slowed_down_and_tried_at_once_when_somebody_asks() {
    let project = Project::up(&crashing(1, "limit: {count: 3, within: 1m}, slow_delay: 1h"));
    project.wait_service("web", "to be crash-looping", |web| web["crash_looping"] == true && web["state"] == "backoff");
    let web = project.instance("web", 0);
    assert!(web["next_attempt_in_ms"].as_u64() > Some(600_000), "{web:#}");
    assert_eq!(web["run"], 4, "one start and three restarts");
    assert!(project.events().iter().any(|event| event["event"] == "crash_looping"));
    assert_eq!(project.everup(&["status"]).status.code(), Some(3));
    let _ = project.everup(&["start", "web", "--no-wait"]);
    project.wait_service("web", "to be tried", |web| web["instances"][0]["run"].as_u64() > Some(4));
    assert_eq!(project.service("other")["restarts"], 0);
}

#[test]
fn a_limit_can_give_up_or_end_everup_with_the_programs_code() {
    let project = Project::up(&crashing(1, "limit: {count: 2, within: 1m, then: stop}"));
    project.wait_service("web", "to be given up", |web| web["state"] == "failed");
    assert_eq!(project.instance("web", 0)["run"], 3);
    project.wait_ready("other");
    let mut project = Project::new(&crashing(9, "limit: {count: 2, within: 1m, then: exit}"));
    project.start(&["up"]);
    assert_eq!(project.wait_end(), Some(9));
}

#[test]
fn the_first_rule_that_matches_wins() {
    let project = Project::up(
        "defaults: {restart: {delay: 5ms}}\nservices:\n  \
         stops: {command: 'sh -c \"exit 70\"', restart: {rules: [{codes: [3, 64-78], then: stop}, {codes: [70], then: restart_now}]}}\n  \
         slow: {command: 'sh -c \"exit 4\"', restart: {slow_delay: 1h, rules: [{codes: [4], then: slow}]}}\n  \
         back: {command: sleep 1000, restart: {policy: never, rules: [{signals: [KILL], then: restart}]}}\n  \
         gone: {command: no-such-program-anywhere, restart: {rules: [{causes: [spawn_error], then: stop}]}}\n  \
         fine: {command: 'sh -c \"exit 5\"', restart: {policy: on-failure, success_codes: [0, 5]}}\n",
    );
    project.wait_service("stops", "to be given up", |s| s["state"] == "failed" && s["restarts"] == 0);
    project.wait_service("gone", "to be given up", |s| s["state"] == "failed" && s["restarts"] == 0);
    project.wait_service("fine", "to be done", |s| s["state"] == "exited" && s["restarts"] == 0);
    project.wait_service("slow", "to be slow", |s| {
        s["state"] == "backoff" && s["instances"][0]["next_attempt_in_ms"].as_u64() > Some(600_000)
    });
    project.wait_ready("back");
    kill(&project, project.pid("back"), 9);
    project.wait_service("back", "to be back", |s| s["instances"][0]["run"] == 2 && s["ready"] == true);
    kill(&project, project.pid("back"), 15);
    project.wait_service("back", "to stay away", |s| s["state"] == "failed" || s["state"] == "exited");
}

#[test]
fn after_down_and_up_only_unless_stopped_still_holds() {
    let mut project = Project::up(
        "services:\n  keeps: {command: sleep 1000, restart: unless-stopped}\n  forgets: {command: sleep 1000}\n",
    );
    project.wait_ready("keeps");
    project.wait_ready("forgets");
    project.ok(&["stop", "keeps", "forgets"]);
    project.ok(&["down"]);
    project.wait_end();
    project.start(&["up"]);
    project.wait_ready("forgets");
    let keeps = project.service("keeps");
    assert_eq!((keeps["state"].as_str(), keeps["held"].is_null()), (Some("stopped"), false), "{keeps:#}");
    project.ok(&["up", "keeps"]);
    project.wait_ready("keeps");
    assert!(project.service("keeps")["held"].is_null());
}

#[test]
fn a_rolling_restart_takes_one_instance_at_a_time() {
    let project = Project::up("services:\n  web: {command: sleep 1000, instances: 4, health: {exec: sleep 0.1}}\n");
    project.wait_ready("web");
    let pids = |project: &Project| -> Vec<Value> {
        (0..4).map(|index| project.instance("web", index)["pid"].clone()).collect()
    };
    let before = pids(&project);
    project.ok(&["restart", "web"]);
    let after = pids(&project);
    assert!(before.iter().all(|pid| pid.is_i64() && !after.contains(pid)), "{before:?} {after:?}");
    let mut down: Vec<String> = vec![];
    for event in project.events().iter().skip_while(|event| event["event"] != "stopping") {
        let name = event["instance"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("stopping") => down.push(name),
            Some("ready") => down.retain(|other| *other != name),
            _ => {}
        }
        assert!(down.len() <= 1, "{down:?} were down together");
    }
    project.ok(&["restart", "web", "--now"]);
    assert!(pids(&project).iter().all(|pid| !after.contains(pid)));
}

#[test]
fn what_is_not_enabled_starts_only_by_name() {
    let project =
        Project::up("services:\n  web: {command: sleep 1000}\n  tool: {command: sleep 1000, enabled: false}\n");
    project.wait_ready("web");
    assert_eq!(project.service("tool")["state"], "stopped");
    assert_eq!(project.everup(&["status"]).status.code(), Some(0), "what is not wanted is not missed");
    project.ok(&["up"]);
    assert_eq!(project.service("tool")["state"], "stopped");
    project.ok(&["up", "tool", "--wait"]);
    assert_eq!(project.service("tool")["ready"], true);
    project.ok(&["stop", "tool"]);
    project.ok(&["start", "tool"]);
    assert_eq!(project.service("tool")["ready"], true);
}

#[test]
fn up_of_some_starts_these_and_what_they_need() {
    let mut project = Project::new(
        "services:\n  web: {command: sleep 1000, needs: [db]}\n  db: {command: sleep 1000}\n  other: {command: sleep 1000}\n",
    );
    project.start(&["up", "web"]);
    project.wait_ready("web");
    assert_eq!(project.service("db")["ready"], true);
    assert_eq!(project.service("other")["state"], "stopped");
    project.ok(&["up", "other", "--wait"]);
    assert_eq!(project.service("other")["ready"], true);
}

#[test]
fn status_ends_with_a_code_that_says_it() {
    let mut project =
        Project::up("services:\n  web: {command: sleep 1000, restart: never}\n  db: {command: sleep 1000}\n");
    project.wait_ready("web");
    project.wait_ready("db");
    let code = |project: &Project, args: &[&str]| project.everup(args).status.code();
    assert_eq!((code(&project, &["status"]), code(&project, &["status", "web"])), (Some(0), Some(0)));
    assert_eq!(code(&project, &["status", "wbe"]), Some(4));
    assert_eq!(code(&project, &["status", "--wrong"]), Some(2));
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be gone", |web| web["state"] == "exited");
    assert_eq!((code(&project, &["status"]), code(&project, &["status", "web"])), (Some(3), Some(3)));
    assert_eq!(code(&project, &["status", "db"]), Some(0));
    project.ok(&["down"]);
    project.wait_end();
    assert_eq!(code(&project, &["status"]), Some(6));
}

#[test]
fn a_hangup_without_a_terminal_applies_the_file_also_in_the_foreground() {
    let file = |level: u32| format!("services:\n  web: {{command: sleep 1000, env: {{LEVEL: '{level}'}}}}\n");
    let mut project = Project::new(&file(1));
    let everup = project.command(&["up"]);
    let mut command = std::process::Command::new("setsid");
    command.arg("-w").arg(everup.get_program()).args(everup.get_args());
    command.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    project.run_by(command);
    project.wait_ready("web");
    project.write("supervisor.yaml", &file(2));
    project.hang_up();
    project.wait_service("web", "to be replaced", |s| s["instances"][0]["run"] == 2 && s["ready"] == true);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn a_hangup_in_the_background_applies_the_file() {
    let file = |level: u32| {
        format!("services:\n  web: {{command: sleep 1000, env: {{LEVEL: '{level}'}}}}\n  db: {{command: sleep 1000}}\n")
    };
    let project = Project::new(&file(1));
    project.ok(&["up", "-d", "--wait"]);
    let (web, db) = (project.pid("web"), project.pid("db"));
    project.write("supervisor.yaml", &file(2));
    project.hang_up();
    project.wait_service("web", "to be replaced", |s| s["instances"][0]["run"] == 2 && s["ready"] == true);
    assert!(!alive(web) && project.pid("db") == db);
    project.write("supervisor.yaml", "services: {web: {comand: x}}\n");
    project.hang_up();
    let rejected = || project.events().into_iter().find(|event| event["event"] == "config_rejected");
    wait_for("the refusal to be told", || rejected().is_some());
    assert_eq!(project.pid("db"), db);
    let listed = project.everup(&["events"]);
    assert!(text(&listed.stdout).contains("config"), "{}", text(&listed.stdout));
    project.ok(&["down"]);
    wait_for("everything to be gone", || !alive(db));
}
