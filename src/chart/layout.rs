//! Where everything of a chart goes.

use crate::chart::axis::{self, Values};
use crate::chart::font::Font;
use crate::chart::scene::{Anchor, Ink, Scene, Shape, Spot};
use crate::chart::thin::thin;
use crate::chart::{Chart, Mark, MarkKind, Panel, Point, Words};
use crate::model::units::Timestamp;

/// Sizes of text, in pixels.
const LARGE: f32 = 15.0;
const SMALL: f32 = 11.0;
/// Around everything.
const MARGIN: f32 = 14.0;
/// Left of the panels, for the figures of their axes.
const LEFT: f32 = 58.0;
/// Above the panels: title, then legend.
const HEAD: f32 = 54.0;
/// Above each panel: its title.
const PANEL_HEAD: f32 = 26.0;
/// Between the title of the first panel and its lines: what marks are.
const LABELS: f32 = 38.0;
/// Below the last panel: the times.
const FOOT: f32 = 30.0;
/// A panel is at least this high.
const LEAST: f32 = 40.0;

/// Dashes that tell lines apart without colours.
const DASHES: [&[f32]; 4] = [&[], &[7.0, 3.0], &[2.0, 2.0], &[9.0, 3.0, 2.0, 3.0]];

/// The chart as shapes.
pub(crate) fn scene(chart: &Chart) -> Scene {
    let panels = chart.panels.len().max(1) as f32;
    let width = (chart.width as f32).max(240.0);
    let height = (chart.height as f32).max(120.0).max(HEAD + LABELS + FOOT + panels * (PANEL_HEAD + LEAST));
    let room = (height - HEAD - LABELS - FOOT) / panels;
    let mut sheet = Sheet { chart, font: Font::new(), shapes: vec![], width };
    sheet.head();
    for (number, panel) in chart.panels.iter().enumerate() {
        let bottom = HEAD + LABELS + (number + 1) as f32 * room;
        let head = if number == 0 { PANEL_HEAD + LABELS } else { PANEL_HEAD };
        let span = Span { head: bottom - room + PANEL_HEAD - head, top: bottom - room + PANEL_HEAD, bottom };
        sheet.panel(panel, span, number == 0);
    }
    sheet.times(height - FOOT);
    Scene { width, height, title: chart.title.clone(), description: chart.description.clone(), shapes: sheet.shapes }
}

/// Where a panel lies from top to bottom.
#[derive(Clone, Copy)]
struct Span {
    /// Its title begins.
    head: f32,
    /// Its lines begin.
    top: f32,
    /// Its lines end.
    bottom: f32,
}

impl Span {
    fn height(self) -> f32 {
        self.bottom - self.top
    }

    /// The base line of its title.
    fn title(self) -> f32 {
        self.head + PANEL_HEAD - 9.0
    }
}

/// The picture while it is drawn.
struct Sheet<'a> {
    chart: &'a Chart,
    font: Font,
    shapes: Vec<Shape>,
    width: f32,
}

