//! From "end it" or "it ended" to what follows.

use std::time::Duration;

use crate::core::action::{Action, Scope};
use crate::core::cause::{Explained, describe, explain};
use crate::core::context::Context;
use crate::core::event::{Hook, OomTrace, Traces};
use crate::core::instance::{Dying, Instance, Next, Phase};
use crate::model::event::{EventWord, Fact};
use crate::model::names::Run;
use crate::model::service::{Cause, Certainty, Desired, End, SpawnStage};
use crate::model::signal::Signal;
use crate::model::status::LastEnd;
use crate::model::units::{Now, format_duration, millis};

/// How long `before_start` and `after_end` may take.
pub(crate) const HOOK_LIMIT: Duration = Duration::from_mins(1);
/// An end this soon after a person's Ctrl-C or signal is taken for the person's doing.
const PERSON_COUNTS_FOR: Duration = Duration::from_secs(10);
/// So many processes that were left over are named.
const MOST_NAMED: usize = 5;

impl Instance {
    /// Ends the current run for a reason of everup's or a person's. `next` says what follows; none: the restart
    /// policy decides once it has ended. While a run is ending already only what follows changes: the last wish wins.
    pub(crate) fn end_for(&mut self, why: Explained, next: Option<Next>, cx: &mut Context<'_>) {
        let (run, pid, since, proven) = match &mut self.phase {
            Phase::Stopping(dying) => {
                dying.next = next.or(dying.next);
                return;
            }
            Phase::Cleaning { next: follows, .. } => {
                *follows = next.unwrap_or(*follows);
                return;
            }
            Phase::Preparing { run, .. } => {
                cx.out.push(Action::Dismiss { instance: self.id.clone(), run: *run });
                self.cause = Some(why.cause);
                // What is begun anew keeps its turn among its siblings.
                let turn = self.healing.filter(|_| next == Some(Next::Again));
                self.go_on(next.unwrap_or(Next::Rest), cx);
                self.healing = turn;
                return;
            }
            Phase::Spawning { run, since } => (*run, None, *since, false),
            Phase::Starting { live, .. } => (live.run, Some(live.pid), live.since, false),
            Phase::Running { live } => {
                let (run, pid, since) = (live.run, live.pid, live.since);
                self.judge_files(cx.now.moment);
                (run, Some(pid), since, self.is_proven(cx.now.moment))
            }
            Phase::Stopped | Phase::Waiting | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Failed => return,
        };
        self.note_gap(cx);
        self.waits_to_heal = None;
        self.cause = Some(why.cause);
        cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
        let message = why.evidence.first().cloned();
        cx.out.push(Action::Record(Fact { cause: Some(why.cause), message, ..self.fact(EventWord::Stopping) }));
        self.phase = Phase::Stopping(Dying {
            run,
            pid,
            since,
            begun: cx.now.moment,
            asked: Some(why),
            kill_at: cx.now.moment.after(self.plan.stop.timeout),
            killing: None,
            main_ended: false,
            command_runs: false,
            proven,
            next,
            grants: 0,
        });
        // A process that is still being made is asked once it is there.
        if pid.is_some() {
            self.ask_to_end(cx);
        }
    }

    /// The first step of a stop: the command, else the signal.
    pub(crate) fn ask_to_end(&mut self, cx: &mut Context<'_>) {
        let has_command = self.plan.stop.command.is_some();
        let Phase::Stopping(dying) = &mut self.phase else { return };
        let run = dying.run;
        dying.command_runs = has_command;
        let first = if has_command { self.hook(Hook::Stop) } else { self.stop_signal(run, Scope::Main) };
        cx.out.push(first);
    }

    /// From now on nobody answers.
    fn note_gap(&mut self, cx: &Context<'_>) {
        if self.live().is_some_and(|live| live.ready) {
            self.unready_since = Some(cx.now.moment);
        }
    }

