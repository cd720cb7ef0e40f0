//! When a change is told: once nothing more comes, or at the latest after a while.

use std::time::Duration;

/// A held window is looked at this often.
const HELD_FOR: u64 = 10_000;
/// For this long at most a window is held.
const HELD_AT_MOST: u64 = 5_000_000;

/// One burst of changes; all times in microseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    first: u64,
    last: u64,
    /// Not to be told before.
    held_until: u64,
}

impl Window {
    /// Something has changed at `now`.
    pub(super) fn touch(&mut self, now: u64) {
        let open = self.open.get_or_insert(Open { first: now, last: now, held_until: 0 });
        open.last = now;
    }

    /// When it is to be told; none while nothing has changed.
    pub(super) fn due(&self, quiet: Duration, cap: Option<Duration>) -> Option<u64> {
        let open = self.open?;
        let rested = open.last.saturating_add(micros(quiet));
        let at = cap.map_or(rested, |cap| rested.min(open.first.saturating_add(micros(cap))));
        Some(at.max(open.held_until))
    }

    /// Somebody is in the middle of it (a checkout): puts it off a little. False once that has gone on for too long.
    pub(super) fn hold(&mut self, now: u64) -> bool {
        match &mut self.open {
            Some(open) if now.saturating_sub(open.first) < HELD_AT_MOST => {
                open.held_until = now + HELD_FOR;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Closes it; when it was opened.
    pub(super) fn close(&mut self) -> Option<u64> {
        self.open.take().map(|open| open.first)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);
    const CAP: Option<Duration> = Some(Duration::from_millis(500));

    #[test]
    fn it_is_due_after_quiet_and_never_later_than_the_cap() {
        let mut window = Window::default();
        assert_eq!(window.due(QUIET, CAP), None);
        window.touch(1_000);
        assert_eq!(window.due(QUIET, CAP), Some(21_000));
        window.touch(11_000);
        assert_eq!(window.due(QUIET, CAP), Some(31_000));
        for at in (11_000..600_000).step_by(10_000) {
            window.touch(at);
        }
        assert_eq!(window.due(QUIET, CAP), Some(501_000));
        assert!(window.due(QUIET, None) > Some(600_000));
        assert_eq!(window.due(Duration::ZERO, CAP), Some(501_000));
        assert_eq!(window.close(), Some(1_000));
        assert_eq!(window.due(QUIET, CAP), None);
    }

    #[test]
    fn it_is_held_for_a_while_and_not_for_ever() {
        let mut window = Window::default();
        assert!(!window.hold(0), "nothing to hold");
        window.touch(0);
        assert!(window.hold(20_000));
        assert_eq!(window.due(QUIET, CAP), Some(30_000));
        assert!(window.hold(4_999_000));
        assert!(!window.hold(5_000_000));
    }
}
