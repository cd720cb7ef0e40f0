//! When a change counts: after a quiet moment, at the latest after the cap, and not while git is at work.
//!
//! Pure: times are microseconds on the monotonic clock and go in as values.

use std::time::Duration;

/// How often it is looked whether git is done.
const LOOK: u64 = 10_000;

/// How long git is waited for.
const PATIENCE: u64 = 5_000_000;

/// Gathers what happens close together into one change.
#[derive(Debug)]
pub(super) struct Window {
    quiet: u64,
    cap: Option<u64>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    first: u64,
    last: u64,
    held: Option<Held>,
}

/// Git's lock was seen when the window should have ended.
#[derive(Debug)]
struct Held {
    since: u64,
    look_at: u64,
}

/// A window that ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// When the first event of it was seen.
    pub since: u64,
    /// Whether git's lock was still there when patience ended.
    pub outlasted: bool,
}

impl Window {
    /// Ends after `quiet` without an event, at the latest `cap` after the first one.
    pub(super) fn new(quiet: Duration, cap: Option<Duration>) -> Self {
        Self { quiet: micros(quiet), cap: cap.map(micros), open: None }
    }

    /// Takes over other lengths; an open window stays open.
    pub(super) fn change(&mut self, quiet: Duration, cap: Option<Duration>) {
        self.quiet = micros(quiet);
        self.cap = cap.map(micros);
    }

    /// Something happened: opens the window, or extends it.
    pub(super) fn touch(&mut self, now: u64) {
        match &mut self.open {
            Some(open) => open.last = now,
            None => self.open = Some(Open { first: now, last: now, held: None }),
        }
    }

    /// Whether something waits to be told.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When to ask [`Window::end`] next; none while nothing happens.
    pub(super) fn due(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        let ripe = self.ripe(open);
        Some(open.held.as_ref().map_or(ripe, |held| held.look_at.max(ripe)))
    }

    /// Ends the window if its time has come and git is not `locked`.
    pub(super) fn end(&mut self, now: u64, locked: impl FnOnce() -> bool) -> Option<Ended> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let open = self.open.as_mut()?;
        let outlasted = if locked() {
            let since = open.held.as_ref().map_or(now, |held| held.since);
            let until = since.saturating_add(PATIENCE);
            if now < until {
                open.held = Some(Held { since, look_at: now.saturating_add(LOOK).min(until) });
                return None;
            }
            true
        } else {
            false
        };
        self.open.take().map(|open| Ended { since: open.first, outlasted })
    }

    fn ripe(&self, open: &Open) -> u64 {
        let quiet = open.last.saturating_add(self.quiet);
        self.cap.map_or(quiet, |cap| quiet.min(open.first.saturating_add(cap)))
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

    /// A name, when events come, and when a window ends with since when it was open.
    type Case<'a> = (&'a str, &'a [u64], &'a [(u64, u64)]);

    /// Touches at these milliseconds, with git's lock there during `locked`; answers when the window ended and since when.
    fn run(mut window: Window, touches: &[u64], locked: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        let mut ends = vec![];
        let mut touches = touches.iter().map(|ms| ms * 1_000).peekable();
        loop {
            let now = match (touches.peek().copied(), window.due()) {
                (Some(touch), due) if due.is_none_or(|due| touch < due) => {
                    window.touch(touch);
                    touches.next();
                    continue;
                }
                (_, Some(due)) => due,
                (_, None) => return ends,
            };
            if let Some(ended) = window.end(now, || locked.contains(&(now / 1_000))) {
                ends.push((now / 1_000, ended.since / 1_000));
            }
        }
    }

    #[test]
    fn a_change_is_told_after_the_quiet_and_at_the_latest_at_the_cap() {
        let every_10: Vec<u64> = (0..100).map(|n| n * 10).collect();
        let cases: [Case; 5] = [
            ("nothing", &[], &[]),
            ("one", &[100], &[(120, 100)]),
            ("two close together", &[100, 115], &[(135, 100)]),
            ("two apart", &[100, 130], &[(120, 100), (150, 130)]),
            ("one that never rests", &every_10, &[(500, 0), (1_000, 500)]),
        ];
        for (name, touches, expected) in cases {
            assert_eq!(run(Window::new(QUIET, CAP), touches, 0..0), expected, "{name}");
        }
    }

    #[test]
    fn without_a_cap_only_the_quiet_counts_and_without_a_quiet_it_is_told_at_once() {
        let every_10: Vec<u64> = (0..100).map(|n| n * 10).collect();
        assert_eq!(run(Window::new(QUIET, None), &every_10, 0..0), [(1_010, 0)]);
        assert_eq!(run(Window::new(Duration::ZERO, CAP), &[7, 9], 0..0), [(7, 7), (9, 9)]);
    }

    #[test]
    fn git_at_work_holds_the_window_for_at_most_five_seconds() {
        let cases: [(Case, std::ops::Range<u64>); 4] = [
            (("gone before the end", &[0], &[(20, 0)]), 0..15),
            (("gone while it is looked for", &[0], &[(200, 0)]), 0..200),
            (("the quiet counts anew after it", &[0, 195], &[(215, 0)]), 0..200),
            (("never gone", &[0], &[(5_020, 0)]), 0..60_000),
        ];
        for ((name, touches, expected), locked) in cases {
            assert_eq!(run(Window::new(QUIET, CAP), touches, locked), expected, "{name}");
        }
        let mut window = Window::new(QUIET, CAP);
        window.touch(0);
        assert_eq!(window.end(20_000, || true), None);
        assert_eq!(window.end(5_020_000, || true), Some(Ended { since: 0, outlasted: true }));
        assert!(!window.is_open());
    }
}
