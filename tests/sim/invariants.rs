//! The S-invariants of the core, each a named check that runs after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use everup::core::action::Action;
use everup::core::event::{Event, Hook, Notice, RequestId};
use everup::core::supervisor::Supervisor;
use everup::model::command::{Command, DeniedCode, Target};
use everup::model::event::{EventWord, Fact};
use everup::model::names::{InstanceId, Run, ServiceName};
use everup::model::plan::{Plan, ReloadPlan, ServicePlan, Until};
use everup::model::probe::{ProbeKind, ProbeRole, Verdict};
use everup::model::service::{Cause, Desired, State};
use everup::model::status::{InstanceStatus, ServiceStatus};

use crate::kernel::Kernel;
use crate::reloads::{Reloads, is_for_reload};
use crate::restarts::Restarts;
use crate::{promises, runs, views};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) name: &'static str,
    pub(crate) told: String,
}

pub(crate) type Checked = Result<(), Violation>;

pub(crate) fn ensure(holds: bool, name: &'static str, told: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { name, told: told() }) }
}

/// One step of the core as seen from outside.
pub(crate) struct Step<'a> {
    pub(crate) now: u64,
    /// How late it came after the deadline it was due at.
    pub(crate) late: u64,
    pub(crate) events: &'a [Event],
    pub(crate) actions: &'a [Action],
    pub(crate) before: &'a [ServiceStatus],
    pub(crate) after: &'a [ServiceStatus],
    pub(crate) core: &'a Supervisor,
    /// As the world was when the step was taken.
    pub(crate) kernel: &'a Kernel,
}

/// A request on its way.
pub(crate) struct Open {
    pub(crate) command: Command,
    /// Whom it names.
    pub(crate) ids: Vec<InstanceId>,
    pub(crate) until: Option<u64>,
    pub(crate) abandoned: bool,
}

/// One run as far as news of it have been told.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) plan: Option<Arc<ServicePlan>>,
    pub(crate) spawned: bool,
    pub(crate) ended: bool,
    pub(crate) gate_open: bool,
    pub(crate) hook_open: bool,
    pub(crate) asked: BTreeMap<ProbeRole, (u64, u64)>,
    pub(crate) fails: BTreeMap<ProbeRole, u32>,
    pub(crate) stopping: Option<Stopping>,
    /// Time everup was late since the run began.
    pub(crate) late: u64,
    /// Since when every reading of its memory was above its bound.
    pub(crate) above_since: Option<u64>,
    pub(crate) extended: bool,
    /// The longest stop timeout it has had.
    pub(crate) stop_timeout: Duration,
}

#[derive(Clone, Copy)]
pub(crate) struct Stopping {
    pub(crate) begun: u64,
    pub(crate) late: u64,
    pub(crate) killed: bool,
}

/// Everything remembered between steps.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) open: BTreeMap<RequestId, Open>,
    pub(crate) runs: BTreeMap<InstanceId, (Run, Seen)>,
    pub(crate) starts: BTreeMap<InstanceId, (u64, bool)>,
    pub(crate) wishes: BTreeMap<InstanceId, Desired>,
    pub(crate) restarts: BTreeMap<InstanceId, Restarts>,
    pub(crate) turns: BTreeMap<ServiceName, (InstanceId, Run, u64)>,
    pub(crate) completed: BTreeSet<InstanceId>,
    /// How many instances each service is to have.
    pub(crate) counts: BTreeMap<ServiceName, u32>,
    pub(crate) counted: BTreeMap<InstanceId, u64>,
    /// When something last became ready.
    pub(crate) last_rise: u64,
    pub(crate) exits: u32,
    pub(crate) shutting_down: bool,
    pub(crate) forced: bool,
    pub(crate) budget_until: Option<u64>,
    pub(crate) reloads: Reloads,
}

impl Watch {
    pub(crate) fn new(plan: &Plan, shutdown_budget: Option<Duration>) -> Self {
        let counts = plan.services.iter().map(|service| (service.name.clone(), service.instances)).collect();
        Self { counts, budget_until: shutdown_budget.map(|b| u64::try_from(b.as_millis()).unwrap()), ..Self::default() }
    }

