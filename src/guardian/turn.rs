//! The guardian's loop: ends of children, messages of the engine, trees to be killed once more.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use crate::guardian::adoption::{Claim, REPORT_PAUSE};
use crate::guardian::launch::{self, Descriptors};
use crate::guardian::post::Post;
use crate::guardian::protocol::{FromGuardian, SocketKey, ToGuardian, Token};
use crate::guardian::revival::{Revival, Unheard};
use crate::guardian::runs::Runs;
use crate::guardian::trees::Trees;
use crate::model::names::Pid;
use crate::model::service::{End, SpawnStage};
use crate::os::notify::Manager;
use crate::os::pidfd::PidFd;
use crate::os::reap::{self, Reaped};
use crate::os::signals::Signals;
use crate::os::spawn::{SpawnFailure, Spawner, Spawning};
use crate::os::terminal::Settings;
use crate::os::tree::Process;
use crate::os::{clock, job, memory, oom};

/// What the loop's events are about; all others are about the process with that token.
const SIGNALS: u64 = u64::MAX;
pub(super) const POST: u64 = u64::MAX - 1;
pub(super) const ENGINE: u64 = u64::MAX - 2;
/// How many messages are taken before children are looked at again.
const MESSAGES_A_TURN: usize = 32;
/// After how many new processes memory is given back, once all of them execute their programs.
const BURST: usize = 32;
/// How often trees are looked at that live on after their main process, in milliseconds. Usually the end of their last
/// process is told by SIGCHLD; this is for one that hung on a process outside of the tree.
const GLANCE: u64 = 1_000;
/// How long trees may take to end by themselves when the engine has died, in milliseconds.
const GRACE: u64 = 5_000;
/// How long the engine may take to end once its connection is closed or it has said `Quit`.
const ENGINE_GRACE: u64 = 10_000;
/// How long the engine may take to stop itself once it has said so, in milliseconds.
const STOPPING: u64 = 1_000;
/// The exit code where the manager's watchdog ran out: as by SIGABRT, which it sends.
const STALLED: u8 = 134;
/// How long killed processes are waited for at the very end: longer only if they cannot be killed.
const PATIENCE: u64 = 10_000;

/// The guardian at work.
#[derive(Debug)]
pub(super) struct Guardian {
    pub(super) spawner: Spawner,
    pub(super) trees: Trees,
    pub(super) signals: Signals,
    pub(super) post: Post,
    pub(super) engine: Option<Pid>,
    /// Adopted processes that have ended without saying how; until when they are asked.
    pub(super) unreported: BTreeMap<Token, u64>,
    /// Set where the engine is no child of ours.
    pub(super) engine_watch: Option<PidFd>,
    pub(super) runs: Runs,
    /// The listening sockets of services.
    pub(super) held: BTreeMap<SocketKey, OwnedFd>,
    pub(super) epoll: Epoll,
    /// How many processes are on their way to their program.
    pub(super) spawning: usize,
    /// When what starting up needed is given back.
    pub(super) slim_at: Option<u64>,
    /// How many have been since memory was last given back.
    pub(super) burst: usize,
    /// The settings of our terminal, should the engine die without putting them back.
    pub(super) terminal: Option<Settings>,
    pub(super) suspending: Option<Suspending>,
    pub(super) leaving: Option<Leaving>,
    /// What another engine would go on from; none: the end of this one is the end.
    pub(super) revival: Option<Revival>,
    pub(super) unheard: Unheard,
    /// The engine's messages wake the loop.
    pub(super) listening: bool,
    /// So does room for ours.
    pub(super) asked_for_room: bool,
    /// Who wants to know how everup is.
    pub(super) manager: Option<Manager>,
    /// Whether we are spared when memory runs out; what we start is not to be.
    pub(super) spared: bool,
}

/// About to stop, as soon as the engine has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspending {
    group: bool,
    /// When the engine is waited for no longer.
    until: u64,
}

/// On the way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// The exit code; none: the engine has gone without naming one, and its own end will decide.
    code: Option<u8>,
    /// When trees that were asked to end are killed.
    kill_at: Option<u64>,
    /// When an engine that still lives is killed.
    engine_until: u64,
    /// When waiting is over.
    until: u64,
}

