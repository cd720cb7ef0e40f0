//! The engine's shell: one loop that owns the core, and the hands that carry out what it decides.

mod accesses;
mod adopt;
mod announce;
mod asking;
mod checks;
mod commands;
mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod journal;
pub mod ledger;
mod leftovers;
mod listeners;
mod metering;
mod news;
mod notices;
mod notifying;
mod perform;
mod processes;
mod publish;
pub mod rehearsal;
mod requests;
pub mod resume;
mod shutdown;
mod signals;
mod spawn;
mod startup;
mod state;
mod suspend;
mod terminal;
mod upgrade;
mod usage;
mod watching;

use std::process::ExitCode;

use tokio::task::LocalSet;

use crate::config::Surroundings;
use crate::guardian::link::Link;
use crate::handle::Handle;
use crate::model::names::ServiceName;
use crate::model::plan::Plan;

/// The threads that the engine cannot do without.
const OWN_THREADS: [&str; 4] = ["history", "logs", "state", "watch"];
/// How a Rust program ends that panicked.
const PANICKED: i32 = 101;

/// What to supervise, and how.
#[derive(Debug)]
pub struct Launch {
    /// The resolved file, or the one service of `run`.
    pub plan: Plan,
    /// How everup was started.
    pub mode: Mode,
    /// The connection to the guardian.
    pub link: Link,
    /// The services wanted; empty: all that are enabled.
    pub start: Vec<ServiceName>,
    /// What the file is read again with.
    pub surroundings: Surroundings,
    /// What an engine that died has left to be taken over.
    pub legacy: Option<resume::Legacy>,
}

/// How everup was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `up`.
    Up {
        /// Without a controlling terminal (`-d`, systemd): SIGHUP reconciles with the file.
        detached: bool,
        /// Whether files are watched whatever the file says (`--watch`).
        watch: bool,
    },
    /// `dev`: files are watched, and the project's own file applies itself when it is saved.
    Dev {
        /// One service alone, as if everup were not there: what it writes is passed on as it comes.
        alone: bool,
        /// That one service gets a pseudo-terminal of its own.
        terminal: bool,
    },
    /// `run`: one program, as if everup were not there.
    Run {
        /// The program gets a pseudo-terminal of its own.
        terminal: bool,
    },
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another everup holds the state folder.
    #[error("everup is already running here: pid {pid}")]
    Running {
        /// The holder, to signal.
        pid: String,
    },
    /// Something of the operating system.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted, on what.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in the configuration that only this machine can tell.
    #[error("{0}")]
    Refused(String),
}

/// Runs the engine until everything has ended. `console` shows the foreground; it is dropped at the end.
///
/// Returns everup's exit code, which the guardian hands on. Trouble at the start is told on stderr.
pub fn run<F, Fut>(launch: Launch, console: F) -> ExitCode
where
    F: FnOnce(Handle) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    end_with_own_threads();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return refuse(&StartError::System { what: "start the engine's loop".to_owned(), source }),
    };
    LocalSet::new().block_on(&runtime, async {
        match startup::open(launch) {
            Ok(mut engine) => {
                let shown = tokio::task::spawn_local(console(engine.handle()));
                let code = engine.supervise().await;
                // With the pump the console learns that nothing more comes.
                drop(engine);
                // What the children said last is still to be shown.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), shown).await;
                ExitCode::from(code)
            }
            Err(error) => refuse(&error),
        }
    })
}

/// A thread of ours that panics ends the engine: without it logs, history or state would not be kept, and nobody would know.
/// The guardian starts another.
fn end_with_own_threads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| OWN_THREADS.contains(&name)) {
            #[expect(clippy::disallowed_methods, reason = "there is nobody to return to")]
            std::process::exit(PANICKED);
        }
    }));
}

fn refuse(error: &StartError) -> ExitCode {
    crate::os::stderr::say(format_args!("{error}"));
    ExitCode::FAILURE
}
