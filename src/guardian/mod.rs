//! The small parent of every child: it spawns, reaps and holds descriptors, and decides nothing.
//!
//! It is the process that the terminal, systemd or Docker sees. The engine, which decides, is its child too.

mod adoption;
mod launch;
pub mod link;
mod post;
pub mod protocol;
mod revival;
mod runs;
mod trees;
mod turn;
pub mod undertaker;
mod upgrade;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::epoll::{Epoll, EpollCreateFlags};

use crate::guardian::post::Post;
use crate::guardian::revival::Unheard;
use crate::guardian::runs::Runs;
use crate::guardian::trees::{TOKEN_VARIABLE, Trees};
use crate::guardian::turn::Guardian;
use crate::model::names::Pid;
use crate::os::notify::Manager;
use crate::os::signals::{self, Signals};
use crate::os::spawn::{SpawnFailure, Spawner};
use crate::os::terminal::Settings;
use crate::os::{clock, environment, limits, oom, privacy, seqpacket, tree};

/// A guardian has settled this long after its start, in milliseconds.
const SETTLED_MS: u64 = 2_000;

/// What `ps` and `top` show; the kernel would take it from `/proc/self/exe`.
const NAME: &str = "everup";
/// The variable that tells a process its role.
pub const ROLE_VARIABLE: &str = "EVERUP_ROLE";
const ROLE_GUARDIAN: &str = "guardian";
const ROLE_ENGINE: &str = "engine";
/// The role of a program that is to say whether it could take over.
pub const ROLE_REHEARSAL: &str = "rehearsal";
const ROLE_UNDERTAKER: &str = "undertaker";

/// What this process is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To carry out a command, as everup was called.
    Command,
    /// To be the parent of everything: [`run`].
    Guardian,
    /// To decide: [`link::Link::from_env`].
    Engine,
    /// To say whether it could take over from the engine that runs.
    Rehearsal,
    /// To leave nothing behind: [`undertaker::run`].
    Undertaker,
}

/// What this process is here for. To be asked first and once: takes the variable that says it out of the environment.
pub fn role() -> Role {
    let role = environment::take(ROLE_VARIABLE);
    match role.as_ref().and_then(|role| role.to_str()) {
        Some(ROLE_GUARDIAN) => Role::Guardian,
        Some(ROLE_REHEARSAL) => {
            // It is shown all that the engine keeps.
            let _ = privacy::keep_memory();
            Role::Rehearsal
        }
        Some(ROLE_ENGINE) => {
            // As early as can be: a Ctrl-C that ended us would take the order out of the shutdown. Blocking cannot fail.
            let _ = signals::leave_to_parent();
            // Before the first secret is read. Where the kernel refuses it, everything else still holds.
            let _ = privacy::keep_memory();
            // Whatever it makes is for nobody else. Children have the guardian's.
            privacy::keep_files();
            environment::set_process_name(NAME);
            Role::Engine
        }
        Some(ROLE_UNDERTAKER) => {
            environment::set_process_name(NAME);
            Role::Undertaker
        }
        _ => Role::Command,
    }
}

/// Executes this program again in this process, as the guardian, with the same arguments. Comes back only on failure.
pub fn enter() -> io::Error {
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(ROLE_VARIABLE, ROLE_GUARDIAN).exec()
}

/// Why the guardian could not do its work.
#[derive(Debug, thiserror::Error)]
enum GuardianError {
    /// Something it needs before the first child.
    #[error("cannot prepare to start processes")]
    Prepare(#[source] io::Error),
    /// The engine.
    #[error("cannot start the engine")]
    Engine(#[source] SpawnFailure),
    /// While it worked.
    #[error("cannot wait for children")]
    Wait(#[source] io::Error),
}

/// Is the guardian: starts the engine and works until everything is over. The exit code is the engine's own choice.
pub fn run() -> ExitCode {
    match work() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            crate::os::stderr::say(format_args!("{error}{cause}"));
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<u8, GuardianError> {
    // Before anything else: as PID 1 nothing must reach us that nobody reads.
    let signals = Signals::block_all().map_err(GuardianError::Prepare)?;
    environment::set_process_name(NAME);
    tree::become_subreaper().map_err(GuardianError::Prepare)?;
    let above = environment::take(TOKEN_VARIABLE).and_then(|words| words.into_string().ok()).unwrap_or_default();
    let mut spawner = Spawner::new().map_err(GuardianError::Prepare)?;
    // Two descriptors a service go beyond the usual soft limit soon; if it cannot be raised, spawns say so in time.
    let _ = limits::raise_open_files();
    // Where the kernel refuses it, everything else still holds.
    let _ = privacy::keep_memory();
    let foreign = tree::children(Pid(std::process::id().cast_signed()));
    // Before the engine can change it.
    let terminal = Settings::of_stdin();
    let (post, engine, mut trees);
    if let Some(call) = link::Call::from_env() {
        // The engine has lost its guardian and has made us the next.
        (post, engine) = (call.socket, call.engine);
        trees = Trees::new(&above, clock::monotonic_us(), foreign);
    } else {
        let (ours, theirs) = seqpacket::pair().map_err(GuardianError::Prepare)?;
        let mut started = launch::engine(&mut spawner, theirs.as_fd(), false, None).map_err(GuardianError::Engine)?;
        drop(theirs);
        // While the engine starts.
        trees = Trees::new(&above, clock::monotonic_us(), foreign);
        started.wait().map_err(GuardianError::Engine)?;
        (post, engine) = (ours, started.pid);
    }
    trees.know_engine(engine);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| GuardianError::Prepare(errno.into()))?;
    let mut guardian = Guardian {
        spawner,
        trees,
        signals,
        post: Post::new(post),
        engine: Some(engine),
        unreported: BTreeMap::new(),
        engine_watch: None,
        runs: Runs::default(),
        held: BTreeMap::new(),
        epoll,
        spawning: 0,
        burst: 0,
        slim_at: Some(turn::now_ms() + SETTLED_MS),
        terminal,
        suspending: None,
        leaving: None,
        revival: None,
        unheard: Unheard::default(),
        listening: true,
        asked_for_room: false,
        manager: Manager::from_env(),
        spared: oom::is_spared(),
    };
    if tree::parent(engine) != Some(Pid(std::process::id().cast_signed())) {
        guardian.watch_engine(engine);
    }
    guardian.serve().map_err(GuardianError::Wait)
}

#[cfg(test)]
mod tests;
