//! What an instance is doing, in words and as a mark. `page.js` says the same as figures come in.

use maud::{Markup, html};

use crate::model::overview::{InstanceOverview, Overview, ServiceOverview};
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::status::{LastEnd, ServiceKind};
use crate::model::units::Timestamp;
use crate::server::page::figures::{ago, length_ms};
use crate::server::page::words::{Words, fill};

/// How a state is to be taken; each has a mark of its own shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// In trouble.
    Bad,
    /// Off, as it was wanted.
    Dim,
}

impl Tone {
    /// The class that colours it, and the name of its mark.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Dim => "dim",
        }
    }
}

/// The tone of a state of this service.
pub(crate) fn tone(
    service: &ServiceOverview,
    state: State,
    ready: bool,
    healthy: Option<bool>,
    end: Option<&LastEnd>,
) -> Tone {
    match state {
        State::Failed | State::Backoff => Tone::Bad,
        _ if service.crash_looping && service.desired == Desired::Up && !ready => Tone::Bad,
        State::Running | State::Reloading if healthy == Some(false) => Tone::Bad,
        State::Running if ready => Tone::Good,
        State::Running | State::Reloading | State::Waiting | State::Starting | State::Stopping => Tone::Busy,
        State::Exited if ended_well(service, ready, end) => Tone::Dim,
        State::Exited => Tone::Bad,
        State::Stopped => Tone::Dim,
    }
}

/// An end with success that nobody wants repeated is no trouble.
fn ended_well(service: &ServiceOverview, ready: bool, end: Option<&LastEnd>) -> bool {
    service.desired == Desired::Down
        || (service.kind == ServiceKind::Task && ready)
        || end.is_none_or(|end| end.code == Some(0) || end.cause == Cause::User)
}

/// Whether somebody should look at the service.
pub(crate) fn in_trouble(service: &ServiceOverview) -> bool {
    let bad = |tone| tone == Tone::Bad;
    if service.instances.is_empty() {
        return bad(tone(service, service.state, service.ready, service.healthy, None));
    }
    service.instances.iter().any(|instance| bad(tone_of(service, instance)))
}

/// How many services somebody should look at.
pub(crate) fn troubles(overview: &Overview) -> usize {
    overview.services.iter().filter(|service| in_trouble(service)).count()
}

/// The tone of an instance.
pub(crate) fn tone_of(service: &ServiceOverview, instance: &InstanceOverview) -> Tone {
    tone(service, instance.state, instance.ready, instance.healthy, instance.last_end.as_ref())
}

/// A state in words.
pub(crate) fn state_word(state: State, words: &Words) -> &'static str {
    match state {
        State::Stopped => words.stopped,
        State::Waiting => words.waiting,
        State::Starting => words.starting,
        State::Running => words.running,
        State::Reloading => words.reloading,
        State::Stopping => words.stopping,
        State::Backoff => words.backoff,
        State::Exited => words.exited,
        State::Failed => words.failed,
    }
}

/// A state with what qualifies it: `running, unhealthy`.
pub(crate) fn state_words(
    service: &ServiceOverview,
    state: State,
    ready: bool,
    healthy: Option<bool>,
    words: &Words,
) -> String {
    let word = match state {
        State::Exited if service.kind == ServiceKind::Task && ready => words.completed,
        state => state_word(state, words),
    };
    let flaw = match state {
        State::Running | State::Reloading if healthy == Some(false) => Some(words.unhealthy),
        State::Running | State::Reloading if !ready => Some(words.not_ready),
        _ => None,
    };
    let looping = service.crash_looping.then_some(words.crash_looping);
    let all: Vec<&str> = [Some(word), flaw, looping].into_iter().flatten().collect();
    all.join(", ")
}

/// A mark and its words.
pub(crate) fn shown(tone: Tone, text: &str) -> Markup {
    html! {
        svg class={ "mark " (tone.class()) } viewBox="0 0 12 12" aria-hidden="true" { use href={ "#mark-" (tone.class()) } {} }
        span.word { (text) }
    }
}

