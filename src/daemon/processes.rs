//! Which process of the guardian's is whose.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::guardian::link::Link;
use crate::guardian::protocol::{Change, SocketKey, StdioSpec, ToGuardian, Token};
use crate::model::names::{InstanceId, Pid, Run, ServiceName};
use crate::model::service::{End, SpawnStage};
use crate::model::signal::Signal;
use crate::os::cgroup::bounds::Limited;
use crate::os::executable::Executable;
use crate::os::identity::Identity;
use crate::os::spawn::SpawnSpec;
use crate::os::tree::Process;

/// The engine's side of everything the guardian runs for it. Cheap to clone; one thread.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    link: Rc<RefCell<Rc<AsyncFd<Link>>>>,
    table: Rc<RefCell<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    last_key: u64,
    owners: HashMap<Token, Owner>,
    runs: BTreeMap<InstanceId, Token>,
    /// The guardian is gone and TERM has been sent in its place.
    orphaned: bool,
}

/// Whose process it is.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "commands are few, and short-lived")]
pub(super) enum Owner {
    /// A run of a service.
    Run(Running),
    /// A hook or exec probe, which is told what becomes of it.
    Command(mpsc::Sender<CommandNews>),
}

/// A run's process.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) instance: InstanceId,
    pub(super) run: Run,
    pub(super) pid: Option<Pid>,
    pub(super) cgroup: Option<PathBuf>,
    /// What became of its limits of memory and CPU.
    pub(super) limited: Limited,
    /// The process among all that ever bear its number; none: not looked at so far.
    pub(super) identity: Option<Identity>,
    /// The pipes that are its stdout and stderr, by their inodes.
    pub(super) pipes: [Option<u64>; 2],
}

impl Running {
    /// A run whose process is yet to be confirmed.
    pub(super) fn new(instance: InstanceId, run: Run) -> Self {
        let (identity, pipes) = (None, [None; 2]);
        Self { instance, run, pid: None, cgroup: None, limited: Limited::default(), identity, pipes }
    }
}

/// What becomes of a command.
#[derive(Debug)]
pub(super) enum CommandNews {
    /// It runs; the read end of its output.
    Spawned(Vec<OwnedFd>),
    /// It could not be started.
    Failed(SpawnStage, i32),
    /// Its main process ended; whether nothing else of it lives.
    Ended(End, bool),
    /// The rest of it is gone too.
    TreeGone,
}

impl Processes {
    pub(super) fn new(link: AsyncFd<Link>) -> Self {
        Self { link: Rc::new(RefCell::new(Rc::new(link))), table: Rc::default() }
    }

    pub(super) fn link(&self) -> Rc<AsyncFd<Link>> {
        self.link.borrow().clone()
    }

    /// From now on another guardian is spoken to.
    pub(super) fn speak_to(&self, link: AsyncFd<Link>) {
        *self.link.borrow_mut() = Rc::new(link);
    }

