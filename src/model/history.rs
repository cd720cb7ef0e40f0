//! What was used over time: `everup history --json`, `GET /v1/services/{name}/history`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{Run, ServiceName};
use crate::model::selector::nearest;
use crate::model::units::Timestamp;

/// What a service used, in equal steps of time. Where nothing ran, or everup did not, rows are missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReport {
    /// Version of this shape: 1.
    pub v: u32,
    /// The service.
    pub service: ServiceName,
    /// From when on was asked for.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How long each row lasts, in seconds: a multiple of 10.
    pub step_s: u64,
    /// Oldest first; of one time by instance and run.
    pub rows: Vec<HistoryRow>,
}

/// What one run used in one step. A figure that was not asked for, or is not known, is left out.
///
/// Rows of 10 s hold readings, so that the least and the most are left out there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryRow {
    /// When the step begins.
    pub at: Timestamp,
    /// The instance's name at that time: `web`, or `web/2` where there were several.
    pub instance: String,
    /// Which life.
    pub run: Run,
    /// CPU over the step, in percent of one core; left out before a second reading of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// The least of its 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent_min: Option<f64>,
    /// The most of its 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent_max: Option<f64>,
    /// Resident memory: the last reading of 10 s, the mean of those in longer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The least of its 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_min: Option<u64>,
    /// The most of its 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// What lay in swap: the last reading of 10 s, the most of those in longer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<u64>,
    /// Living processes, counted like `swap_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Their threads, counted like `swap_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Open descriptors, counted like `swap_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_fds: Option<u32>,
    /// Read from storage in this time; left out where everup may not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Written to storage in this time; left out where everup may not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Time of this step in which some of it waited for storage; left out where the kernel counts it nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_wait_ms: Option<f64>,
    /// Context switches in this time, of its own accord and forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<u64>,
    /// Page faults without I/O in this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<u64>,
    /// Page faults that read from storage in this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// How long probes took, their mean; left out without an answer in this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_ms: Option<f64>,
    /// The longest of its 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_ms_max: Option<f64>,
}

impl HistoryRow {
    /// Leaves out every figure but these.
    pub fn only(&mut self, wanted: &[Metric]) {
        let blank = |metric: Metric| !wanted.contains(&metric);
        for metric in Metric::ALL.into_iter().filter(|metric| blank(*metric)) {
            match metric {
                Metric::Cpu => (self.cpu_percent, self.cpu_percent_min, self.cpu_percent_max) = (None, None, None),
                Metric::Memory => {
                    (self.memory_bytes, self.memory_bytes_min, self.memory_bytes_max) = (None, None, None);
                }
                Metric::Processes => self.processes = None,
                Metric::Threads => self.threads = None,
                Metric::OpenFds => self.open_fds = None,
                Metric::Read => self.read_bytes = None,
                Metric::Written => self.written_bytes = None,
                Metric::Probe => (self.probe_ms, self.probe_ms_max) = (None, None),
                Metric::Swap => self.swap_bytes = None,
                Metric::IoWait => self.io_wait_ms = None,
                Metric::Switches => self.switches = None,
                Metric::Faults => (self.faults, self.major_faults) = (None, None),
            }
        }
    }
}

/// What may be asked for: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the words are those of the rows")]
pub enum Metric {
    Cpu,
    Memory,
    Processes,
    Threads,
    OpenFds,
    Read,
    Written,
    Probe,
    Swap,
    IoWait,
    Switches,
    Faults,
}

impl Metric {
    /// Every one, in the order of columns.
    pub const ALL: [Self; 12] = [
        Self::Cpu,
        Self::Memory,
        Self::Processes,
        Self::Threads,
        Self::OpenFds,
        Self::Read,
        Self::Written,
        Self::Probe,
        Self::Swap,
        Self::IoWait,
        Self::Switches,
        Self::Faults,
    ];

    /// How it is asked for: `cpu`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::OpenFds => "fds",
            Self::Read => "read",
            Self::Written => "written",
            Self::Probe => "probe",
            Self::Swap => "swap",
            Self::IoWait => "io_wait",
            Self::Switches => "switches",
            Self::Faults => "faults",
        }
    }

    /// Its key in a [`HistoryRow`], its column in CSV and in the views of the database: `cpu_percent`.
    pub fn column(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_percent",
            Self::Memory => "memory_bytes",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::OpenFds => "open_fds",
            Self::Read => "read_bytes",
            Self::Written => "written_bytes",
            Self::Probe => "probe_ms",
            Self::Swap => "swap_bytes",
            Self::IoWait => "io_wait_ms",
            Self::Switches => "switches",
            Self::Faults => "faults",
        }
    }

    /// Reads its word or its column.
    ///
    /// # Errors
    /// The nearest word, or all there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(metric) = Self::ALL.into_iter().find(|metric| text == metric.word() || text == metric.column()) {
            return Ok(metric);
        }
        let hint = match nearest(text, Self::ALL.map(Self::word)).first() {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", Self::ALL.map(Self::word).join(", ")),
        };
        Err(format!("there is no metric {text:?}: {hint}"))
    }

    /// Reads several, separated by commas; each counts once.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut metrics = vec![];
        for word in text.split(',') {
            let metric = Self::parse(word)?;
            if !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_by_word_or_column() {
        for metric in Metric::ALL {
            assert_eq!(Metric::parse(metric.word()), Ok(metric));
            assert_eq!(Metric::parse(metric.column()), Ok(metric));
        }
        assert_eq!(Metric::parse_list("cpu, memory_bytes,cpu"), Ok(vec![Metric::Cpu, Metric::Memory]));
        assert_eq!(Metric::parse("memroy").unwrap_err(), "there is no metric \"memroy\": did you mean memory?");
        assert!(Metric::parse("").unwrap_err().contains("there are cpu, memory"));
    }

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let mut row = HistoryRow {
            cpu_percent: Some(1.0),
            cpu_percent_max: Some(2.0),
            memory_bytes: Some(3),
            faults: Some(4),
            major_faults: Some(5),
            ..HistoryRow::default()
        };
        row.only(&[Metric::Memory]);
        assert_eq!(row, HistoryRow { memory_bytes: Some(3), ..HistoryRow::default() });
    }
}
