//! Signs and colours: what a terminal can show, and what tones look like.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;

use crate::cli::output::Tone;

/// What is selected: in one colour, for reversed bars would be blocks of theirs.
pub(super) const SELECTED: Style = Style::new().fg(Color::Reset).add_modifier(Modifier::REVERSED);

/// How the screen looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    has_colours: bool,
    /// From nothing to all.
    pub(super) levels: &'static [&'static str],
    /// A probe that passed, and one that failed.
    pub(super) ticks: [&'static str; 2],
    /// What charts are drawn with.
    pub(super) marker: Marker,
    marks: Marks,
}

/// A sign for each tone, so that none needs a colour to be told from another.
#[derive(Clone, Copy, Debug)]
struct Marks {
    good: &'static str,
    busy: &'static str,
    bad: &'static str,
    idle: &'static str,
}

impl Look {
    /// For a terminal of this name (`TERM`): the font of Linux's own console has few signs.
    pub(super) fn new(has_colours: bool, term: &str) -> Self {
        if term == "linux" || term == "dumb" || term.starts_with("vt") {
            return Self {
                has_colours,
                levels: &["_", "▄", "█"],
                ticks: ["·", "█"],
                marker: Marker::Dot,
                marks: Marks { good: "•", busy: "~", bad: "!", idle: "-" },
            };
        }
        Self {
            has_colours,
            levels: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
            ticks: ["▂", "█"],
            marker: Marker::Braille,
            marks: Marks { good: "●", busy: "◐", bad: "✗", idle: "○" },
        }
    }

    /// The sign of a tone.
    pub(super) fn mark(self, tone: Tone) -> &'static str {
        match tone {
            Tone::Good => self.marks.good,
            Tone::Busy => self.marks.busy,
            Tone::Bad => self.marks.bad,
            Tone::Plain | Tone::Dim | Tone::Strong | Tone::Service(_) => self.marks.idle,
        }
    }

    /// A tone as a style; without colours bold for trouble, dim for what is beside the point.
    pub(super) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let colour = |colour| if self.has_colours { plain.fg(colour) } else { plain };
        match tone {
            Tone::Plain | Tone::Service(_) => plain,
            Tone::Good => colour(Color::Green),
            Tone::Busy => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Dim => plain.add_modifier(Modifier::DIM),
            Tone::Strong => plain.add_modifier(Modifier::BOLD),
        }
    }

    /// Lines of CPU, or of memory.
    pub(super) fn series(self, is_memory: bool) -> Style {
        match (self.has_colours, is_memory) {
            (false, _) => Style::new(),
            (true, false) => Style::new().fg(Color::Cyan),
            (true, true) => Style::new().fg(Color::Magenta),
        }
    }

    /// The values as bars in `width` columns, from 0 to the highest (at least `at_least`); gaps stay empty, and more
    /// values than columns are brought together by their highest.
    pub(super) fn bars(self, values: &[Option<f64>], width: usize, at_least: f64) -> String {
        let highest = values.iter().flatten().copied().fold(at_least, f64::max);
        let steps = self.levels.len() as f64;
        let level = |value: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
            let step = (value / highest * steps).ceil().clamp(1.0, steps) as usize;
            self.levels.get(step - 1).copied().unwrap_or(" ")
        };
        let count = values.len().max(width).max(1);
        let missing = count - values.len();
        let column = |place: usize| {
            // As if what is missing stood before the values.
            let (from, until) = (place * count / width.max(1), (place + 1) * count / width.max(1));
            let span = values.get(from.saturating_sub(missing)..until.saturating_sub(missing)).unwrap_or_default();
            span.iter().flatten().copied().reduce(f64::max).map_or(" ", level)
        };
        (0..width).map(column).collect()
    }
}
