//! What only looks: status, services, why, and the two questions of a machine that watches us.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::handle::Request;
use crate::model::command::{Denied, Target};
use crate::model::names::InstanceId;
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::status::{ServiceStatus, Status};
use crate::model::units::Timestamp;
use crate::model::why::{Why, WhyEntry};
use crate::os::usage::pss;
use crate::server::dispatch::Call;
use crate::server::door::Desk;
use crate::server::reply::{Reply, internal, json, typed};
use crate::server::selector::{is_pattern, resolve, resolve_one};

/// How long the loop may take to answer a knock.
const KNOCK: Duration = Duration::from_secs(2);

/// One service, or all that a glob names.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ServiceAnswer {
    /// For a name or an instance; of an instance only that one is listed.
    One(Box<ServiceStatus>),
    /// For a glob.
    Several {
        /// Version of this shape: 1.
        v: u32,
        /// In the file's order.
        services: Vec<ServiceStatus>,
    },
}

/// Whether everup itself works.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Liveness {
    /// The loop answered.
    alive: bool,
}

/// Whether all that is wanted is ready.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Readiness {
    /// Whether all is.
    ready: bool,
    /// Everything is being stopped, for good.
    stopping: bool,
    /// Those that are not.
    waiting_for: Vec<Unready>,
}

/// A service that is not ready.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Unready {
    /// Its name.
    name: String,
    /// Its state.
    state: State,
    /// A sentence, where there is one.
    reason: Option<String>,
}

pub(crate) async fn status(call: &Call) -> Reply {
    let text = call.desk.rendered.status(&call.desk.handle).await?;
    Ok(typed(StatusCode::OK, "application/json", Body::from(text)))
}

pub(crate) async fn service(call: &Call) -> Reply {
    let mut status = call.desk.handle.status().await;
    let targets = resolve(&call.selector, &status)?;
    let mut services: Vec<ServiceStatus> =
        status.services.drain(..).filter_map(|service| narrowed(service, &targets)).collect();
    let answer = match services.pop() {
        Some(mut one) if services.is_empty() && !is_pattern(&call.selector) => {
            in_full(&mut one, call).await?;
            ServiceAnswer::One(Box::new(one))
        }
        last => ServiceAnswer::Several { v: 1, services: services.into_iter().chain(last).collect() },
    };
    json(StatusCode::OK, &answer)
}

/// Adds all that its instances use, with the memory that is shared counted once if that is asked for.
async fn in_full(service: &mut ServiceStatus, call: &Call) -> Result<(), Denied> {
    {
        let figures = call.desk.handle.meter.read();
        for instance in service.instances.iter_mut().filter(|instance| instance.pid.is_some()) {
            let id = InstanceId { service: service.name.clone(), index: instance.index };
            instance.usage = figures.instances.get(&id).and_then(|figures| figures.recent.usage().cloned());
        }
    }
    if !call.arguments.flag("pss")? {
        return Ok(());
    }
    let trees = call.desk.handle.trees(service.name.clone()).await?;
    // The kernel walks every page for it: not on the thread that everything else waits for.
    let shares = call.desk.read(move || trees.into_iter().map(|(index, pids)| (index, pss(&pids))).collect());
    let shares: BTreeMap<u32, Option<u64>> = shares.await?;
    for instance in &mut service.instances {
        if let Some(usage) = &mut instance.usage {
            usage.pss_bytes = shares.get(&instance.index).copied().flatten();
        }
    }
    Ok(())
}

/// The service with those of its instances that are meant, if it is meant at all.
fn narrowed(mut service: ServiceStatus, targets: &[Target]) -> Option<ServiceStatus> {
    let target = targets.iter().find(|target| target.service == service.name)?;
    if let Some(index) = target.index {
        service.instances.retain(|instance| instance.index == index);
    }
    Some(service)
}

pub(crate) async fn why(call: &Call) -> Reply {
    let n = call.arguments.count("n")?.unwrap_or(5);
    let target = resolve_one(&call.selector, &call.desk.handle.snapshot.borrow())?;
    json(StatusCode::OK, &ends(&call.desk, &target, n).await?)
}

