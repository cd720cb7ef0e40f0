//! `everup dev`: saves of every kind, what is broken and mended, and what must not restart anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Project, alive, free_port, get, take_ones_time, text, wait_for};

/// A program that writes down each of its runs and stays.
const APP: &str = "\
import os, time
VERSION = 'one'
with open('runs.log', 'a') as runs:
    runs.write(VERSION + '\\n')
time.sleep(3600)
";

fn version(text: &str) -> String {
    APP.replace("one", text)
}

/// The versions that ran, in order.
fn runs(project: &Project) -> Vec<String> {
    project.read("runs.log").lines().map(str::to_owned).collect()
}

fn wait_runs(project: &Project, expected: &[&str]) {
    let mut last = vec![];
    wait_for(&format!("the runs to be {expected:?}; stderr so far: {}", project.read("everup.stderr")), || {
        last = runs(project);
        last == expected
    });
}

/// `everup dev -- python3 app.py` over [`APP`].
fn developing() -> Project {
    let mut project = Project::bare();
    project.write("app.py", APP);
    project.start(&["dev", "--name", "app", "--", "python3", "app.py"]);
    wait_runs(&project, &["one"]);
    project
}

/// Does something that must restart nothing, then a real save, and sees that only that one did.
fn changes_nothing(project: &Project, what: impl FnOnce(&Path), before: &[&str], next: &str) {
    what(&project.path("app.py"));
    // Longer than the window: a restart that is wrongly due would come first.
    let events = project.events().len();
    project.write("other.txt", next);
    project.write("app.py", &version(next));
    let mut expected = before.to_vec();
    expected.push(next);
    wait_runs(project, &expected);
    assert!(project.events().len() >= events);
}

fn shell(project: &Project, script: &str) {
    let output =
        Command::new("sh").arg("-ec").arg(script).current_dir(project.folder.path()).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
}

fn events_of(project: &Project, word: &str) -> Vec<Value> {
    project.events().into_iter().filter(|event| event["event"] == word).collect()
}

/// One way to save this text.
type Save<'a> = &'a dyn Fn(&str);

#[test]
fn every_kind_of_save_starts_the_new_code_once() {
    let project = developing();
    let file = project.path("app.py");
    let saves: [(&str, Save<'_>); 6] = [
        ("in-place", &|new| fs::write(&file, new).expect("a save")),
        ("atomic-rename", &|new| {
            project.write("app.py.tmp", new);
            fs::rename(project.path("app.py.tmp"), &file).expect("a rename");
        }),
        ("vim", &|new| {
            // As vim saves by default: the old file goes to a backup, a new one is written.
            project.write("4913", "");
            fs::remove_file(project.path("4913")).expect("gone");
            fs::rename(&file, project.path("app.py~")).expect("a backup");
            fs::write(&file, new).expect("a save");
            fs::remove_file(project.path("app.py~")).expect("gone");
        }),
        ("delete-and-create", &|new| {
            fs::remove_file(&file).expect("gone");
            fs::write(&file, new).expect("a save");
        }),
        ("piecewise", &|new| {
            let mut open = fs::File::create(&file).expect("a file");
            for piece in new.as_bytes().chunks(40) {
                std::io::Write::write_all(&mut open, piece).expect("a piece");
            }
        }),
        ("sed", &|new| {
            let wanted = new.lines().nth(1).expect("a second line");
            shell(&project, &format!("sed -i \"2s/.*/{wanted}/\" app.py"));
        }),
    ];
    let mut expected = vec!["one"];
    for (name, save) in saves {
        save(&version(name));
        expected.push(name);
        wait_runs(&project, &expected);
    }
    let ends = events_of(&project, "ended");
    assert_eq!(ends.len(), 6, "{ends:#?}");
    for end in ends {
        assert_eq!(end["cause"], "watch", "{end:#}");
    }
    let why = project.why("app");
    assert_eq!(why["cause"], "watch");
    assert!(why["evidence"].to_string().contains("app.py"), "{why:#}");
    assert_eq!(project.service("app")["reload"]["changed"][0], "app.py");
}

#[test]
fn what_leaves_the_content_as_it_was_restarts_nothing() {
    let project = developing();
    let same = |path: &Path| {
        let before = fs::read(path).expect("the file");
        fs::write(path, before).expect("a rewrite");
    };
    changes_nothing(&project, touch, &["one"], "two");
    changes_nothing(&project, same, &["one", "two"], "three");
    let there_and_back = |path: &Path| {
        let before = fs::read(path).expect("the file");
        fs::write(path, "broken(").expect("a save");
        fs::write(path, before).expect("and back");
    };
    changes_nothing(&project, there_and_back, &["one", "two", "three"], "four");
}

fn touch(path: &Path) {
    let file = fs::File::options().append(true).open(path).expect("the file");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1)).expect("a touch");
}

