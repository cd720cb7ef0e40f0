//! Another program takes over from the engine that runs, or does not: no child notices, no request is lost.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::{PATIENCE, Project, alive, free_port, get, text, wait_for};

const OWN: &str = env!("CARGO_BIN_EXE_everup");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As long as [`VERSION`].
const OTHER: &str = "9.8.7";

/// The everup under test with another text of the same length in it; made once.
fn patched(name: &str, from: &str, to: &str) -> PathBuf {
    assert_eq!(from.len(), to.len());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let when = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    if when(&path) < when(Path::new(OWN)) {
        let mut bytes = fs::read(OWN).expect("the everup under test");
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
        assert!(!places.is_empty(), "{from} is nowhere in it");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        let fresh = path.with_extension(std::process::id().to_string());
        fs::write(&fresh, bytes).expect("a copy");
        fs::set_permissions(&fresh, Permissions::from_mode(0o755)).expect("a program");
        fs::rename(&fresh, &path).expect("in its place");
    }
    path
}

/// An everup of another version.
fn other() -> PathBuf {
    patched("everup-other", VERSION, OTHER)
}

fn upgrade(project: &Project, binary: &Path) -> Output {
    project.everup(&["upgrade", binary.to_str().expect("a path")])
}

fn upgraded(project: &Project, binary: &Path) -> String {
    let output = upgrade(project, binary);
    assert!(output.status.success(), "{}{}", text(&output.stderr), project.read("everup.stderr"));
    text(&output.stdout)
}

/// It is refused, with these words; whoever was in charge still is.
fn refused(project: &Project, binary: &Path, words: &str) {
    let engine = project.status()["engine_pid"].clone();
    let output = upgrade(project, binary);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{said} does not say {words:?}");
    assert_eq!(project.status()["engine_pid"], engine);
}

/// Processes and runs of all services.
fn running(project: &Project) -> Vec<Value> {
    let status = project.status();
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let instances = services.iter().flat_map(|service| service["instances"].as_array().cloned().unwrap_or_default());
    instances.map(|one| serde_json::json!([one["name"], one["run"], one["pid"], one["state"]])).collect()
}

/// A while between two requests.
fn pace(ms: u64) {
    let (_keep, never) = mpsc::sync_channel::<()>(0);
    let _ = never.recv_timeout(Duration::from_millis(ms));
}

