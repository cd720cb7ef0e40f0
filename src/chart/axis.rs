//! Where an axis has its lines, and what is written at them: round figures and round times.

use crate::chart::Unit;
use crate::model::units::Timestamp;

/// One line of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where, in the axis's own measure: the unit's base, or milliseconds since 1970.
    pub at: f64,
    /// What is written at it.
    pub label: String,
}

/// An axis of values from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Where it ends: at its last line.
    pub top: f64,
    /// From 0 up.
    pub ticks: Vec<Tick>,
    /// What the labels count: `%`, `MiB`, `ms`.
    pub unit: &'static str,
}

/// An axis from 0 to the first round figure from `highest` on, with about `wanted` lines above 0.
pub fn values(highest: f64, unit: Unit, wanted: u32) -> Values {
    let highest = if highest.is_finite() { highest.max(0.0) } else { 0.0 };
    // Less than this would draw noise as large as a house.
    let highest = highest.max(match unit {
        Unit::Percent | Unit::Millis => 1.0,
        Unit::Bytes => 1024.0,
    });
    let (size, name) = measure(highest, unit);
    let step = round_step(highest / size / f64::from(wanted.max(1)));
    let decimals = if step >= 1.0 { 0 } else { (-step.log10()).ceil().clamp(0.0, 6.0) as usize };
    let lines = (highest / size / step - 1e-9).ceil().max(1.0) as u32;
    let ticks = (0..=lines).map(|line| {
        let value = f64::from(line) * step;
        Tick { at: value * size, label: format!("{value:.decimals$}") }
    });
    Values { top: f64::from(lines) * step * size, ticks: ticks.collect(), unit: name }
}

/// A value as people write it: `12.3 %`, `64 MiB`, `0.8 ms`.
pub fn written(value: f64, unit: Unit) -> String {
    let (size, name) = measure(value, unit);
    let value = value / size;
    let decimals = if value >= 100.0 || value == 0.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {name}")
}

/// How large the unit that suits a value is, and its name.
fn measure(value: f64, unit: Unit) -> (f64, &'static str) {
    match unit {
        Unit::Percent => (1.0, "%"),
        Unit::Millis if value >= 10_000.0 => (1000.0, "s"),
        Unit::Millis => (1.0, "ms"),
        Unit::Bytes => {
            let mut found = (1.0, "B");
            for larger in
                [(1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB"), (1_099_511_627_776.0, "TiB")]
            {
                if value >= larger.0 {
                    found = larger;
                }
            }
            found
        }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= step * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How far apart lines of a time axis may lie.
const STEPS: [i64; 22] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
    91 * DAY,
];

/// The round times of `from..=until` in UTC, at most `most` of them where a step is left that gives so few.
pub fn times(from: Timestamp, until: Timestamp, most: u32) -> Vec<Tick> {
    let span = until.0.saturating_sub(from.0).max(1);
    let fits = |step: &i64| span / *step <= i64::from(most.max(1));
    let step = STEPS.into_iter().find(fits).unwrap_or((span / i64::from(most.max(1)) / DAY + 1) * DAY);
    let first = from.0.div_euclid(step).saturating_add(i64::from(from.0.rem_euclid(step) != 0)).saturating_mul(step);
    let mut ticks = vec![];
    let mut at = first;
    while at <= until.0 && ticks.len() <= most as usize {
        ticks.push(Tick { at: at as f64, label: clock(Timestamp(at), step) });
        at = at.saturating_add(step);
    }
    ticks
}

/// As precise as the distance of the lines asks for; at midnight the day.
fn clock(at: Timestamp, step: i64) -> String {
    let form = match step {
        _ if at.0.rem_euclid(DAY) == 0 => "%-d %b",
        step if step < MINUTE => "%H:%M:%S",
        _ => "%H:%M",
    };
    in_utc(at, form)
}

/// The span in words: `2026-11-21 17:00 – 18:00 UTC`.
pub fn span(from: Timestamp, until: Timestamp) -> String {
    let same_day = from.0.div_euclid(DAY) == until.0.div_euclid(DAY);
    let (seconds, day) = (until.0.saturating_sub(from.0) < 10 * MINUTE, "%Y-%m-%d ");
    let time = if seconds { "%H:%M:%S" } else { "%H:%M" };
    let end = if same_day { time.to_owned() } else { format!("{day}{time}") };
    format!("{} – {} UTC", in_utc(from, &format!("{day}{time}")), in_utc(until, &end))
}

fn in_utc(at: Timestamp, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).strftime(form).to_string())
        .unwrap_or_default()
}

/// The time of day to the second: `17:00:03`.
pub(crate) fn at_second(at: Timestamp) -> String {
    in_utc(at, "%H:%M:%S")
}
