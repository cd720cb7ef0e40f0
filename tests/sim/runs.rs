//! What may be done to a run: spawned, asked, ended, and in which order.

use everup::core::action::Action;
use everup::core::event::Event;
use everup::model::event::{EventWord, Fact};
use everup::model::names::Run;
use everup::model::plan::HealthPlan;
use everup::model::probe::ProbeRole;
use everup::model::service::{Cause, Desired, State};
use everup::model::status::ServiceStatus;

use crate::invariants::{Checked, Step, Watch, ensure, find, id_of, is_there, meets, plan_of, probe_timeout};

impl Watch {
    /// S10: nothing is started that nobody wants.
    pub(crate) fn s10_no_spawn_while_unwanted(&self, step: &Step<'_>, action: &Action) -> Checked {
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
    pub(crate) fn s16_asked_only_when_open(&self, action: &Action) -> Checked {
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
    pub(crate) fn s17_one_question_at_a_time(&self, step: &Step<'_>, action: &Action) -> Checked {
        let Action::Ask { instance, run, role, plan, .. } = action else { return Ok(()) };
        let Some((known, seen)) = self.runs.get(instance) else { return Ok(()) };
        let Some((asked, _)) = seen.asked.get(role).filter(|_| known == run) else { return Ok(()) };
        let timeout = probe_timeout(plan, *role) + 5_000;
        ensure(step.now >= asked + timeout, "S17 one question at a time", || {
            format!("{role:?} of {instance} asked at {asked} and again at {}", step.now)
        })
    }

    /// S4, S15, S17: a run is ended for its probe only after enough failures in a row of its own liveness.
    pub(crate) fn s15_s17_probe_kills_are_earned(&self, fact: &Fact) -> Checked {
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
    pub(crate) fn s09_own_delay_kills_nobody(&self, step: &Step<'_>, fact: &Fact) -> Checked {
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

    /// S19: what is needed goes after those that need it, where both go.
    pub(crate) fn s19_dependents_go_first(&self, step: &Step<'_>, fact: &Fact) -> Checked {
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
    pub(crate) fn s39_a_completed_task_rests(&self, fact: &Fact) -> Checked {
        let Some(id) = id_of(fact) else { return Ok(()) };
        let unasked = !matches!(fact.cause, Some(Cause::User | Cause::Config | Cause::Watch));
        let again = fact.event == EventWord::Starting && unasked && self.completed.contains(&id);
        ensure(!again, "S39 a completed task runs once", || format!("{id} starts again unasked"))
    }

    /// At most one instance of a service is restarted for its probe at a time.
    pub(crate) fn one_heals_at_a_time(&self, step: &Step<'_>, fact: &Fact) -> Checked {
        if fact.event != EventWord::Stopping || fact.cause != Some(Cause::Probe) {
            return Ok(());
        }
        let Some(id) = id_of(fact) else { return Ok(()) };
        let Some((other, _, since)) = self.turns.get(&id.service).filter(|(other, _, _)| *other != id) else {
            return Ok(());
        };
        let Some(status) = find(step.after, other) else { return Ok(()) };
        let since_before = find(step.before, other).and_then(|status| status.uptime_ms);
        let waits = status.desired == Desired::Up
            && since_before.is_none_or(|up| up < 1_000)
            && !matches!(status.state, State::Stopped | State::Failed | State::Exited)
            && status.uptime_ms.is_none_or(|up| up < 1_000);
        ensure(!waits, "one probe restart of a service at a time", || {
            format!("{id} is ended while {other}, ended at {since}, is not back")
        })
    }

    /// S5, S6, S14: backoff, forgiveness, limit.
    pub(crate) fn s05_s06_s14_restarts(&mut self, step: &Step<'_>, fact: &Fact) -> Checked {
        let Some(id) = id_of(fact) else { return Ok(()) };
        let now_planned = plan_of(step.core.plan(), &id.service);
        let Some(plan) = self.plan(&id).or_else(|| now_planned.clone()) else { return Ok(()) };
        let rose = self.last_rise;
        let new_files = fact.event == EventWord::Starting && self.reloads.has_new_files(&id);
        let restarts = self.restarts.entry(id).or_default();
        if new_files {
            restarts.renew();
        }
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

    /// S38: a stop comes to SIGKILL when its time is over.
    pub(crate) fn s38_stops_end_in_time(&self, step: &Step<'_>) -> Checked {
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

/// S1: no process is made beside one that lives.
pub(crate) fn s01_one_live_copy(step: &Step<'_>, action: &Action) -> Checked {
    let Action::Spawn { instance, run, .. } = action else { return Ok(()) };
    let alive: Vec<Run> = step.kernel.alive(instance).collect();
    ensure(alive.is_empty(), "S1 at most one live copy", || {
        format!("{instance} run {run} is spawned while runs {alive:?} live")
    })
}

/// S18: what it needs holds at the moment it starts.
pub(crate) fn s18_needs_hold_at_start(step: &Step<'_>, fact: &Fact) -> Checked {
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
