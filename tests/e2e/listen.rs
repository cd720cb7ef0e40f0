//! Sockets that everup holds: whoever connects while the program is away waits for the next one.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use crate::support::{PATIENCE, Project, data, free_port, kill, python, wait_for};

const KILL: i32 = 9;

/// A service on a socket that is handed to it.
fn plain(address: &str, more: &str) -> String {
    let (python, app) = (python().display(), data("listen/plain.py"));
    format!("services:\n  web:\n    command: [{python}, {}]\n    listen: {{http: '{address}'}}\n{more}", app.display())
}

/// Connects, which must succeed, and asks; none when the connection was lost before an answer came.
fn ask(address: &str) -> Option<String> {
    match address.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{address}: {error}"));
            stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
            talk(stream)
        }
        None => {
            let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
            talk(stream)
        }
    }
    .ok()
}

fn talk(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(body.to_owned())
}

/// Restarts `web` three times and more while fifty connections are made, none of which is refused; all get an answer,
/// though one that was being served when its server ended may have to ask again.
fn survives_restarts(project: &Project, address: &str) {
    let answered = || wait_for("an answer", || ask(address).is_some());
    answered();
    thread::scope(|scope| {
        let asking = scope.spawn(|| (0..50).for_each(|_| answered()));
        let mut restarts = 0;
        while restarts < 3 || !asking.is_finished() {
            project.ok(&["restart", "web"]);
            answered();
            restarts += 1;
        }
    });
    assert!(project.instance("web", 0)["run"].as_u64() > Some(3));
}

#[test]
fn a_refresh_during_a_restart_waits_for_the_new_process() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut project = Project::new(&plain(&address, "    env: {HOLD: hold}\n    restart: {delay: 1s, jitter: 0}\n"));
    project.start(&["up"]);
    wait_for("a first answer", || ask(&address).is_some_and(|body| body.starts_with("run 1 of web")));
    for (run, how) in [(2, "restarted"), (3, "killed, so that it waits out its delay")] {
        project.write("hold", "");
        let before = project.pid("web");
        if run == 2 {
            project.ok(&["restart", "web", "--no-wait"]);
        } else {
            kill(&project, before, KILL);
        }
        let gone = |web: &serde_json::Value| web["instances"][0]["pid"] != before;
        project.wait_service("web", how, gone);
        // Nobody serves now: each of these is made, and waits.
        let answer = thread::scope(|scope| {
            let waiting: Vec<_> = (0..10).map(|_| scope.spawn(|| ask(&address))).collect();
            project.wait_service("web", "to run", |web| web["instances"][0]["run"] == run && gone(web));
            project.pid("web");
            assert!(waiting.iter().all(|asked| !asked.is_finished()));
            fs::remove_file(project.path("hold")).expect("the file that holds it up");
            waiting.into_iter().map(|asked| asked.join().expect("an asker")).collect::<Vec<_>>()
        });
        let prefix = format!("run {run} of web, pid {}", project.pid("web"));
        assert!(answer.iter().all(|body| body.as_deref() == Some(prefix.as_str())), "{prefix}: {answer:?}");
    }
}

#[test]
fn no_connection_is_refused_while_a_program_is_restarted() {
    let address = format!("127.0.0.1:{}", free_port());
    survives_restarts(&Project::up(&plain(&address, "")), &address);
}

