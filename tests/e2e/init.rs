//! everup as PID 1, as in a container: in a pid namespace of its own.

use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Project, text, wait_for};

/// The words that give a program a pid namespace of its own here; none: nobody may make one.
fn unshare() -> Option<&'static [&'static str]> {
    const ROOT: &[&str] = &["--pid", "--fork", "--mount-proc", "--kill-child"];
    const USER: &[&str] = &["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    static FOUND: OnceLock<Option<&[&str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let works = |words: &&[&str]| {
            let tried = Command::new("unshare").args(*words).arg("true").output();
            tried.is_ok_and(|output| output.status.success())
        };
        [ROOT, USER].into_iter().find(works)
    })
}

/// `everup ARGS` as PID 1, after `first` was done there by a shell; none, with a word about it, where that cannot be.
fn as_pid_1(project: &Project, first: &str, args: &[&str]) -> Option<Command> {
    let Some(words) = unshare() else {
        eprintln!("skipped: unshare(1) may not make a pid namespace here (needs root, or user namespaces)");
        return None;
    };
    let mut command = project.command(&[]);
    let mut inside = Command::new("unshare");
    let script = format!("{first}exec \"$0\" \"$@\"");
    inside.args(words).args(["sh", "-c", &script, env!("CARGO_BIN_EXE_everup")]).args(args);
    inside.current_dir(project.folder.path()).env_remove("NOTIFY_SOCKET");
    for (name, value) in command.env("EVERUP_E2E", "1").get_envs() {
        inside.env(name, value.unwrap_or_default());
    }
    Some(inside)
}

/// The process that is PID 1 in there, by its number out here.
fn init_of(project: &mut Project) -> Pid {
    let unshare = project.supervisor().id();
    let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
    Pid::from_raw(children.trim().parse().expect("one child"))
}

#[test]
fn the_containers_code_is_the_programs() {
    for (script, code) in [("sleep 0.2; exit 0", 0), ("sleep 0.2; exit 3", 3), ("sleep 0.2; kill -KILL $$", 137)] {
        let mut project = Project::new(&format!(
            "exit_with: job\nservices:\n  job: {{command: 'sh -c \"{}\"', restart: never}}\n  helper: {{command: sleep 1000}}\n",
            script.replace('$', "$$")
        ));
        let Some(command) = as_pid_1(&project, "", &["up"]) else { return };
        project.run_by(command);
        assert_eq!(project.wait_end(), Some(code), "{script}: {}", project.read("everup.stderr"));
    }
}

#[test]
fn run_is_an_entry_point_whose_code_passes_through() {
    let project = Project::bare();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("echo $PPID; exit 0", 0)] {
        let Some(mut command) = as_pid_1(&project, "", &["run", "--restart", "never", "--", "sh", "-c", script]) else {
            return;
        };
        let output = command.output().expect("unshare runs");
        assert_eq!(output.status.code(), Some(code), "{script}: {}", text(&output.stderr));
        if script.contains("PPID") {
            assert_eq!(text(&output.stdout), "1\n", "the program is a child of PID 1");
        }
    }
    let Some(mut command) = as_pid_1(&project, "", &["run", "--", "no-such-program-anywhere"]) else { return };
    assert_eq!(command.output().expect("unshare runs").status.code(), Some(127));
}

#[test]
fn signals_of_the_runtime_stop_everything_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut project = Project::new(
            "services:\n  web: {command: 'sh -c \"trap \\\"echo bye; exit 0\\\" TERM; while :; do sleep 0.05; done\"'}\n",
        );
        let Some(command) = as_pid_1(&project, "", &["up", "--log-format", "json"]) else { return };
        project.run_by(command);
        project.wait_ready("web");
        assert_eq!(project.status()["pid"], 1);
        kill(init_of(&mut project), signal).expect("our child's");
        assert_eq!(project.wait_end(), Some(0), "{signal}: {}", project.read("everup.stderr"));
        let said = project.read("everup.stdout");
        let lines: Vec<serde_json::Value> =
            said.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
        assert!(lines.iter().any(|line| line["line"] == "bye" && line["service"] == "web"), "{signal}: {said}");
    }
}

