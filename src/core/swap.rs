//! From changed files to the processes that serve them: check first, then one instance after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::drift::in_words;
use crate::core::instance::ending::by_person;
use crate::core::instance::{Instance, Phase};
use crate::core::reload::{Cycle, Left, Step};
use crate::core::service::{Service, Turn};
use crate::model::event::{CHECKED_BY, EventWord, Fact};
use crate::model::plan::{ReloadPlan, ServicePlan};
use crate::model::probe::ProbeKind;
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::signal::Signal;
use crate::model::units::Moment;
use crate::model::watch::FileChange;

impl Service {
    /// Files of it have changed.
    pub(crate) fn changed(&mut self, files: &[FileChange], since: Moment, out: &mut Vec<Action>) {
        if self.plan.watch.is_none() {
            return;
        }
        let plan = self.plan.clone();
        // What the check reads by its kind is source.
        let is_source = |path: &Path| plan.watch.as_ref().is_some_and(|watch| watch.check_reads(path));
        let running = self.instances.values_mut().filter(|instance| instance.is_started());
        let own: BTreeSet<PathBuf> =
            running.flat_map(|instance| instance.habits.note(files, since, is_source)).collect();
        for path in own {
            for instance in self.instances.values_mut() {
                instance.habits.forget(&path);
                instance.drift.retain(|other| other != path);
            }
            out.push(Action::Disregard { service: self.name.clone(), path: path.clone() });
            self.reload.disregarded.insert(path);
        }
        for file in files.iter().filter(|file| !self.reload.disregarded.contains(&file.path)) {
            for instance in self.instances.values_mut() {
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
        // Should it be wanted again while it still runs, it is decided about anew.
        for instance in self.instances.values_mut() {
            instance.drift.decided = false;
        }
    }

    /// Decides about what is new, and sees how what is under way stands. `checks` counts all checks ever begun. Returns
    /// whether anything moved.
    pub(crate) fn reload(&mut self, checks: &mut u64, cx: &mut Context<'_>) -> bool {
        let began = self.reload.cycle.as_ref().map_or(cx.now.moment, |cycle| cycle.since);
        let noticed = || self.instances.values().any(Instance::has_open_files).then_some(began);
        if let Some(since) = self.reload.news.or_else(noticed) {
            self.reload.news = None;
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
        for index in &need {
            if let Some(instance) = self.instances.get_mut(index) {
                instance.drift.decided = true;
            }
        }
        let files = self.new_files();
        let was_checking = self.reload.checking().is_some();
        let there: Vec<PathBuf> = files.iter().filter(|(_, there)| **there).map(|(path, _)| path.clone()).collect();
        let check = if need.is_empty() { None } else { self.check_in_words(&there) };
        self.begin_or_go_on(since, &files, check.as_deref(), cx);
        let rolled: Vec<u32> = self.roll.iter().flat_map(|roll| roll.queue.iter().map(|turn| turn.index)).collect();
        let Some(cycle) = &mut self.reload.cycle else { return };
        let instances = &self.instances;
        // What has been changed back is not swapped.
        for (index, left) in cycle.left.iter_mut().filter(|(index, _)| !need.contains(*index)) {
            if instances.get(index).is_some_and(|i| !rolled.contains(index) && !i.goes_on_past(*left)) {
                left.run = left.first;
            }
        }
        cycle.left.retain(|index, left| {
            let goes_on = instances.get(index).is_some_and(|i| rolled.contains(index) || i.goes_on_past(*left));
            need.contains(index) || goes_on
        });
        for index in &need {
            let run = instances.get(index).map(|instance| instance.run).unwrap_or_default();
            cycle.left.entry(*index).or_insert(Left::new(run));
        }
        if check.is_some() {
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

    fn begin_or_go_on(
        &mut self,
        since: Moment,
        files: &BTreeMap<PathBuf, bool>,
        check: Option<&str>,
        cx: &mut Context<'_>,
    ) {
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
        let message = match check {
            Some(check) => format!("{message}{CHECKED_BY}{check}"),
            None => message,
        };
        self.reload.cycle = Some(Cycle {
            number: self.reload.cycles,
            since,
            cause,
            files: paths.collect(),
            step: Step::Swapping,
            left: BTreeMap::new(),
            served: false,
            served_at: None,
            until: None,
            grants: 0,
        });
        let fact = Fact { service: Some(self.name.clone()), ..Fact::new(EventWord::ReloadStarted) };
        cx.out.push(Action::Record(Fact { cause: Some(cause), message: Some(message), ..fact }));
    }

    /// The check that runs, for people.
    pub(crate) fn check_under_way(&self) -> Option<String> {
        let cycle = self.reload.cycle.as_ref().filter(|cycle| matches!(cycle.step, Step::Checking { .. }))?;
        let files: Vec<PathBuf> = cycle.files.iter().cloned().collect();
        let check = self.check_in_words(&files)?;
        let changed = in_words(cycle.files.iter(), &self.plan.cwd);
        let why = if changed.is_empty() { String::new() } else { format!(" ({changed} changed)") };
        Some(format!("checks the new code: {check}{why}"))
    }

    /// The check of these files; none where there is nothing to check.
    fn check_in_words(&self, files: &[PathBuf]) -> Option<String> {
        let plan = &self.plan;
        let commands = plan.watch.as_ref()?.checks(files, &plan.cwd, plan.slots(1));
        let shown = commands.first()?.shown.clone();
        Some(if commands.len() > 1 { format!("{shown} and {} more", commands.len() - 1) } else { shown })
    }

    /// The instances that do not serve the newest code and do not come to it by themselves, or that a person wants swapped.
    pub(crate) fn in_need(&self) -> Vec<u32> {
        let needs = |instance: &&Instance| {
            let asked = self.reload.asked.contains(&instance.id.index) && instance.desired == Desired::Up;
            asked || (!instance.drift.is_empty() && instance.is_moved_by_files())
        };
        self.wanted().filter(needs).map(|instance| instance.id.index).collect()
    }

    /// The check under way once more: the process that waited for it has died.
    pub(crate) fn check_again(&self) -> Option<Action> {
        let seq = self.reload.checking()?;
        let files = self.new_files().into_iter().filter(|(_, there)| *there).map(|(path, _)| path).collect();
        Some(Action::Check { service: self.name.clone(), seq, plan: self.plan.clone(), files })
    }

    /// The files that differ for any instance that is to run, each with whether it is there.
    fn new_files(&self) -> BTreeMap<PathBuf, bool> {
        let up = self.wanted().filter(|instance| instance.desired == Desired::Up);
        up.flat_map(|instance| instance.drift.files()).map(|(path, there)| (path.clone(), there)).collect()
    }

    /// Takes those that are to be reloaded out of a restart of several instances.
    pub(crate) fn withdraw_turns(&mut self) {
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
            let left = cycle.left.entry(*index).or_insert(Left::new(instance.run));
            (left.run, left.signalled) = (instance.run, false);
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
        if let Some((_, waited)) =
            self.roll.as_mut().and_then(|roll| roll.current.as_mut()).filter(|(i, _)| *i == index)
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
        let Some(cycle) = &mut self.reload.cycle else { return };
        for (index, why) in serving {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            instance.read_anew(signal, &why, cx);
            cycle.left.entry(index).or_insert(Left::new(instance.run)).signalled = true;
            let until = reads_within(&instance.plan).map(|limit| cx.now.moment.after(limit));
            cycle.until = cycle.until.max(until);
        }
    }
}

impl Instance {
    /// Whether something is to be decided about files of it that have changed.
    pub(crate) fn has_open_files(&self) -> bool {
        self.drift.is_open() && self.is_moved_by_files()
    }

    /// Whether new files are a reason to do something about it: it is wanted, and does not come to start with them anyway.
    fn is_moved_by_files(&self) -> bool {
        let wanted = self.desired == Desired::Up && !self.retiring;
        match &self.phase {
            Phase::Preparing { .. } | Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => wanted,
            // What a person has ended with Ctrl-C is not brought back by a file.
            Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => {
                wanted && !self.waits_for_need() && self.interrupted.is_none()
            }
            Phase::Stopping(_) | Phase::Cleaning { .. } | Phase::Waiting | Phase::Stopped => false,
        }
    }

    /// Whether it has what it must leave behind it, or leaves it by itself.
    fn goes_on_past(&self, left: Left) -> bool {
        let leaves = matches!(self.phase, Phase::Stopping(_) | Phase::Cleaning { .. }) || self.waits_for_need();
        self.run > left.run || left.signalled || leaves
    }
}

/// How long it may take to say READY=1 again; none: it says nothing.
pub(crate) fn reads_within(plan: &ServicePlan) -> Option<Duration> {
    let probes = plan.health.probes();
    probes.iter().filter(|(_, probe)| probe.how == ProbeKind::Notify).map(|(_, probe)| probe.start_timeout).max()
}
