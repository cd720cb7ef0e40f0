//! Carries out what the core decided.

use std::sync::Arc;
use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::event::{Event, Hook, Traces};
use crate::daemon::Mode;
use crate::daemon::commands::Runner;
use crate::daemon::engine::Engine;
use crate::daemon::news::News;
use crate::daemon::processes::{Owner, Running};
use crate::daemon::spawn::{self, Occasion, Told};
use crate::guardian::protocol::StdioSpec;
use crate::history::run::RunRecord;
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Run};
use crate::model::plan::{LogsTo, ServicePlan};
use crate::model::service::{End, SpawnStage};
use crate::os::killpoint;
use crate::os::spawn::SpawnFailure;
use crate::probe::command::RunCommand;

/// How long the last lines of a run are waited for before its end is written down without them.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long `after_ready` may take; the other hooks are limited by the core.
const AFTER_READY: Duration = Duration::from_secs(60);

impl Engine {
    /// Carries out `actions` in order; what they bring about at once comes back as events.
    pub(super) fn perform(&mut self, actions: Vec<Action>) -> Vec<Event> {
        let mut events = vec![];
        for action in actions {
            match action {
                Action::Spawn { instance, run, plan } => events.extend(self.spawn(&instance, run, &plan)),
                Action::Signal { instance, run, signal, scope } => {
                    killpoint::pass("signal-before");
                    self.processes.signal(&instance, run, signal.number(), scope == Scope::Tree);
                    killpoint::pass("signal-after");
                }
                Action::EndTree { instance, run, overdue } => {
                    if overdue {
                        self.publisher.meter.killed(&instance, run);
                    }
                    killpoint::pass("end-tree-before");
                    self.processes.end_tree_of(&instance, run);
                }
                Action::Look { instance, run } => events.extend(self.look_at(instance, run)),
                Action::Ask { instance, run, role, seq, plan } => self.ask(instance, run, role, seq, &plan),
                Action::Dismiss { instance, run } => self.dismiss(&instance, run),
                Action::RunHook { instance, run, hook, plan, cause, end } => {
                    self.run_hook(instance, run, &plan, Occasion { hook, cause, end });
                }
                Action::Check { service, seq, plan, files } => self.check(service, seq, &plan, &files),
                Action::DropCheck { service } => self.drop_check(&service),
                Action::Disregard { service, path } => self.disregard(service, &path),
                Action::CloseSockets { service } => {
                    self.listeners.close(&service, &self.processes);
                    self.publisher.ledger.listens(&service, vec![]);
                }
                Action::Record(fact) => self.record(fact),
                Action::Answer { id, result } => {
                    killpoint::pass("answer-before");
                    self.publish();
                    if let Some(reply) = self.replies.remove(&id) {
                        // An asker that has gone needs no answer.
                        let _ = reply.send(result);
                    }
                }
                Action::Exit { code } => self.exit_code = Some(code),
            }
        }
        events
    }

    fn spawn(&mut self, instance: &InstanceId, run: Run, plan: &Arc<ServicePlan>) -> Option<Event> {
        killpoint::pass("spawn-before");
        let told = self.told(instance, run, plan, None);
        let spec = match spawn::program(plan, &self.inherited, &told) {
            Ok(spec) => spec,
            Err(SpawnFailure { stage, errno }) => return Some(not_spawned(instance, run, stage, errno, None)),
        };
        let ensured = self.listeners.ensure(plan, &self.processes);
        self.publisher.ledger.listens(&plan.name, self.listeners.of(&plan.name));
        let sockets = match ensured {
            Ok(keys) => keys,
            Err(error) => {
                let obstacle = Some(error.to_string());
                return Some(not_spawned(instance, run, SpawnStage::Files, error.errno(), obstacle));
            }
        };
        let owner = Owner::Run(Running::new(instance.clone(), run));
        let label = format!("{}-{run}", instance.file_stem());
        if let Some(terminal) = self.terminal.as_mut().filter(|terminal| terminal.serves(instance)) {
            return match terminal.prepare(plan) {
                Ok(prepared) => {
                    let mut spec = spec;
                    spec.session = prepared.session;
                    let fds: Vec<_> = prepared.fds.iter().map(std::os::fd::AsFd::as_fd).collect();
                    self.processes.spawn(owner, label, spec, prepared.stdio, &fds, sockets);
                    None
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or_default();
                    Some(not_spawned(instance, run, SpawnStage::Files, errno, None))
                }
            };
        }
        let stdio = match &plan.logs.to {
            LogsTo::Streams => [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Pipe],
            LogsTo::Merged(_) => [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Same],
            LogsTo::Inherit => [StdioSpec::Null, StdioSpec::Inherit, StdioSpec::Inherit],
            LogsTo::None => [StdioSpec::Null; 3],
        };
        self.processes.spawn(owner, label, spec, stdio, &[], sockets);
        killpoint::pass("spawn-after");
        None
    }

    /// What children of this run are told of themselves.
    pub(super) fn told(&mut self, instance: &InstanceId, run: Run, plan: &ServicePlan, hook: Option<Occasion>) -> Told {
        let siblings = self.core.siblings(&instance.service);
        let notify = if plan.wants_notify() && hook.is_none() { self.notify_name(instance) } else { None };
        let on_terminal =
            self.terminal.as_ref().is_some_and(|terminal| terminal.is_terminal() && terminal.serves(instance));
        let unbuffered = !matches!(self.mode, Mode::Up { .. }) && !on_terminal;
        Told { instance: instance.clone(), label: instance.label(siblings), run, notify, unbuffered, hook }
    }

