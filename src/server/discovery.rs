//! `GET /sd`: where children serve metrics themselves, for Prometheus' HTTP service discovery.

use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::meter::Figures;
use crate::model::status::Status;
use crate::server::access::Visitor;
use crate::server::dispatch::Call;
use crate::server::reply::{Reply, json};

/// A scraper on this machine reaches children here.
const HERE: &str = "127.0.0.1";

/// One target and its labels, as Prometheus reads them.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Target {
    /// One address.
    targets: [String; 1],
    labels: Labels,
}

/// What Prometheus writes beside all that it scrapes there.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Labels {
    /// The path of the metrics.
    #[serde(rename = "__metrics_path__")]
    path: String,
    /// The project.
    project: String,
    /// The service.
    service: String,
    /// The instance's number. `instance` itself stays what Prometheus makes of the address.
    service_instance: String,
}

pub(crate) fn discovery(call: &Call) -> Reply {
    let host = match call.visitor() {
        Visitor::Local(_) => HERE.to_owned(),
        Visitor::Remote(_) => host(&call.headers),
    };
    let handle = &call.desk.handle;
    let targets = targets(&handle.snapshot.borrow(), &handle.meter.read(), &host);
    json(StatusCode::OK, &targets)
}

/// Every instance that runs and is said to serve metrics.
fn targets(status: &Status, figures: &Figures, host: &str) -> Vec<Target> {
    let mut targets = vec![];
    for service in &status.services {
        let Some(metrics) = figures.services.get(&service.name).and_then(|planned| planned.metrics.as_ref()) else {
            continue;
        };
        for instance in service.instances.iter().filter(|instance| instance.started_at.is_some()) {
            let Ok(port) = u16::try_from(u32::from(metrics.port) + instance.index.saturating_sub(1)) else { continue };
            targets.push(Target {
                targets: [format!("{host}:{port}")],
                labels: Labels {
                    path: metrics.path.clone(),
                    project: status.project.clone(),
                    service: service.name.to_string(),
                    service_instance: instance.index.to_string(),
                },
            });
        }
    }
    targets
}

/// How the scraper reaches this machine: by the name it has used itself. The door has seen that it is one of ours.
fn host(headers: &HeaderMap) -> String {
    let asked = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = match asked.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => asked,
    };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = host.is_empty() || host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if is_here { HERE.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::ServicePlanned;
    use crate::model::plan::{Kind, MetricsPlan};
    use crate::server::tests::canned;

    #[test]
    fn each_running_instance_is_a_target() {
        let mut status = canned::status(&[("web", 3), ("db", 1)]);
        status.services[0].instances[1].started_at = None;
        let mut figures = Figures::default();
        let metrics = Some(MetricsPlan { port: 9_100, path: "/metrics".to_owned() });
        let planned = ServicePlanned { kind: Kind::Service, metrics, reads_requests: false };
        figures.services.insert(status.services[0].name.clone(), planned);
        let found = serde_json::to_value(targets(&status, &figures, "10.0.0.5")).unwrap();
        let label = |n: &str| serde_json::json!({"__metrics_path__": "/metrics", "project": "shop", "service": "web", "service_instance": n});
        let expected = serde_json::json!([
            {"targets": ["10.0.0.5:9100"], "labels": label("1")},
            {"targets": ["10.0.0.5:9102"], "labels": label("3")},
        ]);
        assert_eq!(found, expected);
        assert_eq!(serde_json::to_string(&targets(&status, &Figures::default(), HERE)).unwrap(), "[]");
    }

    #[test]
    fn the_host_is_the_one_the_scraper_used() {
        for (asked, expected) in [
            ("", HERE),
            ("localhost:9876", HERE),
            ("127.0.0.1:9876", HERE),
            ("[::1]:9876", HERE),
            ("app-1.lan:9876", "app-1.lan"),
            ("app-1.lan", "app-1.lan"),
            ("10.0.0.5:9876", "10.0.0.5"),
            ("[fd00::5]:9876", "[fd00::5]"),
            ("[fd00::5]", "[fd00::5]"),
        ] {
            let headers = HeaderMap::from_iter([(HOST, asked.parse().unwrap())]);
            assert_eq!(host(&headers), expected, "{asked}");
        }
    }
}