    pub(crate) fn exited(&self) -> bool {
        self.exits > 0
    }

    /// The engine has died: nobody waits for an answer any more, and what it had asked was never answered.
    pub(crate) fn lose_engine(&mut self) {
        self.open.clear();
        self.reloads.again = true;
        for (_, seen) in self.runs.values_mut() {
            seen.asked.clear();
        }
    }

    pub(crate) fn check(&mut self, step: &Step<'_>) -> Checked {
        self.hear(step);
        if step.core.is_ending() {
            self.begin_shutdown(step);
        }
        self.reloads.hear(step);
        let again = std::mem::take(&mut self.reloads.again);
        for action in step.actions {
            self.reloads.again = again && matches!(action, Action::Check { .. });
            self.reloads.see(step, action)?;
            self.reloads.again = false;
            runs::s01_one_live_copy(step, action)?;
            self.memory_restarts_are_earned(step, action)?;
            self.s10_no_spawn_while_unwanted(step, action)?;
            self.s16_asked_only_when_open(action)?;
            self.s17_one_question_at_a_time(step, action)?;
            self.s31_answers_keep_promises(step, action)?;
            self.one_exit(step, action)?;
            if let Action::Record(fact) = action {
                if matches!(fact.event, EventWord::Ready | EventWord::Completed) {
                    self.last_rise = step.now;
                }
                self.s09_own_delay_kills_nobody(step, fact)?;
                self.s15_s17_probe_kills_are_earned(fact)?;
                runs::s18_needs_hold_at_start(step, fact)?;
                self.s19_dependents_go_first(step, fact)?;
                self.s39_a_completed_task_rests(fact)?;
                self.one_heals_at_a_time(step, fact)?;
                self.s05_s06_s14_restarts(step, fact)?;
                self.note(step, fact);
            }
            self.note_action(step, action);
        }
        self.turns.retain(|_, (id, _, _)| {
            let over = |status: View| matches!(status.state, State::Stopped | State::Failed | State::Exited);
            !find(step.after, id).is_none_or(over)
        });
        self.s12_the_last_wish_wins(step)?;
        self.s13_a_persons_start_is_not_held_back(step)?;
        views::s20_once_per_step(step)?;
        promises::s29_unchanged_keeps_its_process(step)?;
        self.s32_the_snapshot_is_consistent(step)?;
        self.s34_counters_match_the_timeline(step)?;
        self.s37_deadlines(step)?;
        self.s38_stops_end_in_time(step)?;
        self.requests_are_answered_in_time(step)
    }

    /// Nothing is restarted for memory that did not stay above its bound for the shortest time a plan here names.
    fn memory_restarts_are_earned(&self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Record(fact) = action else { return Ok(()) };
        if fact.event != EventWord::Stopping || fact.cause != Some(Cause::MemoryLimit) {
            return Ok(());
        }
        let since = fact.instance().and_then(|id| self.runs.get(&id)).and_then(|(_, seen)| seen.above_since);
        ensure(since.is_some_and(|since| step.now - since >= 1_000), "memory restarts are earned", || {
            format!("{:?} at {}, above since {since:?}", fact.instance(), step.now)
        })
    }

    /// The checks for a step in which nothing was decided but to ask.
    pub(crate) fn glance(&mut self, step: &Step<'_>) -> Checked {
        self.hear(step);
        for action in step.actions {
            self.s16_asked_only_when_open(action)?;
            self.s17_one_question_at_a_time(step, action)?;
            self.note_action(step, action);
        }
        self.s37_deadlines(step)?;
        self.s38_stops_end_in_time(step)?;
        self.requests_are_answered_in_time(step)
    }

