//! What a child is given: identity, limits, and a clean slate.

use std::fs;

use crate::support::{Project, wait_for};

/// A line of /proc/PID/status.
fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the child's status");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft and hard limit of /proc/PID/limits.
fn limit(pid: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the child's limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

fn stat(pid: i32, index: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the child's stat");
    let (_, rest) = stat.rsplit_once(") ").expect("a stat line");
    rest.split(' ').nth(index).and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn a_child_begins_with_a_clean_slate() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, umask: '0027', nice: 5, limits: {open_files: 123, core: 0}}\n",
    );
    project.wait_ready("web");
    let pid = project.pid("web");
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
        assert_eq!(field(pid, name), "0000000000000000", "{name}");
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/0")).expect("stdin"), std::path::Path::new("/dev/null"));
    assert_eq!((stat(pid, 2), stat(pid, 3)), (i64::from(pid), i64::from(pid)), "group and session are its own");
    assert_eq!(stat(pid, 4), 0, "it has no terminal");
    assert_eq!(stat(pid, 16), 5, "nice");
    assert_eq!(field(pid, "Umask"), "0027");
    assert_eq!(limit(pid, "Max open files"), ("123".to_owned(), "123".to_owned()));
    assert_eq!(limit(pid, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    let own = format!("/proc/{}/limits", std::process::id());
    assert!(fs::read_to_string(own).is_ok());
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("its environment");
    for name in ["EVERUP_ROLE=", "EVERUP_GUARDIAN_FD=", "NOTIFY_SOCKET=", "LISTEN_FDS="] {
        assert!(!environment.contains(name), "it has {name}");
    }
    for name in ["EVERUP_SERVICE=web", "EVERUP_INSTANCE=web", "EVERUP_RUN=1"] {
        assert!(environment.split('\0').any(|word| word == name), "it lacks {name}");
    }
}

#[test]
fn a_child_without_limits_has_those_everup_was_started_with() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    let ours = i32::try_from(std::process::id()).expect("a pid");
    for name in ["Max open files", "Max core file size", "Max processes"] {
        assert_eq!(limit(pid, name), limit(ours, name), "{name}");
    }
    assert_eq!((field(pid, "Umask"), stat(pid, 16)), (field(ours, "Umask"), stat(ours, 16)));
}

#[test]
fn user_and_group_are_taken_on_with_their_groups_alone() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can run a service as another user");
        return;
    }
    let mut project = Project::new(
        "services:\n  web:\n    command: sleep 1000\n    user: nobody\n    limits: {processes: 77}\n    \
         health: {exec: sh -c 'id -u > shared/probe'}\n    hooks: {before_start: sh -c 'id -u > shared/hook'}\n  \
         group: {command: sleep 1000, user: nobody, group: daemon}\n  ghost: {command: sleep 1000, user: no-such-user}\n",
    );
    let shared = project.path("shared");
    fs::create_dir(&shared).expect("a folder");
    for path in [&shared, &project.path("")] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("open to all");
    }
    project.start(&["up"]);
    project.wait_ready("web");
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("nobody is somebody");
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    let pid = project.pid("web");
    assert_eq!(field(pid, "Uid"), [uid.as_str(); 4].join(" "));
    assert_eq!(field(pid, "Gid"), [gid.as_str(); 4].join(" "));
    assert!(!field(pid, "Groups").split(' ').any(|group| group == "0"), "it is in root's group");
    assert_eq!(field(pid, "CapEff"), "0000000000000000");
    assert_eq!(limit(pid, "Max processes"), ("77".to_owned(), "77".to_owned()));
    for file in ["hook", "probe"] {
        assert_eq!(project.read(&format!("shared/{file}")).trim(), uid, "{file}");
    }
    project.wait_ready("group");
    let daemon = nix::unistd::Group::from_name("daemon").ok().flatten().expect("the group");
    assert_eq!(field(project.pid("group"), "Gid"), [daemon.gid.to_string().as_str(); 4].join(" "));
    project.wait_service("ghost", "to fail", |ghost| ghost["instances"][0]["last_end"]["cause"] == "spawn_error");
    wait_for("the reason", || project.why("ghost")["evidence"].to_string().contains("user"));
}
