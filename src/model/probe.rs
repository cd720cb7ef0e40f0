//! How a service is asked, and what it answered.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::template::Template;

/// What a probe is for (the terms are kubelet's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeRole {
    /// Gates the start: until it passes the others are not asked.
    Startup,
    /// Sets `ready`; never restarts anything.
    Readiness,
    /// Sets `healthy`; restarts after `failures` in a row.
    Liveness,
}

/// One configured probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// What is asked.
    pub how: ProbeKind,
    /// From the start of one question to the start of the next.
    pub interval: Duration,
    /// The whole of one question, connection and body included.
    pub timeout: Duration,
    /// Failures in a row that count.
    pub failures: u32,
    /// Passes in a row that count.
    pub successes: u32,
    /// How long a start may take until the gate must have passed.
    pub start_timeout: Duration,
}

/// The kinds of question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProbeKind {
    /// An HTTP request.
    Http(HttpProbe),
    /// A connection, closed at once.
    Tcp(ProbeAddress),
    /// A command whose exit code 0 passes; run in the service's cwd, as its user, with its environment.
    Exec(Vec<Template>),
    /// READY=1 on NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// A regular expression that a line of this run's output matches.
    Log(String),
}

/// An HTTP question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// `http://` or `https://` URL; its host and port are those of the `Host` header.
    pub url: Template,
    /// A unix socket to connect to instead of the URL's host.
    pub socket: Option<PathBuf>,
    /// The method, `GET` unless given.
    pub method: String,
    /// Headers added to the request.
    pub headers: BTreeMap<String, Template>,
    /// Accepted statuses, as inclusive ranges.
    pub status: Vec<(u16, u16)>,
    /// A regular expression the first 64 KiB of the body must match.
    pub body: Option<String>,
    /// Whether the server's certificate is taken as it is.
    pub insecure: bool,
}

/// Where a `tcp` probe connects to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProbeAddress {
    /// `host:port`.
    Tcp(Template),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// The answer to one question: an expected outcome, never an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It passed; `message` is what was seen, e.g. `200 OK`.
    Pass {
        /// For people.
        message: String,
    },
    /// It failed.
    Fail {
        /// For people, e.g. `503 Service Unavailable` or `no answer within 5s`.
        message: String,
        /// In which way.
        how: Failure,
    },
    /// Nothing can be concluded: everup itself was held up, or the question could not be put.
    Skip {
        /// For people.
        message: String,
    },
}

/// In which way a question failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It was answered, but not as wanted.
    Answer,
    /// Only time ran out: a slow machine looks the same as a hung app.
    Timeout,
    /// Nobody listens there.
    Refused,
    /// The question could not be put, or the answer broke off.
    Error,
}

/// A probe run once on request, for `everup probe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    /// The instance asked.
    pub instance: String,
    /// What the probe is for.
    pub role: ProbeRole,
    /// What was asked, e.g. `GET http://127.0.0.1:8888/health`.
    pub request: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was answered.
    pub message: String,
    /// The first part of the answer's body or output, where there is one.
    pub body: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
}
