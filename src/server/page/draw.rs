//! Small pictures inside the table: lines of the last five minutes and the bar of the latest probes. `page.js` draws the
//! same ones anew as figures come in.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::model::overview::{Point, ProbeTick};
use crate::model::units::Timestamp;

/// A line spans five minutes …
const SPAN_MS: i64 = 300_000;
/// … on this many units of its picture, …
const WIDTH: i64 = 120;
/// … and is this high.
const HEIGHT: f64 = 20.0;
/// Points further apart than this belong to different lines: nothing was read in between.
const GAP_MS: i64 = 13_000;
/// From the left edge of one tick to that of the next.
const TICK: usize = 3;

/// The lowest and the highest of a series; none without values.
pub(crate) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

/// A line of the last five minutes, `value` between `low` (at the bottom) and `high` of its scale.
pub(crate) fn spark(
    points: &[Point],
    now: Timestamp,
    label: &str,
    scale: (f64, f64),
    value: fn(&Point) -> Option<f64>,
) -> Markup {
    html! {
        svg.spark viewBox="0 0 120 20" preserveAspectRatio="none" role="img" aria-label=(label) {
            path d=(line(points, now, scale, value)) {}
        }
    }
}

/// CPU from 0 to its peak, at least to 10 %, so that the noise of an idle program looks as small as it is.
pub(crate) fn cpu_scale(range: Option<(f64, f64)>) -> (f64, f64) {
    (0.0, range.map_or(10.0, |(_, high)| high.max(10.0)))
}

/// Memory between its lowest and highest, or a tenth of it around its middle: growth is seen, and jitter stays flat.
pub(crate) fn memory_scale(range: Option<(f64, f64)>) -> (f64, f64) {
    let (low, high) = range.unwrap_or((0.0, 1.0));
    let room = (high * 0.1 - (high - low)).max(0.0) / 2.0;
    (low - room, (high + room).max(low - room + 1.0))
}

/// Relative steps, which compress well over many services.
fn line(points: &[Point], now: Timestamp, (low, high): (f64, f64), value: fn(&Point) -> Option<f64>) -> String {
    let mut path = String::new();
    let mut before: Option<(i64, i64, i64)> = None;
    for point in points {
        let age = now.0 - point.at.0;
        let Some(value) = value(point).filter(|_| age <= SPAN_MS) else { continue };
        let x = WIDTH - age.max(0) * WIDTH / SPAN_MS;
        #[expect(clippy::cast_possible_truncation, reason = "between 1 and 19")]
        let y = (HEIGHT - 1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0) * (HEIGHT - 2.0)).round() as i64;
        // Writing into a String cannot fail.
        let _ = match before {
            Some((at, left, above)) if point.at.0 - at <= GAP_MS => write!(path, "l{} {}", x - left, y - above),
            Some(_) | None => write!(path, "M{x} {y}h0"),
        };
        before = Some((point.at.0, x, y));
    }
    path
}

/// One tick a probe, the newest on the right: short and calm where it passed, long where it failed.
pub(crate) fn ticks(probes: &[ProbeTick], label: &str) -> Markup {
    let empty = crate::meter::recent::PROBES.saturating_sub(probes.len());
    let path = |ok: bool| {
        let mut path = String::new();
        for (place, _) in probes.iter().enumerate().filter(|(_, tick)| tick.ok == ok) {
            let x = (empty + place) * TICK + 1;
            // Writing into a String cannot fail.
            let _ = write!(path, "M{x} {}", if ok { "5v10" } else { "1v18" });
        }
        path
    };
    html! {
        svg.ticks viewBox="0 0 150 20" preserveAspectRatio="none" role="img" aria-label=(label) {
            path.ok d=(path(true)) {}
            path.bad d=(path(false)) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64, memory_bytes: u64) -> Point {
        Point { at: Timestamp(at), cpu_percent: None, memory_bytes }
    }

    #[test]
    fn a_line_ends_at_now_and_breaks_where_nothing_was_read() {
        let points: Vec<Point> = [(700, 9), (1_000, 0), (1_005, 10), (1_010, 5), (1_060, 10), (1_300, 0)]
            .map(|(second, value)| point(second * 1_000, value))
            .to_vec();
        let drawn = line(&points, Timestamp(1_300_000), (0.0, 10.0), |point| Some(point.memory_bytes as f64));
        assert_eq!(drawn, "M0 19h0l2 -18l2 9M24 1h0M120 19h0");
        assert_eq!(line(&points, Timestamp(1_300_000), (0.0, 10.0), |point| point.cpu_percent), "");
    }

    #[test]
    fn scales_show_growth_and_no_noise() {
        assert_eq!(cpu_scale(Some((0.0, 3.0))), (0.0, 10.0));
        assert_eq!(cpu_scale(Some((0.0, 240.0))), (0.0, 240.0));
        assert_eq!(memory_scale(Some((100.0, 200.0))), (100.0, 200.0));
        assert_eq!(memory_scale(Some((100.0, 100.0))), (95.0, 105.0));
    }

    #[test]
    fn a_failed_probe_differs_by_its_shape_too() {
        let tick = |ok| ProbeTick { at: Timestamp(0), ok, ms: 1.0, message: None };
        let drawn = ticks(&[tick(true), tick(false)], "1 of 2").into_string();
        assert!(drawn.contains(r#"<path class="ok" d="M145 5v10"></path>"#), "{drawn}");
        assert!(drawn.contains(r#"<path class="bad" d="M148 1v18"></path>"#), "{drawn}");
    }
}
