//! Puts everything on the screen.

mod detail;
mod head;
mod help;
mod table;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::cli::output::{Paint, Tone};
use crate::cli::show::event;
use crate::cli::table::shorten;
use crate::cli::time::{ago, clock};
use crate::cli::top::app::{App, View};
use crate::cli::top::look::Look;
use crate::model::event::EventRecord;
use crate::model::units::Timestamp;

/// Draws a whole frame.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let [head, body, foot] = parts(area);
    head::head(buffer, head, app);
    match app.view {
        View::Table => table::table(buffer, body, app),
        View::Detail => detail::detail(buffer, body, app),
        View::Log => log(buffer, body, app),
    }
    head::foot(buffer, foot, app);
    if app.shows_help {
        help::help(buffer, area, app.look);
    }
}

/// Head, body and the two lines of the foot; what does not fit has no height.
fn parts(area: Rect) -> [Rect; 3] {
    let head = Rect { height: area.height.min(1), ..area };
    let foot_height = area.height.saturating_sub(head.height).min(2);
    let foot = Rect { y: area.bottom() - foot_height, height: foot_height, ..area };
    let body = Rect { y: head.bottom(), height: foot.y.saturating_sub(head.bottom()), ..area };
    [head, body, foot]
}

/// The log pane: the whole body.
fn log(buffer: &mut Buffer, area: Rect, app: &App) {
    let name = app.wanted_log().unwrap_or_default();
    let behind = match app.log.behind {
        0 => "following".to_owned(),
        1 => "1 line further down; End follows".to_owned(),
        lines => format!("{lines} lines further down; End follows"),
    };
    heading(buffer, area, app.look, &format!("log of {name}"), &behind);
    let below = below(area, 1);
    for (row, line) in (below.y..).zip(app.log.seen(usize::from(below.width), usize::from(below.height))) {
        write(buffer, below, below.x, row, &line, Style::new());
    }
}

/// What is left of an area below its first rows.
fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// A line that says what follows, with a remark at its right end.
fn heading(buffer: &mut Buffer, area: Rect, look: Look, text: &str, remark: &str) {
    let line = Line::from(vec![
        Span::styled(text.to_owned(), look.style(Tone::Strong)),
        Span::styled(format!("  {remark}"), look.style(Tone::Dim)),
    ]);
    line_at(buffer, area, area.y, &line);
}

/// Events, the newest first, as many as fit, the newest last.
fn timeline(buffer: &mut Buffer, area: Rect, look: Look, newest_first: &[&EventRecord], now: Timestamp) {
    heading(buffer, area, look, "events", "");
    let list = below(area, 1);
    let shown = newest_first.iter().take(usize::from(list.height)).rev();
    for (line, event) in (list.y..).zip(shown) {
        // A narrow screen has no room for both.
        let ago = ago(event.at, now);
        let when = if area.width < 100 { ago } else { format!("{} {ago:>7}", clock(event.at)) };
        let text = shorten(&event::line(event, &when, Paint(false)), usize::from(list.width));
        write(buffer, list, list.x, line, &text, look.style(event::tone(event.event)));
    }
}

/// A line in a row of an area, cut where the area ends.
fn line_at(buffer: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    if (area.y..area.bottom()).contains(&row) {
        buffer.set_line(area.x, row, line, area.width);
    }
}

/// A text from a column on, cut where the area ends.
fn write(buffer: &mut Buffer, area: Rect, column: u16, row: u16, text: &str, style: Style) {
    if (area.y..area.bottom()).contains(&row) && (area.x..area.right()).contains(&column) {
        buffer.set_stringn(column, row, text, usize::from(area.right() - column), style);
    }
}
