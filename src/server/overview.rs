//! What a person looks at: the status beside what was used and answered of late.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::watch;

use crate::meter::Figures;
use crate::meter::recent::{APART_MS, Recent};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::overview::{InstanceOverview, Overview, Requests, ServiceOverview};
use crate::model::status::{InstanceStatus, ServiceStatus, Status};
use crate::model::units::{Moment, Now, Timestamp};
use crate::server::dispatch::Call;
use crate::server::door::Desk;
use crate::server::listener::closed;
use crate::server::reply::{Reply, json};
use crate::server::stream::{Format, Source};

/// How often a follower gets the figures anew.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn overview(call: &Call) -> Reply {
    let format = Format::of(&call.headers);
    if !call.arguments.flag("follow")? {
        return json(StatusCode::OK, &look(&call.desk, Timestamp(0)).await);
    }
    let place = call.desk.place()?;
    let source = Following { desk: call.desk.clone(), closing: call.desk.closing.clone(), format, shown: None };
    Ok(format.endless(source, place, &call.connection))
}

/// The project now, with what is new since `since` of what was seen of late.
pub(crate) async fn look(desk: &Desk, since: Timestamp) -> Overview {
    let status = desk.handle.status().await;
    let now = (desk.handle.clock)();
    let figures = desk.handle.meter.read();
    compose(status, &figures, now, since)
}

fn compose(status: Status, figures: &Figures, now: Now, since: Timestamp) -> Overview {
    Overview {
        v: 1,
        at: now.wall,
        project: status.project,
        version: status.version,
        started_at: status.started_at,
        own: status.own,
        host: figures.host.clone(),
        warnings: status.warnings,
        services: status.services.into_iter().map(|service| of_service(service, figures, now.moment, since)).collect(),
    }
}

/// A status without any figures, for tests.
#[cfg(test)]
pub(crate) fn of_status(status: Status, at: Timestamp) -> Overview {
    compose(status, &Figures::default(), Now { moment: Moment(10_000), wall: at }, Timestamp(0))
}

fn of_service(service: ServiceStatus, figures: &Figures, now: Moment, since: Timestamp) -> ServiceOverview {
    let none = Recent::default();
    let instances = service.instances.into_iter().map(|instance| {
        let id = InstanceId { service: service.name.clone(), index: instance.index };
        of_instance(instance, figures.instances.get(&id).map_or(&none, |figures| &figures.recent), since)
    });
    ServiceOverview {
        instances: instances.collect(),
        requests: requests(&service.name, figures, now),
        name: service.name,
        kind: service.kind,
        state: service.state,
        desired: service.desired,
        ready: service.ready,
        healthy: service.healthy,
        crash_looping: service.crash_looping,
        cause: service.cause,
        reason: service.reason,
        restarts: service.restarts,
        warnings: service.warnings,
    }
}

/// What its access lines say; none where they are not read.
fn requests(service: &ServiceName, figures: &Figures, now: Moment) -> Option<Requests> {
    figures.services.get(service).filter(|planned| planned.reads_requests)?;
    let mut sum = Requests::default();
    for (_, instance) in figures.instances.iter().filter(|(id, _)| &id.service == service) {
        instance.requests.add_to(&mut sum, now);
    }
    Some(sum)
}

fn of_instance(instance: InstanceStatus, recent: &Recent, since: Timestamp) -> InstanceOverview {
    // A point is filled up until the next one begins, so the last one is sent again.
    let points_since = Timestamp(since.0.saturating_sub(APART_MS));
    InstanceOverview {
        usage: recent.usage().filter(|_| instance.pid.is_some()).cloned(),
        recent: recent.points(points_since),
        probes: recent.probes(since),
        latency: recent.latency(),
        name: instance.name,
        index: instance.index,
        state: instance.state,
        ready: instance.ready,
        healthy: instance.healthy,
        reason: instance.reason,
        pid: instance.pid,
        run: instance.run,
        started_at: instance.started_at,
        uptime_ms: instance.uptime_ms,
        next_attempt_in_ms: instance.next_attempt_in_ms,
        restarts: instance.restarts,
        last_end: instance.last_end,
    }
}

/// The project for one follower: at once, then every second.
#[derive(Debug)]
struct Following {
    desk: Arc<Desk>,
    closing: watch::Receiver<bool>,
    format: Format,
    /// The time of the overview shown last.
    shown: Option<Timestamp>,
}

impl Source for Following {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.shown.is_some() {
            tokio::select! {
                biased;
                () = closed(&mut self.closing) => return None,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        let overview = look(&self.desk, self.shown.unwrap_or_default()).await;
        self.shown = Some(overview.at);
        let mut out = Vec::new();
        self.format.write(&mut out, None, &overview);
        Some(out)
    }
}
