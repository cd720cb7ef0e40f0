//! 4 and 32–35: what children write.

use std::fs;
use std::process::Command;

use crate::support::{Project, kill, wait_for};
use crate::tools::{can_mount, events_of, skip, warnings};

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
    assert!(!crate::support::alive(pid));
}

#[test]
fn f04_f05_a_full_state_folder_stops_nothing() {
    if !can_mount() {
        skip!("a small disk needs the right to mount one");
    }
    let mut project = Project::new(BESIDE);
    fs::create_dir(project.path("state")).expect("a folder");
    let fill =
        "while test ! -e go; do sleep 0.05; done; head -c 9000000 /dev/zero > state/fill 2> /dev/null; touch full";
    let line = format!("mount -t tmpfs -o size=2m none state || exit 9; ({fill}) &");
    crate::tools::up_in_own_mounts(&mut project, &format!("{line} :"));
    project.wait_ready("web");
    project.write("go", "");
    wait_for("the disk to be full", || project.path("full").exists());
    wait_for("the loss of lines to be told", || !events_of(&project, "web", "log_lost").is_empty());
    wait_for("a warning", || warnings(&project).contains("not_persisted"));
    goes_on(&mut project);
}

#[test]
fn f35_a_state_folder_that_is_taken_away_stops_nothing_and_is_made_again() {
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
fn f35_a_log_that_is_moved_away_from_outside_is_begun_anew() {
    let mut project = Project::new(BESIDE);
    project.start(&["up"]);
    let log = project.path("state/logs/web.out.log");
    wait_for("some lines", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3));
    fs::rename(&log, project.path("elsewhere.log")).expect("it is there");
    wait_for("a new file", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3));
    let whole = fs::read(project.path("elsewhere.log")).expect("the old one");
    assert!(whole.ends_with(b"\n"), "a line is torn over two files");
}

#[test]
fn f35_a_link_in_the_place_of_a_log_is_not_followed() {
    let mut project = Project::new(BESIDE);
    project.write("victim", "somebody's\n");
    project.start(&["up"]);
    let log = project.path("state/logs/web.out.log");
    wait_for("some lines", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3));
    fs::remove_file(&log).expect("it is there");
    std::os::unix::fs::symlink(project.path("victim"), &log).expect("a link");
    let told = || !events_of(&project, "web", "log_lost").is_empty();
    let replaced = || fs::symlink_metadata(&log).is_ok_and(|about| about.is_file());
    wait_for("the link to be noticed", || told() || replaced());
    assert_eq!(project.read("victim"), "somebody's\n");
    assert_eq!(project.service("web")["restarts"], 0);
}

#[test]
fn f33_a_line_of_ten_megabytes_is_kept_and_the_next_one_is_seen() {
    a_long_line_is_kept(10);
}

#[test]
#[ignore = "heavy: tests/faults/run"]
fn f33_a_line_of_a_hundred_megabytes_is_kept_and_the_next_one_is_seen() {
    a_long_line_is_kept(100);
}

fn a_long_line_is_kept(megabytes: u64) {
    let bytes = megabytes * 1_000_000;
    let project = Project::up(&format!(
        "services:\n  web: {{command: \"python3 -c 'print({bytes} * chr(120)); print(\\\"after it\\\")'\", type: task, logs: {{max_size: 256MiB}}}}\n",
    ));
    project.wait_service("web", "to be done", |web| web["state"] == "exited");
    let size = || fs::metadata(project.path(".everup/logs/web.out.log")).map_or(0, |about| about.len());
    wait_for("every byte", || size() == bytes + 1 + 9);
    let last = project.ok(&["logs", "web", "-n", "1"]);
    assert_eq!(last.lines().last().map(|line| line.contains("after it")), Some(true));
    let engine = crate::tools::own_pid(&project, "engine_pid");
    let status = fs::read_to_string(format!("/proc/{engine}/status")).expect("the engine");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
    let most: u64 = most.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(most < 100_000, "the engine took {most} kB");
}

#[test]
fn f34_odd_bytes_are_kept_raw_and_shown_harmless() {
    let odd = b"nul \0 invalid \xff\xfe ansi \x1b[2J\x1b]0;owned\x07 cr \r bell \x07 end\n";
    let project = Project::new("services:\n  web: {command: cat odd, type: task}\n");
    fs::write(project.path("odd"), odd).expect("a file");
    let mut project = project;
    project.start(&["up"]);
    project.wait_service("web", "to be done", |web| web["state"] == "exited");
    let log = project.path(".everup/logs/web.out.log");
    wait_for("every byte", || fs::read(&log).is_ok_and(|bytes| bytes == odd));
    let json = project.ok(&["logs", "web", "--json"]);
    let line: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert!(line["line"].as_str().is_some_and(|text| text.contains("end")), "{line}");
    // On a terminal nothing of it may command the terminal.
    let everup = project.command(&["logs", "web"]);
    let words = format!("cd '{}' && '{}' logs web", project.folder.path().display(), everup.get_program().display());
    let mut pty = Command::new("script");
    pty.args(["-qec", &words, "/dev/null"]).env("XDG_RUNTIME_DIR", project.path("run")).env_remove("NO_COLOR");
    let Ok(shown) = pty.output() else { skip!("script(1) makes the terminal") };
    let shown = shown.stdout;
    let has = |part: &[u8]| shown.windows(part.len()).any(|window| window == part);
    assert!(has(b"end"), "{}", crate::support::text(&shown));
    for dangerous in [&b"\x1b[2J"[..], b"\x1b]0;", b"\x07", b"\0"] {
        assert!(!has(dangerous), "{dangerous:?} reached the terminal: {}", crate::support::text(&shown));
    }
}
