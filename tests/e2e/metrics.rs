//! `/metrics` and `/sd`: what parsers and a real Prometheus make of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{PATIENCE, Project, data, free_port, get, kill, python, text, wait_for};

const OPEN: &str = "application/openmetrics-text; version=1.0.0";

/// Sends a request and reads the answer: its head and its body.
fn ask(port: u16, request: &str, accept: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let headers = format!("Host: 127.0.0.1:{port}\r\nAccept: {accept}\r\nContent-Length: 0\r\nConnection: close");
    write!(stream, "{request} HTTP/1.1\r\n{headers}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_ascii_lowercase(), body.to_owned()))
}

fn page(port: u16) -> String {
    ask(port, "GET /metrics", "*/*").expect("a page").1
}

/// The samples of a page, as a strict parser reads them.
fn parsed(format: &str, page: &str) -> BTreeMap<String, String> {
    let mut parser = Command::new(python())
        .arg(data("read_metrics.py"))
        .arg(format)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    // Written whole before anything is read: the parser reads it whole before it writes.
    parser.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = parser.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{format}: {}\n{page}", text(&output.stderr));
    let samples: Vec<(String, BTreeMap<String, String>, String)> =
        serde_json::from_slice(&output.stdout).expect("samples");
    let count = samples.len();
    let named: BTreeMap<String, String> =
        samples.into_iter().map(|(name, labels, value)| (format!("{name}{labels:?}"), value)).collect();
    assert_eq!(named.len(), count, "no series stands there twice");
    named
}

/// The value of one series of a classic page; none: it is not there.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The sum of all series of this beginning.
fn sum(page: &str, start: &str) -> f64 {
    page.lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

fn app(name: &str) -> String {
    data(&format!("access/{name}")).display().to_string()
}

#[test]
fn strict_parsers_read_the_page_in_both_formats_alike() {
    let (door, port) = (free_port(), free_port());
    let project = Project::up(&format!(
        "web: {{listen: '127.0.0.1:{door}'}}\nservices:\n  web:\n    command: [{python}, {app}, '{port}']\n    \
         health: 'http://127.0.0.1:{port}/health'\n    log_metrics: [tornado]\n  \
         crash:\n    command: sh -c 'exit 3'\n    restart: {{delay: 20ms, limit: {{count: 3, then: stop}}}}\n  idle:\n    \
         command: sleep 1000\n    instances: 2\n  off:\n    command: sleep 1000\n    enabled: false\n",
        python = python().display(),
        app = app("tornado_app.py"),
    ));
    project.wait_ready("web");
    project.wait_service("crash", "to be given up", |crash| crash["state"] == "failed");
    wait_for("an access line", || page(door).contains("everup_http_requests_total{"));
    let (head, open) = ask(door, "GET /metrics", OPEN).expect("a page");
    assert!(head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let (head, classic) = ask(door, "GET /metrics", "text/plain").expect("a page");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let (head, body) = ask(door, "HEAD /metrics", OPEN).expect("a head");
    assert!(head.starts_with("http/1.1 200") && head.contains("application/openmetrics-text") && body.is_empty());
    let (head, _) = ask(door, "POST /metrics", OPEN).expect("an answer");
    assert!(head.starts_with("http/1.1 4"), "{head}");
    let (open, classic) = (parsed("openmetrics", &open), parsed("classic", &classic));
    let (in_open, in_classic): (BTreeSet<_>, BTreeSet<_>) = (open.keys().collect(), classic.keys().collect());
    assert_eq!(in_open, in_classic);
    let crashed = r#"everup_service_restarts_total{"instance": "1", "reason": "exit", "service": "crash"}"#;
    assert_eq!((open.get(crashed), classic.get(crashed)), (Some(&"3.0".to_owned()), Some(&"3.0".to_owned())));
    for series in [
        r#"everup_service_state{"instance": "1", "service": "off", "state": "stopped"}"#,
        r#"everup_service_up{"instance": "2", "service": "idle"}"#,
        r#"everup_probe_success{"instance": "1", "probe": "liveness", "service": "web"}"#,
        r#"everup_probe_duration_seconds_bucket{"instance": "1", "le": "+Inf", "probe": "liveness", "service": "web"}"#,
    ] {
        assert!(open.contains_key(series), "{series} in {in_open:#?}");
    }
    for labels in open.keys().filter(|series| series.contains(r#""service": "#)) {
        assert!(labels.contains(r#""instance": "#) && !labels.contains("pid") && !labels.contains("run\""), "{labels}");
    }
}

#[test]
fn counters_go_on_over_restarts_and_agree_with_status() {
    let door = free_port();
    let project = Project::up(&format!(
        "web: {{listen: '127.0.0.1:{door}'}}\nservices:\n  busy:\n    \
         command: sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $i; exec sleep 1000'\n    \
         restart: {{delay: 20ms}}\n  stubborn:\n    command: sh -c 'trap \"\" TERM; while :; do sleep 0.05; done'\n    \
         stop: {{timeout: 200ms}}\n"
    ));
    let series = |name: &str, labels: &str| format!("{name}{{service=\"busy\",instance=\"1\"{labels}}}");
    let cpu = |page: &str| sum(page, "everup_service_cpu_seconds_total{service=\"busy\"");
    let written = || value(&page(door), &series("everup_log_bytes_total", ",stream=\"stdout\""));
    let mut used = 0.0;
    for (round, bytes) in [(1, 6.0), (2, 12.0), (3, 18.0)] {
        project.wait_ready("busy");
        wait_for("the line of this run", || written() == Some(bytes));
        wait_for("CPU time of this run", || cpu(&page(door)) > used);
        let before = page(door);
        used = cpu(&before);
        // Not SIGKILL: while the kernel kills others for memory, that could be the reason too.
        kill(&project, project.pid("busy"), 15);
        project.wait_service("busy", "to be restarted", |busy| busy["restarts"] == round);
        assert!(cpu(&page(door)) >= used, "nothing is taken away");
    }
    wait_for("the line of the run after these", || written() == Some(24.0));
    project.ok(&["restart", "busy"]);
    project.ok(&["restart", "stubborn"]);
    let now = page(door);
    let restarts =
        |reason: &str| value(&now, &series("everup_service_restarts_total", &format!(",reason=\"{reason}\"")));
    assert_eq!((restarts("signal"), restarts("user"), restarts("exit")), (Some(3.0), Some(1.0), Some(0.0)));
    assert_eq!(
        Some(sum(&now, "everup_service_restarts_total{service=\"busy\"")),
        project.service("busy")["restarts"].as_f64()
    );
    assert_eq!(value(&now, &series("everup_service_starts_total", "")), Some(5.0));
    assert_eq!(value(&now, &series("everup_service_exits_total", ",kind=\"signal\"")), Some(4.0));
    // SIGTERM, as the restart has sent it.
    assert_eq!(value(&now, &series("everup_service_last_exit_code", "")), Some(143.0));
    assert_eq!(value(&now, &series("everup_service_stop_duration_seconds_count", "")), Some(1.0));
    wait_for("the output of all runs to be counted", || written() == Some(30.0));
    let stubborn = |name: &str| format!("{name}{{service=\"stubborn\",instance=\"1\"");
    assert_eq!(value(&now, &format!("{}}}", stubborn("everup_service_kills_total"))), Some(1.0));
    assert_eq!(value(&now, &format!("{},kind=\"timeout\"}}", stubborn("everup_service_exits_total"))), Some(1.0));
    assert!(sum(&now, &stubborn("everup_service_stop_duration_seconds_sum")) >= 0.2);
}

#[test]
fn access_lines_of_real_servers_become_requests() {
    let (door, ports) = (free_port(), [free_port(), free_port(), free_port()]);
    let python = python().display();
    let folder = data("access").display().to_string();
    let [tornado, uvicorn, gunicorn] = ports;
    let project = Project::up(&format!(
        "web: {{listen: '127.0.0.1:{door}'}}\nservices:\n  \
         tornado:\n    command: [{python}, {app}, '{tornado}']\n    health: tcp://127.0.0.1:{tornado}\n    log_metrics: [tornado]\n  \
         uvicorn:\n    command: [{python}, -m, uvicorn, --port, '{uvicorn}', 'asgi:app']\n    cwd: {folder}\n    health: tcp://127.0.0.1:{uvicorn}\n    log_metrics: [uvicorn]\n  \
         gunicorn:\n    command: [{python}, -m, gunicorn, --no-control-socket, --access-logfile, '-', --bind, '127.0.0.1:{gunicorn}', 'wsgi:app']\n    cwd: {folder}\n    health: tcp://127.0.0.1:{gunicorn}\n    log_metrics: [gunicorn]\n  \
         silent:\n    command: sleep 1000\n    log_metrics: [nginx, {{pattern: '(?<method>[A-Z]+) (?<code>\\d{{3}})'}}]\n",
        app = app("tornado_app.py"),
    ));
    for (name, port) in ["tornado", "uvicorn", "gunicorn"].into_iter().zip(ports) {
        project.wait_ready(name);
        for path in ["/", "/health?x=1", "/boom"] {
            assert!(get(port, path).is_some());
        }
        assert!(ask(port, "POST /", "*/*").is_some_and(|(head, _)| head.contains(" 201 ")));
        let series = |method: &str, code: u16| {
            format!(
                "everup_http_requests_total{{service=\"{name}\",instance=\"1\",method=\"{method}\",code=\"{code}\"}}"
            )
        };
        let mut seen = String::new();
        wait_for(&format!("the requests of {name}"), || {
            seen = page(door);
            sum(&seen, &format!("everup_http_requests_total{{service=\"{name}\"")) >= 4.0
        });
        let counts =
            [("GET", 200), ("GET", 500), ("POST", 201)].map(|(method, code)| value(&seen, &series(method, code)));
        assert_eq!(counts, [Some(2.0), Some(1.0), Some(1.0)], "{name}");
        let timed =
            value(&seen, &format!("everup_http_request_duration_seconds_count{{service=\"{name}\",instance=\"1\"}}"));
        assert_eq!(timed, (name == "tornado").then_some(4.0), "only Tornado says how long it took");
        let overview: Value =
            serde_json::from_str(&ask(door, "GET /v1/overview", "*/*").expect("an overview").1).expect("JSON");
        let services = overview["services"].as_array().expect("services");
        let requests = |name: &str| {
            services.iter().find(|service| service["name"] == name).expect("it is there")["requests"].clone()
        };
        assert_eq!(requests(name), serde_json::json!({"seen": 4, "last_minute": 4, "errors_last_minute": 1}));
        assert_eq!(requests("silent")["seen"], 0);
    }
    assert!(!page(door).contains("everup_http_requests_total{service=\"silent\""), "no lines, no series");
}

#[test]
fn children_that_serve_metrics_are_listed_while_they_run() {
    let (door, port) = (free_port(), free_port());
    let project = Project::up(&format!(
        "name: shop\nweb: {{listen: '127.0.0.1:{door}'}}\nservices:\n  api:\n    command: sleep 1000\n    instances: 2\n    \
         metrics: {{port: {port}, path: /m}}\n  plain:\n    command: sleep 1000\n"
    ));
    project.wait_ready("api");
    let listed =
        || serde_json::from_str::<Value>(&ask(door, "GET /sd", "application/json").expect("a list").1).expect("JSON");
    let target = |number: u16| {
        let labels = serde_json::json!({"__metrics_path__": "/m", "project": "shop", "service": "api", "service_instance": number.to_string()});
        serde_json::json!({"targets": [format!("127.0.0.1:{}", port + number - 1)], "labels": labels})
    };
    assert_eq!(listed(), serde_json::json!([target(1), target(2)]));
    let (head, _) = ask(door, "GET /sd", "*/*").expect("a list");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    project.ok(&["stop", "api/1"]);
    assert_eq!(listed(), serde_json::json!([target(2)]));
}

fn packaged(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name))
        .expect("a file of packaging/")
}

/// Every expression of the dashboard, for all services.
fn expressions_of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&packaged("grafana/everup.json")).expect("JSON");
    assert_eq!((&dashboard["uid"], &dashboard["id"]), (&Value::from("everup"), &Value::Null));
    let variables: Vec<&Value> =
        dashboard["templating"]["list"].as_array().expect("variables").iter().map(|v| &v["name"]).collect();
    assert_eq!(variables, ["datasource", "service"]);
    let mut expressions = vec![];
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel:#}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{} has a unit", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            let expression = target["expr"].as_str().expect("an expression");
            expressions.push(expression.replace("$__rate_interval", "1m").replace("$service", ".*"));
        }
    }
    expressions
}

