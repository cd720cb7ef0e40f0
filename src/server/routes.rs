//! The one table of routes: what the router serves and what the OpenAPI document says.

use std::time::Duration;

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::model::command::{Outcome, Upgrading};
use crate::model::event::EventRecord;
use crate::model::history::HistoryReport;
use crate::model::log::LogLine;
use crate::model::overview::Overview;
use crate::model::status::Status;
use crate::model::why::Why;
use crate::server::access::Access;
use crate::server::actions::{DownBody, ProbeAnswer, ScaleBody, SignalBody, UpBody, UpgradeBody};
use crate::server::arguments::{Argument, Kind};
use crate::server::discovery::Target;
use crate::server::look::{Liveness, Readiness, ServiceAnswer};

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
    pub(crate) does: Does,
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
    /// One object; followed, as [`Gives::Lines`].
    ObjectOrLines(Shape),
    /// The page that Prometheus scrapes.
    Metrics,
    /// This table as a document.
    Document,
}

/// What is done; one word a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Status,
    Overview,
    Service,
    Start,
    Stop,
    Restart,
    Reload,
    Probe,
    Signal,
    Scale,
    ServiceLogs,
    Why,
    History,
    Events,
    Logs,
    Up,
    Down,
    Upgrade,
    Livez,
    Readyz,
    Metrics,
    Discovery,
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
    about: "The latest so many: 100 unless given, with since as many as there are. With since=seq:N the first so many; not used when following from there.",
};
static ENDS: Argument = Argument { name: "n", kind: Kind::Count, about: "The latest so many ends: 5 unless given." };
static SINCE: Argument =
    Argument { name: "since", kind: Kind::Text, about: "A duration back (10m) or a time (RFC 3339)." };
static SINCE_EVENT: Argument = Argument {
    name: "since",
    kind: Kind::Text,
    about: "A duration back (10m), a time (RFC 3339), or seq:N for what came after event N.",
};
static SINCE_HOUR: Argument = Argument {
    name: "since",
    kind: Kind::Text,
    about: "A duration back (10m) or a time (RFC 3339); an hour before until unless given.",
};
static UNTIL: Argument = Argument {
    name: "until",
    kind: Kind::Text,
    about: "A duration back (10m) or a time (RFC 3339); now unless given.",
};
static STEP: Argument = Argument {
    name: "step",
    kind: Kind::Text,
    about: "How long each row lasts, 10s at least. Without it the shortest that is kept for this time and makes at most 2,000 rows of a run.",
};
static METRIC: Argument = Argument {
    name: "metric",
    kind: Kind::Text,
    about: "Only these, separated by commas: cpu, memory, processes, threads, fds, read, written, probe, swap, io_wait, switches, faults.",
};
static FOLLOW: Argument = Argument { name: "follow", kind: Kind::Flag, about: "Go on with what comes." };
static STREAM: Argument = Argument { name: "stream", kind: Kind::Text, about: "stdout or stderr; both unless given." };
static PREVIOUS: Argument = Argument { name: "previous", kind: Kind::Flag, about: "The run before the current one." };
static GREP: Argument =
    Argument { name: "grep", kind: Kind::Text, about: "Only lines this regular expression matches." };
static SERVICES: Argument =
    Argument { name: "services", kind: Kind::Text, about: "Selectors separated by commas; all unless given." };
static PSS: Argument = Argument {
    name: "pss",
    kind: Kind::Flag,
    about: "With usage.pss_bytes: memory with what is shared counted once. Takes milliseconds for large processes.",
};
static SERVICE: Argument = Argument { name: "service", kind: Kind::Text, about: "Only events of this selector." };

/// For an answer that only needs the loop's attention.
pub(crate) const QUICK: Duration = Duration::from_secs(10);

/// Probes bring their own time limits; this one is for what forgets its own.
const PROBES: Duration = Duration::from_secs(70);

/// The program is asked, and what must not be interrupted is waited for.
const UPGRADE: Duration = Duration::from_secs(45);

/// Every route there is.
pub(crate) static TABLE: [Route; 23] = [
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
        path: "/v1/overview",
        name: "overview",
        about: "The project beside what was used and answered of late. Followed: at once and then every second, each time with only what is new of the latter.",
        arguments: &[&FOLLOW],
        takes: None,
        gives: Gives::ObjectOrLines(shape::<Overview>),
        limit: QUICK,
        does: Does::Overview,
    },
    Route {
        method: Method::GET,
        path: "/v1/services/{name}",
        name: "service",
        about: "One service, or one instance of it, with all that it uses; for a glob an object with all it names.",
        arguments: &[&PSS],
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
        path: "/v1/services/{name}/reload",
        name: "reload",
        about: "Swap to new code the way `reload:` says; the check, if there is one, goes first.",
        arguments: &[&WAIT],
        takes: None,
        gives: Gives::Action(shape::<Outcome>),
        limit: QUICK,
        does: Does::Reload,
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
        path: "/v1/services/{name}/history",
        name: "history",
        about: "What it used over time, in equal steps; where nothing ran, rows are missing.",
        arguments: &[&SINCE_HOUR, &UNTIL, &STEP, &METRIC],
        takes: None,
        gives: Gives::Object(shape::<HistoryReport>),
        limit: QUICK,
        does: Does::History,
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
        method: Method::POST,
        path: "/v1/upgrade",
        name: "upgrade",
        about: "Let another program take over from the engine that runs; on the control socket, for everup's own user and root.",
        arguments: &[],
        takes: Some(shape::<UpgradeBody>),
        gives: Gives::Action(shape::<Upgrading>),
        limit: UPGRADE,
        does: Does::Upgrade,
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
        path: "/metrics",
        name: "metrics",
        about: "Everything for Prometheus: OpenMetrics 1.0.0 where Accept asks for it, else the classic text 0.0.4.",
        arguments: &[],
        takes: None,
        gives: Gives::Metrics,
        limit: QUICK,
        does: Does::Metrics,
    },
    Route {
        method: Method::GET,
        path: "/sd",
        name: "discovery",
        about: "The instances that run and serve metrics themselves (`metrics:` in the file), for Prometheus' HTTP service discovery.",
        arguments: &[],
        takes: None,
        gives: Gives::Object(shape::<Vec<Target>>),
        limit: QUICK,
        does: Does::Discovery,
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