    /// Takes in what was told to the core.
    fn hear(&mut self, step: &Step<'_>) {
        for event in step.events {
            match event {
                Event::Asked { id, command, wait, .. } => {
                    let until = wait.map(|wait| step.now + u64::try_from(wait.as_millis()).unwrap());
                    let ids = match command {
                        Command::Start(targets)
                        | Command::Stop(targets)
                        | Command::Restart { targets, .. }
                        | Command::Reload(targets) => self.ids(targets).unwrap_or_default(),
                        _ => vec![],
                    };
                    self.open.insert(*id, Open { command: command.clone(), ids, until, abandoned: false });
                    // What is refused wishes nothing.
                    let refused = step.actions.iter().any(|action| match action {
                        Action::Answer { id: answered, result: Err(denied) } => {
                            answered == id && !matches!(denied.code, DeniedCode::Failed | DeniedCode::TimedOut)
                        }
                        _ => false,
                    });
                    if !refused {
                        self.hear_command(command, step);
                    }
                }
                Event::Abandoned { id } => {
                    if let Some(open) = self.open.get_mut(id) {
                        open.abandoned = true;
                    }
                }
                Event::Spawned { instance, run, .. } => self.seen(instance, *run, |seen| seen.spawned = true),
                Event::Ended { instance, run, .. } => self.seen(instance, *run, |seen| seen.ended = true),
                Event::Probed { instance, run, role, seq, verdict, .. } => self.seen(instance, *run, |seen| {
                    if seen.asked.get(role).is_some_and(|(_, known)| known == seq) {
                        seen.asked.remove(role);
                        let fails = seen.fails.entry(*role).or_default();
                        match verdict {
                            Verdict::Pass { .. } => {
                                *fails = 0;
                                seen.gate_open = true;
                            }
                            Verdict::Fail { .. } => *fails += 1,
                            Verdict::Skip { .. } => {}
                        }
                    }
                }),
                Event::Notified { instance, run, notice, .. } => self.seen(instance, *run, |seen| match notice {
                    Notice::Ready => seen.gate_open = true,
                    Notice::Extend(_) => seen.extended = true,
                    _ => {}
                }),
                Event::HookEnded { instance, run, hook: Hook::BeforeStart, .. } => {
                    self.seen(instance, *run, |seen| seen.hook_open = false);
                }
                Event::Used { instance, run, memory_bytes } => self.seen(instance, *run, |seen| {
                    let bound = seen.plan.as_ref().and_then(|plan| plan.memory_restart);
                    let above = bound.is_none_or(|bound| *memory_bytes > bound.above);
                    seen.above_since = above.then(|| seen.above_since.unwrap_or(step.now));
                }),
                Event::TreeGone { .. }
                | Event::Left { .. }
                | Event::HookEnded { .. }
                | Event::Changed { .. }
                | Event::Checked { .. }
                | Event::Tick => {}
            }
        }
        for (_, seen) in self.runs.values_mut() {
            seen.late += step.late;
        }
    }

    pub(crate) fn seen(&mut self, id: &InstanceId, run: Run, change: impl FnOnce(&mut Seen)) {
        if let Some((_, seen)) = self.runs.get_mut(id).filter(|(known, _)| *known == run) {
            change(seen);
        }
    }

    fn hear_command(&mut self, command: &Command, step: &Step<'_>) {
        if self.shutting_down && !matches!(command, Command::Down { .. } | Command::Stop(_)) {
            return;
        }
        match command {
            Command::Reload(targets) => {
                // Forgiven once it is swapped.
                for id in with_needs(&self.ids(targets).unwrap_or_default(), step.core.plan()) {
                    self.restarts.entry(id.clone()).or_default().forget();
                    self.completed.remove(&id);
                    self.wishes.remove(&id);
                }
                for id in self.ids(targets).into_iter().flatten() {
                    self.wishes.insert(id, Desired::Up);
                }
            }
            Command::Start(targets) | Command::Restart { targets, .. } => {
                if let Some(ids) = self.ids(targets) {
                    for id in with_needs(&ids, step.core.plan()) {
                        self.restarts.entry(id.clone()).or_default().forget();
                        self.completed.remove(&id);
                        self.wishes.remove(&id);
                    }
                    for id in ids {
                        self.restarts.entry(id.clone()).or_default().forgive();
                        self.wishes.insert(id, Desired::Up);
                    }
                }
            }
            Command::Stop(targets) => {
                for id in self.ids(targets).into_iter().flatten() {
                    self.restarts.entry(id.clone()).or_default().forgive();
                    self.wishes.insert(id, Desired::Down);
                }
            }
            Command::Down { force } => {
                self.begin_shutdown(step);
                self.forced |= force;
            }
            Command::Apply { dry_run: false, .. } | Command::Scale { .. } | Command::Interrupt { .. } => {
                if let Command::Apply { plan, .. } = command {
                    // Another plan's gate does not close behind what runs already.
                    for (id, (_, seen)) in &mut self.runs {
                        seen.gate_open = true;
                        let new = plan.service(&id.service).map_or(Duration::ZERO, |plan| plan.stop.timeout);
                        seen.stop_timeout = seen.stop_timeout.max(new);
                    }
                    self.counts = plan.services.iter().map(|s| (s.name.clone(), s.instances)).collect();
                }
                if let Command::Scale { service, instances } = command {
                    self.counts.insert(service.clone(), *instances);
                }
                // What these wish is checked where they are taken; they end what was wished before.
                self.wishes.clear();
                self.completed.clear();
                self.restarts.values_mut().for_each(Restarts::forget);
            }
            Command::Apply { dry_run: true, .. } | Command::Signal { .. } => {}
        }
    }