/// The latest `n` ends of a target, explained.
pub(crate) async fn ends(desk: &Desk, target: &Target, n: usize) -> Result<Why, Denied> {
    let reader = desk.handle.history.clone();
    let Target { service, index } = target.clone();
    let mut why =
        desk.read(move || reader.why(&service, index, n)).await?.map_err(|error| internal(error.to_string()))?;
    let now = (desk.handle.clock)().wall;
    let known = why.entries.first().is_some_and(|newest| newest.run.is_none() && newest.cause == Cause::Dependency);
    if !known && let Some(entry) = held_up(target, &desk.handle.snapshot.borrow(), now) {
        why.entries.insert(0, entry);
        why.entries.truncate(n);
    }
    Ok(why)
}

/// What keeps a service from starting at all: no run of it has ended, so the history knows nothing of it.
fn held_up(target: &Target, status: &Status, now: Timestamp) -> Option<WhyEntry> {
    let service = status.services.iter().find(|service| service.name == target.service)?;
    let instance = service.instances.iter().find(|instance| {
        target.index.is_none_or(|index| instance.index == index)
            && instance.cause == Some(Cause::Dependency)
            && matches!(instance.state, State::Waiting | State::Failed)
    })?;
    let then = if instance.state == State::Waiting { "waits for it" } else { "not started" };
    Some(WhyEntry {
        instance: instance.name.clone(),
        run: None,
        at: now,
        cause: Cause::Dependency,
        certainty: Certainty::Certain,
        code: None,
        signal: None,
        ran_ms: None,
        evidence: instance.reason.clone().or_else(|| service.reason.clone()).into_iter().collect(),
        last_lines: vec![],
        changed_before: vec![],
        then: Some(then.to_owned()),
        trend: None,
    })
}

pub(crate) async fn livez(call: &Call) -> Reply {
    let (reply, answered) = oneshot::channel();
    let alive = call.desk.handle.requests.try_send(Request::Sample { reply }).is_ok()
        && matches!(timeout(KNOCK, answered).await, Ok(Ok(())));
    json(verdict(alive), &Liveness { alive })
}

pub(crate) fn readyz(call: &Call) -> Reply {
    let (stopping, waiting_for) = {
        let snapshot = call.desk.handle.snapshot.borrow();
        (snapshot.stopping, unready(&snapshot))
    };
    let ready = !stopping && waiting_for.is_empty();
    let status = verdict(ready);
    if !wants_text(call) {
        return json(status, &Readiness { ready, stopping, waiting_for });
    }
    let mut lines = String::from(match (ready, stopping) {
        (true, _) => "ready\n",
        (false, true) => "not ready: everup is stopping\n",
        (false, false) => "not ready\n",
    });
    for Unready { name, state, reason } in waiting_for {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{name} {state}{reason}");
    }
    Ok(typed(status, "text/plain; charset=utf-8", Body::from(lines)))
}

/// Those that are wanted and not ready. What has ended and is not to be restarted keeps nobody waiting.
fn unready(status: &Status) -> Vec<Unready> {
    status
        .services
        .iter()
        .filter(|service| service.desired == Desired::Up && !service.ready && service.state != State::Exited)
        .map(|service| Unready { name: service.name.to_string(), state: service.state, reason: service.reason.clone() })
        .collect()
}

fn verdict(yes: bool) -> StatusCode {
    if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn wants_text(call: &Call) -> bool {
    call.headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.starts_with("text/plain"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::canned;

    #[test]
    fn readiness_asks_only_for_what_is_wanted() {
        let mut status = canned::status(&[("web", 1), ("db", 1), ("migrate", 1), ("old", 1), ("job", 1)]);
        status.services[1].ready = false;
        status.services[1].state = State::Starting;
        status.services[3].ready = false;
        status.services[3].desired = Desired::Down;
        status.services[4].ready = false;
        status.services[4].state = State::Exited;
        let names: Vec<String> = unready(&status).into_iter().map(|service| service.name).collect();
        assert_eq!(names, ["db"]);
    }

    #[test]
    fn what_waits_for_another_service_says_for_whom() {
        let mut status = canned::status(&[("web", 2)]);
        let target = Target::all(status.services[0].name.clone());
        assert_eq!(held_up(&target, &status, Timestamp(5)), None);
        status.services[0].instances[1].state = State::Waiting;
        status.services[0].instances[1].cause = Some(Cause::Dependency);
        status.services[0].instances[1].reason = Some("waits for db to be ready".to_owned());
        let entry = held_up(&target, &status, Timestamp(5)).unwrap();
        assert_eq!((entry.instance.as_str(), entry.run), ("web/2", None));
        assert_eq!(entry.evidence, ["waits for db to be ready"]);
        assert_eq!(held_up(&Target { index: Some(1), ..target }, &status, Timestamp(5)), None);
    }
}
