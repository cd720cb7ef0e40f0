//! Descendants that hide, wherever everup runs: with cgroup v2 beside v1 (hybrid), with cgroup v2 alone, without any
//! control group, and unprivileged.

use crate::support::{Project, alive, kill, wait_for};
use crate::tools::{Freezer, Somebody, can_mount, script, skip, up_in_own_mounts, warnings, written_pid};

/// Where everup finds itself.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// As this machine is.
    Here,
    /// With cgroup v2 alone.
    Unified,
    /// Without control groups.
    Without,
    /// As a user who may not make any.
    Unprivileged(Somebody),
}

impl Place {
    /// Starts everup there; none where this machine does not let us.
    fn up(self, yaml: &str) -> Option<Project> {
        let possible = match self {
            Self::Here => true,
            Self::Unified | Self::Without => can_mount(),
            Self::Unprivileged(somebody) => somebody.can_be(),
        };
        if !possible {
            println!("skipped: {self:?} is not to be had here");
            return None;
        }
        let mut project = Project::new(yaml);
        match self {
            Self::Here => project.start(&["up"]),
            Self::Unified => up_in_own_mounts(
                &mut project,
                "umount -R /sys/fs/cgroup 2> /dev/null; mount -t cgroup2 none /sys/fs/cgroup || exit 9",
            ),
            Self::Without => up_in_own_mounts(&mut project, "umount -R /sys/fs/cgroup"),
            Self::Unprivileged(somebody) => somebody.up(&mut project),
        }
        let grouped = !warnings(&project).contains("no_cgroup");
        match self {
            Self::Here => {}
            Self::Unified => assert!(grouped, "{}", warnings(&project)),
            Self::Without | Self::Unprivileged(_) => assert!(!grouped, "it found a control group after all"),
        }
        Some(project)
    }
}

/// A service of `odd.py`.
fn odd(words: &str, rest: &str) -> String {
    format!("services:\n  web:\n    command: python3 {} {words}\n{rest}", script("odd.py").display())
}

/// Every kind of descendant is gone after `stop`, after a crash before the next run begins, and after `down`.
fn nothing_is_left_behind(place: Place) {
    let words = "plain:plain.pid session:session.pid bare:bare.pid daemon:daemon.pid stay";
    let yaml = odd(words, "    stop: {timeout: 5s}\n    restart: {delay: 10ms}\n    health: {log: stays}\n");
    let Some(mut project) = place.up(&yaml) else { return };
    let files = ["plain.pid", "session.pid", "bare.pid", "daemon.pid"];
    let all = |project: &Project| files.map(|file| written_pid(project, file));
    project.wait_ready("web");
    let first = all(&project);
    assert!(first.iter().all(|pid| alive(*pid)));
    project.ok(&["restart", "web"]);
    assert!(!first.iter().any(|pid| alive(*pid)), "{place:?}: {first:?} outlived a restart");
    let second = all(&project);
    project.ok(&["stop", "web"]);
    assert!(!second.iter().any(|pid| alive(*pid)), "{place:?}: {second:?} outlived a stop");
    project.ok(&["start", "web"]);
    let third = all(&project);
    assert!(third.iter().all(|pid| alive(*pid)));
    project.ok(&["down"]);
    project.wait_end();
    assert!(!third.iter().any(|pid| alive(*pid)), "{place:?}: {third:?} outlived everup");
    assert_eq!(project.read("beside"), "", "{place:?}: a second copy was started beside a leftover");
}

#[test]
fn f20_nothing_is_left_behind_in_this_machines_cgroups() {
    nothing_is_left_behind(Place::Here);
}

#[test]
fn f20_nothing_is_left_behind_with_cgroup_v2_alone() {
    nothing_is_left_behind(Place::Unified);
}

#[test]
fn f20_nothing_is_left_behind_without_cgroups() {
    nothing_is_left_behind(Place::Without);
}

#[test]
fn f20_nothing_is_left_behind_unprivileged() {
    nothing_is_left_behind(Place::Unprivileged(Somebody(61_020)));
}

/// A program that puts itself in the background is named, taken away, and never runs twice.
fn a_daemon_is_named(place: Place) {
    let yaml = odd("daemon:daemon.pid exit:0", "    restart: {policy: always, delay: 300ms, factor: 1, jitter: 0}\n");
    let Some(project) = place.up(&yaml) else { return };
    let first = written_pid(&project, "daemon.pid");
    let named = format!("python3 pid {first}");
    let mut seen = String::new();
    wait_for("the daemon to be named", || {
        seen += &warnings(&project);
        project.service("web")["instances"][0]["run"].as_u64() > Some(2)
    });
    assert!(seen.contains("daemonised"), "{place:?}: {seen}");
    let told = project.everup(&["why", "web", "--json", "-n", "20"]);
    let told = crate::support::text(&told.stdout);
    assert!(told.contains(&named), "{place:?}: {named} is not named: {told}");
    assert!(!alive(first), "{place:?}: the daemon lives on");
    assert_eq!(project.read("beside"), "", "{place:?}: a second copy was started beside it");
}

#[test]
fn f20_a_daemon_is_named_and_taken_away_in_this_machines_cgroups() {
    a_daemon_is_named(Place::Here);
}

#[test]
fn f20_a_daemon_is_named_and_taken_away_without_cgroups() {
    a_daemon_is_named(Place::Without);
}

#[test]
fn f20_a_daemon_is_named_and_taken_away_unprivileged() {
    a_daemon_is_named(Place::Unprivileged(Somebody(61_021)));
}