impl Guardian {
    /// Works until everything is over; the exit code of everup.
    pub(super) fn serve(&mut self) -> io::Result<u8> {
        self.epoll.add(&self.signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        self.epoll.add(&self.post, EpollEvent::new(EpollFlags::EPOLLIN, POST))?;
        self.post.send(FromGuardian::Hello(self.capabilities()), &[]);
        loop {
            if self.burst >= BURST && self.spawning == 0 {
                self.burst = 0;
                memory::slim_down();
            }
            if self.slim_at.is_some_and(|at| at <= now_ms()) {
                self.slim_at = None;
                memory::slim_down();
            }
            let wait = self.next_due().map(|due| due.saturating_sub(now_ms()));
            let timeout = wait.map_or(EpollTimeout::NONE, |ms| EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX));
            let mut events = [EpollEvent::empty(); 64];
            let happened = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => events.get(..count).unwrap_or_default(),
                Err(nix::errno::Errno::EINTR) => &[],
                Err(errno) => return Err(errno.into()),
            };
            // Looked at also when nothing has come for long: news of the last child of a tree may bypass us.
            let idle = happened.is_empty();
            let (mut signalled, mut spoken) = (idle, false);
            for event in happened {
                match event.data() {
                    SIGNALS => signalled = true,
                    POST => spoken = true,
                    ENGINE => self.watched_engine_ended(),
                    token => {
                        self.decide_spawn(Token(token));
                        self.watched_ended(Token(token));
                    }
                }
            }
            if signalled {
                if self.hear_signals()? {
                    return Ok(self.give_way());
                }
                self.reap(idle);
            }
            if spoken {
                self.post.flush();
                for _ in 0..MESSAGES_A_TURN {
                    let Some((message, fds)) = self.post.receive() else { break };
                    self.obey(message, fds);
                }
            }
            let now = now_ms();
            if !self.post.is_open() && self.listening {
                self.listening = false;
                self.epoll.delete(&self.post)?;
                self.lose_engine(now);
            } else if self.listening && self.post.is_waiting() != self.asked_for_room {
                self.asked_for_room = !self.asked_for_room;
                let interest =
                    if self.asked_for_room { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
                self.epoll.modify(&self.post, &mut EpollEvent::new(interest, POST))?;
            }
            self.kill_again(now);
            self.ask_for_reports(now);
            self.revive(now)?;
            self.suspend(now)?;
            if let Some(code) = self.leave(now) {
                return Ok(code);
            }
        }
    }

    /// Passes on what was signalled to us. True: the manager's watchdog has run out.
    fn hear_signals(&mut self) -> io::Result<bool> {
        while let Some(arrived) = self.signals.next()? {
            if arrived.signal == libc::SIGABRT && self.manager.is_some() {
                return Ok(true);
            }
            if arrived.signal != libc::SIGCHLD {
                let news = FromGuardian::Signalled { signal: arrived.signal, from_terminal: arrived.from_terminal };
                self.post.send(news.clone(), &[]);
                self.hear_in_its_place(news);
            }
        }
        Ok(false)
    }

    /// The engine has stalled, and the manager starts everup anew as soon as we are gone; the services run on. Returns
    /// the exit code.
    fn give_way(&self) -> u8 {
        crate::os::stderr::say("it has stalled, says the service manager; another everup is to take over");
        if let Some(engine) = self.engine.and_then(Process::find) {
            // Or it would go on beside the next one, should it come to.
            let _ = engine.signal(libc::SIGKILL);
        }
        STALLED
    }

