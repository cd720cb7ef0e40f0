//! Secrets stay where they were put.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::{PATIENCE, Project, alive, free_port, text, wait_for};

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
        is_silent(&project, args);
    }
    for key in ["pid", "engine_pid"] {
        let pid = project.status()[key].clone();
        assert!(!text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).contains(SECRET));
    }
    project.ok(&["down"]);
    project.wait_end();
    is_not_kept(&project);
}

/// Everything a file can put a secret into, and everything fails that can.
#[test]
fn what_fails_with_a_secret_in_it_does_not_tell_it() {
    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = hook.local_addr().expect("its address");
    let port = free_port();
    let mut project = Project::new(&format!(
        "notify:\n  - {{webhook: 'http://{url}/${{DB_PASSWORD}}?token=${{DB_PASSWORD}}', on: [failed]}}\n  \
         - {{exec: \"sh -c 'exit 0' ${{DB_PASSWORD}}\", on: [failed]}}\n\
         web: {{listen: '127.0.0.1:{port}'}}\nservices:\n  \
         asked:\n    command: sleep 1000\n    restart: never\n    \
         health: {{http: {{url: 'http://127.0.0.1:9/?token=${{DB_PASSWORD}}', headers: {{Authorization: 'Bearer ${{DB_PASSWORD}}'}}}}, start_timeout: 300s}}\n  \
         exec:\n    command: sleep 1000\n    health: {{exec: \"sh -c 'exit 1' ${{DB_PASSWORD}}\", start_timeout: 300s}}\n  \
         missing: {{command: 'no-such-${{DB_PASSWORD}} --key ${{DB_PASSWORD}}', restart: never}}\n  \
         crasher: {{command: \"sh -c 'exit 3' ${{DB_PASSWORD}}\", restart: {{delay: 5ms, limit: {{count: 1, within: 1m, then: stop}}}}}}\n  \
         hooked: {{command: sleep 1000, restart: never, hooks: {{before_start: 'no-such-${{DB_PASSWORD}}'}}}}\n  \
         checked: {{command: sleep 1000, watch: {{paths: [app], check: \"sh -c 'exit 4' ${{DB_PASSWORD}}\"}}}}\n"
    ));
    fs::create_dir(project.path("app")).expect("a folder");
    let mut command = project.command(&["up"]);
    command.env("DB_PASSWORD", SECRET);
    project.run_by(command);
    project.wait_ready("checked");
    for service in ["missing", "hooked"] {
        project.wait_service(service, "to fail", |one| one["instances"][0]["last_end"]["cause"] == "spawn_error");
    }
    hook.set_nonblocking(true).expect("a listener that can be asked");
    let mut called = None;
    wait_for("the webhook to be called", || {
        called = hook.accept().ok();
        called.is_some()
    });
    let (mut called, _) = called.expect("somebody is told");
    called.set_nonblocking(false).expect("a stream that waits");
    called.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let mut request = String::new();
    let mut lines = BufReader::new(called.try_clone().expect("a copy"));
    while lines.read_line(&mut request).is_ok_and(|length| length > 2) {}
    let length =
        request.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    lines.read_exact(&mut body).expect("the message");
    assert!(request.contains(SECRET), "the URL is the one configured");
    assert!(!body.is_empty() && !text(&body).contains(SECRET), "{}", text(&body));
    let _ = called.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    for args in [
        &["probe", "asked"][..],
        &["probe", "exec"],
        &["reload", "checked", "--wait=30s"],
        &["status", "--json"],
        &["why", "missing"],
        &["why", "hooked", "--json"],
        &["why", "crasher"],
        &["events", "--json"],
        &["logs"],
    ] {
        is_silent(&project, args);
    }
    // A file with a mistake right beside a secret that is written out.
    let broken = format!("services:\n  asked: {{command: sleep 1, env: {{DB_PASSWORD: {SECRET}, X: [1]}}}}\n");
    project.write("supervisor.yaml", &broken);
    let refused = project.everup(&["check"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stdout));
    is_silent(&project, &["check"]);
    let mut socket = UnixStream::connect(project.path(".everup/everup.sock")).expect("the control socket");
    let apply = "POST /v1/up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    socket.write_all(apply.as_bytes()).expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains(SECRET), "{answer}");
    assert!(project.events().iter().any(|event| event["event"] == "config_rejected"));
    is_silent(&project, &["events", "--json"]);
    project.ok(&["down"]);
    project.wait_end();
    is_not_kept(&project);
    assert!(!project.read("everup.stdout").contains(SECRET) && !project.read("everup.stderr").contains(SECRET));
}

