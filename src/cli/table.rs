//! Tables without boxes: they shrink to the terminal and never wrap; piped they are whole and plain.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cli::output::{Paint, Surface, Tone, tame};

/// Spaces between two columns.
const GAP: usize = 2;

/// One column's heading and how it gives way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) title: &'static str,
    /// The width it can be cut down to; none: its text stays whole.
    pub(crate) shrinks_to: Option<usize>,
    /// Columns of the lowest rank go first when cutting is not enough.
    pub(crate) rank: u8,
    /// Whether its text stands at the right edge.
    pub(crate) right: bool,
}

impl Column {
    /// A column of numbers: whole, at the right.
    pub(crate) const fn number(title: &'static str, rank: u8) -> Self {
        Self { title, shrinks_to: None, rank, right: true }
    }

    /// A column whose text may be cut to `least` columns.
    pub(crate) const fn text(title: &'static str, rank: u8, least: usize) -> Self {
        Self { title, shrinks_to: Some(least), rank, right: false }
    }
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text with its meaning; what could steer a terminal is written out.
    pub(crate) fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: tame(text.as_ref()), tone }
    }

    /// A text that means nothing special.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Tone::Plain, text)
    }

    /// What stands where there is nothing to say.
    pub(crate) fn none() -> Self {
        Self::new(Tone::Dim, "-")
    }
}

/// A heading and rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with nothing in it.
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: vec![] }
    }

    /// Adds a row; fields that are missing stay empty.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as lines, each ended.
    pub(crate) fn render(&self, surface: &Surface) -> String {
        let widths = self.fit(surface.width);
        let mut out = String::new();
        let headings: Vec<Cell> = self.columns.iter().map(|column| Cell::new(Tone::Dim, column.title)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            out.push_str(&self.line(row, &widths, surface.paint));
            out.push('\n');
        }
        out
    }

    /// The width of each column, none for those that had to go.
    fn fit(&self, limit: Option<usize>) -> Vec<Option<usize>> {
        let natural = self.columns.iter().enumerate().map(|(place, column)| {
            let texts = self.rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.text.width());
            let widest = texts.clone().max().unwrap_or(0);
            // A column that says nothing in any row would only take room.
            (widest > 0).then(|| widest.max(column.title.width()))
        });
        let mut natural: Vec<Option<usize>> = natural.collect();
        let Some(limit) = limit else { return natural };
        loop {
            // Each time from the start: a column that goes gives its room back to those that were cut.
            let mut widths = natural.clone();
            while total(&widths) > limit && self.cut(&mut widths, limit) {}
            if total(&widths) <= limit || !self.drop_one(&mut natural, limit) {
                return widths;
            }
        }
    }

    /// Takes what is beyond `limit`, as far as it goes, from the column that can best be cut; false when none can.
    fn cut(&self, widths: &mut [Option<usize>], limit: usize) -> bool {
        let excess = total(widths).saturating_sub(limit);
        let slack = |place: usize, width: usize| {
            let column = &self.columns[place];
            column.shrinks_to.map_or(0, |least| width.saturating_sub(least.max(column.title.width())))
        };
        let candidate = (0..widths.len())
            .filter_map(|place| Some((slack(place, widths[place]?), place)))
            .filter(|(slack, _)| *slack > 0)
            .max_by_key(|(slack, place)| (*slack, *place));
        let Some((slack, place)) = candidate else { return false };
        widths[place] = widths[place].map(|width| width - slack.min(excess));
        true
    }

    /// Drops the column of the lowest rank; the last one is cut instead. False when that cannot help either.
    fn drop_one(&self, widths: &mut [Option<usize>], limit: usize) -> bool {
        let shown = widths.iter().flatten().count();
        let lowest =
            (0..widths.len()).filter(|place| widths[*place].is_some()).min_by_key(|place| self.columns[*place].rank);
        match lowest {
            Some(place) if shown > 1 => widths[place] = None,
            Some(place) if widths[place] != Some(limit.max(1)) => widths[place] = Some(limit.max(1)),
            _ => return false,
        }
        true
    }

    fn line(&self, row: &[Cell], widths: &[Option<usize>], paint: Paint) -> String {
        let last = widths.iter().rposition(Option::is_some);
        let mut out = String::new();
        for (place, column) in self.columns.iter().enumerate() {
            let Some(width) = widths[place] else { continue };
            let empty = Cell::plain("");
            let cell = row.get(place).unwrap_or(&empty);
            let text = shorten(&cell.text, width);
            let padding = " ".repeat(width.saturating_sub(text.width()));
            let shown = paint.text(cell.tone, &text);
            match (column.right, Some(place) == last) {
                (true, _) => out.extend([padding.as_str(), &shown]),
                (false, true) => out.push_str(&shown),
                (false, false) => out.extend([shown.as_str(), &padding]),
            }
            if Some(place) != last {
                out.push_str(&" ".repeat(GAP));
            }
        }
        if paint.0 { out } else { out.trim_end().to_owned() }
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + GAP * shown.saturating_sub(1)
}

/// `text` in at most `width` columns, `…` at its end where something was left out.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(width: Option<usize>) -> Surface {
        Surface { terminal: width.is_some(), paint: Paint(false), width }
    }

    fn sample() -> Table {
        let mut table = Table::new(vec![
            Column::text("NAME", 9, 8),
            Column::text("STATE", 8, 10),
            Column::number("RESTARTS", 4),
            Column::number("PID", 3),
            Column::text("WHY", 6, 12),
        ]);
        table.row(vec![
            Cell::plain("web"),
            Cell::plain("running"),
            Cell::plain("3"),
            Cell::plain("48213"),
            Cell::plain(""),
        ]);
        table.row(vec![
            Cell::plain("worker-with-a-long-name"),
            Cell::plain("backoff 3s, crash looping"),
            Cell::plain("12"),
            Cell::none(),
            Cell::plain("exit 1 · 12s ago · after a start that took rather long"),
        ]);
        table
    }

    #[test]
    fn a_wide_terminal_and_a_pipe_show_everything() {
        let whole = "\
NAME                     STATE                      RESTARTS    PID  WHY
web                      running                           3  48213
worker-with-a-long-name  backoff 3s, crash looping        12      -  exit 1 · 12s ago · after a start that took rather long
";
        assert_eq!(sample().render(&surface(Some(200))), whole);
        assert_eq!(sample().render(&surface(None)), whole);
    }

    #[test]
    fn eighty_columns_cut_the_longest_text_first() {
        let shown = "\
NAME                     STATE                     RESTARTS    PID  WHY
web                      running                          3  48213
worker-with-a-long-name  backoff 3s, crash loopi…        12      -  exit 1 · 12…
";
        assert_eq!(sample().render(&surface(Some(80))), shown);
    }

    #[test]
    fn no_line_is_ever_wider_than_the_terminal() {
        for width in 1..160 {
            for line in sample().render(&surface(Some(width))).lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn when_cutting_is_not_enough_the_least_important_column_goes() {
        let narrow = sample().render(&surface(Some(40)));
        assert!(!narrow.contains("PID") && narrow.contains("NAME") && narrow.contains("STATE"), "{narrow}");
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        for (text, width, expected) in
            [("日本語", 6, "日本語"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("abc", 0, ""), ("abc", 1, "…")]
        {
            assert_eq!(shorten(text, width), expected);
        }
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(vec![Column::text("A", 1, 1)]);
        table.row(vec![Cell::plain("\x1b[2Jx\ny")]);
        assert_eq!(table.render(&surface(None)), "A\n\\x1b[2Jx\\ny\n");
    }
}
