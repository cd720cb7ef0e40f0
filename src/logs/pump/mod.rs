//! Moves what children write from their pipes into their log files, on a thread of its own.
//!
//! `splice` at the file's length moves a byte inside the kernel: it is in the pipe or in the file, never only in memory,
//! so none is lost or doubled whenever this process dies, and the next one goes on at the file's length. Only where an
//! output or a file takes no splice (a socket, a terminal) bytes are copied, and a death between reading and writing loses
//! what lies between, at most 64 KiB. A stream that trickles rests half a millisecond after each
//! short read, since wake-ups cost more than copies; one that floods gets a larger pipe. Idle, the thread sleeps.

mod drain;
mod loss;
mod rest;
mod scratch;
mod sink;
mod tally;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{mpsc, oneshot, watch};

use crate::logs::pump::tally::Tallies;
use crate::logs::pump::worker::Worker;
use crate::model::log::LogBytes;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::LogsPlan;

/// Faults that wait for their reader; when full, bytes lost go on being counted and are told later.
const FAULTS: usize = 64;

/// The output of a run that begins, or goes on.
#[derive(Debug)]
pub struct Attach {
    /// Whose.
    pub instance: InstanceId,
    /// Which life.
    pub run: Run,
    /// Where it goes; `Inherit` and `None` keep nothing.
    pub plan: LogsPlan,
    /// The read end of its standard output; of both outputs where they are merged.
    pub stdout: Option<OwnedFd>,
    /// The read end of its standard error.
    pub stderr: Option<OwnedFd>,
    /// Whether output of this run may have been kept before: by an earlier process, or here through other descriptors of
    /// the same pipes, which are then dropped. Nothing is marked twice. A pipe may be missing: its end is marked all the
    /// same.
    pub goes_on: bool,
}

/// Output that could not be kept, or a log that cannot be kept as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// Whose.
    pub instance: InstanceId,
    /// How many bytes since the last fault of that stream; 0: none, but something else failed, e.g. a rotation.
    pub bytes_lost: u64,
    /// What failed, for people.
    pub reason: String,
}

/// The log pump. Dropping it ends its thread; what is still in the pipes stays there.
#[derive(Debug)]
pub struct Pump {
    inbox: Arc<Inbox>,
    progress: watch::Receiver<u64>,
    tallies: Tallies,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Order {
    Attach(Attach),
    Finish { instance: InstanceId, run: Run, reply: oneshot::Sender<Vec<String>> },
    Drain { reply: oneshot::Sender<()> },
    Faults(mpsc::Sender<LogFault>),
    End,
}

/// Orders on their way to the thread. Bounded by the limit of open files: each run brings its pipes, and ends once.
#[derive(Debug)]
struct Inbox {
    orders: Mutex<Vec<Order>>,
    bell: EventFd,
}

impl Inbox {
    fn send(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // It can only fail when the counter is full, and then the bell rings already.
        let _ = self.bell.write(1);
    }

    fn take(&self) -> Vec<Order> {
        let _ = self.bell.read();
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pump {
    /// Starts the thread; logs are kept in `dir`, which is made (0700) when the first line comes.
    ///
    /// # Errors
    /// When the kernel refuses the thread or its descriptors.
    pub fn start(dir: PathBuf) -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let inbox = Arc::new(Inbox { orders: Mutex::default(), bell });
        let (sender, progress) = watch::channel(0);
        let tallies = Tallies::default();
        let worker = Worker::new(dir, Arc::clone(&inbox), sender, tallies.clone())?;
        std::thread::Builder::new().name("logs".to_owned()).stack_size(256 * 1024).spawn(move || worker.run())?;
        Ok(Self { inbox, progress, tallies })
    }

    /// Takes over the output of a run. An earlier run of that instance is drained and ended first. Of a run that goes on,
    /// whoever kept its output before must have ended: there is one writer to a file.
    pub fn attach(&self, attach: Attach) {
        self.inbox.send(Order::Attach(attach));
    }

    /// Keeps what is in the run's pipes now, marks its end, lets go of the pipes, and answers the last 20 lines of the
    /// run: of stderr if it wrote any there, else of stdout. Empty when that run is not attached.
    pub fn finish(&self, instance: InstanceId, run: Run) -> oneshot::Receiver<Vec<String>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Order::Finish { instance, run, reply });
        answer
    }

    /// Keeps what is in all pipes now. Answers once that and all that was asked for before is done.
    pub fn drain(&self) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Order::Drain { reply });
        answer
    }

    /// Counts up when files grew, at most every 5 ms.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.clone()
    }

    /// How much every instance whose output is kept has written since the pump began, over all its runs.
    pub fn bytes(&self) -> Vec<(InstanceId, LogBytes)> {
        self.tallies.read()
    }

    /// Tells what could not be kept. The latest caller is told; an earlier receiver ends.
    pub fn faults(&self) -> mpsc::Receiver<LogFault> {
        let (sender, receiver) = mpsc::channel(FAULTS);
        self.inbox.send(Order::Faults(sender));
        receiver
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.inbox.send(Order::End);
    }
}

#[cfg(test)]
mod tests;
