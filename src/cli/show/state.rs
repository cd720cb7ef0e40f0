//! One instance's state, last end and wishes in a few words.

use crate::cli::output::Tone;
use crate::cli::time::{ago, coarse, length};
use crate::model::overview::{InstanceOverview, ServiceOverview};
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::status::{InstanceStatus, LastEnd, ServiceKind, ServiceStatus, Status};
use crate::model::units::Timestamp;

/// Whether something that should run does not, or runs unhealthy.
pub(crate) fn project_in_trouble(status: &Status) -> bool {
    status.services.iter().any(in_trouble)
}

/// Whether the service should run and does not, or runs unhealthy.
pub(crate) fn in_trouble(service: &ServiceStatus) -> bool {
    if service.instances.is_empty() {
        return service.desired == Desired::Up && !settled(service.state, service.healthy, service.ready, service.kind);
    }
    service.instances.iter().any(|instance| instance_in_trouble(service, instance))
}

/// Whether the instance should run and does not, or runs unhealthy.
pub(crate) fn instance_in_trouble(service: &ServiceStatus, instance: &InstanceStatus) -> bool {
    Standing::of(service, instance).in_trouble()
}

/// What the words about an instance's state depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    kind: ServiceKind,
    crash_looping: bool,
    desired: Desired,
    state: State,
    ready: bool,
    healthy: Option<bool>,
    next_attempt_in_ms: Option<u64>,
    last_end: Option<&'a LastEnd>,
}

impl<'a> Standing<'a> {
    /// As `status` has it.
    pub(crate) fn of(service: &ServiceStatus, instance: &'a InstanceStatus) -> Self {
        Self {
            kind: service.kind,
            crash_looping: service.crash_looping,
            desired: instance.desired,
            state: instance.state,
            ready: instance.ready,
            healthy: instance.healthy,
            next_attempt_in_ms: instance.next_attempt_in_ms,
            last_end: instance.last_end.as_ref(),
        }
    }

    /// As `overview` has it; without an instance that of the service.
    pub(crate) fn seen(service: &ServiceOverview, instance: Option<&'a InstanceOverview>) -> Self {
        Self {
            kind: service.kind,
            crash_looping: service.crash_looping,
            desired: service.desired,
            state: instance.map_or(service.state, |instance| instance.state),
            ready: instance.map_or(service.ready, |instance| instance.ready),
            healthy: instance.map_or(service.healthy, |instance| instance.healthy),
            next_attempt_in_ms: instance.and_then(|instance| instance.next_attempt_in_ms),
            last_end: instance.and_then(|instance| instance.last_end.as_ref()),
        }
    }

    /// Whether it should run and does not, or runs unhealthy.
    pub(crate) fn in_trouble(&self) -> bool {
        // An end with success that nobody wants repeated is no trouble; `failed` is, whatever is wanted of it.
        let ended_well = self.state == State::Exited
            && self.last_end.is_none_or(|end| end.code == Some(0) || end.cause == Cause::User);
        match self.state {
            State::Failed => true,
            _ if self.desired == Desired::Down => false,
            state => !ended_well && !settled(state, self.healthy, self.ready, self.kind),
        }
    }

    /// Its state in words, and what it means.
    pub(crate) fn words(&self) -> (Tone, String) {
        let mut text = match (self.state, self.next_attempt_in_ms) {
            (State::Backoff, Some(ms)) => {
                format!(
                    "backoff {}",
                    length(std::time::Duration::from_millis(if ms >= 10_000 { ms / 1_000 * 1_000 } else { ms }))
                )
            }
            (State::Exited, _) if self.kind == ServiceKind::Task && self.ready => "completed".to_owned(),
            (state, _) => state.to_string(),
        };
        if matches!(self.state, State::Running | State::Reloading) {
            if self.healthy == Some(false) {
                text.push_str(", unhealthy");
            } else if !self.ready {
                text.push_str(", not ready");
            }
        }
        if self.crash_looping {
            text.push_str(", crash looping");
        }
        let tone = match self.state {
            State::Failed => Tone::Bad,
            State::Backoff | State::Waiting | State::Starting | State::Stopping | State::Reloading => Tone::Busy,
            State::Running if self.healthy == Some(false) => Tone::Bad,
            State::Running if !self.ready => Tone::Busy,
            State::Running => Tone::Good,
            State::Exited if self.in_trouble() => Tone::Bad,
            State::Exited | State::Stopped => Tone::Dim,
        };
        (tone, text)
    }
}

