//! The one table of routes: what the router serves and what the OpenAPI document says.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use tokio::time::timeout;

use crate::model::command::{DeniedCode, Outcome};
use crate::model::event::EventRecord;
use crate::model::log::LogLine;
use crate::model::status::Status;
use crate::model::units::format_duration;
use crate::model::why::Why;
use crate::server::access::{Access, Visitor};
use crate::server::actions::{self, DownBody, ProbeAnswer, ScaleBody, SignalBody, UpBody};
use crate::server::arguments::{Argument, Arguments, Kind, decode};
use crate::server::door::{BODY_SIZE, Connection, Desk, too_large};
use crate::server::look::{self, Liveness, Readiness, ServiceAnswer};
use crate::server::openapi;
use crate::server::reply::{Reply, bad, denied, internal, refuse};
use crate::server::{events, logs};

/// One row.
#[derive(Debug)]
pub(crate) struct Route {
    /// How it is asked; decides who may.
    pub(crate) method: Method,
    /// Where; `{name}` is a selector.
    pub(crate) path: &'static str,
    /// Its name in the document.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// What may stand behind the `?`.
    pub(crate) arguments: &'static [&'static Argument],
    /// The body it takes; may be left out where every key of it may.
    pub(crate) takes: Option<Shape>,
    /// What it answers.
    pub(crate) gives: Gives,
    /// How long the answer may take, `wait` apart.
    pub(crate) limit: Duration,
    /// What is done.
    does: Does,
}

impl Route {
    /// What a visitor needs.
    pub(crate) fn access(&self) -> Access {
        Access::of(&self.method)
    }
}

/// Writes the schema of a type into the document.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What a route answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gives {
    /// One object: 200.
    Object(Shape),
    /// One object, 503 when the answer is no.
    Verdict(Shape),
    /// 200 when it is done, 202 when it is under way, 504 when `wait` ran out.
    Action(Shape),
    /// One object a line, or server-sent events.
    Lines(Shape),
    /// This table as a document.
    Document,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Status,
    Service,
    Start,
    Stop,
    Restart,
    Probe,
    Signal,
    Scale,
    ServiceLogs,
    Why,
    Events,
    Logs,
    Up,
    Down,
    Livez,
    Readyz,
    Document,
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

static WAIT: Argument = Argument {
    name: "wait",
    kind: Kind::Text,
    about: "Answer when what is asked for holds, or 504 after this duration (such as 30s). Without it the answer is 202 at once.",
};
static NOW: Argument =
    Argument { name: "now", kind: Kind::Flag, about: "All instances at once instead of one after the other." };
static LIMIT: Argument =
    Argument { name: "wait", kind: Kind::Text, about: "How long all probes together may take, 60s unless given." };
static LINES: Argument = Argument {
    name: "n",
    kind: Kind::Count,
    about: "The latest so many: 50 unless given, with since as many as there are.",
};
static EVENTS: Argument = Argument {
    name: "n",
    kind: Kind::Count,
    about: "The latest so many: 100 unless given, with since as many as there are.",
};
static ENDS: Argument = Argument { name: "n", kind: Kind::Count, about: "The latest so many ends: 5 unless given." };
static SINCE: Argument =
    Argument { name: "since", kind: Kind::Text, about: "A duration back (10m) or a time (RFC 3339)." };
static SINCE_EVENT: Argument = Argument {
    name: "since",
    kind: Kind::Text,
    about: "A duration back (10m), a time (RFC 3339), or seq:N for what came after event N.",
};
static FOLLOW: Argument = Argument { name: "follow", kind: Kind::Flag, about: "Go on with what comes." };
static STREAM: Argument = Argument { name: "stream", kind: Kind::Text, about: "stdout or stderr; both unless given." };
static PREVIOUS: Argument = Argument { name: "previous", kind: Kind::Flag, about: "The run before the current one." };
static GREP: Argument =
    Argument { name: "grep", kind: Kind::Text, about: "Only lines this regular expression matches." };
static SERVICES: Argument =
    Argument { name: "services", kind: Kind::Text, about: "Selectors separated by commas; all unless given." };
static SERVICE: Argument = Argument { name: "service", kind: Kind::Text, about: "Only events of this selector." };

const QUICK: Duration = Duration::from_secs(10);

/// Probes bring their own time limits; this one is for what forgets its own.
const PROBES: Duration = Duration::from_secs(70);