#[test]
fn what_is_packaged_names_only_metrics_that_exist() {
    let reference = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md"));
    let reference = reference.expect("the reference");
    let known: BTreeMap<&str, &str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let mut text = expressions_of_dashboard().join("\n");
    text.push_str(&packaged("prometheus/rules.yml"));
    let mut seen = 0;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))) {
        if !(word.starts_with("everup_") || word.starts_with("process_")) {
            continue;
        }
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        let exists = known.contains_key(word) || bare.is_some_and(|bare| known.get(bare) == Some(&"histogram"));
        assert!(exists, "{word} is no metric of everup");
        seen += 1;
    }
    assert!(seen > 60, "{seen} names were looked at");
}

/// A process of this test, ended with it.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It is our own child, so its pid cannot have been given away.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn promtool(args: &[&str], input: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    let promtool = Command::new("promtool")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool is installed");
    // One that does not read its input closes it.
    let _ = promtool.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = promtool.wait_with_output().expect("it ends");
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {told}");
}

/// How many series an expression gives now.
fn series_of(prometheus: u16, expression: &str) -> usize {
    let encoded = expression.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let Some((_, body)) = get(prometheus, &format!("/api/v1/query?query={encoded}")) else { return 0 };
    // Prometheus sends long answers in chunks.
    let json = &body[body.find('{').unwrap_or(0)..=body.rfind('}').unwrap_or(0)];
    let answer: Value =
        serde_json::from_str(&unchunked(&body)).or_else(|_| serde_json::from_str(json)).unwrap_or(Value::Null);
    assert_ne!(answer["status"], "error", "{expression}: {answer}");
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

/// A body that came in chunks, as one.
fn unchunked(body: &str) -> String {
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return body.to_owned() };
        let Some(chunk) = behind.get(..size) else { return body.to_owned() };
        whole.push_str(chunk);
        rest = behind.get(size + 2..).unwrap_or_default();
    }
    if whole.is_empty() { body.to_owned() } else { whole }
}

