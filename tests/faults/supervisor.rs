//! 62–69: everup itself. Deaths of its processes are in `tests/e2e/resume.rs`.

use std::fs;

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use crate::support::{Project, kill, text, wait_for};
use crate::tools::{own_pid, warnings};

const WEB: &str = "services:\n  web: {command: sleep 1000, restart: {delay: 10ms}}\n";

#[test]
fn f05_without_a_history_file_supervision_goes_on_and_status_says_so() {
    let mut project = Project::new(WEB);
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
fn f05_a_state_folder_that_cannot_be_is_refused_in_one_sentence() {
    let project = Project::new("state_dir: taken\nservices:\n  web: {command: sleep 1000}\n");
    project.write("taken", "a file of somebody's");
    let refused = project.everup(&["up"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.starts_with("everup: cannot keep state in") && said.contains("taken"), "{said}");
    assert_eq!(project.read("taken"), "a file of somebody's");
}

#[test]
fn f68_a_flood_of_hangups_is_taken_together() {
    let project = Project::up(WEB);
    project.wait_ready("web");
    let pid = project.pid("web");
    let guardian = Pid::from_raw(i32::try_from(own_pid(&project, "pid")).expect("a pid"));
    for _ in 0..100_000 {
        send(guardian, Signal::SIGHUP).expect("everup lives");
    }
    project.ok(&["status"]);
    project.write("supervisor.yaml", &format!("{WEB}  other: {{command: sleep 2000}}\n"));
    send(guardian, Signal::SIGHUP).expect("everup lives");
    project.wait_ready("other");
    assert_eq!(project.pid("web"), pid);
    let applied = project.events().iter().filter(|event| event["event"] == "config_applied").count();
    assert!(applied < 1_000, "{applied} times");
}

#[test]
fn f69_a_damaged_history_is_set_aside() {
    let mut project = Project::up(WEB);
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

/// Truncated, garbage, nested without end, with odd figures: everup starts all the same.
#[test]
fn f69_a_state_file_that_cannot_be_used_keeps_nothing_from_starting() {
    let mut project = Project::up(WEB);
    project.wait_ready("web");
    project.ok(&["down"]);
    project.wait_end();
    let good = project.read(".everup/state.json");
    let odd = [
        String::new(),
        good[..good.len() / 2].to_owned(),
        "\0\0\0\0".repeat(1_000),
        "[".repeat(100_000),
        good.replace("\"run\":1", "\"run\":18446744073709551615"),
    ];
    for bad in odd {
        project.write(".everup/state.json", &bad);
        project.start(&["up"]);
        project.wait_ready("web");
        project.ok(&["down"]);
        assert_eq!(project.wait_end(), Some(0), "{}", project.read("everup.stderr"));
    }
}

/// What a later version wrote may be about processes that live: it is neither used nor lost.
#[test]
fn f69_a_state_file_of_a_later_version_is_refused_and_kept() {
    let mut project = Project::up(WEB);
    project.wait_ready("web");
    project.ok(&["down"]);
    project.wait_end();
    let later = project.read(".everup/state.json").replace("\"v\":2", "\"v\":99");
    project.write(".everup/state.json", &later);
    let refused = project.everup(&["up"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("newer everup"), "{}", text(&refused.stderr));
    assert_eq!(project.read(".everup/state.json"), later);
}
