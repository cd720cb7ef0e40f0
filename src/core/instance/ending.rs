//! From "end it" or "it ended" to what follows.

use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::backoff;
use crate::core::cause::{Explained, describe, explain};
use crate::core::context::Context;
use crate::core::event::{Hook, OomTrace, Traces};
use crate::core::instance::{Dying, Instance, Next, Phase};
use crate::model::event::{EventWord, Fact};
use crate::model::names::Run;
use crate::model::plan::{Kind, LimitThen, Policy, RuleThen};
use crate::model::service::{Cause, Certainty, Desired, End, SpawnStage};
use crate::model::signal::Signal;
use crate::model::status::LastEnd;
use crate::model::units::{Moment, Now, format_duration, millis};

/// How long `before_start` and `after_end` may take.
pub(crate) const HOOK_LIMIT: Duration = Duration::from_secs(60);
/// An end this soon after a Ctrl-C that reached the program is the person's doing.
const INTERRUPT_COUNTS_FOR: Duration = Duration::from_secs(10);

impl Instance {
    /// Ends the current run for a reason of everup's or a person's. `next` says what follows; none: the restart
    /// policy decides once it has ended. While a run is ending already only what follows changes: the last wish wins.
    pub(crate) fn end_for(&mut self, why: Explained, next: Option<Next>, cx: &mut Context<'_>) {
        let (run, pid, since, proven) = match &mut self.phase {
            Phase::Stopping(dying) => {
                dying.next = next.or(dying.next);
                return;
            }
            Phase::Cleaning { next: follows, .. } => {
                *follows = next.unwrap_or(*follows);
                return;
            }
            Phase::Preparing { run, .. } => {
                cx.out.push(Action::Dismiss { instance: self.id.clone(), run: *run });
                self.cause = Some(why.cause);
                self.go_on(next.unwrap_or(Next::Rest), cx);
                return;
            }
            Phase::Spawning { run, since } => (*run, None, *since, false),
            Phase::Starting { live, .. } => (live.run, Some(live.pid), live.since, false),
            Phase::Running { live } => {
                let proven = live.proven
                    || live.good_since.is_some_and(|good| cx.now.moment.since(good) >= self.plan.restart.reset_after);
                (live.run, Some(live.pid), live.since, proven)
            }
            Phase::Stopped | Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => return,
        };
        if self.live().is_some_and(|live| live.ready) {
            self.unready_since = Some(cx.now.moment);
        }
        self.waits_to_heal = None;
        self.cause = Some(why.cause);
        cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
        let message = why.evidence.first().cloned();
        cx.out.push(Action::Record(Fact { cause: Some(why.cause), message, ..self.fact(EventWord::Stopping) }));
        let command_runs = self.plan.stop.command.is_some() && pid.is_some();
        self.phase = Phase::Stopping(Dying {
            run,
            pid,
            since,
            begun: cx.now.moment,
            asked: Some(why),
            kill_at: cx.now.moment.after(self.plan.stop.timeout),
            killing: None,
            main_ended: false,
            command_runs,
            proven,
            next,
        });
        let first = if command_runs { self.hook(Hook::Stop) } else { self.stop_signal(run, Scope::Main) };
        cx.out.push(first);
    }

    fn stop_signal(&self, run: Run, scope: Scope) -> Action {
        Action::Signal { instance: self.id.clone(), run, signal: self.plan.stop.signal, scope }
    }

    /// Patience is over: kills what is left of the tree.
    pub(crate) fn kill(&mut self, cx: &mut Context<'_>) {
        if let Phase::Stopping(dying) = &mut self.phase {
            if dying.killing.is_none() {
                dying.killing = Some(cx.now.moment);
                let waited = format_duration(cx.now.moment.since(dying.begun));
                if let Some(why) = &mut dying.asked {
                    why.evidence.push(format!("it did not end within {waited} and was killed"));
                }
            }
            cx.out.push(Action::EndTree { instance: self.id.clone(), run: dying.run });
        }
    }