    /// The instances that `targets` name.
    pub(crate) fn ids(&self, targets: &[Target]) -> Option<Vec<InstanceId>> {
        let mut found = vec![];
        for target in targets {
            let count = *self.counts.get(&target.service)?;
            let named = (1..=count).filter(|index| target.index.is_none_or(|wanted| wanted == *index));
            found.extend(named.map(|index| InstanceId { service: target.service.clone(), index }));
        }
        Some(found)
    }

    pub(crate) fn begin_shutdown(&mut self, step: &Step<'_>) {
        if !self.shutting_down {
            self.shutting_down = true;
            self.wishes.clear();
            self.budget_until = self.budget_until.map(|budget| step.now + budget);
        }
    }

    /// Remembers what a fact says, after it was checked.
    fn note(&mut self, step: &Step<'_>, fact: &Fact) {
        let Some(id) = id_of(fact) else { return };
        let run = fact.run.unwrap_or_default();
        match fact.event {
            EventWord::Starting => {
                self.runs.insert(
                    id.clone(),
                    (run, Seen { plan: plan_of(step.core.plan(), &id.service), ..Seen::default() }),
                );
                let (starts, ended) = self.starts.entry(id.clone()).or_default();
                *starts += u64::from(*ended);
                self.completed.remove(&id);
            }
            EventWord::Stopping => {
                if fact.cause == Some(Cause::Dependency) {
                    self.begin_shutdown(step);
                }
                if fact.cause == Some(Cause::Probe) {
                    self.turns.insert(id.service.clone(), (id.clone(), run, step.now));
                }
                let now = step.now;
                self.seen(&id, run, |seen| {
                    seen.stopping = Some(Stopping { begun: now, late: seen.late, killed: false });
                });
            }
            EventWord::Ended => {
                self.starts.entry(id.clone()).or_default().1 = true;
                self.turns.retain(|_, (sick, old, _)| *sick != id || *old >= run);
                self.seen(&id, run, |seen| seen.ended = true);
            }
            EventWord::Ready => self.turns.retain(|_, (sick, _, _)| *sick != id),
            EventWord::Completed => {
                self.completed.insert(id);
            }
            _ => {}
        }
    }

    fn note_action(&mut self, step: &Step<'_>, action: &Action) {
        match action {
            Action::Spawn { instance, run, plan } => {
                let plan = plan.clone();
                self.seen(instance, *run, |seen| seen.plan = Some(plan));
            }
            Action::Ask { instance, run, role, seq, plan } => {
                let (now, plan) = (step.now, plan.clone());
                self.seen(instance, *run, |seen| {
                    seen.asked.insert(*role, (now, *seq));
                    seen.plan = Some(plan);
                });
            }
            Action::Dismiss { instance, run } => self.seen(instance, *run, |seen| seen.asked.clear()),
            Action::EndTree { instance, run, .. } => self.seen(instance, *run, |seen| match &mut seen.stopping {
                Some(stopping) => stopping.killed = true,
                None => seen.stopping = Some(Stopping { begun: step.now, late: 0, killed: true }),
            }),
            Action::RunHook { instance, run, hook: Hook::BeforeStart, .. } => {
                self.seen(instance, *run, |seen| seen.hook_open = true);
            }
            Action::Exit { .. } => self.begin_shutdown(step),
            Action::Signal { instance, signal, .. } => {
                let reload = step.core.plan().service(&instance.service).map(|plan| plan.reload);
                if reload == Some(ReloadPlan::Signal(*signal)) && is_for_reload(step, instance, *signal) {
                    self.restarts.entry(instance.clone()).or_default().forgive();
                }
            }
            Action::RunHook { .. }
            | Action::Look { .. }
            | Action::Check { .. }
            | Action::DropCheck { .. }
            | Action::Disregard { .. }
            | Action::CloseSockets { .. }
            | Action::Record(_)
            | Action::Answer { .. } => {}
        }
    }