#[test]
fn a_save_that_fails_its_check_leaves_the_running_one_up() {
    let project = developing();
    let pid = project.pid("app");
    project.write("app.py", "def broken(:\n");
    project.wait_service("app", "to have failed its check", |app| app["reload"]["last"] == "failed");
    let app = project.service("app");
    assert!(app["reload"]["message"].to_string().contains("app.py:1"), "{app:#}");
    assert_eq!((app["state"].as_str(), project.pid("app")), (Some("running"), pid));
    assert!(alive(pid));
    project.write("app.py", &version("mended"));
    wait_runs(&project, &["one", "mended"]);
    project.wait_service("app", "to be reloaded", |app| app["reload"]["last"] == "ok");
    assert_eq!(events_of(&project, "reload_rolled_back").len(), 1);
}

#[test]
fn a_start_that_fails_names_the_line_and_waits_for_the_mend() {
    let project = developing();
    for (broken, error, line) in
        [("import nowhere_to_be_found\n", "ModuleNotFoundError", 1), ("x = 1\ny = undefined_name\n", "NameError", 2)]
    {
        project.write("app.py", broken);
        project.wait_service("app", "to wait for its mend", |app| {
            app["state"] == "failed" && app["reason"].to_string().contains(&format!("app.py:{line}: {error}"))
        });
    }
    assert_eq!(events_of(&project, "backoff").len(), 0, "it does not loop");
    let shown = project.read("everup.stderr");
    assert!(shown.contains("app.py:2: NameError: name 'undefined_name' is not defined"), "{shown}");
    let run = project.instance("app", 0)["run"].clone();
    project.write("app.py", &version("mended"));
    wait_runs(&project, &["one", "mended"]);
    project.wait_ready("app");
    assert_eq!(project.instance("app", 0)["run"].as_u64(), run.as_u64().map(|run| run + 1));
    let why = project.why("app");
    assert!(why["changed_before"].to_string().contains("app.py"), "{why:#}");
}

#[test]
fn the_first_start_may_fail_too() {
    let mut project = Project::bare();
    project.write("app.py", "import nowhere_to_be_found\n");
    project.start(&["dev", "--name", "app", "--", "python3", "app.py"]);
    project.wait_service("app", "to wait for its mend", |app| app["state"] == "failed");
    project.write("app.py", APP);
    wait_runs(&project, &["one"]);
}

#[test]
fn a_burst_is_one_restart() {
    let project = developing();
    shell(&project, "mkdir -p deep/er/still && for n in $(seq 2000); do echo \"N = $n\" > deep/er/still/m$n.py; done");
    project.wait_service("app", "to have a second run", |app| app["instances"][0]["run"].as_u64() >= Some(2));
    project.write("app.py", &version("last"));
    wait_for("the last version to run", || runs(&project).last().is_some_and(|last| last == "last"));
    let count = runs(&project).len();
    assert!(count <= 6, "{count} runs for one burst");
    let changed = project.service("app")["reload"].clone();
    assert!(changed["changed"].as_array().is_some_and(|files| files.len() <= 20), "{changed:#}");
}

#[test]
fn a_checkout_is_one_restart() {
    let mut project = Project::bare();
    project.write("app.py", APP);
    let git = "git -c init.defaultBranch=main -c user.name=t -c user.email=t@example.org";
    shell(
        &project,
        &format!(
            "{git} init -q . && for n in $(seq 200); do echo 'A = 1' > m$n.py; done && printf '*.log\\n.everup/\\nrun/\\neverup.*\\n' > .gitignore
             {git} add -A && {git} commit -qm one && {git} checkout -qb two
             for n in $(seq 200); do echo 'A = 2' > m$n.py; done && sed -i s/one/two/ app.py && {git} commit -qam two && {git} checkout -q main"
        ),
    );
    project.start(&["dev", "--name", "app", "--", "python3", "app.py"]);
    wait_runs(&project, &["one"]);
    shell(&project, &format!("{git} checkout -q two"));
    wait_runs(&project, &["one", "two"]);
    shell(&project, &format!("{git} checkout -q main"));
    wait_runs(&project, &["one", "two", "one"]);
}

#[test]
fn reading_and_ignored_files_wake_nobody() {
    let mut project = Project::bare();
    project.write("app.py", APP);
    project.write(".gitignore", "generated/\n");
    fs::create_dir_all(project.path("node_modules/deep")).expect("a folder");
    fs::create_dir_all(project.path("generated")).expect("a folder");
    fs::create_dir_all(project.path("__pycache__")).expect("a folder");
    project.start(&["dev", "--name", "app", "--", "python3", "app.py"]);
    wait_runs(&project, &["one"]);
    for file in
        ["node_modules/deep/a.py", "generated/b.py", "__pycache__/c.py", ".everup/d.py", "app.py~", ".app.py.swp"]
    {
        project.write(file, "x = 1\n");
    }
    changes_nothing(&project, |_| {}, &["one"], "two");
}