    /// Takes the ends of all children that have ended (signals coalesce, so this does not depend on their number), and
    /// looks after the trees that may have lost their last process, or after all that linger.
    fn reap(&mut self, all: bool) {
        let mut ended: Vec<(Token, Reaped)> = Vec::new();
        let mut others = all;
        while let Some(reaped) = reap::next() {
            if Some(reaped.pid) == self.engine {
                self.engine = None;
                self.engine_ended(&reaped.end);
            } else if let Some(token) = self.runs.main_reaped(reaped.pid) {
                ended.push((token, reaped));
            } else {
                others = true;
            }
        }
        let lingering = if others { self.runs.lingering() } else { Vec::new() };
        self.trees.look_once();
        for (token, reaped) in ended {
            self.decide_spawn(token);
            if self.runs.get(token).is_some_and(|run| run.failed) {
                self.gone(token);
                continue;
            }
            let Reaped { end, cpu_us, max_rss, .. } = reaped;
            self.tell_end(token, end, cpu_us, max_rss);
        }
        for token in lingering {
            self.look_after(token);
        }
        self.trees.look_again();
    }

    /// Tells how a main process ended, and keeps it until the engine has it written down.
    pub(super) fn tell_end(&mut self, token: Token, end: End, cpu_us: u64, max_rss: u64) {
        let tree_empty = self.is_tree_empty(token);
        let Some(run) = self.runs.get_mut(token) else { return };
        // As long as the group is there to be asked.
        let oom_kills = self.trees.oom_kills(run);
        let ended = FromGuardian::Ended { token, end, tree_empty, cpu_us, max_rss, oom_kills };
        run.ended = Some(ended.clone());
        self.post.send(ended, &[]);
        if tree_empty {
            self.gone(token);
        }
    }

    /// Tells whether a process has come to its program, as soon as that is decided.
    fn decide_spawn(&mut self, token: Token) {
        let Some(run) = self.runs.get_mut(token) else { return };
        let Some(outcome) = run.spawning.as_mut().and_then(Spawning::outcome) else { return };
        run.spawning = None;
        self.spawning = self.spawning.saturating_sub(1);
        match outcome {
            Ok(()) => {
                if self.spared {
                    // It may have ended meanwhile.
                    let _ = oom::spare_no_longer(run.session);
                }
                self.post.send(self.trees.spawned(token, run), &run.pipes);
            }
            Err(SpawnFailure { stage, errno }) => {
                // Its zombie is yet to be reaped; nobody will ask about it any more.
                run.failed = true;
                run.forgotten = true;
                run.pipes = Vec::new();
                self.post.send(FromGuardian::Failed { token, stage, errno }, &[]);
            }
        }
    }

    fn is_tree_empty(&self, token: Token) -> bool {
        self.runs.get(token).is_none_or(|run| self.trees.is_empty(token, run, &self.runs))
    }

    /// Tells of a tree that has become empty after its main process.
    fn look_after(&mut self, token: Token) {
        if self.runs.get(token).is_some_and(|run| !run.gone && run.main.is_none()) && self.is_tree_empty(token) {
            self.post.send(FromGuardian::TreeGone { token }, &[]);
            self.gone(token);
        }
    }

    fn gone(&mut self, token: Token) {
        if let Some(run) = self.runs.set_gone(token) {
            self.trees.remove_group(run);
        }
        self.runs.drop_if_done(token);
    }