/// A project in which everything that the rules watch for goes wrong.
fn troubled(door: u16, ports: [u16; 4]) -> String {
    let [web, slow, sick, exporter] = ports;
    let (python, tornado) = (python().display(), data("tornado/app.py").display().to_string());
    format!(
        "web: {{listen: '127.0.0.1:{door}'}}\nhistory: {{interval: 1s}}\nservices:\n  \
         web:\n    command: [{python}, {access}, '{web}']\n    health: {{http: 'http://127.0.0.1:{web}/', interval: 500ms}}\n    log_metrics: [tornado]\n  \
         slow:\n    command: [{python}, {tornado}, '{slow}']\n    health: {{http: 'http://127.0.0.1:{slow}/slow?s=0.7', interval: 500ms}}\n  \
         sick:\n    command: [{python}, {tornado}, '{sick}']\n    health: {{readiness: {{http: 'http://127.0.0.1:{sick}/nowhere', interval: 500ms}}}}\n  \
         crash:\n    command: sh -c 'sleep 0.2; exit 3'\n    restart: {{delay: 100ms, max_delay: 500ms, limit: {{count: 1000}}}}\n  \
         lost:\n    command: /no/such/program\n    restart: {{delay: 60s, max_delay: 60s}}\n  \
         given-up:\n    command: sh -c 'exit 1'\n    restart: {{delay: 10ms, limit: {{count: 1, then: stop}}}}\n  \
         stubborn:\n    command: sh -c 'trap \"\" TERM; while :; do sleep 0.05; done'\n    stop: {{timeout: 200ms}}\n  \
         picky:\n    command: sleep 1000\n    watch: {{paths: [code], check: 'false'}}\n  \
         files:\n    command: [{python}, -c, 'import time; f = [open(\"/dev/null\") for _ in range(56)]; time.sleep(1000)']\n    limits: {{open_files: 64}}\n  \
         loud:\n    command: sh -c 'while :; do echo loud; sleep 0.1; done'\n    logs: {{file: /dev/full}}\n  \
         full:\n    command: [{python}, -c, 'import time; b = bytearray(112 << 20); time.sleep(1000)']\n    limits: {{memory: 128MiB}}\n  \
         greedy:\n    command: [{python}, -c, 'import time; time.sleep(2); b = bytearray(256 << 20)']\n    limits: {{memory: 64MiB}}\n    restart: {{delay: 100ms, max_delay: 1s, limit: {{count: 1000}}}}\n  \
         exporter:\n    command: [{python}, {exporting}, '{exporter}']\n    metrics: {{port: {exporter}}}\n",
        access = app("tornado_app.py"),
        exporting = data("exporter.py").display(),
    )
}

