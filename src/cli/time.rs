//! Times and quantities the way people read them.

use crate::model::units::Timestamp;
pub(crate) use crate::model::units::{bytes, coarse, length, percent};

/// How long ago, in one unit: `now`, `12s ago`, `3m ago`, `2h ago`, `5d ago`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// The time of day, in UTC, to the second: `10:00:05Z`.
pub(crate) fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).map_or_else(|| at.to_string(), |time| format!("{time}Z"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lengths_read_in_their_two_largest_units() {
        for (ms, fine, rough) in [
            (0, "0ms", "0s"),
            (850, "850ms", "0s"),
            (4_000, "4s", "4s"),
            (4_240, "4.2s", "4s"),
            (45_900, "45s", "45s"),
            (60_000, "1m", "1m"),
            (200_000, "3m20s", "3m20s"),
            (3_600_000, "1h", "1h"),
            (7_860_000, "2h11m", "2h11m"),
            (3_605_000, "1h", "1h"),
            (442_800_000, "5d3h", "5d3h"),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!((length(duration).as_str(), coarse(duration).as_str()), (fine, rough), "{ms} ms");
        }
    }

    #[test]
    fn ago_takes_one_unit_and_never_lies_ahead() {
        for (seconds, text) in
            [(-5, "now"), (0, "now"), (12, "12s ago"), (199, "3m ago"), (7_300, "2h ago"), (500_000, "5d ago")]
        {
            assert_eq!(ago(Timestamp(1_000_000), Timestamp(1_000_000 + seconds * 1_000)), text);
        }
    }

    #[test]
    fn quantities_have_three_figures_at_most() {
        for (count, text) in [
            (0, "0 B"),
            (912, "912 B"),
            (1_023, "1.0 KiB"),
            (9_000_000, "8.6 MiB"),
            (222_298_112, "212 MiB"),
            (1_300_000_000, "1.2 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (value, text) in [(0.0, "0%"), (0.04, "0%"), (0.41, "0.4%"), (12.3, "12%"), (240.0, "240%")] {
            assert_eq!(percent(value), text);
        }
    }

    #[test]
    fn the_clock_shows_utc() {
        assert_eq!(clock(Timestamp(1_763_632_805_000)), "10:00:05Z");
    }
}