#[test]
fn hang_up_applies_the_file_and_other_signals_change_nothing() {
    let mut project = Project::new("services:\n  web: {command: sleep 1000}\n");
    let Some(command) = as_pid_1(&project, "exec <&- ; ", &["up"]) else { return };
    project.run_by(command);
    project.wait_ready("web");
    let web = project.pid("web");
    let init = init_of(&mut project);
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGPIPE, Signal::SIGALRM] {
        kill(init, signal).expect("our child's");
    }
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 1000}\n  db: {command: sleep 1000}\n");
    kill(init, Signal::SIGHUP).expect("our child's");
    project.wait_ready("db");
    assert_eq!(project.pid("web"), web);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn orphans_and_zombies_by_the_thousand_are_reaped() {
    let mut project = Project::new("services:\n  web: {command: python3 litter.py}\n");
    // Each child leaves five grandchildren behind, in a session of their own or not, which end after it.
    project.write(
        "litter.py",
        "import os, time\nfor n in range(400):\n    if os.fork() == 0:\n        for g in range(5):\n            \
         if os.fork() == 0:\n                if g % 2: os.setsid()\n                time.sleep(0.05)\n                os._exit(g)\n        \
         os._exit(0)\n    os.wait()\nopen('littered', 'w')\ntime.sleep(1000)\n",
    );
    let Some(command) = as_pid_1(&project, "", &["up"]) else { return };
    project.run_by(command);
    wait_for("two thousand orphans", || project.path("littered").exists());
    let init = init_of(&mut project);
    let mut left = vec![];
    wait_for("all of them to be reaped", || {
        let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        left = children.split_whitespace().map(str::to_owned).collect();
        // The engine and the service.
        left.len() == 2
    });
    assert_eq!(project.instance("web", 0)["run"], 1);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn the_background_makes_no_sense_as_pid_1() {
    let project = Project::new("services:\n  web: {command: sleep 1000}\n");
    let Some(mut command) = as_pid_1(&project, "", &["up", "-d", "--wait"]) else { return };
    let output = command.output().expect("unshare runs");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("as PID 1") && said.contains("leave out -d"), "{said}");
}

#[test]
fn a_read_only_project_keeps_its_state_elsewhere() {
    let project = Project::new("name: shop\nservices:\n  web: {command: sleep 1000}\n");
    let first = "mount -t tmpfs none /var/lib && mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\" && ";
    // The socket lies in there, too: only from in there it is reached.
    let inside = "( until \"$0\" status; do sleep 0.05; done; ls /var/lib/everup/shop; \"$0\" down ) & ";
    let Some(mut command) = as_pid_1(&project, &format!("{first}{inside}"), &["up"]) else { return };
    let output = command.env("XDG_RUNTIME_DIR", "/var/lib/run").output().expect("unshare runs");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("running") && said.contains("everup.sock") && said.contains("logs"), "{said}");
    assert!(!project.path(".everup").exists());
}

#[test]
#[ignore = "takes 25 s: what Kubernetes gives is to be used up"]
fn ten_that_do_not_listen_are_gone_before_the_runtime_loses_patience() {
    let services: Vec<String> = (0..10)
        .map(|n| {
            let needs = if n > 0 { format!(", needs: [s{}]", n - 1) } else { String::new() };
            format!(
                "  s{n}: {{command: 'sh -c \"trap : TERM; echo up; while :; do sleep 0.1; done\"'{needs}, \
                 hooks: {{after_end: sleep 60}}, stop: {{timeout: 20s, command: sleep 60}}}}\n"
            )
        })
        .collect();
    let mut project = Project::new(&format!("services:\n{}", services.concat()));
    let Some(command) = as_pid_1(&project, "", &["up"]) else { return };
    project.run_by(command);
    project.wait_ready("s9");
    let begun = std::time::Instant::now();
    kill(init_of(&mut project), Signal::SIGTERM).expect("our child's");
    assert_eq!(project.wait_end(), Some(0), "{}", project.read("everup.stderr"));
    let took = begun.elapsed().as_secs_f64();
    eprintln!("the whole stop took {took:.1} s");
    assert!(took < 30.0, "{took:.1} s");
}
