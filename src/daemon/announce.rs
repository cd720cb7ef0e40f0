//! Tells the manager that everup is a service of (systemd) how it is, from the loop itself, as sd_notify(3) has it.
//!
//! The guardian passes it on: it is the process that the manager started, so the manager need not listen to any other
//! (`NotifyAccess=main`), and no program that everup runs can speak in everup's name.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::engine::Engine;
use crate::model::names::Pid;
use crate::model::service::{Desired, State};
use crate::model::status::{InstanceStatus, ServiceStatus, Status};
use crate::model::units::Moment;
use crate::os::clock;

/// While starting or stopping the manager is told this often that it goes on …
const PROGRESS: Duration = Duration::from_secs(10);
/// … and asked for this much time from then on.
const EXTENSION: Duration = Duration::from_secs(30);
/// The status line changes at most this often by itself.
const STATUS_RESTS: Duration = Duration::from_millis(500);
/// So many services in trouble are named in the status line.
const NAMED: usize = 3;

/// How far everup is, as the manager sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Starting,
    Ready,
    Stopping,
}

/// What the manager has been told, and what it is to be told next.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// Whether there is a manager at all.
    wanted: bool,
    /// How often it must hear that the loop turns: half of what it allows.
    beat: Option<Duration>,
    beat_at: Option<Moment>,
    stage: Stage,
    /// RELOADING was said, so READY is owed.
    reloading: bool,
    /// The file has changed and was refused.
    refused: bool,
    /// Instances that were ready once, or whose first attempt is over, until all are.
    decided: BTreeSet<String>,
    /// The snapshot that `line` was made from.
    seen: Option<Arc<Status>>,
    line: String,
    said: String,
    said_at: Moment,
}

impl Announcer {
    /// By NOTIFY_SOCKET and WATCHDOG_USEC. WATCHDOG_PID is left aside: a guardian that took another one's place has
    /// another pid, and whom the manager hears is its own decision.
    pub(super) fn from_env() -> Self {
        let limit = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
        Self {
            wanted: std::env::var_os("NOTIFY_SOCKET").is_some(),
            beat: limit.map(|limit| Duration::from_micros(limit) / 2),
            ..Self::default()
        }
    }

    /// When it must speak although nothing has happened.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let line = (self.line != self.said).then(|| self.said_at.after(STATUS_RESTS));
        [self.beat_at, line].into_iter().flatten().filter(|_| self.wanted).min()
    }

    /// A file is about to be applied, at this time of the monotonic clock in microseconds. Before READY that is a part
    /// of the start.
    fn reload(&mut self, now_us: u64) -> Option<String> {
        if !self.wanted || self.reloading || self.stage != Stage::Ready {
            return None;
        }
        self.reloading = true;
        Some(format!("RELOADING=1\nMONOTONIC_USEC={now_us}"))
    }

    /// Everything is about to be stopped.
    fn stop(&mut self) -> Option<String> {
        if !self.wanted || self.stage == Stage::Stopping {
            return None;
        }
        self.stage = Stage::Stopping;
        self.reloading = false;
        self.beat_at = None;
        Some("STOPPING=1".to_owned())
    }

    /// What is to be said now; `guardian` is the process that the manager knows.
    fn next(&mut self, status: &Arc<Status>, guardian: Pid, now: Moment) -> Option<String> {
        let mut lines = vec![];
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, status)) {
            self.seen = Some(status.clone());
            if self.stage == Stage::Starting && self.is_decided(status) {
                self.stage = Stage::Ready;
                self.decided.clear();
                lines.push("READY=1".to_owned());
                // As PID 1 it is known by another number outside.
                if guardian.0 > 1 {
                    lines.push(format!("MAINPID={guardian}"));
                }
            }
        }
        if std::mem::take(&mut self.reloading) {
            lines.push("READY=1".to_owned());
        }
        if self.beat_at.is_none_or(|at| at <= now) {
            let progress = (self.stage != Stage::Ready).then_some(PROGRESS);
            self.beat_at = self.beat.into_iter().chain(progress).min().map(|pause| now.after(pause));
            lines.extend(self.beat.map(|_| "WATCHDOG=1".to_owned()));
            lines.extend(progress.map(|_| format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros())));
        }
        self.line = self.line(status);
        if self.line != self.said && (!lines.is_empty() || now.since(self.said_at) >= STATUS_RESTS) {
            self.said.clone_from(&self.line);
            self.said_at = now;
            lines.push(format!("STATUS={}", self.line));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Whether the start is over: every instance that is wanted was ready once, or its first attempt has failed, or it
    /// waits for one of those. A start is not kept open for what may never come.
    fn is_decided(&mut self, status: &Status) -> bool {
        let wanted = || status.services.iter().filter(|service| service.desired == Desired::Up);
        let instances = || wanted().flat_map(|service| &service.instances);
        self.decided.extend(instances().filter(|instance| is_over(instance)).map(|instance| instance.name.clone()));
        // What waits while all others are decided waits for one that has failed.
        instances().all(|instance| instance.state == State::Waiting || self.decided.contains(&instance.name))
    }

    /// One line for people: `systemctl status` shows it.
    fn line(&self, status: &Status) -> String {
        let wanted: Vec<&ServiceStatus> = status
            .services
            .iter()
            .filter(|service| service.desired == Desired::Up && service.state != State::Exited)
            .collect();
        let (verb, told): (&str, Vec<String>) = match self.stage {
            Stage::Stopping => {
                let left = status.services.iter().filter(|service| service.instances.iter().any(|i| i.pid.is_some()));
                return named("stopping", left.map(|service| service.name.to_string()).collect(), ": ");
            }
            Stage::Starting => ("ready", trouble(&wanted)),
            Stage::Ready => ("running", trouble(&wanted)),
        };
        let ready = wanted.iter().filter(|service| service.ready).count();
        let line = named(&format!("{ready} of {} {verb}", wanted.len()), told, ", ");
        if self.refused { format!("the changed file was refused (everup check says why); {line}") } else { line }
    }
}

