//! `memory_restart`: a tree that stays above its bound is restarted in order, before the kernel kills it.

use std::time::Duration;

use crate::core::cause::Explained;
use crate::core::context::Context;
use crate::core::instance::{Instance, Live, Phase};
use crate::model::plan::MemoryRestart;
use crate::model::service::{Cause, Certainty};
use crate::model::units::{bytes, format_duration};

impl Instance {
    /// Its memory was read.
    pub(crate) fn used(&mut self, memory_bytes: u64, cx: &mut Context<'_>) {
        let bound = self.plan.memory_restart;
        let (Phase::Starting { live, .. } | Phase::Running { live }) = &mut self.phase else { return };
        let Some(MemoryRestart { above, hold }) = bound.filter(|bound| memory_bytes > bound.above) else {
            self.forget_memory();
            return;
        };
        let since = *live.above_since.get_or_insert(cx.now.moment);
        if cx.now.moment.since(since) < hold {
            return;
        }
        let (used, most) = (bytes(memory_bytes), bytes(above));
        let told = format!("memory {used} stayed above {most} for {}", format_duration(hold));
        // The service decides when: one instance at a time.
        self.waits_to_heal.get_or_insert(Explained {
            cause: Cause::MemoryLimit,
            certainty: Certainty::Certain,
            evidence: vec![told],
        });
    }

    /// What was read of its memory counts no longer.
    pub(crate) fn forget_memory(&mut self) {
        self.waits_to_heal.take_if(|why| why.cause == Cause::MemoryLimit);
        if let Phase::Starting { live, .. } | Phase::Running { live } = &mut self.phase {
            live.above_since = None;
        }
    }

    /// Its probe answers: whoever waits for its turn to be restarted for that need not be.
    pub(crate) fn forget_probe(&mut self) {
        self.waits_to_heal.take_if(|why| why.cause == Cause::Probe);
    }
}

impl Live {
    /// everup itself was held up for `lag`, in which nobody looked.
    pub(crate) fn excuse_memory(&mut self, lag: Duration) {
        self.above_since = self.above_since.map(|since| since.after(lag));
    }
}
