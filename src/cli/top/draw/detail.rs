//! One instance in full: what it is, what it used, how its probes went, what happened, what it writes.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget as _};

use crate::chart::Unit;
use crate::chart::axis;
use crate::cli::output::{Tone, tame};
use crate::cli::show::state::end_words;
use crate::cli::time::{ago, bytes, coarse, length, percent};
use crate::cli::top::app::App;
use crate::cli::top::draw::table::milliseconds;
use crate::cli::top::draw::{below, heading, line_at, timeline, write};
use crate::cli::top::look::Look;
use crate::cli::top::rows::Row;
use crate::model::event::EventRecord;
use crate::model::overview::{InstanceOverview, ProbeTick};
use crate::model::units::Timestamp;

/// How far back charts look, in milliseconds: as far as points are kept.
const BACK_MS: f64 = 300_000.0;
/// Columns between the two charts.
const GAP: u16 = 2;
/// Points further apart are not joined, in milliseconds.
const GAP_MS: f64 = 12_000.0;

/// Everything about the selected row.
pub(super) fn detail(buffer: &mut Buffer, area: Rect, app: &App) {
    let rows = app.rows();
    let (Some((_, row)), Some(overview)) = (app.selection(&rows), &app.overview) else { return };
    let facts = facts(row, overview.at, app.look);
    for (line, fact) in (area.y..area.bottom()).zip(&facts) {
        line_at(buffer, area, line, fact);
    }
    let rest = below(area, u16::try_from(facts.len()).unwrap_or(u16::MAX));
    let happened: Vec<&EventRecord> = app.events.iter().rev().filter(|event| is_about(event, row)).collect();
    let [charts, events, log] = split(rest, happened.len());
    let recent = row.instance.map(|instance| instance.recent.as_slice()).unwrap_or_default();
    let half = charts.width.saturating_sub(GAP) / 2;
    let left = Rect { width: half, ..charts };
    let right = Rect { x: charts.right() - half, ..left };
    let cpu = recent.iter().filter_map(|point| Some((point.at, point.cpu_percent?))).collect();
    let memory = recent.iter().map(|point| (point.at, point.memory_bytes as f64)).collect();
    course(buffer, left, app.look, &Course { title: "cpu", unit: Unit::Percent, points: cpu, now: overview.at });
    course(buffer, right, app.look, &Course { title: "memory", unit: Unit::Bytes, points: memory, now: overview.at });
    timeline(buffer, events, app.look, &happened, overview.at);
    heading(buffer, log, app.look, "log", "l shows more");
    let tail = below(log, 1);
    for (line, text) in (tail.y..).zip(app.log.tail(usize::from(tail.height))) {
        write(buffer, tail, tail.x, line, text, Style::new());
    }
}

/// Charts, so many events, and the log in what is left.
fn split(area: Rect, events: usize) -> [Rect; 3] {
    let charts = (area.height * 2 / 5).min(18);
    // With their heading.
    let wanted = u16::try_from(events + 1).unwrap_or(u16::MAX);
    let events = wanted.min((area.height - charts) * 2 / 5);
    let charts = Rect { height: charts, ..area };
    let events = Rect { y: charts.bottom(), height: events, ..area };
    [charts, events, Rect { y: events.bottom(), height: area.bottom() - events.bottom(), ..area }]
}

