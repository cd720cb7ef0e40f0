//! 14–30: what children do. Those that hide are in `trees.rs`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::{Project, alive, data, kill, text, wait_for};
use crate::tools::{Somebody, all_events, events_of, script, skip, written_pid};

/// A service that cannot be started says where and why, and is tried again slowly.
fn cannot_start(yaml: &str, prepare: impl Fn(&Project), stage: &str, words: &str) -> Project {
    let mut project = Project::new(&format!("services:\n  other: {{command: sleep 1000}}\n  web: {yaml}\n"));
    prepare(&project);
    project.start(&["up"]);
    project.wait_service("web", "to fail", |web| web["instances"][0]["last_end"]["cause"] == "spawn_error");
    let web = project.instance("web", 0);
    assert_eq!(web["state"], "backoff", "{web:#}");
    assert!(web["next_attempt_in_ms"].as_u64() > Some(5_000), "it is tried again too soon: {web:#}");
    let evidence = project.why("web")["evidence"].to_string();
    assert!(evidence.contains(stage) && evidence.contains(words), "{evidence}");
    project.wait_ready("other");
    project
}

#[test]
fn f14_a_program_that_may_not_be_executed() {
    let prepare = |project: &Project| project.write("secret", "#!/bin/sh\n");
    cannot_start("{command: ./secret}", prepare, "program", "secret");
}

#[test]
fn f15_a_program_that_is_none_is_not_given_to_a_shell() {
    let prepare = |project: &Project| {
        project.write("words", "touch it-was-run\n");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(project.path("words"), open).expect("its mode");
    };
    let project = cannot_start("{command: ./words}", prepare, "exec", "words");
    assert!(!project.path("it-was-run").exists());
}

#[test]
fn f16_a_user_that_does_not_exist() {
    cannot_start("{command: sleep 1000, user: no-such-user}", |_| {}, "user", "no-such-user");
}

#[test]
fn f16_a_folder_that_does_not_exist() {
    cannot_start("{command: sleep 1000, cwd: nowhere}", |_| {}, "cwd", "nowhere");
}

#[test]
fn f16_a_folder_that_goes_while_it_runs() {
    let project = Project::new("services:\n  web: {command: sleep 1000, cwd: here, restart: {delay: 10ms}}\n");
    fs::create_dir(project.path("here")).expect("a folder");
    let mut project = project;
    project.start(&["up"]);
    project.wait_ready("web");
    fs::remove_dir(project.path("here")).expect("it is empty");
    kill(&project, project.pid("web"), 9);
    project.wait_service("web", "to fail", |web| web["instances"][0]["last_end"]["cause"] == "spawn_error");
    assert!(project.why("web")["evidence"].to_string().contains("cwd"), "{:#}", project.why("web"));
}

#[test]
fn f17_a_program_that_ignores_term_is_killed_after_its_timeout() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: python3 {} deaf stay, stop: {{timeout: 500ms}}, health: {{log: stays}}}}\n",
        script("odd.py").display()
    ));
    project.wait_ready("web");
    let pid = project.pid("web");
    project.ok(&["stop", "web"]);
    assert!(!alive(pid));
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("user"), Some("KILL")));
    assert!(why["evidence"].to_string().contains("was killed"), "{why:#}");
}

#[test]
fn f18_a_program_that_is_stopped_hears_term_all_the_same() {
    let obeys = "import signal,sys\nsignal.signal(15, lambda *_: sys.exit(23))\nprint('stays', flush=True)\nwhile 1: signal.pause()\n";
    let project = Project::new("services:\n  web: {command: python3 obeys.py, health: {log: stays}}\n");
    project.write("obeys.py", obeys);
    let mut project = project;
    project.start(&["up"]);
    project.wait_ready("web");
    let pid = project.pid("web");
    kill(&project, pid, nix::libc::SIGSTOP);
    wait_for("it to be stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    project.ok(&["stop", "web"]);
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["code"].as_i64()), (Some("user"), Some(23)), "{why:#}");
}

