//! The doors under attack: strangers, crowds, and requests that are none. What is promised is in docs/security.md.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PATIENCE, Project, alive, free_port, kill, python, text, wait_for};

const TOKEN: &str = "open-sesame-1234";
const NOBODY: u32 = 65_534;

/// A project with both doors open, and a service that comes back at once.
fn project() -> (Project, u16) {
    let port = free_port();
    let mut project = Project::new(&format!(
        "web: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  \
         app: {{command: sleep 1000, restart: {{delay: 10ms}}}}\n"
    ));
    project.write("token", TOKEN);
    project.start(&["up"]);
    project.wait_ready("app");
    (project, port)
}

fn unix(project: &Project) -> UnixStream {
    let stream = UnixStream::connect(project.path(".everup/everup.sock")).expect("the control socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the door is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

/// Everything that comes back for these bytes until the other side closes.
fn send(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // The other side may have had enough before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Supervision goes on: what is killed is started again, and the honest are answered.
fn goes_on(project: &Project) {
    let before = project.pid("app");
    kill(project, before, 9);
    project.wait_service("app", "to be started again", |app| {
        app["instances"][0]["pid"].as_i64().is_some_and(|pid| pid != i64::from(before)) && app["ready"] == true
    });
    project.ok(&["restart", "app", "--wait=30s"]);
}

/// Runs a Python script as another user; what it printed. None: only root can.
fn as_nobody(project: &Project, script: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return None;
    }
    let script =
        format!("import os, socket, sys\nos.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n{script}");
    let ran = Command::new(python()).args(["-c", &script]).arg(project.path("")).output().expect("python runs");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    Some(text(&ran.stdout))
}

#[test]
fn another_user_reaches_nothing_of_a_project() {
    let (project, _) = project();
    let walk = "import errno\nroot = sys.argv[1]\nfor path in ['.everup/everup.sock', '.everup/logs', \
         '.everup/history.db', '.everup/state.json']:\n    try:\n        os.stat(os.path.join(root, path))\n        \
         print('reached', path)\n    except PermissionError:\n        pass\nprint('done')\n";
    // The folder of the project is open, as one of a real project is.
    fs::set_permissions(project.path(""), PermissionsExt::from_mode(0o755)).expect("its own folder");
    if let Some(printed) = as_nobody(&project, walk) {
        assert_eq!(printed.trim(), "done");
    }
}

#[test]
fn another_user_at_an_open_socket_is_refused_by_name() {
    let mut project =
        Project::new("control: {socket: open/control.sock, mode: '0666'}\nservices:\n  app: {command: sleep 1000}\n");
    fs::create_dir(project.path("open")).expect("a folder");
    for folder in ["", "open"] {
        fs::set_permissions(project.path(folder), PermissionsExt::from_mode(0o755)).expect("open to all");
    }
    project.start(&["up"]);
    project.wait_ready("app");
    let pid = project.pid("app");
    let ask = "for line in ['GET /v1/status', 'GET /v1/logs', 'POST /v1/services/app/restart', 'POST /v1/down']:\n    \
         s = socket.socket(socket.AF_UNIX)\n    s.connect(os.path.join(sys.argv[1], 'open/control.sock'))\n    \
         s.sendall((line + ' HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n').encode())\n    \
         print(s.makefile().read().split(' ')[1])\n";
    if let Some(printed) = as_nobody(&project, ask) {
        assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["403"; 4]);
        assert_eq!(project.pid("app"), pid);
    }
}

#[test]
fn what_lies_where_the_socket_or_the_state_should_be_is_left_alone_and_named() {
    for what in ["file", "link", "folder-link"] {
        let project = Project::new("control: {socket: ctl.sock}\nservices:\n  app: {command: sleep 1000}\n");
        project.write("precious", "data");
        let named = match what {
            "file" => {
                project.write("ctl.sock", "data");
                "ctl.sock"
            }
            "link" => {
                std::os::unix::fs::symlink(project.path("precious"), project.path("ctl.sock")).expect("a link");
                "ctl.sock"
            }
            _ => {
                fs::create_dir(project.path("elsewhere")).expect("a folder");
                std::os::unix::fs::symlink(project.path("elsewhere"), project.path(".everup")).expect("a link");
                ".everup"
            }
        };
        let refused = project.everup(&["up"]);
        assert_eq!(refused.status.code(), Some(1), "{what}");
        assert!(text(&refused.stderr).contains(named), "{what}: {}", text(&refused.stderr));
        assert_eq!(project.read("precious"), "data", "{what}");
        assert!(fs::symlink_metadata(project.path(named)).is_ok(), "{what} is gone");
    }
}

/// A folder and all in it, with their permissions.
fn below(folder: &Path) -> Vec<(PathBuf, u32)> {
    let about = fs::symlink_metadata(folder).expect("it is there");
    let mut found = vec![(folder.to_owned(), about.mode() & 0o777)];
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        found.extend(below(&entry.path()));
    }
    found
}

