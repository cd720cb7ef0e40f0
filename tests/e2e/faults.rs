//! When the ground shakes: everup's own end, floods. The faults of the catalogue are in `tests/faults`.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{Project, alive, kill, wait_for};

#[test]
fn the_end_of_the_engine_is_the_end_of_everything() {
    let mut project = Project::up(
        "on_supervisor_death: kill\nservices:\n  web: {command: 'sh -c \"setsid -f sleep 4326; sleep 1000\"', instances: 3}\n  deaf: {command: \"sh -c 'trap \\\"\\\" TERM; while :; do sleep 1; done'\"}\n",
    );
    project.wait_ready("web");
    project.wait_ready("deaf");
    let guardian = project.status()["pid"].clone();
    let children = || -> Vec<i32> { all_below(guardian.as_i64().expect("a pid")) };
    wait_for("all of them to run", || children().len() >= 8);
    let all = children();
    project.signal_engine(Signal::SIGKILL);
    assert_eq!(project.wait_end(), Some(1));
    let left: Vec<&i32> = all.iter().filter(|pid| alive(**pid)).collect();
    assert!(left.is_empty(), "{left:?} were left behind");
    project.start(&["up"]);
    project.wait_ready("web");
    assert_eq!(project.instance("web", 0)["run"], 2);
}

#[test]
fn a_thousand_quick_exits_and_a_flood_do_not_hold_up_the_others() {
    let project = Project::up(
        "services:\n  quick: {command: 'true', restart: {limit: {count: 1000000, within: 1s}, rules: [{codes: [0], then: restart_now}]}}\n  \
         flood: {command: yes, logs: {max_size: 1MiB, keep: 1}}\n  web: {command: sleep 1000, restart: {delay: 10ms}}\n  still: {command: sleep 1000}\n",
    );
    project.wait_ready("still");
    let still = project.pid("still");
    for run in 1..=3 {
        project.wait_ready("web");
        kill(&project, project.pid("web"), 9);
        project.wait_service("web", "to be back", |web| web["instances"][0]["run"].as_u64() > Some(run));
        project.ok(&["restart", "flood"]);
    }
    project.wait_service("quick", "to have ended often", |quick| quick["restarts"].as_u64() >= Some(1_000));
    project.ok(&["restart", "web"]);
    project.ok(&["stop", "quick"]);
    assert_eq!(project.pid("still"), still);
    assert_eq!(project.service("still")["restarts"], 0);
    assert_eq!(project.service("quick")["state"], "stopped");
}

/// Every process below this one.
fn all_below(pid: i64) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    children.iter().flat_map(|pid| [vec![*pid], all_below(i64::from(*pid))].concat()).collect()
}