/// The marks, once a page.
pub(crate) fn marks() -> Markup {
    html! {
        svg.marks width="0" height="0" aria-hidden="true" {
            symbol id="mark-good" viewBox="0 0 12 12" { circle cx="6" cy="6" r="4.5" {} }
            symbol id="mark-busy" viewBox="0 0 12 12" { path d="M6 1.5a4.5 4.5 0 0 1 0 9z" {} circle cx="6" cy="6" r="4.4" fill="none" stroke="currentColor" stroke-width="1.3" {} }
            symbol id="mark-bad" viewBox="0 0 12 12" { path d="M6 .6 11.7 11H.3z" {} }
            symbol id="mark-dim" viewBox="0 0 12 12" { rect x="2" y="2" width="8" height="8" rx="1" fill="none" stroke="currentColor" stroke-width="1.4" {} }
        }
    }
}

/// What is to be said beside an instance's state: why it is so, when it is tried again, how it ended last.
pub(crate) fn note(service: &ServiceOverview, instance: &InstanceOverview, now: Timestamp, words: &Words) -> Markup {
    let quiet = matches!(tone_of(service, instance), Tone::Good);
    let reason = instance.reason.as_deref().or(service.reason.as_deref()).filter(|_| !quiet);
    let failed = instance.probes.last().filter(|tick| !tick.ok && instance.state == State::Running);
    let probe = failed.and_then(|tick| tick.message.as_deref());
    html! {
        @if let Some(ms) = instance.next_attempt_in_ms {
            span.next { (fill(words.next_try, &[("time", &length_ms(ms, words))])) }
        }
        @if let Some(reason) = reason { span.reason lang="en" { (reason) } }
        @if let Some(probe) = probe { span.reason lang="en" { (probe) } }
        @if let Some(end) = &instance.last_end {
            span.end title=(crate::server::page::figures::exact(end.at)) {
                (fill(words.last_end, &[("what", &end_words(end.cause, end.certainty, end.code, end.signal.map(|signal| signal.to_string()), words)), ("ago", &ago(end.at, now, words))]))
            }
        }
    }
}

/// How a run ended, in two or three words: `exit 1`, `probably out of memory`.
pub(crate) fn end_words(
    cause: Cause,
    certainty: Certainty,
    code: Option<i32>,
    signal: Option<String>,
    words: &Words,
) -> String {
    let what = match (cause, code, signal) {
        (Cause::Exit, Some(code), _) => fill(words.cause_exit, &[("code", &code)]),
        (Cause::Signal, _, Some(signal)) => fill(words.cause_signal, &[("signal", &signal)]),
        (cause, _, _) => cause_word(cause, words).to_owned(),
    };
    match certainty {
        Certainty::Certain => what,
        Certainty::Likely => fill(words.probably, &[("what", &what)]),
        Certainty::Guess => fill(words.perhaps, &[("what", &what)]),
    }
}

/// A cause in words.
pub(crate) fn cause_word(cause: Cause, words: &Words) -> &'static str {
    match cause {
        Cause::Exit => words.cause_exit_plain,
        Cause::Signal => words.cause_signal_plain,
        Cause::Oom => words.cause_oom,
        Cause::Probe => words.cause_probe,
        Cause::Watchdog => words.cause_watchdog,
        Cause::MemoryLimit => words.cause_memory_limit,
        Cause::Watch => words.cause_watch,
        Cause::Config => words.cause_config,
        Cause::Dependency => words.cause_dependency,
        Cause::Schedule => words.cause_schedule,
        Cause::User => words.cause_user,
        Cause::SpawnError => words.cause_spawn_error,
        Cause::StartTimeout => words.cause_start_timeout,
        Cause::SupervisorLost => words.cause_supervisor_lost,
    }
}

/// How well a cause is known, in words.
pub(crate) fn certainty_word(certainty: Certainty, words: &Words) -> &'static str {
    match certainty {
        Certainty::Certain => words.certain,
        Certainty::Likely => words.likely,
        Certainty::Guess => words.guess,
    }
}
