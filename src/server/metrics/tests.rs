//! Pages of a project that exists only as its status.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;
use crate::meter::Meter;
use crate::model::event::{EventWord, Fact, ReloadOutcome};
use crate::model::log::LogBytes;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::AccessFormat;
use crate::model::probe::{Failure, ProbeRole, Verdict};
use crate::model::service::{Cause, Certainty, State};
use crate::model::signal::Signal;
use crate::model::status::{LastEnd, Status};
use crate::model::units::{Moment, Timestamp};
use crate::model::usage::{CpuSeconds, Disk, HostUsage, Sample, Usage};
use crate::os::own::OwnProcess;
use crate::server::tests::canned;

/// A project in which every family has something to say.
fn lived() -> Scene {
    let mut status = canned::status(&[("web", 2), ("db", 1)]);
    let web = &mut status.services[0].instances[0];
    web.state = State::Backoff;
    web.last_end = Some(LastEnd {
        run: Run(3),
        cause: Cause::Signal,
        certainty: Certainty::Certain,
        code: None,
        signal: Some(Signal::KILL),
        at: Timestamp(0),
        ran_ms: 5,
    });
    let meter = Meter::default();
    let id = InstanceId { service: status.services[0].name.clone(), index: 1 };
    let fact =
        |event| Fact { service: Some(id.service.clone()), index: Some(1), run: Some(Run(4)), ..Fact::new(event) };
    meter.happened(&fact(EventWord::Starting), Moment(0));
    meter.happened(&fact(EventWord::Ready), Moment(70));
    meter.happened(&fact(EventWord::Stopping), Moment(100));
    meter.killed(&id, Run(4));
    meter.happened(&Fact { cause: Some(Cause::User), ..fact(EventWord::Ended) }, Moment(1_000));
    meter.gone(&id, Moment(1_100));
    meter.happened(&Fact { restart: Some(Cause::Exit), ..fact(EventWord::Starting) }, Moment(2_000));
    meter.happened(&Fact { delay_ms: Some(500), ..fact(EventWord::Backoff) }, Moment(3_000));
    let reloaded = Fact {
        cause: Some(Cause::Watch),
        reload: Some(ReloadOutcome::Ok),
        ran_ms: Some(30),
        ..Fact::new(EventWord::ReloadDone)
    };
    meter.happened(&Fact { service: Some(id.service.clone()), ..reloaded }, Moment(4_000));
    let passed = Verdict::Pass { message: "200 OK".to_owned() };
    meter.probed(&id, ProbeRole::Liveness, &passed, 4.0, Timestamp(0));
    let refused = Verdict::Fail { message: "connection refused".to_owned(), how: Failure::Refused };
    meter.probed(&id, ProbeRole::Liveness, &refused, 0.5, Timestamp(1));
    meter.logged(vec![(id.clone(), LogBytes { stdout: 10, stderr: 20, dropped: 1 })]);
    let lines = crate::meter::access_line::AccessLines::new(&[AccessFormat::Tornado]).unwrap();
    meter.requested(&id, &[lines.read("200 GET /health (127.0.0.1) 0.81ms").unwrap()], Moment(0));
    meter.config_reloaded(true);
    let usage = Usage {
        cpu_user_us: 1_500_000,
        cpu_system_us: 250_000,
        memory_bytes: 1_048_576,
        processes: 2,
        threads: 3,
        open_fds: 7,
        max_fds: Some(1_024),
        read_bytes: Some(4_096),
        written_bytes: Some(8_192),
        io_wait_us: Some(2_000),
        voluntary_switches: 11,
        involuntary_switches: 12,
        minor_faults: 13,
        major_faults: 14,
        oom_kills: Some(1),
        memory_limit_bytes: Some(2_097_152),
        ..Usage::default()
    };
    let sample =
        Sample { instance: id, label: "web/1".to_owned(), run: Run(5), at: Timestamp(5), usage, probe_ms: None };
    let disk = Disk { mountpoint: "/srv/\"a\\b\"".to_owned(), total_bytes: 9, available_bytes: 5 };
    let host = HostUsage {
        memory_bytes: 100,
        memory_available_bytes: 60,
        load: [0.5, 0.25, 0.125],
        cpu_seconds: CpuSeconds { user: 1.5, idle: 9.0, ..CpuSeconds::default() },
        disks: vec![disk.clone(), disk],
        ..HostUsage::default()
    };
    meter.sampled(&[sample], host);
    let own = OwnProcess {
        cpu_seconds: 0.5,
        resident_bytes: 9,
        virtual_bytes: 10,
        open_fds: 11,
        max_fds: Some(12),
        start_seconds: 1.25,
    };
    let figures = meter.read();
    Scene::new(status, &figures, Some(own))
}