    /// The main process is gone, or never came to be.
    pub(crate) fn ended(&mut self, run: Run, end: &End, traces: &Traces, cx: &mut Context<'_>) {
        let (since, asked, proven, next, was_killed, begun) = match &self.phase {
            Phase::Stopping(dying) if dying.main_ended => return,
            Phase::Stopping(dying) => {
                (dying.since, dying.asked.clone(), dying.proven, dying.next, dying.killing.is_some(), Some(dying.begun))
            }
            Phase::Preparing { since, .. } | Phase::Spawning { since, .. } => (*since, None, false, None, false, None),
            Phase::Starting { live, .. } => (live.since, None, false, None, false, None),
            Phase::Running { live } => {
                let proven = self.is_proven(cx.now.moment);
                (live.since, None, proven, None, false, None)
            }
            _ => return,
        };
        if begun.is_none() {
            cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
            if self.live().is_some_and(|live| live.ready) {
                self.unready_since = Some(cx.now.moment);
            }
        }
        self.waits_to_heal = None;
        self.end = Some(end.clone());
        let interrupted = self.interrupted.is_some_and(|at| cx.now.moment.since(at) < INTERRUPT_COUNTS_FOR);
        let asked = asked.or_else(|| {
            interrupted.then(|| Explained {
                cause: Cause::User,
                certainty: Certainty::Likely,
                evidence: vec!["Ctrl-C was typed just before".to_owned()],
            })
        });
        let mut explained = explain(end, traces, asked.as_ref());
        if let (Some(reason), End::NotSpawned { stage: SpawnStage::Hook, .. }) = (&self.reason, end) {
            explained.evidence = vec![reason.clone()];
        }
        if was_killed && matches!(traces.oom, OomTrace::Proven(_)) {
            explained.evidence.push("the kernel also killed it for memory".to_owned());
        }
        if !traces.tree_empty && asked.is_none() && matches!(end, End::Code(0)) {
            explained.evidence.push(
                "other processes of it were still running: if it puts itself in the background, run it in the foreground instead"
                    .to_owned(),
            );
        }
        let (next, then) = match next {
            Some(next) => (next, None),
            None if self.desired == Desired::Down => (Next::Rest, None),
            None if interrupted => (Next::Exit { success: false }, Some("left as it is".to_owned())),
            None => self.decide(&explained, end, proven, cx),
        };
        self.note_end(run, end, &explained, since, then, cx);
        let dying = Dying {
            run,
            pid: None,
            since,
            begun: begun.unwrap_or(cx.now.moment),
            asked,
            kill_at: cx.now.moment,
            killing: None,
            main_ended: true,
            command_runs: false,
            proven,
            next: Some(next),
        };
        let was_spawned = !matches!(end, End::NotSpawned { .. });
        match &mut self.phase {
            Phase::Stopping(before) => {
                before.main_ended = true;
                before.next = Some(next);
                if !traces.tree_empty && before.killing.is_none() && !before.command_runs {
                    let signal = self.stop_signal(run, Scope::Tree);
                    cx.out.push(signal);
                }
            }
            _ if traces.tree_empty => self.phase = Phase::Stopping(dying),
            _ => {
                // An unasked death takes the rest of its tree along at once.
                self.phase = Phase::Stopping(Dying { killing: Some(cx.now.moment), ..dying });
                cx.out.push(Action::EndTree { instance: self.id.clone(), run });
            }
        }
        if traces.tree_empty || !was_spawned {
            self.tree_gone(cx);
        }
    }

    fn note_end(
        &mut self,
        run: Run,
        end: &End,
        explained: &Explained,
        since: Now,
        then: Option<String>,
        cx: &mut Context<'_>,
    ) {
        let (code, signal) = match end {
            End::Code(code) => (Some(*code), None),
            End::Signal { signal, .. } => (None, Some(*signal)),
            End::NotSpawned { .. } | End::Unknown => (None, None),
        };
        let ran_ms = millis(cx.now.moment.since(since.moment));
        self.cause = Some(explained.cause);
        self.last_end = Some(LastEnd {
            run,
            cause: explained.cause,
            certainty: explained.certainty,
            code,
            signal,
            at: cx.now.wall,
            ran_ms,
        });
        cx.out.push(Action::Record(Fact {
            cause: Some(explained.cause),
            certainty: Some(explained.certainty),
            code,
            signal,
            ran_ms: Some(ran_ms),
            message: Some(describe(end)),
            evidence: explained.evidence.clone(),
            then,
            ..self.fact(EventWord::Ended)
        }));
    }

    /// The last process of the tree is gone.
    pub(crate) fn tree_gone(&mut self, cx: &mut Context<'_>) {
        let Phase::Stopping(dying) = &self.phase else { return };
        if !dying.main_ended {
            return;
        }
        self.unkillable = false;
        let (run, next) = (dying.run, dying.next.unwrap_or(Next::Rest));
        let spawned = !matches!(self.end, Some(End::NotSpawned { .. }));
        if self.plan.hooks.after_end.is_some() && spawned {
            self.phase = Phase::Cleaning { run, until: cx.now.moment.after(HOOK_LIMIT), next };
            cx.out.push(self.hook(Hook::AfterEnd));
        } else {
            self.go_on(next, cx);
        }
    }

