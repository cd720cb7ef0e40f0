//! Puts the core's questions to services, each in a task of its own.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::event::Event;
use crate::daemon::engine::Engine;
use crate::logs::read::Query;
use crate::model::command::{Denied, DeniedCode, Target};
use crate::model::names::{InstanceId, Run};
use crate::model::plan::ServicePlan;
use crate::model::probe::{Failure, ProbeKind, ProbePlan, ProbeReport, ProbeRole, Verdict};
use crate::os::host;
use crate::probe::ask::{Answer, Context, Question, ask};
use crate::probe::lines::Lines;
use crate::probe::tools::Tools;

/// Share of time in which some task waited for a CPU, in percent, above which a time-out proves little.
const BUSY: f32 = 40.0;
/// A line may come at any time of a run: the core's own deadlines end the wait.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(365 * 24 * 3_600);

thread_local! {
    /// HTTP clients and patterns, kept from question to question; the loop has one thread.
    static TOOLS: Rc<Tools> = Rc::new(Tools::default());
}

impl Engine {
    /// Puts one question; its answer comes as news.
    pub(super) fn ask(&mut self, instance: InstanceId, run: Run, role: ProbeRole, seq: u64, plan: &Arc<ServicePlan>) {
        let Some(probe) = probe_of(plan, role) else { return };
        let (inbox, whose) = (self.inbox.clone(), instance.clone());
        let question = self.question(&instance, run, plan, &probe);
        self.task(whose, run, async move {
            let Answer { verdict, took, .. } = question.await;
            let timed_out = matches!(verdict, Verdict::Fail { how: Failure::Timeout, .. });
            let busy = timed_out && host::cpu_pressure().is_some_and(|percent| percent > BUSY);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            // The loop outlives its tasks.
            let _ = inbox.send(Event::Probed { instance, run, role, seq, verdict, took_us, busy }.into()).await;
        });
    }

    fn question(
        &mut self,
        instance: &InstanceId,
        run: Run,
        plan: &Arc<ServicePlan>,
        probe: &ProbePlan,
    ) -> impl Future<Output = Answer> + 'static {
        let runner = self.runner(instance, run, plan, None);
        let lines = matches!(probe.how, ProbeKind::Log(_)).then(|| self.lines(instance, run)).flatten();
        let (kind, slots) = (probe.how.clone(), plan.slots(instance.index));
        let timeout = if lines.is_some() { AS_LONG_AS_IT_TAKES } else { probe.timeout };
        let tools = TOOLS.with(Rc::clone);
        async move {
            let mut lines = lines;
            let context = Context { tools: &tools, commands: &runner, lines: lines.as_mut() };
            ask(Question { kind: &kind, timeout, slots }, context).await
        }
    }

    /// The lines of a run from its first on.
    fn lines(&self, instance: &InstanceId, run: Run) -> Option<Lines> {
        let query = Query {
            services: vec![(instance.service.clone(), Some(instance.index))],
            lines: usize::MAX,
            run: Some(run),
            ..Query::default()
        };
        let reader = self.handle.logs.clone();
        let mut follower = reader.follow(&query).ok()?;
        Some(Lines::new(move |max| follower.next_lines(max), self.pump.progress()))
    }

    /// Runs the probes of `target` once, for a person.
    pub(super) fn probe_now(&mut self, target: &Target, reply: oneshot::Sender<Result<Vec<ProbeReport>, Denied>>) {
        match self.questions(target) {
            Ok(questions) => {
                tokio::task::spawn_local(async move {
                    let mut reports = vec![];
                    for (label, role, question) in questions {
                        reports.push(report(label, role, question.await));
                    }
                    // An asker that has gone needs no answer.
                    let _ = reply.send(Ok(reports));
                });
            }
            Err(denied) => {
                // An asker that has gone needs no answer.
                let _ = reply.send(Err(denied));
            }
        }
    }

    fn questions(&mut self, target: &Target) -> Result<Vec<(String, ProbeRole, BoxedQuestion)>, Denied> {
        let plan = self
            .core
            .plan()
            .service(&target.service)
            .cloned()
            .ok_or_else(|| Denied::no_such(target.service.as_str()))?;
        let probes: Vec<(ProbeRole, ProbePlan)> =
            plan.health.probes().into_iter().map(|(role, probe)| (role, probe.clone())).collect();
        if probes.is_empty() {
            return Err(refused(format!("{} has no probe", plan.name), "give it one: health: URL"));
        }
        let running: BTreeMap<InstanceId, Run> =
            self.core.live().map(|(id, run, _)| (id.clone(), run)).filter(|(id, _)| id.service == plan.name).collect();
        let of = |id: &InstanceId| target.index.is_none_or(|index| index == id.index);
        let asked: Vec<_> = running.into_iter().filter(|(id, _)| of(id)).collect();
        if asked.is_empty() {
            let hint = Some(format!("everup start {}", plan.name));
            let message = format!("nothing of {} runs", plan.name);
            return Err(Denied { code: DeniedCode::NotRunning, message, hint });
        }
        let several = plan.instances;
        let mut questions: Vec<(String, ProbeRole, BoxedQuestion)> = vec![];
        for (id, run) in asked {
            for (role, probe) in &probes {
                let question = self.question(&id, run, &plan, probe);
                let limit = probe.timeout;
                let bounded = async move {
                    // A log probe would wait for the rest of the run.
                    tokio::time::timeout(limit + Duration::from_secs(2), question).await.unwrap_or_else(|_| Answer {
                        verdict: Verdict::Fail { message: "no matching line so far".to_owned(), how: Failure::Timeout },
                        took: limit,
                        request: "a matching line of its output".to_owned(),
                        body: None,
                    })
                };
                questions.push((id.label(several), *role, Box::pin(bounded)));
            }
        }
        Ok(questions)
    }
}

type BoxedQuestion = std::pin::Pin<Box<dyn Future<Output = Answer>>>;

fn probe_of(plan: &ServicePlan, role: ProbeRole) -> Option<ProbePlan> {
    plan.health.probes().into_iter().find(|(known, _)| *known == role).map(|(_, probe)| probe.clone())
}

fn report(instance: String, role: ProbeRole, answer: Answer) -> ProbeReport {
    let (ok, message) = match answer.verdict {
        Verdict::Pass { message } => (true, message),
        Verdict::Fail { message, .. } | Verdict::Skip { message } => (false, message),
    };
    let latency_ms = answer.took.as_secs_f64() * 1_000.0;
    ProbeReport { instance, role, request: answer.request, ok, message, body: answer.body, latency_ms }
}

fn refused(message: String, hint: &str) -> Denied {
    Denied { code: DeniedCode::Conflict, message, hint: Some(hint.to_owned()) }
}