/// Somebody outside of the tree keeps its output open.
#[test]
fn f21_an_output_that_somebody_holds_delays_neither_the_end_nor_the_next_run() {
    let lines = "services:\n  web: {command: 'sh -c \"echo begun; exec sleep 1000\"', restart: {delay: 10ms}}\n";
    let project = Project::up(lines);
    project.wait_ready("web");
    let pid = project.pid("web");
    let mut held = fs::File::options().write(true).open(format!("/proc/{pid}/fd/1")).expect("its output");
    kill(&project, pid, 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    wait_for("its end to be written down", || project.why("web")["signal"] == "KILL");
    // Nobody reads it any more, which must not be everup's end either.
    let _ = held.write_all(b"late\n");
    project.ok(&["restart", "web"]);
}

#[test]
fn f22_a_program_that_closes_its_output_keeps_nobody_busy() {
    let project = Project::up("services:\n  web: {command: 'sh -c \"exec sleep 1000 >&- 2>&-\"', instances: 20}\n");
    project.wait_ready("web");
    let engine = crate::tools::own_pid(&project, "engine_pid");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{engine}/stat")).expect("the engine lives");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
        fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
    };
    let begun = std::time::Instant::now();
    let before = ticks();
    wait_for("a second to pass", || begun.elapsed().as_millis() >= 1_000);
    // A busy loop would take all of a core, a hundred ticks.
    assert!(ticks() - before < 40, "{} ticks in a second", ticks() - before);
}

#[test]
fn f24_those_that_end_at_once_are_each_told_once_and_rightly() {
    let project = Project::up(
        "services:\n  quick: {command: 'exit $$(( ${INDEX} % 7 ))', shell: true, type: task, instances: 100}\n",
    );
    let over = |instance: &Value| ["exited", "failed"].iter().any(|state| instance["state"] == *state);
    project.wait_service("quick", "to be over", |quick| {
        quick["instances"].as_array().is_some_and(|all| all.len() == 100 && all.iter().all(over))
    });
    wait_for("every end to be told", || events_of(&project, "quick", "ended").len() >= 100);
    let ended = events_of(&project, "quick", "ended");
    assert_eq!(ended.len(), 100);
    for instance in project.service("quick")["instances"].as_array().expect("instances") {
        let own: Vec<&Value> = ended.iter().filter(|event| event["instance"] == instance["name"]).collect();
        let index = instance["index"].as_i64().expect("a number");
        assert_eq!((own.len(), own[0]["code"].as_i64()), (1, Some(index % 7)), "{own:#?}");
    }
}

#[test]
fn f25_two_hundred_children_that_die_at_once_all_come_back() {
    many_that_die_at_once_all_come_back(200);
}

#[test]
#[ignore = "heavy: tests/faults/run"]
fn f25_five_thousand_children_that_die_at_once_all_come_back() {
    many_that_die_at_once_all_come_back(5_000);
}

/// Meanwhile a lone one that dies too does not wait for them.
fn many_that_die_at_once_all_come_back(count: usize) {
    let services = count / 100;
    let mut many = "history: {interval: 1m}\nservices:\n".to_owned();
    for n in 0..services {
        let _ = writeln!(many, "  s{n}: {{command: sleep 1000, instances: 100, logs: none, restart: {{delay: 10ms}}}}");
    }
    let project = Project::up(&many);
    let pids = |run: u64| -> Vec<i32> {
        let status = project.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let instances = services.iter().flat_map(|s| s["instances"].as_array().cloned().unwrap_or_default());
        let there = instances.filter(|one| one["run"] == run && one["ready"] == true);
        there.filter_map(|one| i32::try_from(one["pid"].as_i64()?).ok()).collect()
    };
    crate::tools::wait_long("all to run", || pids(1).len() == count);
    let first = pids(1);
    for pid in &first {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::SIGKILL).expect("a child");
    }
    crate::tools::wait_long("all to be back", || pids(2).len() == count);
    let guardian = crate::tools::own_pid(&project, "pid");
    let children = fs::read_to_string(format!("/proc/{guardian}/task/{guardian}/children")).expect("its children");
    let zombie = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    assert_eq!(children.split_whitespace().filter(zombie).count(), 0);
    if count < 1_000 {
        let ended = || all_events(&project).iter().filter(|event| event["event"] == "ended").count();
        wait_for("every end to be told", || ended() >= count);
        assert_eq!(ended(), count);
    }
}

