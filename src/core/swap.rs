//! From changed files to the processes that serve them: check first, then one instance after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::{Explained, describe};
use crate::core::context::Context;
use crate::core::drift::in_words;
use crate::core::instance::ending::by_person;
use crate::core::instance::{Instance, Phase};
use crate::core::reload::{Cycle, Left, Step, Trouble, Verdict};
use crate::core::service::{Service, Turn};
use crate::model::event::{EventWord, Fact};
use crate::model::plan::{ReloadPlan, ServicePlan};
use crate::model::probe::ProbeKind;
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::signal::Signal;
use crate::model::units::{Moment, format_duration, millis};
use crate::model::watch::{CheckWord, FileChange};

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

impl Service {
    /// Files of it have changed.
    pub(crate) fn changed(&mut self, files: &[FileChange], since: Moment, out: &mut Vec<Action>) {
        if self.retiring || self.plan.watch.is_none() {
            return;
        }
        let own: BTreeSet<PathBuf> =
            self.instances.values_mut().flat_map(|instance| instance.habits.note(files, since)).collect();
        for path in own {
            for instance in self.instances.values_mut() {
                instance.habits.forget(&path);
                instance.drift.retain(|other| other != path);
            }
            out.push(Action::Disregard { service: self.name.clone(), path: path.clone() });
            self.reload.disregarded.insert(path);
        }
        for file in files.iter().filter(|file| !self.reload.disregarded.contains(&file.path)) {
            for instance in self.instances.values_mut().filter(|instance| !instance.retiring) {
                instance.drift.note(file);
            }
        }
        self.reload.news = Some(since);
    }

    /// It is watched differently: what differs and is still watched is decided about anew.
    pub(crate) fn rewatch(&mut self, now: Moment) {
        let paths = self.plan.watch.as_ref().map(|watch| watch.paths.clone()).unwrap_or_default();
        for instance in self.instances.values_mut() {
            instance.drift.retain(|file| paths.iter().any(|path| file.starts_with(path)));
        }
        self.reload.disregarded.clear();
        self.reload.news = Some(now);
    }

    /// Gives up what is under way without a word: everything ends.
    pub(crate) fn drop_reload(&mut self, out: &mut Vec<Action>) {
        if self.reload.checking().is_some() {
            out.push(Action::DropCheck { service: self.name.clone() });
        }
        self.reload.cycle = None;
        self.reload.news = None;
        self.reload.asked.clear();
    }

    /// Decides about what is new, and sees how what is under way stands. `checks` counts all checks ever begun. Returns
    /// whether anything moved.
    pub(crate) fn reload(&mut self, checks: &mut u64, cx: &mut Context<'_>) -> bool {
        if let Some(since) = self.reload.news.take() {
            self.consider(since, checks, cx);
            return true;
        }
        let Some(cycle) = &mut self.reload.cycle else { return false };
        let Step::Checked(result) = &mut cycle.step else { return self.conclude(cx) };
        match std::mem::replace(result, Ok(())) {
            Ok(()) => self.swap(cx),
            Err(words) => self.check_failed(words, cx),
        }
        true
    }

    /// Decides what is to be done about changes and requests.
    fn consider(&mut self, since: Moment, checks: &mut u64, cx: &mut Context<'_>) {
        // What waits for its turn must not start with files that have not been checked.
        self.withdraw_turns();
        let need = self.in_need();
        if need.is_empty() {
            // Nothing serves that a check could save: what goes on to start anyway starts with the new files.
            self.approve();
        }
        if need.is_empty() && self.reload.cycle.is_none() {
            return;
        }
        let files = self.new_files(&need);
        let was_checking = self.reload.checking().is_some();
        self.begin_or_go_on(since, &files, cx);
        let rolled: Vec<u32> = self.roll.iter().flat_map(|roll| roll.queue.iter().map(|turn| turn.index)).collect();
        let Some(cycle) = &mut self.reload.cycle else { return };
        let instances = &self.instances;
        cycle.left.retain(|index, left| {
            instances.get(index).is_some_and(|i| rolled.contains(index) || i.goes_on_past(*left))
        });
        for index in &need {
            let run = instances.get(index).map(|instance| instance.run).unwrap_or_default();
            cycle.left.insert(*index, Left { run, signalled: false });
        }
        let there: Vec<PathBuf> = files.into_iter().filter(|(_, there)| *there).map(|(path, _)| path).collect();
        if !need.is_empty() && has_check(&self.plan, &there) {
            *checks += 1;
            cycle.step = Step::Checking { seq: *checks };
            let (service, plan) = (self.name.clone(), self.plan.clone());
            cx.out.push(Action::Check { service, seq: *checks, plan, files: there });
            return;
        }
        if was_checking {
            cx.out.push(Action::DropCheck { service: self.name.clone() });
        }
        self.swap(cx);
    }