#[test]
fn nor_over_ipv6() {
    let port = free_port();
    let project = Project::up(&plain(&format!("[::1]:{port}"), ""));
    survives_restarts(&project, &format!("[::1]:{port}"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn nor_at_a_unix_socket_however_long_its_path() {
    for name in ["app.sock".to_owned(), format!("{}/app.sock", "d".repeat(150))] {
        let mut project = Project::new(&plain(&format!("unix:{name}"), "    umask: '0007'\n"));
        fs::create_dir_all(project.path(&name).parent().expect("a folder")).expect("a folder");
        // What an everup that was killed has left behind.
        let before = Path::new(&name).file_name().expect("a name");
        if name.len() < 100 {
            drop(std::os::unix::net::UnixListener::bind(project.path(&name)).expect("a socket"));
        }
        project.start(&["up"]);
        // By a short way, as clients must.
        let shortcut = project.path("short");
        let folder = project.path(&name).parent().expect("a folder").to_owned();
        std::os::unix::fs::symlink(folder, &shortcut).expect("a link");
        survives_restarts(&project, &format!("unix:{}", shortcut.join(before).display()));
        let about = fs::metadata(project.path(&name)).expect("the socket");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o660);
        project.ok(&["down"]);
        project.wait_end();
        assert!(!project.path(&name).exists(), "everup takes its socket away");
    }
}

#[test]
fn gunicorn_takes_it_by_listen_fds_and_by_number() {
    for bind in ["", ", -b, 'fd://${FD_http}'"] {
        let address = format!("127.0.0.1:{}", free_port());
        let project = Project::up(&format!(
            "services:\n  web:\n    command: [{}, -m, gunicorn, --workers, '2'{bind}, 'wsgi:app']\n    cwd: {}\n    \
             listen: {{http: '{address}'}}\n",
            python().display(),
            data("gunicorn").display()
        ));
        survives_restarts(&project, &address);
        let said = project.ok(&["logs", "web"]);
        assert!(said.contains(&format!("Listening at: http://{address}")), "{said}");
    }
}

#[test]
fn gunicorn_that_removes_its_unix_socket_gets_it_back() {
    let mut project = Project::new(&format!(
        "services:\n  web:\n    command: [{}, -m, gunicorn, -b, 'fd://${{FD_http}}', 'wsgi:app']\n    \
         env: {{PYTHONPATH: {}}}\n    listen: {{http: 'unix:app.sock'}}\n",
        python().display(),
        data("gunicorn").display()
    ));
    project.start(&["up"]);
    let address = format!("unix:{}", project.path("app.sock").display());
    for run in 1..=2 {
        project.wait_service("web", "to run", |web| web["instances"][0]["run"] == run);
        project.pid("web");
        assert!(ask(&address).is_some());
        project.ok(&["restart", "web"]);
    }
}

#[test]
fn uvicorn_takes_it_by_number() {
    let address = format!("127.0.0.1:{}", free_port());
    let project = Project::up(&format!(
        "services:\n  web:\n    command: [{}, -m, uvicorn, --fd, '${{FD_http}}', 'asgi:app']\n    cwd: {}\n    \
         listen: {{http: '{address}'}}\n",
        python().display(),
        data("listen").display()
    ));
    survives_restarts(&project, &address);
}

#[test]
fn tornado_takes_it_by_number() {
    let address = format!("127.0.0.1:{}", free_port());
    let project = Project::up(&format!(
        "services:\n  web: {{command: [{}, {}], listen: {{http: '{address}'}}}}\n",
        python().display(),
        data("listen/tornado_app.py").display()
    ));
    survives_restarts(&project, &address);
}

#[test]
#[ignore = "needs node: bash tests/peers/setup"]
fn node_takes_it_by_number() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut project = Project::new(&format!(
        "services:\n  web: {{command: node server.js, env: {{FD: '${{FD_http}}'}}, listen: {{http: '{address}'}}}}\n"
    ));
    project.write(
        "server.js",
        "const server = require('http').createServer((q, a) => a.end('hello')).listen({fd: Number(process.env.FD)});\n\
         process.on('SIGTERM', () => server.close(() => process.exit(0)));\n",
    );
    project.start(&["up"]);
    survives_restarts(&project, &address);
}

#[test]
fn instances_share_their_sockets_and_know_them_by_name() {
    let (http, other) = (format!("127.0.0.1:{}", free_port()), free_port());
    let yaml = plain(&http, "    instances: 2\n").replace("{http:", &format!("{{admin: '127.0.0.1:{other}', http:"));
    let project = Project::up(&yaml);
    let mut seen = std::collections::BTreeSet::new();
    wait_for("both to answer", || {
        seen.extend(ask(&http).and_then(|body| body.split(' ').nth(3).map(str::to_owned)));
        seen.len() == 2
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["web/1,", "web/2,"]);
    // Nobody serves this one, but it is there.
    assert!(TcpStream::connect(("127.0.0.1", other)).is_ok());
    survives_restarts(&project, &http);
}

#[test]
fn an_address_that_is_taken_fails_that_service_alone_and_is_named() {
    let port = free_port();
    let other = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let address = format!("127.0.0.1:{port}");
    let project = Project::up(&format!(
        "{}    restart: {{delay: 100ms, max_delay: 200ms}}\n  beside: {{command: sleep 1000}}\n",
        plain(&address, "")
    ));
    project.wait_ready("beside");
    project.wait_service("web", "to fail", |web| web["cause"] == "spawn_error");
    wait_for("why", || project.why("web")["cause"] == "spawn_error");
    let why = project.why("web");
    let evidence = why["evidence"].to_string();
    assert!(evidence.contains(&format!("cannot listen on {address}: Address already in use")), "{why:#}");
    drop(other);
    wait_for("an answer", || TcpStream::connect(&address).is_ok());
    assert!(ask(&address).is_some());
}

#[test]
fn a_changed_address_is_served_after_up_and_the_old_one_is_closed() {
    let (old, port) = (format!("127.0.0.1:{}", free_port()), free_port());
    let project = Project::up(&plain(&old, ""));
    assert!(ask(&old).is_some());
    for new in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
        project.write("supervisor.yaml", &plain(&new, ""));
        project.ok(&["up", "--wait"]);
        wait_for("the new address to answer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(ask(&format!("127.0.0.1:{port}")).is_some());
        wait_for("the old address to be closed", || TcpStream::connect(&old).is_err());
    }
}

#[test]
fn a_persons_stop_closes_the_socket_and_a_start_opens_it_again() {
    let mut project = Project::new(&plain("unix:app.sock", ""));
    project.start(&["up"]);
    let path = project.path("app.sock");
    let address = format!("unix:{}", path.display());
    for _ in 0..2 {
        wait_for("an answer", || path.exists() && ask(&address).is_some());
        project.ok(&["stop", "web"]);
        wait_for("the socket to be gone", || !path.exists());
        project.ok(&["start", "web"]);
    }
}

#[test]
fn hooks_and_exec_probes_get_no_sockets() {
    let address = format!("127.0.0.1:{}", free_port());
    let look = "(env | grep -c LISTEN_; ls -l /proc/self/fd | grep -c socket:) ";
    let project = Project::up(&plain(
        &address,
        &format!(
            "    hooks: {{after_ready: [sh, -c, '{look} > hook']}}\n    \
             health: {{exec: [sh, -c, '{look} > probe; echo done >> probe'], interval: 1s}}\n"
        ),
    ));
    project.wait_ready("web");
    wait_for("the hook", || project.read("hook").lines().count() == 2);
    assert_eq!(project.read("hook"), "0\n0\n");
    wait_for("the probe", || project.read("probe") == "0\n0\ndone\n");
}
