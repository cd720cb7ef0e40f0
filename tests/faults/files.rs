//! 55–61: files. Most are held by `src/config/tests` and `src/watch/tests`; see the table.

use std::fmt::Write as _;
use std::fs;

use crate::support::{Project, text, wait_for};
use crate::tools::{behind, can, events_of, skip, warnings};

const WEB: &str = "services:\n  web: {command: sleep 1000}\n";

/// The file is refused, by `check` and by a running everup, whose services do not notice.
#[test]
fn f55_a_bomb_a_huge_file_and_doubled_keys_are_refused_and_change_nothing() {
    let project = Project::up(WEB);
    project.wait_ready("web");
    let pid = project.pid("web");
    let bomb: String = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)
    });
    let deep = format!("services: {}", "{a: ".repeat(20_000));
    let huge = format!("{WEB}# {}\n", "x".repeat(11 << 20));
    let doubled = format!("{WEB}  web: {{command: sleep 2000}}\n");
    let unknown = "services:\n  web: {command: sleep 1000, comand: x}\n".to_owned();
    for (round, bad) in [bomb, deep, huge, doubled, unknown].into_iter().enumerate() {
        project.write("supervisor.yaml", &bad);
        let refused = project.everup(&["up"]);
        assert_eq!(refused.status.code(), Some(5), "{round}: {}", text(&refused.stderr));
        project.hang_up();
        wait_for("the file to be refused", || {
            project.events().iter().filter(|event| event["event"] == "config_rejected").count() > round
        });
        assert_eq!(project.pid("web"), pid);
    }
}

#[test]
fn f56_half_a_file_changes_nothing_and_the_whole_one_is_applied() {
    let mut project = Project::new(WEB);
    project.start(&["dev"]);
    project.wait_ready("web");
    let pid = project.pid("web");
    let whole = format!("{WEB}  other: {{command: sleep 2000}}\n");
    for end in [10, 20, 40, whole.len() - 3] {
        project.write("supervisor.yaml", &whole[..end]);
    }
    project.write("supervisor.yaml", "services:\n  web: {command: sleep 10");
    wait_for("it to be refused", || project.events().iter().any(|event| event["event"] == "config_rejected"));
    assert_eq!(project.pid("web"), pid);
    project.write("supervisor.yaml", &whole);
    project.wait_ready("other");
    assert_eq!(project.pid("web"), pid);
}

/// The kernel's own limit, in a user namespace of its own.
#[test]
fn f58_without_watches_files_are_looked_at_and_status_says_so() {
    if !can("unshare -Ur sh -c 'echo 1 > /proc/sys/user/max_inotify_watches'") {
        skip!("a user namespace of its own has the limit");
    }
    let mut project =
        Project::new("services:\n  web: {command: cat text, type: service, watch: text, restart: never}\n");
    for folder in 0..5 {
        fs::create_dir(project.path(&format!("d{folder}"))).expect("a folder");
    }
    project.write("text", "one\n");
    let mut yaml = "services:\n".to_owned();
    for n in 0..5 {
        let _ = writeln!(yaml, "  s{n}: {{command: sleep 1000, watch: {{paths: [d{n}], debounce: 10ms}}}}");
    }
    project.write("supervisor.yaml", &yaml);
    let line = "echo 1 > /proc/sys/user/max_inotify_watches; exec \"$@\"";
    let command = behind(&project, &["unshare", "-Ur"], line, &["dev"]);
    project.run_by(command);
    project.wait_ready("s4");
    wait_for("the warning", || warnings(&project).contains("watch_limit"));
    project.write("d4/new.txt", "another\n");
    project.wait_service("s4", "to be reloaded", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
}

#[test]
fn f57_a_flip_of_a_link_as_kubernetes_does_it_is_one_reload() {
    let mut project =
        Project::new("services:\n  web: {command: sleep 1000, watch: {paths: [config], debounce: 100ms}}\n");
    for (name, text) in [("1", "one\n"), ("2", "two\n")] {
        fs::create_dir_all(project.path(&format!("config/..{name}"))).expect("a folder");
        project.write(&format!("config/..{name}/app.conf"), text);
    }
    std::os::unix::fs::symlink("..1", project.path("config/..data")).expect("a link");
    std::os::unix::fs::symlink("..data/app.conf", project.path("config/app.conf")).expect("a link");
    project.start(&["dev"]);
    project.wait_ready("web");
    std::os::unix::fs::symlink("..2", project.path("config/..data_tmp")).expect("a link");
    fs::rename(project.path("config/..data_tmp"), project.path("config/..data")).expect("it is replaced");
    project.wait_service("web", "to be reloaded", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    assert_eq!(events_of(&project, "web", "reload_started").len(), 1);
}

#[test]
fn f60_a_cycle_is_refused_with_its_path() {
    let project = Project::new(
        "services:\n  a: {command: 'true', needs: [b]}\n  b: {command: 'true', needs: [c]}\n  c: {command: 'true', needs: [a]}\n",
    );
    let refused = project.everup(&["check"]);
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("a → b → c → a"), "{said}");
}
