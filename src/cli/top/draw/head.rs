//! The first line: the project and the machine. The last two: what is going on, and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::cli::output::{Tone, tame};
use crate::cli::time::{bytes, coarse, percent};
use crate::cli::top::app::{App, View};
use crate::cli::top::draw::line_at;
use crate::model::overview::Overview;

/// The line above everything.
pub(super) fn head(buffer: &mut Buffer, area: Rect, app: &App) {
    let look = app.look;
    let Some(overview) = &app.overview else {
        let text = app.lost.as_deref().unwrap_or("connecting …");
        return line_at(buffer, area, area.y, &Line::styled(text.to_owned(), look.style(Tone::Busy)));
    };
    let mut spans = vec![Span::styled(tame(&overview.project), look.style(Tone::Strong))];
    if let Some(reason) = &app.lost {
        spans.push(Span::styled(
            format!("  {} {reason}: these are the last figures; trying again", look.mark(Tone::Bad)),
            look.style(Tone::Bad),
        ));
    } else {
        // The most important first: a narrow window cuts the rest.
        let parts = facts(overview);
        let widths = parts.iter().map(|(label, value)| label.len() + value.chars().count() + 3);
        let fitting = widths
            .scan(spans[0].width(), |used, width| {
                *used += width;
                Some(*used)
            })
            .take_while(|used| *used <= usize::from(area.width))
            .count();
        for (label, value) in parts.into_iter().take(fitting) {
            spans.push(Span::styled(format!("  {label} "), look.style(Tone::Dim)));
            spans.push(Span::raw(value));
        }
    }
    line_at(buffer, area, area.y, &Line::from(spans));
}

fn facts(overview: &Overview) -> Vec<(&'static str, String)> {
    let Overview { host, own, .. } = overview;
    let mut parts = vec![("up", coarse(overview.at.since(overview.started_at)))];
    parts.extend(host.cpu_percent.map(|cpu| ("cpu", format!("{} of {}", percent(cpu), host.cpus))));
    if host.memory_bytes > 0 {
        let used = host.memory_bytes.saturating_sub(host.memory_available_bytes);
        parts.push(("mem", format!("{}/{}", bytes(used), bytes(host.memory_bytes))));
    }
    parts.push(("load", format!("{:.2}", host.load[0])));
    if let Some(memory) = own.memory_bytes {
        let cpu = own.cpu_percent.map(|cpu| format!("{} ", percent(cpu))).unwrap_or_default();
        parts.push(("everup", format!("{cpu}{}", bytes(memory))));
    }
    parts.push(("version", overview.version.clone()));
    parts
}

/// What is going on, and the keys.
pub(super) fn foot(buffer: &mut Buffer, area: Rect, app: &App) {
    line_at(buffer, area, area.y, &going_on(app));
    let stop = if app.is_over() { "start" } else { "stop" };
    let keys: &[(&str, &str)] = match app.view {
        _ if app.is_filtering => &[("Enter", "keep"), ("Esc", "show all"), ("↑↓", "move")],
        View::Table => &[
            ("↑↓", "move"),
            ("Enter", "open"),
            ("l", "log"),
            ("r", "restart"),
            ("R", "reload"),
            ("x", stop),
            ("s", "sort"),
            ("/", "filter"),
            ("?", "help"),
            ("q", "quit"),
        ],
        View::Detail => &[
            ("Esc", "back"),
            ("↑↓", "other service"),
            ("l", "log"),
            ("r", "restart"),
            ("R", "reload"),
            ("x", stop),
            ("?", "help"),
            ("q", "quit"),
        ],
        View::Log => {
            &[("Esc", "back"), ("↑↓", "scroll"), ("End", "follow"), ("r", "restart"), ("?", "help"), ("q", "quit")]
        }
    };
    let mut spans = vec![];
    let mut used = 0;
    for (key, word) in keys {
        let width = key.chars().count() + 1 + word.len() + 1;
        if used + width > usize::from(area.width) + 1 {
            break;
        }
        used += width;
        spans.push(Span::styled(*key, app.look.style(Tone::Strong)));
        spans.push(Span::styled(format!(" {word} "), app.look.style(Tone::Dim)));
    }
    line_at(buffer, area, area.bottom().saturating_sub(1).max(area.y + 1), &Line::from(spans));
}

/// A question, what an action came to, the filter, or why the selected one is as it is.
fn going_on(app: &App) -> Line<'static> {
    let look = app.look;
    if let Some(asked) = &app.asked {
        let text = format!("{}?  y does it, any other key does not", asked.words);
        return Line::styled(text, look.style(Tone::Strong));
    }
    if app.is_filtering {
        return Line::styled(format!("/{}_", tame(&app.filter)), look.style(Tone::Strong));
    }
    if let Some((tone, text)) = &app.said {
        return Line::styled(text.clone(), look.style(*tone));
    }
    let rows = app.rows();
    let Some(overview) = &app.overview else { return Line::default() };
    let selected = app.selection(&rows).map(|(_, row)| (row.name(), row.remark(overview.at)));
    match selected.filter(|(_, remark)| !remark.is_empty() && app.view == View::Table) {
        Some((name, remark)) => Line::raw(tame(&format!("{name}: {remark}"))),
        None => match overview.warnings.first() {
            Some(warning) => Line::styled(format!("warning: {}", tame(&warning.message)), look.style(Tone::Dim)),
            None => Line::default(),
        },
    }
}