    /// A hook or `stop.command` ended.
    pub(crate) fn hook_ended(&mut self, hook: Hook, result: &Result<(), String>, cx: &mut Context<'_>) {
        match (hook, &mut self.phase) {
            (Hook::BeforeStart, Phase::Preparing { run, .. }) => match result {
                Ok(()) => self.prepared(cx),
                Err(message) => {
                    let run = *run;
                    self.reason = Some(format!("before_start failed: {message}"));
                    let end = End::NotSpawned { stage: SpawnStage::Hook, errno: 0 };
                    self.ended(run, &end, &Traces { tree_empty: true, ..Traces::default() }, cx);
                }
            },
            (Hook::Stop, Phase::Stopping(dying)) => {
                dying.command_runs = false;
                let (run, scope) = (dying.run, if dying.main_ended { Scope::Tree } else { Scope::Main });
                // A command that succeeded has asked the program to end; it gets the rest of the timeout for it.
                if result.is_err() && dying.killing.is_none() {
                    let signal = self.stop_signal(run, scope);
                    cx.out.push(signal);
                }
            }
            (Hook::AfterEnd, Phase::Cleaning { next, .. }) => {
                let next = *next;
                self.go_on(next, cx);
            }
            (Hook::BeforeStart | Hook::AfterReady | Hook::AfterEnd | Hook::Stop, _) => {}
        }
    }

    /// Nothing of the run is left: takes up what follows.
    pub(crate) fn go_on(&mut self, next: Next, cx: &mut Context<'_>) {
        let next = match next {
            Next::Again | Next::Retry { .. } if self.desired == Desired::Down => Next::Rest,
            other => other,
        };
        if !matches!(next, Next::Retry { .. } | Next::Again) || self.healing.is_some_and(|sick| self.run > sick) {
            self.healing = None;
        }
        match next {
            Next::Rest => self.phase = Phase::Stopped,
            // Whether what it needs is there is decided where all services are known.
            Next::Again => self.phase = Phase::Waiting,
            Next::Retry { until, slow } => {
                self.phase = Phase::Backoff { until, slow };
                self.start_cause = self.last_end.as_ref().map(|end| end.cause);
                let delay_ms = Some(millis(until.since(cx.now.moment)));
                if delay_ms != Some(0) {
                    cx.out.push(Action::Record(Fact { delay_ms, cause: self.cause, ..self.fact(EventWord::Backoff) }));
                }
            }
            Next::Exit { success } if self.plan.kind == Kind::Task && !success => {
                self.phase = Phase::Failed;
                self.reason.get_or_insert_with(|| "the task did not succeed".to_owned());
                cx.out.push(self.failed_fact());
            }
            Next::Exit { success } => {
                self.phase = Phase::Exited { success };
                if self.plan.kind == Kind::Task {
                    cx.out.push(Action::Record(self.fact(EventWord::Completed)));
                }
            }
            Next::GiveUp => {
                self.phase = Phase::Failed;
                cx.out.push(self.failed_fact());
            }
            Next::EndEverup => {
                self.phase = Phase::Failed;
                self.ends_everup = true;
                cx.out.push(self.failed_fact());
            }
        }
    }

    fn failed_fact(&self) -> Action {
        let last = self.last_end.as_ref();
        Action::Record(Fact {
            cause: self.cause,
            certainty: last.map(|end| end.certainty),
            code: last.and_then(|end| end.code),
            signal: last.and_then(|end| end.signal),
            message: self.reason.clone(),
            ..self.fact(EventWord::Failed)
        })
    }

