//! Changed files: none is lost, the newest wins, nothing is restarted without a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use everup::core::action::{Action, Scope};
use everup::core::event::{Event, RequestId};
use everup::core::supervisor::Supervisor;
use everup::model::command::{Command, Target};
use everup::model::event::{EventWord, Fact};
use everup::model::names::{InstanceId, ServiceName};
use everup::model::plan::ReloadPlan;
use everup::model::service::{Cause, Desired, State};
use everup::model::signal::Signal;
use everup::model::status::{InstanceStatus, ServiceStatus};
use everup::model::watch::{CheckWord, Content, FileChange, WatchPlan};

use crate::invariants::{Checked, Step, ensure, id_of, is_there};

type Contents = BTreeMap<PathBuf, Option<Content>>;

/// What was told about the files of one service, and what came of it.
#[derive(Default)]
struct Seen {
    watch: Option<WatchPlan>,
    /// As last told; what was never told of is as it was at first.
    told: Contents,
    first: Contents,
    disregarded: BTreeSet<PathBuf>,
    /// The number of the check that runs.
    checking: Option<u64>,
    /// A reload that was begun and whose outcome has not been told.
    cycle: Option<Cycle>,
    changed_at: u64,
    /// When a check last passed.
    passed_at: u64,
    rolled_back_at: u64,
    /// A run has begun that may hold sockets.
    sockets: bool,
}

#[derive(Default)]
struct Cycle {
    /// Instances begun anew for new code meanwhile.
    begun: BTreeSet<InstanceId>,
    /// A person asked for it.
    asked: bool,
    /// Somebody asked for something meanwhile that may have ended it.
    excused: bool,
}

/// All that is known of files and reloads.
#[derive(Default)]
pub(crate) struct Reloads {
    services: BTreeMap<ServiceName, Seen>,
    /// What each instance's latest run began with.
    began: BTreeMap<InstanceId, Contents>,
    /// Who was sent which signal in this step.
    signalled: BTreeSet<(InstanceId, Signal)>,
    /// Those whose latest run began with new files.
    new_files: BTreeSet<InstanceId>,
    /// Counts what was seen, to tell earlier from later.
    clock: u64,
    interrupted: bool,
    /// A check is run again because the engine has died over it: of what it was about some may be as it was by now.
    pub(crate) again: bool,
}

impl Seen {
    fn value(&self, contents: &Contents, path: &PathBuf) -> Option<Content> {
        contents.get(path).or_else(|| self.first.get(path)).copied().flatten()
    }

    /// The files that are not as a run began with them.
    fn differing<'a>(&'a self, began: &'a Contents) -> impl Iterator<Item = &'a PathBuf> {
        let counts = |path: &&PathBuf| !self.disregarded.contains(*path);
        self.told.keys().filter(counts).filter(|path| self.value(began, path) != self.value(&self.told, path))
    }
}

impl Reloads {
    /// Whether nobody waits for the result of this check.
    pub(crate) fn is_stale(&self, service: &ServiceName, seq: u64) -> bool {
        self.services.get(service).and_then(|seen| seen.checking) != Some(seq)
    }

    /// Takes in the plan as it is now. Returns the services whose watching has changed, each with whether it has begun or
    /// ended.
    pub(crate) fn rewatched(&mut self, core: &Supervisor) -> Vec<(ServiceName, bool)> {
        let mut changed = vec![];
        for plan in &core.plan().services {
            let seen = self.services.entry(plan.name.clone()).or_default();
            if seen.watch == plan.watch {
                continue;
            }
            let whole = seen.watch.is_none() || plan.watch.is_none();
            if whole {
                // Nobody can tell what happened to the files while nobody looked.
                seen.told.clear();
                seen.first.clear();
                self.began.iter_mut().filter(|(id, _)| id.service == plan.name).for_each(|(_, began)| began.clear());
            }
            seen.disregarded.clear();
            seen.watch.clone_from(&plan.watch);
            changed.push((plan.name.clone(), whole));
        }
        changed
    }

