//! What a service can be, how a run can end, and why.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::signal::Signal;

/// What an instance (and, summed up, a service) is doing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No process, and none wanted.
    Stopped,
    /// Wanted, but what it needs is not there yet.
    Waiting,
    /// Its process is being made, or its start gate has not passed yet.
    Starting,
    /// Started; `ready` and `healthy` say how well.
    Running,
    /// A reload is under way.
    Reloading,
    /// Being ended, until its whole process tree is gone.
    Stopping,
    /// Waits for its next attempt.
    Backoff,
    /// Ended by itself and is not to be restarted.
    Exited,
    /// Given up: by a rule, a limit, or because what it needs failed.
    Failed,
}

/// What is wanted of an instance, apart from what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It should run.
    Up,
    /// It should not.
    Down,
}

/// Why a run ended or a restart happened: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It ended by itself with a code.
    Exit,
    /// A signal ended it that everup did not send.
    Signal,
    /// The kernel killed it for memory.
    Oom,
    /// Its probe failed too often.
    Probe,
    /// It missed its watchdog.
    Watchdog,
    /// It stayed above its memory limit.
    MemoryLimit,
    /// A watched file changed.
    Watch,
    /// Its configuration changed.
    Config,
    /// Another service it needs failed or went away.
    Dependency,
    /// A schedule asked for it.
    Schedule,
    /// A person asked for it.
    User,
    /// Its process could not be made.
    SpawnError,
    /// It was not ready in time.
    StartTimeout,
    /// everup itself had been gone, and what became of the run cannot be known.
    SupervisorLost,
}

/// How well a [`Cause`] is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// One reading among several.
    Guess,
    /// The evidence points there, without proof.
    Likely,
    /// Proven by what everup did or the kernel said.
    Certain,
}

macro_rules! shown_as_in_json {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    )*};
}
shown_as_in_json!(State, Desired, Cause, Certainty, SpawnStage);

impl State {
    /// Every state, in the contract's order.
    pub const ALL: [Self; 9] = [
        Self::Stopped,
        Self::Waiting,
        Self::Starting,
        Self::Running,
        Self::Reloading,
        Self::Stopping,
        Self::Backoff,
        Self::Exited,
        Self::Failed,
    ];
}

impl Cause {
    /// Every cause, in the contract's order.
    pub const ALL: [Self; 14] = [
        Self::Exit,
        Self::Signal,
        Self::Oom,
        Self::Probe,
        Self::Watchdog,
        Self::MemoryLimit,
        Self::Watch,
        Self::Config,
        Self::Dependency,
        Self::Schedule,
        Self::User,
        Self::SpawnError,
        Self::StartTimeout,
        Self::SupervisorLost,
    ];
}

/// How a run ended: one event for every way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// `exit(code)`, 0 to 255.
    Code(i32),
    /// A signal ended it; `core` when it left a core file.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether the kernel wrote a core file.
        core: bool,
    },
    /// The process never came to run its program.
    NotSpawned {
        /// What was being done.
        stage: SpawnStage,
        /// The kernel's error number.
        errno: i32,
    },
    /// It is gone and nobody saw how (everup itself had been gone).
    Unknown,
}

/// The steps between asking for a process and its first instruction, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStage {
    /// Looking the program up in `PATH`.
    Program,
    /// Looking up user and group.
    User,
    /// Opening log files, pipes or sockets for it.
    Files,
    /// The `before_start` hook.
    Hook,
    /// clone(2).
    Fork,
    /// Joining its cgroup.
    Cgroup,
    /// setsid(2) and the controlling terminal.
    Session,
    /// setrlimit(2).
    Limits,
    /// setpriority(2).
    Nice,
    /// chdir(2).
    Cwd,
    /// Wiring stdin, stdout, stderr and closing the rest.
    Fds,
    /// setgroups, setgid, setuid.
    Credentials,
    /// execve(2).
    Exec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_the_same_for_people_and_in_json() {
        for cause in Cause::ALL {
            assert_eq!(format!("\"{cause}\""), serde_json::to_string(&cause).unwrap());
        }
        assert_eq!(State::Backoff.to_string(), "backoff");
        assert_eq!(Certainty::Certain.to_string(), "certain");
    }
}
