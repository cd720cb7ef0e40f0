//! Wishes, and what follows a run whose last process is gone.

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::instance::{Instance, Next, Phase};
use crate::model::event::{EventWord, Fact};
use crate::model::plan::Kind;
use crate::model::service::{Cause, Desired};
use crate::model::units::millis;

impl Instance {
    /// Wants it up without forgiving anything: it starts as soon as what it needs is there.
    pub(crate) fn wish(&mut self, cause: Option<Cause>) {
        self.desired = Desired::Up;
        self.leaving = None;
        if !self.is_under_way() {
            self.start_cause = cause;
            self.automatic_start = false;
        }
        if matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Waiting;
        }
    }

    /// Wants it up at once: nothing of the past holds it back. What runs already is left alone; a wish during a stop
    /// is kept for when the old run is gone.
    pub(crate) fn want_up(&mut self, cause: Option<Cause>) {
        self.held = None;
        self.forgive();
        self.wish(cause);
        match &mut self.phase {
            Phase::Stopping(dying) => dying.next = Some(Next::Again),
            Phase::Cleaning { next, .. } => *next = Next::Again,
            Phase::Stopped | Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => {
                self.reason = None;
                self.phase = Phase::Waiting;
            }
            Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => {}
        }
    }

    /// Ends the run (if any) and starts the next at once.
    pub(crate) fn again(&mut self, why: Explained, cx: &mut Context<'_>) {
        let cause = why.cause;
        self.leaving = None;
        if self.is_gone() {
            self.phase = Phase::Waiting;
        } else {
            self.end_for(why, Some(Next::Again), cx);
        }
        self.start_cause = Some(cause);
        self.automatic_start = false;
    }

    /// As [`Instance::again`], for new code: what became of the old says nothing about it.
    pub(crate) fn swap(&mut self, why: Explained, cx: &mut Context<'_>) {
        self.forgive();
        self.again(why, cx);
    }

    /// It is not wanted any more. What runs and is needed by others that are on their way out too lives on until they
    /// are gone (see `Supervisor::let_go`).
    pub(crate) fn leave(&mut self, why: Explained, cx: &mut Context<'_>) {
        match &self.phase {
            Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => {
                self.desired = Desired::Down;
                self.rest_cause = Some(why.cause);
                self.leaving = Some(why);
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => self.rest(why, cx),
        }
    }

    /// Ends it now, for good.
    pub(crate) fn rest(&mut self, why: Explained, cx: &mut Context<'_>) {
        self.desired = Desired::Down;
        self.rest_cause = Some(why.cause);
        self.leaving = None;
        self.forgive();
        match self.phase {
            Phase::Stopped => {}
            Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => self.come_to_rest(),
            Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. } => self.end_for(why, Some(Next::Rest), cx),
        }
    }

    fn come_to_rest(&mut self) {
        self.phase = Phase::Stopped;
        self.cause = self.rest_cause;
        self.reason = None;
        self.healing = None;
        self.waits_to_heal = None;
        self.unready_since = None;
        self.automatic_start = false;
    }

    /// Nothing of the run is left: takes up what follows.
    pub(crate) fn go_on(&mut self, next: Next, cx: &mut Context<'_>) {
        // The wish may have changed since the end began; the last one counts.
        let next = match (next, self.desired) {
            (Next::Again | Next::Retry { .. }, Desired::Down) => Next::Rest,
            (Next::Rest, Desired::Up) => Next::Again,
            (other, Desired::Up | Desired::Down) => other,
        };
        let next = match next {
            Next::Retry { .. } | Next::Exit { .. } | Next::GiveUp | Next::AwaitChange if self.has_new_files() => {
                self.start_with_new_files()
            }
            Next::Retry { .. } | Next::Exit { .. } | Next::GiveUp | Next::AwaitChange => next,
            Next::Rest | Next::Again | Next::EndEverup => next,
        };
        // Its turn to heal lasts until the next run is ready or has ended too.
        let turn_is_over = self.healing.is_some_and(|sick| self.run > sick);
        if turn_is_over || !matches!(next, Next::Retry { .. } | Next::Again) {
            self.healing = None;
        }
        match next {
            Next::Rest => self.come_to_rest(),
            // Whether what it needs is there is decided where all services are known.
            Next::Again => self.phase = Phase::Waiting,
            Next::Retry { until, slow } => {
                self.phase = Phase::Backoff { until, slow };
                self.start_cause = self.last_end.as_ref().map(|end| end.cause);
                self.automatic_start = true;
                let delay_ms = Some(millis(until.since(cx.now.moment)));
                if delay_ms != Some(0) {
                    cx.out.push(Action::Record(Fact { delay_ms, cause: self.cause, ..self.fact(EventWord::Backoff) }));
                }
            }
            Next::Exit { success } => self.stay_ended(success, cx),
            Next::GiveUp | Next::AwaitChange => {
                self.phase = Phase::Failed;
                let then = (next == Next::AwaitChange).then(|| "waits for a change".to_owned());
                cx.out.push(self.failed_fact(then));
            }
            Next::EndEverup => {
                self.phase = Phase::Failed;
                self.ends_everup = true;
                cx.out.push(self.failed_fact(None));
            }
        }
    }

    fn stay_ended(&mut self, success: bool, cx: &mut Context<'_>) {
        match (self.plan.kind, success) {
            (Kind::Task, false) => {
                self.phase = Phase::Failed;
                self.reason.get_or_insert_with(|| "the task did not succeed".to_owned());
                cx.out.push(self.failed_fact(None));
            }
            (Kind::Task, true) => {
                self.phase = Phase::Exited { success };
                self.forgive();
                cx.out.push(Action::Record(self.fact(EventWord::Completed)));
            }
            (Kind::Service, true | false) => self.phase = Phase::Exited { success },
        }
    }

    fn failed_fact(&self, then: Option<String>) -> Action {
        let last = self.last_end.as_ref();
        Action::Record(Fact {
            cause: self.cause,
            certainty: last.map(|end| end.certainty),
            code: last.and_then(|end| end.code),
            signal: last.and_then(|end| end.signal),
            message: self.reason.clone(),
            then,
            ..self.fact(EventWord::Failed)
        })
    }
}
