//! The only clock.

use nix::time::{ClockId, clock_gettime};

use crate::model::units::{Moment, Now, Timestamp};

/// This instant by both clocks.
pub fn now() -> Now {
    let read = |id| clock_gettime(id).map_or((0, 0), |t| (t.tv_sec(), t.tv_nsec()));
    let (wall_s, wall_ns) = read(ClockId::CLOCK_REALTIME);
    Now { moment: Moment(monotonic_us() / 1_000), wall: Timestamp(wall_s * 1_000 + wall_ns / 1_000_000) }
}

/// Microseconds since boot.
pub fn monotonic_us() -> u64 {
    let (s, ns) = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or((0, 0), |t| (t.tv_sec(), t.tv_nsec()));
    u64::try_from(s * 1_000_000 + ns / 1_000).unwrap_or(0)
}
