//! 1–12: the kernel refuses, or lacks something.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::support::{Project, alive, kill, wait_for};
use crate::tools::{
    Somebody, behind, can, can_inject, can_mount, events_of, injecting, limit, open_files, own_pid, script, skip,
    up_in_own_mounts, warnings, written_pid,
};

const TWO: &str = "services:\n  web: {command: sleep 1000, restart: {delay: 10ms, max_delay: 100ms, limit: {count: 1000000, within: 1s}}}\n  \
                   other: {command: sleep 1000, restart: {delay: 10ms}}\n";

/// `web` cannot be started for now; `other` is none the wiser; once `mend`ed, `web` is back.
fn web_cannot_start_until(project: &Project, mend: impl Fn()) {
    let other = project.pid("other");
    wait_for("a failed start", || {
        events_of(project, "web", "ended").iter().any(|event| event["cause"] == "spawn_error")
    });
    println!("{:#?}", events_of(project, "web", "ended"));
    assert_eq!((project.pid("other"), &project.service("other")["restarts"]), (other, &0.into()));
    mend();
    project.wait_service("web", "to be back", |web| web["ready"] == true);
    assert_eq!((project.pid("other"), &project.service("other")["restarts"]), (other, &0.into()));
}

#[test]
fn f01_a_fork_that_is_refused_is_tried_again_and_hurts_nobody_else() {
    let somebody = Somebody(61_001);
    if !somebody.can_be() {
        skip!("only root can be somebody else, and root has no such limit");
    }
    let mut project = Project::new(TWO);
    somebody.up(&mut project);
    project.wait_ready("web");
    project.wait_ready("other");
    let guardian = own_pid(&project, "pid");
    let limit = |what: &str| somebody.limits(guardian, what);
    limit("--nproc=1:");
    kill(&project, project.pid("web"), 9);
    web_cannot_start_until(&project, || limit("--nproc=4000:"));
    let told = project.everup(&["why", "web", "--json", "-n", "50"]);
    let told = crate::support::text(&told.stdout);
    assert!(told.contains("Resource temporarily unavailable"), "{told}");
}

#[test]
fn f02_a_fork_without_memory_is_tried_again_and_hurts_nobody_else() {
    if !can_inject() {
        skip!("system calls cannot be made to fail here");
    }
    let mut project = Project::new(TWO);
    let command = injecting(&project, "clone3,clone");
    project.run_by(command);
    project.wait_ready("web");
    project.wait_ready("other");
    project.write("inject", "main clone3 ENOMEM\nmain clone ENOMEM\n");
    kill(&project, project.pid("web"), 9);
    web_cannot_start_until(&project, || fs::remove_file(project.path("inject")).expect("the file"));
}

#[test]
fn f03_a_guardian_without_descriptors_goes_on_once_it_has_some() {
    let project = Project::up(TWO);
    project.wait_ready("web");
    project.wait_ready("other");
    let guardian = own_pid(&project, "pid");
    limit(guardian, &format!("--nofile={}:", open_files(guardian) + 2));
    kill(&project, project.pid("web"), 9);
    web_cannot_start_until(&project, || limit(guardian, "--nofile=1024:"));
}

#[test]
fn f03_an_engine_without_descriptors_lets_visitors_wait_and_supervises_on() {
    let lines =
        "services:\n  web: {command: 'sh -c \"while :; do echo a line; sleep 0.05; done\"', restart: {delay: 10ms}}\n";
    let project = Project::up(lines);
    project.wait_ready("web");
    let engine = own_pid(&project, "engine_pid");
    let pid = project.pid("web");
    limit(engine, &format!("--nofile={}:", open_files(engine) + 3));
    let visitors: Vec<UnixStream> =
        (0..40).filter_map(|_| UnixStream::connect(project.path(".everup/everup.sock")).ok()).collect();
    wait_for("it to have none left", || open_files(engine) >= 3);
    kill(&project, pid, 9);
    wait_for("web to be ended", || !alive(pid));
    drop(visitors);
    project.wait_service("web", "to be back", |web| web["ready"] == true && web["pid"] != pid);
    limit(engine, "--nofile=1024:");
    project.ok(&["restart", "web"]);
    wait_for("its lines to be kept", || project.ok(&["logs", "web", "-n", "3"]).contains("a line"));
    assert!(project.events().iter().any(|event| event["event"] == "ended" && event["signal"] == "KILL"));
}

