//! `run` as if everup were not there: what the program writes goes to our own output as it comes, and into the log; on
//! a terminal the program has a pseudo-terminal of its own, so that colours, input, breakpoints and Ctrl-C work.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::daemon::news::News;
use crate::guardian::protocol::StdioSpec;
use crate::model::names::InstanceId;
use crate::model::plan::{LogsTo, ServicePlan};
use crate::os::job::{self, Group};
use crate::os::spawn::Session;
use crate::os::terminal::{self, Manner, Pty, Taken, Typed};

/// What Ctrl-C is on the wire.
const CTRL_C: u8 = 3;
/// How long the last output of a program that has ended is waited for.
const LAST_OUTPUT: Duration = Duration::from_millis(300);
/// How long a program with a handler of its own may take to get ready for a stop.
const READY_TO_STOP: Duration = Duration::from_millis(100);
/// How long it is waited for until a program has stopped and what it wrote has been shown.
const STOPPED: Duration = Duration::from_millis(300);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The connection between one instance's program and our own terminal or pipes.
#[derive(Debug)]
pub(super) struct Terminal {
    owner: InstanceId,
    raw: Option<Taken>,
    fresh: Option<Pty>,
    /// The end of the current pseudo-terminal that input goes to.
    input: Arc<Input>,
    listening: bool,
    copies: Vec<threads::Receiver<()>>,
}

/// How the guardian is to wire a run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) session: Session,
    pub(super) stdio: [StdioSpec; 3],
    pub(super) fds: Vec<OwnedFd>,
}

impl Terminal {
    /// Takes over our terminal for `owner`, if `interactive`: from then on it passes on every key as it is. The guardian
    /// restores it in the end, whatever becomes of us.
    pub(super) fn open(owner: InstanceId, interactive: bool) -> io::Result<Self> {
        let raw = if interactive { Some(Taken::new(Manner::Raw)?) } else { None };
        Ok(Self { owner, raw, fresh: None, input: Arc::default(), listening: false, copies: vec![] })
    }

    /// The instance it is there for.
    pub(super) fn owner(&self) -> &InstanceId {
        &self.owner
    }

    /// Whether it is there for this instance.
    pub(super) fn serves(&self, instance: &InstanceId) -> bool {
        self.owner == *instance
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.raw.is_some()
    }

    /// Prepares the next run's three streams.
    pub(super) fn prepare(&mut self, plan: &ServicePlan) -> io::Result<Prepared> {
        use StdioSpec::{Inherit, Passed, Pipe, Same};
        if self.raw.is_some() {
            let pty = terminal::open_pty(terminal::size(io::stdin().as_fd()))?;
            let fds = vec![pty.slave.try_clone()?, pty.slave.try_clone()?];
            self.fresh = Some(pty);
            return Ok(Prepared { session: Session::Terminal, stdio: [Passed, Passed, Same], fds });
        }
        let stdio = match plan.logs.to {
            LogsTo::Streams => [Inherit, Pipe, Pipe],
            LogsTo::Merged(_) => [Inherit, Pipe, Same],
            LogsTo::Inherit | LogsTo::None => [Inherit, Inherit, Inherit],
        };
        Ok(Prepared { session: Session::New, stdio, fds: vec![] })
    }

    /// The run lives: begins to copy its output to ours. Returns what the log pump is to read.
    pub(super) fn streams(
        &mut self,
        fds: Vec<OwnedFd>,
        inbox: mpsc::Sender<News>,
    ) -> (Option<OwnedFd>, Option<OwnedFd>) {
        if let Some(Pty { master, slave }) = self.fresh.take() {
            drop(slave);
            if let Ok(writer) = master.try_clone() {
                *self.input.lock().unwrap_or_else(PoisonError::into_inner) = Some(File::from(writer));
            }
            self.listen(inbox.clone());
            return (self.copy(master, io::stdout(), inbox), None);
        }
        let mut fds = fds.into_iter();
        let stdout = fds.next().and_then(|fd| self.copy(fd, io::stdout(), inbox.clone()));
        let stderr = fds.next().and_then(|fd| self.copy(fd, io::stderr(), inbox));
        (stdout, stderr)
    }

    /// The run is over: waits a moment until all it wrote has been copied.
    pub(super) fn settle(&mut self) {
        for copy in self.copies.drain(..) {
            // Ends by itself once nobody holds the other end; a process that stays behind is not waited for.
            let _ = copy.recv_timeout(LAST_OUTPUT);
        }
    }

    /// Our window has another size now.
    pub(super) fn resized(&self) {
        resize(&self.input);
    }

    /// Stops the program.
    pub(super) fn stop(&self) {
        if let Some(group) = group(&self.input) {
            // It has just ended, or is another user's: then everup stops without it.
            let _ = group.stop();
        }
    }

    /// Lets the program go on, in our window as it is now.
    pub(super) fn go_on(&self) {
        resize(&self.input);
        if let Some(group) = group(&self.input) {
            // As above.
            let _ = group.go_on();
        }
    }