/// A project about which nothing is known yet.
fn newborn(status: Status) -> Scene {
    Scene::new(status, &Meter::default().read(), None)
}

fn lines_of<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(part)).collect()
}

#[test]
fn a_page_reads_as_written_in_both_formats() {
    let open = write(lived(), Format::OpenMetrics).unwrap();
    let classic = write(lived(), Format::Classic).unwrap();
    assert!(open.ends_with("\n# EOF\n") && !classic.contains("# EOF") && !classic.contains("# UNIT"));
    assert_eq!(
        lines_of(&open, "everup_service_cpu_seconds"),
        [
            "# HELP everup_service_cpu_seconds CPU time of its process trees, all runs together, in seconds; mode is user or system.",
            "# TYPE everup_service_cpu_seconds counter",
            "# UNIT everup_service_cpu_seconds seconds",
            "everup_service_cpu_seconds_total{service=\"web\",instance=\"1\",mode=\"user\"} 1.5",
            "everup_service_cpu_seconds_total{service=\"web\",instance=\"1\",mode=\"system\"} 0.25",
            "everup_service_cpu_seconds_total{service=\"web\",instance=\"2\",mode=\"user\"} 0.0",
            "everup_service_cpu_seconds_total{service=\"web\",instance=\"2\",mode=\"system\"} 0.0",
            "everup_service_cpu_seconds_total{service=\"db\",instance=\"1\",mode=\"user\"} 0.0",
            "everup_service_cpu_seconds_total{service=\"db\",instance=\"1\",mode=\"system\"} 0.0",
        ]
    );
    assert_eq!(
        lines_of(&classic, "everup_build"),
        [
            "# HELP everup_build_info Which everup this is.",
            "# TYPE everup_build_info gauge",
            "everup_build_info{version=\"0.1.0\"} 1",
        ]
    );
    let expected = [
        "everup_service_restarts_total{service=\"web\",instance=\"1\",reason=\"exit\"} 1",
        "everup_service_exits_total{service=\"web\",instance=\"1\",kind=\"timeout\"} 1",
        "everup_service_last_exit_code{service=\"web\",instance=\"1\"} 137.0",
        "everup_service_backoff_seconds{service=\"web\",instance=\"1\"} 0.5",
        "everup_service_backoff_seconds{service=\"db\",instance=\"1\"} 0.0",
        "everup_service_kills_total{service=\"web\",instance=\"1\"} 1",
        "everup_service_state{service=\"web\",instance=\"1\",state=\"backoff\"} 1",
        "everup_service_state{service=\"web\",instance=\"1\",state=\"running\"} 0",
        "everup_service_startup_duration_seconds_bucket{le=\"0.05\",service=\"web\",instance=\"1\"} 0",
        "everup_service_startup_duration_seconds_bucket{le=\"0.1\",service=\"web\",instance=\"1\"} 1",
        "everup_service_startup_duration_seconds_bucket{le=\"+Inf\",service=\"web\",instance=\"1\"} 1",
        "everup_service_stop_duration_seconds_sum{service=\"web\",instance=\"1\"} 1.0",
        "everup_probe_results_total{service=\"web\",instance=\"1\",probe=\"liveness\",outcome=\"refused\"} 1",
        "everup_probe_success{service=\"web\",instance=\"1\",probe=\"liveness\"} 0",
        "everup_reloads_total{service=\"web\",instance=\"1\",trigger=\"watch\",outcome=\"ok\"} 1",
        "everup_log_bytes_total{service=\"web\",instance=\"1\",stream=\"stderr\"} 20",
        "everup_log_dropped_bytes_total{service=\"web\",instance=\"1\"} 1",
        "everup_http_requests_total{service=\"web\",instance=\"1\",method=\"GET\",code=\"200\"} 1",
        "everup_http_request_duration_seconds_bucket{le=\"0.001\",service=\"web\",instance=\"1\"} 1",
        "everup_service_io_wait_seconds_total{service=\"web\",instance=\"1\"} 0.002",
        "everup_service_memory_limit_bytes{service=\"web\",instance=\"1\"} 2097152",
        "everup_host_filesystem_avail_bytes{mountpoint=\"/srv/\\\"a\\\\b\\\"\"} 5",
        "everup_host_load1 0.5",
        "everup_config_reloads_total{outcome=\"ok\"} 1",
        "everup_start_time_seconds 1763632800.0",
        "process_open_fds 11",
    ];
    for text in [&open, &classic] {
        for line in expected {
            assert_eq!(text.lines().filter(|other| other == &line).count(), 1, "{line}\n{text}");
        }
    }
}