#[test]
fn no_core_dump_of_everup_and_no_look_into_it() {
    let mut project = Project::new("services:\n  web: {command: sleep 1000, env: {API_TOKEN: hunter2}}\n");
    let everup = project.command(&[]);
    // As an ordinary user where we can: what root may look into says nothing.
    let is_root = nix::unistd::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        std::os::unix::fs::chown(project.path(""), Some(65_534), Some(65_534)).expect("another's folder");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    }
    command.args(["sh", "-c", "ulimit -S -c unlimited; exec \"$0\" up"]).arg(everup.get_program());
    command.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    project.run_by(command);
    project.wait_ready("web");
    let status = project.status();
    let own = |key: &str| i32::try_from(status[key].as_i64().expect("a pid")).expect("a pid fits");
    let (guardian, engine) = (own("pid"), own("engine_pid"));
    let owner = |pid: i32| fs::metadata(format!("/proc/{pid}/environ")).expect("its files").uid();
    let core = |pid: i32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let line =
            limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap_or_default().to_owned();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    for pid in [guardian, engine] {
        assert_eq!((owner(pid), core(pid).as_str()), (0, "0"), "everyone of that user may look into {pid}");
    }
    let web = project.pid("web");
    assert_ne!((owner(web) == 0) && is_root, true, "a child is its user's as ever");
    assert_ne!(core(web), "0", "a child dumps as it is configured");
    // As an ordinary user it still knows what it uses, and works.
    assert!(status["self"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{}", status["self"]);
    project.ok(&["restart", "web"]);
    wait_for("usage of the service", || project.instance("web", 0)["memory_bytes"].as_u64().is_some());
    let mut doctor = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        doctor.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    }
    let looked =
        doctor.arg(everup.get_program()).arg("doctor").current_dir(project.path("")).output().expect("it runs");
    assert!(!text(&looked.stdout).contains("FAIL"), "{}", text(&looked.stdout));
    let program = fs::read_link(format!("/proc/{engine}/exe")).ok();
    assert!(program.is_none_or(|program| program == std::path::Path::new(env!("CARGO_BIN_EXE_everup"))));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(engine), nix::sys::signal::Signal::SIGABRT).expect("a crash");
    wait_for("the engine to be gone", || !alive(engine));
    let dumps = fs::read_dir(project.path("")).expect("the folder").filter_map(Result::ok);
    let dumps: Vec<_> = dumps.filter(|entry| entry.file_name().to_string_lossy().starts_with("core")).collect();
    assert!(dumps.is_empty(), "{dumps:?}");
    let _ = fs::set_permissions(project.path(""), PermissionsExt::from_mode(0o755));
}

/// A command of everup's does not tell the secret.
fn is_silent(project: &Project, args: &[&str]) {
    let output = project.command(args).env("DB_PASSWORD", SECRET).output().expect("everup runs");
    for said in [text(&output.stdout), text(&output.stderr)] {
        assert!(!said.contains("is not set"), "everup {args:?} has not come to it:\n{said}");
        assert!(!said.contains(SECRET), "everup {args:?} shows it:\n{said}");
    }
}

/// Nothing in the state folder holds the secret.
fn is_not_kept(project: &Project) {
    for file in files(&project.path(".everup")) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{} holds it", file.display());
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}
