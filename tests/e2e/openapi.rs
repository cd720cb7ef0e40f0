//! The control API, tried by its own OpenAPI document.

use std::path::Path;
use std::process::Command;

use crate::support::{Project, free_port, text, wait_for};

const TOKEN: &str = "open-sesame-1234";

/// Its own failures are found in the same order each time.
const SEED: &str = "1";
/// Requests made up for each operation, besides those at the edges of what the document allows.
const EXAMPLES: &str = "10";

#[test]
#[ignore = "needs schemathesis: tests/peers/setup installs it"]
fn no_request_of_the_document_is_answered_by_a_server_error() {
    let port = free_port();
    let mut project = Project::new(&format!(
        "web: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  \
         web: {{command: sleep 1000, instances: 2, port: {}, health: {{exec: 'true'}}}}\n  \
         job: {{command: 'true', type: task}}\n  \
         crasher: {{command: \"sh -c 'echo boom >&2; exit 3'\", restart: {{delay: 1s}}}}\n",
        free_port()
    ));
    project.write("token", TOKEN);
    project.start(&["up"]);
    project.wait_ready("web");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_BIN_EXE_everup")).parent().and_then(Path::parent).expect("target/");
    let tried = Command::new(target.join("peers-schemathesis/bin/schemathesis"))
        .arg("--config-file")
        .arg(root.join("tests/peers/api/schemathesis.toml"))
        .args(["run", &format!("http://127.0.0.1:{port}/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"])
        .args(["--phases", "coverage,fuzzing", "--seed", SEED, "--max-examples", EXAMPLES])
        // It would be the last request; it is made below.
        .args(["--exclude-path", "/v1/down", "--request-timeout", "30", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", root.join("tests/peers/api"))
        .current_dir(project.path(""))
        .output()
        .expect("schemathesis runs: tests/peers/setup installs it");
    assert!(tried.status.success(), "{}\n{}", text(&tried.stdout), text(&tried.stderr));
    println!("{}", text(&tried.stdout));
    // It is still the same everup, and it still does what it is told.
    wait_for("what was tried to be over", || project.everup(&["scale", "web=1", "--wait=30s"]).status.success());
    project.ok(&["restart", "web", "--wait=30s"]);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0), "{}", project.read("everup.stderr"));
}
