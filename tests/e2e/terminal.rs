//! `everup run` on a terminal: as if it were not there.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Project, alive, data, text, wait_for};

/// Runs everup on a pseudo-terminal, with these steps of `pty.py`; `shell` is what starts it.
fn on_a_terminal_of_steps(project: &Project, shell: &[&str], everup: &[&str], steps: &[&str]) -> Value {
    let everup = project.command(everup);
    let mut command = std::process::Command::new("python3");
    command.arg(data("pty.py")).args(steps).arg("--").args(shell).arg(everup.get_program()).args(everup.get_args());
    command.current_dir(project.folder.path()).envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().expect("python3 runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(told["failed"].is_null(), "{} did not come: {told:#}", told["failed"]);
    told
}

/// Runs `everup run` over `terminal.py`; in the end the terminal must be as it was.
fn on_a_terminal(project: &Project, restart: &str, program: &[&str], steps: &[&str]) -> Value {
    let script = data("terminal.py");
    let script = script.to_str().expect("a path");
    let run = ["run", "--name", "app", "--restart", restart, "--", "python3", script];
    let told = on_a_terminal_of_steps(project, &[], &[&run[..], program].concat(), steps);
    assert_eq!(told["restored"], true, "the terminal is left changed: {told:#}");
    told
}

fn project() -> Project {
    Project::new("services: {}\n")
}

#[test]
fn the_program_has_a_terminal_of_its_own_with_input_size_and_exit_code() {
    let project = project();
    let steps = [
        "expect:terminals [True, True, True] leads True",
        "expect:foreground True",
        "expect:size 33x111",
        "expect:ready",
        "send:hello\n",
        "expect:got hello",
        "size:20x50",
        "expect:size 20x50",
        "send:end\n",
    ];
    assert_eq!(on_a_terminal(&project, "never", &[], &steps)["code"], 7);
    assert!(project.read(".everup/app/logs/app.out.log").contains("got hello"), "its output is not recorded");
}

#[test]
fn ctrl_c_reaches_the_program_as_int_once_and_its_code_comes_through() {
    let told = on_a_terminal(&project(), "on-failure", &[], &["expect:ready", "send:^C", "expect:INT came"]);
    assert_eq!(told["code"], 5, "{told:#}");
    assert_eq!(told["output"].as_str().expect("its output").matches("INT came").count(), 1, "{told:#}");
}

#[test]
fn a_second_ctrl_c_kills() {
    let told =
        on_a_terminal(&project(), "on-failure", &["deaf"], &["expect:ready", "send:^C", "expect:INT came", "send:^C"]);
    assert_eq!(told["code"], 137, "{told:#}");
}

#[test]
fn a_program_that_takes_keys_as_they_come_gets_ctrl_c_as_a_key() {
    let told =
        on_a_terminal(&project(), "never", &["raw"], &["expect:waiting for a key", "send:^C", "expect:key b'\\x03'"]);
    assert_eq!(told["code"], 6, "{told:#}");
}

#[test]
fn a_restarted_program_has_a_terminal_again() {
    let steps =
        ["expect:crashing", "expect:terminals [True, True, True]", "expect:size 33x111", "expect:ready", "send:end\n"];
    // It failed with 7, so it is started again; this time it is interrupted.
    let more = ["expect:got end", "expect:ready", "send:^C", "expect:INT came"];
    let told = on_a_terminal(&project(), "on-failure", &["crash"], &[&steps[..], &more].concat());
    assert_eq!(told["code"], 5, "{told:#}");
}

#[test]
fn without_a_terminal_there_is_none() {
    let output = project().everup(&[
        "run",
        "--restart",
        "never",
        "--",
        "python3",
        "-c",
        "import os; print(os.isatty(0), os.isatty(1))",
    ]);
    assert_eq!(text(&output.stdout).trim(), "False False");
}

#[test]
fn ctrl_c_stops_up_in_order_and_ctrl_z_does_not_freeze_it() {
    let project = Project::new("services:\n  web: {command: sh -c 'echo ready; exec sleep 1000'}\n");
    let steps = ["expect:ready", "send:^Z", "send:^C", "expect:ended"];
    let told = on_a_terminal_of_steps(&project, &[], &["up"], &steps);
    assert_eq!((told["code"].as_i64(), told["restored"].as_bool()), (Some(0), Some(true)), "{told:#}");
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["signal"].as_str()), (Some("user"), Some("TERM")), "{why:#}");
}

#[test]
fn a_second_ctrl_c_makes_up_wait_no_longer() {
    let project = Project::new(
        "services:\n  web: {command: \"sh -c 'trap \\\"echo no\\\" TERM; echo ready; while :; do sleep 0.1; done'\", stop: {timeout: 1h}}\n",
    );
    let told = on_a_terminal_of_steps(&project, &[], &["up"], &["expect:ready", "send:^C", "expect:no", "send:^C"]);
    assert_eq!(told["code"], 0, "{told:#}");
    assert_eq!(project.why("web")["signal"], "KILL");
}

#[test]
fn a_terminal_that_is_closed_ends_everup_and_all_it_runs() {
    let project = Project::new("services:\n  web: {command: sh -c 'echo $$ > pid; exec sleep 1000'}\n");
    let wrapped = ["run", "--name", "app", "--", "sh", "-c", "echo $$ > pid; echo ready; exec sleep 1000"];
    for everup in [&["up"][..], &wrapped] {
        on_a_terminal_of_steps(&project, &[], everup, &["expect:ready", "leave:"]);
        let pid: i32 = project.read("pid").trim().parse().expect("a pid");
        wait_for("the program to be gone", || !alive(pid));
        std::fs::remove_file(project.path("pid")).expect("its pid");
    }
    wait_for("the end to be written down", || project.why("web")["signal"] == "TERM");
    assert_eq!(project.why("web")["cause"], "user", "it was not stopped in order");
    wait_for("everup to be gone", || project.everup(&["status"]).status.code() == Some(6));
}

#[test]
fn a_terminal_that_is_closed_means_nothing_to_an_everup_started_by_nohup() {
    let project = Project::new("services:\n  web: {command: sh -c 'echo ready; exec sleep 1000'}\n");
    let shell = ["sh", "-c", "trap '' HUP; \"$@\"", "sh"];
    on_a_terminal_of_steps(&project, &shell, &["up"], &["expect:ready", "leave:"]);
    let before = project.pid("web");
    // Its own words have nowhere to go now.
    for _ in 0..2 {
        project.ok(&["restart", "web"]);
    }
    assert_ne!(project.pid("web"), before);
    project.ok(&["down"]);
    wait_for("everup to be gone", || project.everup(&["status"]).status.code() == Some(6));
}
