//! What follows an end that nobody asked for: rules, policy, limit, backoff.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::backoff;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::instance::{Instance, Next};
use crate::model::event::{EventWord, Fact};
use crate::model::plan::{Kind, LimitThen, Policy, RestartPlan, Rule, RuleThen};
use crate::model::service::{Cause, Desired, End, SpawnStage};
use crate::model::units::{Moment, format_duration};

/// Why nothing is done about an end.
const AWAITS_CHANGE: &str = "waits for a change of its files";

type Decision = (Next, Option<String>);

impl Instance {
    /// What follows an end that nobody's wish explains, and a sentence about it.
    pub(crate) fn decide(
        &mut self,
        explained: &Explained,
        end: &End,
        proven: bool,
        cx: &mut Context<'_>,
    ) -> (Next, Option<String>) {
        let plan = self.plan.clone();
        let restart = &plan.restart;
        let now = cx.now.moment;
        let rule = restart.rules.iter().find(|rule| matches_rule(rule, end, explained.cause)).map(|rule| rule.then);
        if rule == Some(RuleThen::Exit) {
            return self.give_up(Next::EndEverup, "a restart rule says exit");
        }
        if self.has_new_files() {
            return (self.start_with_new_files(), Some("started with the new files".to_owned()));
        }
        let settled = match rule {
            Some(RuleThen::Stop) => Some(self.give_up(Next::GiveUp, "a restart rule says stop")),
            _ if self.waits_for_change() && may_be_the_code(explained.cause) => {
                Some(self.await_change(explained.cause, end, cx))
            }
            Some(RuleThen::Slow) => Some(self.slow(now, "a restart rule says slow", cx)),
            Some(RuleThen::Restart | RuleThen::RestartNow | RuleThen::Exit) => None,
            None => left_as_it_is(restart, plan.kind, explained.cause, end),
        };
        if let Some(settled) = settled.or_else(|| self.over_the_limit(restart, now, cx)) {
            return settled;
        }
        let delay = if proven && is_own_end(explained.cause) {
            self.attempts = 0;
            Duration::ZERO
        } else if rule == Some(RuleThen::RestartNow) {
            Duration::ZERO
        } else {
            self.attempts = self.attempts.saturating_add(1);
            // What cannot be started will not start a moment later either.
            let attempt = if is_permanent(end) { u32::MAX } else { self.attempts };
            backoff::delay(restart, attempt, cx.dice)
        };
        let told = if delay.is_zero() {
            "restarted at once".to_owned()
        } else {
            format!("restarted after {}", format_duration(delay))
        };
        (Next::Retry { until: now.after(delay), slow: false }, Some(told))
    }

    /// What follows an end that trying again would only repeat.
    fn await_change(&mut self, cause: Cause, end: &End, cx: &mut Context<'_>) -> Decision {
        let plan = self.plan.clone();
        if plan.restart.limit.then == LimitThen::Exit
            && let Some(over) = self.over_the_limit(&plan.restart, cx.now.moment, cx)
        {
            return over;
        }
        let left = left_as_it_is(&plan.restart, plan.kind, cause, end);
        match left.filter(|(next, _)| *next == (Next::Exit { success: true })) {
            Some(completed) if plan.kind == Kind::Task => completed,
            left => {
                self.reason = Some(AWAITS_CHANGE.to_owned());
                (left.map_or(Next::AwaitChange, |(next, _)| next), Some(AWAITS_CHANGE.to_owned()))
            }
        }
    }

    /// Whether there are files to start with that it has not been started with yet.
    pub(crate) fn has_new_files(&self) -> bool {
        self.desired == Desired::Up && !self.drift.is_empty() && self.drift.approved && self.interrupted.is_none()
    }

    /// Starts with the new files, whatever became of the old ones.
    pub(crate) fn start_with_new_files(&mut self) -> Next {
        self.forgive();
        self.start_cause = Some(Cause::Watch);
        self.automatic_start = false;
        Next::Again
    }