    pub(super) fn obey(&mut self, message: ToGuardian, fds: Vec<OwnedFd>) {
        match message {
            ToGuardian::Spawn { token, of, label, spec, stdio, sockets } => {
                let held: Option<Vec<_>> = sockets.iter().map(|key| self.held.get(key).map(AsFd::as_fd)).collect();
                let made = match &held {
                    Some(sockets) => {
                        let descriptors = Descriptors { stdio, passed: fds, sockets };
                        launch::run(&mut self.spawner, &mut self.trees, token, &label, spec, descriptors)
                    }
                    None => Err(SpawnFailure { stage: SpawnStage::Files, errno: libc::EBADF }),
                };
                let failure = match made {
                    Ok(mut run) => {
                        run.of = of;
                        // Should the kernel refuse to watch it, its end still tells what became of it.
                        if let Some(spawning) = &run.spawning {
                            let _ = self.epoll.add(spawning, EpollEvent::new(EpollFlags::EPOLLIN, token.0));
                        }
                        self.spawning += 1;
                        self.burst += 1;
                        self.runs.insert(token, run);
                        return;
                    }
                    Err(failure) => failure,
                };
                self.post.send(FromGuardian::Failed { token, stage: failure.stage, errno: failure.errno }, &[]);
            }
            ToGuardian::Hold { key } => self.held.extend(fds.into_iter().next().map(|socket| (key, socket))),
            ToGuardian::Release { key } => {
                self.held.remove(&key);
            }
            ToGuardian::Signal { token, signal, tree } => {
                if let Some(run) = self.runs.get_mut(token) {
                    run.signals |= bit(signal);
                }
                self.signal(token, signal, tree);
            }
            ToGuardian::Adopt { token, of, identity, cgroup, pipes } => {
                self.adopt(Claim { token, of, identity, cgroup, pipes });
            }
            ToGuardian::Sweep { mark } => self.sweep(&mark),
            ToGuardian::LeaveNothing => self.leave_nothing(),
            ToGuardian::Remember => self.remember(fds.into_iter().next()),
            ToGuardian::Upgrade { change } => self.upgrade(change, fds.into_iter().next()),
            ToGuardian::EndTree { token } => self.end_tree(token, now_ms()),
            ToGuardian::Forget { token } => {
                if let Some(run) = self.runs.get_mut(token) {
                    run.forgotten = true;
                    run.pipes = Vec::new();
                    if run.gone {
                        self.trees.remove_group(run);
                    }
                }
                self.runs.drop_if_done(token);
            }
            ToGuardian::Suspend { group } => {
                self.suspending = Some(Suspending { group, until: now_ms() + STOPPING });
            }
            ToGuardian::Announce { text } => {
                if let Some(manager) = &self.manager {
                    // It may be on its way to its own next life; the engine says again what must be heard.
                    let _ = manager.tell(&text);
                }
            }
            ToGuardian::Quit { code } => {
                let now = now_ms();
                for token in self.runs.living() {
                    self.end_tree(token, now);
                }
                self.leaving = Some(Leaving {
                    code: Some(code),
                    kill_at: None,
                    engine_until: now + ENGINE_GRACE,
                    until: now + ENGINE_GRACE + PATIENCE,
                });
            }
        }
    }

    fn signal(&self, token: Token, signal: i32, tree: bool) {
        let Some(run) = self.runs.get(token) else { return };
        let targets = match run.main {
            _ if tree => self.trees.members(token, run, &self.runs),
            main => {
                // Most signals to it are its end; what it leaves behind must be known then.
                self.trees.remember(token, run, &self.runs);
                main.into_iter().filter_map(Process::find).collect()
            }
        };
        let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        if !tree && self.signal_adopted(token, signal) {
            if !stops.contains(&signal) {
                self.signal_adopted(token, libc::SIGCONT);
            }
            return;
        }
        for target in &targets {
            // Whoever has ended meanwhile needs no signal any more.
            let _ = target.signal(signal);
        }
        if !stops.contains(&signal) {
            for target in &targets {
                let _ = target.signal(libc::SIGCONT);
            }
        }
    }

    pub(super) fn end_tree(&mut self, token: Token, now: u64) {
        if self.runs.begin_ending(token, now) {
            self.kill(token);
        }
    }

    fn kill_again(&mut self, now: u64) {
        for token in self.runs.due(now) {
            self.kill(token);
        }
    }

    fn kill(&mut self, token: Token) {
        if let Some(run) = self.runs.get(token) {
            self.trees.kill(token, run, &self.runs);
        }
        self.look_after(token);
    }

    /// Without an engine somebody must hear that everything is to end.
    fn hear_in_its_place(&mut self, news: FromGuardian) {
        let stops =
            matches!(news, FromGuardian::Signalled { signal: libc::SIGTERM | libc::SIGINT | libc::SIGQUIT, .. });
        let alive = self.engine.is_some() && self.post.is_open();
        self.unheard.note(news, alive);
        if alive || !stops {
            return;
        }
        let now = now_ms();
        match &mut self.revival {
            Some(revival) if revival.is_hopeless() && self.leaving.is_none() => self.end_all(now),
            Some(revival) => revival.hurry(),
            None => {}
        }
    }

    /// The engine has closed its end, or died.
    fn lose_engine(&mut self, now: u64) {
        if self.leaving.is_some() || self.await_engine(now) {
            return;
        }
        self.end_all(now);
    }

