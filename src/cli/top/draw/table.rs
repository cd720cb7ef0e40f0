//! All services, a row an instance.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::output::{Tone, tame};
use crate::cli::table::shorten;
use crate::cli::time::{bytes, coarse, percent};
use crate::cli::top::app::App;
use crate::cli::top::draw::{below, heading, timeline, write};
use crate::cli::top::look::{Look, SELECTED};
use crate::cli::top::rows::{Row, Sort};
use crate::model::event::EventRecord;
use crate::model::units::Timestamp;

/// How wide each column is; 0: it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Widths {
    name: usize,
    state: usize,
    uptime: usize,
    restarts: usize,
    cpu: usize,
    cpu_bars: usize,
    memory: usize,
    memory_bars: usize,
    latency: usize,
    ticks: usize,
    remark: usize,
}

/// The mark and the space behind it.
const MARK: usize = 2;

/// Events are shown where so many rows are left for them and their heading.
const EVENTS: u16 = 4;

impl Widths {
    /// What fits into `width` columns: first the figures, then their course, then the rest.
    fn new(rows: &[Row<'_>], width: usize) -> Self {
        let widest = |of: &dyn Fn(&Row<'_>) -> usize, least: usize, most: usize| {
            rows.iter().map(of).max().unwrap_or(0).clamp(least, most)
        };
        let roomy = width >= 120;
        let mut widths = Self::default();
        let mut left = width.saturating_sub(MARK);
        let mut take = |column: &mut usize, wanted: usize| {
            if left > wanted {
                *column = wanted;
                left -= wanted + 1;
            }
        };
        take(&mut widths.name, widest(&|row| row.name().width(), 6, if roomy { 32 } else { 14 }));
        take(&mut widths.state, widest(&|row| row.state().1.width(), 7, if roomy { 28 } else { 13 }));
        take(&mut widths.cpu, 5);
        take(&mut widths.memory, 8);
        take(&mut widths.uptime, 6);
        take(&mut widths.restarts, widest(&|row| row.restarts().to_string().len(), 3, 8));
        take(&mut widths.latency, 6);
        take(&mut widths.cpu_bars, 7);
        take(&mut widths.memory_bars, 7);
        take(&mut widths.ticks, 10);
        take(&mut widths.remark, 20);
        if widths.remark > 0 {
            // Half of what is left makes courses longer, the other half is for words.
            let more = left / 6;
            widths.cpu_bars = (widths.cpu_bars + more).min(60);
            widths.memory_bars = (widths.memory_bars + more).min(60);
            widths.ticks = (widths.ticks + more).min(50);
            widths.remark += left - 3 * more;
        } else if widths.ticks == 0 && widths.memory_bars > 0 {
            widths.cpu_bars += left / 2;
            widths.memory_bars += left / 2;
        }
        widths
    }

    /// The columns from the figures on, in the order they stand.
    fn columns(self) -> [(usize, &'static str, bool); 9] {
        [
            (self.uptime, "UP", true),
            (self.restarts, "RST", true),
            (self.cpu, "CPU", true),
            (self.cpu_bars, "5 MIN", false),
            (self.memory, "MEMORY", true),
            (self.memory_bars, "5 MIN", false),
            (self.latency, "PROBE", true),
            (self.ticks, "PROBES", false),
            (self.remark, "WHY", false),
        ]
    }
}

/// The table, scrolled so that the selected row is seen.
pub(super) fn table(buffer: &mut Buffer, area: Rect, app: &App) {
    let Some(overview) = &app.overview else { return };
    let rows = app.rows();
    let widths = Widths::new(&rows, usize::from(area.width));
    headings(buffer, area, widths, app);
    let area = below(area, 1);
    let Some((selected, _)) = app.selection(&rows) else {
        let text = if app.filter.is_empty() { "no services" } else { "nothing of that name or state; Esc shows all" };
        return heading(buffer, area, app.look, "", text);
    };
    let [area, rest] = split(area, rows.len());
    let latest: Vec<&EventRecord> = app.events.iter().rev().take(usize::from(rest.height)).collect();
    if !latest.is_empty() {
        timeline(buffer, rest, app.look, &latest, overview.at);
    }
    let height = usize::from(area.height);
    let first = (selected + 1).saturating_sub(height.max(1));
    for (line, (place, row)) in (area.y..area.bottom()).zip(rows.iter().enumerate().skip(first)) {
        let pen = Pen { area, look: app.look, widths, now: overview.at, line };
        pen.row(buffer, *row);
        if place == selected {
            buffer.set_style(Rect { y: line, height: 1, ..area }, SELECTED);
        }
    }
}

/// So many rows, and where much room is left below them, what happens in the project.
fn split(area: Rect, rows: usize) -> [Rect; 2] {
    let wanted = u16::try_from(rows + 1).unwrap_or(u16::MAX).min(area.height);
    let rest = below(area, wanted);
    if rest.height < EVENTS { [area, Rect { height: 0, ..rest }] } else { [Rect { height: wanted, ..area }, rest] }
}

fn headings(buffer: &mut Buffer, area: Rect, widths: Widths, app: &App) {
    let style = app.look.style(Tone::Dim);
    let mut column = MARK;
    let sorted = match app.sort {
        Sort::Cpu => "CPU",
        Sort::Memory => "MEMORY",
        Sort::Restarts => "RST",
        Sort::Name => "NAME",
        Sort::Trouble => "STATE",
        Sort::File => "",
    };
    let named = [(widths.name, "NAME", false), (widths.state, "STATE", false)];
    for (width, title, is_right) in named.into_iter().chain(widths.columns()) {
        if width == 0 {
            continue;
        }
        let text = if is_right { format!("{title:>width$}") } else { title.to_owned() };
        let style = if title == sorted { app.look.style(Tone::Strong) } else { style };
        write(buffer, area, at(area, column), area.y, &shorten(&text, width), style);
        column += width + 1;
    }
}

/// A state in so many columns: the last of its words says most.
fn state_in(state: &str, width: usize) -> String {
    match state.rsplit_once(", ") {
        Some((_, last)) if state.width() > width => shorten(last, width),
        _ => shorten(state, width),
    }
}

fn at(area: Rect, column: usize) -> u16 {
    area.x.saturating_add(u16::try_from(column).unwrap_or(u16::MAX))
}

/// Writes one row.
struct Pen {
    area: Rect,
    look: Look,
    widths: Widths,
    now: Timestamp,
    line: u16,
}

impl Pen {
    fn put(&self, buffer: &mut Buffer, column: usize, text: &str, style: Style) {
        write(buffer, self.area, at(self.area, column), self.line, text, style);
    }

    fn row(&self, buffer: &mut Buffer, row: Row<'_>) {
        let (widths, look) = (self.widths, self.look);
        let (tone, state) = row.state();
        self.put(buffer, 0, look.mark(tone), look.style(tone));
        self.put(buffer, MARK, &shorten(&tame(row.name()), widths.name), Style::new());
        let mut column = MARK + widths.name + 1;
        if widths.state > 0 {
            self.put(buffer, column, &state_in(&state, widths.state), look.style(tone));
            column += widths.state + 1;
        }
        let remark = tame(&row.remark(self.now));
        if row.cpu().is_none() && row.memory().is_none() && widths.remark == 0 && !remark.is_empty() {
            // Nothing runs: there is room for the reason where its figures would stand.
            let (uptime, restarts) = (widths.uptime, widths.restarts);
            if uptime > 0 && restarts > 0 {
                column += uptime + 1;
                self.put(buffer, column, &format!("{:>restarts$}", row.restarts()), Style::new());
                column += restarts + 1;
            }
            let room = usize::from(self.area.width).saturating_sub(column);
            return self.put(buffer, column, &shorten(&remark, room), look.style(Tone::Dim));
        }
        let fields = self.fields(row, remark);
        for ((width, _, is_right), (text, style)) in widths.columns().into_iter().zip(fields) {
            if width == 0 {
                continue;
            }
            let text = shorten(&text, width);
            let padding = if is_right { width.saturating_sub(text.width()) } else { 0 };
            self.put(buffer, column + padding, &text, style);
            column += width + 1;
        }
    }

    fn fields(&self, row: Row<'_>, remark: String) -> [(String, Style); 9] {
        let (look, widths) = (self.look, self.widths);
        let instance = row.instance;
        let uptime = instance.and_then(|instance| instance.uptime_ms);
        let recent = instance.map(|instance| instance.recent.as_slice()).unwrap_or_default();
        let cpu: Vec<Option<f64>> = recent.iter().map(|point| point.cpu_percent).collect();
        let memory: Vec<Option<f64>> = recent.iter().map(|point| Some(point.memory_bytes as f64)).collect();
        // A quarter above the highest, so that an even course is no block.
        let memory_top = memory.iter().flatten().copied().fold(1.0, f64::max) * 1.25;
        let latency = instance.and_then(|instance| instance.latency);
        let plain = Style::new();
        [
            (uptime.map(|ms| coarse(std::time::Duration::from_millis(ms))).unwrap_or_default(), plain),
            (row.restarts().to_string(), if row.restarts() == 0 { look.style(Tone::Dim) } else { plain }),
            (row.cpu().map(percent).unwrap_or_default(), plain),
            (look.bars(&cpu, widths.cpu_bars, 5.0), look.series(false)),
            (row.memory().map(bytes).unwrap_or_default(), plain),
            (look.bars(&memory, widths.memory_bars, memory_top), look.series(true)),
            (latency.map(|latency| milliseconds(latency.last_ms)).unwrap_or_default(), plain),
            self.ticks(row),
            (remark, look.style(if row.standing().in_trouble() { Tone::Plain } else { Tone::Dim })),
        ]
    }

    /// The latest probes; in red where the last one failed.
    fn ticks(&self, row: Row<'_>) -> (String, Style) {
        let probes = row.instance.map(|instance| instance.probes.as_slice()).unwrap_or_default();
        let shown = &probes[probes.len().saturating_sub(self.widths.ticks)..];
        let [passed, failed] = self.look.ticks;
        let signs: String = shown.iter().map(|probe| if probe.ok { passed } else { failed }).collect();
        let failed = shown.last().is_some_and(|probe| !probe.ok);
        let text = format!("{signs:>width$}", width = self.widths.ticks);
        (text, self.look.style(if failed { Tone::Bad } else { Tone::Good }))
    }
}

/// As narrow as can be read: `0.8ms`, `12ms`, `3.4s`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        _ if ms < 9.95 => format!("{ms:.1}ms"),
        _ if ms < 999.5 => format!("{ms:.0}ms"),
        _ => format!("{:.1}s", ms / 1_000.0),
    }
}
