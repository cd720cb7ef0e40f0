//! What a running program's answers and silences mean.

use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::event::{Hook, Notice};
use crate::core::health::{Answer, Finding, gate_role, probe_of};
use crate::core::instance::{Instance, Phase, Signalled};
use crate::model::event::{EventWord, Fact};
use crate::model::plan::{HealthPlan, Kind};
use crate::model::probe::{ProbeRole, Verdict};
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;
use crate::model::units::{Moment, format_duration};

/// EXTEND_TIMEOUT_USEC can stretch a timeout to this many times its length, no further.
const MOST_EXTENSION: u32 = 10;

impl Instance {
    /// A probe was answered.
    pub(crate) fn probed(&mut self, answer: &Answer<'_>, cx: &mut Context<'_>) {
        let Answer { role, verdict, .. } = *answer;
        let plan = self.plan.clone();
        match &mut self.phase {
            Phase::Starting { live, .. } => {
                let finding = live.health.answered(&plan.health, answer, cx.now.moment);
                if finding == Finding::GatePassed {
                    self.opened(cx);
                }
            }
            Phase::Running { live } => {
                let finding = live.health.answered(&plan.health, answer, cx.now.moment);
                if role == ProbeRole::Liveness && finding != Finding::Stale && matches!(verdict, Verdict::Pass { .. }) {
                    self.forget_probe();
                }
                if matches!(finding, Finding::Failure | Finding::Failing { .. }) {
                    self.record_failure(role, verdict, cx);
                }
                self.found(role, &finding, verdict, cx);
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
    }

    fn record_failure(&self, role: ProbeRole, verdict: &Verdict, cx: &mut Context<'_>) {
        let known_bad = self.live().is_some_and(|live| match role {
            ProbeRole::Readiness => !live.ready,
            ProbeRole::Liveness | ProbeRole::Startup => live.healthy == Some(false),
        });
        // The failures that lead to a finding are news; those that confirm it are not.
        if !known_bad {
            let message = Some(words(verdict).to_owned());
            cx.out.push(Action::Record(Fact { message, ..self.fact(EventWord::ProbeFailed) }));
        }
    }

    fn found(&mut self, role: ProbeRole, finding: &Finding, verdict: &Verdict, cx: &mut Context<'_>) {
        let single = matches!(self.plan.health, HealthPlan::One(_));
        let (readiness, liveness) = (single || role == ProbeRole::Readiness, single || role == ProbeRole::Liveness);
        match finding {
            Finding::Passing | Finding::GatePassed => {
                if liveness {
                    self.become_healthy(cx);
                }
                if readiness {
                    self.become_ready(cx);
                }
            }
            Finding::Failing { failures, doubtful } => {
                if readiness {
                    self.become_unready(words(verdict), cx);
                }
                if liveness {
                    self.become_unhealthy(*failures, *doubtful, words(verdict), cx);
                }
            }
            Finding::Stale | Finding::Nothing | Finding::Failure => {}
        }
    }

    pub(crate) fn become_ready(&mut self, cx: &mut Context<'_>) {
        let Phase::Running { live } = &mut self.phase else { return };
        if live.ready {
            return;
        }
        live.ready = true;
        let first = !std::mem::replace(&mut live.was_ready, true);
        let ran = cx.now.moment.since(live.since.moment);
        let hook = (first && self.plan.hooks.after_ready.is_some()).then(|| self.hook(Hook::AfterReady));
        self.cause = None;
        self.reason = None;
        self.healing = None;
        self.gap = self.unready_since.take().map(|since| cx.now.moment.since(since));
        let ran_ms = Some(crate::model::units::millis(ran));
        cx.out.push(Action::Record(Fact { ran_ms, ..self.fact(EventWord::Ready) }));
        self.settle_goodness(cx);
        cx.out.extend(hook);
    }

    fn become_unready(&mut self, message: &str, cx: &mut Context<'_>) {
        let Phase::Running { live } = &mut self.phase else { return };
        if !std::mem::replace(&mut live.ready, false) {
            return;
        }
        self.unready_since = Some(cx.now.moment);
        let message = Some(message.to_owned());
        cx.out.push(Action::Record(Fact { message, ..self.fact(EventWord::Unready) }));
        self.settle_goodness(cx);
    }

    fn become_healthy(&mut self, cx: &mut Context<'_>) {
        let Phase::Running { live } = &mut self.phase else { return };
        let before = live.healthy.replace(true);
        self.forget_probe();
        if before == Some(false) {
            cx.out.push(Action::Record(self.fact(EventWord::Healthy)));
        }
        self.settle_goodness(cx);
    }

    fn become_unhealthy(&mut self, failures: u32, doubtful: bool, message: &str, cx: &mut Context<'_>) {
        let Phase::Running { live } = &mut self.phase else { return };
        if live.healthy.replace(false) != Some(false) {
            let message = Some(format!("{failures} probes failed in a row, the last: {message}"));
            cx.out.push(Action::Record(Fact { message, ..self.fact(EventWord::Unhealthy) }));
        }
        self.settle_goodness(cx);
        let mut evidence = vec![format!("{failures} probes in a row failed, the last: {message}")];
        if doubtful {
            evidence
                .push("the machine was short of CPU meanwhile: a busy machine looks the same as a hung app".to_owned());
        }
        let certainty = if doubtful { Certainty::Likely } else { Certainty::Certain };
        // The service decides when: one instance at a time.
        self.waits_to_heal = Some(Explained { cause: Cause::Probe, certainty, evidence });
    }

    /// Told to read its code anew.
    pub(crate) fn read_anew(&mut self, signal: Signal, why: &Explained, cx: &mut Context<'_>) {
        let Some(run) = self.live().map(|live| live.run) else { return };
        cx.out.push(Action::Signal { instance: self.id.clone(), run, signal, scope: Scope::Main });
        let what_for = why.evidence.first().map(String::as_str).unwrap_or_default();
        let told = format!("everup had SIG{signal} sent to it just before: {what_for}");
        self.signalled = Some(Signalled { signal, cause: why.cause, told, at: cx.now.moment });
        let new_files = self.drift.take();
        self.untried = true;
        self.forgive();
        self.take_over_files(new_files, Some(why.cause), cx);
        self.awaits_ready = self.plan.health.uses_notify();
    }

    /// Keeps `good_since` true to `ready` and `healthy`.
    fn settle_goodness(&mut self, cx: &mut Context<'_>) {
        let reset_after = self.plan.restart.reset_after;
        let Phase::Running { live } = &mut self.phase else { return };
        let good = live.ready && live.healthy != Some(false);
        match (good, live.good_since) {
            (true, None) => live.good_since = Some(cx.now.moment),
            (false, Some(since)) => {
                self.untried &= cx.now.moment.since(since.max(self.files_since)) < reset_after;
                live.proven |= cx.now.moment.since(since) >= reset_after;
                live.good_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Notes whether the files as they are have proven good by now.
    pub(crate) fn judge_files(&mut self, now: Moment) {
        let good_since = self.live().and_then(|live| live.good_since);
        let files_since = self.files_since;
        let good = good_since.is_some_and(|at| now.since(at.max(files_since)) >= self.plan.restart.reset_after);
        self.untried &= !good;
    }

    /// Whether the run has been good for `reset_after` in one piece by `now`.
    pub(crate) fn is_proven(&self, now: Moment) -> bool {
        self.live().is_some_and(|live| {
            live.proven || live.good_since.is_some_and(|since| now.since(since) >= self.plan.restart.reset_after)
        })
    }

    /// It spoke on NOTIFY_SOCKET.
    pub(crate) fn notified(&mut self, notice: Notice, cx: &mut Context<'_>) {
        match notice {
            Notice::Ready => self.said_ready(cx),
            Notice::Watchdog => {
                if let (Phase::Running { live }, Some(within)) = (&mut self.phase, self.plan.watchdog) {
                    live.watchdog_by = Some(cx.now.moment.after(within));
                    live.grants = 0;
                }
            }
            Notice::WatchdogTrigger => {
                if self.plan.watchdog.is_some() && matches!(self.phase, Phase::Running { .. }) {
                    let evidence = vec!["it reported WATCHDOG=trigger".to_owned()];
                    let why = Explained { cause: Cause::Watchdog, certainty: Certainty::Certain, evidence };
                    self.end_for(why, None, cx);
                }
            }
            Notice::Extend(by) => self.extend(by, cx),
            Notice::Status(text) => self.said = Some(text),
            Notice::Stopping => {}
        }
    }

    /// READY=1: remembered, as it is said once and perhaps before anybody waits for it.
    pub(crate) fn said_ready(&mut self, cx: &mut Context<'_>) {
        self.said_ready = true;
        self.awaits_ready = false;
        let finding = self.live().map_or(Finding::Nothing, |live| live.health.notified_ready(&self.plan.health));
        match finding {
            Finding::GatePassed => self.opened(cx),
            Finding::Passing => self.become_ready(cx),
            Finding::Stale | Finding::Nothing | Finding::Failure | Finding::Failing { .. } => {}
        }
    }

    fn extend(&mut self, by: Duration, cx: &mut Context<'_>) {
        let stop_limit = self.plan.stop.timeout.saturating_mul(MOST_EXTENSION);
        let start_limit = gate_role(&self.plan.health)
            .and_then(|role| probe_of(&self.plan.health, role))
            .map(|probe| probe.start_timeout.saturating_mul(MOST_EXTENSION));
        match &mut self.phase {
            Phase::Starting { live, ready_by } => {
                let latest = start_limit.map_or(*ready_by, |limit| live.since.moment.after(limit));
                *ready_by = cx.now.moment.after(by).min(latest).max(*ready_by);
            }
            Phase::Stopping(dying) if dying.killing.is_none() => {
                dying.kill_at = cx.now.moment.after(by).min(dying.begun.after(stop_limit)).max(dying.kill_at);
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
    }

    /// Its probes are configured anew while it runs: the questions begin again, what was found stays until then.
    pub(crate) fn rethink_health(&mut self, cx: &mut Context<'_>) {
        let plan = self.plan.clone();
        self.forget_probe();
        if let Some(live) = self.live() {
            cx.out.push(Action::Dismiss { instance: self.id.clone(), run: live.run });
        }
        let single = matches!(plan.health, HealthPlan::One(_));
        let asks = |role| single || probe_of(&plan.health, role).is_some();
        match &mut self.phase {
            Phase::Starting { live, ready_by } => {
                live.health = live.health.anew(&plan.health, cx.now.moment);
                match gate_role(&plan.health).and_then(|role| probe_of(&plan.health, role)) {
                    Some(probe) => *ready_by = cx.now.moment.after(probe.start_timeout),
                    None => self.opened(cx),
                }
                if self.said_ready {
                    self.said_ready(cx);
                }
            }
            Phase::Running { live } => {
                live.health = live.health.anew(&plan.health, cx.now.moment);
                live.health.open(&plan.health, cx.now.moment, cx.dice);
                if !live.ready {
                    live.health.listen(&plan.health, cx.now.moment);
                }
                live.healthy = asks(ProbeRole::Liveness).then(|| live.healthy.unwrap_or(true));
                if !asks(ProbeRole::Readiness) && plan.kind == Kind::Service {
                    self.become_ready(cx);
                } else if self.said_ready {
                    self.said_ready(cx);
                }
                self.settle_goodness(cx);
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
    }

    /// It missed its watchdog.
    pub(crate) fn missed_watchdog(&mut self, cx: &mut Context<'_>) {
        let within = self.plan.watchdog.map(format_duration).unwrap_or_default();
        let evidence = vec![format!("no WATCHDOG=1 within {within}")];
        let why = Explained { cause: Cause::Watchdog, certainty: Certainty::Certain, evidence };
        self.end_for(why, None, cx);
    }
}

fn words(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Pass { message } | Verdict::Fail { message, .. } | Verdict::Skip { message } => message,
    }
}