#[test]
#[ignore = "needs Prometheus: tests/peers/setup installs it"]
fn a_real_prometheus_gets_an_answer_to_every_packaged_expression() {
    promtool(&["check", "rules", "rules.yml"], "");
    promtool(&["test", "rules", "rules_test.yml"], "");
    let (door, prometheus) = (free_port(), free_port());
    let mut project = Project::new(&troubled(door, [free_port(), free_port(), free_port(), free_port()]));
    std::fs::create_dir(project.path("code")).expect("a folder");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/rules.yml");
    let config = packaged("prometheus/prometheus.yml")
        .replace("127.0.0.1:9876", &format!("127.0.0.1:{door}"))
        .replace("15s", "1s")
        .replace("- rules.yml", &format!("- {}", rules.display()));
    project.write("prometheus.yml", &config);
    let log = std::fs::File::create(project.path("prometheus.log")).expect("a file");
    let peer = Command::new("prometheus")
        .arg(format!("--config.file={}", project.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", project.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{prometheus}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _peer = Peer(peer.expect("prometheus is installed"));
    wait_for("Prometheus to be ready", || get(prometheus, "/-/ready").is_some_and(|(status, _)| status == 200));
    let absent = "absent(everup_build_info)";
    assert_eq!(series_of(prometheus, absent), 1);
    project.start(&["up"]);
    wait_for("a scrape of everup", || series_of(prometheus, "up{job=\"everup\"} == 1") == 1);
    wait_for("a scrape of a child", || series_of(prometheus, "orders_total{service=\"exporter\"}") == 1);
    project.wait_ready("web");
    project.wait_ready("stubborn");
    // Counters are seen to grow only from one scrape to another.
    wait_for("counts of nothing", || {
        series_of(prometheus, "everup_service_kills_total{service=\"stubborn\"} == 0") == 1
    });
    project.ok(&["restart", "stubborn"]);
    project.ok(&["reload", "web", "--wait=30s"]);
    project.write("code/new.py", "changed");
    assert!(!project.everup(&["reload", "picky", "--wait=30s"]).status.success());
    let file = project.read("supervisor.yaml");
    project.write("supervisor.yaml", "services: {web: {comand: x}}\n");
    project.hang_up();
    wait_for("the file to be refused", || project.events().iter().any(|event| event["event"] == "config_rejected"));
    project.write("supervisor.yaml", &file);
    project.wait_ready("web");
    let web = file
        .split("health: {http: 'http://127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .and_then(|port| port.parse().ok());
    let web: u16 = web.expect("the port of web");
    promtool(&["check", "metrics"], &page(door));
    let limited = page(door).contains("everup_service_memory_limit_bytes{");
    let counts_waits = page(door).contains("everup_service_io_wait_seconds_total{");
    let mut expressions = expressions_of_dashboard();
    let rules = get(prometheus, "/api/v1/rules").expect("the rules").1;
    let rules: Value = serde_json::from_str(&unchunked(&rules)).expect("JSON");
    for group in rules["data"]["groups"].as_array().expect("groups") {
        expressions.extend(
            group["rules"]
                .as_array()
                .expect("rules")
                .iter()
                .filter_map(|rule| Some(rule["query"].as_str()?.to_owned())),
        );
    }
    expressions.retain(|expression| expression != absent);
    // What this machine does not count, or does not allow to be brought about, is absent and not 0.
    let has = |expression: &str, name: &str| expression.contains(name);
    expressions.retain(|e| limited || !(has(e, "memory_limit_bytes") || has(e, "oom")));
    expressions.retain(|e| counts_waits || !has(e, "io_wait"));
    assert!(expressions.len() > 50, "{expressions:#?}");
    let mut unanswered = expressions.clone();
    let done = std::time::Instant::now() + PATIENCE;
    while !unanswered.is_empty() && std::time::Instant::now() < done {
        assert!(get(web, "/").is_some() && get(web, "/boom").is_some());
        unanswered.retain(|expression| series_of(prometheus, expression) == 0);
    }
    assert!(unanswered.is_empty(), "no data for {unanswered:#?}");
    let alerts = get(prometheus, "/api/v1/alerts").expect("alerts").1;
    assert!(alerts.contains("EverupServiceFailed") && alerts.contains("given-up"), "{alerts}");
    project.ok(&["down"]);
    wait_for("nothing to be scraped", || series_of(prometheus, absent) == 1);
}
