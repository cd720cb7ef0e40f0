//! What each route answers.

use crate::model::service::{Desired, State};
use crate::server::routes::TABLE;
use crate::server::tests::world::{World, ask};

#[test]
fn every_route_of_the_table_is_served_and_documented() {
    let world = World::new();
    let document = world.get("/v1/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    for route in &TABLE {
        let method = route.method.as_str();
        let operation = &document["paths"][route.path][method.to_ascii_lowercase()];
        assert_eq!(operation["operationId"], route.name, "{}", route.path);
        let body = if route.name == "signal" { r#"{"signal":"HUP"}"# } else { r#"{"instances":2}"# };
        let body = if route.name == "upgrade" { r#"{"binary":"/usr/bin/everup"}"# } else { body };
        let takes = matches!(route.name, "signal" | "scale" | "upgrade");
        let body = if route.takes.is_some() && takes { body } else { "" };
        if route.name == "down" {
            continue; // ends the server; it has a test of its own
        }
        let reply = world.ask(method, &route.path.replace("{name}", "web"), body);
        assert!(matches!(reply.status, 200 | 202), "{method} {}: {reply:?}", route.path);
        let other = if method == "GET" { "DELETE" } else { "GET" };
        let refused = world.ask(other, &route.path.replace("{name}", "web"), "");
        assert_eq!((refused.status, refused.code().as_str()), (405, "method_not_allowed"), "{}", route.path);
        assert!(refused.header("allow").unwrap().contains(method), "{refused:?}");
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let world = World::new();
    let document = world.get("/v1/openapi.json").json();
    let mut references = vec![];
    gather(&document, &mut references);
    assert!(references.len() > 30);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let up = &document["components"]["schemas"]["UpBody"];
    assert_eq!(up.get("required"), None, "all of it may be left out: {up}");
    let status = &document["components"]["schemas"]["Status"];
    assert!(status["required"].as_array().unwrap().contains(&"warnings".into()), "always written: {status}");
}

fn gather(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            found.extend(map.get("$ref").and_then(|r| r.as_str()).map(str::to_owned));
            map.values().for_each(|value| gather(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| gather(value, found)),
        _ => {}
    }
}

#[test]
fn status_is_the_snapshot_with_the_times_of_now() {
    let world = World::new();
    let reply = world.get("/v1/status");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let status = reply.json();
    assert_eq!(status["v"], 1);
    assert_eq!(status["services"][0]["instances"][1]["name"], "web/2");
    assert_eq!(status["services"][0]["instances"][0]["uptime_ms"], 9_000);
    let head = world.ask("HEAD", "/v1/status", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn one_service_one_instance_or_all_that_a_glob_names() {
    let world = World::new();
    let names = |path: &str| -> Vec<String> {
        let reply = world.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let answer = reply.json();
        let services = answer.get("services").and_then(|s| s.as_array().cloned()).unwrap_or(vec![answer]);
        services
            .iter()
            .flat_map(|service| service["instances"].as_array().unwrap().clone())
            .map(|instance| instance["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for (path, expected) in [
        ("/v1/services/web", vec!["web/1", "web/2"]),
        ("/v1/services/web%2F2", vec!["web/2"]),
        ("/v1/services/web/2", vec!["web/2"]),
        ("/v1/services/worker/1", vec!["worker"]),
        ("/v1/services/w*", vec!["web/1", "web/2", "worker"]),
        ("/v1/services/wor*", vec!["worker"]),
    ] {
        assert_eq!(names(path), expected, "{path}");
    }
    assert!(world.get("/v1/services/wor*").json()["services"].is_array(), "a glob always gives a list");
}

#[test]
fn a_change_reaches_the_loop_with_who_asked_and_how_long_they_wait() {
    let world = World::new();
    let uid = nix::unistd::geteuid();
    for (path, body, status, asked) in [
        ("/v1/services/web/start", "", 202, "Start([Target { service: ServiceName(\"web\"), index: None }]) wait None"),
        (
            "/v1/services/web/2/stop?wait=30s",
            "",
            200,
            "Stop([Target { service: ServiceName(\"web\"), index: Some(2) }]) wait Some(30s)",
        ),
        (
            "/v1/services/web%2F2/stop",
            "",
            202,
            "Stop([Target { service: ServiceName(\"web\"), index: Some(2) }]) wait None",
        ),
        (
            "/v1/services/worker/restart",
            "",
            202,
            "Restart { targets: [Target { service: ServiceName(\"worker\"), index: None }], now: false } wait None",
        ),
        (
            "/v1/services/worker/restart?now=true&wait=1s",
            "",
            200,
            "Restart { targets: [Target { service: ServiceName(\"worker\"), index: None }], now: true } wait Some(1s)",
        ),
        (
            "/v1/services/worker/signal",
            r#"{"signal":"SIGHUP"}"#,
            200,
            "Signal { targets: [Target { service: ServiceName(\"worker\"), index: None }], signal: Signal(HUP) } wait None",
        ),
        (
            "/v1/services/web/scale",
            r#"{"instances":4}"#,
            202,
            "Scale { service: ServiceName(\"web\"), instances: 4 } wait None",
        ),
        ("/v1/up", "", 202, "up None [] dry_run false wait None"),
        ("/v1/up?wait=1s", r#"{"start":["web"]}"#, 200, "up None [ServiceName(\"web\")] dry_run false wait Some(1s)"),
        (
            "/v1/up",
            r#"{"config":"/srv/a.yaml","dry_run":true}"#,
            200,
            "up Some(\"/srv/a.yaml\") [] dry_run true wait None",
        ),
    ] {
        let reply = world.post(path, body);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(reply.json()["services"].is_array());
        let found = world.asked();
        assert_eq!(found.len(), 1, "{path}");
        assert!(found[0].starts_with(&format!("{asked} by uid {uid}")), "{path}: {found:?}");
    }
    let probed = world.post("/v1/services/w*/probe", "").json();
    assert_eq!((probed["ok"].as_bool(), probed["probes"].as_array().unwrap().len()), (Some(false), 2));
}

#[test]
fn what_cannot_be_is_refused_before_the_loop_hears_of_it() {
    let world = World::new();
    for (method, path, body, status, code) in [
        ("GET", "/v1/services/wbe", "", 404, "no_such_service"),
        ("POST", "/v1/services/web/3/stop", "", 404, "no_such_service"),
        ("POST", "/v1/services/x*/stop", "", 404, "no_such_service"),
        ("GET", "/v1/services/wbe/logs", "", 404, "no_such_service"),
        ("GET", "/v1/logs?services=web,wbe", "", 404, "no_such_service"),
        ("GET", "/v1/events?service=wbe", "", 404, "no_such_service"),
        ("GET", "/v1/services/w*/why", "", 400, "bad_request"),
        ("POST", "/v1/services/web/2/scale", r#"{"instances":1}"#, 400, "bad_request"),
        ("POST", "/v1/services/web/scale", r#"{"instances":1001}"#, 400, "bad_request"),
        ("POST", "/v1/services/web/scale", r#"{"instances":-1}"#, 400, "bad_request"),
        ("POST", "/v1/services/web/scale", "", 400, "bad_request"),
        ("POST", "/v1/services/web/signal", r#"{"signal":"HUPP"}"#, 400, "bad_request"),
        ("POST", "/v1/services/web/signal", r#"{"signal":"HUP","x":1}"#, 400, "bad_request"),
        ("POST", "/v1/services/web/stop?wait=soon", "", 400, "bad_request"),
        ("POST", "/v1/services/web/stop?now=true", "", 400, "bad_request"),
        ("POST", "/v1/up", r#"{"config":"a.yaml"}"#, 400, "bad_request"),
        ("POST", "/v1/up", r#"{"start":["a b"]}"#, 400, "bad_request"),
        ("POST", "/v1/down", "{", 400, "bad_request"),
        ("GET", "/v1/logs?n=many", "", 400, "bad_request"),
        ("GET", "/v1/logs?since=seq:3", "", 400, "bad_request"),
        ("GET", "/v1/logs?follow&previous", "", 400, "bad_request"),
        ("GET", "/v1/logs?grep=(", "", 400, "bad_request"),
        ("GET", "/v1/logs?stream=stdin", "", 400, "bad_request"),
        ("GET", "/v1/services/%ff", "", 400, "bad_request"),
        ("GET", "/nothing", "", 404, "not_found"),
        ("GET", "/v1/services/w*/history", "", 400, "bad_request"),
        ("GET", "/v1/services/wbe/history", "", 404, "no_such_service"),
        ("GET", "/v1/services/web/history?metric=cpuu", "", 400, "bad_request"),
        ("GET", "/v1/services/web/history?step=often", "", 400, "bad_request"),
        ("GET", "/v1/services/web/history?until=seq:3", "", 400, "bad_request"),
        ("GET", "/v1/services/web/history?since=1m&until=1h", "", 400, "bad_request"),
    ] {
        let reply = world.ask(method, path, body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path}: {reply:?}");
        assert_eq!(world.asked(), Vec::<String>::new(), "{path}");
    }
    let hint = world.get("/v1/services/wbe").json()["error"]["hint"].clone();
    assert_eq!(hint, "did you mean web?");
}

#[test]
fn the_loops_own_refusals_keep_their_meaning() {
    let world = World::new();
    for (path, body, status, code) in [
        ("/v1/services/slow/start?wait=1s", "", 504, "timed_out"),
        ("/v1/services/lost/start", "", 503, "unavailable"),
        ("/v1/up", r#"{"config":"/srv/bad.yaml"}"#, 400, "config_invalid"),
    ] {
        let reply = world.post(path, body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path}: {reply:?}");
    }
}

#[test]
fn livez_and_readyz_answer_machines() {
    let world = World::new();
    assert_eq!(world.get("/livez").json()["alive"], true);
    assert_eq!(world.get("/readyz").json()["ready"], true);
    world.status.send_modify(|status| {
        let mut changed = (**status).clone();
        changed.services[1].ready = false;
        changed.services[1].state = State::Backoff;
        changed.services[1].reason = Some("exited with 3".to_owned());
        *status = changed.into();
    });
    let reply = world.get("/readyz");
    assert_eq!((reply.status, &reply.json()["waiting_for"][0]["name"]), (503, &"worker".into()));
    let text = ask(world.unix(), "GET", "/readyz", &[("Accept", "text/plain")], "");
    assert_eq!((text.status, text.body.as_str()), (503, "not ready\nworker backoff: exited with 3\n"));
}

#[test]
fn readyz_turns_away_as_soon_as_everything_is_being_stopped_while_livez_does_not() {
    let world = World::new();
    world.status.send_modify(|status| {
        let mut changed = (**status).clone();
        changed.stopping = true;
        for service in &mut changed.services {
            // As the core has it then: nothing is wanted any more.
            service.desired = Desired::Down;
        }
        *status = changed.into();
    });
    let reply = world.get("/readyz");
    assert_eq!((reply.status, &reply.json()["ready"], &reply.json()["stopping"]), (503, &false.into(), &true.into()));
    let text = ask(world.unix(), "GET", "/readyz", &[("Accept", "text/plain")], "");
    assert_eq!((text.status, text.body.as_str()), (503, "not ready: everup is stopping\n"));
    assert_eq!(world.get("/livez").status, 200);
}
