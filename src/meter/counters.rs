//! What happened to one instance since everup started: counts that outlive its runs and never go down.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::meter::histogram::{Histogram, QUICK, SLOW};
use crate::meter::totals::Totals;
use crate::model::event::{EventWord, Fact, ReloadOutcome};
use crate::model::log::LogBytes;
use crate::model::names::Run;
use crate::model::plan::Kind;
use crate::model::probe::{Failure, ProbeRole, Verdict};
use crate::model::service::{Cause, Certainty};
use crate::model::units::Moment;

/// How a run ended, for counting: a closed set, in which the first that fits counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// The kernel killed it for memory.
    Oom,
    /// Time ran out for it: it was not ready in time, missed its watchdog, or had to be killed after its stop's timeout.
    Timeout,
    /// A signal ended it; also the one everup stops it by.
    Signal,
    /// Exit code 0.
    Success,
    /// Another exit code, or it could not be started, or nobody saw how.
    Error,
}

impl ExitKind {
    /// Every kind, in the order of their counts.
    pub const ALL: [Self; 5] = [Self::Oom, Self::Timeout, Self::Signal, Self::Success, Self::Error];

    /// Its word in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::Signal => "signal",
            Self::Success => "success",
            Self::Error => "error",
        }
    }

    fn of(end: &Fact, killed: bool) -> Self {
        match (end.cause, end.signal, end.code) {
            (Some(Cause::Oom), _, _) => Self::Oom,
            (Some(Cause::StartTimeout | Cause::Watchdog), _, _) => Self::Timeout,
            _ if killed => Self::Timeout,
            (_, Some(_), _) => Self::Signal,
            (_, None, Some(0)) => Self::Success,
            (_, None, Some(_) | None) => Self::Error,
        }
    }
}

/// What came of a probe, for counting: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It passed.
    Success,
    /// It was answered, but not as wanted.
    Failure,
    /// Time ran out.
    Timeout,
    /// Nobody listens there.
    Refused,
    /// The question could not be put, or the answer broke off.
    Error,
}

impl ProbeOutcome {
    /// Every outcome, in the order of their counts.
    pub const ALL: [Self; 5] = [Self::Success, Self::Failure, Self::Timeout, Self::Refused, Self::Error];

    /// Its word in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }

    /// What `verdict` counts as; none: nothing can be concluded from it.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Pass { .. } => Some(Self::Success),
            Verdict::Fail { how, .. } => Some(match how {
                Failure::Answer => Self::Failure,
                Failure::Timeout => Self::Timeout,
                Failure::Refused => Self::Refused,
                Failure::Error => Self::Error,
            }),
            Verdict::Skip { .. } => None,
        }
    }
}

/// What asked for a reload, for counting: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A watched file changed.
    Watch,
    /// A signal to everup; nothing reloads by one today.
    Signal,
    /// Somebody asked, by the command line or over HTTP.
    Api,
}

impl Trigger {
    /// Every trigger, in the order of their counts.
    pub const ALL: [Self; 3] = [Self::Watch, Self::Signal, Self::Api];

    /// Its word in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }
}

/// Probes of one role.
#[derive(Clone, Debug)]
pub struct ProbeCounts {
    /// How long they took.
    pub duration: Histogram,
    /// What came of them, in the order of [`ProbeOutcome::ALL`].
    pub results: [u64; ProbeOutcome::ALL.len()],
    /// Whether the latest one passed.
    pub passed: bool,
}

impl Default for ProbeCounts {
    fn default() -> Self {
        Self { duration: Histogram::new(QUICK), results: [0; ProbeOutcome::ALL.len()], passed: false }
    }
}