    pub(crate) fn stop_signal(&self, run: Run, scope: Scope) -> Action {
        Action::Signal { instance: self.id.clone(), run, signal: self.plan.stop.signal, scope }
    }

    /// Patience is over: kills what is left of the tree.
    pub(crate) fn kill(&mut self, cx: &mut Context<'_>) {
        if let Phase::Stopping(dying) = &mut self.phase {
            let overdue = dying.killing.is_none();
            if overdue {
                dying.killing = Some(cx.now.moment);
                let waited = format_duration(cx.now.moment.since(dying.begun));
                if let Some(why) = &mut dying.asked {
                    why.evidence.push(format!("it did not end within {waited} and was killed"));
                }
            }
            cx.out.push(Action::EndTree { instance: self.id.clone(), run: dying.run, overdue });
        }
    }

    /// Somebody wants no waiting at all. A request that has not gone out yet is taken back: it would race with the
    /// kill, and how the run ended would be a matter of chance.
    pub(crate) fn kill_at_once(&mut self, cx: &mut Context<'_>) {
        if let Phase::Stopping(dying) = &mut self.phase
            && dying.begun == cx.now.moment
            && !dying.main_ended
        {
            let (id, asked_run) = (&self.id, dying.run);
            cx.out.retain(|action| match action {
                Action::Signal { instance, run, .. } | Action::RunHook { instance, run, hook: Hook::Stop, .. } => {
                    (instance, *run) != (id, asked_run)
                }
                _ => true,
            });
            dying.command_runs = false;
            dying.killing = Some(cx.now.moment);
            if let Some(why) = &mut dying.asked {
                why.evidence.push("it was killed at once, as asked".to_owned());
            }
        }
        self.kill(cx);
    }

    /// The main process is gone, or never came to be.
    pub(crate) fn ended(&mut self, run: Run, end: &End, traces: &Traces, cx: &mut Context<'_>) {
        let now = cx.now.moment;
        let (since, before) = match &self.phase {
            Phase::Stopping(dying) if dying.main_ended => return,
            Phase::Stopping(dying) => (dying.since, Some(dying.clone())),
            Phase::Preparing { since, .. } | Phase::Spawning { since, .. } => (*since, None),
            Phase::Starting { live, .. } | Phase::Running { live } => (live.since, None),
            Phase::Stopped
            | Phase::Waiting
            | Phase::Cleaning { .. }
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Failed => return,
        };
        let proven = before.as_ref().map_or_else(|| self.is_proven(now), |dying| dying.proven);
        if before.is_none() {
            self.judge_files(now);
            cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
            self.note_gap(cx);
        }
        self.waits_to_heal = None;
        self.leaving = None;
        self.end = Some(end.clone());
        self.interrupted = self.interrupted.filter(|at| now.since(*at) < PERSON_COUNTS_FOR);
        let asked = before.as_ref().and_then(|dying| dying.asked.clone()).or_else(|| self.done_to_it(end, cx));
        let mut explained = explain(end, traces, asked.as_ref());
        if let End::NotSpawned { stage, .. } = end
            && let Some(subject) = self.subject_of(*stage)
        {
            explained.evidence.push(subject);
        }
        if let (Some(reason), End::NotSpawned { stage: SpawnStage::Hook, .. }) = (&self.reason, end) {
            explained.evidence = vec![reason.clone()];
        }
        let was_killed = before.as_ref().is_some_and(|dying| dying.killing.is_some());
        if was_killed && matches!(traces.oom, OomTrace::Proven(_)) {
            explained.evidence.push("the kernel also killed it for memory".to_owned());
        }
        let tree_empty = traces.tree_empty || matches!(end, End::NotSpawned { .. });
        self.daemonised = !tree_empty && asked.is_none() && matches!(end, End::Code(0));
        self.left.clone_from(&traces.left);
        if self.daemonised {
            explained.evidence.push(format!(
                "other processes of it were still running{}: if it puts itself in the background, run it in the foreground instead",
                named(&self.left)
            ));
        }
        let (next, then) = match before.as_ref().and_then(|dying| dying.next) {
            Some(next) => (next, None),
            None if self.desired == Desired::Down => (Next::Rest, None),
            None if self.interrupted.is_some() => {
                // Ctrl-C in `dev` is for everup too, once the program has heeded it.
                self.ends_everup |= self.plan.waits_for_change;
                let success = matches!(end, End::Code(0));
                (Next::Exit { success }, Some("left as it is".to_owned()))
            }
            None => self.decide(&explained, end, proven, cx),
        };
        self.note_end(run, end, &explained, since, then, cx);
        if let Some(mut dying) = before {
            dying.main_ended = true;
            dying.next = Some(next);
            let asks = !tree_empty && dying.killing.is_none() && !dying.command_runs;
            self.phase = Phase::Stopping(dying);
            if asks {
                let signal = self.stop_signal(run, Scope::Tree);
                cx.out.push(signal);
            }
        } else {
            // An unasked death takes the rest of its tree along at once.
            self.phase = Phase::Stopping(Dying {
                run,
                pid: None,
                since,
                begun: now,
                asked,
                kill_at: now,
                killing: Some(now),
                main_ended: true,
                command_runs: false,
                proven,
                next: Some(next),
                grants: 0,
            });
            if !tree_empty {
                cx.out.push(Action::EndTree { instance: self.id.clone(), run, overdue: false });
            }
        }
        if tree_empty {
            self.tree_gone(cx);
        }
    }

