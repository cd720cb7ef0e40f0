//! Ctrl-Z: everup and all it runs stop as one job of the shell, and go on with it.

use crate::daemon::engine::Engine;
use crate::os::{job, terminal};

impl Engine {
    /// Stops what runs, puts our terminal back, stops everup, and comes back when the shell lets it go on. `typed`: the
    /// key came as a byte, so nobody else in our group has heard of it.
    pub(super) fn suspend(&mut self, typed: bool) {
        let terminal = self.terminal.as_ref().filter(|terminal| terminal.is_terminal());
        let owner = terminal.map(|terminal| terminal.owner().clone());
        if let Some(terminal) = terminal {
            terminal.stop();
        }
        // Their sessions are their own, so no terminal stops them.
        self.processes.signal_all_but(owner.as_ref(), libc::SIGSTOP);
        terminal::give_back();
        self.processes.suspend(typed);
        if let Err(error) = job::stop() {
            tracing::error!(%error, "cannot stop with the rest of the job");
        }
        terminal::take_again();
        self.processes.signal_all_but(owner.as_ref(), libc::SIGCONT);
        if let Some(terminal) = &self.terminal {
            terminal.go_on();
        }
        self.now = crate::os::clock::now();
    }
}