/// All counts of one instance.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Starts, those that failed included.
    pub starts: u64,
    /// Restarts by cause, in the order of [`Cause::ALL`]; together what status calls `restarts`.
    pub restarts: [u64; Cause::ALL.len()],
    /// Ends, in the order of [`ExitKind::ALL`].
    pub exits: [u64; ExitKind::ALL.len()],
    /// Kills after a stop's timeout.
    pub kills: u64,
    /// From the start until ready (of a task: until its program runs).
    pub startup: Histogram,
    /// From the request to end until the last process was gone.
    pub stop: Histogram,
    /// Probes by what they are for.
    pub probes: BTreeMap<ProbeRole, ProbeCounts>,
    /// Reloads of its service, by [`Trigger::ALL`] and [`ReloadOutcome::ALL`].
    pub reloads: [[u64; ReloadOutcome::ALL.len()]; Trigger::ALL.len()],
    /// How long they took, where that could be seen.
    pub reload_duration: Histogram,
    /// What its runs used in all.
    pub totals: Totals,
    /// What it wrote; none: nothing of it is kept.
    pub logs: Option<LogBytes>,
    /// The wait before the next attempt, as it was decided last.
    pub backoff: Duration,
    starting: Option<Moment>,
    stopping: Option<Moment>,
    killed: Option<Run>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            starts: 0,
            restarts: [0; Cause::ALL.len()],
            exits: [0; ExitKind::ALL.len()],
            kills: 0,
            startup: Histogram::new(SLOW),
            stop: Histogram::new(SLOW),
            probes: BTreeMap::new(),
            reloads: [[0; ReloadOutcome::ALL.len()]; Trigger::ALL.len()],
            reload_duration: Histogram::new(SLOW),
            totals: Totals::default(),
            logs: None,
            backoff: Duration::ZERO,
            starting: None,
            stopping: None,
            killed: None,
        }
    }
}

impl Counters {
    /// Counts what the core decided or saw at `now`; `kind` is that of the service.
    pub(super) fn happened(&mut self, fact: &Fact, kind: Kind, now: Moment) {
        match fact.event {
            EventWord::Starting => {
                self.starts += 1;
                if let Some(cause) = fact.restart {
                    self.restarts[cause as usize] += 1;
                }
                self.backoff = Duration::ZERO;
                (self.starting, self.stopping) = (Some(now), None);
            }
            EventWord::Started if kind == Kind::Task => self.is_up(now),
            EventWord::Ready => self.is_up(now),
            EventWord::Stopping => self.stopping = Some(now),
            EventWord::Ended => {
                let killed = self.killed.is_some() && self.killed == fact.run;
                self.exits[ExitKind::of(fact, killed) as usize] += 1;
                if (fact.cause, fact.certainty) == (Some(Cause::Oom), Some(Certainty::Certain)) {
                    self.totals.killed_for_memory();
                }
                self.starting = None;
            }
            EventWord::Backoff => self.backoff = Duration::from_millis(fact.delay_ms.unwrap_or(0)),
            _ => {}
        }
        if let Some(outcome) = fact.reload {
            let trigger = if fact.cause == Some(Cause::Watch) { Trigger::Watch } else { Trigger::Api };
            self.reloads[trigger as usize][outcome as usize] += 1;
            if let Some(ms) = fact.ran_ms {
                self.reload_duration.observe(Duration::from_millis(ms).as_secs_f64());
            }
        }
    }

    fn is_up(&mut self, now: Moment) {
        if let Some(since) = self.starting.take() {
            self.startup.observe(now.since(since).as_secs_f64());
        }
    }

    /// The last process of a run is gone.
    pub(super) fn gone(&mut self, now: Moment) {
        if let Some(since) = self.stopping.take() {
            self.stop.observe(now.since(since).as_secs_f64());
        }
    }

    /// The run did not end within its stop's timeout.
    pub(super) fn killed(&mut self, run: Run) {
        self.kills += 1;
        self.killed = Some(run);
    }

    /// A probe was answered.
    pub(super) fn probed(&mut self, role: ProbeRole, outcome: ProbeOutcome, ms: f64) {
        let probe = self.probes.entry(role).or_default();
        probe.results[outcome as usize] += 1;
        probe.duration.observe(ms / 1_000.0);
        probe.passed = outcome == ProbeOutcome::Success;
    }
}

#[cfg(test)]
mod tests;
