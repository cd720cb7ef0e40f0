//! 65 and 70–72: time. Jumps of the time of day are held by the simulation: they would be this machine's own here.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Project, data, wait_for};
use crate::tools::{Freezer, own_pid, skip};

/// Would be restarted by whatever counts time in which everup did not run: a strict probe and a watchdog.
fn strict() -> String {
    format!(
        "services:\n  \
         clock: {{command: \"sh -c 'while :; do echo >> ticks; sleep 0.1; done'\"}}\n  \
         web: {{command: sleep 1000, health: {{exec: 'true', interval: 100ms, timeout: 1s, failures: 1}}}}\n  \
         fed: {{command: python3 {} READY=1 beat, watchdog: 2s, health: {{notify: true}}}}\n",
        data("notify.py").display()
    )
}

fn up() -> Project {
    let mut project = Project::new(&strict());
    project.write("beat", "");
    project.start(&["up"]);
    project.wait_ready("web");
    project.wait_service("fed", "to be ready", |fed| fed["ready"] == true);
    project
}

fn nobody_was_punished(project: &Project) {
    for name in ["clock", "web", "fed"] {
        let service = project.service(name);
        assert_eq!((service["restarts"].as_u64(), service["ready"].as_bool()), (Some(0), Some(true)), "{service:#}");
    }
}

fn seconds(project: &Project, count: usize) {
    let ticks = || project.read("ticks").lines().count();
    let begun = ticks();
    wait_for("some time to pass", || ticks() >= begun + 10 * count);
}

#[test]
fn f65_an_engine_that_was_stopped_for_a_while_kills_nobody_for_it() {
    let project = up();
    for _ in 0..2 {
        project.signal_engine(Signal::SIGSTOP);
        seconds(&project, 4);
        project.signal_engine(Signal::SIGCONT);
        seconds(&project, 2);
    }
    nobody_was_punished(&project);
}

#[test]
fn f65_everup_as_a_whole_stopped_for_a_while_kills_nobody_for_it() {
    both_stopped_for(4);
}

#[test]
#[ignore = "heavy: tests/faults/run"]
fn f65_everup_as_a_whole_stopped_for_a_minute_kills_nobody_for_it() {
    both_stopped_for(60);
}

fn both_stopped_for(count: usize) {
    let project = up();
    let pids = ["pid", "engine_pid"].map(|key| Pid::from_raw(i32::try_from(own_pid(&project, key)).expect("a pid")));
    for pid in pids {
        kill(pid, Signal::SIGSTOP).expect("everup lives");
    }
    let ticks = || project.read("ticks").lines().count();
    let begun = ticks();
    crate::tools::wait_long("some time to pass", || ticks() >= begun + 10 * count);
    for pid in pids {
        kill(pid, Signal::SIGCONT).expect("everup lives");
    }
    seconds(&project, 2);
    nobody_was_punished(&project);
}

/// As when a machine sleeps: everup and all it runs stand still, and the time goes on.
#[test]
fn f71_everup_and_its_children_frozen_together_go_on_as_if_nothing_had_been() {
    let Some(freezer) = Freezer::new("f71") else { skip!("this machine has no freezer of cgroup v1") };
    let project = up();
    let guardian = i32::try_from(own_pid(&project, "pid")).expect("a pid");
    let mut all = vec![guardian, i32::try_from(own_pid(&project, "engine_pid")).expect("a pid")];
    for name in ["clock", "web", "fed"] {
        all.push(project.pid(name));
    }
    for pid in all {
        freezer.take(pid);
    }
    for _ in 0..2 {
        freezer.freeze();
        let begun = std::time::Instant::now();
        wait_for("some seconds to pass", || begun.elapsed().as_secs() >= 4);
        freezer.thaw();
        seconds(&project, 2);
    }
    nobody_was_punished(&project);
}

#[test]
fn f72_durations_beyond_all_measure_neither_overflow_nor_fire() {
    let long = "584000000000d";
    let longest = "36500d";
    let project = Project::new(&format!("services:\n  web: {{command: sleep 1000, stop: {{timeout: {long}}}}}\n"));
    assert_ne!(project.everup(&["check"]).status.code(), Some(101), "{long} makes it panic");
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: sleep 1000, watchdog: {longest}, stop: {{timeout: {longest}}}, \
         restart: {{delay: {longest}, max_delay: {longest}, reset_after: {longest}, limit: {{count: 3, within: {longest}}}, slow_delay: {longest}}}, \
         health: {{exec: 'true', interval: {longest}, timeout: {longest}, start_timeout: {longest}}}}}\n"
    ));
    project.start(&["up"]);
    project.wait_service("web", "to be started", |web| web["instances"][0]["pid"].is_i64());
    project.wait_ready("web");
    crate::support::kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to wait", |web| web["state"] == "backoff");
    project.ok(&["restart", "web"]);
    project.ok(&["stop", "web"]);
}
