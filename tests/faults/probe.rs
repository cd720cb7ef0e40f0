//! 36–46: what probes meet. Most are held by `src/probe/http/tests.rs` and `tests/e2e/probes.rs`; see the table.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::Project;

/// Answers every connection by `talk`, in a thread.
fn serve(talk: fn(&mut std::net::TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked);
                talk(&mut stream);
            });
        }
    });
    port
}

/// The service's probe fails with these words, and the service is restarted for it.
fn probe_fails(health: &str, words: &str) {
    let project = Project::up(&format!(
        "services:\n  web: {{command: sleep 1000, restart: {{delay: 10ms}}, stop: {{timeout: 1s}}, \
         health: {{liveness: {{{health}, interval: 100ms, timeout: 300ms, failures: 2}}}}}}\n"
    ));
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["last_end"]["cause"] == "probe");
    let evidence = project.why("web")["evidence"].to_string();
    assert!(evidence.contains(words), "{evidence}");
}

/// Only the status is read; the rest, however long, is left.
#[test]
fn f38_a_body_without_end_is_not_read() {
    let port = serve(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n");
        while stream.write_all(&vec![b'x'; 65_536]).is_ok() {}
    });
    let project = Project::up(&format!(
        "services:\n  web: {{command: sleep 1000, health: {{http: 'http://127.0.0.1:{port}/', interval: 100ms, timeout: 2s}}}}\n"
    ));
    project.wait_ready("web");
    project.wait_service("web", "to be asked often", |web| web["instances"][0]["probe"]["streak"].as_u64() >= Some(5));
    assert_eq!(project.service("web")["restarts"], 0);
}

#[test]
fn f40_a_name_that_nobody_knows_is_a_failure_that_says_so() {
    probe_fails("http: 'http://everup-test.invalid/'", "everup-test.invalid");
}

#[test]
fn f41_a_refused_connection_while_it_starts_is_only_not_ready() {
    let port = crate::support::free_port();
    let project = Project::up(&format!(
        "services:\n  web: {{command: sleep 1000, health: {{tcp: '127.0.0.1:{port}', interval: 50ms, failures: 1, start_timeout: 60s}}}}\n"
    ));
    project.wait_service("web", "to be asked", |web| web["instances"][0]["probe"]["streak"].as_u64() >= Some(3));
    let web = project.instance("web", 0);
    assert_eq!((web["state"].as_str(), web["restarts"].as_u64()), (Some("starting"), Some(0)), "{web:#}");
    let _listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    project.wait_ready("web");
    assert_eq!(project.instance("web", 0)["restarts"], 0);
}
