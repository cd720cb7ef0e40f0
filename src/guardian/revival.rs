//! The engine's next life: what it has remembered, and what the guardian has seen meanwhile, is told to its successor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::guardian::launch;
use crate::guardian::post::Post;
use crate::guardian::protocol::{Capabilities, FromGuardian, LANGUAGE, Resumed};
use crate::guardian::turn::{Guardian, POST, now_ms};
use crate::guardian::upgrade::Programs;
use crate::model::names::Pid;
use crate::os::seqpacket;
use crate::os::tree::Process;

/// So many deaths in a row are answered at once.
const AT_ONCE: u32 = 5;
/// The pause before the next attempt after that, in milliseconds; it doubles with each.
const FIRST_PAUSE: u64 = 100;
/// The longest such pause.
const LONGEST_PAUSE: u64 = 10_000;
/// For each such time that an engine lives, one of the deaths before it is forgiven.
const FORGIVES: u64 = 1_000;
/// An engine that has closed its connection and lives on is killed after this time, so that two never work at once.
const LINGERS: u64 = 1_000;
/// A signal that came this shortly before the engine's death may not have been understood.
const UNHEARD: u64 = 1_000;

/// What there is for an engine to go on from.
#[derive(Debug)]
pub(super) struct Revival {
    /// What the engine wrote down for its successor.
    memory: OwnedFd,
    /// Its deaths in a row.
    deaths: u32,
    /// How the latest came about, for people.
    how: String,
    born: u64,
    died: u64,
    /// When the next is to be started; none: one lives.
    at: Option<u64>,
    /// When an engine that no longer speaks to us is killed.
    kill_at: Option<u64>,
    pub(super) programs: Programs,
}

/// Signals that the engine may not have acted on: kept for a while as long as it lives, and then until another does.
#[derive(Debug, Default)]
pub(super) struct Unheard(VecDeque<(u64, FromGuardian)>);

impl Unheard {
    /// Notes a signal; `alive`: there is an engine to be told.
    pub(super) fn note(&mut self, signal: FromGuardian, alive: bool) {
        let now = now_ms();
        if alive {
            self.0.retain(|(at, _)| now - at < UNHEARD);
        }
        // More of them say nothing new.
        self.0.truncate(8);
        self.0.push_back((now, signal));
    }
}

impl Revival {
    /// Whether an engine is waited for.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// When something is to be done, in milliseconds of the monotonic clock.
    pub(super) fn next_due(&self) -> Option<u64> {
        [self.at, self.kill_at, self.programs.next_due()].into_iter().flatten().min()
    }

    /// It has died so often in a row that it may never come back.
    pub(super) fn is_hopeless(&self) -> bool {
        self.at.is_some() && self.deaths > AT_ONCE
    }

    /// Somebody waits for it: at once.
    pub(super) fn hurry(&mut self) {
        self.at = self.at.map(|_| 0);
    }

    /// The engine is to end: it is killed once this time is over.
    pub(super) fn let_end(&mut self, now: u64) {
        self.kill_at = Some(now + LINGERS);
    }
}

impl Guardian {
    /// The engine has written down what it knows: from now on it can be replaced.
    /// None: it cannot any more.
    pub(super) fn remember(&mut self, memory: Option<OwnedFd>) {
        let Some(memory) = memory else {
            self.revival = None;
            return;
        };
        match &mut self.revival {
            Some(revival) => {
                revival.memory = memory;
                revival.programs.taken_over();
            }
            None => {
                let born = now_ms();
                let (how, at, kill_at, programs) = (String::new(), None, None, Programs::default());
                self.revival = Some(Revival { memory, deaths: 0, how, born, died: born, at, kill_at, programs });
            }
        }
    }

    /// The engine speaks no more. Whether another will.
    pub(super) fn await_engine(&mut self, now: u64) -> bool {
        let Some(revival) = &mut self.revival else { return false };
        if self.engine.is_some() {
            revival.let_end(now);
        }
        true
    }

    /// The engine has ended `how`, in words. Whether another is to be started.
    pub(super) fn mourn(&mut self, how: &str, now: u64) -> bool {
        let Some(revival) = &mut self.revival else { return false };
        if let Some(ended) = revival.programs.ended(how, now) {
            if ended.is_the_first {
                revival.died = now;
            }
            (revival.at, revival.kill_at) = (Some(now), None);
            return true;
        }
        let forgiven = u32::try_from(now.saturating_sub(revival.born) / FORGIVES).unwrap_or(u32::MAX);
        revival.deaths = revival.deaths.saturating_sub(forgiven).saturating_add(1);
        let pause = match revival.deaths.checked_sub(AT_ONCE + 1) {
            None => 0,
            Some(more) => FIRST_PAUSE.saturating_mul(1 << more.min(10)).min(LONGEST_PAUSE),
        };
        how.clone_into(&mut revival.how);
        (revival.died, revival.at, revival.kill_at) = (now, Some(now + pause), None);
        let when = if pause == 0 { "at once".to_owned() } else { format!("in {pause} ms") };
        crate::os::stderr::say(format_args!("the engine {how}; its services go on, and it is started again {when}"));
        true
    }

