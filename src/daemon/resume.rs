//! Takes over from an engine that died: the same runs go on under the same numbers, and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::memory::{Memory, Witness};
use crate::daemon::engine::{Engine, inodes};
use crate::daemon::ledger::record::{self, Illegible, Remembered};
use crate::daemon::processes::Running;
use crate::guardian::link::{Link, Welcome};
use crate::guardian::protocol::{FromGuardian, Resumed, SocketKey, Token, Upgrade};
use crate::history::run::RunRecord;
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Run};
use crate::model::plan::{OnSupervisorDeath, Plan};
use crate::model::status::Warning;
use crate::model::units::Timestamp;
use crate::os::killpoint;
use crate::os::listen::Listener;
use crate::os::notify::NotifySocket;

/// What an engine that died has left to this one.
#[derive(Debug)]
pub struct Legacy {
    pub(super) welcome: Welcome,
    pub(super) resumed: Resumed,
    pub(super) remembered: Remembered,
}

/// Why a successor cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The guardian does not speak, or not this language.
    #[error("cannot hear what the guardian knows: {0}")]
    Guardian(#[from] std::io::Error),
    /// Nothing to go on from.
    #[error(transparent)]
    Memory(#[from] Illegible),
}

impl Legacy {
    /// What there is to take over; none: this engine is the first. Waits for the guardian, which speaks at once.
    ///
    /// # Errors
    /// When the guardian is gone, or what the other engine kept cannot be read.
    pub fn of(link: &Link) -> Result<Option<Self>, TakeOverError> {
        if !link.resumes() {
            return Ok(None);
        }
        let mut welcome = link.welcome()?;
        let (Some(resumed), Some(memory)) = (welcome.capabilities.resumed.take(), welcome.memory.take()) else {
            return Err(Illegible::Empty.into());
        };
        Ok(Some(Self { welcome, resumed, remembered: record::read(memory)? }))
    }

    /// The plan that was in force.
    pub fn plan(&self) -> &Plan {
        &self.remembered.plan
    }

    /// A socket, or the lock, that the guardian holds under this name.
    pub(super) fn take(&mut self, key: SocketKey) -> Option<OwnedFd> {
        self.welcome.held.remove(&key)
    }

    /// When the first engine began.
    pub(super) fn began(&self) -> Timestamp {
        self.remembered.started_at
    }

    /// The core goes on from what was kept.
    pub(super) fn wake(&mut self, core: Supervisor) -> Supervisor {
        let Remembered { common, services, plans, .. } = &mut self.remembered;
        core.remember(Memory {
            common: common.take(),
            services: std::mem::take(services),
            plans: std::mem::take(plans),
        })
    }
}

impl Engine {
    /// From now on the engine's death is not the end: what it knows is kept where a successor finds it.
    pub(super) fn begin_to_remember(&mut self) {
        let lasts = matches!(self.mode, crate::daemon::Mode::Up { .. })
            && self.core.plan().on_supervisor_death == OnSupervisorDeath::Keep;
        if lasts {
            self.hold_all();
            self.publisher.ledger.reads(&self.file);
            self.remember_anew();
        } else {
            self.processes.leave_nothing();
        }
    }

    /// Lets the guardian hold every socket, and the lock.
    pub(super) fn hold_all(&self) {
        self.doors.hold(&self.processes);
        self.listeners.hold(&self.processes);
        self.notices.hold(&self.processes);
    }

    /// Keeps what has been decided, before it is done.
    pub(super) fn keep(&mut self, actions: &[Action]) {
        let ledger = &mut self.publisher.ledger;
        if let Err(error) = ledger.decide(&mut self.core, actions, self.now.wall) {
            ledger.close();
            self.cannot_remember(&error);
        } else if ledger.is_full() {
            ledger.forget_up_to(self.publisher.recorder.written_seq());
            self.remember_anew();
        }
    }

    pub(super) fn remember_anew(&mut self) {
        match self.publisher.ledger.open(&mut self.core) {
            Ok(memory) => {
                killpoint::pass("compact-before");
                self.processes.remember(Some(memory.as_fd()));
                killpoint::pass("compact-after");
            }
            Err(error) => self.cannot_remember(&error),
        }
    }

    fn cannot_remember(&mut self, error: &std::io::Error) {
        self.processes.remember(None);
        tracing::error!(%error, "cannot keep in memory what a successor must know");
        let message =
            format!("should everup's engine be killed, every service ends with it: cannot keep its state: {error}");
        self.warnings.push(Warning { code: "not_resumable".to_owned(), message });
    }

    /// The sockets, tables and numbers of the engine before.
    pub(super) fn inherit(&mut self, mut legacy: Legacy) {
        self.file = std::mem::take(&mut legacy.remembered.file);
        let known = std::mem::take(&mut legacy.welcome.known);
        let last = known.keys().map(|token| token.0).max().unwrap_or_default();
        // Names of processes and sockets that the one before may have used up are left out.
        let last = (last >> 32).saturating_add(1) << 32;
        let runs = known.iter().filter_map(|(token, known)| {
            let (instance, run) = known.of.clone()?;
            Some((*token, Running::new(instance, run)))
        });
        self.welcome(legacy.welcome.capabilities.clone());
        self.processes.recall(runs, last);
        legacy.welcome.known = known;
        for (service, sockets) in std::mem::take(&mut legacy.remembered.sockets) {
            let held = sockets.iter().filter_map(|(key, address)| {
                Some((*key, Listener::adopt(legacy.welcome.held.remove(key)?, address.clone())))
            });
            self.listeners.recall(service.clone(), held.collect());
            self.publisher.ledger.listens(&service, sockets);
        }
        for (instance, (key, address)) in std::mem::take(&mut legacy.remembered.notify) {
            if let Some(socket) = legacy.welcome.held.remove(&key) {
                self.listen_to(&instance, key, NotifySocket::adopt(socket, address));
            }
        }
        // What is held for nobody any more: its owner died before it could say so.
        for key in std::mem::take(&mut legacy.welcome.held).into_keys() {
            self.processes.release(key);
        }
        let Remembered { told, written, untold, .. } = &mut legacy.remembered;
        let begun: Vec<_> = self.core.begun().map(|(id, at)| (id.clone(), at)).collect();
        self.publisher.recall(told, std::mem::take(written), begun.into_iter());
        // What is in the history, or on its way there for sure, need not be kept any longer.
        let saved = self.publisher.recorder.last_seq();
        told.retain(|(event, end)| end.is_some() || event.seq > saved);
        self.publisher.ledger.recall(told.clone(), untold.values().cloned());
        killpoint::pass("inherit");
        self.legacy = Some(legacy);
    }

    /// Takes up what the engine before left undone. The news that is to be heard next.
    pub(super) fn take_up(&mut self) -> Vec<Event> {
        let Some(Legacy { welcome, resumed, remembered }) = self.legacy.take() else { return vec![Event::Tick] };
        self.now = crate::os::clock::now();
        let ends: Vec<RunRecord> = remembered.told.into_iter().filter_map(|(_, end)| end).collect();
        let untold: Vec<Fact> = remembered.untold.into_values().map(|(fact, _)| fact).collect();
        let open: BTreeSet<(InstanceId, Run)> = ends
            .iter()
            .filter_map(|end| Some((end.instance.clone(), end.run?)))
            .chain(
                untold
                    .iter()
                    .filter(|fact| fact.event == EventWord::Ended)
                    .filter_map(|fact| fact.instance().zip(fact.run)),
            )
            .collect();
        let mut witnesses = BTreeMap::new();
        let mut heard = vec![];
        for (token, known) in welcome.known {
            match known.of {
                Some(of) => {
                    witnesses.insert(of.clone(), Witness { signals: known.signals });
                    heard.extend(self.hear_again(token, &of, known.news, &open));
                }
                // A hook or an exec probe: who waited for it has died.
                None => {
                    self.processes.end_tree(token);
                    self.processes.forget(token);
                }
            }
        }
        killpoint::pass("take-up-begun");
        self.tell_of_death(&resumed);
        for fact in untold {
            self.record(fact);
        }
        for end in ends {
            self.complete(end);
        }
        killpoint::pass("take-up-told");
        if self.core.is_ending() {
            // The signal that asked for it may come once more.
            self.told_to_stop = Some(self.now.moment);
        }
        let (actions, lost) = self.core.take_up(self.now, |id, run| witnesses.get(&(id.clone(), run)).copied());
        self.keep(&actions);
        killpoint::pass("take-up-kept");
        let mut news = self.perform(actions);
        killpoint::pass("take-up-done");
        news.extend(heard);
        news.extend(lost);
        news.push(Event::Tick);
        news
    }

    /// Hears what the guardian has told the engine before of one run; `open` are the ends that are yet to be written down.
    fn hear_again(
        &mut self,
        token: Token,
        of: &(InstanceId, Run),
        news: Vec<(FromGuardian, Vec<OwnedFd>)>,
        open: &BTreeSet<(InstanceId, Run)>,
    ) -> Vec<Event> {
        let (instance, run) = of;
        let is_over = news.iter().any(|(message, _)| matches!(message, FromGuardian::Ended { .. }));
        let is_current = self.core.current_run(instance) == Some(*run);
        let mut events = vec![];
        for (message, fds) in news {
            if let FromGuardian::Spawned { pid, cgroup, limited, .. } = message {
                self.processes.spawned(token, pid, cgroup, limited, inodes(&fds));
                if is_current || open.contains(of) {
                    self.attach(instance, *run, fds, true);
                }
                events.push(Event::Spawned { instance: instance.clone(), run: *run, pid });
            } else {
                events.extend(self.take_message(message, fds));
            }
        }
        if is_over && open.contains(of) {
            // Before the output of its successor is taken over, which would end it without its last lines.
            self.records_due.insert(of.clone());
            self.finishing.insert(of.clone(), self.pump.finish(instance.clone(), *run));
        } else if !is_over && !is_current {
            // Nobody wants it any more.
            self.processes.end_tree(token);
        }
        events
    }

    fn tell_of_death(&mut self, resumed: &Resumed) {
        let Resumed { deaths, how, died, upgrade } = resumed;
        let down_ms = self.now.moment.0.saturating_sub(*died);
        if let Some(Upgrade { change, failed }) = upgrade {
            self.tell_of_upgrade(change, failed.as_deref(), Some(down_ms));
            return;
        }
        let mut message = format!("the engine {how}; for {down_ms} ms there was none, and what it supervises went on");
        if *deaths > 1 {
            message = format!("{message} ({deaths} deaths in a row)");
        }
        tracing::error!(message, "taken over");
        let wall = self.now.wall;
        self.publisher.fact(Fact { message: Some(message), ..Fact::new(EventWord::EngineRestarted) }, wall);
    }
}
