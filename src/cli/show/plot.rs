//! What a service used, as a chart.

use crate::chart::{Chart, Mark, MarkKind, Panel, Point, Series, Unit, Words};
use crate::cli::output::tame;
use crate::cli::show::state::end_words;
use crate::model::event::{EventRecord, EventWord};
use crate::model::history::{HistoryReport, HistoryRow, Metric};
use crate::model::names::Run;
use crate::model::status::LastEnd;
use crate::model::units::Timestamp;

/// In pixels.
const WIDTH: u32 = 900;
/// Title, legend and times.
const AROUND: u32 = 100;
/// One panel.
const PANEL: u32 = 165;

/// What can be drawn, in the order of the panels.
pub(crate) const DRAWN: [Metric; 3] = [Metric::Cpu, Metric::Memory, Metric::Probe];

/// A panel for each of the metrics, over the time that was asked for, with what happened to `name` meanwhile.
pub(crate) fn chart(name: &str, report: &HistoryReport, metrics: &[Metric], events: &[EventRecord]) -> Chart {
    let panels: Vec<Panel> = metrics.iter().filter_map(|metric| panel(*metric, report, events)).collect();
    let step_ms = i64::try_from(report.step_s).unwrap_or(i64::MAX).saturating_mul(1_000);
    Chart {
        title: name.to_owned(),
        description: format!(
            "What {name} used from {} to {}: {}",
            report.since,
            report.until,
            panels.iter().map(|panel| panel.title.as_str()).collect::<Vec<_>>().join(", ")
        ),
        width: WIDTH,
        height: AROUND + PANEL * u32::try_from(panels.len()).unwrap_or(1),
        from: report.since,
        until: report.until,
        gap_ms: step_ms.saturating_mul(5) / 2,
        panels,
        marks: events.iter().filter_map(mark).collect(),
        words: Words::ENGLISH,
    }
}

fn panel(metric: Metric, report: &HistoryReport, events: &[EventRecord]) -> Option<Panel> {
    let (title, unit) = match metric {
        Metric::Cpu => ("CPU, of one core", Unit::Percent),
        Metric::Memory => ("Memory", Unit::Bytes),
        Metric::Probe => ("Probe latency", Unit::Millis),
        _ => return None,
    };
    // A row of 10 s holds the last reading of its time, a longer one what its readings come to.
    let step_ms = i64::try_from(report.step_s).unwrap_or(0).saturating_mul(1_000);
    let after_ms = if report.step_s <= 10 { step_ms } else { step_ms / 2 };
    let mut series: Vec<(Series, Run)> = vec![];
    for row in &report.rows {
        let Some((value, band)) = figure(metric, row) else { continue };
        // The last row of a run reaches beyond its end.
        let ended = events.iter().find(|event| {
            event.event == EventWord::Ended
                && event.run == Some(row.run)
                && event.instance.as_deref() == Some(row.instance.as_str())
        });
        let latest = ended.map_or(report.until, |end| end.at.min(report.until));
        let point = Point { at: Timestamp(row.at.0.saturating_add(after_ms)).min(latest), value, band };
        match series.iter_mut().find(|(series, _)| series.name == row.instance) {
            Some((series, run)) => {
                if *run != row.run {
                    // Between two runs is nothing.
                    series.points.push(Point { value: f64::NAN, band: None, ..point });
                }
                *run = row.run;
                series.points.push(point);
            }
            None => series.push((Series { name: row.instance.clone(), points: vec![point] }, row.run)),
        }
    }
    let mut series: Vec<Series> = series.into_iter().map(|(series, _)| series).collect();
    series.sort_by(|one, other| one.name.len().cmp(&other.name.len()).then_with(|| one.name.cmp(&other.name)));
    Some(Panel { title: title.to_owned(), unit, series })
}

/// The value of a row, and between what it lay.
fn figure(metric: Metric, row: &HistoryRow) -> Option<(f64, Option<(f64, f64)>)> {
    let bytes = |bytes: u64| bytes as f64;
    match metric {
        Metric::Cpu => Some((row.cpu_percent?, row.cpu_percent_min.zip(row.cpu_percent_max))),
        Metric::Memory => {
            Some((bytes(row.memory_bytes?), row.memory_bytes_min.map(bytes).zip(row.memory_bytes_max.map(bytes))))
        }
        Metric::Probe => {
            let mean = row.probe_ms?;
            Some((mean, row.probe_ms_max.map(|most| (mean, most))))
        }
        _ => None,
    }
}

/// Starts, ends and reloads; none for other events.
fn mark(event: &EventRecord) -> Option<Mark> {
    let (kind, label) = match event.event {
        EventWord::Started => (MarkKind::Start, String::new()),
        EventWord::Ended => (MarkKind::End, how(event).unwrap_or_default()),
        EventWord::ReloadDone => (MarkKind::Reload, String::new()),
        _ => return None,
    };
    Some(Mark { at: event.at, kind, label })
}

/// How a run ended, in two or three words.
fn how(event: &EventRecord) -> Option<String> {
    let end = LastEnd {
        run: event.run?,
        cause: event.cause?,
        certainty: event.certainty?,
        code: event.code,
        signal: event.signal,
        at: event.at,
        ran_ms: event.ran_ms.unwrap_or_default(),
    };
    Some(tame(&end_words(&end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::event::tests::event;
    use crate::model::names::ServiceName;
    use crate::model::service::{Cause, Certainty};

    fn row(at: i64, instance: &str, cpu: Option<f64>) -> HistoryRow {
        HistoryRow {
            at: Timestamp(at),
            instance: instance.to_owned(),
            run: Run(1),
            cpu_percent: cpu,
            cpu_percent_min: Some(1.0),
            cpu_percent_max: Some(9.0),
            memory_bytes: Some(1 << 20),
            ..HistoryRow::default()
        }
    }

    #[test]
    fn each_instance_has_a_line_and_each_metric_a_panel() {
        let report = HistoryReport {
            v: 1,
            service: ServiceName::new("web").unwrap(),
            since: Timestamp(0),
            until: Timestamp(60_000),
            step_s: 10,
            rows: vec![row(0, "web/10", None), row(0, "web/2", Some(5.0)), row(10_000, "web/2", Some(6.0))],
        };
        let ended = EventRecord {
            cause: Some(Cause::Exit),
            certainty: Some(Certainty::Certain),
            code: Some(3),
            ..event(EventWord::Ended)
        };
        let events = [event(EventWord::Started), ended, event(EventWord::Ready), event(EventWord::ReloadDone)];
        let chart = chart("web", &report, &DRAWN, &events);
        let lines: Vec<(&str, Vec<(&str, usize)>)> = chart
            .panels
            .iter()
            .map(|panel| {
                let lines = panel.series.iter().map(|series| (series.name.as_str(), series.points.len()));
                (panel.title.as_str(), lines.collect())
            })
            .collect();
        assert_eq!(
            lines,
            [
                ("CPU, of one core", vec![("web/2", 2)]),
                ("Memory", vec![("web/2", 2), ("web/10", 1)]),
                ("Probe latency", vec![]),
            ]
        );
        let point = chart.panels[0].series[0].points[1];
        assert_eq!(point, Point { at: Timestamp(20_000), value: 6.0, band: Some((1.0, 9.0)) });
        let marks: Vec<(MarkKind, &str)> = chart.marks.iter().map(|mark| (mark.kind, mark.label.as_str())).collect();
        assert_eq!(marks, [(MarkKind::Start, ""), (MarkKind::End, "exit 3"), (MarkKind::Reload, "")]);
    }
}
