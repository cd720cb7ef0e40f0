//! The other side of the control socket: typed calls, answered by a running everup.
//!
//! Plain blocking sockets: a question and its answer take less than starting a runtime would. Each call has a
//! connection of its own, so calls may overlap: while one waits for a restart, another asks for the status.

pub mod action;
mod cursor;
mod http;
pub mod lines;
pub mod registry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::action::{Action, Pending};
use crate::client::cursor::Cursor;
use crate::client::http::{Answer, Ask, Fault};
use crate::client::lines::{EventArgs, Lines, LogArgs};
use crate::model::command::{Denied, Outcome};
use crate::model::event::EventRecord;
use crate::model::history::{HistoryReport, Metric};
use crate::model::log::LogLine;
use crate::model::overview::Overview;
use crate::model::probe::ProbeReport;
use crate::model::status::{ServiceStatus, Status};
use crate::model::units::{Timestamp, format_duration};
use crate::model::why::Why;
use crate::os::socket::connect_unix;

/// How long an answer may take beyond what was asked to be waited for; the other side gives up earlier.
const PATIENCE: Duration = Duration::from_secs(15);

/// The project comes each second; a supervisor that says nothing for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// So often a question is asked once more when whoever was asked has died over it. Who asks then waits until there is
/// another: the control socket stays open.
const ATTEMPTS: u32 = 10;

/// How long before that.
const PAUSE: Duration = Duration::from_millis(200);

/// Probes bring their own time limits, which the other side ends after a minute.
const PROBES: Duration = Duration::from_mins(1);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("cannot reach a supervisor at {}", socket.display())]
    NoSupervisor {
        /// Where.
        socket: PathBuf,
        /// What connect(2) said.
        source: io::Error,
    },
    /// It said no: an expected outcome.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It did not answer in time.
    #[error("cannot wait any longer for an answer from {}", socket.display())]
    Silent {
        /// Where.
        socket: PathBuf,
    },
    /// The connection ended before the answer did, and nobody can tell whether what was asked for is done.
    #[error("everup's engine was restarted before it answered: whether this was done is not known")]
    Restarted {
        /// Where.
        socket: PathBuf,
    },
    /// The connection ended before the answer did.
    #[error("cannot read the answer from {}: it ends in the middle", socket.display())]
    Cut {
        /// Where.
        socket: PathBuf,
    },
    /// The connection broke, or what came was no answer.
    #[error("cannot read the answer from {}: {reason}", socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether whoever was asked may have died over it and another answers in its place.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Cut { .. })
    }
}

/// Which usage is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryArgs {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How long each row lasts; none: what fits.
    pub step: Option<Duration>,
    /// Only these figures; empty: all.
    pub metrics: Vec<Metric>,
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: Denied,
}

/// The body of the answer to `probe`.
#[derive(Debug, Deserialize)]
struct Probed {
    probes: Vec<ProbeReport>,
}

/// A way to a running everup.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// The connection that showed that somebody listens; the first call uses it.
    first: Mutex<Option<std::os::unix::net::UnixStream>>,
}

impl Client {
    /// Reaches the everup that listens at `socket`.
    ///
    /// # Errors
    /// [`ClientError::NoSupervisor`] when nobody does, or we may not connect.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = reach(socket)?;
        Ok(Self { socket: socket.to_owned(), first: Mutex::new(Some(stream)) })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The whole project.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// One service; for `web/2` with only that instance.
    ///
    /// # Errors
    /// [`ClientError`]; denied with the nearest names when there is none.
    pub fn service(&self, name: &str) -> Result<ServiceStatus, ClientError> {
        self.get(&format!("/v1/services/{}", http::encode(name)))
    }

