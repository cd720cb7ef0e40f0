//! Quantities: points in time, durations and sizes as people write them.

use std::fmt::{self, Write as _};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point on the monotonic clock, in milliseconds since boot.
///
/// Can be written down, so it survives a live upgrade, and a test may start at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// This point plus `duration`; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This point minus `duration`; stops at the beginning.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, rounded up, at most `u64::MAX`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A point in wall-clock time, in milliseconds since 1970, for people only: no decision depends on it.
///
/// In JSON an RFC 3339 text in UTC with milliseconds, e.g. `2026-11-20T10:00:00.000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 time.
    ///
    /// # Errors
    /// The reader's own words about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>().map(|t| Self(t.as_millisecond())).map_err(|e| e.to_string())
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This point minus `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(millis(duration)).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One instant by both clocks: decisions take `moment`, `wall` is only written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The monotonic clock.
    pub moment: Moment,
    /// The time of day.
    pub wall: Timestamp,
}

/// Reads `250ms`, `10s`, `1.5s`, `5m`, `1h`, `2d`, `1h30m`; a bare `0` is zero.
///
/// # Errors
/// What was expected instead, naming the units.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("cannot read {text:?} as a duration: write a number with ms, s, m, h or d, such as 250ms or 1h30m");
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    if trimmed.is_empty() {
        return Err(wrong());
    }
    let mut rest = trimmed;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let value: f64 = rest[..number].parse().map_err(|_| wrong())?;
        let unit_end = rest[number..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| number + at);
        let seconds = match &rest[number..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        total += value * seconds;
        rest = &rest[unit_end..];
    }
    // A century is more than any wait; beyond it sums of deadlines would lose their meaning.
    if !total.is_finite() || total > 3_155_760_000.0 {
        return Err(format!("cannot take {text:?} as a duration: it is longer than a century"));
    }
    Ok(Duration::from_micros(whole(total * 1_000_000.0)))
}

/// Writes a duration the way [`parse_duration`] reads it, in its largest whole units: `1h30m`, `250ms`.
pub fn format_duration(duration: Duration) -> String {
    let ms = millis(duration);
    if ms == 0 {
        return "0ms".to_owned();
    }
    let mut rest = ms;
    let mut out = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            // Writing into a text cannot fail.
            let _ = write!(out, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    out
}

/// Reads a size in bytes: `64KiB`, `64K`, `256MiB`, `1GiB`, `512B`, `1024`; all multiples are of 1024.
///
/// # Errors
/// What was expected instead, naming the units.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "cannot read {text:?} as a size: write a number with B, KiB, MiB, GiB or TiB (or K, M, G, T), such as 10MiB"
        )
    };
    let trimmed = text.trim();
    let number = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let value: f64 = trimmed[..number].parse().map_err(|_| wrong())?;
    let scale: u64 = match trimmed[number..].trim() {
        "" | "B" => 1,
        "K" | "KiB" | "KB" => 1 << 10,
        "M" | "MiB" | "MB" => 1 << 20,
        "G" | "GiB" | "GB" => 1 << 30,
        "T" | "TiB" | "TB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = value * scale as f64;
    if !bytes.is_finite() || bytes >= 9.0e18 {
        return Err(wrong());
    }
    Ok(whole(bytes))
}

/// The nearest whole number, of a value known to be finite, not negative and far below `u64::MAX`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the callers")]
fn whole(value: f64) -> u64 {
    value.round().abs() as u64
}

/// Writes a size the way [`parse_size`] reads it, exactly, in its largest whole unit: `10MiB`, `1000B`.
pub fn format_size(bytes: u64) -> String {
    for (unit, size) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// Bytes with three figures: `912 B`, `8.6 MiB`, `212 MiB`, `1.2 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 999.5 {
            break;
        }
        value /= 1_024.0;
        unit = larger;
    }
    if unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// A length of time in its two largest units: `850ms`, `4.2s`, `45s`, `3m20s`, `2h11m`, `5d3h`.
pub fn length(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    if ms < 10_000 {
        return match (ms / 1_000, ms % 1_000 / 100) {
            (seconds, 0) => format!("{seconds}s"),
            (seconds, tenths) => format!("{seconds}.{tenths}s"),
        };
    }
    coarse(duration)
}

/// A length of time in whole seconds and above: `0s`, `45s`, `3m20s`, `2h11m`, `5d3h`.
pub fn coarse(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let (unit, size) = units[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((unit, size)) = units.get(first + 1).filter(|(_, small)| seconds % size / small > 0) {
        let (_, above) = units[first];
        // Writing into a String cannot fail.
        let _ = write!(text, "{}{unit}", seconds % above / size);
    }
    text
}

/// A share of one core: `0%`, `0.4%`, `12%`, `240%`.
pub fn percent(value: f64) -> String {
    if (0.05..9.95).contains(&value) { format!("{value:.1}%") } else { format!("{value:.0}%") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1 s", "10sec", "1e9h", "99999999999999h", "..s", "1.2.3s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_written_duration_reads_back() {
        for ms in [0, 1, 250, 1_000, 61_001, 5_400_000, 86_400_000, 90_061_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn sizes_count_in_1024s() {
        for (text, bytes) in
            [("64KiB", 65_536), ("64K", 65_536), ("256MiB", 268_435_456), ("1G", 1_073_741_824), ("512", 512), ("0", 0)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "K", "10 potatoes", "-1", "1e30", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!((format_size(10 << 20).as_str(), format_size(1_000).as_str()), ("10MiB", "1000B"));
    }

    #[test]
    fn a_timestamp_is_rfc_3339() {
        let time = Timestamp(1_763_632_800_000);
        assert_eq!(time.to_string(), "2025-11-20T10:00:00.000Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
    }
}