    /// What follows an end that nobody's wish explains, and a sentence about it.
    fn decide(
        &mut self,
        explained: &Explained,
        end: &End,
        proven: bool,
        cx: &mut Context<'_>,
    ) -> (Next, Option<String>) {
        let plan = self.plan.clone();
        let restart = &plan.restart;
        let code = match end {
            End::Code(code) => Some(*code),
            End::Signal { .. } | End::NotSpawned { .. } | End::Unknown => None,
        };
        // Exit 0 is a success whatever asked for it; a failed probe is a failure whatever it ended with.
        let by_itself = matches!(explained.cause, Cause::Exit | Cause::Signal | Cause::SupervisorLost);
        let success = explained.cause == Cause::Exit
            && code.is_some_and(|code| restart.success_codes.iter().any(|r| r.holds(code)));
        let rule = restart.rules.iter().find(|rule| {
            code.is_some_and(|code| rule.codes.iter().any(|range| range.holds(code)))
                || matches!(end, End::Signal { signal, .. } if rule.signals.contains(signal))
                || rule.causes.contains(&explained.cause)
        });
        let now = cx.now.moment;
        match rule.map(|rule| rule.then) {
            Some(RuleThen::Stop) => {
                self.reason = Some("a restart rule says stop".to_owned());
                return (Next::GiveUp, Some("given up: a restart rule says stop".to_owned()));
            }
            Some(RuleThen::Exit) => return (Next::EndEverup, Some("everup ends: a restart rule says exit".to_owned())),
            Some(RuleThen::Slow) => {
                self.automatic.push_back(now);
                return self.slow(now, "a restart rule says slow", cx);
            }
            Some(RuleThen::Restart | RuleThen::RestartNow) => {}
            None => match restart.policy {
                Policy::Never => return (Next::Exit { success }, Some("left as it is: restart is never".to_owned())),
                Policy::OnFailure if success => {
                    return (Next::Exit { success }, Some("left as it is: it ended with success".to_owned()));
                }
                Policy::OnFailure | Policy::Always | Policy::UnlessStopped => {}
            },
        }
        let window = restart.limit.within;
        while self.automatic.front().is_some_and(|at| now.since(*at) >= window) {
            self.automatic.pop_front();
        }
        let limit = restart.limit;
        if self.crash_looping || self.automatic.len() >= limit.count as usize {
            let told = format!("restarted {} times within {}", limit.count, format_duration(limit.within));
            match limit.then {
                LimitThen::Slow => {
                    if !std::mem::replace(&mut self.crash_looping, true) {
                        let fact = self.fact(EventWord::CrashLooping);
                        cx.out.push(Action::Record(Fact { message: Some(told.clone()), ..fact }));
                    }
                    self.automatic.push_back(now);
                    return self.slow(now, "crash-looping", cx);
                }
                LimitThen::Stop => {
                    self.reason = Some(told.clone());
                    return (Next::GiveUp, Some(format!("given up: {told}")));
                }
                LimitThen::Exit => {
                    self.reason = Some(told.clone());
                    return (Next::EndEverup, Some(format!("everup ends: {told}")));
                }
            }
        }
        self.automatic.push_back(now);
        let delay = if rule.is_some_and(|rule| rule.then == RuleThen::RestartNow) {
            Duration::ZERO
        } else if by_itself && proven {
            self.attempts = 0;
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

    fn slow(&self, now: Moment, why: &str, cx: &mut Context<'_>) -> (Next, Option<String>) {
        let delay = backoff::slow_delay(&self.plan.restart, cx.dice);
        let told = format!("tried again after {} ({why})", format_duration(delay));
        (Next::Retry { until: now.after(delay), slow: true }, Some(told))
    }

    /// A person does not want it any more.
    pub(crate) fn rest(&mut self, why: Explained, cx: &mut Context<'_>) {
        self.desired = Desired::Down;
        match self.phase {
            Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => {
                self.cause = Some(why.cause);
                self.reason = None;
                self.phase = Phase::Stopped;
            }
            Phase::Stopped => {}
            Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. } => self.end_for(why, Some(Next::Rest), cx),
        }
    }

    /// Ends the run (if any) and starts the next at once.
    pub(crate) fn again(&mut self, why: Explained, cx: &mut Context<'_>) {
        let cause = why.cause;
        if self.is_gone() {
            self.start_cause = Some(cause);
            self.phase = Phase::Waiting;
        } else {
            self.end_for(why, Some(Next::Again), cx);
            self.start_cause = Some(cause);
            if matches!(self.phase, Phase::Stopped) {
                self.phase = Phase::Waiting;
            }
        }
    }
}

/// Errors of a start that time alone does not mend: the program, user or folder is not there or not ours.
fn is_permanent(end: &End) -> bool {
    const TRANSIENT: [i32; 4] = [11, 12, 23, 24]; // EAGAIN ENOMEM ENFILE EMFILE
    matches!(end, End::NotSpawned { stage, errno } if *stage != SpawnStage::Hook && !TRANSIENT.contains(errno))
}

/// Why a person's request ends a run.
pub(crate) fn by_person(what: &str, by: &str) -> Explained {
    Explained { cause: Cause::User, certainty: Certainty::Certain, evidence: vec![format!("{what} by {by}")] }
}

/// The signal of an interrupt, for [`Action::Signal`].
pub(crate) const INTERRUPT: Signal = Signal::INT;