/// Two hundred processes with a session of their own each.
fn a_storm_ends(place: Place) {
    let yaml = odd("storm:storm.pid stay", "    stop: {timeout: 5s}\n    health: {log: stays}\n");
    let Some(project) = place.up(&yaml) else { return };
    project.wait_ready("web");
    wait_for("all to be there", || project.read("storm.pid").lines().count() == 200);
    let all: Vec<i32> = project.read("storm.pid").lines().filter_map(|line| line.parse().ok()).collect();
    project.ok(&["stop", "web"]);
    let left = all.iter().filter(|pid| alive(**pid)).count();
    assert_eq!(left, 0, "{place:?}");
}

#[test]
fn f23_two_hundred_daemons_end_with_their_service_in_cgroups() {
    a_storm_ends(Place::Here);
}

#[test]
fn f23_two_hundred_daemons_end_with_their_service_without_cgroups() {
    a_storm_ends(Place::Without);
}

/// It forks as fast as it can, each of them in a session of its own, up to its limit.
#[test]
fn f23_a_fork_bomb_is_stopped_with_all_it_made() {
    let somebody = Somebody(61_023);
    if !somebody.can_be() {
        skip!("only root can be somebody else");
    }
    let bomb = "import os\nwhile True:\n  try:\n    if os.fork() == 0: os.setsid()\n  except OSError: pass\n";
    let project = Project::new(&format!(
        "services:\n  web: {{command: env python3 bomb.py, user: '{0}', group: '{0}', limits: {{processes: 60}}, stop: {{timeout: 1s}}}}\n  \
         other: {{command: sleep 1000, restart: {{delay: 10ms}}}}\n",
        somebody.0
    ));
    project.write("bomb.py", bomb);
    let mut project = project;
    let _ = std::fs::set_permissions(project.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755));
    project.start(&["up"]);
    wait_for("the bomb to have reached its limit", || somebody.processes().len() >= 55);
    kill(&project, project.pid("other"), 9);
    project.wait_service("other", "to be back meanwhile", |other| {
        other["instances"][0]["run"] == 2 && other["ready"] == true
    });
    project.ok(&["stop", "web"]);
    assert_eq!(somebody.processes(), [0_i32; 0]);
}

/// It hangs on us although it left the group of its run.
#[test]
fn f30_who_leaves_its_control_group_is_found_all_the_same() {
    let yaml = odd("leave:left.pid stay", "    stop: {timeout: 5s}\n    health: {log: stays}\n");
    let project = Project::up(&yaml);
    if warnings(&project).contains("no_cgroup") {
        skip!("there is no control group to leave");
    }
    project.wait_ready("web");
    let left = written_pid(&project, "left.pid");
    let groups = std::fs::read_to_string(format!("/proc/{left}/cgroup")).expect("its groups");
    let own = groups.lines().find(|line| line.starts_with("0::")).unwrap_or_default();
    assert!(!own.contains("everup-"), "it did not leave: {own}");
    project.ok(&["stop", "web"]);
    assert!(!alive(left), "it lives on after stop");
    project.ok(&["start", "web"]);
    let left = written_pid(&project, "left.pid");
    kill(&project, project.pid("web"), 9);
    wait_for("a crash to take it along", || !alive(left));
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 3 && web["ready"] == true);
    assert_eq!(project.read("beside"), "");
}

/// What cannot be killed is named, nothing starts beside it, and everup ends without it.
#[test]
fn f19_what_survives_sigkill_is_named_has_no_second_copy_and_does_not_hold_up_the_end() {
    let Some(freezer) = Freezer::new("f19") else { skip!("this machine has no freezer of cgroup v1") };
    let yaml = odd("daemon:daemon.pid stay", "    stop: {timeout: 100ms}\n    restart: {delay: 10ms}\n")
        + "  other: {command: sleep 1000}\n";
    let mut project = Project::up(&yaml);
    let daemon = written_pid(&project, "daemon.pid");
    freezer.take(daemon);
    freezer.freeze();
    kill(&project, project.pid("web"), 9);
    wait_for("the warning", || warnings(&project).contains("unkillable"));
    let seen = warnings(&project);
    assert!(seen.contains(&format!("python3 pid {daemon}")), "it is not named: {seen}");
    let web = project.instance("web", 0);
    assert_eq!((web["run"].as_u64(), web["state"].as_str()), (Some(1), Some("stopping")), "{web:#}");
    let down = project.everup(&["down"]);
    assert!(project.wait_end().is_some());
    let said = project.read("everup.stderr") + &crate::support::text(&down.stderr);
    assert!(said.contains(&format!("python3 pid {daemon}")), "the end does not say what is left: {said}");
    assert!(alive(daemon));
    assert_eq!(project.read("beside"), "", "a second copy was started beside it");
}

/// It goes on by itself once what could not be killed is gone.
#[test]
fn f19_what_was_unkillable_is_replaced_once_it_is_gone() {
    let Some(freezer) = Freezer::new("f19-thaw") else { skip!("this machine has no freezer of cgroup v1") };
    let yaml = odd("plain:plain.pid stay", "    stop: {timeout: 100ms}\n    restart: {delay: 10ms}\n");
    let project = Project::up(&yaml);
    let child = written_pid(&project, "plain.pid");
    freezer.take(child);
    freezer.freeze();
    kill(&project, project.pid("web"), 9);
    wait_for("the warning", || warnings(&project).contains("unkillable"));
    freezer.thaw();
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert!(!warnings(&project).contains("unkillable"));
    assert_eq!(project.read("beside"), "");
}
