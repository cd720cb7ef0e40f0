//! 47–54: who talks to everup. The others of them are held by `tests/e2e/attack.rs`; see the table.

use std::process::Stdio;

use crate::support::{Project, alive};

#[test]
fn f49_a_stop_goes_on_though_the_asker_is_gone() {
    let project = Project::up(
        "services:\n  web: {command: \"sh -c 'trap \\\"sleep 1; exit 0\\\" TERM; echo up; while :; do sleep 0.1; done'\", health: {log: up}}\n",
    );
    project.wait_ready("web");
    let pid = project.pid("web");
    let mut asker = project.command(&["stop", "web"]).stdout(Stdio::null()).spawn().expect("everup runs");
    project.wait_service("web", "to be stopping", |web| web["state"] == "stopping");
    asker.kill().expect("our own child");
    asker.wait().expect("our own child");
    project.wait_service("web", "to be stopped", |web| web["state"] == "stopped");
    assert!(!alive(pid));
}
