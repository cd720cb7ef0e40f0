//! What doors hold: the snapshot, requests, events, logs and history of the running project.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::meter::Meter;
use crate::model::command::{Caller, Command, Denied, DeniedCode, Outcome, Target, Upgrading};
use crate::model::event::EventRecord;
use crate::model::names::{Pid, ServiceName};
use crate::model::probe::ProbeReport;
use crate::model::status::Status;
use crate::model::units::Now;

/// One request on its way to the loop.
#[derive(Debug)]
pub enum Request {
    /// For the core.
    Ask {
        /// What for.
        command: Command,
        /// How long the asker waits until the promise holds.
        wait: Option<Duration>,
        /// Who asks.
        by: Caller,
        /// Where the answer goes. Dropped by the asker: it has gone.
        reply: oneshot::Sender<Result<Outcome, Denied>>,
    },
    /// Read the file (or this one) again and apply it.
    Up {
        /// Another file than the running one.
        config: Option<PathBuf>,
        /// Services to start besides.
        start: Vec<ServiceName>,
        /// Only say what would be done.
        dry_run: bool,
        /// How long the asker waits until all is ready.
        wait: Option<Duration>,
        /// Who asks.
        by: Caller,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Outcome, Denied>>,
    },
    /// Let another program take over.
    Upgrade {
        /// Where it is.
        binary: PathBuf,
        /// Who asks.
        by: Caller,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Upgrading, Denied>>,
    },
    /// Run the probes of a service once, now.
    Probe {
        /// Of whom.
        target: Target,
        /// Where the answers go.
        reply: oneshot::Sender<Result<Vec<ProbeReport>, Denied>>,
    },
    /// Which processes a service's runs have.
    Trees {
        /// Of which service.
        service: ServiceName,
        /// Where the answer goes: the processes of each instance that runs, as they were at the last reading.
        reply: oneshot::Sender<BTreeMap<u32, Vec<Pid>>>,
    },
    /// Read usage if the last reading is older than a second.
    Sample {
        /// Told once the snapshot holds fresh usage.
        reply: oneshot::Sender<()>,
    },
}

/// What doors hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// The published status; usage is as of the last reading.
    pub snapshot: watch::Receiver<Arc<Status>>,
    /// When usage was last read.
    pub sampled: watch::Receiver<Now>,
    /// Requests to the loop: bounded; when full the caller is refused with `Unavailable`.
    pub requests: mpsc::Sender<Request>,
    /// The timeline as it happens: bounded; a slow reader is told how many it lost.
    pub events: broadcast::Sender<Arc<EventRecord>>,
    /// Reads what children wrote.
    pub logs: crate::logs::read::Reader,
    /// Told whenever a log file grew.
    pub log_progress: watch::Receiver<u64>,
    /// Reads events and runs of the past.
    pub history: crate::history::query::Reader,
    /// What happened and what was used since everup started.
    pub meter: Meter,
    /// The clock, handed in so that no door has one of its own.
    pub clock: fn() -> Now,
}

/// How old a usage reading may be before a look takes a new one: somebody who looks every second gets a new one each time.
const FRESH: Duration = Duration::from_millis(900);
/// For the sake of what has just started it is taken again this soon.
const BETWEEN_READINGS: Duration = Duration::from_millis(50);

impl Handle {
    /// The status now: usage at most a second old, times computed for this instant.
    pub async fn status(&self) -> Status {
        self.refresh().await;
        let mut status = Status::clone(&self.snapshot.borrow());
        let now = (self.clock)().moment;
        for instance in status.services.iter_mut().flat_map(|service| &mut service.instances) {
            instance.uptime_ms = instance.running_since.map(|since| crate::model::units::millis(now.since(since)));
            instance.next_attempt_in_ms = instance.next_attempt_at.map(|at| crate::model::units::millis(at.since(now)));
        }
        status
    }

    /// Has usage read anew where the last reading is too old, or knows nothing of something that runs by now.
    pub async fn refresh(&self) {
        let age = (self.clock)().moment.since(self.sampled.borrow().moment);
        let stale = age > FRESH || (age > BETWEEN_READINGS && self.has_unread());
        let (reply, done) = oneshot::channel();
        if stale && self.requests.try_send(Request::Sample { reply }).is_ok() {
            // A loop that is going down does not answer; the last snapshot still holds.
            let _ = done.await;
        }
    }

    fn has_unread(&self) -> bool {
        let status = self.snapshot.borrow();
        let mut instances = status.services.iter().flat_map(|service| &service.instances);
        instances.any(|instance| instance.pid.is_some() && instance.memory_bytes.is_none())
    }

    /// Asks the core and waits for its answer.
    ///
    /// # Errors
    /// [`Denied`] when it is refused, not fulfilled in time, or everup is stopping.
    pub async fn ask(&self, command: Command, wait: Option<Duration>, by: Caller) -> Result<Outcome, Denied> {
        self.send(|reply| Request::Ask { command, wait, by, reply }).await?
    }

    /// Applies the file.
    ///
    /// # Errors
    /// [`Denied`] with `ConfigInvalid` and the diagnostics when the file is not valid; as [`Handle::ask`] otherwise.
    pub async fn up(
        &self,
        config: Option<PathBuf>,
        start: Vec<ServiceName>,
        dry_run: bool,
        wait: Option<Duration>,
        by: Caller,
    ) -> Result<Outcome, Denied> {
        self.send(|reply| Request::Up { config, start, dry_run, wait, by, reply }).await?
    }

    /// Lets the program at `binary` take over; comes back when it is about to.
    ///
    /// # Errors
    /// [`Denied`] with why it cannot, or why not now.
    pub async fn upgrade(&self, binary: PathBuf, by: Caller) -> Result<Upgrading, Denied> {
        self.send(|reply| Request::Upgrade { binary, by, reply }).await?
    }

    /// Runs the probes of a service once, now.
    ///
    /// # Errors
    /// [`Denied`] when there is no such service or nothing of it runs.
    pub async fn probe(&self, target: Target) -> Result<Vec<ProbeReport>, Denied> {
        self.send(|reply| Request::Probe { target, reply }).await?
    }

    /// The processes of each instance of a service that runs, by its number, as they were at the last reading.
    ///
    /// # Errors
    /// [`Denied`] when everup is stopping or has too much to do.
    pub async fn trees(&self, service: ServiceName) -> Result<BTreeMap<u32, Vec<Pid>>, Denied> {
        self.send(|reply| Request::Trees { service, reply }).await
    }

    async fn send<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Denied> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|_| unavailable("too many requests wait already"))?;
        answer.await.map_err(|_| unavailable("everup is stopping"))
    }
}

fn unavailable(message: &str) -> Denied {
    Denied {
        code: DeniedCode::Unavailable,
        message: message.to_owned(),
        hint: Some("try again in a moment".to_owned()),
    }
}