    /// Copies everything from `from` to `ours` and into a pipe, whose read end is returned.
    fn copy(
        &mut self,
        from: OwnedFd,
        mut ours: impl Write + Send + 'static,
        told: mpsc::Sender<News>,
    ) -> Option<OwnedFd> {
        let pipe = crate::os::pipe::between_threads().ok()?;
        let (kept, log) = (pipe.read, pipe.write);
        let (done, wait) = threads::sync_channel(1);
        let work = move || {
            let (mut from, mut log) = (File::from(from), Some(File::from(log)));
            let mut buffer = [0; 16 * 1024];
            while let Some(read) = read_some(&mut from, &mut buffer) {
                let bytes = buffer.get(..read).unwrap_or_default();
                let gone = ours.write_all(bytes).and_then(|()| ours.flush()).is_err();
                if gone {
                    // Where the inbox is full, the next piece of output tells it again.
                    let _ = told.try_send(News::ReaderGone);
                }
                if log.as_mut().is_some_and(|log| log.write_all(bytes).is_err()) {
                    log = None;
                }
            }
            let _ = done.send(());
        };
        std::thread::Builder::new().name("output".to_owned()).stack_size(128 * 1024).spawn(work).ok()?;
        self.copies.push(wait);
        Some(kept)
    }

    /// Begins to pass our input on, once for all runs.
    fn listen(&mut self, inbox: mpsc::Sender<News>) {
        if std::mem::replace(&mut self.listening, true) {
            return;
        }
        let input = Arc::clone(&self.input);
        let work = move || pass_on(&input, &inbox);
        // Without this thread there is output but no input; the program sees an open, silent terminal.
        let _ = std::thread::Builder::new().name("input".to_owned()).stack_size(128 * 1024).spawn(work);
    }
}

/// The end of the current pseudo-terminal that input goes to.
type Input = Mutex<Option<File>>;

/// Passes on what is typed until our terminal is gone.
fn pass_on(input: &Input, inbox: &mpsc::Sender<News>) {
    let mut buffer = [0; 4_096];
    while let Some(typed) = terminal::read_typed(&mut buffer) {
        let bytes = match typed {
            Typed::Bytes(count) => buffer.get(..count).unwrap_or_default(),
            Typed::Foreground => {
                resize(input);
                continue;
            }
        };
        let mut program = input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(master) = program.as_mut() else { continue };
        let interrupts = bytes.contains(&CTRL_C) && terminal::sends_signals(master.as_fd());
        let stops = stopped_by(bytes, master);
        // Between two runs nobody reads.
        let _ = master.write_all(bytes);
        drop(program);
        if interrupts && inbox.blocking_send(News::Interrupted).is_err() {
            return;
        }
        if let Some(group) = stops {
            halt(group, input);
            if inbox.blocking_send(News::Halted).is_err() {
                return;
            }
        }
    }
}

/// Whom these keys stop, everup with it: none where they are only keys, where a shell inside sees to its jobs, where the
/// program does not want to be stopped, and where nobody would let us go on.
fn stopped_by(bytes: &[u8], master: &File) -> Option<Group> {
    terminal::stop_key(master.as_fd()).filter(|key| bytes.contains(key))?;
    Group::in_foreground(master.as_fd()).filter(|group| !group.ignores_stop() && job::has_shell())
}

/// Stops the program, which has had the key already, and waits a moment until what it wrote has been shown. The kernel
/// discards the key's signal where it would stop a program without a shell in its session, so it takes another.
fn halt(group: Group, input: &Input) {
    if group.handles_stop() {
        wait(READY_TO_STOP, || group.is_stopped());
    }
    if group.stop().is_ok() {
        // What is written last is passed on in the background, so one look finds too little.
        let mut silent = 0;
        wait(STOPPED, || {
            let program = input.lock().unwrap_or_else(PoisonError::into_inner);
            let writes = program.as_ref().is_some_and(|master| terminal::has_output(master.as_fd()));
            silent = if writes || !group.is_stopped() { 0 } else { silent + 1 };
            silent > 2
        });
    }
}

fn wait(limit: Duration, mut holds: impl FnMut() -> bool) {
    let looks = limit.as_millis() / GLANCE.as_millis();
    for _ in 0..looks {
        if holds() {
            return;
        }
        std::thread::park_timeout(GLANCE);
    }
}

/// The program's process group, where keys would stop it.
fn group(input: &Input) -> Option<Group> {
    let program = input.lock().unwrap_or_else(PoisonError::into_inner);
    program.as_ref().and_then(|master| Group::in_foreground(master.as_fd()))
}

fn resize(input: &Input) {
    let program = input.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(master), Some(size)) = (&*program, terminal::size(io::stdin().as_fd())) {
        // Cosmetic: the program redraws for the old size.
        let _ = terminal::set_size(master.as_fd(), size);
    }
}

/// Reads what is there, waiting for it. None once there will be no more: the other end is closed everywhere (a
/// pseudo-terminal says so with EIO).
fn read_some(from: &mut File, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => crate::os::pipe::wait_readable(from.as_fd()).ok()?,
                _ => return None,
            },
        }
    }
}
