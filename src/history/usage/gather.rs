//! Readings become rows of ten seconds and the trend of each run; in memory, on the loop's own thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::history::usage::trend::{Reading, Readings};
use crate::history::usage::{FINEST_S, Row, Track, slot};
use crate::model::names::{InstanceId, Run};
use crate::model::units::{Moment, Now};
use crate::model::usage::{Sample, Usage};
use crate::model::why::Trend;

/// The readings of a run that is over wait this long for its end to be written down.
const FORGET: Duration = Duration::from_secs(300);

/// What is being gathered.
#[derive(Debug, Default)]
pub(in crate::history) struct Gather {
    live: BTreeMap<(InstanceId, Run), Live>,
}

/// One run.
#[derive(Debug)]
struct Live {
    track: Arc<Track>,
    /// The row of the current ten seconds; none between two of them.
    open: Option<Row>,
    /// The last reading before it: rows count from there. None before a first row is closed.
    base: Option<Totals>,
    last: Totals,
    probes: (f64, u32),
    readings: Readings,
}

/// What only grows, at one reading.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    at: Moment,
    cpu_us: u64,
    read_bytes: u64,
    written_bytes: u64,
    io_wait_us: u64,
    switches: u64,
    faults: u64,
    major_faults: u64,
}

impl Totals {
    fn of(usage: &Usage, at: Moment) -> Self {
        Self {
            at,
            cpu_us: usage.cpu_user_us.saturating_add(usage.cpu_system_us),
            read_bytes: usage.read_bytes.unwrap_or(0),
            written_bytes: usage.written_bytes.unwrap_or(0),
            io_wait_us: usage.io_wait_us.unwrap_or(0),
            switches: usage.voluntary_switches.saturating_add(usage.involuntary_switches),
            faults: usage.minor_faults,
            major_faults: usage.major_faults,
        }
    }
}

/// CPU between two totals, in percent of one core; none where no time lies between them.
pub(super) fn percent(from: (Moment, u64), to: (Moment, u64)) -> Option<f64> {
    let ms = to.0.0.saturating_sub(from.0.0);
    (ms > 0).then(|| to.1.saturating_sub(from.1) as f64 / 10.0 / ms as f64)
}

impl Gather {
    /// Takes one reading of all that runs; gives the rows that are complete by that.
    pub(in crate::history) fn take(&mut self, now: Now, samples: &[Sample]) -> Vec<Row> {
        let slot = slot(now.wall, FINEST_S);
        let mut complete = vec![];
        for live in self.live.values_mut() {
            // Also one of the future: the time of day was set back.
            if let Some(row) = live.open.take_if(|row| row.slot != slot) {
                complete.push(row);
                live.base = Some(live.last);
                live.probes = (0.0, 0);
            }
        }
        for sample in samples {
            let key = (sample.instance.clone(), sample.run);
            self.live.entry(key).or_insert_with(|| Live::new(sample, now.moment)).take(sample, now.moment, slot);
        }
        self.live.retain(|_, live| live.open.is_some() || now.moment.since(live.last.at) < FORGET);
        complete
    }

    /// The rows as far as they are: nothing follows.
    pub(in crate::history) fn finish(&mut self) -> Vec<Row> {
        self.live.values_mut().filter_map(|live| live.open.take()).collect()
    }

    /// The rows that are not complete, as far as they are.
    pub(in crate::history) fn open(&self) -> Vec<Row> {
        self.live.values().filter_map(|live| live.open.clone()).collect()
    }

    /// How a run went, as far as it was read.
    pub(in crate::history) fn trend(&self, instance: &InstanceId, run: Run) -> Option<Trend> {
        self.live.get(&(instance.clone(), run)).and_then(|live| live.readings.trend())
    }
}

impl Live {
    fn new(sample: &Sample, at: Moment) -> Self {
        Self {
            track: Arc::new(track(sample)),
            open: None,
            base: None,
            last: Totals { at, ..Totals::default() },
            probes: (0.0, 0),
            readings: Readings::default(),
        }
    }

    fn take(&mut self, sample: &Sample, at: Moment, slot: i64) {
        let usage = &sample.usage;
        if !same(&self.track, sample) {
            self.track = Arc::new(track(sample));
        }
        let totals = Totals::of(usage, at);
        let first = self.base.is_none() && self.open.is_none();
        if first {
            // CPU is a share of the time between two readings; all else counts from the start of the run.
            self.base = Some(Totals { at, cpu_us: totals.cpu_us, ..Totals::default() });
        }
        let base = self.base.unwrap_or(totals);
        if let Some(ms) = sample.probe_ms {
            self.probes = (self.probes.0 + ms, self.probes.1 + 1);
        }
        self.open = Some(Row {
            track: self.track.clone(),
            slot,
            cpu_percent: percent((base.at, base.cpu_us), (totals.at, totals.cpu_us)),
            memory_bytes: usage.memory_bytes,
            processes: usage.processes,
            threads: usage.threads,
            open_fds: usage.open_fds,
            swap_bytes: usage.swap_bytes,
            read_bytes: totals.read_bytes.saturating_sub(base.read_bytes),
            written_bytes: totals.written_bytes.saturating_sub(base.written_bytes),
            io_wait_us: totals.io_wait_us.saturating_sub(base.io_wait_us),
            switches: totals.switches.saturating_sub(base.switches),
            faults: totals.faults.saturating_sub(base.faults),
            major_faults: totals.major_faults.saturating_sub(base.major_faults),
            probe_ms: (self.probes.1 > 0).then(|| self.probes.0 / f64::from(self.probes.1)),
        });
        self.last = totals;
        self.readings.take(
            Reading {
                at,
                cpu_us: totals.cpu_us,
                memory_bytes: usage.memory_bytes,
                open_fds: usage.open_fds,
                processes: usage.processes,
            },
            usage.max_fds,
            usage.memory_limit_bytes,
        );
    }
}

fn track(sample: &Sample) -> Track {
    Track {
        instance: sample.instance.clone(),
        label: sample.label.clone(),
        run: sample.run,
        knows_bytes: sample.usage.read_bytes.is_some(),
        knows_wait: sample.usage.io_wait_us.is_some(),
    }
}

fn same(track: &Track, sample: &Sample) -> bool {
    track.label == sample.label
        && track.knows_bytes == sample.usage.read_bytes.is_some()
        && track.knows_wait == sample.usage.io_wait_us.is_some()
}