    /// What follows when it was restarted too often: nothing, while the limit is not reached.
    fn over_the_limit(&mut self, restart: &RestartPlan, now: Moment, cx: &mut Context<'_>) -> Option<Decision> {
        let limit = restart.limit;
        while self.automatic.front().is_some_and(|at| now.since(*at) >= limit.within) {
            self.automatic.pop_front();
        }
        if !self.crash_looping && self.automatic.len() < limit.count as usize {
            return None;
        }
        let told = format!("restarted {} within {}", times(limit.count), format_duration(limit.within));
        Some(match limit.then {
            LimitThen::Slow => {
                if !std::mem::replace(&mut self.crash_looping, true) {
                    let fact = self.fact(EventWord::CrashLooping);
                    cx.out.push(Action::Record(Fact { message: Some(told), ..fact }));
                }
                self.slow(now, "crash-looping", cx)
            }
            LimitThen::Stop => self.give_up(Next::GiveUp, &told),
            LimitThen::Exit => self.give_up(Next::EndEverup, &told),
        })
    }

    fn give_up(&mut self, next: Next, why: &str) -> Decision {
        self.reason = Some(why.to_owned());
        let what = if next == Next::EndEverup { "everup ends" } else { "given up" };
        (next, Some(format!("{what}: {why}")))
    }

    fn slow(&self, now: Moment, why: &str, cx: &mut Context<'_>) -> Decision {
        let delay = backoff::slow_delay(&self.plan.restart, cx.dice);
        let told = format!("tried again after {} ({why})", format_duration(delay));
        (Next::Retry { until: now.after(delay), slow: true }, Some(told))
    }
}

/// The policy's answer where it is not a restart.
fn left_as_it_is(restart: &RestartPlan, kind: Kind, cause: Cause, end: &End) -> Option<Decision> {
    // A run that everup ended is a failure whatever it ended with.
    let success = cause == Cause::Exit
        && matches!(end, End::Code(code) if restart.success_codes.iter().any(|range| range.holds(*code)));
    let left = |why: &str| Some((Next::Exit { success }, Some(format!("left as it is: {why}"))));
    match (kind, restart.policy) {
        (Kind::Task, _) if success => left("it completed"),
        (Kind::Service | Kind::Task, Policy::Never) => left("restart is never"),
        (Kind::Service, Policy::OnFailure) if success => left("it ended with success"),
        (Kind::Service | Kind::Task, Policy::OnFailure) if cause == Cause::User => left("a person ended it"),
        (Kind::Service | Kind::Task, Policy::OnFailure | Policy::Always | Policy::UnlessStopped) => None,
    }
}

/// Whether an end for this reason may be the doing of what its files hold.
fn may_be_the_code(cause: Cause) -> bool {
    match cause {
        Cause::Exit | Cause::Signal | Cause::Oom | Cause::SpawnError | Cause::StartTimeout | Cause::Watch => true,
        Cause::Probe
        | Cause::Watchdog
        | Cause::MemoryLimit
        | Cause::Config
        | Cause::Dependency
        | Cause::Schedule
        | Cause::User
        | Cause::SupervisorLost => false,
    }
}

/// Whether the end was the program's own (or someone else's), not everup's decision.
fn is_own_end(cause: Cause) -> bool {
    match cause {
        Cause::Exit | Cause::Signal | Cause::SupervisorLost | Cause::User => true,
        Cause::Oom
        | Cause::Probe
        | Cause::Watchdog
        | Cause::MemoryLimit
        | Cause::Watch
        | Cause::Config
        | Cause::Dependency
        | Cause::Schedule
        | Cause::SpawnError
        | Cause::StartTimeout => false,
    }
}

/// Codes and signals speak only where the program ended by itself: after everup's own stop they are its answer to that.
fn matches_rule(rule: &Rule, end: &End, cause: Cause) -> bool {
    let own = is_own_end(cause) || cause == Cause::Oom;
    let by_number = match end {
        End::Code(code) => rule.codes.iter().any(|range| range.holds(*code)),
        End::Signal { signal, .. } => rule.signals.contains(signal),
        End::NotSpawned { .. } | End::Unknown => false,
    };
    (own && by_number) || rule.causes.contains(&cause)
}

/// Errors of a start that time alone does not mend: the program, user or folder is not there or not ours.
fn is_permanent(end: &End) -> bool {
    const TRANSIENT: [i32; 4] = [11, 12, 23, 24]; // EAGAIN ENOMEM ENFILE EMFILE
    matches!(end, End::NotSpawned { stage, errno } if *stage != SpawnStage::Hook && !TRANSIENT.contains(errno))
}
/// A count in words.
fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