    /// What was done to it just before that explains `end`.
    fn done_to_it(&self, end: &End, cx: &Context<'_>) -> Option<Explained> {
        let lately = |at| cx.now.moment.since(at) < PERSON_COUNTS_FOR;
        let told = |cause, evidence| Explained { cause, certainty: Certainty::Likely, evidence: vec![evidence] };
        if self.interrupted.is_some_and(lately) {
            return Some(told(Cause::User, "Ctrl-C was typed just before".to_owned()));
        }
        let sent = self.signalled.as_ref().filter(|sent| lately(sent.at))?;
        let same = matches!(end, End::Signal { signal, .. } if *signal == sent.signal);
        same.then(|| told(sent.cause, sent.told.clone()))
    }

    /// What a step of its start was about, for people.
    fn subject_of(&self, stage: SpawnStage) -> Option<String> {
        match stage {
            SpawnStage::Program | SpawnStage::Exec => {
                self.plan.command.first().map(|program| format!("the program is {program}"))
            }
            SpawnStage::Cwd => Some(format!("cwd is {}", self.plan.cwd.display())),
            SpawnStage::User | SpawnStage::Credentials => {
                let user = self.plan.user.as_deref().unwrap_or("everup's own");
                let group = self.plan.group.as_deref().map(|group| format!(", group {group}")).unwrap_or_default();
                Some(format!("user is {user}{group}"))
            }
            SpawnStage::Files
            | SpawnStage::Hook
            | SpawnStage::Fork
            | SpawnStage::Cgroup
            | SpawnStage::Session
            | SpawnStage::Limits
            | SpawnStage::Nice
            | SpawnStage::Fds => None,
        }
    }

    fn note_end(
        &mut self,
        run: Run,
        end: &End,
        explained: &Explained,
        since: Now,
        then: Option<String>,
        cx: &mut Context<'_>,
    ) {
        let (code, signal) = match end {
            End::Code(code) => (Some(*code), None),
            End::Signal { signal, .. } => (None, Some(*signal)),
            End::NotSpawned { .. } | End::Unknown => (None, None),
        };
        let ran_ms = millis(cx.now.moment.since(since.moment));
        self.cause = Some(explained.cause);
        self.last_end = Some(LastEnd {
            run,
            cause: explained.cause,
            certainty: explained.certainty,
            code,
            signal,
            at: cx.now.wall,
            ran_ms,
        });
        cx.out.push(Action::Record(Fact {
            cause: Some(explained.cause),
            certainty: Some(explained.certainty),
            code,
            signal,
            ran_ms: Some(ran_ms),
            // What stood in the way of a start says more than the error's number.
            message: match end {
                End::NotSpawned { .. } => explained.evidence.first().cloned(),
                End::Code(_) | End::Signal { .. } | End::Unknown => Some(describe(end)),
            },
            evidence: explained.evidence.clone(),
            then,
            ..self.fact(EventWord::Ended)
        }));
    }