#[test]
fn the_file_applies_itself_when_it_is_saved() {
    let yaml = |colour: &str| {
        format!(
            "services:\n  web:\n    command: [sh, -c, 'echo $COLOUR >> colours.log; exec sleep 3600']\n    env: {{COLOUR: {colour}}}\n  other: {{command: sleep 3600}}\n"
        )
    };
    let mut project = Project::new(&yaml("red"));
    project.start(&["dev"]);
    project.wait_ready("web");
    project.wait_ready("other");
    let other = project.pid("other");
    project.write("supervisor.yaml", &yaml("green"));
    wait_for("the new colour", || project.read("colours.log") == "red\ngreen\n");
    project.write("supervisor.yaml", "services:\n  web: {comand: nothing}\n");
    wait_for("the mistake to be told", || project.read("everup.stderr").contains("did you mean `command`?"));
    assert_eq!(events_of(&project, "config_rejected").len(), 1);
    project.wait_ready("web");
    project.write("supervisor.yaml", &yaml("blue"));
    wait_for("the mended file", || project.read("colours.log") == "red\ngreen\nblue\n");
    assert_eq!(project.pid("other"), other, "what is unchanged keeps its process");
}

#[test]
fn a_saved_env_file_reaches_its_service() {
    let mut project = Project::bare();
    project.write("settings.env", "COLOUR=red\n");
    project.write(
        "supervisor.yaml",
        "services:\n  web:\n    command: [sh, -c, 'echo $COLOUR >> colours.log; exec sleep 3600']\n    env_file: settings.env\n    watch: [nothing-else]\n",
    );
    project.start(&["dev"]);
    wait_for("the first colour", || project.read("colours.log") == "red\n");
    project.write("settings.env", "COLOUR=green\n");
    wait_for("the new colour", || project.read("colours.log") == "red\ngreen\n");
}

#[test]
fn changes_reach_the_services_whose_files_they_are() {
    let mut project = Project::bare();
    for name in ["web", "api"] {
        fs::create_dir(project.path(name)).expect("a folder");
        project.write(&format!("{name}/app.py"), APP);
    }
    let service = |name: &str| format!("  {name}: {{command: python3 app.py, cwd: {name}}}\n");
    project.write("supervisor.yaml", &format!("services:\n{}{}", service("web"), service("api")));
    project.start(&["dev"]);
    let seen = |name: &str| project.read(&format!("{name}/runs.log"));
    wait_for("both to run", || seen("web") == "one\n" && seen("api") == "one\n");
    project.write("api/app.py", &version("two"));
    wait_for("api to run anew", || seen("api") == "one\ntwo\n");
    assert_eq!(seen("web"), "one\n");
    project.write("web/app.py", &version("three"));
    wait_for("web to run anew", || seen("web") == "one\nthree\n");
    assert_eq!(seen("api"), "one\ntwo\n");
}

#[test]
fn an_app_that_writes_its_own_files_is_not_restarted_for_ever() {
    let mut project = Project::bare();
    project.write(
        "app.py",
        "import time, os\nopen('runs.log', 'a').write('x\\n')\nopen('stamp.txt', 'w').write(str(time.time_ns()))\ntime.sleep(3600)\n",
    );
    project.write("supervisor.yaml", "services:\n  app: {command: python3 app.py, watch: {paths: [.], check: none}}\n");
    project.start(&["dev"]);
    project.wait_service("app", "to be left in peace", |app| app["warnings"].to_string().contains("self_writing"));
    let before = runs(&project).len();
    assert!(before <= 5, "{before} runs");
    project.write("lib.py", "A = 1\n");
    wait_for("one more run", || runs(&project).len() == before + 1);
    let app = project.service("app");
    assert!(app["warnings"].to_string().contains("stamp.txt"), "{app:#}");
}

#[test]
fn what_reloads_itself_is_left_to_it() {
    let mut project = Project::bare();
    project.write("nodemon", "#!/bin/sh\nexec sleep 3600\n");
    shell(&project, "chmod +x nodemon");
    project.write("app.js", "let a = 1\n");
    project.write("app.py", APP);
    project.write(
        "supervisor.yaml",
        "services:\n  front: {command: ./nodemon app.js}\n  back: {command: python3 app.py}\n",
    );
    project.start(&["dev"]);
    project.wait_ready("front");
    wait_runs(&project, &["one"]);
    assert!(project.read("everup.stderr").contains("front reloads itself"), "{}", project.read("everup.stderr"));
    let pid = project.pid("front");
    project.write("app.js", "let a = 2\n");
    project.write("app.py", &version("two"));
    wait_runs(&project, &["one", "two"]);
    assert_eq!(project.pid("front"), pid);
}

