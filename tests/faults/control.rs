//! 47–54: who talks to everup. More of it is in `src/server/tests/abuse.rs` and `tests/e2e/attack.rs`; see the table.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::{Project, alive, kill, text, wait_for};
use crate::tools::{Somebody, behind, own_pid, skip};

const WEB: &str = "services:\n  web: {command: sleep 1000, restart: {delay: 10ms}}\n";

#[test]
fn f47_slow_visitors_keep_nobody_waiting() {
    let project = Project::up(WEB);
    project.wait_ready("web");
    let slow: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(project.path(".everup/everup.sock")).expect("a connection");
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nHo").expect("half a request");
            stream
        })
        .collect();
    project.ok(&["status"]);
    project.ok(&["restart", "web"]);
    drop(slow);
}

#[test]
fn f48_what_is_no_request_is_refused_and_nobody_else_notices() {
    let project = Project::up(WEB);
    project.wait_ready("web");
    let nested = format!(
        "POST /v1/services/web/restart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{}",
        "[".repeat(200_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000));
    for bytes in [&b"\0\0\0\0\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", nested.as_bytes(), long.as_bytes()] {
        let mut stream = UnixStream::connect(project.path(".everup/everup.sock")).expect("a connection");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a limit");
        // It may close in the middle of what we write.
        let _ = stream.write_all(bytes);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let web = project.instance("web", 0);
    assert_eq!((web["run"].as_u64(), web["ready"].as_bool()), (Some(1), Some(true)));
}

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

#[test]
fn f50_who_never_reads_holds_up_nobody() {
    let project = Project::up(
        "services:\n  web: {command: sleep 1000, restart: {delay: 10ms}}\n  \
         quick: {command: 'true', restart: {limit: {count: 1000000, within: 1s}, rules: [{codes: [0], then: restart_now}]}}\n",
    );
    project.wait_ready("web");
    let deaf: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(project.path(".everup/everup.sock")).expect("a connection");
            stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
            stream
        })
        .collect();
    project.wait_service("quick", "to make many events", |quick| quick["restarts"].as_u64() >= Some(500));
    let pid = project.pid("web");
    kill(&project, pid, 9);
    project.wait_service("web", "to be back", |web| web["instances"][0]["run"] == 2 && web["ready"] == true);
    let engine = own_pid(&project, "engine_pid");
    let memory = fs::read_to_string(format!("/proc/{engine}/status")).expect("the engine");
    let kb = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    let kb: u64 = kb.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kb < 150_000, "{kb} kB");
    drop(deaf);
}

#[test]
fn f51_another_user_is_refused() {
    let somebody = Somebody(61_051);
    if !somebody.can_be() {
        skip!("only root can be somebody else");
    }
    let mut project = Project::new(&format!("control: {{socket: open/control.sock}}\n{WEB}"));
    let open = project.path("open");
    fs::create_dir(&open).expect("a folder");
    for folder in [project.folder.path(), &open] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    project.start(&["up"]);
    project.wait_ready("web");
    // Even where the socket itself is open to all, the peer is asked for.
    fs::set_permissions(open.join("control.sock"), fs::Permissions::from_mode(0o777)).expect("its mode");
    let words = somebody.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for args in [&["status"][..], &["stop", "web"]] {
        let mut command = behind(&project, &words, "exec \"$@\"", args);
        let output = command.current_dir(project.folder.path()).output().expect("it runs");
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
    }
    let curl = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                s.sendall(b'POST /v1/services/web/stop HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\nprint(s.recv(200))\n";
    let mut asks = std::process::Command::new(words[0]);
    asks.args(&words[1..]).args(["/usr/bin/env", "python3", "-c", curl]).arg(open.join("control.sock"));
    let said = text(&asks.output().expect("it runs").stdout);
    assert!(said.contains("403") || said.contains("401") || said.contains("b''"), "{said}");
    assert_eq!(project.service("web")["state"], "running");
}

#[test]
fn f52_what_is_not_its_socket_is_never_removed() {
    for kind in ["file", "link", "folder"] {
        let project = Project::new(WEB);
        fs::create_dir(project.path(".everup")).expect("a folder");
        fs::set_permissions(project.path(".everup"), fs::Permissions::from_mode(0o700)).expect("its mode");
        let socket = project.path(".everup/everup.sock");
        match kind {
            "file" => fs::write(&socket, "somebody's").expect("a file"),
            "link" => {
                project.write("victim", "somebody's");
                std::os::unix::fs::symlink(project.path("victim"), &socket).expect("a link");
            }
            _ => fs::create_dir(&socket).expect("a folder"),
        }
        let refused = project.everup(&["up"]);
        assert_ne!(refused.status.code(), Some(0), "{kind}");
        assert!(text(&refused.stderr).contains("everup.sock"), "{kind}: {}", text(&refused.stderr));
        assert!(fs::symlink_metadata(&socket).is_ok_and(|about| !about.file_type().is_socket()), "{kind}");
        assert!(kind != "link" || project.read("victim") == "somebody's");
    }
}

#[test]
fn f52_a_socket_that_a_killed_everup_left_is_replaced() {
    let mut project = Project::new(WEB);
    fs::create_dir(project.path(".everup")).expect("a folder");
    fs::set_permissions(project.path(".everup"), fs::Permissions::from_mode(0o700)).expect("its mode");
    drop(std::os::unix::net::UnixListener::bind(project.path(".everup/everup.sock")).expect("a stale socket"));
    project.start(&["up"]);
    project.wait_ready("web");
}

#[test]
fn f53_the_socket_is_its_owners_alone_whatever_the_umask() {
    for umask in ["000", "777"] {
        let mut project = Project::new(WEB);
        let command = behind(&project, &["env"], &format!("umask {umask}; exec \"$@\""), &["up"]);
        project.run_by(command);
        let about = fs::metadata(project.path(".everup/everup.sock")).expect("the socket");
        assert_eq!(about.mode() & 0o777, 0o600, "umask {umask}");
        let folder = fs::metadata(project.path(".everup")).expect("the folder");
        assert_eq!(folder.mode() & 0o777, 0o700, "umask {umask}");
        project.wait_ready("web");
    }
}

#[test]
fn f54_a_second_everup_on_the_same_folder_names_the_first() {
    let project = Project::up(WEB);
    project.wait_ready("web");
    let pid = own_pid(&project, "pid").to_string();
    // `up` would talk to the first; `dev` wants to be one.
    let second = project.everup(&["dev"]);
    assert_ne!(second.status.code(), Some(0));
    assert!(text(&second.stderr).contains(&pid), "{}", text(&second.stderr));
    wait_for("the first to go on", || project.instance("web", 0)["run"] == 1);
}
