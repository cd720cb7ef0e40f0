//! How a run's use of resources went, in a line: only what is telling, and never as the reason.

use std::time::Duration;

use crate::model::units::{bytes, length, percent};
use crate::model::why::Trend;

const MIB: u64 = 1 << 20;

/// What is telling of it, for people, e.g. `memory 92 MiB → 1.9 GiB in 12m`; none where nothing is.
pub fn line(trend: &Trend) -> Option<String> {
    let parts: Vec<String> = [memory(trend), cpu(trend), files(trend)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Half as much again and 16 MiB, up or down; a peak far above the end; nine tenths of a limit.
fn memory(trend: &Trend) -> Option<String> {
    let (start, end, peak) = (trend.memory_start_bytes, trend.memory_end_bytes, trend.memory_peak_bytes);
    let apart = |one: u64, other: u64| one >= other.saturating_mul(3) / 2 && one - other >= 16 * MIB;
    let limit = trend.memory_limit_bytes.filter(|limit| peak >= limit / 10 * 9);
    let moved = trend.over_ms > 0 && (apart(end, start) || apart(start, end));
    if !moved && limit.is_none() && !apart(peak, end) {
        return None;
    }
    let text = if trend.over_ms > 0 {
        format!("memory {} → {} in {}", bytes(start), bytes(end), length(Duration::from_millis(trend.over_ms)))
    } else {
        format!("memory {}", bytes(end))
    };
    let more = match (peak > end.max(start) / 20 * 21, limit) {
        (true, Some(limit)) => format!(" (peak {} of {} allowed)", bytes(peak), bytes(limit)),
        (false, Some(limit)) => format!(" of {} allowed", bytes(limit)),
        (true, None) => format!(" (peak {})", bytes(peak)),
        (false, None) => String::new(),
    };
    Some(text + &more)
}

/// Busy at the end and far less so at the beginning, or busy for minutes.
fn cpu(trend: &Trend) -> Option<String> {
    let (start, end) = (trend.cpu_start_percent?, trend.cpu_end_percent?);
    if end >= 50.0 && end >= start * 1.5 + 10.0 {
        return Some(format!("CPU {} → {}", percent(start), percent(end)));
    }
    let mean = trend.cpu_mean_percent.filter(|mean| *mean >= 90.0 && trend.over_ms >= 60_000)?;
    let over = length(Duration::from_millis(trend.over_ms.min(600_000)));
    Some(format!("CPU {} for the last {over}", percent(mean)))
}

/// Half as many again and 32 more, or nine tenths of what it may open.
fn files(trend: &Trend) -> Option<String> {
    let (start, end) = (trend.open_fds_start, trend.open_fds_end);
    // The limit is that of one process, the count that of all of them.
    let limit = trend.max_fds.filter(|_| trend.processes == 1);
    let close = limit.is_some_and(|limit| u64::from(end) >= limit / 10 * 9);
    if !close && (end < start / 2 * 3 || end - start < 32) {
        return None;
    }
    let most = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let warning = if close { " (nearly all it may open)" } else { "" };
    let from = if start == end { String::new() } else { format!("{start} → ") };
    Some(format!("files {from}{end}{most}{warning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Trend {
        Trend {
            over_ms: 720_000,
            memory_start_bytes: 92 * MIB,
            memory_end_bytes: 95 * MIB,
            memory_peak_bytes: 96 * MIB,
            cpu_start_percent: Some(8.0),
            cpu_end_percent: Some(9.0),
            cpu_mean_percent: Some(8.0),
            cpu_max_percent: Some(30.0),
            open_fds_start: 61,
            open_fds_end: 64,
            max_fds: Some(1_024),
            processes: 1,
            ..Trend::default()
        }
    }

    #[test]
    fn only_what_is_telling_is_told() {
        let leak = Trend { memory_end_bytes: 1_946 * MIB, memory_peak_bytes: 1_950 * MIB, ..calm() };
        let busy = Trend { cpu_end_percent: Some(97.0), ..calm() };
        let files = Trend { open_fds_end: 1_021, ..calm() };
        let all = Trend { cpu_end_percent: Some(97.0), open_fds_end: 1_021, ..leak.clone() };
        for (trend, expected) in [
            (calm(), None),
            (leak.clone(), Some("memory 92 MiB → 1.9 GiB in 12m")),
            (Trend { memory_peak_bytes: 900 * MIB, ..calm() }, Some("memory 92 MiB → 95 MiB in 12m (peak 900 MiB)")),
            (
                Trend { memory_limit_bytes: Some(100 * MIB), ..calm() },
                Some("memory 92 MiB → 95 MiB in 12m of 100 MiB allowed"),
            ),
            (busy, Some("CPU 8.0% → 97%")),
            (
                Trend {
                    cpu_start_percent: Some(99.0),
                    cpu_end_percent: Some(99.0),
                    cpu_mean_percent: Some(99.0),
                    ..calm()
                },
                Some("CPU 99% for the last 10m"),
            ),
            (files, Some("files 61 → 1021 of 1024 (nearly all it may open)")),
            (Trend { open_fds_end: 200, ..calm() }, Some("files 61 → 200 of 1024")),
            (Trend { open_fds_end: 1_021, processes: 9, ..calm() }, Some("files 61 → 1021")),
            (
                all,
                Some(
                    "memory 92 MiB → 1.9 GiB in 12m, CPU 8.0% → 97%, files 61 → 1021 of 1024 (nearly all it may open)",
                ),
            ),
            (Trend::default(), None),
            (
                Trend { open_fds_start: 64, open_fds_end: 64, max_fds: Some(64), processes: 1, ..Trend::default() },
                Some("files 64 of 64 (nearly all it may open)"),
            ),
        ] {
            assert_eq!(line(&trend).as_deref(), expected, "{trend:?}");
        }
    }
}
