//! The S-invariants of the core, each a named check that runs after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use everup::core::action::Action;
use everup::core::event::{Event, Hook, Notice, RequestId};
use everup::core::supervisor::Supervisor;
use everup::model::command::{Command, DeniedCode, PlanChangeKind, Target};
use everup::model::event::{EventWord, Fact};
use everup::model::names::{InstanceId, Run, ServiceName};
use everup::model::plan::{HealthPlan, Plan, ServicePlan, Until};
use everup::model::probe::{ProbeKind, ProbeRole, Verdict};
use everup::model::service::{Cause, Desired, State};
use everup::model::status::{InstanceStatus, ServiceKind, ServiceStatus};
use everup::model::units::Moment;

use crate::kernel::Kernel;
use crate::restarts::Restarts;

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
struct Open {
    command: Command,
    /// Whom it names.
    ids: Vec<InstanceId>,
    until: Option<u64>,
    abandoned: bool,
}

/// One run as far as news of it have been told.
#[derive(Default)]
struct Seen {
    plan: Option<Arc<ServicePlan>>,
    spawned: bool,
    ended: bool,
    gate_open: bool,
    hook_open: bool,
    asked: BTreeMap<ProbeRole, (u64, u64)>,
    fails: BTreeMap<ProbeRole, u32>,
    stopping: Option<Stopping>,
    /// Time everup was late since the run began.
    late: u64,
    extended: bool,
    /// The longest stop timeout it has had.
    stop_timeout: Duration,
}

#[derive(Clone, Copy)]
struct Stopping {
    begun: u64,
    late: u64,
    killed: bool,
}

/// Everything remembered between steps.
#[derive(Default)]
pub(crate) struct Watch {
    open: BTreeMap<RequestId, Open>,
    runs: BTreeMap<InstanceId, (Run, Seen)>,
    starts: BTreeMap<InstanceId, (u64, bool)>,
    wishes: BTreeMap<InstanceId, Desired>,
    restarts: BTreeMap<InstanceId, Restarts>,
    turns: BTreeMap<ServiceName, (InstanceId, Run, u64)>,
    completed: BTreeSet<InstanceId>,
    /// How many instances each service is to have.
    counts: BTreeMap<ServiceName, u32>,
    counted: BTreeMap<InstanceId, u64>,
    exits: u32,
    pub(crate) shutting_down: bool,
    forced: bool,
    budget_until: Option<u64>,
}

impl Watch {
    pub(crate) fn new(plan: &Plan, shutdown_budget: Option<Duration>) -> Self {
        let counts = plan.services.iter().map(|service| (service.name.clone(), service.instances)).collect();
        Self {
            counts, budget_until: shutdown_budget.map(|b| u64::try_from(b.as_millis()).unwrap()), ..Self::default() }
    }

    pub(crate) fn exited(&self) -> bool {
        self.exits > 0
    }