    /// A runner for commands beside this run.
    pub(super) fn runner(
        &mut self,
        instance: &InstanceId,
        run: Run,
        plan: &Arc<ServicePlan>,
        hook: Option<Occasion>,
    ) -> Runner {
        let told = self.told(instance, run, plan, hook);
        Runner { processes: self.processes.clone(), inherited: self.inherited.clone(), plan: plan.clone(), told }
    }

    fn run_hook(&mut self, instance: InstanceId, run: Run, plan: &Arc<ServicePlan>, occasion: Occasion) {
        killpoint::pass("hook-before");
        let hook = occasion.hook;
        let words = match hook {
            Hook::BeforeStart => &plan.hooks.before_start,
            Hook::AfterReady => &plan.hooks.after_ready,
            Hook::AfterEnd => &plan.hooks.after_end,
            Hook::Stop => &plan.stop.command,
        };
        let Some(words) = words else { return };
        let argv = words.iter().map(|word| word.render(plan.slots(instance.index))).collect();
        // The core holds the deadlines of the hooks that others wait for, and dismisses them when they pass.
        let limit = match hook {
            Hook::AfterReady => AFTER_READY,
            Hook::Stop => plan.stop.timeout,
            Hook::BeforeStart | Hook::AfterEnd => Duration::from_secs(3_600),
        };
        let runner = self.runner(&instance, run, plan, Some(occasion));
        let busy = self.undertakings.begin(format!("{} of {}", spawn::hook_name(hook), runner.told.label));
        let inbox = self.inbox.clone();
        let of = instance.clone();
        self.task(of, run, async move {
            let outcome = runner.run(argv, limit).await;
            let result = match &outcome.end {
                Some(End::Code(0)) => Ok(()),
                Some(end) => Err(told_of(end, &outcome.output)),
                None => Err("it did not end in time".to_owned()),
            };
            if let Err(message) = &result {
                tracing::warn!(%instance, %run, hook = spawn::hook_name(hook), message, "hook failed");
            }
            // The loop outlives its tasks.
            let _ = inbox.send(Event::HookEnded { instance, run, hook, result }.into()).await;
            drop(busy);
        });
    }

    /// Runs a task that is dropped when its run is dismissed.
    pub(super) fn task(&mut self, instance: InstanceId, run: Run, work: impl Future<Output = ()> + 'static) {
        let tasks = self.tasks.entry(instance).or_default();
        tasks.retain(|(_, task)| !task.is_finished());
        tasks.push((run, tokio::task::spawn_local(work).abort_handle()));
    }

    fn dismiss(&mut self, instance: &InstanceId, run: Run) {
        if let Some(tasks) = self.tasks.get_mut(instance) {
            for (_, task) in tasks.extract_if(.., |(of, _)| *of == run) {
                task.abort();
            }
        }
    }

    /// Tells whoever is to know of what the core has decided.
    pub(super) fn record(&mut self, fact: Fact) {
        let number = self.publisher.ledger.next_fact();
        let wall = self.now.wall;
        self.notifying.hear(&fact, self.core.plan(), self.now.moment);
        self.publisher.meter.happened(&fact, self.now.moment);
        tracing::info!(
            event = %fact.event,
            service = fact.service.as_ref().map(tracing::field::display),
            index = fact.index,
            run = fact.run.map(|run| run.0),
            cause = fact.cause.map(tracing::field::display),
            message = fact.message,
        );
        let told = if fact.event == EventWord::Failed {
            let due = fact.instance().zip(fact.run).is_some_and(|end| self.records_due.contains(&end));
            if let Some(id) = fact.instance().filter(|_| due) {
                self.failures.insert(id, (number, fact));
                return;
            }
            self.tell_failure(number, fact, wall)
        } else {
            self.publisher.fact_numbered(number, fact, wall)
        };
        if let Some(record) = told {
            self.complete(record);
        }
    }

    /// Writes an end of a run down once its last lines are known.
    pub(super) fn complete(&mut self, mut record: RunRecord) {
        let Some(run) = record.run else {
            self.write_down(record);
            return;
        };
        self.records_due.insert((record.instance.clone(), run));
        let finished = self.finishing.remove(&(record.instance.clone(), run));
        let lines = finished.unwrap_or_else(|| self.pump.finish(record.instance.clone(), run));
        let inbox = self.inbox.clone();
        tokio::task::spawn_local(async move {
            if let Ok(Ok(lines)) = tokio::time::timeout(LAST_LINES, lines).await {
                record.last_lines = lines;
            }
            // The loop outlives its tasks.
            let _ = inbox.send(News::RunOver(Box::new(record))).await;
        });
    }
}

fn not_spawned(instance: &InstanceId, run: Run, stage: SpawnStage, errno: i32, obstacle: Option<String>) -> Event {
    let traces = Traces { tree_empty: true, obstacle, ..Traces::default() };
    Event::Ended { instance: instance.clone(), run, end: End::NotSpawned { stage, errno }, traces }
}

/// How a command ended, with the last line it wrote.
pub(super) fn told_of(end: &End, output: &str) -> String {
    let how = match end {
        End::Code(code) => format!("exit code {code}"),
        End::Signal { signal, .. } => format!("ended by SIG{signal}"),
        End::NotSpawned { errno, .. } => std::io::Error::from_raw_os_error(*errno).to_string(),
        End::Unknown => "it was gone".to_owned(),
    };
    match output.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{how}: {}", line.trim()),
        None => how,
    }
}