    pub(crate) fn plan(&self, id: &InstanceId) -> Option<Arc<ServicePlan>> {
        self.runs.get(id).and_then(|(_, seen)| seen.plan.clone())
    }
}

pub(crate) fn with_named(start: &[ServiceName], plan: &Plan) -> BTreeSet<ServiceName> {
    let mut found = BTreeSet::new();
    let mut open = start.to_vec();
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(plan.service(&name).into_iter().flat_map(|service| service.needs.keys().cloned()));
        }
    }
    found
}

pub(crate) fn with_needs(ids: &[InstanceId], plan: &Plan) -> Vec<InstanceId> {
    let names: Vec<ServiceName> = ids.iter().map(|id| id.service.clone()).collect();
    let all = with_named(&names, plan);
    all.into_iter()
        .flat_map(|service| (1..=9).map(move |index| InstanceId { service: service.clone(), index }))
        .collect()
}

pub(crate) fn id_of(fact: &Fact) -> Option<InstanceId> {
    Some(InstanceId { service: fact.service.clone()?, index: fact.index? })
}

pub(crate) fn plan_of(plan: &Plan, name: &ServiceName) -> Option<Arc<ServicePlan>> {
    plan.service(name).cloned()
}

/// What the checks read of one instance.
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) desired: Desired,
    pub(crate) ready: bool,
    pub(crate) healthy: Option<bool>,
    pub(crate) cause: Option<Cause>,
    pub(crate) run: Option<Run>,
    pub(crate) pid: Option<everup::model::names::Pid>,
    pub(crate) uptime_ms: Option<u64>,
    pub(crate) held: Option<bool>,
}

pub(crate) fn find(all: &[ServiceStatus], id: &InstanceId) -> Option<View> {
    let service = all.iter().find(|service| service.name == id.service)?;
    let i = service.instances.iter().find(|i| i.index == id.index)?;
    Some(View {
        state: i.state,
        desired: i.desired,
        ready: i.ready,
        healthy: i.healthy,
        cause: i.cause,
        run: i.run,
        pid: i.pid,
        uptime_ms: i.uptime_ms,
        held: (service.instances.len() == 1).then_some(service.held.is_some()),
    })
}

pub(crate) fn is_there(i: &InstanceStatus) -> bool {
    i.pid.is_some() || i.state == State::Stopping
}

pub(crate) fn meets(service: &ServiceStatus, until: Until) -> bool {
    let mut wanted = service.instances.iter().filter(|i| i.desired == Desired::Up).peekable();
    let completed =
        |i: &InstanceStatus| i.state == State::Exited && i.last_end.as_ref().is_some_and(|e| e.code == Some(0));
    match until {
        _ if wanted.peek().is_none() => service.instances.iter().all(completed),
        Until::Started => wanted.all(|i| (i.pid.is_some() && i.state != State::Stopping) || completed(i)),
        Until::Ready => wanted.all(|i| i.ready),
        Until::Completed => wanted.all(completed),
    }
}

pub(crate) fn probe_timeout(plan: &ServicePlan, role: ProbeRole) -> u64 {
    let probes = plan.health.probes();
    let probe = probes.iter().find(|(known, _)| *known == role).map(|(_, probe)| probe);
    probe.map_or(0, |probe| match probe.how {
        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_) | ProbeKind::Notify | ProbeKind::Log(_) => {
            u64::try_from(probe.timeout.as_millis()).unwrap()
        }
    })
}