    fn begin_or_go_on(&mut self, since: Moment, files: &BTreeMap<PathBuf, bool>, cx: &mut Context<'_>) {
        let paths = files.keys().cloned();
        if let Some(cycle) = &mut self.reload.cycle {
            cycle.since = since;
            if !matches!(cycle.step, Step::Swapping) {
                cycle.files.clear();
            }
            cycle.files.extend(paths);
            return;
        }
        self.reload.cycles += 1;
        let (cause, message) = if self.reload.asked.is_empty() {
            (Cause::Watch, format!("{} changed", in_words(files.keys(), &self.plan.cwd)))
        } else {
            (Cause::User, format!("asked for by {}", self.reload.by))
        };
        self.reload.cycle = Some(Cycle {
            number: self.reload.cycles,
            since,
            cause,
            files: paths.collect(),
            step: Step::Swapping,
            left: BTreeMap::new(),
            served: false,
            until: None,
        });
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadStarted) };
        cx.out.push(Action::Record(Fact { cause: Some(cause), message: Some(message), ..fact }));
    }

    /// The instances that do not serve the newest code and do not come to it by themselves, or that a person wants swapped.
    fn in_need(&self) -> Vec<u32> {
        let needs = |instance: &&Instance| {
            let asked = self.reload.asked.contains(&instance.id.index);
            match &instance.phase {
                _ if instance.desired == Desired::Down => false,
                Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => {
                    asked || !instance.drift.is_empty()
                }
                Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed if !instance.waits_for_need() => {
                    // What a person has ended with Ctrl-C is not brought back by a file.
                    asked || (!instance.drift.is_empty() && instance.interrupted.is_none())
                }
                Phase::Backoff { .. }
                | Phase::Exited { .. }
                | Phase::Failed
                | Phase::Stopping(_)
                | Phase::Cleaning { .. }
                | Phase::Waiting => asked,
                Phase::Stopped => false,
            }
        };
        self.wanted().filter(needs).map(|instance| instance.id.index).collect()
    }

    /// The files that differ for any of `need`, each with whether it is there.
    fn new_files(&self, need: &[u32]) -> BTreeMap<PathBuf, bool> {
        let instances = need.iter().filter_map(|index| self.instances.get(index));
        instances.flat_map(|instance| instance.drift.files()).map(|(path, there)| (path.clone(), there)).collect()
    }

    /// Takes those that are to be reloaded out of a restart of several instances.
    fn withdraw_turns(&mut self) {
        let asked = &mut self.reload.asked;
        if let Some(roll) = &mut self.roll {
            roll.queue.retain(|turn| {
                if turn.reloads && turn.why.cause == Cause::User {
                    asked.insert(turn.index);
                }
                !turn.reloads
            });
        }
    }

    fn approve(&mut self) {
        for instance in self.instances.values_mut() {
            instance.drift.approved = true;
        }
    }

    /// The code has been checked, or there is nothing to check: has it served.
    fn swap(&mut self, cx: &mut Context<'_>) {
        let need = self.in_need();
        let whys: BTreeMap<u32, Explained> =
            need.iter().filter_map(|index| Some((*index, self.why(self.instances.get(index)?)))).collect();
        self.reload.asked.clear();
        self.approve();
        let Some(cycle) = &mut self.reload.cycle else { return };
        cycle.step = Step::Swapping;
        for (index, instance) in self.instances.iter().filter(|(index, _)| whys.contains_key(*index)) {
            cycle.left.insert(*index, Left { run: instance.run, signalled: false });
        }
        // What serves is swapped with care, what does not at once.
        let serves = |index: &u32| {
            self.instances.get(index).is_some_and(|instance| matches!(instance.phase, Phase::Running { .. }))
        };
        let (serving, others): (Vec<_>, Vec<_>) = whys.into_iter().partition(|(index, _)| serves(index));
        let first = others.first().map(|(index, _)| *index);
        for (index, why) in others {
            self.start_anew(index, &why, cx);
        }
        match self.plan.reload {
            ReloadPlan::Restart => self.take_turns(serving, first, cx),
            ReloadPlan::Signal(signal) => self.tell_by_signal(signal, serving, cx),
        }
    }

    /// Why this instance is swapped.
    fn why(&self, instance: &Instance) -> Explained {
        if instance.drift.is_empty() {
            return by_person("reloaded", &self.reload.by);
        }
        let files: Vec<&PathBuf> = instance.drift.files().map(|(path, _)| path).collect();
        let evidence = vec![format!("{} changed", in_words(files.into_iter(), &self.plan.cwd))];
        Explained { cause: Cause::Watch, certainty: Certainty::Certain, evidence }
    }

    /// Nobody is served by it: nothing is lost by starting it anew at once.
    fn start_anew(&mut self, index: u32, why: &Explained, cx: &mut Context<'_>) {
        let Some(instance) = self.instances.get_mut(&index) else { return };
        let left = instance.run;
        if instance.is_under_way() {
            instance.swap(why.clone(), cx);
        } else {
            instance.want_up(Some(why.cause));
        }
        // Its turn lasts until the newest run is ready.
        if let Some((_, waited)) = self.roll.as_mut().and_then(|roll| roll.current.as_mut()).filter(|(i, _)| *i == index)
        {
            *waited = left;
        }
    }

    /// Restarts those that serve; one at a time where there are several, after `first`.
    fn take_turns(&mut self, serving: Vec<(u32, Explained)>, first: Option<u32>, cx: &mut Context<'_>) {
        let several = self.wanted().count() > 1;
        let together = serving.len() > 1 || first.is_some() || self.roll.is_some();
        if serving.is_empty() {
            return;
        }
        if !(several && together) {
            for (index, why) in serving {
                if let Some(instance) = self.instances.get_mut(&index) {
                    instance.swap(why, cx);
                }
            }
            return;
        }
        let turn = |(index, why)| Some(Turn { left: self.instances.get(&index)?.run, index, why, reloads: true });
        let turns = serving.into_iter().filter_map(turn).collect();
        self.enroll(turns);
        let left = |index| Some((index, self.reload.cycle.as_ref()?.left.get(&index)?.run));
        let waited = first.and_then(left);
        if let Some(roll) = &mut self.roll {
            roll.current = roll.current.or(waited);
        }
    }

    /// Tells those that serve by a signal to read their code anew.
    fn tell_by_signal(&mut self, signal: Signal, serving: Vec<(u32, Explained)>, cx: &mut Context<'_>) {
        let limit = reads_within(&self.plan);
        let Some(cycle) = &mut self.reload.cycle else { return };
        for (index, why) in serving {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            instance.read_anew(signal, &why, cx);
            cycle.left.insert(index, Left { run: instance.run, signalled: true });
            cycle.until = limit.map(|limit| cx.now.moment.after(limit));
        }
    }

    /// Sees what has become of those that are still to serve new code. Returns whether anything moved.
    fn conclude(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(cycle) = &self.reload.cycle else { return false };
        let checking = matches!(cycle.step, Step::Checking { .. });
        let (mut served, mut over) = (cycle.served, vec![]);
        for (index, left) in &cycle.left {
            match self.fate(*index, *left, cycle.until, cx.now.moment) {
                Fate::Pending => {}
                // The check decides what becomes of it.
                Fate::Lost(_) if checking => {}
                Fate::Lost(trouble) => {
                    self.swap_failed(trouble, cx);
                    return true;
                }
                Fate::Served => {
                    served = true;
                    over.push(*index);
                }
                Fate::Dropped => over.push(*index),
            }
        }
        let Some(cycle) = &mut self.reload.cycle else { return false };
        cycle.served = served;
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
            Phase::Failed | Phase::Exited { .. } if !self.has_turn(index) => {
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
        if checking {
            cx.out.push(Action::DropCheck { service: self.name.clone() });
        }
        let Some(cycle) = self.reload.cycle.take().filter(|cycle| cycle.served) else { return };
        self.reload.swaps += 1;
        let took = cx.now.moment.since(cycle.since);
        let ready = format!("ready after {}", format_duration(took));
        let files = in_words(cycle.files.iter(), &self.plan.cwd);
        let message = if files.is_empty() { ready } else { format!("{files}: {ready}") };
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadDone) };
        let (cause, ran_ms) = (Some(cycle.cause), Some(millis(took)));
        cx.out.push(Action::Record(Fact { cause, ran_ms, message: Some(message), ..fact }));
        let (number, at, files) = (cycle.number, cx.now.wall, cycle.files);
        self.reload.last = Some(Verdict { number, trouble: None, at, files });
    }

    /// What runs stays; its files stay new, so that the next change is checked with all of them.
    fn check_failed(&mut self, words: String, cx: &mut Context<'_>) {
        let mut running = 0;
        for index in self.in_need() {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            running += usize::from(instance.is_started());
            if matches!(instance.phase, Phase::Failed) {
                instance.reason = Some(format!("check failed: {words}"));
            }
        }
        let stays = match running {
            0 => "",
            1 => "; the running one stays",
            _ => "; the running ones stay",
        };
        let answer = format!("check failed: {words}{stays}");
        self.roll_back(Trouble { words, answer }, cx);
    }

    fn swap_failed(&mut self, words: String, cx: &mut Context<'_>) {
        let stays = |(index, left): (&u32, &Left)| {
            self.instances.get(index).is_some_and(|i| i.run == left.run && i.is_started() && !left.signalled)
        };
        let some_stay = self.reload.cycle.as_ref().is_some_and(|cycle| cycle.left.iter().any(stays));
        let answer = format!("{words}{}", if some_stay { "; the others stay as they are" } else { "" });
        self.roll_back(Trouble { words, answer }, cx);
    }

    fn roll_back(&mut self, trouble: Trouble, cx: &mut Context<'_>) {
        self.withdraw_turns();
        self.reload.asked.clear();
        let Some(cycle) = self.reload.cycle.take() else { return };
        let (cause, message) = (Some(cycle.cause), Some(trouble.words.clone()));
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadRolledBack) };
        cx.out.push(Action::Record(Fact { cause, message, ..fact }));
        let (number, at, files) = (cycle.number, cx.now.wall, cycle.files);
        self.reload.last = Some(Verdict { number, trouble: Some(trouble), at, files });
    }

    /// everup itself was held up for `lag`: what reads its code anew is given that much longer.
    pub(crate) fn excuse(&mut self, lag: Duration) {
        if let Some(until) = self.reload.cycle.as_mut().and_then(|cycle| cycle.until.as_mut()) {
            *until = until.after(lag);
        }
    }

    /// When it must be looked at again, whatever happens.
    pub(crate) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let turn = self.roll.as_ref().and_then(|roll| roll.current);
        let turn = turn.and_then(|(index, left)| self.instances.get(&index)?.ready_by(left));
        let swapping = self.reload.cycle.as_ref().filter(|cycle| matches!(cycle.step, Step::Swapping));
        let patience = |(index, left): (&u32, &Left)| {
            let instance = self.instances.get(index)?;
            let waits = left.signalled && instance.run == left.run && instance.awaits_ready;
            if waits { swapping?.until } else { instance.ready_by(left.run) }
        };
        let swap = swapping.into_iter().flat_map(|cycle| &cycle.left).filter_map(patience).min();
        [turn, swap].into_iter().flatten().min().map(|at| (at, "reload"))
    }
}

impl Instance {
    /// Whether it has what it must leave behind it, or leaves it by itself.
    fn goes_on_past(&self, left: Left) -> bool {
        let leaves = matches!(self.phase, Phase::Stopping(_) | Phase::Cleaning { .. } | Phase::Waiting);
        self.run > left.run || left.signalled || leaves
    }
}

/// Whether there is something that the check would look at.
fn has_check(plan: &ServicePlan, files: &[PathBuf]) -> bool {
    let words = plan.watch.as_ref().map(|watch| watch.check.as_slice()).unwrap_or_default();
    let wants_files = |word: &CheckWord| match word {
        CheckWord::Text(_) => false,
        CheckWord::Changed(_) | CheckWord::File(_) => true,
    };
    !words.is_empty() && (!files.is_empty() || !words.iter().any(wants_files))
}

/// How long it may take to say READY=1 again; none: it says nothing.
fn reads_within(plan: &ServicePlan) -> Option<Duration> {
    let probes = plan.health.probes();
    probes.iter().filter(|(_, probe)| probe.how == ProbeKind::Notify).map(|(_, probe)| probe.start_timeout).max()
}
