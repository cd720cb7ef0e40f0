//! Visitors who are slow, rude or many harm nobody but themselves.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::units::Now;
use crate::server::listener::Limits;
use crate::server::tests::canned;
use crate::server::tests::world::{Ways, World, eventually, raw};

/// Short limits, so that patience is seen to end.
fn hasty() -> Ways {
    let soon = Duration::from_millis(300);
    Ways { limits: Limits { head: soon, stall: soon, farewell: soon }, ..Ways::default() }
}

#[test]
fn half_a_request_is_dropped_and_the_others_are_served_meanwhile() {
    let world = World::with(hasty());
    let mut slow: Vec<UnixStream> = (0..8).map(|_| world.unix()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHos").unwrap();
    }
    assert_eq!(world.get("/readyz").status, 200);
    for stream in &mut slow {
        let mut rest = vec![];
        assert!(stream.read_to_end(&mut rest).is_ok_and(|_| !rest.starts_with(b"HTTP/1.1 200")));
    }
}

#[test]
fn beyond_the_cap_visitors_wait_until_others_leave() {
    let world = World::with(hasty());
    let idle: Vec<UnixStream> = (0..80).map(|_| world.unix()).collect();
    // The idle ones use up their time for a request; then there is room again.
    assert_eq!(world.get("/readyz").status, 200);
    drop(idle);
}

#[test]
fn a_crowd_that_says_nothing_makes_room_and_one_that_asks_is_served_whole() {
    let patient = Limits { head: Duration::from_mins(10), ..Limits::USUAL };
    let world = World::with(Ways { limits: patient, ..Ways::default() });
    let silent: Vec<UnixStream> = (0..150).map(|_| world.unix()).collect();
    let asking = || {
        let mut stream = world.unix();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let asking: Vec<UnixStream> = (0..100).map(|_| asking()).collect();
    for mut stream in asking {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    drop(silent);
}

#[test]
fn those_who_wait_and_stream_leave_room_for_questions() {
    let world = World::new();
    let mut followers = vec![];
    let mut refused = 0;
    for _ in 0..52 {
        let mut stream = world.unix();
        stream.write_all(b"GET /v1/events?follow=true&n=0 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut start = [0_u8; 12];
        stream.read_exact(&mut start).unwrap();
        refused += u32::from(start.ends_with(b"503"));
        followers.push(stream);
    }
    assert_eq!(refused, 4);
    assert_eq!(world.get("/v1/status").status, 200);
    followers.clear();
    eventually("places become free", || world.post("/v1/services/web/stop?wait=1s", "").status == 200);
}

#[test]
fn what_is_too_large_is_not_read() {
    let world = World::new();
    let large = "x".repeat(70_000);
    let reply = world.post("/v1/down", &large);
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    let chunked = format!(
        "POST /v1/up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    assert_eq!(raw(world.unix(), chunked.as_bytes()).status, 413);
    let announced = "POST /v1/down HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(raw(world.unix(), announced.as_bytes()).status, 413);
    let head = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: {large}\r\n\r\n");
    assert!(matches!(raw(world.unix(), head.as_bytes()).status, 431 | 0));
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[test]
fn a_question_with_a_body_is_refused_so_that_no_stream_outlives_its_reader() {
    let world = World::new();
    for body in ["Content-Length: 4\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n10\r\n{}"] {
        let request = format!("GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n{body}");
        let reply = raw(world.unix(), request.as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{reply:?}");
    }
}

#[test]
fn an_answer_nobody_takes_does_not_hold_its_place() {
    let many: Vec<String> = (0..600).map(|n| format!("service-{n}")).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 1)).collect();
    let world = World::with(Ways { status: canned::status(&many), ..hasty() });
    let mut lazy: Vec<UnixStream> = (0..70).map(|_| world.unix()).collect();
    for stream in &mut lazy {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    assert_eq!(world.get("/readyz").status, 200);
    let mut taken = vec![];
    let _ = lazy[0].read_to_end(&mut taken);
    let head = String::from_utf8_lossy(&taken[..400]).into_owned();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
    assert!(taken.len() < length, "it was given up");
}

#[test]
fn a_panic_ends_its_own_connection_only() {
    let broken: fn() -> Now = || panic!("the clock is broken, on purpose");
    let world = World::with(Ways { clock: broken, ..Ways::default() });
    let mut bystander = world.unix();
    assert_eq!(world.get("/v1/status").status, 0);
    bystander.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    bystander.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));
}

#[test]
fn who_leaves_while_waiting_is_given_up() {
    let world = World::new();
    let mut stream = world.unix();
    stream.write_all(b"POST /v1/services/stuck/stop?wait=30s HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    eventually("the loop is asked", || !world.asked.lock().unwrap().is_empty());
    drop(stream);
    eventually("the asker is missed", || *world.abandoned.lock().unwrap() == 1);
}

/// One server for all random visitors: what one of them breaks, the next would see.
fn shared() -> &'static World {
    static SHARED: OnceLock<World> = OnceLock::new();
    SHARED.get_or_init(|| World::with(hasty()))
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9/%?&=*+.:_-]{0,40}",
        "(web|worker|%2F|\\*|/2|%00|\\.\\./|%ff|\u{e9}){1,6}",
        "\\PC{0,20}",
        Just("x".repeat(3_000)),
    ]
}

fn odd_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("v1".to_owned()),
        Just("services".to_owned()),
        Just("web".to_owned()),
        Just("logs".to_owned()),
        Just("events".to_owned()),
        Just("up".to_owned()),
        Just("signal".to_owned()),
        Just("scale".to_owned()),
        Just("why".to_owned()),
        Just("probe".to_owned()),
        Just("start".to_owned()),
        odd_text(),
    ];
    let argument = (
        prop_oneof![
            Just("n".to_owned()),
            Just("since".to_owned()),
            Just("grep".to_owned()),
            Just("service".to_owned()),
            Just("services".to_owned()),
            Just("wait".to_owned()),
            Just("stream".to_owned()),
            odd_text()
        ],
        odd_text(),
    );
    (prop::collection::vec(segment, 0..6), prop::collection::vec(argument, 0..4)).prop_map(|(segments, arguments)| {
        let arguments: Vec<String> = arguments.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("/{}?{}", segments.join("/"), arguments.join("&"))
    })
}

fn odd_body() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "\\{\"(signal|instances|config|dry_run|start|force)\":(\"\\PC{0,8}\"|-?[0-9]{1,20}|true|null|\\[\\]|\\{\\})\\}",
        "[\\[{]{1,200}",
        odd_text(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_request_breaks_the_server(method in prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("OPTIONS")], path in odd_path(), body in odd_body()) {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let reply = raw(shared().unix(), head.as_bytes());
        prop_assert!(reply.status != 500 && reply.status != 0, "{head:?}: {reply:?}");
    }

    #[test]
    fn no_bytes_break_the_server(bytes in prop::collection::vec(any::<u8>(), 0..400), start in prop_oneof![Just(""), Just("GET /v1/logs?"), Just("POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: ")]) {
        let mut stream = shared().unix();
        let _ = stream.write_all(&[start.as_bytes(), &bytes].concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        prop_assert!(!answer.starts_with(b"HTTP/1.1 500"));
        prop_assert_eq!(shared().get("/readyz").status, 200);
    }
}
