//! When the thread wakes by itself: after a rest, to tell of progress, to tell of losses.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

/// One timer for all deadlines, in microseconds of the monotonic clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    set_us: Option<u64>,
}

impl Alarm {
    pub(super) fn new() -> nix::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer, set_us: None })
    }

    /// The descriptor to wait on, edge-triggered: it is never read.
    pub(super) fn timer(&self) -> &TimerFd {
        &self.timer
    }

    /// Wakes the thread at `due_us`; none: not at all. An alarm that has rung is forgotten.
    pub(super) fn set(&mut self, due_us: Option<u64>, now_us: u64) {
        let pending = self.set_us.filter(|set| *set > now_us);
        if due_us == pending {
            return;
        }
        self.set_us = due_us;
        let Some(due_us) = due_us else {
            // A needless ring is cheaper than disarming: the thread finds nothing due and sleeps.
            return;
        };
        let at = TimeSpec::microseconds(i64::try_from(due_us.max(1)).unwrap_or(i64::MAX));
        // Only a time out of the kernel's range is refused, and microseconds since boot are within it.
        let _ = self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
    }
}
