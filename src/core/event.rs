//! Everything the core can hear. News about a run carries the run's number, so that stale news dies at the door.

use std::time::Duration;

use crate::model::command::{Caller, Command};
use crate::model::names::{InstanceId, Pid, Run, ServiceName};
use crate::model::probe::{ProbeRole, Verdict};
use crate::model::service::End;
use crate::model::units::Moment;
use crate::model::watch::FileChange;

/// Names one request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A person or program asks. Every request is answered once, by `Action::Answer`.
    Asked {
        /// To answer it.
        id: RequestId,
        /// What for.
        command: Command,
        /// How long the asker waits until the promise holds; none: it is told at once that it is under way.
        wait: Option<Duration>,
        /// Who.
        by: Caller,
    },
    /// The asker has gone; what it asked for goes on.
    Abandoned {
        /// Which request.
        id: RequestId,
    },
    /// The program runs (execve succeeded).
    Spawned {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Its main process.
        pid: Pid,
    },
    /// The main process is gone, or never came to be.
    Ended {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// How.
        end: End,
        /// What else is known about it.
        traces: Traces,
    },
    /// The last process of the run's tree is gone and reaped. Comes after `Ended`, once.
    TreeGone {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
    },
    /// What lives of the run's tree, as `Action::Look` asked.
    Left {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Its processes, each in words.
        processes: Vec<String>,
    },
    /// A probe was answered.
    Probed {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Which probe.
        role: ProbeRole,
        /// The number of the question.
        seq: u64,
        /// The answer.
        verdict: Verdict,
        /// How long it took, in microseconds.
        took_us: u64,
        /// Whether the machine was short of CPU meanwhile, so that a time-out proves little.
        busy: bool,
    },
    /// The service said something on NOTIFY_SOCKET (sd_notify(3)); its sender has been checked.
    Notified {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// What.
        notice: Notice,
    },
    /// A hook or `stop.command` ended.
    HookEnded {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Which.
        hook: Hook,
        /// Success, or a sentence about the failure.
        result: Result<(), String>,
    },
    /// Watched files of a service have changed; all that was seen within one quiet window.
    Changed {
        /// Whose.
        service: ServiceName,
        /// Which, each at most once and never with the same content before and after.
        files: Vec<FileChange>,
        /// When the first of it was seen.
        since: Moment,
    },
    /// The check of a service's new code ended.
    Checked {
        /// Whose.
        service: ServiceName,
        /// Which check.
        seq: u64,
        /// Success, or what the check found wrong, for people.
        result: Result<(), String>,
    },
    /// The memory of a run's tree was read; told only of services with `memory_restart`.
    Used {
        /// Whose.
        instance: InstanceId,
        /// Which life.
        run: Run,
        /// Resident memory, summed over the tree.
        memory_bytes: u64,
    },
    /// The next deadline is reached; also carried out implicitly by every other event.
    Tick,
}

impl Event {
    /// The run the news is about.
    pub fn run(&self) -> Option<(&InstanceId, Run)> {
        match self {
            Self::Spawned { instance, run, .. }
            | Self::Ended { instance, run, .. }
            | Self::TreeGone { instance, run }
            | Self::Left { instance, run, .. }
            | Self::Probed { instance, run, .. }
            | Self::Notified { instance, run, .. }
            | Self::Used { instance, run, .. }
            | Self::HookEnded { instance, run, .. } => Some((instance, *run)),
            Self::Asked { .. } | Self::Abandoned { .. } | Self::Changed { .. } | Self::Checked { .. } | Self::Tick => {
                None
            }
        }
    }
}

/// What was found beside an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether nothing else of the tree was alive; then no `TreeGone` follows.
    pub tree_empty: bool,
    /// The other processes of the tree, each in words.
    pub left: Vec<String>,
    /// What the kernel says about memory.
    pub oom: OomTrace,
    /// Kills for memory of others in its tree, as a sentence of evidence: never the cause of this end by themselves.
    pub oom_beside: Option<String>,
    /// Of a process that never came to be: what stood in its way, for people, where more is known than an error number.
    pub obstacle: Option<String>,
}

/// What the kernel says about an out-of-memory kill; asked only when SIGKILL ended a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OomTrace {
    /// Not asked, or nothing there to ask.
    #[default]
    Unknown,
    /// The machine's count of such kills did not move: it was not one.
    Excluded,
    /// The count moved, but nothing says it was this process.
    Possible,
    /// The kernel's log or the run's own cgroup names it; a sentence of evidence.
    Proven(String),
}

/// What a service can say on its notify socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// READY=1.
    Ready,
    /// WATCHDOG=1.
    Watchdog,
    /// WATCHDOG=trigger: it knows itself to be broken.
    WatchdogTrigger,
    /// EXTEND_TIMEOUT_USEC: needs longer for the start or stop under way.
    Extend(Duration),
    /// STATUS=…: a line for people.
    Status(String),
    /// STOPPING=1.
    Stopping,
}

/// The commands around a run's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before the program starts.
    BeforeStart,
    /// Once it is ready.
    AfterReady,
    /// Once its tree is gone.
    AfterEnd,
    /// `stop.command`.
    Stop,
}