#[test]
fn no_umask_opens_or_closes_what_is_everups() {
    for umask in ["000", "777"] {
        let mut project = Project::new("services:\n  app: {command: sleep 1000}\n");
        let mut command = Command::new("sh");
        // Another umask for the child, which would not even find its own files.
        command.args(["-c", &format!("umask {umask}; exec \"$0\" up")]);
        let everup = project.command(&[]);
        command.arg(everup.get_program()).envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
        project.run_by(command);
        project.wait_ready("app");
        wait_for("the history and the state to be written", || {
            ["history.db", "state.json"].iter().all(|file| project.path(&format!(".everup/{file}")).exists())
        });
        let mut seen = 0;
        for (path, mode) in below(&project.path(".everup")) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{} under umask {umask}", path.display());
            seen += 1;
        }
        assert!(seen > 5, "{seen} files");
        let found = fs::read_to_string(format!("/proc/{}/status", project.pid("app"))).expect("the child's status");
        assert!(found.contains(&format!("Umask:\t0{umask}\n")), "a child keeps the umask everup was started with");
        project.ok(&["down"]);
    }
}

#[test]
fn a_crowd_that_sends_nothing_or_half_a_request_keeps_nobody_out() {
    let (project, port) = project();
    let half: [&[u8]; 4] = [
        b"",
        b"GET /v1/status HTTP/1.1\r\nHos",
        b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /v1/services/app/restart HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ];
    let mut crowd: Vec<TcpStream> = (0..500).map(|_| tcp(port)).collect();
    for (stream, half) in crowd.iter_mut().zip(half.iter().cycle()) {
        // Those that had to make room are closed already.
        let _ = stream.write_all(half);
    }
    let host = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    wait_for("an honest visitor over TCP to be answered", || status(&send(tcp(port), host)) == 200);
    goes_on(&project);
    // On the control socket, where the kernel's queue is what holds the others back.
    let mut local = vec![];
    for half in half.iter().cycle().take(150) {
        let mut stream = unix(&project);
        let _ = stream.write_all(half);
        local.push(stream);
    }
    goes_on(&project);
    let own = project.status();
    assert!(own["self"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes < 200 << 20), "{}", own["self"]);
    drop((crowd, local));
    goes_on(&project);
}