fn facts(row: Row<'_>, now: Timestamp, look: Look) -> Vec<Line<'static>> {
    let (tone, state) = row.state();
    let dim = look.style(Tone::Dim);
    let mut first = vec![
        Span::styled(format!("{} {}", look.mark(tone), tame(row.name())), look.style(Tone::Strong)),
        Span::raw("  "),
        Span::styled(state, look.style(tone)),
    ];
    let Some(instance) = row.instance else {
        return vec![Line::from(first), Line::raw(tame(&row.remark(now)))];
    };
    let said = |label: &'static str, value: String| [Span::styled(format!("  {label} "), dim), Span::raw(value)];
    first.extend(instance.uptime_ms.into_iter().flat_map(|ms| said("up", coarse(Duration::from_millis(ms)))));
    first.extend(said("restarts", instance.restarts.to_string()));
    first.extend(instance.run.into_iter().flat_map(|run| said("run", run.to_string())));
    first.extend(instance.pid.into_iter().flat_map(|pid| said("pid", pid.to_string())));
    let mut lines = vec![Line::from(first), uses(instance, dim)];
    lines.extend(probes(instance, look));
    let remark = instance.reason.clone().or_else(|| row.service.reason.clone());
    lines.extend(remark.map(|remark| Line::raw(tame(&remark))));
    lines.extend(instance.last_end.as_ref().map(|end| {
        let text =
            format!("{}, {}, after {}", end_words(end), ago(end.at, now), length(Duration::from_millis(end.ran_ms)));
        Line::from(vec![Span::styled("last end  ", dim), Span::raw(text)])
    }));
    lines
}

/// What it uses, in figures.
fn uses(instance: &InstanceOverview, dim: Style) -> Line<'static> {
    let Some(usage) = &instance.usage else { return Line::styled("nothing runs", dim) };
    let share = usage.memory_percent.map(|share| format!(" ({})", percent(share))).unwrap_or_default();
    let most = usage.max_fds.map(|most| format!(" of {most}")).unwrap_or_default();
    let parts = [
        ("cpu", usage.cpu_percent.map_or_else(|| "-".to_owned(), percent)),
        ("memory", format!("{}{share}", bytes(usage.memory_bytes))),
        ("processes", usage.processes.to_string()),
        ("threads", usage.threads.to_string()),
        ("files", format!("{}{most}", usage.open_fds)),
    ];
    let more = [
        usage.memory_limit_bytes.map(|limit| ("limit", bytes(limit))),
        usage.read_bytes.map(|read| ("read", bytes(read))),
        usage.written_bytes.map(|written| ("written", bytes(written))),
    ];
    let all = parts.into_iter().chain(more.into_iter().flatten());
    let spans =
        all.flat_map(|(label, value)| [Span::styled(format!("{label} "), dim), Span::raw(format!("{value}  "))]);
    Line::from(spans.collect::<Vec<_>>())
}

/// How its probes went; nothing without one.
fn probes(instance: &InstanceOverview, look: Look) -> Option<Line<'static>> {
    let latency = instance.latency?;
    let dim = look.style(Tone::Dim);
    let mut spans = vec![Span::styled("probe  ", dim), Span::raw(milliseconds(latency.last_ms))];
    for (label, value) in [("  p50 ", latency.p50_ms), ("  p99 ", latency.p99_ms)] {
        spans.extend([Span::styled(label, dim), Span::raw(milliseconds(value))]);
    }
    spans.push(Span::raw("  "));
    let [passed, failed] = look.ticks;
    for probes in instance.probes.chunk_by(|one, next| one.ok == next.ok) {
        let (sign, tone) = if probes[0].ok { (passed, Tone::Good) } else { (failed, Tone::Bad) };
        spans.push(Span::styled(sign.repeat(probes.len()), look.style(tone)));
    }
    let message =
        instance.probes.last().filter(|probe| !probe.ok).and_then(|ProbeTick { message, .. }| message.clone());
    spans.extend(message.map(|message| Span::raw(format!("  {}", tame(&message)))));
    Some(Line::from(spans))
}

fn is_about(event: &EventRecord, row: Row<'_>) -> bool {
    match (&event.instance, &event.service) {
        (Some(instance), _) => instance == row.name(),
        (None, service) => service.as_ref() == Some(&row.service.name),
    }
}

/// One quantity over the last minutes.
struct Course {
    title: &'static str,
    unit: Unit,
    points: Vec<(Timestamp, f64)>,
    now: Timestamp,
}

fn course(buffer: &mut Buffer, area: Rect, look: Look, course: &Course) {
    let highest = course.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let axis = axis::values(highest, course.unit, u32::from(area.height / 3));
    heading(buffer, area, look, course.title, &format!("{}, last 5 min", axis.unit));
    let area = below(area, 1);
    if area.height < 3 || area.width < 20 {
        return;
    }
    let points: Vec<(f64, f64)> =
        course.points.iter().map(|(at, value)| ((at.0 - course.now.0) as f64, *value)).collect();
    let is_memory = course.unit == Unit::Bytes;
    let pieces = points.chunk_by(|one, next| next.0 - one.0 <= GAP_MS).map(|piece| {
        Dataset::default().marker(look.marker).graph_type(GraphType::Line).style(look.series(is_memory)).data(piece)
    });
    let dim = look.style(Tone::Dim);
    // Both charts begin at the same column; lines of figures stand apart.
    let most = usize::from(area.height / 2).max(2);
    let between = axis.ticks.len().saturating_sub(1);
    let every =
        (1..=between).find(|every| between.is_multiple_of(*every) && between / every < most).unwrap_or(between.max(1));
    let labels = axis.ticks.iter().step_by(every).map(|tick| format!("{:>5}", tick.label));
    let labels: Vec<String> = labels.collect();
    Chart::new(pieces.collect())
        .x_axis(Axis::default().bounds([-BACK_MS, 0.0]).style(dim).labels(["-5 min", "now"]))
        .y_axis(Axis::default().bounds([0.0, axis.top]).style(dim).labels(labels))
        .render(area, buffer);
}
