//! What signals to everup mean.

use crate::core::event::{Event, RequestId};
use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::model::command::{Caller, Command, Target};
use crate::model::signal::Signal;

/// SIGUSR1 and SIGUSR2 by number: in `run` they are the program's.
const FOR_THE_PROGRAM: [i32; 2] = [10, 12];

impl Engine {
    /// everup itself was sent a signal.
    pub(super) fn signalled(&mut self, signal: Signal, from_terminal: bool) -> Option<Event> {
        let running_one = matches!(self.mode, Mode::Run { .. });
        let detached = matches!(self.mode, Mode::Up { detached: true });
        let origin = if from_terminal { "Ctrl-C" } else { "a signal" };
        match signal {
            Signal::INT if running_one => Some(self.interrupted(false)),
            Signal::INT | Signal::TERM => Some(self.stop_all(&format!("SIG{signal} ({origin})"))),
            Signal::HUP if detached => {
                self.reconcile_by_signal();
                None
            }
            Signal::HUP => Some(self.stop_all("the end of its terminal")),
            other if running_one && FOR_THE_PROGRAM.contains(&other.number()) => {
                let targets = self.core.plan().services.iter().map(|s| Target::all(s.name.clone())).collect();
                Some(self.ask_core(Command::Signal { targets, signal: other }, "a signal"))
            }
            other if other.number() == 3 => Some(self.stop_all("SIGQUIT")),
            _ => None,
        }
    }

    /// A person typed Ctrl-C in `run`; a second one kills.
    pub(super) fn interrupted(&mut self, delivered: bool) -> Event {
        self.stop_signals += 1;
        if self.stop_signals > 1 {
            return self.ask_core(Command::Down { force: true }, "a second Ctrl-C");
        }
        self.ask_core(Command::Interrupt { delivered }, "Ctrl-C")
    }

    fn stop_all(&mut self, by: &str) -> Event {
        self.stop_signals += 1;
        // Whoever asks twice does not want to wait.
        self.ask_core(Command::Down { force: self.stop_signals > 1 }, by)
    }

    /// A request of everup's own, whose answer nobody reads.
    pub(super) fn ask_core(&mut self, command: Command, by: &str) -> Event {
        self.last_request += 1;
        Event::Asked { id: RequestId(self.last_request), command, wait: None, by: Caller(by.to_owned()) }
    }
}