    /// The last process of the tree is gone.
    pub(crate) fn tree_gone(&mut self, cx: &mut Context<'_>) {
        let Phase::Stopping(dying) = &self.phase else { return };
        if !dying.main_ended {
            return;
        }
        if std::mem::take(&mut self.unkillable) {
            self.left.clear();
        }
        let (run, next) = (dying.run, dying.next.unwrap_or(Next::Rest));
        if dying.command_runs {
            // It must not reach the next run.
            cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
        }
        let spawned = !matches!(self.end, Some(End::NotSpawned { .. }));
        if self.plan.hooks.after_end.is_some() && spawned {
            self.phase = Phase::Cleaning { run, until: cx.now.moment.after(HOOK_LIMIT), next };
            cx.out.push(self.hook(Hook::AfterEnd));
        } else {
            self.go_on(next, cx);
        }
    }

    /// `after_end` is not waited for any longer.
    pub(crate) fn cut_cleaning(&mut self, cx: &mut Context<'_>) {
        if let Phase::Cleaning { run, next, .. } = self.phase {
            cx.out.push(Action::Dismiss { instance: self.id.clone(), run });
            self.go_on(next, cx);
        }
    }

    /// A hook or `stop.command` ended.
    pub(crate) fn hook_ended(&mut self, hook: Hook, result: &Result<(), String>, cx: &mut Context<'_>) {
        match (hook, &mut self.phase) {
            (Hook::BeforeStart, Phase::Preparing { run, .. }) => match result {
                Ok(()) => self.prepared(cx),
                Err(message) => {
                    let run = *run;
                    self.reason = Some(format!("before_start failed: {message}"));
                    let end = End::NotSpawned { stage: SpawnStage::Hook, errno: 0 };
                    self.ended(run, &end, &Traces { tree_empty: true, ..Traces::default() }, cx);
                }
            },
            (Hook::Stop, Phase::Stopping(dying)) => {
                dying.command_runs = false;
                let (run, scope) = (dying.run, if dying.main_ended { Scope::Tree } else { Scope::Main });
                // A command that succeeded has asked the program to end; it gets the rest of the timeout for it. What is
                // left of its tree has not been asked yet.
                if (result.is_err() || dying.main_ended) && dying.killing.is_none() {
                    let signal = self.stop_signal(run, scope);
                    cx.out.push(signal);
                }
            }
            (Hook::AfterEnd, Phase::Cleaning { next, .. }) => {
                let next = *next;
                self.go_on(next, cx);
            }
            (Hook::BeforeStart | Hook::AfterReady | Hook::AfterEnd | Hook::Stop, _) => {}
        }
    }
}

/// The first of some processes, to follow a word about them; nothing when none is known.
pub(crate) fn named(processes: &[String]) -> String {
    let more = processes.len().saturating_sub(MOST_NAMED);
    let first: Vec<&str> = processes.iter().take(MOST_NAMED).map(String::as_str).collect();
    match (first.is_empty(), more) {
        (true, _) => String::new(),
        (_, 0) => format!(" ({})", first.join(", ")),
        (_, more) => format!(" ({} and {more} more)", first.join(", ")),
    }
}

/// Why a person's request ends a run.
pub(crate) fn by_person(what: &str, by: &str) -> Explained {
    Explained { cause: Cause::User, certainty: Certainty::Certain, evidence: vec![format!("{what} by {by}")] }
}

/// The signal of an interrupt, for [`Action::Signal`].
pub(crate) const INTERRUPT: Signal = Signal::INT;
