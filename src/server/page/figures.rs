//! Figures for people: three digits are enough, and a time is told by how long ago it was.

use std::time::Duration;

use maud::{Markup, html};

use crate::model::units::Timestamp;
pub(crate) use crate::model::units::{bytes, percent};
use crate::server::page::words::{Words, fill};

/// Milliseconds: `0.8 ms`, `12 ms`, `1.2 s`.
pub(crate) fn latency(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// A count with its thousands apart: `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time in its two largest units: `45s`, `3m20s`, `5d3h`.
pub(crate) fn length(duration: Duration, words: &Words) -> String {
    let seconds = duration.as_secs();
    let units = [(words.unit_d, 86_400), (words.unit_h, 3_600), (words.unit_m, 60), (words.unit_s, 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let (unit, size) = units[first];
    let rest = units.get(first + 1).map(|(unit, small)| (seconds % size / small, unit)).filter(|(rest, _)| *rest > 0);
    let rest = rest.map(|(rest, unit)| format!("{rest}{unit}")).unwrap_or_default();
    format!("{}{unit}{rest}", seconds / size).trim_end().to_owned()
}

/// [`length`] of milliseconds.
pub(crate) fn length_ms(ms: u64, words: &Words) -> String {
    length(Duration::from_millis(ms), words)
}

/// How long ago, in one unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp, words: &Words) -> String {
    let seconds = now.since(at).as_secs();
    let (word, n) = match seconds {
        0 => return words.just_now.to_owned(),
        1..60 => (words.seconds_ago, seconds),
        60..3_600 => (words.minutes_ago, seconds / 60),
        3_600..86_400 => (words.hours_ago, seconds / 3_600),
        _ => (words.days_ago, seconds / 86_400),
    };
    fill(word, &[("n", &n)])
}

/// The exact time, in UTC, to the second: `2026-11-20 10:00:05 UTC`.
pub(crate) fn exact(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

/// How long ago, with the exact time behind it.
pub(crate) fn moment(at: Timestamp, now: Timestamp, words: &Words) -> Markup {
    html! { time.ago datetime=(at) title=(exact(at)) { (ago(at, now, words)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        for (number, text) in [(0, "0 B"), (1_023, "1.0 KiB"), (222_298_112, "212 MiB"), (1_300_000_000, "1.2 GiB")] {
            assert_eq!(bytes(number), text);
        }
        for (value, text) in [(0.0, "0%"), (0.04, "0%"), (0.41, "0.4%"), (12.3, "12%"), (240.0, "240%")] {
            assert_eq!(percent(value), text);
        }
        for (ms, text) in [(0.83, "0.8 ms"), (12.3, "12 ms"), (999.6, "1.0 s"), (2_500.0, "2.5 s")] {
            assert_eq!(latency(ms), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_read_in_each_language() {
        let [english, korean] = Words::languages();
        for (seconds, en, ko) in [
            (0, "0s", "0초"),
            (45, "45s", "45초"),
            (200, "3m20s", "3분 20초"),
            (3_600, "1h", "1시간"),
            (442_800, "5d3h", "5일 3시간"),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!((length(duration, english).as_str(), length(duration, korean).as_str()), (en, ko));
        }
        for (seconds, en, ko) in [(-5, "now", "방금"), (12, "12s ago", "12초 전"), (7_300, "2h ago", "2시간 전")]
        {
            let now = Timestamp(1_000_000 + seconds * 1_000);
            let told = |words| ago(Timestamp(1_000_000), now, words);
            assert_eq!((told(english).as_str(), told(korean).as_str()), (en, ko));
        }
        assert_eq!(exact(Timestamp(1_763_632_805_000)), "2025-11-20 10:00:05 UTC");
    }
}