/// One request on a connection of its own; its status.
fn ask(socket: &Path, request: &str) -> Result<u16, String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .map_err(|error| format!("send: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("read: {error}"))?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| format!("no answer: {answer:?}"))
}

#[test]
fn five_upgrades_under_load_lose_no_request_touch_no_child_and_keep_every_byte() {
    let mut project = Project::bare();
    project.write(
        "writer.py",
        "import time\ni = 0\nwhile True:\n    print(i, flush=True)\n    i += 1\n    time.sleep(0.001)\n",
    );
    project.write(
        "supervisor.yaml",
        "services:\n  writer: {command: python3 writer.py}\n  held: {command: sleep 1000}\n  bounced: {command: sleep 1000}\n  \
         idle: {command: sleep 1000, instances: 2}\n",
    );
    project.start(&["up"]);
    for name in ["writer", "held", "bounced", "idle"] {
        project.wait_ready(name);
    }
    project.ok(&["stop", "held"]);
    let untouched =
        |project: &Project| -> Vec<Value> { running(project).into_iter().filter(|one| one[0] != "bounced").collect() };
    let (before, guardian) = (untouched(&project), project.status()["pid"].clone());
    let socket = project.path(".everup/everup.sock");
    let (over, asked, bounced) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let binaries = [other(), PathBuf::from(OWN), other(), PathBuf::from(OWN), other()];
    std::thread::scope(|scope| {
        let load = |request: &'static str, expected: u16, pause: u64, count: &'static str| {
            let (socket, over, asked, bounced) = (&socket, &over, &asked, &bounced);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(ask(socket, request), Ok(expected), "{request}");
                    if count == "asked" { asked } else { bounced }.fetch_add(1, Ordering::Relaxed);
                    pace(pause);
                }
            })
        };
        let workers = [
            load("GET /v1/status", 200, 4, "asked"),
            load("POST /v1/services/bounced/restart?wait=30s", 200, 30, "bounced"),
        ];
        let turned = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for binary in &binaries {
                let (looks, restarts) = (asked.load(Ordering::Relaxed), bounced.load(Ordering::Relaxed));
                let said = upgraded(&project, binary);
                let (from, to) = if binary == Path::new(OWN) { (OTHER, VERSION) } else { (VERSION, OTHER) };
                assert!(said.contains(&format!("upgraded: {from} → {to}, ")), "{said}");
                assert_eq!(project.status()["version"], to);
                wait_for("load after it", || {
                    asked.load(Ordering::Relaxed) > looks + 20 && bounced.load(Ordering::Relaxed) > restarts + 1
                });
            }
        }));
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("no request fails");
        }
        turned.expect("five upgrades");
    });
    assert_eq!(untouched(&project), before);
    assert_eq!(project.status()["pid"], guardian);
    assert_eq!(project.service("held")["state"], "stopped");
    let all = project.ok(&["events", "--json", "--since", "1h"]);
    assert_eq!(all.matches(r#""event":"upgraded""#).count(), 5, "{all}");
    assert!(!all.contains("engine_restarted") && !all.contains("upgrade_failed"), "{all}");
    project.ok(&["stop", "writer"]);
    let log = project.ok(&["logs", "writer", "-n", "10000000"]);
    let lines: Vec<&str> = log.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert!(lines.len() > 100, "{}", lines.len());
    let wrong = lines.iter().enumerate().find(|(at, line)| **line != at.to_string());
    assert_eq!(wrong, None, "a line is missing or there twice");
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
}

#[test]
fn a_program_that_took_over_is_what_is_started_again() {
    let mut project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let pid = project.pid("web");
    let copy = project.path("everup-copy");
    fs::copy(other(), &copy).expect("a copy");
    upgraded(&project, &copy);
    // Whatever becomes of the file.
    fs::remove_file(&copy).expect("it is ours");
    let engine = i32::try_from(project.status()["engine_pid"].as_i64().expect("a pid")).expect("fits");
    let program = fs::read_link(format!("/proc/{engine}/exe")).expect("its program");
    assert!(program.to_string_lossy().contains("everup-copy"), "{program:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(engine), nix::sys::signal::Signal::SIGKILL).expect("killed");
    wait_for("the next engine", || {
        let status = project.status();
        status["engine_pid"] != engine && status["version"] == OTHER
    });
    assert_eq!(project.pid("web"), pid);
    project.ok(&["down"]);
    assert_eq!(project.wait_end(), Some(0));
    assert!(!alive(pid));
}

/// A program of a few instructions; none where we do not speak the machine's language.
fn tiny(code: &[u8]) -> Vec<u8> {
    let own = fs::read(OWN).expect("the everup under test");
    let mut elf = own[..20].to_vec();
    let base: u64 = 0x40_0000;
    elf[16..18].copy_from_slice(&2_u16.to_le_bytes());
    let put = |elf: &mut Vec<u8>, value: u64, size: usize| elf.extend_from_slice(&value.to_le_bytes()[..size]);
    for (value, size) in
        [(1, 4), (base + 120, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2)]
    {
        put(&mut elf, value, size);
    }
    let length = 120 + code.len() as u64;
    for (value, size) in [(1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (length, 8), (length, 8), (0x1000, 8)] {
        put(&mut elf, value, size);
    }
    elf.extend_from_slice(code);
    elf
}

#[test]
fn what_cannot_take_over_is_refused_with_the_reason_and_nothing_changes() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let before = running(&project);
    let program = |name: &str, bytes: &[u8], mode: u32| {
        let path = project.path(name);
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
        path
    };
    refused(&project, Path::new("/nowhere/everup"), "/nowhere/everup cannot be opened: No such file");
    refused(&project, project.folder.path(), "is not a file");
    refused(&project, &program("script", b"#!/bin/sh\nexit 0\n", 0o755), "it is a script");
    refused(&project, &program("text", b"everup 9.9.9\n", 0o755), "is not a program for this machine");
    refused(&project, &program("plain", &fs::read("/bin/true").expect("true"), 0o644), "is not executable");
    refused(&project, &program("open", &fs::read("/bin/true").expect("true"), 0o777), "can be written by others");
    refused(&project, Path::new("/bin/true"), "does not answer as everup does (exit code 0");
    let mut torn = fs::read(OWN).expect("the everup under test");
    torn.truncate(4_096);
    refused(&project, &program("torn", &torn, 0o755), "torn ");
    let codes: [&[u8]; 3] = if cfg!(target_arch = "x86_64") {
        // exit(1) · pause() for ever · ud2
        [b"\xbf\x01\0\0\0\xb8\x3c\0\0\0\x0f\x05", b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7", b"\x0f\x0b"]
    } else {
        [b"\x20\0\x80\xd2\xa8\x0b\x80\xd2\x01\0\0\xd4", b"\0\0\0\x14", b"\0\0\0\0"]
    };
    refused(&project, &program("fails", &tiny(codes[0]), 0o755), "(exit code 1)");
    refused(&project, &program("hangs", &tiny(codes[1]), 0o755), "did not answer within 5 s");
    refused(&project, &program("crashes", &tiny(codes[2]), 0o755), "(ended by SIGILL");
    assert_eq!(running(&project), before);
    assert!(project.events().iter().all(|event| event["event"] != "upgraded"));
    upgraded(&project, &other());
    assert_eq!(running(&project), before);
}

#[test]
fn a_program_that_dies_before_it_has_taken_over_leaves_the_one_before_in_charge() {
    let project = Project::up("services:\n  web: {command: sleep 1000}\n");
    project.wait_ready("web");
    let before = running(&project);
    // It can read everything, and then does not find its guardian.
    let broken = patched("everup-broken", "EVERUP_GUARDIAN_FD", "EVERUP_GUARDIAN_XX");
    let output = upgrade(&project, &broken);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ended with code 1 before it had taken over"), "{said}");
    assert_eq!(running(&project), before);
    assert_eq!(project.status()["version"], VERSION);
    let words: Vec<String> =
        project.events().iter().filter_map(|event| Some(event["event"].as_str()?.to_owned())).collect();
    assert!(words.contains(&"upgrade_failed".to_owned()) && !words.contains(&"upgraded".to_owned()), "{words:?}");
    // It is no worse for it.
    upgraded(&project, &other());
    assert_eq!(running(&project), before);
}

#[test]
fn a_program_that_does_not_come_to_take_over_is_killed_and_the_one_before_goes_on() {
    let mut project = Project::bare();
    let port = free_port();
    project.write("token", "secret\n");
    project.write(
        "supervisor.yaml",
        &format!("web: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  app: {{command: sleep 1000}}\n"),
    );
    project.start(&["up"]);
    project.wait_ready("app");
    let before = running(&project);
    // Its start reads the token, and waits here for ever.
    let (token, pipe) = (project.path("token"), project.path("pipe"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    fs::rename(&pipe, &token).expect("in its place");
    let child = project.command(&["upgrade", OWN]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("everup runs");
    let mut held = None;
    wait_for("the new program to read the token", || {
        held = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&token).ok();
        held.is_some()
    });
    project.write("good", "secret\n");
    fs::rename(project.path("good"), &token).expect("in its place");
    let said = text(&child.wait_with_output().expect("it ends").stderr);
    assert!(said.contains("had not taken over after 5 s"), "{said}");
    drop(held);
    assert_eq!(running(&project), before);
    assert_eq!(get(port, "/livez").map(|(status, _)| status), Some(200));
    // A token is not for this.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the door");
    let body = format!("{{\"binary\":\"{OWN}\"}}");
    write!(
        stream,
        "POST /v1/upgrade HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("everup's own user"), "{answer}");
}

#[test]
fn hooks_are_waited_for_and_a_second_upgrade_meanwhile_is_refused() {
    let mut project = Project::new(
        "services:\n  web: {command: sleep 1000, hooks: {before_start: [sh, -c, 'echo x >> begun; while [ ! -e go ]; do \
         sleep 0.05; done']}}\n",
    );
    project.start(&["up"]);
    wait_for("the hook", || project.path("begun").exists());
    let binary = other();
    let first = project.command(&["upgrade", binary.to_str().expect("a path")]).stdout(Stdio::piped()).spawn();
    let first = first.expect("everup runs");
    let mut said = String::new();
    wait_for("the second to be refused", || {
        // Not there, so this one cannot come first.
        let output = upgrade(&project, Path::new("/nowhere/everup"));
        said = text(&output.stderr);
        said.contains("an upgrade is under way already")
    });
    assert_eq!(project.status()["version"], VERSION);
    project.write("go", "");
    assert!(first.wait_with_output().expect("it ends").status.success());
    project.wait_ready("web");
    assert_eq!(project.read("begun"), "x\n");
    assert_eq!(project.status()["version"], OTHER);
}

#[test]
fn nothing_is_upgraded_while_everything_stops_or_where_all_ends_with_the_engine() {
    let mut project = Project::up(
        "services:\n  slow: {command: [sh, -c, 'trap \"\" TERM; while :; do sleep 0.1; done'], stop: {timeout: 5s}}\n",
    );
    project.wait_ready("slow");
    project.ok(&["down", "--no-wait"]);
    refused(&project, Path::new(OWN), "everup is stopping");
    project.everup(&["down", "--force"]);
    assert_eq!(project.wait_end(), Some(0));

    let project = Project::up("on_supervisor_death: kill\nservices:\n  web: {command: sleep 1000}\n");
    refused(&project, Path::new(OWN), "everything ends with everup's engine");
    drop(project);

    for verb in [&["run", "--name", "app", "--", "sleep", "1000"][..], &["dev", "--", "sleep", "1000"]] {
        let project = Project::bare();
        let log = fs::File::create(project.path("everup.stderr")).expect("a file");
        let mut everup =
            project.command(verb).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("runs");
        wait_for("it to answer", || project.status()["pid"].is_number());
        refused(&project, Path::new(OWN), "only `everup up` can be upgraded");
        project.ok(&["down", "--force"]);
        wait_for("its end", || everup.try_wait().expect("a child").is_some());
        project.write("done", "");
    }
}