/// Whether the first attempt of an instance is over, however it went.
fn is_over(instance: &InstanceStatus) -> bool {
    let ended = matches!(instance.state, State::Stopped | State::Backoff | State::Exited | State::Failed);
    instance.ready || ended || instance.last_end.is_some()
}

/// Those that are not well, in words.
fn trouble(wanted: &[&ServiceStatus]) -> Vec<String> {
    let words = |service: &&ServiceStatus| {
        let name = &service.name;
        match service.state {
            State::Running if service.healthy == Some(false) => Some(format!("{name} unhealthy")),
            State::Running if !service.ready => Some(format!("{name} not ready")),
            State::Running | State::Reloading => None,
            State::Backoff => Some(format!("{name} in backoff")),
            state => Some(format!("{name} {state}")),
        }
    };
    wanted.iter().filter_map(words).collect()
}

/// `text`, then the first of `names`, and how many more there are.
fn named(text: &str, names: Vec<String>, before: &str) -> String {
    let mut line = text.to_owned();
    if !names.is_empty() {
        let more = names.len().saturating_sub(NAMED);
        // Writing into a String cannot fail.
        let _ = write!(line, "{before}{}", names.into_iter().take(NAMED).collect::<Vec<_>>().join(", "));
        if more > 0 {
            let _ = write!(line, " and {more} more");
        }
    }
    line
}

impl Engine {
    /// Tells the manager what is new, and that the loop turns.
    pub(super) fn announce(&mut self) {
        let Some(capabilities) = self.capabilities.as_ref().filter(|_| self.announcer.wanted) else { return };
        let status = self.publisher.status.borrow().clone();
        if let Some(text) = self.announcer.next(&status, capabilities.guardian, self.now.moment) {
            self.processes.announce(text);
        }
    }

    /// Tells manager and doors that everything is going to be stopped, before the first service hears of it.
    pub(super) fn announce_end(&mut self) {
        let is_known = self.publisher.status.borrow().stopping;
        if is_known || !self.core.is_ending() {
            return;
        }
        self.publish();
        if let Some(text) = self.announcer.stop() {
            self.processes.announce(text);
        }
    }

    /// Tells the manager that a file is being applied; that it was, it hears at the end of this turn.
    pub(super) fn announce_reload(&mut self) {
        if let Some(text) = self.announcer.reload(clock::monotonic_us()) {
            self.processes.announce(text);
        }
    }

    /// The file was applied, or `refused`.
    pub(super) fn announce_verdict(&mut self, refused: bool) {
        self.announcer.refused = refused;
    }
}

#[cfg(test)]
mod tests;
