//! What falls due in each phase, and when.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::event::Traces;
use crate::core::instance::ending::HOOK_LIMIT;
use crate::core::instance::{Instance, Phase};
use crate::model::event::EventWord;
use crate::model::service::{Cause, Certainty, End, SpawnStage};
use crate::model::units::{Moment, format_duration};

/// A tree that outlives SIGKILL this long is called unkillable (a process in uninterruptible sleep).
const UNKILLABLE_AFTER: Duration = Duration::from_secs(10);

impl Instance {
    /// The next moment at which this instance wants to act, with a word for why.
    pub(crate) fn deadline(&self) -> Option<(Moment, &'static str)> {
        match &self.phase {
            Phase::Preparing { since, .. } => Some((since.moment.after(HOOK_LIMIT), "hook limit")),
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
            Phase::Cleaning { until, .. } => Some((*until, "hook limit")),
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
                    cx.out.push(Action::EndTree { instance: self.id.clone(), run: dying.run });
                }
            }
            Phase::Cleaning { run, next, .. } => {
                let next = *next;
                cx.out.push(Action::Dismiss { instance: self.id.clone(), run: *run });
                self.go_on(next, cx);
            }
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

    /// everup itself was held up for `lag`: nobody is punished for it. Deadlines move, questions under way are taken
    /// back and put again.
    pub(crate) fn excuse(&mut self, lag: Duration, now: Moment) {
        match &mut self.phase {
            Phase::Starting { live, ready_by } => {
                *ready_by = ready_by.after(lag);
                live.health.excuse(now);
            }
            Phase::Running { live } => {
                if let Some(by) = &mut live.watchdog_by {
                    *by = by.after(lag);
                }
                live.health.excuse(now);
            }
            Phase::Stopping(dying) => dying.kill_at = dying.kill_at.after(lag),
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => {}
        }
    }
}

fn earliest<const N: usize>(all: [(Option<Moment>, &'static str); N]) -> Option<(Moment, &'static str)> {
    all.into_iter().filter_map(|(at, why)| at.map(|at| (at, why))).min_by_key(|(at, _)| *at)
}
