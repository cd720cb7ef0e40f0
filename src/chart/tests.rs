//! Pictures: what is in them, and that they can be read.

use super::axis::{self, Tick};
use super::thin::thin;
use super::*;

/// 2026-11-21 17:00 UTC.
const FIVE: i64 = 1_795_280_400_000;
const MINUTE: i64 = 60_000;

fn point(at: i64, value: f64) -> Point {
    Point { at: Timestamp(at), value, band: None }
}

/// An hour of `web`, with a hole from minute 20 to 30.
fn chart() -> Chart {
    let cpu = (0..60).filter(|minute| !(20..30).contains(minute));
    let cpu = cpu.map(|minute| Point {
        band: Some((1.0, 40.0)),
        ..point(FIVE + minute * MINUTE, 10.0 + f64::from(i32::try_from(minute % 7).unwrap()))
    });
    let mark =
        |minute: i64, kind, label: &str| Mark { at: Timestamp(FIVE + minute * MINUTE), kind, label: label.to_owned() };
    Chart {
        title: "web & \"co\" <한국어>".to_owned(),
        description: "an hour".to_owned(),
        width: 800,
        height: 400,
        from: Timestamp(FIVE),
        until: Timestamp(FIVE + 60 * MINUTE),
        gap_ms: MINUTE * 5 / 2,
        panels: vec![
            Panel {
                title: "CPU".to_owned(),
                unit: Unit::Percent,
                series: vec![Series { name: "web".to_owned(), points: cpu.collect() }],
            },
            Panel { title: "Memory".to_owned(), unit: Unit::Bytes, series: vec![] },
        ],
        marks: vec![
            mark(20, MarkKind::End, "exit 3"),
            mark(30, MarkKind::Start, ""),
            mark(31, MarkKind::End, "signal KILL with many words that need much room"),
            mark(21, MarkKind::End, "no room"),
            mark(-5, MarkKind::Reload, "before"),
        ],
        words: Words::ENGLISH,
    }
}

