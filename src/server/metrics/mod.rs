//! `GET /metrics`: what Prometheus scrapes, as OpenMetrics or as its classic text.

mod accept;
mod classic;
mod families;
mod host;
mod page;
mod scene;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::server::dispatch::Call;
use crate::server::metrics::accept::Format;
use crate::server::metrics::page::Page;
use crate::server::metrics::scene::Scene;
use crate::server::reply::{Reply, internal, typed};

pub(crate) async fn metrics(call: &Call) -> Reply {
    let handle = &call.desk.handle;
    let status = handle.status().await;
    let scene = Scene::new(status, &handle.meter.read(), crate::os::own::own_process().ok());
    let format = Format::of(&accepted(&call.headers));
    // Off the loop: a page of many services takes milliseconds.
    let text = call.desk.read(move || write(scene, format)).await?;
    let text = text.map_err(|_| internal("the metrics cannot be written"))?;
    let mut response = typed(StatusCode::OK, format.kind(), Body::from(text));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// The page in one of its two formats.
fn write(scene: Scene, format: Format) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    let mut text = String::with_capacity(16_384 + 12_288 * scene.rows.len());
    registry.register_collector(Box::new(Page(scene)));
    encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Classic => classic::of(&text),
    })
}

/// All `Accept` headers as one.
fn accepted(headers: &HeaderMap) -> String {
    let parts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    parts.join(",")
}