    /// Takes in what was told to the core.
    pub(crate) fn hear(&mut self, step: &Step<'_>) {
        self.signalled.clear();
        for event in step.events {
            self.clock += 1;
            match event {
                Event::Changed { service, files, .. } => {
                    let clock = self.clock;
                    let seen = self.services.entry(service.clone()).or_default();
                    if seen.watch.is_some() {
                        seen.changed_at = clock;
                        for FileChange { path, before, after } in files {
                            seen.first.entry(path.clone()).or_insert(*before);
                            seen.told.insert(path.clone(), *after);
                        }
                    }
                }
                Event::Checked { service, seq, result } => {
                    if let Some(seen) = self.services.get_mut(service).filter(|seen| seen.checking == Some(*seq)) {
                        seen.checking = None;
                        if result.is_ok() {
                            seen.passed_at = self.clock;
                        }
                    }
                }
                Event::Asked { command, .. } => {
                    self.interrupted |= matches!(command, Command::Interrupt { .. });
                    self.services.values_mut().filter_map(|seen| seen.cycle.as_mut()).for_each(|c| c.excused = true);
                }
                _ => {}
            }
        }
    }

    /// Checks one action and remembers it.
    pub(crate) fn see(&mut self, step: &Step<'_>, action: &Action) -> Checked {
        self.clock += 1;
        match action {
            Action::Record(fact) => self.see_fact(step, fact),
            Action::Check { service, seq, files, .. } => {
                self.checks_have_all_files(step, service, files)?;
                self.services.entry(service.clone()).or_default().checking = Some(*seq);
                Ok(())
            }
            Action::DropCheck { service } => {
                let running = self.services.entry(service.clone()).or_default().checking.take();
                ensure(running.is_some(), "what is dropped was running", || service.to_string())
            }
            Action::Disregard { service, path } => {
                self.services.entry(service.clone()).or_default().disregarded.insert(path.clone());
                Ok(())
            }
            Action::CloseSockets { service } => self.sockets_are_closed_at_rest(step, service),
            Action::Signal { instance, signal, scope: Scope::Main, .. } => {
                let plan = step.core.plan().service(&instance.service);
                // What a person asks for in a step is sent before anything else.
                let first = self.signalled.insert((instance.clone(), *signal));
                let persons = first && has_asked_for(step, instance, *signal);
                if plan.is_some_and(|plan| plan.reload == ReloadPlan::Signal(*signal)) && !persons {
                    self.reloads_have_a_reason(step, instance)?;
                    self.begin(instance);
                }
                Ok(())
            }
            Action::Exit { .. } => {
                let lives = |name: &ServiceName| {
                    step.after.iter().any(|other| &other.name == name && other.instances.iter().any(is_there))
                };
                let open = self.services.iter().find(|(name, seen)| seen.sockets && !lives(name)).map(|(name, _)| name);
                ensure(open.is_none(), "sockets are closed before the exit", || format!("{open:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the latest run of `id` began with files that are new to it.
    pub(crate) fn has_new_files(&self, id: &InstanceId) -> bool {
        self.new_files.contains(id)
    }

    fn begin(&mut self, id: &InstanceId) {
        if self.differing(id).next().is_some() {
            self.new_files.insert(id.clone());
        } else {
            self.new_files.remove(id);
        }
        if let Some(seen) = self.services.get(&id.service) {
            self.began.insert(id.clone(), seen.told.clone());
        }
    }

    fn see_fact(&mut self, step: &Step<'_>, fact: &Fact) -> Checked {
        let Some(service) = &fact.service else { return Ok(()) };
        match fact.event {
            EventWord::Starting => {
                let Some(id) = id_of(fact) else { return Ok(()) };
                self.begin(&id);
                let seen = self.services.entry(id.service.clone()).or_default();
                let listens = step.core.plan().service(&id.service).is_some_and(|plan| !plan.listen.is_empty());
                seen.sockets |= listens;
                if let Some(cycle) = seen.cycle.as_mut().filter(|_| fact.cause == Some(Cause::Watch)) {
                    cycle.begun.insert(id);
                }
            }
            EventWord::Stopping if fact.cause == Some(Cause::Watch) => {
                if let Some(id) = id_of(fact) {
                    self.reloads_have_a_reason(step, &id)?;
                }
            }
            EventWord::ReloadStarted => {
                let differs = |seen: &Seen| {
                    self.began
                        .iter()
                        .any(|(id, began)| &id.service == service && seen.differing(began).next().is_some())
                };
                let reason = self.services.get(service).is_some_and(differs) || asked_for_reload(step);
                ensure(reason, "a reload has a reason", || format!("{service}: {:?}", fact.message))?;
                let seen = self.services.entry(service.clone()).or_default();
                seen.cycle = Some(Cycle { asked: fact.cause == Some(Cause::User), ..Cycle::default() });
            }
            EventWord::ReloadDone | EventWord::ReloadRolledBack => {
                let clock = self.clock;
                let seen = self.services.entry(service.clone()).or_default();
                ensure(seen.cycle.take().is_some(), "a reload ends once", || format!("{service}: {}", fact.event))?;
                if fact.event == EventWord::ReloadRolledBack {
                    seen.rolled_back_at = clock;
                    return Ok(());
                }
                for i in step.after.iter().filter(|other| &other.name == service).flat_map(|other| &other.instances) {
                    let id = InstanceId { service: service.clone(), index: i.index };
                    let old = self.differing(&id).next();
                    ensure(!is_live(i) || old.is_none(), "a reload that is done serves the newest", || {
                        format!("{id} runs with another {old:?}")
                    })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn differing<'a>(&'a self, id: &InstanceId) -> impl Iterator<Item = &'a PathBuf> {
        let seen = self.services.get(&id.service);
        let began = self.began.get(id);
        seen.zip(began).into_iter().flat_map(|(seen, began)| seen.differing(began))
    }

    /// Nobody is restarted for files that are as they were, or that have not passed their check.
    fn reloads_have_a_reason(&self, step: &Step<'_>, id: &InstanceId) -> Checked {
        if let Some(seen) = self.services.get(&id.service) {
            let there = |path: &&PathBuf| seen.value(&seen.told, path).is_some();
            let words = seen.watch.as_ref().map(|watch| watch.check.as_slice()).unwrap_or_default();
            let wants_files = words.iter().any(|word| matches!(word, CheckWord::Changed(_) | CheckWord::File(_)));
            let looks = !words.is_empty() && (!wants_files || self.differing(id).any(|path| there(&path)));
            ensure(!looks || seen.passed_at > seen.changed_at, "the check goes first", || id.to_string())?;
        }
        let reason = self.differing(id).next().is_some() || asked_for_reload(step);
        let asked =
            self.services.get(&id.service).and_then(|seen| seen.cycle.as_ref()).is_some_and(|c| c.asked || c.excused);
        ensure(reason || asked, "no restart for files that are as they were", || id.to_string())
    }

    /// A check is given all files that differ from what runs and are there, and no others.
    fn checks_have_all_files(&self, step: &Step<'_>, service: &ServiceName, files: &[PathBuf]) -> Checked {
        let Some(seen) = self.services.get(service) else { return Ok(()) };
        let words = seen.watch.as_ref().map(|watch| watch.check.clone()).unwrap_or_default();
        let wants_files = words.iter().any(|word| matches!(word, CheckWord::Changed(_) | CheckWord::File(_)));
        ensure(
            !words.is_empty() && (!files.is_empty() || !wants_files || self.again),
            "a check has something to check",
            || format!("{service}: {files:?}"),
        )?;
        let there = |path: &&PathBuf| seen.value(&seen.told, path).is_some();
        let given: BTreeSet<&PathBuf> = files.iter().collect();
        let (mut all, mut must) = (BTreeSet::new(), BTreeSet::new());
        let nothing = Contents::new();
        for i in step.after.iter().filter(|other| &other.name == service).flat_map(|other| &other.instances) {
            let began = self.began.get(&InstanceId { service: service.clone(), index: i.index });
            let found: Vec<&PathBuf> = seen.differing(began.unwrap_or(&nothing)).filter(there).collect();
            if is_live(i) {
                must.extend(found.iter().copied());
            }
            all.extend(found);
        }
        ensure(given.is_subset(&all) && must.is_subset(&given), "a check is given all new files", || {
            format!("{service}: {given:?}, expected {must:?} to {all:?}")
        })
    }

    /// Sockets are closed when nobody is left or wanted that could need them, and once.
    fn sockets_are_closed_at_rest(&mut self, step: &Step<'_>, service: &ServiceName) -> Checked {
        let instances = || step.after.iter().filter(|other| &other.name == service).flat_map(|other| &other.instances);
        let needed = instances().find(|i| i.desired == Desired::Up || i.pid.is_some() || i.state == State::Starting);
        // Several pieces of news may start it again in the same step.
        ensure(needed.is_none() || step.events.len() > 1, "sockets are kept for those who need them", || {
            format!("{service}: {:?}", needed.map(|i| i.state))
        })?;
        let held = std::mem::take(&mut self.services.entry(service.clone()).or_default().sockets);
        ensure(held, "sockets are closed once", || service.to_string())
    }

    /// S30: once everything is quiet, everything runs with the newest files, or it was said why not.
    pub(crate) fn s30_no_change_is_lost(&self, core: &Supervisor, statuses: &[ServiceStatus]) -> Checked {
        for service in statuses {
            let Some(plan) = core.plan().service(&service.name).filter(|plan| plan.watch.is_some()) else { continue };
            let Some(seen) = self.services.get(&service.name) else { continue };
            let told_why = seen.rolled_back_at > seen.changed_at;
            for i in service.instances.iter().filter(|i| i.desired == Desired::Up) {
                let id = InstanceId { service: service.name.clone(), index: i.index };
                let waits =
                    waits_for_need(i) || (i.state == State::Reloading && service.instances.iter().any(waits_for_need));
                let left = matches!(i.state, State::Exited | State::Failed) && self.interrupted;
                let old = self.differing(&id).next();
                ensure(told_why || waits || left || old.is_none(), "S30 no change is lost", || {
                    format!("{id} is {} with another {old:?}, reload {:?}", i.state, service.reload)
                })?;
                let blocked = service.instances.iter().any(waits_for_need);
                let decided = |cycle: &&Cycle| !cycle.excused && !blocked && cycle.begun.contains(&id);
                if let Some(cycle) = seen.cycle.as_ref().filter(decided) {
                    ensure(!i.ready, "a reload has an outcome", || {
                        format!("{id} of {} others is ready: {:?}", cycle.begun.len(), plan.reload)
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn waits_for_need(i: &InstanceStatus) -> bool {
    i.state == State::Waiting || (i.state == State::Failed && i.cause == Some(Cause::Dependency))
}

fn is_live(i: &InstanceStatus) -> bool {
    i.desired == Desired::Up && matches!(i.state, State::Running | State::Reloading)
}

fn asked_for_reload(step: &Step<'_>) -> bool {
    step.events.iter().any(|event| matches!(event, Event::Asked { command: Command::Reload(_), .. }))
}

/// Whether a signal that may be a reload's is not a person's alone.
pub(crate) fn is_for_reload(step: &Step<'_>, id: &InstanceId, signal: Signal) -> bool {
    let same = |action: &&Action| match action {
        Action::Signal { instance, signal: sent, scope: Scope::Main, .. } => instance == id && *sent == signal,
        _ => false,
    };
    step.actions.iter().filter(same).count() > usize::from(has_asked_for(step, id, signal))
}

/// Whether a person has this signal sent in this step.
fn has_asked_for(step: &Step<'_>, id: &InstanceId, signal: Signal) -> bool {
    let names = |target: &Target| target.service == id.service && target.index.is_none_or(|index| index == id.index);
    let refused = |id: &RequestId| {
        step.actions.iter().any(|action| matches!(action, Action::Answer { id: of, result: Err(_) } if of == id))
    };
    step.events.iter().any(|event| match event {
        Event::Asked { id, command: Command::Signal { targets, signal: sent }, .. } => {
            *sent == signal && targets.iter().any(names) && !refused(id)
        }
        _ => false,
    })
}
