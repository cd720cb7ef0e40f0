//! What a service used over time.

use std::time::Duration;

use axum::http::StatusCode;

use crate::history::query::UsageQuery;
use crate::model::command::{DeniedCode, Target};
use crate::model::history::Metric;
use crate::model::units::parse_duration;
use crate::server::dispatch::Call;
use crate::server::reply::{Reply, bad, denied, internal, json};
use crate::server::selector::resolve_one;

/// How far back somebody looks who does not say.
const USUAL: Duration = Duration::from_secs(3_600);

pub(crate) async fn history(call: &Call) -> Reply {
    let now = (call.desk.handle.clock)();
    let until = call.arguments.until(now)?.unwrap_or(now.wall);
    let since = call.arguments.since_time(now)?.unwrap_or_else(|| until.before(USUAL));
    if since > until {
        return Err(denied(DeniedCode::BadRequest, "since lies behind until", "write the earlier time as since"));
    }
    let step = call.arguments.text("step").map(|text| parse_duration(text).map_err(bad)).transpose()?;
    let metrics = call.arguments.text("metric").map(Metric::parse_list).transpose().map_err(bad)?.unwrap_or_default();
    let Target { service, index } = resolve_one(&call.selector, &call.desk.handle.snapshot.borrow())?;
    let query = UsageQuery { service, index, since, until, step, metrics };
    let reader = call.desk.handle.history.clone();
    let report = call.desk.read(move || reader.usage(&query)).await?.map_err(|error| internal(error.to_string()))?;
    json(StatusCode::OK, &report)
}