#[test]
fn every_cause_is_there_from_the_beginning_and_what_is_unknown_is_not() {
    let text = write(newborn(canned::status(&[("web", 1)])), Format::Classic).unwrap();
    for cause in Cause::ALL {
        let line = format!("everup_service_restarts_total{{service=\"web\",instance=\"1\",reason=\"{cause}\"}} 0");
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    for state in State::ALL {
        assert_eq!(lines_of(&text, &format!("state=\"{state}\"")).len(), 1, "{state}");
    }
    assert_eq!(lines_of(&text, "everup_service_exits_total{").len(), 5);
    assert_eq!(lines_of(&text, "everup_reloads_total{").len(), 9);
    for absent in [
        "io_wait",
        "memory_limit_bytes",
        "oom_kills",
        "last_exit_code",
        "http_request",
        "rss",
        "host_",
        "process_resident",
    ] {
        assert_eq!(lines_of(&text, absent), Vec::<&str>::new(), "{absent}");
    }
}

#[test]
fn every_family_is_written_under_its_name_with_its_labels() {
    let classic = write(lived(), Format::Classic).unwrap();
    let mut told = BTreeMap::new();
    for line in classic.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|pair| Some(pair.split_once('=')?.0));
        let labels: Vec<String> = labels.filter(|label| *label != "le").map(str::to_owned).collect();
        told.insert(name.to_owned(), labels);
    }
    for family in page::all() {
        let suffix = if family.kind == page::Kind::Histogram { "_bucket" } else { "" };
        let labels =
            told.get(&format!("{}{suffix}", family.name)).unwrap_or_else(|| panic!("{} is written", family.name));
        assert_eq!(labels, family.labels, "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{}", family.help);
    }
}

fn words(all: impl Iterator<Item = impl std::fmt::Display>) -> String {
    all.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
}

/// `docs/reference/metrics.md` is this text: run with EVERUP_WRITE_DOCS=1 to write it anew.
#[test]
fn the_reference_names_every_metric() {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics` on the control socket and on `web.listen`. OpenMetrics 1.0.0 where `Accept` asks for it, else Prometheus' text format 0.0.4.\n\
         Counters outlive restarts of a child and begin at 0 when everup starts. What is not known is absent, not 0.\n\
         `instance` is the number of the instance, so scrape with `honor_labels: true` (see `packaging/prometheus/prometheus.yml`).\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in page::all() {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels = words(family.labels.iter());
        let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", family.name, family.help);
    }
    let _ = write!(text, "\n`reason`: {}\n\n`state`: {}\n", words(Cause::ALL.iter()), words(State::ALL.iter()));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    if std::env::var_os("EVERUP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what the table of metrics says: run this test with EVERUP_WRITE_DOCS=1",
        path.display()
    );
}

/// `cargo test --release --lib -- --ignored metrics::tests::a_page_of_100` tells what a page costs.
#[test]
#[ignore = "a measurement"]
fn a_page_of_100_services_is_cheap() {
    let names: Vec<String> = (0..100).map(|n| format!("service-{n}")).collect();
    let services: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let status = canned::status(&services);
    let meter = Meter::default();
    for service in &status.services {
        let id = InstanceId { service: service.name.clone(), index: 1 };
        let verdict = Verdict::Pass { message: String::new() };
        meter.probed(&id, ProbeRole::Liveness, &verdict, 1.0, Timestamp(0));
    }
    let begun = crate::os::clock::monotonic_us();
    let mut bytes = 0;
    for _ in 0..100 {
        let scene = Scene::new(status.clone(), &meter.read(), crate::os::own::own_process().ok());
        bytes = write(scene, Format::Classic).unwrap().len();
    }
    let us = (crate::os::clock::monotonic_us() - begun) / 100;
    println!("{us} µs and {bytes} bytes a page");
}
