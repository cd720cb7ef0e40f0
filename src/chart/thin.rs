//! As many points as can be seen: a picture has only so many pixels.

use crate::chart::Point;
use crate::model::units::Timestamp;

/// At most about `most` points: those within one of as many equal spans of time become one, their average, within a band
/// from the lowest to the highest. What is no number is left out where a number is beside it.
pub(crate) fn thin(points: Vec<Point>, from: Timestamp, until: Timestamp, most: usize) -> Vec<Point> {
    if points.len() <= most || most == 0 {
        return points;
    }
    let span = i128::from(until.0.saturating_sub(from.0)).max(1);
    let place = |point: &Point| i128::from(point.at.0.saturating_sub(from.0)) * most as i128 / span;
    points.chunk_by(|one, next| place(one) == place(next)).map(joined).collect()
}

fn joined(points: &[Point]) -> Point {
    let known: Vec<&Point> = points.iter().filter(|point| point.value.is_finite()).collect();
    if known.is_empty() {
        return points[0];
    }
    let average = |of: fn(&Point) -> f64| known.iter().map(|point| of(point)).sum::<f64>() / known.len() as f64;
    let low = |point: &Point| point.band.map_or(point.value, |(low, _)| low);
    let high = |point: &Point| point.band.map_or(point.value, |(_, high)| high);
    let lowest = known.iter().map(|point| low(point)).fold(f64::INFINITY, f64::min);
    let highest = known.iter().map(|point| high(point)).fold(f64::NEG_INFINITY, f64::max);
    Point {
        at: Timestamp(average(|point| point.at.0 as f64).round() as i64),
        value: average(|point| point.value),
        band: (lowest < highest).then_some((lowest, highest)),
    }
}
