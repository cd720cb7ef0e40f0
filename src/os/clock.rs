//! The only clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::units::{Moment, Now, Timestamp};

/// This instant by both clocks.
pub fn now() -> Now {
    let wall = since_epoch(ClockId::CLOCK_REALTIME);
    Now { moment: Moment(monotonic_us() / 1_000), wall: Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)) }
}

/// Microseconds on the monotonic clock, since boot.
pub fn monotonic_us() -> u64 {
    u64::try_from(since_epoch(ClockId::CLOCK_MONOTONIC).as_micros()).unwrap_or(u64::MAX)
}

fn since_epoch(clock: ClockId) -> Duration {
    // These two clocks exist on every Linux; a time before the epoch counts as the epoch.
    clock_gettime(clock).map_or(Duration::ZERO, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec()).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run_and_the_monotonic_one_never_goes_back() {
        let (first, us) = (now(), monotonic_us());
        assert!(first.wall > Timestamp(1_600_000_000_000), "{first:?}");
        assert!(us / 1_000 >= first.moment.0);
        assert!(now().moment >= first.moment);
    }
}