    pub(crate) fn check(&mut self, step: &Step<'_>) -> Checked {
        self.hear(step)?;
        if step.core.is_ending() {
            self.begin_shutdown(step);
        }
        for action in step.actions {
            self.s01_one_live_copy(step, action)?;
            self.s10_no_spawn_while_unwanted(step, action)?;
            self.s16_asked_only_when_open(step, action)?;
            self.s17_one_question_at_a_time(step, action)?;
            self.s31_answers_keep_promises(step, action)?;
            self.one_exit(step, action)?;
            if let Action::Record(fact) = action {
                self.s09_own_delay_kills_nobody(step, fact)?;
                self.s15_s17_probe_kills_are_earned(step, fact)?;
                self.s18_needs_hold_at_start(step, fact)?;
                self.s19_dependents_go_first(step, fact)?;
                self.s39_a_completed_task_rests(step, fact)?;
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
        self.s20_once_per_step(step)?;
        self.s29_unchanged_keeps_its_process(step)?;
        self.s32_the_snapshot_is_consistent(step)?;
        self.s34_counters_match_the_timeline(step)?;
        self.s37_deadlines(step)?;
        self.s38_stops_end_in_time(step)?;
        self.requests_are_answered_in_time(step)
    }

    /// The checks for a step in which nothing was decided but to ask.
    pub(crate) fn glance(&mut self, step: &Step<'_>) -> Checked {
        self.hear(step)?;
        for action in step.actions {
            self.s16_asked_only_when_open(step, action)?;
            self.s17_one_question_at_a_time(step, action)?;
            self.note_action(step, action);
        }
        self.s37_deadlines(step)?;
        self.s38_stops_end_in_time(step)?;
        self.requests_are_answered_in_time(step)
    }

    /// Takes in what was told to the core.
    fn hear(&mut self, step: &Step<'_>) -> Checked {
        for event in step.events {
            match event {
                Event::Asked { id, command, wait, .. } => {
                    let until = wait.map(|wait| step.now + u64::try_from(wait.as_millis()).unwrap());
                    let ids = match command {
                        Command::Start(targets) | Command::Stop(targets) | Command::Restart { targets, .. } => {
                            self.ids(targets).unwrap_or_default()
                        }
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
                Event::TreeGone { .. } | Event::HookEnded { .. } | Event::Tick => {}
            }
        }
        for (_, seen) in self.runs.values_mut() {
            seen.late += step.late;
        }
        Ok(())
    }

    fn seen(&mut self, id: &InstanceId, run: Run, change: impl FnOnce(&mut Seen)) {
        if let Some((known, seen)) = self.runs.get_mut(id) {
            if *known == run {
                change(seen);
            }
        }
    }

    fn hear_command(&mut self, command: &Command, step: &Step<'_>) {
        if self.shutting_down && !matches!(command, Command::Down { .. } | Command::Stop(_)) {
            return;
        }
        match command {
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
    fn ids(&self, targets: &[Target]) -> Option<Vec<InstanceId>> {
        let mut found = vec![];
        for target in targets {
            let count = *self.counts.get(&target.service)?;
            let named = (1..=count).filter(|index| target.index.is_none_or(|wanted| wanted == *index));
            found.extend(named.map(|index| InstanceId { service: target.service.clone(), index }));
        }
        Some(found)
    }

    fn begin_shutdown(&mut self, step: &Step<'_>) {
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
            Action::EndTree { instance, run } => self.seen(instance, *run, |seen| match &mut seen.stopping {
                Some(stopping) => stopping.killed = true,
                None => seen.stopping = Some(Stopping { begun: step.now, late: 0, killed: true }),
            }),
            Action::RunHook { instance, run, hook: Hook::BeforeStart, .. } => {
                self.seen(instance, *run, |seen| seen.hook_open = true);
            }
            Action::Exit { .. } => self.begin_shutdown(step),
            Action::Signal { .. } | Action::RunHook { .. } | Action::Record(_) | Action::Answer { .. } => {}
        }
    }

    /// S1: no process is made beside one that lives.
    fn s01_one_live_copy(&self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Spawn { instance, run, .. } = action else { return Ok(()) };
        let alive: Vec<Run> = step.kernel.alive(instance).collect();
        ensure(alive.is_empty(), "S1 at most one live copy", || {
            format!("{instance} run {run} is spawned while runs {alive:?} live")
        })
    }

    /// S10: nothing is started that nobody wants.
    fn s10_no_spawn_while_unwanted(&self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Spawn { instance, .. } = action else { return Ok(()) };
        // Several pieces of news may start something and take it back.
        let asked = step.events.len() > 1;
        let desired = find(step.after, instance).map(|status| status.desired);
        ensure(asked || desired == Some(Desired::Up), "S10 no spawn while not wanted", || {
            format!("{instance} is spawned while desired is {desired:?}")
        })?;
        ensure(!self.exited() && (asked || !self.shutting_down), "S10 no spawn during shutdown", || {
            instance.to_string()
        })
    }

    /// S16: questions are put only to a run that lives, and past its gate only when that is open.
    fn s16_asked_only_when_open(&self, _step: &Step<'_>, action: &Action) -> Checked {
        let Action::Ask { instance, run, role, plan, .. } = action else { return Ok(()) };
        let Some((known, seen)) = self.runs.get(instance) else { return Ok(()) };
        let live = known == run && seen.spawned && !seen.ended && seen.stopping.is_none();
        ensure(live, "S16 probes only while it runs", || format!("{role:?} of {instance} run {run}"))?;
        let gated = matches!(&plan.health, HealthPlan::Kinds { startup: Some(_), .. });
        ensure(*role == ProbeRole::Startup || !gated || seen.gate_open, "S16 probes wait for the start gate", || {
            format!("{role:?} of {instance} run {run}")
        })
    }

    /// S17: one question of a kind at a time.
    fn s17_one_question_at_a_time(&self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Ask { instance, run, role, plan, .. } = action else { return Ok(()) };
        let Some((known, seen)) = self.runs.get(instance) else { return Ok(()) };
        let Some((asked, _)) = seen.asked.get(role).filter(|_| known == run) else { return Ok(()) };
        let timeout = probe_timeout(plan, *role) + 5_000;
        ensure(step.now >= asked + timeout, "S17 one question at a time", || {
            format!("{role:?} of {instance} asked at {asked} and again at {}", step.now)
        })
    }

    /// S4, S15, S17: a run is ended for its probe only after enough failures in a row of its own liveness.
    fn s15_s17_probe_kills_are_earned(&self, _step: &Step<'_>, fact: &Fact) -> Checked {
        if fact.event != EventWord::Stopping || fact.cause != Some(Cause::Probe) {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        let Some((run, seen)) = self.runs.get(&id) else { return Ok(()) };
        let Some(plan) = &seen.plan else { return Ok(()) };
        let liveness = plan.health.probes().into_iter().find(|(role, _)| *role == ProbeRole::Liveness);
        let Some((_, probe)) = liveness else {
            return ensure(false, "S15 readiness never kills", || format!("{id} run {run} has no liveness"));
        };
        let fails = seen.fails.get(&ProbeRole::Liveness).copied().unwrap_or_default();
        ensure(
            fails >= probe.failures && Some(*run) == fact.run,
            "S17 enough failures of the same run in a row",
            || format!("{id} run {run}: {fails} of {} failures", probe.failures),
        )
    }

    /// S9: a step that comes late ends nobody.
    fn s09_own_delay_kills_nobody(&self, step: &Step<'_>, fact: &Fact) -> Checked {
        if fact.event != EventWord::Stopping || step.late < 250 {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        let innocent = match fact.cause {
            Some(Cause::Watchdog | Cause::StartTimeout) => true,
            Some(Cause::Probe) => {
                let was_healthy = find(step.before, &id).is_some_and(|status| status.healthy != Some(false));
                let limit = self.plan(&id).map_or(u64::MAX, |plan| probe_timeout(&plan, ProbeRole::Liveness) / 2);
                // Only a question that was under way during the delay is excused.
                was_healthy && step.late >= limit.max(250)
            }
            _ => false,
        };
        ensure(!innocent, "S9 everup's own delay kills nobody", || {
            format!("{id} is ended for {:?} in a step that came {} ms late", fact.cause, step.late)
        })
    }

    /// S18: what it needs holds at the moment it starts.
    fn s18_needs_hold_at_start(&self, step: &Step<'_>, fact: &Fact) -> Checked {
        if fact.event != EventWord::Starting {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        let Some(plan) = plan_of(step.core.plan(), &id.service) else { return Ok(()) };
        for (needed, need) in plan.needs.iter().filter(|(_, need)| need.required) {
            let holds = |all: &[ServiceStatus]| {
                all.iter().find(|service| &service.name == needed).is_none_or(|service| meets(service, need.until))
            };
            ensure(holds(step.before) || holds(step.after), "S18 needs hold at the start", || {
                format!("{id} starts while {needed} is not {:?}", need.until)
            })?;
        }
        Ok(())
    }

    /// S19: what is needed goes after those that need it, where both go.
    fn s19_dependents_go_first(&self, step: &Step<'_>, fact: &Fact) -> Checked {
        let for_good = matches!(fact.cause, Some(Cause::User | Cause::Config | Cause::Dependency));
        let mixed = step.events.len() > 1 && step.events.iter().any(|event| matches!(event, Event::Asked { .. }));
        if fact.event != EventWord::Stopping || !for_good || self.forced || mixed {
            return Ok(());
        }
        if self.shutting_down && self.budget_until.is_some_and(|until| step.now >= until) {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        if find(step.after, &id).is_some_and(|status| status.desired == Desired::Up) {
            return Ok(());
        }
        let dependents = step.core.plan().services.iter().filter(|plan| plan.needs.contains_key(&id.service));
        for dependent in dependents {
            let Some(service) = step.after.iter().find(|service| service.name == dependent.name) else { continue };
            let unkillable = service.warnings.iter().any(|warning| warning.code == "unkillable");
            let alive = service.instances.iter().find(|i| i.desired == Desired::Down && is_there(i) && !unkillable);
            ensure(alive.is_none(), "S19 dependents go first", || {
                let whom = alive.map(|i| i.name.clone()).unwrap_or_default();
                format!("{id} is asked to end while {whom}, which needs it and is to go too, lives")
            })?;
        }
        Ok(())
    }

    /// S39: a completed task is not run again by itself.
    fn s39_a_completed_task_rests(&self, _step: &Step<'_>, fact: &Fact) -> Checked {
        let Some(id) = id_of(fact) else { return Ok(()) };
        let unasked = !matches!(fact.cause, Some(Cause::User | Cause::Config));
        let again = fact.event == EventWord::Starting && unasked && self.completed.contains(&id);
        ensure(!again, "S39 a completed task runs once", || format!("{id} starts again unasked"))
    }

    /// At most one instance of a service is restarted for its probe at a time.
    fn one_heals_at_a_time(&self, step: &Step<'_>, fact: &Fact) -> Checked {
        if fact.event != EventWord::Stopping || fact.cause != Some(Cause::Probe) {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        let Some((other, _, since)) = self.turns.get(&id.service).filter(|(other, _, _)| *other != id) else {
            return Ok(());
        };
        let Some(status) = find(step.after, other) else { return Ok(()) };
        let waits = status.desired == Desired::Up
            && !matches!(status.state, State::Stopped | State::Failed | State::Exited)
            && status.uptime_ms.is_none_or(|up| up < 1_000);
        ensure(!waits, "one probe restart of a service at a time", || {
            format!("{id} is ended while {other}, ended at {since}, is not back")
        })
    }

    /// S5, S6, S14: backoff, forgiveness, limit.
    fn s05_s06_s14_restarts(&mut self, step: &Step<'_>, fact: &Fact) -> Checked {
        let Some(id) = id_of(fact) else { return Ok(()) };
        let now_planned = plan_of(step.core.plan(), &id.service);
        let Some(plan) = self.plan(&id).or_else(|| now_planned.clone()) else { return Ok(()) };
        let rose = step.actions.iter().any(|action| match action {
            Action::Record(fact) => matches!(fact.event, EventWord::Ready | EventWord::Completed),
            _ => false,
        });
        let restarts = self.restarts.entry(id).or_default();
        let before = restarts.clone();
        let mut checked = restarts.check(&plan, fact, step.now, rose);
        if let (Err(_), Some(other)) = (&checked, now_planned) {
            // A run may have taken over newer rules than it was started with.
            let mut second = before;
            if second.check(&other, fact, step.now, rose).is_ok() {
                *restarts = second;
                checked = Ok(());
            }
        }
        // Where people and news came together, their order cannot be told from the timeline.
        let asked = step.events.len() > 1 && step.events.iter().any(|event| matches!(event, Event::Asked { .. }));
        if asked {
            restarts.forget();
            return Ok(());
        }
        checked
    }

    fn plan(&self, id: &InstanceId) -> Option<Arc<ServicePlan>> {
        self.runs.get(id).and_then(|(_, seen)| seen.plan.clone())
    }

    /// S31: an answer comes once, and says "done" only when it is.
    fn s31_answers_keep_promises(&mut self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Answer { id, result } = action else { return Ok(()) };
        let open = self.open.remove(id);
        let Some(open) = open.filter(|open| !open.abandoned) else {
            return ensure(false, "S31 each request is answered once", || format!("{id:?}"));
        };
        let Ok(outcome) = result else { return Ok(()) };
        if !outcome.done {
            return ensure(open.until.is_none(), "S31 whoever waits is told the end", || format!("{id:?}"));
        }
        let state = |id: &InstanceId| find(step.after, id);
        match &open.command {
            Command::Stop(_) => {
                for id in &open.ids {
                    let alive = step.kernel.alive(id).next().is_some();
                    ensure(!alive, "S31 stopped means gone", || format!("{id} is alive when its stop is answered"))?;
                }
                Ok(())
            }
            Command::Start(_) | Command::Restart { .. } => {
                for id in &open.ids {
                    let ready = state(id).is_none_or(|status| status.ready);
                    ensure(ready, "S31 started means ready", || {
                        format!("{id} is not ready when its start is answered")
                    })?;
                }
                Ok(())
            }
            Command::Down { .. } => {
                ensure(!step.kernel.any_alive(), "S31 down means gone", || "something is alive".to_owned())
            }
            Command::Scale { .. } | Command::Apply { .. } | Command::Signal { .. } | Command::Interrupt { .. } => {
                Ok(())
            }
        }
    }

    fn requests_are_answered_in_time(&self, step: &Step<'_>) -> Checked {
        for (id, open) in self.open.iter().filter(|(_, open)| !open.abandoned) {
            let until = open.until.unwrap_or(step.now);
            ensure(open.until.is_some() && until > step.now, "S31 every request is answered in time", || {
                format!("{id:?} {:?}", open.command)
            })?;
        }
        Ok(())
    }

    /// Everup ends once, when nothing is left and everybody has been answered.
    fn one_exit(&mut self, step: &Step<'_>, action: &Action) -> Checked {
        if !matches!(action, Action::Exit { .. }) {
            return Ok(());
        }
        self.exits += 1;
        ensure(self.exits == 1, "one exit", || "everup ends twice".to_owned())?;
        let left = step
            .kernel
            .trees
            .iter()
            .find(|(life, tree)| !tree.is_unkillable() && step.kernel.alive(&life.0).any(|run| run == life.1));
        ensure(left.is_none(), "exit when all are gone", || format!("{:?} lives", left.map(|(life, _)| life)))?;
        let open = self.open.iter().find(|(_, open)| !open.abandoned);
        ensure(open.is_none(), "S31 answers come before the exit", || format!("{:?}", open.map(|(id, _)| id)))
    }

    /// S12: the last wish of a person stands.
    fn s12_the_last_wish_wins(&mut self, step: &Step<'_>) -> Checked {
        for (id, wish) in &self.wishes {
            let Some(status) = find(step.after, id) else { continue };
            ensure(self.shutting_down || status.desired == *wish, "S12 the last wish wins", || {
                format!("{id} is wanted {:?}, a person said {wish:?}", status.desired)
            })?;
        }
        Ok(())
    }

    /// S13: what a person starts does not wait for a backoff.
    fn s13_a_persons_start_is_not_held_back(&self, step: &Step<'_>) -> Checked {
        let [Event::Asked { command: Command::Start(targets), .. }] = step.events else { return Ok(()) };
        if self.shutting_down {
            return Ok(());
        }
        let refused = step.actions.iter().any(|action| match action {
            Action::Answer { result: Err(denied), .. } => {
                matches!(denied.code, DeniedCode::NoSuchService | DeniedCode::Conflict)
            }
            _ => false,
        });
        for id in self.ids(targets).into_iter().flatten().filter(|_| !refused) {
            let Some(status) = find(step.after, &id) else { continue };
            let held_back = status.state == State::Backoff
                || (status.state == State::Failed && status.cause != Some(Cause::Dependency))
                || status.held.is_some_and(|held| held);
            ensure(!held_back, "S13 a person's start is never held back", || format!("{id} is {}", status.state))?;
        }
        let refused = step.actions.iter().any(|action| match action {
            Action::Answer { result: Err(denied), .. } => {
                let excusable = [DeniedCode::NoSuchService, DeniedCode::Conflict, DeniedCode::Failed, DeniedCode::TimedOut];
                !excusable.contains(&denied.code)
            }
            _ => false,
        });
        ensure(!refused, "S13 a person's start is never refused", String::new)
    }

    /// S20: one cause moves each instance at most once.
    fn s20_once_per_step(&self, step: &Step<'_>) -> Checked {
        let mut seen = BTreeSet::new();
        for action in step.actions {
            let Action::Record(fact) = action else { continue };
            let Some(id) = id_of(fact) else { continue };
            if matches!(fact.event, EventWord::Starting | EventWord::Ended | EventWord::Failed | EventWord::Stopping) {
                let word = fact.event.to_string();
                ensure(seen.insert((id.clone(), fact.event)), "S20 one cause acts once", || {
                    format!("{id}: {word} twice in one step")
                })?;
            }
        }
        Ok(())
    }

    /// S29: what a new plan leaves as it is keeps its process; a dry run changes nothing; what is held stays held.
    fn s29_unchanged_keeps_its_process(&self, step: &Step<'_>) -> Checked {
        let [Event::Asked { command: Command::Apply { dry_run, start, plan }, .. }] = step.events else {
            return Ok(());
        };
        let changes = step.actions.iter().find_map(|action| match action {
            Action::Answer { result: Ok(outcome), .. } => Some(&outcome.changes),
            _ => None,
        });
        let Some(changes) = changes else { return Ok(()) };
        for service in step.before {
            let change = changes.iter().find(|change| change.service == service.name);
            let kept = change.is_some_and(|c| matches!(c.what, PlanChangeKind::Unchanged | PlanChangeKind::Updated));
            for old in service.instances.iter().filter(|i| i.pid.is_some() && i.desired == Desired::Up) {
                let id = InstanceId { service: service.name.clone(), index: old.index };
                let new = find(step.after, &id);
                let same = new.as_ref().is_some_and(|new| new.pid == old.pid && new.run == old.run);
                let touched = step.actions.iter().any(|action| match action {
                    Action::Signal { instance, .. } | Action::EndTree { instance, .. } => *instance == id,
                    _ => false,
                });
                let due = old.state == State::Stopping || step.late > 0;
                ensure(
                    due || !(kept || *dry_run) || (same && !touched),
                    "S29 what is unchanged keeps its process",
                    || format!("{id}: {:?}", change.map(|c| &c.keys)),
                )?;
            }
            let held = |all: &[ServiceStatus]| {
                all.iter().find(|other| other.name == service.name).is_some_and(|s| s.held.is_some())
            };
            let removed = plan.service(&service.name).is_none();
            let named = with_named(start, plan).contains(&service.name);
            let scaled = step.after.iter().find(|other| other.name == service.name).is_none_or(|other| {
                other.instances.len() != service.instances.len() || other.instances.len() > 1
            });
            ensure(!held(step.before) || held(step.after) || removed || named || scaled, "a hold outlives a new plan", || {
                service.name.to_string()
            })?;
        }
        Ok(())
    }

    /// S32: one snapshot agrees with itself and with what was told.
    fn s32_the_snapshot_is_consistent(&self, step: &Step<'_>) -> Checked {
        const NAME: &str = "S32 the snapshot is consistent";
        for service in step.after {
            for i in &service.instances {
                let id = InstanceId { service: service.name.clone(), index: i.index };
                let told = || format!("{id}: {i:?}");
                let lives = matches!(i.state, State::Starting | State::Running | State::Stopping);
                ensure(i.pid.is_none() || lives, NAME, told)?;
                ensure(i.state != State::Running || i.pid.is_some(), NAME, told)?;
                ensure(i.next_attempt_in_ms.is_some() == (i.state == State::Backoff), NAME, told)?;
                let completed = service.kind == ServiceKind::Task && i.state == State::Exited;
                ensure(!i.ready || i.state == State::Running || completed, NAME, told)?;
                ensure(i.state != State::Failed || i.cause.is_some(), NAME, told)?;
                ensure(i.state != State::Waiting || i.reason.is_some(), "a service that waits says for whom", told)?;
                if let (Some(pid), Some((run, seen))) = (i.pid, self.runs.get(&id)) {
                    let tree = step.kernel.trees.get(&(id.clone(), *run));
                    ensure(tree.is_some_and(|tree| tree.pid == pid) && !seen.ended, "S32 no dead pid is shown", told)?;
                }
            }
        }
        Ok(())
    }

    /// S34: counters never fall and equal the timeline.
    fn s34_counters_match_the_timeline(&mut self, step: &Step<'_>) -> Checked {
        let mut present = BTreeSet::new();
        for service in step.after {
            for i in &service.instances {
                let id = InstanceId { service: service.name.clone(), index: i.index };
                let starts = self.starts.get(&id).map_or(0, |(starts, _)| *starts);
                ensure(i.restarts == starts, "S34 counters equal the timeline", || {
                    format!("{id}: {} restarts, {starts} in the timeline", i.restarts)
                })?;
                let before = self.counted.insert(id.clone(), i.restarts).unwrap_or(0);
                ensure(i.restarts >= before, "S34 counters never fall", || id.to_string())?;
                present.insert(id);
            }
        }
        if self.counted.len() == present.len() {
            return Ok(());
        }
        // An instance that is forgotten begins to count anew when it comes again.
        self.counted.retain(|id, _| present.contains(id));
        self.starts.retain(|id, _| present.contains(id));
        self.restarts.retain(|id, _| present.contains(id));
        self.wishes.retain(|id, _| present.contains(id));
        self.completed.retain(|id| present.contains(id));
        self.turns.retain(|_, (id, _, _)| present.contains(id));
        Ok(())
    }

    /// S37: every deadline lies ahead, and where nothing runs or is wanted there is none.
    fn s37_deadlines(&self, step: &Step<'_>) -> Checked {
        let deadline = step.core.next_deadline();
        ensure(deadline.is_none_or(|d| d.at > Moment(step.now)), "S37 deadlines lie ahead", || {
            format!("{deadline:?} at {}", step.now)
        })?;
        let asleep = step
            .after
            .iter()
            .flat_map(|service| &service.instances)
            .all(|i| matches!(i.state, State::Stopped | State::Exited | State::Failed | State::Waiting));
        let quiet = asleep && !self.shutting_down && self.open.is_empty();
        ensure(!quiet || deadline.is_none(), "S37 no deadline where nothing runs", || format!("{deadline:?}"))
    }

    /// S38: a stop comes to SIGKILL when its time is over.
    fn s38_stops_end_in_time(&self, step: &Step<'_>) -> Checked {
        for (id, (run, seen)) in &self.runs {
            let (Some(stopping), Some(plan)) = (seen.stopping, &seen.plan) else { continue };
            let status = find(step.after, id);
            if stopping.killed
                || status.is_none_or(|status| status.state != State::Stopping || status.run != Some(*run))
            {
                continue;
            }
            let cleaning = seen.ended && step.kernel.alive(id).next().is_none();
            let timeout = u64::try_from(plan.stop.timeout.max(seen.stop_timeout).as_millis()).unwrap();
            let late = seen.late - stopping.late;
            let limit = timeout * if seen.extended { 10 } else { 1 } + late + if late > 0 { 11_000 } else { 0 };
            ensure(cleaning || step.now <= stopping.begun + limit, "S38 stops end in time", || {
                format!("{id} run {run} is being ended since {}, now {}, timeout {timeout}", stopping.begun, step.now)
            })?;
        }
        Ok(())
    }
}

fn with_named(start: &[ServiceName], plan: &Plan) -> BTreeSet<ServiceName> {
    let mut found = BTreeSet::new();
    let mut open = start.to_vec();
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(plan.service(&name).into_iter().flat_map(|service| service.needs.keys().cloned()));
        }
    }
    found
}

fn with_needs(ids: &[InstanceId], plan: &Plan) -> Vec<InstanceId> {
    let names: Vec<ServiceName> = ids.iter().map(|id| id.service.clone()).collect();
    let all = with_named(&names, plan);
    all.into_iter()
        .flat_map(|service| (1..=9).map(move |index| InstanceId { service: service.clone(), index }))
        .collect()
}

pub(crate) fn id_of(fact: &Fact) -> Option<InstanceId> {
    Some(InstanceId { service: fact.service.clone()?, index: fact.index? })
}

fn plan_of(plan: &Plan, name: &ServiceName) -> Option<Arc<ServicePlan>> {
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
    held: Option<bool>,
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

fn is_there(i: &InstanceStatus) -> bool {
    i.pid.is_some() || i.state == State::Stopping
}

fn meets(service: &ServiceStatus, until: Until) -> bool {
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

fn probe_timeout(plan: &ServicePlan, role: ProbeRole) -> u64 {
    let probes = plan.health.probes();
    let probe = probes.iter().find(|(known, _)| *known == role).map(|(_, probe)| probe);
    probe.map_or(0, |probe| match probe.how {
        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_) | ProbeKind::Notify | ProbeKind::Log(_) => {
            u64::try_from(probe.timeout.as_millis()).unwrap()
        }
    })
}
