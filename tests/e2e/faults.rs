//! When the ground shakes: disks, everup's own processes, floods.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::{Project, alive, kill, text, wait_for};

fn warnings(project: &Project) -> String {
    project.status()["warnings"].to_string()
}

#[test]
fn without_a_history_file_supervision_goes_on_and_status_says_so() {
    let mut project = Project::new("services:\n  web: {command: sleep 1000, restart: {delay: 10ms}}\n");
    fs::create_dir_all(project.path(".everup/history.db/in-the-way")).expect("a folder");
    project.start(&["up"]);
    project.wait_ready("web");
    wait_for("a warning", || warnings(&project).contains("not_persisted"));
    assert!(project.ok(&["status"]).contains("web"));
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    wait_for("why to know it all the same", || project.why("web")["signal"] == "KILL");
    fs::remove_dir_all(project.path(".everup/history.db")).expect("it is out of the way");
    wait_for("the warning to go", || !warnings(&project).contains("not_persisted"));
    project.ok(&["down"]);
    project.wait_end();
    assert!(project.events().iter().any(|event| event["event"] == "ended"), "what was kept in memory is not written");
}

#[test]
fn a_damaged_history_is_set_aside() {
    let mut project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    project.ok(&["down"]);
    project.wait_end();
    project.write(".everup/history.db", &"this is no database ".repeat(4_000));
    let _ = fs::remove_file(project.path(".everup/history.db-wal"));
    project.start(&["up"]);
    project.wait_ready("web");
    let names: Vec<String> = fs::read_dir(project.path(".everup"))
        .expect("the state folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("history.db.corrupt-")), "{names:?}");
    assert!(!warnings(&project).contains("not_persisted"), "{}", warnings(&project));
    assert_eq!(project.instance("web", 0)["run"], 2, "the run number is kept beside the history, too");
}

/// Chatty, with its socket outside of the state folder.
const BESIDE: &str = "state_dir: state\ncontrol: {socket: control.sock}\nservices:\n  \
    web: {command: 'sh -c \"while :; do echo a line; sleep 0.02; done\"', restart: {delay: 10ms}}\n";

/// It is supervised as ever.
fn goes_on(project: &mut Project) {
    kill(project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    wait_for("why to know it", || project.why("web")["signal"] == "KILL");
    project.ok(&["restart", "web"]);
    let pid = project.pid("web");
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
    assert!(!alive(pid));
}

#[test]
fn a_full_state_folder_stops_nothing() {
    let mut small = Command::new("unshare");
    let can = small.args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: a small disk needs the right to mount one");
        return;
    }
    let mut project = Project::new(BESIDE);
    fs::create_dir(project.path("state")).expect("a folder");
    let fill =
        "while test ! -e go; do sleep 0.05; done; head -c 9000000 /dev/zero > state/fill 2> /dev/null; touch full";
    let script = format!("mount -t tmpfs -o size=2m none state || exit 9; ({fill}) & exec \"$@\"");
    let everup = project.command(&["up"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(everup.get_program()).args(everup.get_args());
    command.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    project.run_by(command);
    project.wait_ready("web");
    project.write("go", "");
    wait_for("the disk to be full", || project.path("full").exists());
    let lost = |project: &Project| project.events().iter().any(|event| event["event"] == "log_lost");
    wait_for("the loss of lines to be told", || lost(&project));
    wait_for("a warning", || warnings(&project).contains("not_persisted"));
    goes_on(&mut project);
}

#[test]
fn a_state_folder_that_is_taken_away_stops_nothing_and_is_made_again() {
    let mut project = Project::new(BESIDE);
    project.start(&["up"]);
    project.wait_ready("web");
    fs::remove_dir_all(project.path("state")).expect("the folder");
    goes_on(&mut project);
    for file in ["history.db", "state.json", "logs/web.out.log"] {
        assert!(project.path("state").join(file).exists(), "{file} is gone for good");
    }
}

#[test]
fn a_state_folder_that_cannot_be_is_refused_in_one_sentence() {
    let project = Project::new("state_dir: taken\nservices:\n  web: {command: sleep 1000}\n");
    project.write("taken", "a file of somebody's");
    let refused = project.everup(&["up"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.starts_with("everup: cannot keep state in") && said.contains("taken"), "{said}");
    assert_eq!(project.read("taken"), "a file of somebody's");
}

#[test]
fn the_end_of_the_engine_is_the_end_of_everything() {
    let mut project = Project::up(
        "services:\n  web: {command: 'sh -c \"setsid -f sleep 4326; sleep 1000\"', instances: 3}\n  deaf: {command: \"sh -c 'trap \\\"\\\" TERM; while :; do sleep 1; done'\"}\n",
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
fn an_engine_that_was_stopped_for_a_while_kills_nobody_for_it() {
    let ticks = "sh -c 'while :; do echo >> ticks; sleep 0.1; done'";
    let project = Project::up(&format!(
        "services:\n  web: {{command: \"{ticks}\", health: {{exec: 'true', interval: 100ms, timeout: 200ms, failures: 1}}}}\n  \
         fed: {{command: python3 {} READY=1 beat, watchdog: 1s, health: {{notify: true}}}}\n",
        crate::support::data("notify.py").display()
    ));
    project.write("beat", "");
    project.wait_ready("web");
    project.wait_service("fed", "to be ready", |fed| fed["ready"] == true);
    for _ in 0..2 {
        let count = || project.read("ticks").lines().count();
        project.signal_engine(Signal::SIGSTOP);
        let before = count();
        wait_for("some seconds to pass", || count() > before + 30);
        project.signal_engine(Signal::SIGCONT);
        let resumed = count();
        wait_for("some more", || count() > resumed + 15);
    }
    for name in ["web", "fed"] {
        let service = project.service(name);
        assert_eq!((service["restarts"].as_u64(), service["ready"].as_bool()), (Some(0), Some(true)), "{service:#}");
    }
}

#[test]
fn a_line_of_ten_megabytes_is_kept_and_the_next_one_is_seen() {
    let project = Project::up(
        "services:\n  web: {command: \"python3 -c 'print(10_000_000 * chr(120)); print(\\\"after it\\\")'\", type: task, logs: {max_size: 64MiB}}\n",
    );
    project.wait_service("web", "to be done", |web| web["state"] == "exited");
    let size = || fs::metadata(project.path(".everup/logs/web.out.log")).map_or(0, |about| about.len());
    wait_for("every byte", || size() == 10_000_000 + 1 + 9);
    assert_eq!(
        project.ok(&["logs", "web", "-n", "1"]).lines().last().map(|line| line.contains("after it")),
        Some(true)
    );
    let json = project.ok(&["logs", "web", "--json", "-n", "1000"]);
    let whole: usize = json
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| line["line"].as_str().map(|text| text.chars().filter(|letter| *letter == 'x').count()))
        .sum();
    assert!(whole > 0, "{}", &json[..json.len().min(300)]);
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