#[test]
fn f05_a_state_file_on_a_read_only_disk_stops_nothing() {
    if !can_inject() {
        skip!("system calls cannot be made to fail here");
    }
    let mut project = Project::new(TWO);
    let command = injecting(&project, "openat");
    project.run_by(command);
    project.wait_ready("web");
    project.write("inject", "openat EROFS state.json.new\n");
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    wait_for("a warning", || warnings(&project).contains("not_persisted"));
    assert!(warnings(&project).contains("Read-only file system"), "{}", warnings(&project));
    fs::remove_file(project.path("inject")).expect("the file");
    project.ok(&["restart", "web"]);
    wait_for("the warning to go", || !warnings(&project).contains("not_persisted"));
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn f06_without_control_groups_trees_are_found_and_status_says_so_once() {
    if !can_mount() {
        skip!("hiding control groups needs the right to mount");
    }
    let mut project = Project::new(TWO);
    up_in_own_mounts(&mut project, "umount -R /sys/fs/cgroup");
    project.wait_ready("web");
    let warnings = project.status()["warnings"].clone();
    let said: Vec<&serde_json::Value> =
        warnings.as_array().expect("a list").iter().filter(|warning| warning["code"] == "no_cgroup").collect();
    assert_eq!(said.len(), 1, "{warnings:#}");
}

/// A daemon is found and ended, whatever this kernel lacks.
fn daemon_ends_although(project: &mut Project, calls: &str, rules: &str) {
    project.write("inject", rules);
    let command = injecting(project, calls);
    project.run_by(command);
    project.wait_ready("web");
    let daemon = written_pid(project, "daemon.pid");
    assert!(alive(daemon));
    project.ok(&["restart", "web"]);
    assert!(!alive(daemon), "it lives on");
    project.wait_ready("web");
    kill(project, project.pid("web"), 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 3 && web["ready"] == true);
    assert_eq!(project.read("beside"), "", "a second copy was started beside a leftover");
}

fn with_daemon() -> Project {
    let odd = script("odd.py");
    Project::new(&format!(
        "services:\n  web: {{command: python3 {} daemon:daemon.pid stay, restart: {{delay: 10ms}}, health: {{log: stays}}}}\n",
        odd.display()
    ))
}

#[test]
fn f07_without_pidfds_processes_are_known_by_their_start_time() {
    if !can_inject() {
        skip!("system calls cannot be made to fail here");
    }
    daemon_ends_although(&mut with_daemon(), "pidfd_open", "pidfd_open ENOSYS\n");
}

#[test]
fn f08_without_cgroup_kill_each_process_is_killed() {
    if !can_inject() {
        skip!("system calls cannot be made to fail here");
    }
    daemon_ends_although(&mut with_daemon(), "openat", "openat ENOENT cgroup.kill\n");
}

#[test]
fn f07_without_clone3_processes_are_made_by_fork() {
    if !can_inject() {
        skip!("system calls cannot be made to fail here");
    }
    daemon_ends_although(&mut with_daemon(), "clone3", "clone3 ENOSYS\n");
}

/// Numbers are given out again within a second here, and whoever gets one lives on.
#[test]
fn f11_a_number_that_is_given_out_again_is_never_signalled() {
    // An older kernel would change the limit of the whole machine.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's name");
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|word| word.trim().parse().ok()).take(2).collect();
    if numbers < vec![6, 14] || !can("unshare -fp --mount-proc sh -c 'echo 400 > /proc/sys/kernel/pid_max'") {
        skip!("each namespace has its own limit of process numbers from Linux 6.14 on, and only root may set it");
    }
    let project = Project::new(
        "services:\n  web: {command: \"sh -c 'sleep 1000 & setsid -f sleep 1000; exit 1'\", instances: 3, logs: none, \
         restart: {limit: {count: 1000000, within: 1s}, rules: [{codes: [1], then: restart_now}]}}\n",
    );
    let script = format!(
        "echo 400 > /proc/sys/kernel/pid_max; \"$@\" up > out 2>&1 & exec python3 {}",
        script("bystanders.py").display()
    );
    let mut command = behind(&project, &["unshare", "-fp", "--mount-proc", "--kill-child"], &script, &[]);
    let output = command.current_dir(project.folder.path()).output().expect("it runs");
    let said = crate::support::text(&output.stdout);
    assert!(output.status.success(), "{said}{}", project.read("out"));
    assert!(said.contains("no bystander was signalled"), "{said}");
    print!("{said}");
}

#[test]
fn f12_with_other_processes_hidden_its_own_are_found() {
    let somebody = Somebody(61_012);
    if !can_mount() || !somebody.can_be() {
        skip!("hiding processes needs the right to mount");
    }
    let mut project = with_daemon();
    somebody.own(project.folder.path());
    let line = format!(
        "mount -t proc -o hidepid=2 proc /proc || exit 9; test -e /proc/1/stat && exec {} sh -c 'test ! -e /proc/1/stat || exit 9; exec \"$@\"' sh \"$@\"",
        somebody.words().join(" ")
    );
    let command = behind(&project, &["unshare", "-m"], &line, &["up"]);
    project.run_by(command);
    project.wait_ready("web");
    let daemon = written_pid(&project, "daemon.pid");
    project.ok(&["stop", "web"]);
    assert!(!alive(daemon), "it lives on");
}

#[test]
fn f12_without_proc_it_does_not_start_and_says_why() {
    if !can_mount() {
        skip!("hiding /proc needs the right to mount");
    }
    let project = Project::new(TWO);
    let mut command = behind(&project, &["unshare", "-m"], "mount -t tmpfs none /proc; exec \"$@\"", &["up"]);
    let output = command.current_dir(project.folder.path()).output().expect("it runs");
    let said = crate::support::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("everup: ") && said.contains("/proc"), "{said}");
    let _ = std::io::stdout().flush();
}