    /// Ends every tree, and then everup.
    fn end_all(&mut self, now: u64) {
        for token in self.runs.living() {
            self.signal(token, libc::SIGTERM, true);
        }
        self.leaving = Some(Leaving {
            code: None,
            kill_at: Some(now + GRACE),
            engine_until: now + ENGINE_GRACE,
            until: now + GRACE + PATIENCE,
        });
    }

    /// What becomes of everup when its engine ended like this.
    pub(super) fn engine_ended(&mut self, end: &End) {
        if let Some(terminal) = self.terminal.take() {
            terminal.restore();
        }
        let how = match end {
            End::Code(code) => format!("ended with code {code}"),
            End::Signal { signal, .. } => format!("was ended by signal {signal}"),
            End::NotSpawned { .. } | End::Unknown => "is gone".to_owned(),
        };
        // What it has said last tells why it ended.
        while let Some((message, fds)) = self.post.receive() {
            self.obey(message, fds);
        }
        let now = now_ms();
        if self.leaving.is_none() && self.mourn(&how, now) {
            return;
        }
        self.lose_engine(now);
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.code.is_none()) else { return };
        // 101 is how a Rust program ends that panicked.
        if let End::Code(code) = end
            && *code != 101
        {
            leaving.code = Some(u8::try_from(*code).unwrap_or(1));
            return;
        }
        leaving.code = Some(1);
        crate::os::stderr::say(format_args!("the engine {how}; every service is being stopped"));
    }

    /// Stops once the engine has stopped, until the shell lets us go on. In the other order a quick `fg` would find an
    /// engine that is yet to stop, and nobody would let it go on again.
    fn suspend(&mut self, now: u64) -> io::Result<()> {
        let (Some(Suspending { group, until }), Some(engine)) = (self.suspending, self.engine) else { return Ok(()) };
        let stopped = job::has_stopped(engine);
        if !stopped && now < until {
            return Ok(());
        }
        self.suspending = None;
        if stopped {
            job::stop_as_by_key(group)?;
        }
        if let Some(engine) = Process::find(engine) {
            // It may have ended meanwhile.
            let _ = engine.signal(libc::SIGCONT);
        }
        Ok(())
    }

    /// Brings the end about; the exit code once nothing is left to wait for.
    fn leave(&mut self, now: u64) -> Option<u8> {
        let leaving = self.leaving?;
        if leaving.kill_at.is_some_and(|at| at <= now) {
            self.leaving = Some(Leaving { kill_at: None, ..leaving });
            for token in self.runs.living() {
                self.end_tree(token, now);
            }
        }
        if leaving.engine_until <= now
            && let Some(engine) = self.engine.and_then(Process::find)
        {
            let _ = engine.signal(libc::SIGKILL);
        }
        if leaving.until <= now {
            return Some(leaving.code.unwrap_or(1));
        }
        if self.engine.is_some() || !self.runs.is_quiet() || self.trees.kill_strays(self.engine) > 0 {
            return None;
        }
        self.post.flush();
        Some(leaving.code.unwrap_or(1))
    }

    /// When the loop must wake although nothing has come, in milliseconds of the monotonic clock.
    fn next_due(&self) -> Option<u64> {
        let now = now_ms();
        let glance = self.runs.has_lingering().then_some(now + GLANCE);
        // On the way out time matters more than idleness.
        let leaving = self.leaving.map(|leaving| leaving.until.min(now + 50));
        // Its stop is told by SIGCHLD; this is in case it never comes.
        let suspending = self.suspending.map(|suspending| suspending.until.min(now + 50));
        let revival = self.revival.as_ref().and_then(Revival::next_due);
        let reports = (!self.unreported.is_empty()).then_some(now + REPORT_PAUSE);
        [self.runs.next_due(), glance, leaving, suspending, revival, reports, self.slim_at].into_iter().flatten().min()
    }
}

/// One signal in a set of them.
fn bit(signal: i32) -> u64 {
    signal.checked_sub(1).and_then(|bit| 1_u64.checked_shl(bit.cast_unsigned())).unwrap_or(0)
}

pub(super) fn now_ms() -> u64 {
    clock::monotonic_us() / 1_000
}
