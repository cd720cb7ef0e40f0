//! Processes that an earlier guardian started: they are no children of ours, so they are watched by their descriptors.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::guardian::launch;
use crate::guardian::protocol::Token;
use crate::guardian::runs::Run;
use crate::guardian::turn::{ENGINE, Guardian, now_ms};
use crate::guardian::undertaker::Watch;
use crate::model::names::{InstanceId, Pid, Run as RunNumber};
use crate::model::service::End;
use crate::os::cgroup::Group;
use crate::os::identity::Identity;
use crate::os::pidfd::PidFd;
use crate::os::{pipe, stderr};

/// How often an ended process is asked how, and for how long: whoever is its parent now may take its time to reap it, and
/// before that only those see its exit who may look into it. In milliseconds.
pub(super) const REPORT_PAUSE: u64 = 100;
const REPORT_PATIENCE: u64 = 3_000;

/// A process to be taken over.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) token: Token,
    pub(super) of: (InstanceId, RunNumber),
    pub(super) identity: Identity,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) pipes: [Option<u64>; 2],
}

impl Guardian {
    /// Takes a process over, or tells that it is gone.
    pub(super) fn adopt(&mut self, claim: Claim) {
        let Claim { token, of, identity, cgroup, pipes } = claim;
        let pid = identity.pid;
        let watch = identity.find();
        let group = cgroup.and_then(|path| Group::adopt(&path));
        let pipes: Vec<OwnedFd> = match &watch {
            Some(_) => (1..).zip(pipes).filter_map(|(number, inode)| pipe::reopen(pid, number, inode?).ok()).collect(),
            None => vec![],
        };
        let mut run = Run::adopted(pid, of, group, pipes);
        if let Some(watch) = watch {
            // Should the kernel refuse to watch it, its end is seen when it is looked after.
            let _ = self.epoll.add(&watch, EpollEvent::new(EpollFlags::EPOLLIN, token.0));
            self.trees.claim(token, pid);
            run.watch = Some(watch);
            self.post.send(self.trees.spawned(token, &run), &run.pipes);
            self.runs.insert(token, run);
            return;
        }
        // What it left behind goes with it.
        self.runs.insert(token, run);
        self.runs.main_reaped(pid);
        self.end_tree(token, now_ms());
        self.tell_end(token, End::Unknown, 0, 0);
    }

    /// An adopted process has ended, or the engine that is no child of ours.
    pub(super) fn watched_ended(&mut self, token: Token) {
        let ended = self.runs.get(token).and_then(|run| run.watch.as_ref()).filter(|watch| watch.has_ended());
        let Some(watch) = ended else { return };
        // It is not to wake us again, however long others hold it.
        let _ = self.epoll.delete(watch);
        let now = now_ms();
        self.unreported.insert(token, now + REPORT_PATIENCE);
        self.ask_for_reports(now);
    }

    /// Asks those that have ended how; what cannot be known is `unknown`.
    pub(super) fn ask_for_reports(&mut self, now: u64) {
        for (token, until) in self.unreported.clone() {
            let Some(run) = self.runs.get_mut(token) else {
                self.unreported.remove(&token);
                continue;
            };
            let end = match run.watch.as_ref().and_then(PidFd::exit) {
                None if now < until => continue,
                end => end.unwrap_or(End::Unknown),
            };
            run.watch = None;
            let pid = run.session;
            self.unreported.remove(&token);
            self.runs.main_reaped(pid);
            self.tell_end(token, end, 0, 0);
        }
    }

    /// Sends a signal to an adopted main process; false: it is not adopted.
    pub(super) fn signal_adopted(&self, token: Token, signal: i32) -> bool {
        let Some(watch) = self.runs.get(token).and_then(|run| run.watch.as_ref()) else { return false };
        // It may have ended meanwhile.
        let _ = watch.signal(signal);
        true
    }

    /// Watches an engine that started us, and not we it.
    pub(super) fn watch_engine(&mut self, pid: Pid) {
        self.engine_watch = PidFd::open(pid).ok();
        if let Some(watch) = &self.engine_watch {
            // Should the kernel refuse, its silence is heard.
            let _ = self.epoll.add(watch, EpollEvent::new(EpollFlags::EPOLLIN, ENGINE));
        }
    }

    /// That engine has ended.
    pub(super) fn watched_engine_ended(&mut self) {
        let Some(watch) = self.engine_watch.take_if(|watch| watch.has_ended()) else { return };
        let _ = self.epoll.delete(&watch);
        let end = watch.exit().unwrap_or(End::Unknown);
        self.engine = None;
        self.engine_ended(&end);
    }

    /// Starts the one who ends what is left should we and the engine be killed at once.
    pub(super) fn leave_nothing(&mut self) {
        let capabilities = self.capabilities();
        let Some(engine) = self.engine else { return };
        let (guardian, mark, cgroup) = (capabilities.guardian, capabilities.mark, capabilities.cgroup.ok());
        let watch = Watch { guardian, engine, mark, cgroup };
        if let Err(failure) = launch::undertaker(&mut self.spawner, &watch) {
            let why = std::io::Error::from_raw_os_error(failure.errno);
            stderr::say(format_args!("should everup be killed as a whole, its services may run on: {why}"));
        }
    }

    /// Ends what an earlier guardian of this `mark` started and nobody has claimed.
    pub(super) fn sweep(&mut self, mark: &str) {
        for process in self.trees.unclaimed(mark) {
            // It may have ended meanwhile.
            let _ = process.signal(libc::SIGKILL);
        }
    }
}
