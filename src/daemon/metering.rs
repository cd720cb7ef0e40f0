//! Reports to the meter what the loop sees.

use crate::core::event::Event;
use crate::daemon::engine::Engine;

impl Engine {
    /// Counts what an event tells.
    pub(super) fn meter(&self, event: &Event) {
        if let Event::Probed { instance, role, verdict, took_us, .. } = event {
            let ms = *took_us as f64 / 1_000.0;
            self.publisher.meter.probed(instance, *role, verdict, ms, self.now.wall);
        }
    }
}