#[test]
fn requests_that_are_none_change_nothing() {
    let (project, port) = project();
    let pid = project.pid("app");
    let token = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let long = "x".repeat(100_000);
    let deep = "[".repeat(60_000);
    let post = |path: &str, more: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\n{token}Connection: close\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (what, request, allowed) in [
        ("a long path", format!("GET /{long} HTTP/1.1\r\n{token}\r\n"), &[414, 431][..]),
        ("a long header", format!("GET /v1/status HTTP/1.1\r\n{token}X: {long}\r\n\r\n"), &[431]),
        ("many headers", format!("GET /v1/status HTTP/1.1\r\n{token}{}\r\n", "X: y\r\n".repeat(500)), &[431]),
        ("a large body", post("/v1/up", "", &long), &[413]),
        ("a deep body", post("/v1/up", "", &deep), &[400]),
        ("a torn body", post("/v1/services/app/scale", "", "{\"instances\":"), &[400]),
        ("a wrong body", post("/v1/services/app/scale", "", "{\"instances\":-1}"), &[400]),
        (
            "an endless number",
            post("/v1/services/app/scale", "", &format!("{{\"instances\":{}}}", "9".repeat(999))),
            &[400],
        ),
        ("two hosts", format!("GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n{token}\r\n"), &[400]),
        (
            "two lengths",
            format!("POST /v1/up HTTP/1.1\r\n{token}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"),
            &[400],
        ),
        ("no length", format!("POST /v1/up HTTP/1.1\r\n{token}Content-Length: -1\r\n\r\n{{}}"), &[400]),
        ("a folded header", format!("GET /v1/status HTTP/1.1\r\n{token}X: a\r\n b\r\n\r\n"), &[400]),
        ("a space before the colon", "GET /v1/status HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(), &[400]),
        ("TRACE", format!("TRACE /v1/status HTTP/1.1\r\n{token}Connection: close\r\n\r\n"), &[405]),
        ("OPTIONS", format!("OPTIONS /v1/down HTTP/1.1\r\n{token}Connection: close\r\n\r\n"), &[405]),
        ("CONNECT", format!("CONNECT localhost:22 HTTP/1.1\r\n{token}Connection: close\r\n\r\n"), &[400, 404, 405]),
        ("PUT", format!("PUT /v1/up HTTP/1.1\r\n{token}Connection: close\r\n\r\n"), &[405]),
        (
            "a path upwards",
            format!("GET /v1/services/..%2f..%2fetc%2fpasswd/logs HTTP/1.1\r\n{token}Connection: close\r\n\r\n"),
            &[400, 404],
        ),
        (
            "a path upwards, plainly",
            format!("GET /../../etc/passwd HTTP/1.1\r\n{token}Connection: close\r\n\r\n"),
            &[404],
        ),
        (
            "a name with a NUL",
            format!("GET /v1/services/app%00/logs HTTP/1.1\r\n{token}Connection: close\r\n\r\n"),
            &[400, 404],
        ),
        ("another protocol", "\x16\x03\x01\x02\x00\x01\x00\x01\x7f\x03\x03".to_owned(), &[0, 400]),
    ] {
        let answer = send(tcp(port), request.as_bytes());
        assert!(allowed.contains(&status(&answer)), "{what}: {}", &answer[..answer.len().min(300)]);
        let lower = answer.to_ascii_lowercase();
        assert!(!lower.contains("access-control-allow") && !lower.contains(TOKEN), "{what}: {answer}");
    }
    let bare = send(tcp(port), post("/v1/services/app/scale", "", "{\"instances\":1}").as_bytes());
    assert!([200, 202].contains(&status(&bare)), "the token decides, not a Content-Type: {bare}");
    assert_eq!(project.pid("app"), pid);
}

#[test]
fn one_request_ends_where_it_says_and_none_hides_behind_it() {
    let (project, port) = project();
    let pid = project.pid("app");
    let token = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    let both = send(tcp(port), format!("{get}\r\n{get}Connection: close\r\n\r\n").as_bytes());
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "two in a row are two: {both}");
    let hidden = format!("POST /v1/services/app/restart HTTP/1.1\r\n{token}Content-Length: 0\r\n\r\n");
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
    ] {
        for front in ["GET /livez", "POST /v1/services/none/stop"] {
            let outer = format!("{front} HTTP/1.1\r\n{token}{lengths}\r\n0\r\n\r\n{hidden}");
            let answer = send(tcp(port), outer.as_bytes());
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{front} {lengths:?}: {answer}");
        }
    }
    let upgrade = format!(
        "GET /livez HTTP/1.1\r\n{token}Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    assert_eq!(status(&send(tcp(port), upgrade.as_bytes())), 200, "an upgrade is not taken up");
    assert_eq!(project.pid("app"), pid);
}

