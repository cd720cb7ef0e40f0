//! What tasks tell the loop.

use crate::core::event::Event;
use crate::history::run::RunRecord;
use crate::model::names::{InstanceId, Pid};

/// How much news may wait; a task that finds the queue full waits with it.
pub(super) const INBOX: usize = 1_024;

/// One piece of news from a task of the engine's own.
#[derive(Debug)]
pub(super) enum News {
    /// For the core.
    Core(Event),
    /// A datagram on a notify socket, its sender still to be checked.
    Notify {
        /// Whose socket.
        instance: InstanceId,
        /// Who sent it.
        sender: Pid,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// About watched files.
    Watch(crate::watch::News),
    /// The end of a run with its last lines: complete, to be written down.
    RunOver(Box<RunRecord>),
    /// What became of a message to somebody outside.
    Told {
        /// How it is told, without secrets.
        by: String,
        /// How far it is.
        report: crate::notify::courier::Report,
    },
    /// A program has said whether it could take over: its version, or why not.
    Rehearsed(Result<String, String>),
    /// Nobody is let in any more, and everybody has left.
    DoorsClosed,
    /// Whoever read what `run` prints has gone: the program would have got SIGPIPE.
    ReaderGone,
    /// A person typed Ctrl-C in `run`; the terminal has told the program.
    Interrupted,
    /// A person typed Ctrl-Z; the program with the terminal is stopped.
    Halted,
}
