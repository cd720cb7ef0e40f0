//! Streams: history first, then what comes, and nothing held up by those who do not read.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use crate::server::tests::world::{World, ask, eventually};

/// Opens a stream and reads its head.
fn follow(world: &World, path: &str, headers: &str) -> BufReader<UnixStream> {
    let mut stream = world.unix();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    reader
}

/// The next line that is neither empty nor a chunk's length.
fn next(reader: &mut impl BufRead) -> Option<String> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let line = line.trim();
        if line == "0" {
            return None;
        }
        if line.starts_with('{') || line.contains(": ") {
            return Some(line.to_owned());
        }
    }
}

fn seq(line: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    value["seq"].as_u64().unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn events_come_first_from_the_past_then_live_each_once() {
    let world = World::new();
    (1..=5).for_each(|seq| world.event(seq));
    let whole = world.get("/v1/events?since=seq:2");
    assert_eq!(whole.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(whole.body.lines().map(seq).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(world.get("/v1/events?n=1").body.lines().map(seq).collect::<Vec<_>>(), [5]);
    let mut stream = follow(&world, "/v1/events?since=seq:2&follow=true", "");
    let past: Vec<u64> = (0..3).map(|_| seq(&next(&mut stream).unwrap())).collect();
    assert_eq!(past, [3, 4, 5]);
    world.event(6);
    assert_eq!(seq(&next(&mut stream).unwrap()), 6);
    world.shutdown.send(true).unwrap();
    assert_eq!(next(&mut stream), None, "the end is an end, not a break");
}

#[test]
fn events_are_picked_by_selector() {
    let world = World::new();
    (1..=6).for_each(|seq| world.event(seq));
    for (path, expected) in [
        ("/v1/events?service=web", vec![2, 4, 6]),
        ("/v1/events?service=web/2", vec![2, 4, 6]),
        ("/v1/events?service=web%2F1", vec![]),
        ("/v1/events?service=worker/1&n=2", vec![3, 5]),
        ("/v1/events?service=w*", vec![1, 2, 3, 4, 5, 6]),
    ] {
        assert_eq!(world.get(path).body.lines().map(seq).collect::<Vec<_>>(), expected, "{path}");
    }
}

#[test]
fn missing_numbers_are_said_to_be_missing() {
    let world = World::new();
    world.event(10);
    assert_eq!(world.get("/v1/events?since=seq:2").body.lines().next(), Some(r#"{"lost":7}"#));
    assert_eq!(world.get("/v1/events?since=seq:9").body.lines().map(seq).collect::<Vec<_>>(), [10]);
}

#[test]
fn server_sent_events_resume_where_they_stopped() {
    let world = World::new();
    (1..=5).for_each(|seq| world.event(seq));
    let reply =
        ask(world.unix(), "GET", "/v1/events?since=1h", &[("Accept", "text/event-stream"), ("Last-Event-ID", "4")], "");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let (id, data) = reply.body.trim_end().split_once('\n').unwrap();
    assert_eq!(id, "id: 5");
    assert_eq!(seq(data.strip_prefix("data: ").unwrap()), 5);
    let mut stream = follow(&world, "/v1/events?follow&n=0", "Accept: text/event-stream\r\n");
    world.event(6);
    assert_eq!(next(&mut stream).unwrap(), "id: 6");
}

#[test]
fn a_reader_that_falls_behind_is_told_how_much_it_lost() {
    const EVENTS: u64 = 20_000;
    let world = World::new();
    let mut stream = follow(&world, "/v1/events?follow=true&n=0", "");
    // The channel holds 16, the connection some hundred KiB: most of these find no place.
    (1..=EVENTS).for_each(|seq| world.event(seq));
    assert_eq!(world.get("/readyz").status, 200, "others are served meanwhile");
    let (mut lost, mut last, mut seen) = (0, 0, 0);
    while last < EVENTS {
        let line = next(&mut stream).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(n) = value["lost"].as_u64() {
            lost += n;
            continue;
        }
        assert!(seq(&line) > last, "in order and once");
        last = seq(&line);
        seen += 1;
    }
    assert!(lost > 0);
    assert_eq!(seen + lost, EVENTS);
}

#[test]
fn a_follower_of_silent_logs_waits_and_ends_with_everup() {
    let world = World::new();
    let mut stream = follow(&world, "/v1/logs?follow=true", "");
    assert_eq!(world.get("/v1/services/web/logs?n=5&since=10m").body, "");
    world.shutdown.send(true).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.trim(), "0");
}

#[test]
fn an_answer_under_way_is_delivered_although_the_door_closes() {
    let world = World::new();
    let reply = world.post("/v1/down?wait=5s", r#"{"force":true}"#);
    assert_eq!((reply.status, &reply.json()["done"]), (200, &true.into()));
    assert!(world.asked()[0].starts_with("Down { force: true } wait Some(5s)"));
    eventually("nobody listens any more", || UnixStream::connect(&world.socket).is_err());
}