    /// Asks for a process. A guardian that is gone is noticed where its messages are read.
    pub(super) fn spawn(
        &self,
        owner: Owner,
        label: String,
        spec: SpawnSpec,
        stdio: [StdioSpec; 3],
        fds: &[BorrowedFd<'_>],
        sockets: Vec<SocketKey>,
    ) -> Token {
        let of = match &owner {
            Owner::Run(running) => Some((running.instance.clone(), running.run)),
            Owner::Command(_) => None,
        };
        let token = {
            let mut table = self.table.borrow_mut();
            table.last += 1;
            let token = Token(table.last);
            if let Owner::Run(running) = &owner {
                table.runs.insert(running.instance.clone(), token);
            }
            table.owners.insert(token, owner);
            token
        };
        self.send(&ToGuardian::Spawn { token, of, label, spec, stdio, sockets }, fds);
        token
    }

    /// Goes on with what an earlier engine has asked for: each process under its token, and names that none of them had.
    pub(super) fn recall(&self, known: impl IntoIterator<Item = (Token, Running)>, last: u64) {
        let mut table = self.table.borrow_mut();
        for (token, running) in known {
            // The latest run of an instance is the last that was asked for.
            table.runs.insert(running.instance.clone(), token);
            table.owners.insert(token, Owner::Run(running));
        }
        table.last = last;
        table.last_key = last;
    }

    /// What the engine's successor goes on from; without a descriptor there is none any more.
    pub(super) fn remember(&self, memory: Option<BorrowedFd<'_>>) {
        self.send(&ToGuardian::Remember, memory.as_slice());
    }

    /// Lets the guardian hold a socket under a name that no other has had.
    pub(super) fn hold(&self, socket: BorrowedFd<'_>) -> SocketKey {
        let key = {
            let mut table = self.table.borrow_mut();
            table.last_key += 1;
            SocketKey(table.last_key)
        };
        self.hold_as(key, socket);
        key
    }

    /// Lets the guardian hold a socket, or a lock, under this name.
    pub(super) fn hold_as(&self, key: SocketKey, socket: BorrowedFd<'_>) {
        self.send(&ToGuardian::Hold { key }, &[socket]);
    }

    /// The guardian need not hold it any longer.
    pub(super) fn release(&self, key: SocketKey) {
        self.send(&ToGuardian::Release { key }, &[]);
    }

    pub(super) fn signal(&self, instance: &InstanceId, run: Run, signal: i32, tree: bool) {
        if let Some(token) = self.token_of(instance, run) {
            self.send(&ToGuardian::Signal { token, signal, tree }, &[]);
        }
    }

    /// Signals all processes of everything that was asked for, runs and commands, but not of this instance's run.
    pub(super) fn signal_all_but(&self, instance: Option<&InstanceId>, signal: i32) {
        let table = self.table.borrow();
        let spared = instance.and_then(|instance| table.runs.get(instance));
        for token in table.owners.keys().filter(|token| Some(*token) != spared) {
            self.send(&ToGuardian::Signal { token: *token, signal, tree: true }, &[]);
        }
    }

    /// Has the guardian stop as soon as we have: to be followed by [`crate::os::job::stop`].
    pub(super) fn suspend(&self, group: bool) {
        self.send(&ToGuardian::Suspend { group }, &[]);
    }

    pub(super) fn end_tree_of(&self, instance: &InstanceId, run: Run) {
        if let Some(token) = self.token_of(instance, run) {
            self.end_tree(token);
        }
    }

    pub(super) fn end_tree(&self, token: Token) {
        self.send(&ToGuardian::EndTree { token }, &[]);
    }

    /// It is over: its news is news no more.
    pub(super) fn over(&self, token: Token) {
        let mut table = self.table.borrow_mut();
        table.owners.remove(&token);
        table.runs.retain(|_, known| *known != token);
    }

    /// Everything about it is written down.
    pub(super) fn forget(&self, token: Token) {
        self.over(token);
        self.send(&ToGuardian::Forget { token }, &[]);
    }

    /// Has the manager told that everup is a service of.
    pub(super) fn announce(&self, text: String) {
        self.send(&ToGuardian::Announce { text }, &[]);
    }

    /// The last word before the engine ends, to be followed by `program`.
    pub(super) fn upgrade(&self, change: Change, program: &Executable) {
        self.send(&ToGuardian::Upgrade { change }, &[program.as_fd()]);
    }

    pub(super) fn quit(&self, code: u8) {
        self.send(&ToGuardian::Quit { code }, &[]);
    }

    pub(super) fn owner(&self, token: Token) -> Option<Owner> {
        self.table.borrow().owners.get(&token).cloned()
    }

    /// Notes what became of a run's spawn.
    pub(super) fn spawned(
        &self,
        token: Token,
        pid: Pid,
        cgroup: Option<PathBuf>,
        limited: Limited,
        pipes: [Option<u64>; 2],
    ) {
        if let Some(Owner::Run(running)) = self.table.borrow_mut().owners.get_mut(&token) {
            running.pid = Some(pid);
            running.pipes = pipes;
            running.cgroup = cgroup;
            running.limited = limited;
        }
    }

    /// Looks at those processes that have not been looked at, while their numbers are surely theirs.
    pub(super) fn identify(&self) {
        for owner in self.table.borrow_mut().owners.values_mut() {
            if let Owner::Run(Running { pid: Some(pid), identity: identity @ None, .. }) = owner {
                *identity = Identity::of(*pid);
            }
        }
    }

    /// Asks the guardian to take over a process that an earlier one started.
    pub(super) fn adopt(&self, token: Token, running: &Running, identity: Identity) {
        let of = (running.instance.clone(), running.run);
        let (cgroup, pipes) = (running.cgroup.clone(), running.pipes);
        self.send(&ToGuardian::Adopt { token, of, identity, cgroup, pipes }, &[]);
    }

    /// Asks the guardian to end what an earlier one of this mark has left and nobody has adopted.
    pub(super) fn sweep(&self, mark: String) {
        self.send(&ToGuardian::Sweep { mark }, &[]);
    }

    /// Nothing is to outlive us and the guardian.
    pub(super) fn leave_nothing(&self) {
        self.send(&ToGuardian::LeaveNothing, &[]);
    }

    /// The commands under way are lost with the guardian that started them.
    pub(super) fn lose_commands(&self) {
        self.table.borrow_mut().owners.retain(|_, owner| match owner {
            Owner::Run(_) => true,
            Owner::Command(teller) => {
                // Whoever asked for it may have gone.
                let _ = teller.try_send(CommandNews::Ended(End::Unknown, true));
                false
            }
        });
    }

    /// Counts a process as asked for.
    pub(super) fn know(&self, token: Token, running: Running) {
        let mut table = self.table.borrow_mut();
        table.runs.insert(running.instance.clone(), token);
        table.owners.insert(token, Owner::Run(running));
    }

    /// A name for a process that nobody has had before.
    pub(super) fn next_token(&self) -> Token {
        let mut table = self.table.borrow_mut();
        table.last += 1;
        Token(table.last)
    }

    /// The runs whose process lives (or is being ended), with their tokens.
    pub(super) fn running(&self) -> Vec<(Token, Running)> {
        let table = self.table.borrow();
        let runs = table.runs.values().filter_map(|token| match table.owners.get(token) {
            Some(Owner::Run(running)) => Some((*token, running.clone())),
            Some(Owner::Command(_)) | None => None,
        });
        runs.collect()
    }

    /// Whether a process of any instance of `service` lives.
    pub(super) fn any_of(&self, service: &ServiceName) -> bool {
        self.table.borrow().runs.keys().any(|instance| &instance.service == service)
    }

    /// The process of `instance`, if one runs.
    pub(super) fn running_of(&self, instance: &InstanceId) -> Option<Running> {
        let table = self.table.borrow();
        match table.owners.get(table.runs.get(instance)?) {
            Some(Owner::Run(running)) => Some(running.clone()),
            Some(Owner::Command(_)) | None => None,
        }
    }

    /// Ends what the guardian has left behind: TERM at the first call, KILL once `now` is said. Returns whether any
    /// process still lives.
    pub(super) fn end_orphans(&self, now: bool) -> bool {
        let mut table = self.table.borrow_mut();
        let first = !std::mem::replace(&mut table.orphaned, true);
        let mut living = false;
        for owner in table.owners.values() {
            let Owner::Run(Running { pid: Some(main), cgroup, .. }) = owner else { continue };
            let pids = match cgroup {
                Some(path) => crate::os::cgroup::procs(path).unwrap_or_default(),
                None => crate::os::tree::descendants(*main, &|_| false),
            };
            for process in pids.into_iter().filter_map(Process::find) {
                living = true;
                if first || now {
                    // It may have ended just now.
                    let _ = process.signal(if now { Signal::KILL } else { Signal::TERM }.number());
                }
            }
        }
        living
    }

    fn token_of(&self, instance: &InstanceId, run: Run) -> Option<Token> {
        let table = self.table.borrow();
        let token = *table.runs.get(instance)?;
        match table.owners.get(&token) {
            Some(Owner::Run(running)) if running.run == run => Some(token),
            Some(Owner::Run(_) | Owner::Command(_)) | None => None,
        }
    }

    fn send(&self, message: &ToGuardian, fds: &[BorrowedFd<'_>]) {
        if let Err(error) = self.link().get_ref().send(message, fds) {
            tracing::error!(%error, "cannot tell the guardian");
        }
    }
}
