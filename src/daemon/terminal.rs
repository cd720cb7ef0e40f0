//! `run` as if everup were not there: what the program writes goes to our own output as it comes, and into the log; on
//! a terminal the program has a pseudo-terminal of its own, so that colours, input, breakpoints and Ctrl-C work.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::daemon::news::News;
use crate::guardian::protocol::StdioSpec;
use crate::model::plan::{LogsTo, ServicePlan};
use crate::os::spawn::Session;
use crate::os::terminal::{self, Pty, RawMode};

/// What Ctrl-C is on the wire.
const CTRL_C: u8 = 3;
/// How long the last output of a program that has ended is waited for.
const LAST_OUTPUT: Duration = Duration::from_millis(300);

/// The connection between the program and our own terminal or pipes.
#[derive(Debug)]
pub(super) struct Terminal {
    raw: Option<RawMode>,
    fresh: Option<Pty>,
    /// The end of the current pseudo-terminal that input goes to.
    input: Arc<Mutex<Option<File>>>,
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
    /// Takes over our terminal, if `interactive`: from then on it passes on every key as it is. The guardian restores
    /// it in the end, whatever becomes of us.
    pub(super) fn open(interactive: bool) -> io::Result<Self> {
        let raw = if interactive { Some(RawMode::enter(io::stdin().as_fd())?) } else { None };
        Ok(Self { raw, fresh: None, input: Arc::default(), listening: false, copies: vec![] })
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
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(master), Some(size)) = (&*input, terminal::size(io::stdin().as_fd())) {
            // Cosmetic: the program redraws for the old size.
            let _ = terminal::set_size(master.as_fd(), size);
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
        let work = move || {
            let mut buffer = [0; 4_096];
            while let Ok(read) = io::stdin().lock().read(&mut buffer) {
                let bytes = buffer.get(..read).unwrap_or_default();
                if bytes.is_empty() {
                    return;
                }
                let mut program = input.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(master) = program.as_mut() else { continue };
                let interrupts = bytes.contains(&CTRL_C) && terminal::sends_signals(master.as_fd());
                // Between two runs nobody reads.
                let _ = master.write_all(bytes);
                drop(program);
                if interrupts && inbox.blocking_send(News::Interrupted).is_err() {
                    return;
                }
            }
        };
        // Without this thread there is output but no input; the program sees an open, silent terminal.
        let _ = std::thread::Builder::new().name("input".to_owned()).stack_size(128 * 1024).spawn(work);
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
