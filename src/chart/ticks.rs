//! The latest answers of a probe as a row of bars.

use std::fmt::Write as _;

use crate::chart::svg::escape;
use crate::model::overview::ProbeTick;

/// How many bars there is room for.
pub const BARS: usize = 50;

/// How wide a bar with the space beside it is.
const STEP: usize = 3;

/// The latest [`BARS`] probes as a small SVG of `height` pixels, the newest at the right: who passed has a bar of half
/// the height (class `ok`), who failed one of the full height (class `failed`). `title` says it in words.
pub fn ticks(probes: &[ProbeTick], height: u32, title: &str) -> String {
    let shown = probes.get(probes.len().saturating_sub(BARS)..).unwrap_or(probes);
    let first = BARS - shown.len();
    let half = height / 2;
    let (mut passed, mut failed) = (String::new(), String::new());
    for (place, probe) in shown.iter().enumerate() {
        let x = (first + place) * STEP + 1;
        let _ = if probe.ok { write!(passed, "M{x} {half}V{height}") } else { write!(failed, "M{x} 0V{height}") };
    }
    let width = BARS * STEP;
    let mut out = format!(
        "<svg class=\"ticks\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         stroke-width=\"2\"><title>{}</title>",
        escape(title)
    );
    for (class, ink, path) in [("ok", "#1a7f37", passed), ("failed", "#cf222e", failed)] {
        if !path.is_empty() {
            let _ = write!(out, "<path class=\"{class}\" stroke=\"{ink}\" d=\"{path}\"/>");
        }
    }
    out + "</svg>"
}
