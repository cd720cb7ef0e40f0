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

/// What a person types into a shell on a terminal: `app` stands for `everup run --name app`, and what the shell prompts
/// with is `READY`. In the end the shell must leave by itself.
fn in_a_shell(project: &Project, shell: &[&str], steps: &[&str]) -> Value {
    let everup = env!("CARGO_BIN_EXE_everup");
    // Line editing would change the terminal's settings itself.
    let functions = format!(
        "everup() {{ '{everup}' \"$@\"; }}\napp() {{ '{everup}' run --name app --restart never -- \"$@\"; }}\n"
    );
    project.write("shellrc", &functions);
    let begin = ["send:. ./shellrc; PS1='REA''DY '\n", "expect:READY "];
    let typed = [&begin[..], steps, &["send:exit 3\n"]].concat();
    let (program, options) = shell.split_first().expect("a shell");
    let mut command = std::process::Command::new("python3");
    command.arg(data("pty.py")).args(typed).arg("--").arg(program).args(options);
    let envs = project.command(&[]);
    command
        .env("HISTFILE", "/dev/null")
        .current_dir(project.folder.path())
        .envs(envs.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().expect("python3 runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(told["failed"].is_null(), "{} did not come: {told:#}", told["failed"]);
    assert_eq!((told["code"].as_i64(), told["restored"].as_bool()), (Some(3), Some(true)), "{told:#}");
    told
}

const BASH: [&str; 4] = ["bash", "--norc", "--noediting", "-i"];

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

#[test]
fn ctrl_z_stops_the_job_and_fg_goes_on_with_it() {
    let script = data("terminal.py");
    let start = format!("send:app python3 {}\n", script.display());
    for shell in [&BASH[..], &["sh", "-i"]] {
        let project = project();
        let steps = [
            start.as_str(),
            "expect:ready",
            "keys:",
            "send:^Z",
            // The guardian, the engine and the program.
            "stopped:3",
            "expect:READY ",
            "lines:",
            "size:20x50",
            "send:fg\n",
            "going:3",
            "keys:",
            // Python may have been about to read when it was stopped, and looks at signals only once it has.
            "send:hello\n",
            "expect:size 20x50",
            "expect:got hello",
            "send:^Z",
            "stopped:3",
            "expect:READY ",
            "send:bg\n",
            "going:3",
            "expect:READY ",
            // The terminal is the shell's, and everup leaves it alone.
            "lines:",
            "send:echo the ''shell\n",
            "expect:the shell",
            "expect:READY ",
            "send:fg\n",
            "keys:",
            "send:again\n",
            "expect:got again",
            "send:end\n",
            "expect:got end",
            "expect:READY ",
            "send:echo code $?\n",
            "expect:code 7",
        ];
        let told = in_a_shell(&project, shell, &steps);
        assert!(told["output"].as_str().is_some_and(|output| output.contains("Stopped")), "{told:#}");
    }
}

#[test]
fn everup_started_in_the_background_leaves_the_terminal_alone_until_fg() {
    let start = format!("send:app python3 {} &\n", data("terminal.py").display());
    let steps = [
        start.as_str(),
        "expect:ready",
        "lines:",
        "send:echo the ''shell\n",
        "expect:the shell",
        "send:fg\n",
        "keys:",
        "send:end\n",
        "expect:got end",
        "expect:READY ",
    ];
    in_a_shell(&project(), &BASH, &steps);
}

#[test]
fn a_program_with_a_handler_for_ctrl_z_has_its_say_first() {
    let project = project();
    project.write(
        "app.py",
        "import signal, time\n\
         signal.signal(signal.SIGTSTP, lambda *_: print('tidying up', flush=True))\n\
         signal.signal(signal.SIGCONT, lambda *_: print('back again', flush=True))\n\
         print('ready', flush=True)\nwhile True: time.sleep(0.1)\n",
    );
    let steps = [
        "send:app python3 app.py\n",
        "expect:ready",
        "keys:",
        "send:^Z",
        "expect:tidying up",
        "stopped:3",
        "expect:READY ",
        "send:fg\n",
        "expect:back again",
        "keys:",
        "send:^C",
        "expect:KeyboardInterrupt",
        "expect:READY ",
    ];
    in_a_shell(&project, &BASH, &steps);
}

#[test]
fn ctrl_z_is_the_programs_own_where_it_takes_keys_has_a_shell_of_its_own_or_ignores_it() {
    let raw = format!("send:app python3 {} raw\n", data("terminal.py").display());
    let key = [raw.as_str(), "expect:waiting for a key", "send:^Z", "expect:key b'\\x1a'", "expect:READY "];
    in_a_shell(&project(), &BASH, &key);
    let inner = [
        "send:app bash --norc --noediting -i\n",
        "send:PS1='INN''ER '\n",
        "expect:INNER ",
        "send:sh -c 'echo in\"\"side; exec sleep 1000'\n",
        "expect:inside",
        "send:^Z",
        "expect:INNER ",
        "send:kill %1; fg; echo ov''er\n",
        "expect:over",
        "send:exit 0\n",
        "expect:READY ",
    ];
    in_a_shell(&project(), &BASH, &inner);
    let deaf = [
        "send:app sh -c 'trap \"\" TSTP; echo de\"\"af; while read line; do echo got $line; done'\n",
        "expect:deaf",
        "keys:",
        "send:^Z",
        "send:still here\n",
        "expect:got still here",
        "send:^C",
        "expect:READY ",
    ];
    in_a_shell(&project(), &BASH, &deaf);
}

#[test]
fn without_a_shell_above_ctrl_z_stops_nobody() {
    let steps = ["expect:ready", "keys:", "send:^Z", "send:hello\n", "expect:got hello", "going:2", "send:end\n"];
    assert_eq!(on_a_terminal(&project(), "never", &[], &steps)["code"], 7);
}

#[test]
fn a_pipeline_and_a_script_stop_and_go_on_as_one_job() {
    let steps = [
        "send:app sh -c 'echo rea\"\"dy; while read line; do echo got $line; done' | cat\n",
        "expect:ready",
        "send:^Z",
        // The shell's part of the pipe, the guardian, the engine, the program and cat.
        "stopped:5",
        "expect:READY ",
        "send:fg\n",
        "going:5",
        "send:hello\n",
        "expect:got hello",
        "send:^C",
        "expect:READY ",
    ];
    in_a_shell(&project(), &BASH, &steps);
    let project = project();
    let program = data("terminal.py");
    project.write("dev.sh", &format!(". ./shellrc\napp python3 {}\necho it is ''over\n", program.display()));
    let steps = [
        "send:sh dev.sh\n",
        "expect:ready",
        "keys:",
        "send:^Z",
        "stopped:4",
        "expect:READY ",
        "send:fg\n",
        "going:4",
        "keys:",
        "send:end\n",
        "expect:it is over",
        "expect:READY ",
    ];
    in_a_shell(&project, &BASH, &steps);
}

#[test]
fn a_debugger_steps_stops_and_goes_on_and_ctrl_c_runs_finally() {
    let project = project();
    project.write(
        "app.py",
        "import time\n\
         def work():\n    \
             x = 1\n    \
             try:\n        \
                 breakpoint()\n        \
                 x += 1\n        \
                 print('x is', x, flush=True)\n        \
                 while x: time.sleep(0.01)\n    \
             finally:\n        \
                 print('finally', 'ran', flush=True)\n\
         work()\n",
    );
    let at_the_prompt = [
        "send:app python3 app.py\n",
        "expect:(Pdb) ",
        "send:n\n",
        "expect:(Pdb) ",
        "send:^Z",
        "stopped:3",
        "expect:READY ",
        "send:fg\n",
        "keys:",
        "send:p x + 40\n",
        "expect:42",
        "expect:(Pdb) ",
    ];
    let interrupted = [
        "send:c\n",
        "expect:x is 2",
        // What the debugger makes of it, as on any terminal.
        "send:^C",
        "expect:Program interrupted",
        "expect:(Pdb) ",
        "send:q\ny\n",
        "expect:finally ran",
        "expect:READY ",
    ];
    in_a_shell(&project, &BASH, &[&at_the_prompt[..], &interrupted].concat());
    project.write("app.py", &project.read("app.py").replace("        breakpoint()\n", ""));
    let plain = ["send:app python3 app.py\n", "expect:x is 2", "send:^C", "expect:finally ran", "expect:READY "];
    in_a_shell(&project, &BASH, &plain);
}

/// A program that says its version, and again with each line that is typed.
const SAVED: &str = "\
import sys
print('version one', flush=True)
for line in sys.stdin: print('one got', line.strip(), flush=True)
";

#[test]
fn with_one_service_dev_answers_each_save_in_a_line() {
    let project = project();
    project.write("app.py", SAVED);
    project.write("two", &SAVED.replace("one", "two"));
    project.write("three", "def broken(:\n");
    project.write("four", "import sys\nnowhere\n");
    project.write("five", &SAVED.replace("one", "five"));
    let steps = [
        "send:everup dev --name app -- python3 app.py\n",
        "expect:version one",
        "keys:",
        "save:two",
        "expect:everup: app.py changed → python3 -m py_compile app.py\r\n",
        "expect:everup: app ready, ",
        "expect:after the save\r\n",
        // It has read its standard input by then; the next save is not to come before.
        "send:hello\n",
        "expect:two got hello",
        "save:three",
        "expect:everup: app.py:1: SyntaxError: invalid syntax (the running one stays)\r\n",
        "save:four",
        "expect:everup: app failed: exit code 1, app.py:2: NameError: name 'nowhere' is not defined",
        "save:five",
        "expect:version five",
        "send:^Z",
        "stopped:3",
        "expect:READY ",
        "send:fg\n",
        "keys:",
        "send:^C",
        "expect:KeyboardInterrupt",
        "expect:READY ",
        "lines:",
    ];
    in_a_shell(&project, &BASH, &steps);
}

#[test]
fn with_several_services_dev_takes_keys() {
    let project = Project::new(
        "services:\n  web: {command: sh -c 'echo web is up; exec sleep 1000'}\n  db: {command: sh -c 'echo db is up; exec sleep 1000'}\n",
    );
    let steps = [
        "send:everup dev\n",
        "expect:keys: r restart · s status · q quit",
        "expect:is up",
        "expect:is up",
        "keys:",
        "send:s",
        "expect:RESTARTS",
        "expect:running",
        "send:h",
        "expect:keys: r restart",
        "send:r",
        "expect:restarting all services",
        "expect:is up",
        "expect:is up",
        "send:^Z",
        "expect:Stopped",
        // The guardian, the engine and both services.
        "stopped:4",
        "expect:READY ",
        "lines:",
        "send:fg\n",
        "going:4",
        "keys:",
        "send:q",
        "expect:q again kills",
        "expect:READY ",
        "lines:",
    ];
    in_a_shell(&project, &BASH, &steps);
    let ended = project.events().into_iter().filter(|event| event["event"] == "ended");
    let causes: Vec<Value> = ended.map(|event| event["cause"].clone()).collect();
    assert_eq!(causes, ["user", "user", "user", "user"]);
}