fn settled(state: State, healthy: Option<bool>, ready: bool, kind: ServiceKind) -> bool {
    match state {
        State::Running | State::Reloading => healthy != Some(false),
        // A completed task is ready.
        State::Exited => ready && kind == ServiceKind::Task,
        State::Stopped | State::Waiting | State::Starting | State::Stopping | State::Backoff | State::Failed => false,
    }
}

/// The state of an instance in words, and what it means.
pub(crate) fn words(service: &ServiceStatus, instance: &InstanceStatus) -> (Tone, String) {
    Standing::of(service, instance).words()
}

/// What is to be said beside the state: who holds it, whom it waits for, how it ended last.
pub(crate) fn remark(service: &ServiceStatus, instance: Option<&InstanceStatus>, now: Timestamp) -> String {
    let mut parts = vec![];
    if let Some(held) = &service.held {
        parts.push(format!("stopped by {} · {}", held.by, ago(held.at, now)));
    }
    let Some(instance) = instance else {
        parts.extend(service.reason.clone());
        return parts.join(" · ");
    };
    let busy = matches!(
        instance.state,
        State::Waiting | State::Starting | State::Stopping | State::Backoff | State::Failed | State::Reloading
    );
    let trouble = busy || instance_in_trouble(service, instance) || !instance.ready;
    if trouble && service.held.is_none() {
        parts.extend(instance.reason.clone());
        if instance.state == State::Running
            && let Some(probe) = instance.probe.as_ref().filter(|probe| !probe.ok)
        {
            parts.push(format!("probe: {}", probe.message));
        }
        if let Some(end) = &instance.last_end {
            parts.push(format!("{} · {}", end_words(end), ago(end.at, now)));
        }
    }
    parts.join(" · ")
}

/// How a run ended, in two or three words: `exit 1`, `oom`, `probably oom`, `signal SEGV`, `probe failed`.
pub(crate) fn end_words(end: &LastEnd) -> String {
    let what = match (end.cause, end.code, end.signal) {
        (Cause::Exit, Some(code), _) => format!("exit {code}"),
        (Cause::Signal, _, Some(signal)) => format!("signal {signal}"),
        (cause, _, _) => cause_words(cause).to_owned(),
    };
    match end.certainty {
        Certainty::Certain => what,
        Certainty::Likely => format!("probably {what}"),
        Certainty::Guess => format!("perhaps {what}"),
    }
}

/// A cause in words for people.
pub(crate) fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Exit => "exit",
        Cause::Signal => "signal",
        Cause::Oom => "out of memory",
        Cause::Probe => "probe failed",
        Cause::Watchdog => "watchdog missed",
        Cause::MemoryLimit => "memory limit",
        Cause::Watch => "file changed",
        Cause::Config => "configuration changed",
        Cause::Dependency => "dependency",
        Cause::Schedule => "schedule",
        Cause::User => "asked for",
        Cause::SpawnError => "cannot be started",
        Cause::StartTimeout => "not ready in time",
        Cause::SupervisorLost => "everup was gone",
    }
}

/// How long it runs, or nothing.
pub(crate) fn uptime(instance: &InstanceStatus) -> Option<String> {
    instance.uptime_ms.map(|ms| coarse(std::time::Duration::from_millis(ms)))
}
