//! Reports to the meter what the loop sees.

use crate::core::event::Event;
use crate::daemon::engine::Engine;
use crate::model::overview::ProbeTick;
use crate::model::probe::Verdict;

impl Engine {
    /// Counts what an event tells.
    pub(super) fn meter(&self, event: &Event) {
        if let Event::Probed { instance, role, verdict, took_us, .. } = event {
            let (ok, message) = match verdict {
                Verdict::Pass { .. } => (true, None),
                Verdict::Fail { message, .. } => (false, Some(message.clone())),
                Verdict::Skip { .. } => return,
            };
            let tick = ProbeTick { at: self.now.wall, ok, ms: *took_us as f64 / 1_000.0, message };
            self.publisher.meter.probed(instance, *role, tick);
        }
    }
}