#[test]
fn f26_ready_of_a_stranger_does_not_count() {
    let project = Project::up(&format!(
        "services:\n  web: {{command: python3 {}, health: {{notify: true, start_timeout: 30s}}}}\n",
        data("notify.py").display()
    ));
    let pid = project.pid("web");
    let environment = || text(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    wait_for("its environment", || environment().contains("NOTIFY_SOCKET="));
    let environment = environment();
    let socket = environment.split('\0').find_map(|one| one.strip_prefix("NOTIFY_SOCKET=")).expect("a socket");
    let send = "import os,socket,sys\na=sys.argv[1]\na='\\0'+a[1:] if a[0]=='@' else a\n\
                s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\nfor _ in range(50): s.sendto(b'READY=1\\nSTATUS=hacked', a)\n";
    let sent = std::process::Command::new("python3").args(["-c", send, socket]).output().expect("python3");
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    // Asked after them, so it has heard them.
    project.everup(&["status"]);
    let web = project.instance("web", 0);
    assert_eq!((web["ready"].as_bool(), web["state"].as_str()), (Some(false), Some("starting")), "{web:#}");
}

#[test]
fn f28_a_start_cannot_be_extended_for_ever() {
    let asks = "import os,socket,time\na=os.environ['NOTIFY_SOCKET']\na='\\0'+a[1:] if a[0]=='@' else a\n\
                s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\nwhile True:\n  s.sendto(b'EXTEND_TIMEOUT_USEC=3600000000', a); time.sleep(0.02)\n";
    let mut project = Project::new(
        "services:\n  web: {command: python3 asks.py, health: {notify: true, start_timeout: 200ms}, stop: {timeout: 1s}}\n",
    );
    project.write("asks.py", asks);
    project.start(&["up"]);
    project.wait_service("web", "to be ended", |web| web["instances"][0]["last_end"]["cause"] == "start_timeout");
}

#[test]
fn f29_one_that_ends_well_in_a_loop_backs_off() {
    let project = Project::up(
        "services:\n  web: {command: 'true', restart: {policy: always, delay: 100ms, factor: 2, jitter: 0}}\n",
    );
    project.wait_service("web", "to have ended a few times", |web| web["restarts"].as_u64() >= Some(4));
    let delays: Vec<u64> =
        events_of(&project, "web", "backoff").iter().filter_map(|event| event["delay_ms"].as_u64()).take(4).collect();
    assert_eq!(delays, [100, 200, 400, 800]);
}

/// What is dropped by a user cannot be taken for everup's own: it may not signal it, and says so instead of hanging.
#[test]
fn f19_what_may_not_be_signalled_is_named_too() {
    let somebody = Somebody(61_019);
    if !somebody.can_be() {
        skip!("only root can be somebody else");
    }
    // A program of root's in the tree of an unprivileged everup: by a set-user-id copy of setpriv(1).
    let mut project = Project::new(
        "services:\n  web: {command: 'sh -c \"./rooted --reuid 0 sleep 1000 & echo $! > rooted.pid; exec sleep 1000\"', stop: {timeout: 100ms}}\n",
    );
    fs::copy("/usr/bin/setpriv", project.path("rooted")).expect("setpriv");
    somebody.own(project.folder.path());
    let suid = "chown root rooted && chmod 4755 rooted";
    let made = std::process::Command::new("sh").args(["-c", suid]).current_dir(project.folder.path()).status();
    assert!(made.expect("sh").success());
    let words = somebody.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = crate::tools::behind(&project, &words, "exec \"$@\"", &["up"]);
    project.run_by(command);
    let rooted = written_pid(&project, "rooted.pid");
    if fs::read_to_string(format!("/proc/{rooted}/status")).is_ok_and(|s| s.contains("Uid:\t61019\t61019")) {
        skip!("this file system knows no set-user-id");
    }
    let stop = project.everup(&["stop", "web", "--wait=1s"]);
    assert_eq!(stop.status.code(), Some(7), "{}", text(&stop.stderr));
    wait_for("the warning", || {
        crate::tools::warnings(&project).contains(&format!("sleep pid {rooted}"))
            || crate::tools::warnings(&project).contains(&format!("rooted pid {rooted}"))
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(rooted), nix::sys::signal::SIGKILL).expect("ours to end");
    project.wait_service("web", "to be stopped", |web| web["state"] == "stopped");
}
