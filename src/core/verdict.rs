//! How a reload ends: done when everything serves new code, rolled back when something does not come to.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::describe;
use crate::core::context::Context;
use crate::core::drift::in_words;
use crate::core::instance::due::{GRACE, put_off};
use crate::core::instance::{Instance, Phase};
use crate::core::reload::{Left, Step, Trouble, Verdict};
use crate::core::service::Service;
use crate::core::swap::reads_within;
use crate::model::event::{EventWord, Fact, ReloadOutcome};
use crate::model::plan::ReloadPlan;
use crate::model::service::Desired;
use crate::model::units::{Moment, format_duration, millis};

/// What became of an instance that a cycle waits for.
enum Fate {
    Pending,
    /// It serves new code.
    Served,
    /// Nobody wants it any more.
    Dropped,
    /// It will not serve new code by itself; a sentence why.
    Lost(String),
}

/// In `dev` a program that nobody asks how it is counts as serving once it has lived this long: most mistakes show by then.
const SETTLES: Duration = Duration::from_secs(1);

impl Instance {
    /// When a program that cannot be asked how it is will have lived long enough to be believed.
    fn settles_at(&self) -> Option<Moment> {
        let believed = !self.plan.waits_for_change || !self.plan.health.probes().is_empty();
        let live = self.live().filter(|live| !believed && live.ready)?;
        Some(live.since.moment.after(SETTLES))
    }

    /// Since when it is well, if that has come about after `since`.
    fn good_since(&self, since: Moment) -> Option<Moment> {
        self.live().and_then(|live| live.good_since).filter(|at| *at >= since)
    }
}

impl Service {
    /// Sees what has become of those that are still to serve new code. Returns whether anything moved.
    pub(crate) fn conclude(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(cycle) = &self.reload.cycle else { return false };
        let checking = matches!(cycle.step, Step::Checking { .. });
        let (mut served, mut over, mut served_at) = (cycle.served, vec![], cycle.served_at);
        let need = if checking { self.in_need() } else { vec![] };
        // What becomes of those whose files are being checked, the check decides.
        for (index, left) in cycle.left.iter().filter(|(index, _)| !need.contains(*index)) {
            match self.fate(*index, *left, cycle.until, cx.now.moment) {
                Fate::Pending => {}
                Fate::Lost(_) if checking => {}
                Fate::Lost(trouble) => {
                    self.swap_failed(trouble, cx);
                    return true;
                }
                Fate::Served => {
                    served = true;
                    let one = self.instances.get(index).filter(|_| !left.signalled);
                    served_at = served_at.max(one.and_then(|one| one.good_since(cycle.since)));
                    over.push(*index);
                }
                Fate::Dropped => over.push(*index),
            }
        }
        for instance in self.instances.values_mut().filter(|one| one.desired == Desired::Down) {
            instance.drift.decided = false;
        }
        let Some(cycle) = &mut self.reload.cycle else { return false };
        (cycle.served, cycle.served_at) = (served, served_at);
        cycle.left.retain(|index, _| !over.contains(index));
        if cycle.left.is_empty() {
            self.end_cycle(checking, cx);
            return true;
        }
        !over.is_empty()
    }

    fn fate(&self, index: u32, left: Left, until: Option<Moment>, now: Moment) -> Fate {
        let wanted = self.instances.get(&index).filter(|i| !i.retiring && i.desired == Desired::Up);
        let Some(instance) = wanted else { return Fate::Dropped };
        let label = instance.label();
        let ended = || instance.end.as_ref().map(describe).unwrap_or_default();
        let passed = instance.run > left.run;
        match &instance.phase {
            _ if passed && instance.settles_at().is_some_and(|at| at > now) => Fate::Pending,
            _ if passed && instance.is_ready() => Fate::Served,
            Phase::Running { .. } if left.signalled && !passed => {
                if !instance.awaits_ready {
                    Fate::Served
                } else if until.is_some_and(|at| at <= now) {
                    let limit = format_duration(reads_within(&instance.plan).unwrap_or_default());
                    Fate::Lost(format!("{label} did not say READY=1 again within {limit}"))
                } else {
                    Fate::Pending
                }
            }
            Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed if passed || left.signalled => {
                Fate::Lost(format!("{label} ended before it was ready: {}", ended()))
            }
            Phase::Failed | Phase::Exited { .. } if !instance.waits_for_need() && !self.has_turn(index) => {
                Fate::Lost(format!("{label} {}", instance.reason.as_deref().unwrap_or("was not started again")))
            }
            Phase::Starting { .. } | Phase::Running { .. } if passed && instance.took_too_long(now) => {
                Fate::Lost(format!("{label} was not ready within {}", format_duration(instance.start_limit())))
            }
            Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. }
                if !passed && !self.has_turn(index) =>
            {
                Fate::Lost(format!("{label} was not restarted: an instance before it did not become ready"))
            }
            Phase::Preparing { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopped
            | Phase::Waiting
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => Fate::Pending,
        }
    }

