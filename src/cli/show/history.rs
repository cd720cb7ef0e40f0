//! `everup history`: usage over time, for people and as comma-separated values.

use std::fmt::Write as _;

use crate::cli::output::Surface;
use crate::cli::table::{Cell, Column, Table};
use crate::cli::time::{bytes, percent};
use crate::model::history::{HistoryReport, HistoryRow, Metric};
use crate::model::units::Timestamp;

/// The columns of CSV behind the first four, unless others are asked for.
const CSV: [Metric; 7] =
    [Metric::Cpu, Metric::Memory, Metric::Processes, Metric::Threads, Metric::OpenFds, Metric::Read, Metric::Written];

/// What is shown to people unless something else is asked for.
const SHOWN: [Metric; 8] = [
    Metric::Cpu,
    Metric::Memory,
    Metric::Processes,
    Metric::Threads,
    Metric::OpenFds,
    Metric::Read,
    Metric::Written,
    Metric::Probe,
];

/// A longer time than this is told with its days.
const DAY_MS: i64 = 20 * 3_600_000;

/// All rows with a heading. A figure that is not known is empty.
pub(crate) fn csv(report: &HistoryReport, metrics: &[Metric]) -> String {
    let metrics = if metrics.is_empty() { &CSV } else { metrics };
    let mut out = "time,service,instance,run".to_owned();
    for metric in metrics {
        out.extend([",", metric.column()]);
    }
    out.push('\n');
    for row in &report.rows {
        // Names hold neither commas nor quotes. Writing into a text cannot fail.
        let _ = write!(out, "{},{},{},{}", row.at, report.service, row.instance, row.run);
        for metric in metrics {
            out.push(',');
            out.push_str(&plain(row, *metric).unwrap_or_default());
        }
        out.push('\n');
    }
    out
}

fn plain(row: &HistoryRow, metric: Metric) -> Option<String> {
    match metric {
        Metric::Cpu => row.cpu_percent.map(|value| value.to_string()),
        Metric::Memory => row.memory_bytes.map(|value| value.to_string()),
        Metric::Processes => row.processes.map(|value| value.to_string()),
        Metric::Threads => row.threads.map(|value| value.to_string()),
        Metric::OpenFds => row.open_fds.map(|value| value.to_string()),
        Metric::Read => row.read_bytes.map(|value| value.to_string()),
        Metric::Written => row.written_bytes.map(|value| value.to_string()),
        Metric::Probe => row.probe_ms.map(|value| value.to_string()),
        Metric::Swap => row.swap_bytes.map(|value| value.to_string()),
        Metric::IoWait => row.io_wait_ms.map(|value| value.to_string()),
        Metric::Switches => row.switches.map(|value| value.to_string()),
        Metric::Faults => row.faults.map(|value| value.to_string()),
    }
}

/// One row a step and run; columns that say nothing, or do not fit, are left out.
pub(crate) fn table(report: &HistoryReport, metrics: &[Metric], surface: &Surface) -> String {
    let metrics = if metrics.is_empty() { &SHOWN } else { metrics };
    let several = report.rows.windows(2).any(|pair| pair[0].instance != pair[1].instance);
    let time = Column { title: "TIME", shrinks_to: None, rank: 100, right: false };
    let mut columns = vec![time, Column::text("INSTANCE", 99, 8), Column::number("RUN", 50)];
    for metric in metrics {
        let (title, rank) = heading(*metric);
        columns.push(Column::number(title, rank));
        // The peaks, where a row is a mean.
        match metric {
            Metric::Cpu => columns.push(Column::number("CPU MAX", 35)),
            Metric::Memory => columns.push(Column::number("MEM MAX", 36)),
            Metric::Probe => columns.push(Column::number("PROBE MAX", 25)),
            _ => {}
        }
    }
    let mut table = Table::new(columns);
    for row in &report.rows {
        let instance = if several { Cell::plain(&row.instance) } else { Cell::plain("") };
        let mut cells = vec![Cell::plain(clock(row.at, report)), instance, Cell::plain(row.run.to_string())];
        let peak = |text: Option<String>| Cell::plain(text.unwrap_or_default());
        for metric in metrics {
            cells.push(short(row, *metric).map_or_else(Cell::none, Cell::plain));
            match metric {
                Metric::Cpu => cells.push(peak(row.cpu_percent_max.map(percent))),
                Metric::Memory => cells.push(peak(row.memory_bytes_max.map(bytes))),
                Metric::Probe => cells.push(peak(row.probe_ms_max.map(ms))),
                _ => {}
            }
        }
        table.row(cells);
    }
    table.render(surface)
}

fn heading(metric: Metric) -> (&'static str, u8) {
    match metric {
        Metric::Cpu => ("CPU", 95),
        Metric::Memory => ("MEM", 96),
        Metric::Processes => ("PROC", 42),
        Metric::Threads => ("THR", 40),
        Metric::OpenFds => ("FDS", 45),
        Metric::Read => ("READ", 30),
        Metric::Written => ("WRITTEN", 31),
        Metric::Probe => ("PROBE", 60),
        Metric::Swap => ("SWAP", 62),
        Metric::IoWait => ("IO WAIT", 61),
        Metric::Switches => ("SWITCHES", 58),
        Metric::Faults => ("FAULTS", 57),
    }
}

