//! The door over TCP: who may look, who may act, and how streams go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::{PATIENCE, Project, free_port, wait_for};

const TOKEN: &str = "open-sesame-1234";

/// A project with a door at the port, and one service that writes a line whenever it starts.
fn project(more: &str) -> (Project, u16) {
    let port = free_port();
    let mut project = Project::new(&format!(
        "web: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  app:\n    \
         command: sh -c 'echo began $EVERUP_RUN; exec sleep 1000'\n    restart: {{delay: 10ms}}\n{more}"
    ));
    project.write("token", &format!("{TOKEN}\n"));
    project.start(&["up"]);
    project.wait_ready("app");
    (project, port)
}

/// Sends a request with these further header lines; a reader of the answer, and its status.
fn ask(port: u16, request: &str, headers: &str) -> (u16, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the door is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    write!(stream, "{request} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").expect("a request");
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    while line != "\r\n" {
        line.clear();
        answer.read_line(&mut line).expect("a header");
    }
    (status, answer)
}

fn status(port: u16, request: &str, headers: &str) -> u16 {
    ask(port, request, headers).0
}

fn body(port: u16, request: &str, headers: &str) -> (u16, Value) {
    let (status, mut answer) = ask(port, request, headers);
    let mut body = String::new();
    answer.read_to_string(&mut body).expect("a body");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn reading_needs_no_token_and_acting_does() {
    let (project, port) = project("");
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let (code, told) = body(port, "GET /v1/status", &host);
    assert_eq!((code, told["services"][0]["name"].as_str()), (200, Some("app")));
    let pid = project.pid("app");
    let with = |token: &str| format!("{host}Content-Length: 0\r\n{token}");
    for (token, expected) in [
        (String::new(), 401),
        ("Authorization: Bearer wrong\r\n".to_owned(), 401),
        (format!("Authorization: Basic {TOKEN}\r\n"), 401),
        (format!("Cookie: token={TOKEN}\r\n"), 401),
    ] {
        let (code, told) = body(port, "POST /v1/services/app/restart?wait=30s", &with(&token));
        assert_eq!(code, expected, "{token}");
        assert!(told["error"]["code"].is_string() && told["error"]["message"].is_string(), "{told:#}");
    }
    assert_eq!(project.pid("app"), pid);
    let good = with(&format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(status(port, "POST /v1/services/app/restart?wait=30s", &good), 200);
    assert_ne!(project.pid("app"), pid);
    assert!(project.events().iter().any(|event| event.to_string().contains("http 127.0.0.1")), "nobody is named");
    for (request, expected) in [
        ("POST /v1/services/none/restart", 404),
        ("POST /v1/services/app/reboot", 404),
        ("DELETE /v1/services/app", 405),
        ("POST /v1/services/app/restart?wait=soon", 400),
    ] {
        assert_eq!(status(port, request, &good), expected, "{request}");
    }
}

#[test]
fn foreign_hosts_and_origins_are_refused_even_with_the_token() {
    let (project, port) = project("");
    let pid = project.pid("app");
    let token = format!("Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n");
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1.evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:1\r\n"),
    ] {
        assert_eq!(status(port, "GET /v1/status", &headers), 403, "{headers}");
        let request = "POST /v1/services/app/restart?wait=30s";
        assert_eq!(status(port, request, &format!("{headers}{token}")), 403, "{headers}");
    }
    assert_eq!(status(port, "GET /v1/status", ""), 400, "without a host");
    assert_eq!(project.pid("app"), pid);
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n");
    assert_eq!(status(port, "GET /v1/status", &own), 200);
}

#[test]
fn livez_and_readyz_say_how_it_is() {
    let (project, port) = project("  slow: {command: sleep 1000, health: {exec: test -e well, interval: 100ms}}\n");
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    assert_eq!(status(port, "GET /livez", &host), 200);
    let (code, told) = body(port, "GET /readyz", &host);
    assert_eq!(code, 503);
    assert!(told.to_string().contains("slow") && !told.to_string().contains("app"), "{told:#}");
    project.write("well", "");
    wait_for("all to be ready", || status(port, "GET /readyz", &host) == 200);
    project.ok(&["stop", "slow"]);
    assert_eq!(status(port, "GET /readyz", &host), 200, "what is held is not wanted");
}

#[test]
fn events_and_logs_go_on_line_by_line() {
    let (project, port) = project("");
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let (code, events) = ask(port, "GET /v1/events?follow=true&since=seq:0", &host);
    assert_eq!(code, 200);
    let (code, logs) = ask(port, "GET /v1/services/app/logs?follow=true&n=50", &host);
    assert_eq!(code, 200);
    crate::support::kill(&project, project.pid("app"), 9);
    let mut words = vec![];
    for event in objects(events) {
        words.push(event["event"].as_str().expect("a word").to_owned());
        if words.iter().filter(|word| *word == "started").count() == 2 {
            break;
        }
    }
    assert!(words.contains(&"ended".to_owned()), "{words:?}");
    let lines: Vec<Value> = objects(logs).take(2).collect();
    assert_eq!((lines[0]["line"].as_str(), lines[1]["line"].as_str()), (Some("began 1"), Some("began 2")));
    assert_eq!(lines[1]["run"], 2);
    let sse = format!("{host}Accept: text/event-stream\r\n");
    let (_, stream) = ask(port, "GET /v1/events?follow=true&since=seq:0", &sse);
    assert!(stream.lines().map_while(Result::ok).any(|line| line.starts_with("data: {")), "no server-sent event");
}

/// The JSON objects of a stream; other lines are the frame of its chunks.
fn objects(stream: BufReader<TcpStream>) -> impl Iterator<Item = Value> {
    stream
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(&line).expect("one whole object a line"))
}

#[test]
fn a_door_beyond_loopback_needs_a_token_even_to_look() {
    let project = Project::new("web: {listen: '0.0.0.0:9'}\nservices:\n  app: {command: sleep 1000}\n");
    let refused = project.everup(&["up"]);
    assert_eq!(refused.status.code(), Some(5), "{}", crate::support::text(&refused.stderr));
    let port = free_port();
    let mut project = project;
    let open =
        format!("web: {{listen: '0.0.0.0:{port}', token_file: token}}\nservices:\n  app: {{command: sleep 1000}}\n");
    project.write("supervisor.yaml", &open);
    project.write("token", TOKEN);
    project.start(&["up"]);
    let host = "Host: app.example\r\n";
    assert_eq!(status(port, "GET /v1/status", host), 401);
    assert_eq!(status(port, "GET /v1/status", &format!("{host}Authorization: Bearer {TOKEN}\r\n")), 200);
}
