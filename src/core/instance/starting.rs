//! From "wanted" to "ready".

use std::path::PathBuf;

use crate::core::action::{Action, Ending};
use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::event::Hook;
use crate::core::health::{Health, gate_role, probe_of};
use crate::core::instance::ending::HOOK_LIMIT;
use crate::core::instance::{Dying, Instance, Live, Next, Phase};
use crate::core::supervisor::Adopted;
use crate::model::event::EventWord;
use crate::model::event::Fact;
use crate::model::names::{Pid, Run};
use crate::model::plan::{HealthPlan, Kind};
use crate::model::probe::{ProbeKind, ProbeRole};
use crate::model::service::{Cause, Certainty, Desired};
use crate::model::units::Moment;

impl Instance {
    /// Begins the next run: `before_start` first, if there is one. The caller has seen that what it needs is there.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        let last_end = self.last_end.as_ref().filter(|_| self.run.0 > 0);
        let restart = last_end.map(|end| self.start_cause.unwrap_or(end.cause));
        if restart.is_some() {
            self.count_restart(cx.now.moment);
        }
        if std::mem::take(&mut self.automatic_start) {
            self.automatic.push_back(cx.now.moment);
        }
        self.run = self.run.next();
        let new_files = self.drift.take();
        self.take_over_files(new_files, self.start_cause, cx);
        self.reason = None;
        self.cause = self.start_cause;
        self.interrupted = None;
        self.signalled = None;
        self.said_ready = false;
        self.said = None;
        let fact = Fact { cause: self.start_cause, restart, ..self.fact(EventWord::Starting) };
        cx.out.push(Action::Record(fact));
        let (run, since) = (self.run, cx.now);
        if self.plan.hooks.before_start.is_some() {
            self.phase = Phase::Preparing { run, since, until: cx.now.moment.after(HOOK_LIMIT) };
            cx.out.push(self.hook(Hook::BeforeStart));
        } else {
            self.phase = Phase::Spawning { run, since };
            cx.out.push(self.spawn());
        }
    }

    /// From now on its code is what the files hold; `new` are those that are new to it.
    pub(crate) fn take_over_files(&mut self, new: Vec<PathBuf>, cause: Option<Cause>, cx: &Context<'_>) {
        self.untried |= !new.is_empty();
        self.files_since = cx.now.moment;
        self.awaits_ready = false;
        self.habits.begin(if cause == Some(Cause::Watch) { new } else { vec![] }, cx.now.moment);
    }

    pub(crate) fn spawn(&self) -> Action {
        Action::Spawn { instance: self.id.clone(), run: self.run, plan: self.plan.clone() }
    }

    pub(crate) fn hook(&self, hook: Hook) -> Action {
        let cause = match hook {
            Hook::BeforeStart | Hook::AfterReady => self.start_cause,
            Hook::AfterEnd => self.last_end.as_ref().map(|end| end.cause).or(self.cause),
            Hook::Stop => self.cause,
        };
        let end = self.last_end.as_ref().filter(|end| hook == Hook::AfterEnd && end.run == self.run);
        let end = end.map(|end| Ending { certainty: end.certainty, code: end.code, signal: end.signal });
        Action::RunHook { instance: self.id.clone(), run: self.run, hook, plan: self.plan.clone(), cause, end }
    }

    /// `before_start` has succeeded.
    pub(crate) fn prepared(&mut self, cx: &mut Context<'_>) {
        if let Phase::Preparing { run, since, .. } = self.phase {
            self.habits.spawn(cx.now.moment);
            self.phase = Phase::Spawning { run, since };
            cx.out.push(self.spawn());
        }
    }

    /// Goes on with a run of an earlier life of everup, as soon as the guardian has found it.
    pub(crate) fn adopt(&mut self, adopted: &Adopted) {
        let Adopted { run, since, restarts, down, outdated } = *adopted;
        (self.run, self.restarts, self.adopted) = (run, restarts, Some(outdated));
        if !down && self.desired == Desired::Up {
            self.phase = Phase::Spawning { run, since };
            return;
        }
        // It is asked to end once it is found.
        self.desired = Desired::Down;
        let why = self.held.as_ref().map_or("it was being stopped when everup died", |_| "it is held");
        self.phase = Phase::Stopping(Dying {
            run,
            pid: None,
            since,
            begun: since.moment,
            asked: Some(Explained {
                cause: Cause::User,
                certainty: Certainty::Certain,
                evidence: vec![why.to_owned()],
            }),
            kill_at: Moment(u64::MAX),
            killing: None,
            main_ended: false,
            command_runs: false,
            proven: false,
            next: Some(Next::Rest),
            grants: 0,
        });
    }

    /// The program runs.
    pub(crate) fn spawned(&mut self, run: Run, pid: Pid, cx: &mut Context<'_>) {
        let adopted = self.adopted.take();
        let word = if adopted.is_some() { EventWord::Adopted } else { EventWord::Started };
        let started = Action::Record(Fact { pid: Some(pid.0), ..self.fact(word) });
        let mut since = cx.now;
        let patience = self.plan.stop.timeout;
        match &mut self.phase {
            Phase::Stopping(dying) if dying.pid.is_none() && !dying.main_ended => {
                dying.pid = Some(pid);
                if adopted.is_some() {
                    dying.kill_at = cx.now.moment.after(patience);
                }
                cx.out.push(started);
                // Only now is there somebody to ask to end.
                self.ask_to_end(cx);
                return;
            }
            Phase::Spawning { since: begun, .. } => {
                if adopted.is_some() {
                    since = *begun;
                }
            }
            Phase::Stopped
            | Phase::Waiting
            | Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => return,
        }
        cx.out.push(started);
        let health = Health::new(&self.plan.health, cx.now.moment);
        let gated = health.gated();
        let live = Live {
            run,
            pid,
            since,
            health,
            ready: false,
            healthy: None,
            was_ready: false,
            good_since: None,
            proven: false,
            watchdog_by: None,
            above_since: None,
            grants: 0,
        };
        if gated {
            let limit = gate_role(&self.plan.health)
                .and_then(|role| probe_of(&self.plan.health, role))
                .map_or(std::time::Duration::MAX, |probe| probe.start_timeout);
            self.phase = Phase::Starting { live, ready_by: cx.now.moment.after(limit) };
            if self.said_ready {
                self.said_ready(cx);
            }
        } else {
            self.phase = Phase::Running { live };
            self.opened(cx);
        }
        if adopted == Some(true) {
            let evidence = vec!["the file has changed while no everup ran".to_owned()];
            self.again(Explained { cause: Cause::Config, certainty: Certainty::Certain, evidence }, cx);
        }
    }

    /// The gate has passed, or there is none: it runs.
    pub(crate) fn opened(&mut self, cx: &mut Context<'_>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        let (mut live, gated) = match phase {
            Phase::Starting { live, .. } => (live, true),
            Phase::Running { live } => (live, false),
            other => {
                self.phase = other;
                return;
            }
        };
        live.health.open(&self.plan.health, cx.now.moment, cx.dice);
        live.watchdog_by = self.plan.watchdog.map(|within| cx.now.moment.after(within));
        let probes = self.plan.health.probes();
        let has = |wanted| probes.iter().any(|(role, _)| *role == wanted);
        // A single probe that let it through has found it ready and healthy.
        let single = gated && matches!(self.plan.health, HealthPlan::One(_));
        if has(ProbeRole::Liveness) || single {
            live.healthy = Some(true);
        }
        let has_said = self.said_ready
            && probe_of(&self.plan.health, ProbeRole::Readiness).is_some_and(|probe| probe.how == ProbeKind::Notify);
        let ready = self.plan.kind == Kind::Service && (single || has_said || !has(ProbeRole::Readiness));
        self.phase = Phase::Running { live };
        if ready {
            self.become_ready(cx);
        }
    }
}
