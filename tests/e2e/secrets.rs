//! Secrets stay where they were put.

use std::fs;

use crate::support::{Project, text};

const SECRET: &str = "hunter2-correct-horse";

#[test]
fn a_secret_appears_nowhere_but_in_the_child() {
    let mut project =
        Project::new("services:\n  web: {command: sleep 1000, env: {API_TOKEN: \"${TOKEN}\"}, env_file: .env}\n");
    project.write(".env", &format!("TOKEN={SECRET}\nDB_PASSWORD={SECRET}\n"));
    project.start(&["up"]);
    project.wait_ready("web");
    project.ok(&["restart", "web"]);
    let environment = fs::read(format!("/proc/{}/environ", project.pid("web"))).expect("the child's environment");
    assert!(text(&environment).contains(SECRET));
    for args in [
        &["status", "--json"][..],
        &["config"],
        &["config", "web"],
        &["why", "web"],
        &["events"],
        &["logs"],
        &["status", "web"],
    ] {
        let output = project.everup(args);
        assert!(!text(&output.stdout).contains(SECRET), "everup {args:?} shows it");
        assert!(!text(&output.stderr).contains(SECRET), "everup {args:?} shows it");
    }
    for key in ["pid", "engine_pid"] {
        let pid = project.status()[key].clone();
        assert!(!text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).contains(SECRET));
    }
    project.ok(&["down"]);
    project.wait_end();
    for file in files(&project.path(".everup")) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{} holds it", file.display());
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}