/// Checks that every element is closed and every text escaped; says how many elements there are.
fn well_formed(svg: &str) -> usize {
    let mut open: Vec<&str> = vec![];
    let mut count = 0;
    let mut rest = svg;
    while let Some(begin) = rest.find('<') {
        assert!(!rest[..begin].contains('>'), "a bare > in {}", &rest[..begin]);
        for (place, _) in rest[..begin].match_indices('&') {
            let entity = &rest[place..begin];
            let known = ["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|known| entity.starts_with(known));
            assert!(known, "a bare & in {entity}");
        }
        let end = rest[begin..].find('>').expect("a tag ends") + begin;
        let tag = &rest[begin + 1..end];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            count += 1;
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    count
}

fn labels(ticks: &[Tick]) -> Vec<&str> {
    ticks.iter().map(|tick| tick.label.as_str()).collect()
}

#[test]
fn an_axis_of_values_has_round_lines_and_ends_above_the_highest() {
    for (highest, unit, wanted, expected, name) in [
        (37.0, Unit::Percent, 4, vec!["0", "10", "20", "30", "40"], "%"),
        (400.0, Unit::Percent, 4, vec!["0", "100", "200", "300", "400"], "%"),
        (0.0, Unit::Percent, 4, vec!["0.0", "0.5", "1.0"], "%"),
        (f64::NAN, Unit::Millis, 2, vec!["0.0", "0.5", "1.0"], "ms"),
        (1.2, Unit::Millis, 3, vec!["0.0", "0.5", "1.0", "1.5"], "ms"),
        (25_000.0, Unit::Millis, 3, vec!["0", "10", "20", "30"], "s"),
        (170.0 * 1_048_576.0, Unit::Bytes, 4, vec!["0", "50", "100", "150", "200"], "MiB"),
        (3.0 * 1_073_741_824.0, Unit::Bytes, 3, vec!["0", "1", "2", "3"], "GiB"),
    ] {
        let axis = axis::values(highest, unit, wanted);
        assert_eq!((labels(&axis.ticks), axis.unit), (expected, name), "{highest}");
        assert!(highest.is_nan() || axis.top >= highest, "{highest}");
    }
    for power in -8..18 {
        for first in 1..10 {
            let highest = f64::from(first) * 10_f64.powi(power);
            let axis = axis::values(highest, Unit::Millis, 5);
            assert!(axis.top >= highest && axis.ticks.len() <= 12, "{highest}: {axis:?}");
        }
    }
}

#[test]
fn an_axis_of_time_has_round_times_in_utc() {
    for (minutes, most, expected) in [
        (60, 6, vec!["17:00", "17:10", "17:20", "17:30", "17:40", "17:50", "18:00"]),
        (1, 4, vec!["17:00:00", "17:00:15", "17:00:30", "17:00:45", "17:01:00"]),
        (12 * 60, 4, vec!["18:00", "21:00", "22 Nov", "03:00"]),
        (30 * 24 * 60, 5, vec!["26 Nov", "3 Dec", "10 Dec", "17 Dec"]),
    ] {
        let ticks = axis::times(Timestamp(FIVE), Timestamp(FIVE + minutes * MINUTE), most);
        let found = labels(&ticks);
        assert_eq!(found, expected, "{minutes}");
        assert!(found.len() <= most as usize + 1);
    }
    // Even a span of nonsense ends.
    for (from, until) in [(0, 0), (5, 1), (i64::MIN, i64::MAX), (i64::MAX - 5, i64::MAX), (-5, 5)] {
        assert!(axis::times(Timestamp(from), Timestamp(until), 5).len() <= 6);
    }
    assert_eq!(axis::span(Timestamp(FIVE), Timestamp(FIVE + 60 * MINUTE)), "2026-11-21 17:00 – 18:00 UTC");
    assert_eq!(axis::span(Timestamp(FIVE), Timestamp(FIVE + 600 * MINUTE)), "2026-11-21 17:00 – 2026-11-22 03:00 UTC");
    assert_eq!(axis::span(Timestamp(FIVE), Timestamp(FIVE + MINUTE)), "2026-11-21 17:00:00 – 17:01:00 UTC");
}

#[test]
fn values_are_written_with_their_unit() {
    for (value, unit, expected) in [
        (0.0, Unit::Percent, "0 %"),
        (0.25, Unit::Millis, "0.25 ms"),
        (12.34, Unit::Percent, "12.3 %"),
        (163.0 * 1_048_576.0, Unit::Bytes, "163 MiB"),
        (12_500.0, Unit::Millis, "12.5 s"),
    ] {
        assert_eq!(axis::written(value, unit), expected);
    }
}

#[test]
fn a_chart_is_well_formed_and_says_what_it_shows() {
    let live = svg(&chart(), Text::Live);
    well_formed(&live);
    for expected in [
        "<title>web &amp; &quot;co&quot; &lt;한국어&gt;</title><desc>an hour</desc>",
        ">CPU (%)</text>",
        ">no readings</text>",
        ">2026-11-21 17:00 – 18:00 UTC</text>",
        "<title>17:20:00 end: exit 3</title>",
        "<title>17:30:00 start</title>",
        ">exit 3</text>",
        "class=\"series-0\"",
    ] {
        assert!(live.contains(expected), "{expected} is missing in\n{live}");
    }
    assert!(!live.contains(">no room</text>"), "labels never lie on each other");
    assert!(!live.contains("before"), "what lies outside is not drawn");
    // The hole parts the line in two, each above its band.
    let lines = live.matches("class=\"series-0\" stroke").count();
    let bands = live.matches("class=\"series-0\" fill").count();
    assert_eq!((lines, bands), (2, 2), "{live}");
    let file = svg(&chart(), Text::Glyphs);
    well_formed(&file);
    assert!(!file.contains("<text") && !file.contains("currentColor") && !file.contains("class=\"series"));
}

#[test]
fn a_png_can_be_read_and_its_title_is_not_blank() {
    let picture = png(&chart(), 2.0).unwrap();
    let pixels = tiny_skia::Pixmap::decode_png(&picture).unwrap();
    assert_eq!((pixels.width(), pixels.height()), (1600, 800));
    let dark = |columns: std::ops::Range<u32>, rows: std::ops::Range<u32>| {
        rows.flat_map(|y| columns.clone().map(move |x| (x, y)))
            .filter(|(x, y)| pixels.pixel(*x, *y).is_some_and(|pixel| pixel.red() < 100))
            .count()
    };
    assert!(dark(28..300, 20..50) > 500, "the title");
    assert_eq!(dark(700..1000, 0..20), 0, "the paper");
    let huge = Chart { width: 60_000, ..chart() };
    assert!(png(&huge, 1.0).unwrap_err().to_string().contains("60000 by"));
}

#[test]
fn charts_of_nothing_and_of_nonsense_are_charts() {
    let odd = [point(i64::MAX, 1.0), point(5, f64::INFINITY), point(6, f64::NAN), point(7, -3.0), point(8, 1e300)];
    let panel = Panel {
        title: String::new(),
        unit: Unit::Bytes,
        series: vec![Series { name: String::new(), points: odd.to_vec() }],
    };
    for (from, until) in [(0, 10), (0, 0), (10, 0), (i64::MIN, i64::MAX)] {
        let span = Chart { from: Timestamp(from), until: Timestamp(until), width: 0, height: 0, ..chart() };
        for panels in [vec![], vec![panel.clone()]] {
            let chart = Chart { panels, ..span.clone() };
            well_formed(&svg(&chart, Text::Glyphs));
            well_formed(&svg(&chart, Text::Live));
            assert!(png(&chart, 1.0).is_ok());
        }
    }
}

#[test]
fn more_points_than_pixels_become_averages_within_a_band() {
    let points: Vec<Point> = (0..1000).map(|at| point(at, if at % 2 == 0 { 0.0 } else { 10.0 })).collect();
    let thinned = thin(points, Timestamp(0), Timestamp(1000), 100);
    assert_eq!(thinned.len(), 100);
    assert!(thinned.iter().all(|point| (point.value - 5.0).abs() < 1e-9 && point.band == Some((0.0, 10.0))));
    assert_eq!(thin(vec![point(1, 1.0)], Timestamp(0), Timestamp(10), 100), [point(1, 1.0)]);
}

#[test]
fn a_letter_the_font_does_not_have_is_a_hollow_box() {
    let font = super::font::Font::new();
    assert!((font.width("mm", 10.0) - 2.0 * font.width("m", 10.0)).abs() < 0.001);
    assert!((font.width("한", 10.0) - 6.0).abs() < 0.001);
    for letter in "aÄ…–→·µ%".chars() {
        assert!((font.width(&letter.to_string(), 10.0) - 6.0).abs() > 0.001, "{letter} is missing");
    }
}
