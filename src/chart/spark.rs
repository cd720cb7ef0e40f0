//! The course of a figure within a line of text.

use std::fmt::Write as _;

/// The values as a small SVG, evenly apart, from 0 at the bottom to the highest (at least `at_least`, so that noise
/// stays small) at the top. What is missing is a gap: pad with none at the front for a fixed scale of time.
///
/// It is drawn in `currentColor` and hidden from screen readers, so the figure has to stand beside it. An empty text
/// where there is nothing to draw.
pub fn sparkline(values: &[Option<f64>], width: u32, height: u32, at_least: f64) -> String {
    let known = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let highest = values.iter().filter_map(known).fold(at_least.max(f64::MIN_POSITIVE), f64::max);
    // Steps of a point to the right are short to write; heights are in half pixels.
    let bottom = height * 2;
    let room = f64::from(bottom) - 4.0;
    let y = |value: f64| (f64::from(bottom) - 2.0 - value.max(0.0) / highest * room).round() as i64;
    let mut path = String::new();
    let mut last: Option<i64> = None;
    let mut is_empty = true;
    for (x, value) in values.iter().enumerate() {
        match (known(value).map(y), last) {
            (Some(y), None) => {
                is_empty = false;
                let _ = write!(path, "M{x} {bottom}V{y}");
                last = Some(y);
            }
            (Some(y), Some(before)) => {
                let step = y - before;
                let _ = if step == 0 {
                    write!(path, "h1")
                } else {
                    write!(path, "l1{}{step}", if step < 0 { "" } else { " " })
                };
                last = Some(y);
            }
            (None, Some(_)) => {
                let _ = write!(path, "V{bottom}");
                last = None;
            }
            (None, None) => {}
        }
    }
    if is_empty {
        return String::new();
    }
    if last.is_some() {
        let _ = write!(path, "V{bottom}");
    }
    let across = values.len().saturating_sub(1).max(1);
    format!(
        "<svg class=\"spark\" aria-hidden=\"true\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {across} {bottom}\" \
         preserveAspectRatio=\"none\"><path fill=\"currentColor\" fill-opacity=\".15\" stroke=\"currentColor\" \
         vector-effect=\"non-scaling-stroke\" d=\"{path}\"/></svg>"
    )
}