#[test]
fn no_page_of_another_site_gets_anything() {
    let (project, port) = project();
    let pid = project.pid("app");
    let post = |headers: &str| {
        format!("POST /v1/services/app/restart HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n")
    };
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for headers in [
        format!("Host: rebound.example:{port}\r\nOrigin: http://rebound.example:{port}\r\n{token}"),
        format!("Host: localhost:{port}\r\nOrigin: https://evil.example\r\n{token}"),
        format!("Host: localhost:{port}\r\nOrigin: null\r\n{token}"),
        format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\nOrigin: http://evil.example\r\n{token}"),
    ] {
        assert_eq!(status(&send(tcp(port), post(&headers).as_bytes())), 403, "{headers}");
    }
    // Through a bridge to the control socket, which asks for no token, no page acts either.
    for origin in ["null", "http://localhost", "https://evil.example"] {
        let headers = format!("Host: localhost\r\nOrigin: {origin}\r\n");
        assert_eq!(status(&send(unix(&project), post(&headers).as_bytes())), 403, "{origin}");
    }
    // What a form of another site can send without asking first: no header of its own.
    let form = "Host: localhost\r\nContent-Type: text/plain\r\nCookie: token=open-sesame-1234\r\n";
    assert_eq!(status(&send(tcp(port), post(form).as_bytes())), 401);
    assert_eq!(project.pid("app"), pid);
}

#[test]
fn who_never_reads_or_leaves_half_way_holds_up_nothing() {
    let mut project = Project::new(
        "services:\n  app: {command: sleep 1000, restart: {delay: 10ms}}\n  \
         talks: {command: sh -c 'while echo talk talk talk talk talk talk talk talk talk talk talk; do :; done', logs: {max_size: 1MB, keep: 1}}\n  \
         slow: {command: \"sh -c 'trap \\\"\\\" TERM; while :; do sleep 1; done'\", stop: {timeout: 2s}}\n",
    );
    project.start(&["up"]);
    project.wait_ready("slow");
    // Longer than any buffer on the way, and nobody reads it.
    let mut deaf = vec![];
    for path in ["/v1/logs?follow=true&n=1000", "/v1/events?follow=true&since=seq:0"].iter().cycle().take(8) {
        let mut stream = unix(&project);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
        deaf.push(stream);
    }
    goes_on(&project);
    let slow = project.pid("slow");
    let mut leaves = unix(&project);
    leaves
        .write_all(b"POST /v1/services/slow/stop?wait=30s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .expect("a request");
    wait_for("the stop to have begun", || project.service("slow")["state"] == "stopping");
    drop(leaves);
    wait_for("the stop to go on without who asked for it", || !alive(slow));
    project.wait_service("slow", "to be stopped", |slow| slow["state"] == "stopped");
    let own = project.status()["self"]["memory_bytes"].as_u64();
    assert!(own.is_some_and(|bytes| bytes < 200 << 20), "{own:?} bytes for those who do not read");
    drop(deaf);
}

#[test]
fn a_token_that_others_can_read_is_noted() {
    for (mode, noted) in [(0o644, true), (0o640, true), (0o600, false)] {
        let port = free_port();
        let mut project = Project::new(&format!(
            "web: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  app: {{command: sleep 1000}}\n"
        ));
        project.write("token", TOKEN);
        fs::set_permissions(project.path("token"), PermissionsExt::from_mode(mode)).expect("its own file");
        project.start(&["up"]);
        let warnings = project.status()["warnings"].clone();
        let codes: Vec<&str> =
            warnings.as_array().into_iter().flatten().filter_map(|one| one["code"].as_str()).collect();
        assert_eq!(codes.contains(&"token_readable"), noted, "{mode:o}: {warnings}");
    }
}

#[test]
fn head_is_a_get_without_its_body() {
    let (_project, port) = project();
    for path in ["/v1/status", "/livez", "/metrics", "/"] {
        let mut stream = BufReader::new(tcp(port));
        write!(stream.get_mut(), "HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("a request");
        let mut line = String::new();
        stream.read_line(&mut line).expect("a status line");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the headers");
        assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        assert!(rest.ends_with("\r\n\r\n"), "{path}: a body came along");
    }
}
