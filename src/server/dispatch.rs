//! From a request to its handler: reads what the route says it takes, and sees that the answer comes in time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::routing::{MethodFilter, on};
use http_body_util::LengthLimitError;
use tokio::time::timeout;

use crate::model::command::{Denied, DeniedCode};
use crate::model::units::format_duration;
use crate::server::access::{Access, Visitor};
use crate::server::arguments::{Arguments, decode};
use crate::server::door::{BODY_SIZE, Connection, Desk, too_large};
use crate::server::reply::{Reply, bad, denied, internal, refuse};
use crate::server::routes::{Does, QUICK, Route, TABLE};
use crate::server::{actions, discovery, events, history, logs, look, metrics, openapi, overview, page};

/// One request on its way through its handler.
#[derive(Debug)]
pub(crate) struct Call {
    /// What all handlers share.
    pub(crate) desk: Arc<Desk>,
    /// The connection it came on.
    pub(crate) connection: Connection,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// What stood behind the `?`.
    pub(crate) arguments: Arguments,
    /// How long the asker waits for the promise.
    pub(crate) wait: Option<Duration>,
    /// The `{name}` of the path; empty where there is none.
    pub(crate) selector: String,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Call {
    /// Who asks.
    pub(crate) fn visitor(&self) -> &Visitor {
        &self.connection.visitor
    }
}

/// The router over [`TABLE`].
pub(crate) fn router(desk: &Arc<Desk>) -> Router {
    let mut router = Router::new();
    for route in &TABLE {
        let desk = desk.clone();
        let filter = match route.access() {
            Access::Read => MethodFilter::GET,
            Access::Change => MethodFilter::POST,
        };
        router = router.route(route.path, on(filter, move |request: Request| answer(route, desk.clone(), request)));
    }
    page::routes(router, desk).fallback(not_found).method_not_allowed_fallback(wrong_method)
}

async fn not_found(uri: Uri) -> Response<Body> {
    let message = format!("there is no {}", uri.path());
    refuse(denied(DeniedCode::NotFound, message, "GET /v1/openapi.json lists what there is"))
}

async fn wrong_method(method: Method, uri: Uri) -> Response<Body> {
    let message = format!("{method} does not go with {}", uri.path());
    refuse(denied(DeniedCode::MethodNotAllowed, message, "the Allow header says what does"))
}

async fn answer(route: &'static Route, desk: Arc<Desk>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let prepared = async {
        let arguments = Arguments::read(parts.uri.query(), route.arguments)?;
        let wait = arguments.wait()?;
        // `/v1/services/{name}/…`: the name is the third part, percent-encoded.
        let named = route.path.contains("{name}").then(|| parts.uri.path().split('/').nth(3)).flatten();
        let selector = named.map(|name| decode(name, false)).transpose()?.unwrap_or_default();
        let body = if route.access() == Access::Change { whole(body).await? } else { Bytes::new() };
        let connection = parts.extensions.get::<Connection>().cloned().ok_or_else(|| internal("nobody asked"))?;
        Ok(Call { desk, connection, headers: parts.headers, arguments, wait, selector, body })
    };
    let call = match prepared.await {
        Ok(call) => call,
        Err(denied) => return refuse(denied),
    };
    let wait = call.wait;
    let limit = route.limit.saturating_add(wait.unwrap_or_default());
    match timeout(limit, perform(route.does, &call)).await {
        Ok(reply) => reply.unwrap_or_else(refuse),
        Err(_elapsed) => {
            let code = if wait.is_some() { DeniedCode::TimedOut } else { DeniedCode::Unavailable };
            refuse(denied(
                code,
                format!("there was no answer within {}", format_duration(limit)),
                "try again in a moment",
            ))
        }
    }
}

/// The body, if it is small enough and comes in time.
async fn whole(body: Body) -> Result<Bytes, Denied> {
    match timeout(QUICK, to_bytes(body, BODY_SIZE)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large()),
        Ok(Err(error)) => Err(bad(format!("cannot read the body: {error}"))),
        Err(_elapsed) => Err(bad(format!("the body did not arrive within {}", format_duration(QUICK)))),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>)
}

async fn perform(does: Does, call: &Call) -> Reply {
    match does {
        Does::Status => look::status(call).await,
        Does::Overview => overview::overview(call).await,
        Does::Service => look::service(call).await,
        Does::Start => actions::start(call).await,
        Does::Stop => actions::stop(call).await,
        Does::Restart => actions::restart(call).await,
        Does::Reload => actions::reload(call).await,
        Does::Probe => actions::probe(call).await,
        Does::Signal => actions::signal(call).await,
        Does::Scale => actions::scale(call).await,
        Does::ServiceLogs | Does::Logs => logs::logs(call).await,
        Does::Why => look::why(call).await,
        Does::History => history::history(call).await,
        Does::Events => events::events(call).await,
        Does::Up => actions::up(call).await,
        Does::Down => actions::down(call).await,
        Does::Upgrade => actions::upgrade(call).await,
        Does::Livez => look::livez(call).await,
        Does::Readyz => look::readyz(call),
        Does::Metrics => metrics::metrics(call).await,
        Does::Discovery => discovery::discovery(call),
        Does::Document => Ok(openapi::document()),
    }
}