    /// Does what is due for the engine's next life.
    ///
    /// # Errors
    /// When the kernel refuses to watch the new connection.
    pub(super) fn revive(&mut self, now: u64) -> io::Result<()> {
        let Some(revival) = &mut self.revival else { return Ok(()) };
        if revival.kill_at.is_some_and(|at| at <= now) || revival.programs.is_overdue(now) {
            revival.kill_at = None;
            if let Some(engine) = self.engine.and_then(Process::find) {
                // It may have ended meanwhile.
                let _ = engine.signal(libc::SIGKILL);
            }
        }
        if !revival.is_due(now) || self.leaving.is_some() {
            return Ok(());
        }
        match self.start_engine() {
            Ok(()) => self.tell_all(now),
            Err(error) => {
                self.mourn(&format!("cannot be started: {error}"), now);
                Ok(())
            }
        }
    }

    fn start_engine(&mut self) -> io::Result<()> {
        let (ours, theirs) = seqpacket::pair()?;
        let failed = |failure: crate::os::spawn::SpawnFailure| io::Error::from_raw_os_error(failure.errno);
        let program = self.revival.as_ref().and_then(|revival| revival.programs.next());
        let mut engine = launch::engine(&mut self.spawner, theirs.as_fd(), true, program).map_err(failed)?;
        engine.wait().map_err(failed)?;
        self.engine = Some(engine.pid);
        self.trees.know_engine(engine.pid);
        // What the one before has said is done before the next hears how things are.
        while let Some((message, fds)) = self.post.receive() {
            self.obey(message, fds);
        }
        if self.listening {
            self.listening = false;
            self.epoll.delete(&self.post)?;
        }
        self.post = Post::new(ours);
        Ok(())
    }

    /// Tells the new engine all that is known, as it was told before.
    fn tell_all(&mut self, now: u64) -> io::Result<()> {
        let capabilities = self.capabilities();
        let Some(revival) = &mut self.revival else { return Ok(()) };
        (revival.born, revival.at) = (now, None);
        let resumed = Resumed {
            deaths: revival.deaths,
            how: revival.how.clone(),
            died: revival.died,
            upgrade: revival.programs.news(),
        };
        let memory: Vec<OwnedFd> = revival.memory.try_clone().into_iter().collect();
        let hello = Capabilities { resumed: Some(resumed), ..capabilities };
        self.post.send(FromGuardian::Hello(hello), &memory);
        for (token, run) in self.runs.all().filter(|(_, run)| !run.forgotten) {
            self.post.send(FromGuardian::Known { token, of: run.of.clone(), signals: run.signals }, &[]);
            if run.spawning.is_some() {
                continue;
            }
            self.post.send(self.trees.spawned(token, run), &run.pipes);
            if let Some(ended) = &run.ended {
                self.post.send(ended.clone(), &[]);
                if run.gone && !matches!(ended, FromGuardian::Ended { tree_empty: true, .. }) {
                    self.post.send(FromGuardian::TreeGone { token }, &[]);
                }
            }
        }
        for (key, socket) in &self.held {
            // Without a descriptor to spare it is opened anew.
            let socket: Vec<OwnedFd> = socket.try_clone().into_iter().collect();
            self.post.send(FromGuardian::Held { key: *key }, &socket);
        }
        self.post.send(FromGuardian::Complete, &[]);
        for (_, signal) in std::mem::take(&mut self.unheard.0) {
            self.post.send(signal, &[]);
        }
        self.listening = true;
        self.asked_for_room = false;
        self.epoll.add(&self.post, EpollEvent::new(EpollFlags::EPOLLIN, POST))?;
        Ok(())
    }

    /// What this guardian can do here.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            language: LANGUAGE,
            guardian: Pid(std::process::id().cast_signed()),
            cgroup: match &self.trees.groups {
                Ok(groups) => Ok(groups.path().to_owned()),
                Err(why) => Err(why.to_string()),
            },
            mark: self.trees.mark().to_owned(),
            resumed: None,
        }
    }
}