fn short(row: &HistoryRow, metric: Metric) -> Option<String> {
    match metric {
        Metric::Cpu => row.cpu_percent.map(percent),
        Metric::Memory => row.memory_bytes.map(bytes),
        Metric::Read => row.read_bytes.map(bytes),
        Metric::Written => row.written_bytes.map(bytes),
        Metric::Swap => row.swap_bytes.map(bytes),
        Metric::Probe => row.probe_ms.map(ms),
        Metric::IoWait => row.io_wait_ms.map(ms),
        Metric::Processes | Metric::Threads | Metric::OpenFds | Metric::Switches | Metric::Faults => plain(row, metric),
    }
}

/// Milliseconds with what matters of them: `0.4ms`, `12ms`, `1.2s`.
fn ms(value: f64) -> String {
    match value {
        0.0..9.95 => format!("{value:.1}ms"),
        ..999.5 => format!("{value:.0}ms"),
        _ => format!("{:.1}s", value / 1_000.0),
    }
}

/// The time of day in UTC, as fine as the steps are, with the day where there are several.
fn clock(at: Timestamp, report: &HistoryReport) -> String {
    let whole = at.to_string();
    let part = |range| whole.get(range).unwrap_or_default();
    let first = report.rows.first().map_or(at, |row| row.at);
    let day = if report.until.0 - first.0 > DAY_MS { format!("{} ", part(5..10)) } else { String::new() };
    let time = if report.step_s.is_multiple_of(60) { part(11..16) } else { part(11..19) };
    format!("{day}{time}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Paint;
    use crate::model::names::{Run, ServiceName};

    const START: Timestamp = Timestamp(1_763_632_800_000);

    fn row(second: i64, instance: &str) -> HistoryRow {
        HistoryRow {
            at: Timestamp(START.0 + second * 1_000),
            instance: instance.to_owned(),
            run: Run(3),
            cpu_percent: Some(12.34),
            memory_bytes: Some(222_298_112),
            processes: Some(2),
            threads: Some(9),
            open_fds: Some(61),
            read_bytes: Some(4_096),
            written_bytes: None,
            probe_ms: Some(4.1),
            swap_bytes: Some(0),
            ..HistoryRow::default()
        }
    }

    fn report(step_s: u64, rows: Vec<HistoryRow>) -> HistoryReport {
        let until = rows.last().map_or(START, |row| row.at);
        HistoryReport { v: 1, service: ServiceName::new("web").unwrap(), since: START, until, step_s, rows }
    }

    fn surface(width: Option<usize>) -> Surface {
        Surface { terminal: width.is_some(), paint: Paint(false), width }
    }

    #[test]
    fn csv_has_the_columns_of_the_contract_or_those_asked_for() {
        let first = HistoryRow { cpu_percent: None, ..row(0, "web") };
        let report = report(10, vec![first, row(10, "web")]);
        assert_eq!(
            csv(&report, &[]),
            "time,service,instance,run,cpu_percent,memory_bytes,processes,threads,open_fds,read_bytes,written_bytes\n\
             2025-11-20T10:00:00.000Z,web,web,3,,222298112,2,9,61,4096,\n\
             2025-11-20T10:00:10.000Z,web,web,3,12.34,222298112,2,9,61,4096,\n"
        );
        let some = csv(&report, &[Metric::Swap, Metric::Cpu]);
        assert_eq!(some.lines().next(), Some("time,service,instance,run,swap_bytes,cpu_percent"));
        assert_eq!(some.lines().last(), Some("2025-11-20T10:00:10.000Z,web,web,3,0,12.34"));
    }

    #[test]
    fn a_table_says_what_differs_and_fits() {
        let few = report(10, vec![row(0, "web"), row(10, "web")]);
        assert_eq!(
            table(&few, &[], &surface(None)),
            "TIME       RUN  CPU      MEM  PROC  THR  FDS     READ  WRITTEN  PROBE\n\
             10:00:00Z    3  12%  212 MiB     2    9   61  4.0 KiB        -  4.1ms\n\
             10:00:10Z    3  12%  212 MiB     2    9   61  4.0 KiB        -  4.1ms\n"
        );
        let peaks = HistoryRow {
            cpu_percent_max: Some(97.0),
            memory_bytes_max: Some(1 << 31),
            probe_ms_max: Some(1_234.0),
            ..row(86_400, "web/2")
        };
        let long = report(3_600, vec![row(0, "web/1"), peaks]);
        let whole = table(&long, &[], &surface(None));
        for part in ["11-20 10:00Z  web/1", "11-21 10:00Z  web/2", "CPU MAX", "97%", "2.0 GiB", "1.2s"] {
            assert!(whole.contains(part), "{part} is missing in\n{whole}");
        }
        for width in [80, 60, 40, 20] {
            let narrow = table(&long, &[], &surface(Some(width)));
            assert!(narrow.lines().all(|line| line.chars().count() <= width), "{narrow}");
            assert_eq!(narrow.lines().count(), 3);
        }
        assert!(table(&long, &[], &surface(Some(60))).contains("MEM"));
    }
}