    /// As [`Client::service`], with memory that is shared counted once ([`crate::model::usage::Usage::pss_bytes`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn service_with_pss(&self, name: &str) -> Result<ServiceStatus, ClientError> {
        self.get(&format!("/v1/services/{}?pss=true", http::encode(name)))
    }

    /// The latest ends of a service, explained; `n` of them, 5 unless given.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn why(&self, name: &str, n: Option<usize>) -> Result<Why, ClientError> {
        let n = n.map(|n| format!("?n={n}")).unwrap_or_default();
        self.get(&format!("/v1/services/{}/why{n}", http::encode(name)))
    }

    /// Runs the probes of `web`, `web/2` or `web*` once, now.
    ///
    /// # Errors
    /// [`ClientError`]; denied when nothing of it runs.
    pub fn probe(&self, selector: &str) -> Result<Vec<ProbeReport>, ClientError> {
        let ask = Ask::post(format!("/v1/services/{}/probe", http::encode(selector)), None);
        // It changes nothing.
        let Probed { probes } = self.read(&self.text_again(&ask, PROBES.saturating_add(PATIENCE))?)?;
        Ok(probes)
    }

    /// Asks for a change and returns with the answer: with `wait` once it holds, else once it is under way.
    ///
    /// # Errors
    /// [`ClientError`]; denied with `TimedOut` when `wait` ran out.
    pub fn act(&self, action: &Action, wait: Option<Duration>) -> Result<Outcome, ClientError> {
        let (ask, patience) = (action.ask(wait)?, wait.unwrap_or_default().saturating_add(PATIENCE));
        let answered = if action.is_repeatable() { self.text_again(&ask, patience) } else { self.text(&ask, patience) };
        match answered {
            Ok(text) => self.read(&text),
            Err(error) => Err(Action::after(error, &self.socket)).or_else(|error| action.done_by(error)),
        }
    }

    /// Asks for a change and returns at once: meanwhile the status tells how far it is.
    ///
    /// # Errors
    /// [`ClientError`] when it could not be sent.
    pub fn begin(&self, action: &Action, wait: Option<Duration>) -> Result<Pending, ClientError> {
        let answer = self.send(&action.ask(wait)?)?;
        Ok(Pending::new(self.socket.clone(), answer, action.clone(), wait))
    }

    /// What services wrote.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn logs(&self, args: &LogArgs) -> Result<Lines<LogLine>, ClientError> {
        self.lines(args.path(), Cursor::of_logs(args))
    }

    /// The timeline.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn events(&self, args: &EventArgs) -> Result<Lines<EventRecord>, ClientError> {
        self.lines(args.path(), Cursor::of_events(args))
    }

    /// What a service (or one instance, as `web/2`) used over time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn history(&self, name: &str, args: &HistoryArgs) -> Result<HistoryReport, ClientError> {
        let words: Vec<&str> = args.metrics.iter().map(|metric| metric.word()).collect();
        let (since, until) = (args.since.to_string(), args.until.to_string());
        let step = args.step.map(format_duration).unwrap_or_default();
        let query = [("since", since), ("until", until), ("step", step), ("metric", words.join(","))];
        let query: Vec<String> =
            query.into_iter().map(|(key, value)| format!("{key}={}", http::encode(&value))).collect();
        self.get(&format!("/v1/services/{}/history?{}", http::encode(name), query.join("&")))
    }

    /// The project as people look at it, at once and then each second. Every one after the first carries in `recent`
    /// and `probes` only what is new. Ten seconds of silence end it with [`ClientError::Silent`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn overviews(&self) -> Result<Lines<Overview>, ClientError> {
        self.lines("/v1/overview?follow=true".to_owned(), Cursor::NONE)?.silent_at_most(STUCK)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.text_again(&Ask::get(path.to_owned()), PATIENCE)?)
    }

    /// As [`Self::text`]; asks again when whoever was asked has died over it.
    fn text_again(&self, ask: &Ask, patience: Duration) -> Result<String, ClientError> {
        again(|| self.text(ask, patience))
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        parse(&self.socket, text)
    }

    fn text(&self, ask: &Ask, patience: Duration) -> Result<String, ClientError> {
        self.send(ask)?.text(Some(patience)).map_err(|fault| fault.at(&self.socket))?.success(&self.socket)
    }

    fn lines<T>(&self, path: String, cursor: Cursor) -> Result<Lines<T>, ClientError> {
        let ask = Ask::get(path);
        let answer = again(|| begun(self.send(&ask)?, &self.socket))?;
        Lines::new(self.socket.clone(), answer, cursor).map_err(|fault| fault.at(&self.socket))
    }

    fn send(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match first.filter(http::is_open) {
            Some(stream) => stream,
            None => reach(&self.socket)?,
        };
        Answer::to(ask, stream).map_err(|fault| fault.at(&self.socket))
    }
}

/// Asks until there is an answer, or a reason why there is none.
fn again<T>(mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(error) if error.is_cut() => std::thread::park_timeout(PAUSE),
            answered => return answered,
        }
    }
    ask()
}

/// An answer that began well.
fn begun(mut answer: Answer, socket: &Path) -> Result<Answer, ClientError> {
    let status = answer.status(Some(PATIENCE)).map_err(|fault| fault.at(socket))?;
    if status == 200 {
        return Ok(answer);
    }
    let text = answer.text(Some(PATIENCE)).map_err(|fault| fault.at(socket))?.success(socket)?;
    Err(Fault::Odd(format!("status {status} with {} bytes", text.len())).at(socket))
}

fn reach(socket: &Path) -> Result<std::os::unix::net::UnixStream, ClientError> {
    connect_unix(socket).map_err(|source| ClientError::NoSupervisor { socket: socket.to_owned(), source })
}

fn parse<T: DeserializeOwned>(socket: &Path, text: &str) -> Result<T, ClientError> {
    serde_json::from_str(text).map_err(|e| ClientError::Broken {
        socket: socket.to_owned(),
        reason: format!("it is not what was expected ({e})"),
    })
}

impl http::Text {
    /// The body of a success; a refusal becomes its error.
    fn success(self, socket: &Path) -> Result<String, ClientError> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(match serde_json::from_str::<Refusal>(&self.body) {
            Ok(refusal) => ClientError::Denied(refusal.error),
            Err(_) => Fault::Odd(format!("status {} without a reason", self.status)).at(socket),
        })
    }
}

impl Fault {
    fn at(self, socket: &Path) -> ClientError {
        let socket = socket.to_owned();
        match self {
            Self::Silent => ClientError::Silent { socket },
            Self::Cut => ClientError::Cut { socket },
            Self::Odd(reason) => ClientError::Broken { socket, reason },
            Self::Io(error) => ClientError::Broken { socket, reason: error.to_string() },
        }
    }
}
