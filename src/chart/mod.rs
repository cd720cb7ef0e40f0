//! DRAWS: from figures to pictures. Pure functions: no clock, no file, no terminal.
//!
//! [`svg()`] and [`png`] draw a [`Chart`]: panels over one time axis, with starts, ends and reloads marked. Both paint the
//! same scene.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "from figures to pixels: `as` saturates, and what lies outside is not drawn"
)]

pub mod axis;
mod font;
mod layout;
mod paint;
mod scene;
mod svg;
#[cfg(test)]
mod tests;
mod thin;

use crate::model::units::Timestamp;

pub use crate::chart::paint::{Unpaintable, png};

/// What is drawn: panels below each other over one time axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows, at its top.
    pub title: String,
    /// For who cannot see it.
    pub description: String,
    /// In pixels; at least 240 are drawn.
    pub width: u32,
    /// In pixels; at least 120 and what the panels need are drawn.
    pub height: u32,
    /// Where the time axis begins.
    pub from: Timestamp,
    /// Where it ends.
    pub until: Timestamp,
    /// Points further apart than this, in milliseconds, are not joined: nothing is known between them.
    pub gap_ms: i64,
    /// From top to bottom.
    pub panels: Vec<Panel>,
    /// What happened, as upright lines through all panels.
    pub marks: Vec<Mark>,
    /// The words written into it.
    pub words: Words,
}

/// One quantity over time, its axis from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What its figures are.
    pub unit: Unit,
    /// One line each.
    pub series: Vec<Series>,
}

/// What figures are, and so how an axis counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Percent.
    Percent,
    /// Bytes, shown in KiB, MiB and so on.
    Bytes,
    /// Milliseconds, shown in ms or s.
    Millis,
}

/// One line of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called where there are several.
    pub name: String,
    /// Oldest first.
    pub points: Vec<Point>,
}

/// One reading, or what a span of readings comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// In the panel's unit; the average where it stands for several readings. What is no number is a
    /// gap.
    pub value: f64,
    /// The lowest and the highest of the readings it stands for.
    pub band: Option<(f64, f64)>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: MarkKind,
    /// In few words, e.g. `exit code 3`; may be empty.
    pub label: String,
}

/// What can be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A run began.
    Start,
    /// A run ended.
    End,
    /// New code was swapped in.
    Reload,
}

/// The words of a chart, for pages in other languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Legend of [`MarkKind::Start`].
    pub start: &'static str,
    /// Legend of [`MarkKind::End`].
    pub end: &'static str,
    /// Legend of [`MarkKind::Reload`].
    pub reload: &'static str,
    /// Before an average.
    pub average: &'static str,
    /// Before a maximum.
    pub highest: &'static str,
    /// Where there is nothing to draw.
    pub nothing: &'static str,
}

impl Words {
    /// English.
    pub const ENGLISH: Self =
        Self { start: "start", end: "end", reload: "reload", average: "avg", highest: "max", nothing: "no readings" };
}

/// How text gets into an SVG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// As outlines of the embedded font, on white paper: a file that looks the same everywhere, with no font installed.
    Glyphs,
    /// As text in the reader's font, without paper, in `currentColor` and the classes `series-0` to `series-7`, `start`,
    /// `end` and `reload`: for a page.
    Live,
}

/// The chart as a whole SVG element; from [`Text::Glyphs`] also a whole file.
pub fn svg(chart: &Chart, text: Text) -> String {
    svg::write(&layout::scene(chart), text)
}