#[test]
fn reload_says_how_it_went_by_its_exit_code() {
    let mut project = Project::bare();
    project.write("app.py", APP);
    project.write(
        "supervisor.yaml",
        "services:\n  web:\n    command: python3 app.py\n    watch: {paths: [.], check: sh check.sh}\n    stop: {timeout: 1s}\n",
    );
    project.write("check.sh", "exit 0\n");
    project.start(&["up"]);
    wait_runs(&project, &["one"]);
    assert_eq!(project.everup(&["reload", "web", "--wait"]).status.code(), Some(0));
    wait_runs(&project, &["one", "one"]);
    let pid = project.pid("web");
    project.write("check.sh", "echo 'app.py:3: no good'; exit 1\n");
    let refused = project.everup(&["reload", "web", "--wait"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("app.py:3: no good"), "{}", text(&refused.stderr));
    assert_eq!(project.pid("web"), pid, "the old one stayed");
    project.write("check.sh", "sleep 3600\n");
    assert_eq!(project.everup(&["reload", "web", "--wait=200ms"]).status.code(), Some(7));
    assert_eq!(project.everup(&["reload", "wbe"]).status.code(), Some(4));
}

#[test]
fn files_are_watched_under_up_only_where_that_is_wished() {
    for (key, args, watched) in
        [("", vec!["up"], false), ("watch: always\n", vec!["up"], true), ("", vec!["up", "--watch"], true)]
    {
        let mut project = Project::bare();
        project.write("app.py", APP);
        project.write(
            "supervisor.yaml",
            &format!("{key}services:\n  web: {{command: python3 app.py, watch: [app.py, other.py]}}\n"),
        );
        project.start(&args);
        wait_runs(&project, &["one"]);
        project.write("app.py", &version("two"));
        if watched {
            wait_runs(&project, &["one", "two"]);
        } else {
            let journal = project.read(".everup/everup.log");
            assert!(!journal.contains("watching"), "{journal}");
        }
    }
}

#[test]
fn run_watches_the_paths_it_is_told() {
    let mut project = Project::bare();
    project.write("app.py", APP);
    fs::create_dir(project.path("lib")).expect("a folder");
    project.start(&["run", "--name", "app", "--watch", "lib", "--", "python3", "app.py"]);
    wait_runs(&project, &["one"]);
    project.write("lib/a.py", "A = 1\n");
    wait_runs(&project, &["one", "one"]);
}

#[test]
fn a_wrapper_never_leaves_the_port_taken() {
    let port = free_port();
    let mut project = Project::bare();
    let server = |version: usize| {
        format!(
            "import http.server\nVERSION = {version}\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200); self.end_headers(); self.wfile.write(str(VERSION).encode())\n    def log_message(self, *a): pass\nhttp.server.HTTPServer.allow_reuse_address = True\nhttp.server.HTTPServer(('127.0.0.1', {port}), H).serve_forever()\n"
        )
    };
    project.write("app.py", &server(0));
    // The shell stays between everup and the server.
    project.write("start.sh", "python3 app.py\ntrue\n");
    project.write(
        "supervisor.yaml",
        "services:\n  web:\n    command: sh start.sh\n    watch: {paths: [.], include: ['*.py']}\n",
    );
    project.start(&["dev"]);
    for version in 1..=50 {
        take_ones_time(version);
        project.write("app.py", &server(version));
        wait_for(&format!("version {version}"), || get(port, "/").is_some_and(|(_, body)| body == version.to_string()));
    }
    let shown = project.read("everup.stderr") + &project.ok(&["logs", "-n", "10000"]);
    assert!(!shown.contains("in use"), "{shown}");
    assert_eq!(events_of(&project, "failed").len(), 0);
}

#[test]
fn a_saved_address_that_is_taken_leaves_everything_as_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let yaml = |more: &str| format!("services:\n  web: {{command: sleep 3600, watch: [nothing]{more}}}\n");
    let mut project = Project::new(&yaml(""));
    project.start(&["dev"]);
    project.wait_ready("web");
    let pid = project.pid("web");
    project.write("supervisor.yaml", &yaml(&format!(", listen: {{http: '{address}'}}")));
    wait_for("the refusal", || events_of(&project, "config_rejected").len() == 1);
    let told = events_of(&project, "config_rejected")[0]["message"].to_string();
    assert_eq!(told.matches(&address).count(), 1, "{told}");
    assert_eq!(project.pid("web"), pid);
    drop(taken);
    project.write("supervisor.yaml", &yaml(&format!(", listen: {{http: '{address}'}}, stop: INT")));
    wait_for("the new plan", || project.pid("web") != pid);
}
