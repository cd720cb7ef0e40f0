//! What falls due in each phase, and when.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::event::Traces;
use crate::core::health::{gate_role, probe_of};
use crate::core::instance::ending::HOOK_LIMIT;
use crate::core::instance::{Instance, Phase};
use crate::model::event::EventWord;
use crate::model::service::{Cause, Certainty, End, SpawnStage};
use crate::model::units::{Moment, format_duration};

/// A tree that outlives SIGKILL this long is called unkillable (a process in uninterruptible sleep).
const UNKILLABLE_AFTER: Duration = Duration::from_secs(10);
/// What is left at least of a deadline that passed while everup itself was held up …
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// … this many times a run, or since its last WATCHDOG=1.
const MOST_GRANTS: u8 = 10;

impl Instance {
    /// The next moment at which this instance wants to act, with a word for why.
    pub(crate) fn deadline(&self) -> Option<(Moment, &'static str)> {
        match &self.phase {
            Phase::Starting { live, ready_by } => {
                earliest([(Some(*ready_by), "start timeout"), (live.health.next_ask(), "probe")])
            }
            Phase::Running { live } => {
                let recovered = live
                    .good_since
                    .filter(|_| self.crash_looping)
                    .map(|since| since.after(self.plan.restart.reset_after));
                earliest([(live.watchdog_by, "watchdog"), (live.health.next_ask(), "probe"), (recovered, "recovery")])
            }
            Phase::Stopping(dying) => match dying.killing {
                None => Some((dying.kill_at, "kill")),
                Some(since) if !self.unkillable => Some((since.after(UNKILLABLE_AFTER), "unkillable")),
                Some(_) => None,
            },
            Phase::Preparing { until, .. } | Phase::Cleaning { until, .. } => Some((*until, "hook limit")),
            Phase::Backoff { until, .. } => Some((*until, "backoff")),
            Phase::Stopped | Phase::Waiting | Phase::Spawning { .. } | Phase::Exited { .. } | Phase::Failed => None,
        }
    }

    /// Carries out what has fallen due.
    pub(crate) fn fall_due(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.moment;
        if self.deadline().is_none_or(|(at, _)| at > now) {
            return;
        }
        match &mut self.phase {
            Phase::Preparing { run, .. } => {
                let run = *run;
                self.reason = Some(format!("before_start did not end within {}", format_duration(HOOK_LIMIT)));
                let end = End::NotSpawned { stage: SpawnStage::Hook, errno: 110 }; // ETIMEDOUT
                self.ended(run, &end, &Traces { tree_empty: true, ..Traces::default() }, cx);
            }
            Phase::Starting { live, ready_by } if *ready_by <= now => {
                let waited = format_duration(now.since(live.since.moment));
                let mut evidence = vec![format!("not ready within {waited}")];
                if let Some(last) = &live.health.last {
                    evidence.push(format!("its probe said last: {}", last.message));
                }
                let why = Explained { cause: Cause::StartTimeout, certainty: Certainty::Certain, evidence };
                self.end_for(why, None, cx);
            }
            Phase::Running { live } if live.watchdog_by.is_some_and(|at| at <= now) => self.missed_watchdog(cx),
            Phase::Starting { .. } | Phase::Running { .. } => {
                self.ask(cx);
                self.notice_recovery(cx);
            }
            Phase::Stopping(dying) => {
                if dying.killing.is_none() {
                    self.kill(cx);
                } else {
                    self.unkillable = true;
                    let run = dying.run;
                    cx.out.push(Action::EndTree { instance: self.id.clone(), run, overdue: false });
                    cx.out.push(Action::Look { instance: self.id.clone(), run });
                }
            }
            Phase::Cleaning { .. } => self.cut_cleaning(cx),
            Phase::Backoff { until, .. } => match cx.budget.take(now) {
                Ok(()) => self.phase = Phase::Waiting,
                Err(later) => *until = later,
            },
            Phase::Stopped | Phase::Waiting | Phase::Spawning { .. } | Phase::Exited { .. } | Phase::Failed => {}
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        let plan = self.plan.clone();
        if let Phase::Starting { live, .. } | Phase::Running { live } = &mut self.phase {
            for (role, seq) in live.health.due(&plan.health, cx.now.moment) {
                let (instance, run) = (self.id.clone(), live.run);
                cx.out.push(Action::Ask { instance, run, role, seq, plan: plan.clone() });
            }
        }
    }

    fn notice_recovery(&mut self, cx: &mut Context<'_>) {
        if self.crash_looping && self.is_proven(cx.now.moment) {
            self.crash_looping = false;
            cx.out.push(Action::Record(self.fact(EventWord::Recovered)));
        }
    }

    /// everup itself was held up for `lag`: nobody is punished for it. Deadlines move, and what was asked meanwhile
    /// proves nothing when it fails.
    pub(crate) fn excuse(&mut self, lag: Duration, now: Moment) {
        let plan = &self.plan;
        match &mut self.phase {
            Phase::Starting { live, ready_by } => {
                live.excuse_memory(lag);
                live.health.excuse(&plan.health, lag);
                // Time for one more question and its answer.
                let answer = gate_role(&plan.health).and_then(|role| probe_of(&plan.health, role));
                let least = answer.map_or(GRACE, |probe| probe.timeout.saturating_add(GRACE).min(probe.start_timeout));
                put_off(ready_by, lag, least, &mut live.grants, now);
            }
            Phase::Running { live } => {
                live.excuse_memory(lag);
                live.health.excuse(&plan.health, lag);
                if let (Some(by), Some(within)) = (&mut live.watchdog_by, plan.watchdog) {
                    let least = if lag > within / 2 { within } else { GRACE.min(within) };
                    put_off(by, lag, least, &mut live.grants, now);
                }
            }
            Phase::Stopping(dying) => match &mut dying.killing {
                None => put_off(&mut dying.kill_at, lag, GRACE.min(plan.stop.timeout), &mut dying.grants, now),
                Some(since) => *since = since.after(lag).min(now),
            },
            Phase::Preparing { until, .. } | Phase::Cleaning { until, .. } => *until = until.after(lag),
            Phase::Stopped
            | Phase::Waiting
            | Phase::Spawning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
    }
}

/// Moves a deadline by everup's own delay, and leaves at least `least` of it. The second only so many times: a machine
/// that is always late must not put it off for ever.
pub(crate) fn put_off(deadline: &mut Moment, lag: Duration, least: Duration, grants: &mut u8, now: Moment) {
    *deadline = deadline.after(lag);
    let wanted = now.after(least);
    if *deadline < wanted && *grants < MOST_GRANTS {
        *grants += 1;
        *deadline = wanted;
    }
}

fn earliest<const N: usize>(all: [(Option<Moment>, &'static str); N]) -> Option<(Moment, &'static str)> {
    all.into_iter().filter_map(|(at, why)| at.map(|at| (at, why))).min_by_key(|(at, _)| *at)
}
