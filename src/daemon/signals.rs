//! What signals to everup mean.

use std::time::Duration;

use crate::core::event::{Event, RequestId};
use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::model::command::{Caller, Command, Target};
use crate::model::signal::Signal;

/// SIGPIPE by number.
const PIPE: i32 = 13;
/// SIGQUIT by number.
const QUIT: i32 = 3;
/// SIGTSTP by number.
const STOP_KEY: i32 = 20;
/// The same wish within this time is one wish: timeout(1) and systemd signal the process and all of its group, so it
/// comes to the guardian twice and to the engine once more.
const ECHO: Duration = Duration::from_millis(500);
/// The file is read for SIGHUP at most this often.
const HANG_UPS_APART: Duration = Duration::from_millis(200);
/// A program that lives this long after Ctrl-C has taken it for something else than its end.
const SURVIVED: Duration = Duration::from_secs(10);
/// SIGUSR1 and SIGUSR2 by number: in `run` they are the program's.
const FOR_THE_PROGRAM: [i32; 2] = [10, 12];

impl Engine {
    /// everup itself was sent a signal.
    pub(super) fn signalled(&mut self, signal: Signal, from_terminal: bool) -> Option<Event> {
        let running_one = matches!(self.mode, Mode::Run { .. } | Mode::Dev { alone: true, .. });
        let detached = matches!(self.mode, Mode::Up { detached: true, .. });
        if is_stop(signal) && !from_terminal && self.is_echo() {
            return None;
        }
        let origin = if from_terminal { "Ctrl-C" } else { "a signal" };
        match signal {
            Signal::INT if running_one => Some(self.interrupted(false)),
            Signal::INT | Signal::TERM => Some(self.stop_all(&format!("SIG{signal} ({origin})"))),
            Signal::HUP if detached => {
                // However many come, the file is read once in a while, and once after the last.
                let soonest = self.hung_up_at.map_or(self.now.moment, |last| last.after(HANG_UPS_APART));
                self.hang_up_due.get_or_insert(soonest);
                None
            }
            Signal::HUP => Some(self.stop_all("SIGHUP (its terminal has gone)")),
            other if running_one && FOR_THE_PROGRAM.contains(&other.number()) => {
                let targets = self.core.plan().services.iter().map(|s| Target::all(s.name.clone())).collect();
                Some(self.ask_core(Command::Signal { targets, signal: other }, "a signal"))
            }
            other if other.number() == STOP_KEY && !matches!(self.mode, Mode::Up { .. }) => {
                // Otherwise nobody would let us go on. `up` is a supervisor: its services are not to freeze with a slip.
                if crate::os::job::has_shell() {
                    self.suspend(false);
                }
                None
            }
            other if other.number() == QUIT => Some(self.stop_all("SIGQUIT")),
            _ => None,
        }
    }

    /// Applies the file where SIGHUP has asked for it.
    pub(super) fn heed_hang_ups(&mut self) {
        if self.hang_up_due.take_if(|due| *due <= self.now.moment).is_some() {
            self.hung_up_at = Some(self.now.moment);
            self.apply_file("SIGHUP");
        }
    }

    /// A person typed Ctrl-C in `run`; a second one kills.
    ///
    /// Where the program has lived on for long after the first, as a debugger or a shell does, it is a first one again.
    pub(super) fn interrupted(&mut self, delivered: bool) -> Event {
        let now = crate::os::clock::now().moment;
        let lately = self.interrupted_at.replace(now).is_some_and(|at| now.since(at) < SURVIVED);
        if lately || self.stop_signals > 0 {
            return self.ask_core(Command::Down { force: true }, "a second Ctrl-C");
        }
        self.ask_core(Command::Interrupt { delivered }, "Ctrl-C")
    }

    /// Whoever read the program's output has gone. As without everup in between, the program gets SIGPIPE, and its
    /// end is the end.
    pub(super) fn reader_gone(&mut self) -> Event {
        let noted = self.ask_core(Command::Interrupt { delivered: true }, "the end of its reader");
        self.advance(vec![noted]);
        let targets = self.core.plan().services.iter().map(|s| Target::all(s.name.clone())).collect();
        match Signal::from_number(PIPE) {
            Some(signal) => self.ask_core(Command::Signal { targets, signal }, "the end of its reader"),
            None => self.stop_all("the end of its reader"),
        }
    }

    fn stop_all(&mut self, by: &str) -> Event {
        self.stop_signals += 1;
        // Whoever asks twice does not want to wait.
        self.ask_core(Command::Down { force: self.stop_signals > 1 }, by)
    }

    /// Whether this is the signal that came just before once more.
    fn is_echo(&mut self) -> bool {
        let now = crate::os::clock::now().moment;
        let echo = self.told_to_stop.is_some_and(|at| now.since(at) < ECHO);
        if !echo {
            self.told_to_stop = Some(now);
        }
        echo
    }

    /// A request of everup's own, whose answer nobody reads.
    pub(super) fn ask_core(&mut self, command: Command, by: &str) -> Event {
        self.last_request += 1;
        Event::Asked { id: RequestId(self.last_request), command, wait: None, by: Caller(by.to_owned()) }
    }
}

/// Whether a signal asks everup itself to stop; SIGHUP does so only where it does not reconcile.
fn is_stop(signal: Signal) -> bool {
    signal == Signal::INT || signal == Signal::TERM || signal.number() == QUIT
}