impl Sheet<'_> {
    fn right(&self) -> f32 {
        self.width - MARGIN
    }

    /// Where a time lies from left to right.
    fn x(&self, at: Timestamp) -> f32 {
        let Timestamp(from) = self.chart.from;
        let span = self.chart.until.0.saturating_sub(from).max(1) as f64;
        let part = (at.0.saturating_sub(from) as f64 / span) as f32;
        LEFT + part * (self.right() - LEFT)
    }

    fn is_within(&self, at: Timestamp) -> bool {
        (self.chart.from..=self.chart.until).contains(&at)
    }

    fn text(&mut self, at: Spot, text: &str, size: f32, anchor: Anchor, ink: Ink) {
        self.shapes.push(Shape::Text { at, text: text.to_owned(), size, anchor, ink });
    }

    fn line(&mut self, points: Vec<Spot>, ink: Ink, width: f32, dash: &'static [f32]) {
        self.shapes.push(Shape::Line { points, ink, width, dash, note: None });
    }

    /// Title and span of time; below them what lines and marks mean.
    fn head(&mut self) {
        let span = axis::span(self.chart.from, self.chart.until);
        let beside = self.font.width(&self.chart.title, LARGE) + self.font.width(&span, SMALL) + 16.0;
        let right = self.right();
        self.text((MARGIN, 24.0), &self.chart.title, LARGE, Anchor::Start, Ink::Text);
        if beside < right - MARGIN {
            self.text((right, 24.0), &span, SMALL, Anchor::End, Ink::Muted);
        }
        let mut x = MARGIN;
        for (number, name) in self.names().into_iter().enumerate() {
            let (ink, dash) = (Ink::Series(number), DASHES[number % DASHES.len()]);
            self.line(vec![(x, 41.0), (x + 20.0, 41.0)], ink, 2.0, dash);
            x = self.legend(x + 26.0, &name);
        }
        for kind in [MarkKind::Start, MarkKind::End, MarkKind::Reload] {
            if self.chart.marks.iter().any(|mark| mark.kind == kind && self.is_within(mark.at)) {
                self.sign((x + 4.0, 41.0), kind);
                x = self.legend(x + 13.0, word(self.chart.words, kind));
            }
        }
    }

    /// Writes a word of the legend and says where the next may begin.
    fn legend(&mut self, x: f32, text: &str) -> f32 {
        self.text((x, 45.0), text, SMALL, Anchor::Start, Ink::Muted);
        x + self.font.width(text, SMALL) + 18.0
    }

    /// The names of the lines, where there are several in a panel.
    fn names(&self) -> Vec<String> {
        let several = self.chart.panels.iter().map(|panel| &panel.series).max_by_key(|series| series.len());
        let several = several.filter(|series| series.len() > 1);
        several.into_iter().flatten().map(|series| series.name.clone()).collect()
    }

    fn panel(&mut self, panel: &Panel, span: Span, is_first: bool) {
        let Span { top, bottom, .. } = span;
        let right = self.right();
        let (from, until) = (self.chart.from, self.chart.until);
        let within = |point: &&Point| (from..=until).contains(&point.at);
        let pixels = (right - LEFT) as usize;
        let lines: Vec<Vec<Point>> = panel
            .series
            .iter()
            .map(|series| thin(series.points.iter().filter(within).copied().collect(), from, until, pixels))
            .collect();
        let known = lines.iter().flatten().filter(|point| point.value.is_finite());
        let highest = known.map(|point| point.band.map_or(point.value, |(_, high)| high));
        let axis = axis::values(highest.fold(0.0, f64::max), panel.unit, (span.height() / 26.0) as u32);
        self.frame(panel, &axis, span);
        self.marks(top, bottom, is_first);
        let y = |value: f64| bottom - (value.max(0.0) / axis.top) as f32 * span.height();
        for (number, points) in lines.iter().enumerate() {
            // A thinned line has its points further apart.
            let gap = self.chart.gap_ms.max(until.0.saturating_sub(from.0) / (pixels.max(1) as i64) * 2);
            let is_joined = |one: &Point, next: &Point| {
                next.at.0.saturating_sub(one.at.0) <= gap && one.value.is_finite() && next.value.is_finite()
            };
            for piece in points.chunk_by(is_joined).filter(|piece| piece[0].value.is_finite()) {
                self.piece(piece, number, &y);
            }
        }
        self.figures(panel, span);
        if lines.iter().flatten().all(|point| !point.value.is_finite()) {
            let middle = f32::midpoint(LEFT, right);
            self.text(
                (middle, f32::midpoint(top, bottom)),
                self.chart.words.nothing,
                SMALL,
                Anchor::Middle,
                Ink::Muted,
            );
        }
    }

    /// Title, axis and the lines to measure by.
    fn frame(&mut self, panel: &Panel, axis: &Values, span: Span) {
        let Span { top, bottom, .. } = span;
        let right = self.right();
        let title = format!("{} ({})", panel.title, axis.unit);
        self.text((MARGIN, span.title()), &title, SMALL, Anchor::Start, Ink::Text);
        for tick in &axis.ticks {
            let y = bottom - (tick.at / axis.top) as f32 * span.height();
            self.line(vec![(LEFT, y), (right, y)], Ink::Grid, 1.0, &[]);
            self.text((LEFT - 6.0, y + 4.0), &tick.label, SMALL, Anchor::End, Ink::Muted);
        }
        for tick in self.time_ticks() {
            let x = self.x(Timestamp(tick.0));
            self.line(vec![(x, top), (x, bottom)], Ink::Grid, 1.0, &[]);
        }
    }

    /// Average and maximum of a panel's only line.
    fn figures(&mut self, panel: &Panel, span: Span) {
        let [only] = panel.series.as_slice() else { return };
        let points = only.points.iter().filter(|point| point.value.is_finite() && self.is_within(point.at));
        let (mut sum, mut count, mut highest) = (0.0, 0_u32, 0.0_f64);
        for point in points {
            sum += point.value;
            count += 1;
            highest = highest.max(point.band.map_or(point.value, |(_, high)| high));
        }
        if count > 0 {
            let words = self.chart.words;
            let average = axis::written(sum / f64::from(count), panel.unit);
            let text =
                format!("{} {average} · {} {}", words.average, words.highest, axis::written(highest, panel.unit));
            self.text((self.right(), span.title()), &text, SMALL, Anchor::End, Ink::Muted);
        }
    }

    /// A line without gaps, above its band.
    fn piece(&mut self, points: &[Point], number: usize, y: &dyn Fn(f64) -> f32) {
        let ink = Ink::Series(number);
        let band = |point: &Point| point.band.unwrap_or((point.value, point.value));
        let mut outline: Vec<Spot> = points.iter().map(|point| (self.x(point.at), y(band(point).1))).collect();
        outline.extend(points.iter().rev().map(|point| (self.x(point.at), y(band(point).0))));
        let mut spots: Vec<Spot> = points.iter().map(|point| (self.x(point.at), y(point.value))).collect();
        if let [(x, y)] = spots[..] {
            // A single reading would be an invisible line.
            spots = vec![(x - 1.0, y), (x + 1.0, y)];
        }
        if points.iter().any(|point| point.band.is_some()) {
            self.shapes.push(Shape::Area { points: outline, ink, alpha: 0.18 });
        }
        self.line(spots, ink, 1.5, DASHES[number % DASHES.len()]);
    }

    /// The marks through a panel; above the first also their signs and as many labels as have room.
    fn marks(&mut self, top: f32, bottom: f32, is_first: bool) {
        let mut marks: Vec<&Mark> = self.chart.marks.iter().filter(|mark| self.is_within(mark.at)).collect();
        marks.sort_by_key(|mark| mark.at);
        let mut taken: Vec<(i64, MarkKind)> = vec![];
        for mark in marks {
            let x = self.x(mark.at);
            // More of a kind on the same pixel cannot be seen.
            let pixel = (x.round() as i64, mark.kind);
            if taken.contains(&pixel) {
                continue;
            }
            taken.push(pixel);
            let word = word(self.chart.words, mark.kind);
            let said = if mark.label.is_empty() { word.to_owned() } else { format!("{word}: {}", mark.label) };
            self.shapes.push(Shape::Line {
                points: vec![(x, top), (x, bottom)],
                ink: Ink::Mark(mark.kind),
                width: 1.0,
                dash: match mark.kind {
                    MarkKind::Start => &[2.0, 2.0],
                    MarkKind::End => &[],
                    MarkKind::Reload => &[6.0, 3.0],
                },
                note: Some(format!("{} {said}", axis::at_second(mark.at))),
            });
            if is_first {
                self.sign((x, top - lane(mark.kind)), mark.kind);
            }
        }
        if is_first {
            self.labels(top);
        }
    }

    /// What ended runs and reloads, above the signs of the first panel, where there is room: ends before reloads.
    fn labels(&mut self, top: f32) {
        let mut taken: Vec<(f32, f32)> = vec![];
        for kind in [MarkKind::End, MarkKind::Reload] {
            let chart = self.chart;
            for mark in chart.marks.iter().filter(|mark| mark.kind == kind) {
                let half = self.font.width(&mark.label, SMALL) / 2.0;
                let (least, most) = (LEFT + half, self.right() - half);
                if mark.label.is_empty() || least > most || !self.is_within(mark.at) {
                    continue;
                }
                let x = self.x(mark.at).clamp(least, most);
                let span = (x - half - 4.0, x + half + 4.0);
                if taken.iter().all(|(from, until)| span.1 < *from || *until < span.0) {
                    taken.push(span);
                    self.text((x, top - 28.0), &mark.label, SMALL, Anchor::Middle, Ink::Mark(kind));
                }
            }
        }
    }

    /// A small sign that has another shape for each kind.
    fn sign(&mut self, (x, y): Spot, kind: MarkKind) {
        let corners = match kind {
            MarkKind::Start => vec![(-3.5, -4.0), (4.5, 0.0), (-3.5, 4.0)],
            MarkKind::End => vec![(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
            MarkKind::Reload => vec![(0.0, -4.5), (4.5, 0.0), (0.0, 4.5), (-4.5, 0.0)],
        };
        let points = corners.into_iter().map(|(right, down)| (x + right, y + down)).collect();
        self.shapes.push(Shape::Area { points, ink: Ink::Mark(kind), alpha: 1.0 });
    }

    fn time_ticks(&self) -> Vec<(i64, String)> {
        let most = ((self.right() - LEFT) / 84.0).max(2.0) as u32;
        let ticks = axis::times(self.chart.from, self.chart.until, most);
        ticks.into_iter().map(|tick| (tick.at as i64, tick.label)).collect()
    }

    /// The time axis below everything.
    fn times(&mut self, y: f32) {
        for (at, label) in self.time_ticks() {
            // At the edges a label would leave the picture.
            let half = self.font.width(&label, SMALL) / 2.0;
            let x = self.x(Timestamp(at)).min(self.width - half - 2.0);
            self.text((x, y + 16.0), &label, SMALL, Anchor::Middle, Ink::Muted);
        }
        self.text((MARGIN, y + 16.0), "UTC", SMALL, Anchor::Start, Ink::Muted);
    }
}

/// How far above the first panel's lines the signs of a kind stand: what happens at once is seen beside each other.
fn lane(kind: MarkKind) -> f32 {
    match kind {
        MarkKind::End => 5.0,
        MarkKind::Start => 13.0,
        MarkKind::Reload => 21.5,
    }
}

fn word(words: Words, kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Start => words.start,
        MarkKind::End => words.end,
        MarkKind::Reload => words.reload,
    }
}