    /// Nothing is left to wait for: it is done, or there was nothing to do.
    fn end_cycle(&mut self, checking: bool, cx: &mut Context<'_>) {
        self.reload.asked.clear();
        if checking {
            cx.out.push(Action::DropCheck { service: self.name.clone() });
        }
        let Some(cycle) = self.reload.cycle.take().filter(|cycle| cycle.served) else { return };
        self.reload.swaps += 1;
        let took = cycle.served_at.unwrap_or(cx.now.moment).since(cycle.since);
        // What a signal that nobody answers has brought about cannot be seen.
        let told = match self.plan.reload {
            ReloadPlan::Signal(signal) if cycle.served_at.is_none() && reads_within(&self.plan).is_none() => {
                Some(signal)
            }
            ReloadPlan::Signal(_) | ReloadPlan::Restart => None,
        };
        let ready = match told {
            Some(signal) => format!("told by {signal}"),
            None => format!("ready after {}", format_duration(took)),
        };
        let files = in_words(cycle.files.iter(), &self.plan.cwd);
        let message = if files.is_empty() { ready } else { format!("{files}: {ready}") };
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadDone) };
        let (cause, ran_ms) = (Some(cycle.cause), Some(millis(took)).filter(|_| told.is_none()));
        cx.out.push(Action::Record(Fact {
            cause,
            ran_ms,
            message: Some(message),
            reload: Some(ReloadOutcome::Ok),
            ..fact
        }));
        let (number, at, files) = (cycle.number, cx.now.wall, cycle.files);
        self.reload.last = Some(Verdict { number, trouble: None, at, files });
    }

    /// What runs stays; its files stay new, so that the next change is checked with all of them.
    pub(crate) fn check_failed(&mut self, words: String, cx: &mut Context<'_>) {
        let mut running = 0;
        for index in self.in_need() {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            running += usize::from(instance.is_started());
            if matches!(instance.phase, Phase::Failed) {
                let first = words.lines().next().unwrap_or_default();
                instance.reason = Some(format!("check failed: {first}"));
            }
        }
        let stays = match running {
            0 => "",
            1 => "; the running one stays",
            _ => "; the running ones stay",
        };
        let answer = match words.split_once('\n') {
            Some((first, rest)) => format!("check failed: {first}{stays}\n{rest}"),
            None => format!("check failed: {words}{stays}"),
        };
        let outcome = if running > 0 { ReloadOutcome::RolledBack } else { ReloadOutcome::Failed };
        self.roll_back(Trouble { words, answer }, outcome, cx);
    }

    fn swap_failed(&mut self, words: String, cx: &mut Context<'_>) {
        let stays = |(index, left): (&u32, &Left)| {
            self.instances.get(index).is_some_and(|i| i.run == left.run && i.is_started() && !left.signalled)
        };
        let some_stay = self.reload.cycle.as_ref().is_some_and(|cycle| cycle.left.iter().any(stays));
        let answer = format!("{words}{}", if some_stay { "; the others stay as they are" } else { "" });
        let outcome = if some_stay { ReloadOutcome::RolledBack } else { ReloadOutcome::Failed };
        self.roll_back(Trouble { words, answer }, outcome, cx);
    }

    fn roll_back(&mut self, trouble: Trouble, outcome: ReloadOutcome, cx: &mut Context<'_>) {
        self.withdraw_turns();
        self.reload.asked.clear();
        let Some(cycle) = self.reload.cycle.take() else { return };
        let (cause, message) = (Some(cycle.cause), Some(trouble.words.clone()));
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadRolledBack) };
        let ran_ms = Some(millis(cx.now.moment.since(cycle.since)));
        cx.out.push(Action::Record(Fact { cause, message, ran_ms, reload: Some(outcome), ..fact }));
        let (number, at, files) = (cycle.number, cx.now.wall, cycle.files);
        self.reload.last = Some(Verdict { number, trouble: Some(trouble), at, files });
    }

    /// everup itself was held up for `lag`: what reads its code anew is given that much longer.
    pub(crate) fn excuse(&mut self, lag: Duration, now: Moment) {
        if let Some(cycle) = &mut self.reload.cycle
            && let Some(until) = &mut cycle.until
        {
            put_off(until, lag, GRACE, &mut cycle.grants, now);
        }
    }

    /// When it must be looked at again, whatever happens.
    pub(crate) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let turn = self.roll.as_ref().and_then(|roll| roll.current);
        let turn = turn.and_then(|(index, left)| self.instances.get(&index)?.ready_by(left));
        let swapping = self.reload.cycle.as_ref().filter(|cycle| matches!(cycle.step, Step::Swapping));
        let patience = |(index, left): (&u32, &Left)| {
            let instance = self.instances.get(index)?;
            let waits =
                left.signalled && instance.live().is_some_and(|live| live.run == left.run) && instance.awaits_ready;
            if waits {
                swapping?.until
            } else {
                instance.ready_by(left.run).or_else(|| instance.settles_at().filter(|_| instance.run > left.run))
            }
        };
        let swap = swapping.into_iter().flat_map(|cycle| &cycle.left).filter_map(patience).min();
        [turn, swap].into_iter().flatten().min().map(|at| (at, "reload"))
    }
}