/// Every route there is.
pub(crate) static TABLE: [Route; 17] = [
    Route {
        method: Method::GET,
        path: "/v1/status",
        name: "status",
        about: "The whole project.",
        arguments: &[],
        takes: None,
        gives: Gives::Object(shape::<Status>),
        limit: QUICK,
        does: Does::Status,
    },
    Route {
        method: Method::GET,
        path: "/v1/services/{name}",
        name: "service",
        about: "One service, or one instance of it; for a glob an object with all it names.",
        arguments: &[],
        takes: None,
        gives: Gives::Object(shape::<ServiceAnswer>),
        limit: QUICK,
        does: Does::Service,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/start",
        name: "start",
        about: "Start it and what it needs.",
        arguments: &[&WAIT],
        takes: None,
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Start,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/stop",
        name: "stop",
        about: "Stop it and hold it.",
        arguments: &[&WAIT],
        takes: None,
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Stop,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/restart",
        name: "restart",
        about: "Stop and start it again, one instance at a time.",
        arguments: &[&WAIT, &NOW],
        takes: None,
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Restart,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/probe",
        name: "probe",
        about: "Run its probes once, now.",
        arguments: &[&LIMIT],
        takes: None,
        gives: Gives::Object(shape::<ProbeAnswer>),
        limit: PROBES,
        does: Does::Probe,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/signal",
        name: "signal",
        about: "Send a signal to its main process.",
        arguments: &[],
        takes: Some(shape::<SignalBody>),
        gives: Gives::Object(shape::<Outcome>),
        limit: QUICK,
        does: Does::Signal,
    },
    Route {
        method: Method::POST,
        path: "/v1/services/{name}/scale",
        name: "scale",
        about: "Run this many instances until the next up or down.",
        arguments: &[&WAIT],
        takes: Some(shape::<ScaleBody>),
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Scale,
    },
    Route {
        method: Method::GET,
        path: "/v1/services/{name}/logs",
        name: "service_logs",
        about: "What it wrote, in the order of time.",
        arguments: &[&LINES, &SINCE, &FOLLOW, &STREAM, &PREVIOUS, &GREP],
        takes: None,
        gives: Gives::Lines(shape::<LogLine>),
        limit: QUICK,
        does: Does::ServiceLogs,
    },
    Route {
        method: Method::GET,
        path: "/v1/services/{name}/why",
        name: "why",
        about: "Its latest ends, explained, newest first.",
        arguments: &[&ENDS],
        takes: None,
        gives: Gives::Object(shape::<Why>),
        limit: QUICK,
        does: Does::Why,
    },
    Route {
        method: Method::GET,
        path: "/v1/events",
        name: "events",
        about: "The timeline, oldest first. As server-sent events each carries its number as id, and Last-Event-ID resumes.",
        arguments: &[&EVENTS, &SINCE_EVENT, &FOLLOW, &SERVICE],
        takes: None,
        gives: Gives::Lines(shape::<EventRecord>),
        limit: QUICK,
        does: Does::Events,
    },
    Route {
        method: Method::GET,
        path: "/v1/logs",
        name: "logs",
        about: "What all services wrote, in the order of time.",
        arguments: &[&LINES, &SINCE, &FOLLOW, &STREAM, &PREVIOUS, &GREP, &SERVICES],
        takes: None,
        gives: Gives::Lines(shape::<LogLine>),
        limit: QUICK,
        does: Does::Logs,
    },
    Route {
        method: Method::POST,
        path: "/v1/up",
        name: "up",
        about: "Read the file again and make reality match it; what is unchanged keeps its process.",
        arguments: &[&WAIT],
        takes: Some(shape::<UpBody>),
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Up,
    },
    Route {
        method: Method::POST,
        path: "/v1/down",
        name: "down",
        about: "Stop everything in reverse order, then everup.",
        arguments: &[&WAIT],
        takes: Some(shape::<DownBody>),
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Down,
    },
    Route {
        method: Method::GET,
        path: "/livez",
        name: "livez",
        about: "Whether everup itself works.",
        arguments: &[],
        takes: None,
        gives: Gives::Verdict(shape::<Liveness>),
        limit: QUICK,
        does: Does::Livez,
    },
    Route {
        method: Method::GET,
        path: "/readyz",
        name: "readyz",
        about: "Whether every service that is wanted is ready; names those that are not. Accept: text/plain gives lines.",
        arguments: &[],
        takes: None,
        gives: Gives::Verdict(shape::<Readiness>),
        limit: QUICK,
        does: Does::Readyz,
    },
    Route {
        method: Method::GET,
        path: "/v1/openapi.json",
        name: "openapi",
        about: "This document.",
        arguments: &[],
        takes: None,
        gives: Gives::Document,
        limit: QUICK,
        does: Does::Document,
    },
];

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
    router.fallback(not_found).method_not_allowed_fallback(wrong_method)
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
        let selector = match route.path.contains("{name}") {
            true => decode(parts.uri.path().split('/').nth(3).unwrap_or_default(), false)?,
            false => String::new(),
        };
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
    match timeout(limit, perform(route.does, call)).await {
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
async fn whole(body: Body) -> Result<Bytes, crate::model::command::Denied> {
    match timeout(QUICK, to_bytes(body, BODY_SIZE)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large()),
        Ok(Err(error)) => Err(bad(format!("cannot read the body: {error}"))),
        Err(_elapsed) => Err(bad(format!("the body did not arrive within {}", format_duration(QUICK)))),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

async fn perform(does: Does, call: Call) -> Reply {
    match does {
        Does::Status => look::status(&call).await,
        Does::Service => look::service(&call).await,
        Does::Start => actions::start(&call).await,
        Does::Stop => actions::stop(&call).await,
        Does::Restart => actions::restart(&call).await,
        Does::Probe => actions::probe(&call).await,
        Does::Signal => actions::signal(&call).await,
        Does::Scale => actions::scale(&call).await,
        Does::ServiceLogs | Does::Logs => logs::logs(&call).await,
        Does::Why => look::why(&call).await,
        Does::Events => events::events(&call).await,
        Does::Up => actions::up(&call).await,
        Does::Down => actions::down(&call).await,
        Does::Livez => look::livez(&call).await,
        Does::Readyz => look::readyz(&call),
        Does::Document => Ok(openapi::document()),
    }
}
