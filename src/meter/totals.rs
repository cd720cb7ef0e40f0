//! What all runs of one instance used together.

use crate::model::names::Run;
use crate::model::usage::Usage;

/// Totals over runs. A run's own totals start at 0, so what a reading adds is its difference to the reading before.
///
/// What a run used after its last reading is not in it. A figure that was never read is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// CPU time in user mode, in microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub cpu_system_us: u64,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
    /// Time spent waiting for storage, in microseconds.
    pub io_wait_us: Option<u64>,
    /// Context switches of its own accord.
    pub voluntary_switches: u64,
    /// Context switches the scheduler forced.
    pub involuntary_switches: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults that read from storage.
    pub major_faults: u64,
    /// Kills for memory.
    pub oom_kills: Option<u64>,
    latest: Option<(Run, Usage)>,
}

impl Totals {
    /// Takes a reading.
    pub(super) fn add(&mut self, run: Run, usage: &Usage) {
        let none = Usage::default();
        let before = self.latest.as_ref().filter(|(of, _)| *of == run).map_or(&none, |(_, usage)| usage);
        self.cpu_user_us += usage.cpu_user_us.saturating_sub(before.cpu_user_us);
        self.cpu_system_us += usage.cpu_system_us.saturating_sub(before.cpu_system_us);
        self.voluntary_switches += usage.voluntary_switches.saturating_sub(before.voluntary_switches);
        self.involuntary_switches += usage.involuntary_switches.saturating_sub(before.involuntary_switches);
        self.minor_faults += usage.minor_faults.saturating_sub(before.minor_faults);
        self.major_faults += usage.major_faults.saturating_sub(before.major_faults);
        grow(&mut self.read_bytes, usage.read_bytes, before.read_bytes);
        grow(&mut self.written_bytes, usage.written_bytes, before.written_bytes);
        grow(&mut self.io_wait_us, usage.io_wait_us, before.io_wait_us);
        grow(&mut self.oom_kills, usage.oom_kills, before.oom_kills);
        // A figure that cannot be read for once must not be counted from 0 again afterwards.
        let mut latest = usage.clone();
        latest.read_bytes = latest.read_bytes.or(before.read_bytes);
        latest.written_bytes = latest.written_bytes.or(before.written_bytes);
        latest.io_wait_us = latest.io_wait_us.or(before.io_wait_us);
        latest.oom_kills = latest.oom_kills.or(before.oom_kills);
        self.latest = Some((run, latest));
    }

    /// The kernel killed the latest run for memory. Its control group can hardly be read after that: the kill is
    /// counted here, unless a reading has shown one already.
    pub(super) fn killed_for_memory(&mut self) {
        let seen = self.latest.as_ref().and_then(|(_, usage)| usage.oom_kills).unwrap_or(0);
        self.oom_kills = Some(self.oom_kills.unwrap_or(0) + u64::from(seen == 0));
    }
}

fn grow(total: &mut Option<u64>, now: Option<u64>, before: Option<u64>) {
    if let Some(now) = now {
        *total = Some(total.unwrap_or(0) + now.saturating_sub(before.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu_user_us: u64, read_bytes: Option<u64>) -> Usage {
        Usage { cpu_user_us, read_bytes, ..Usage::default() }
    }

    #[test]
    fn totals_go_on_where_a_new_run_begins_at_zero() {
        let mut totals = Totals::default();
        for (run, cpu, expected) in
            [(1, 100, 100), (1, 250, 250), (2, 30, 280), (2, 30, 280), (2, 90, 340), (4, 5, 345)]
        {
            totals.add(Run(run), &usage(cpu, None));
            assert_eq!(totals.cpu_user_us, expected, "run {run} at {cpu}");
        }
        // A reading below the one before (a clock of the kernel's that was corrected) takes nothing away.
        totals.add(Run(4), &usage(3, None));
        assert_eq!(totals.cpu_user_us, 345);
    }

    #[test]
    fn what_cannot_be_read_is_none_and_a_gap_is_not_counted_twice() {
        let mut totals = Totals::default();
        totals.add(Run(1), &usage(0, None));
        assert_eq!((totals.read_bytes, totals.oom_kills), (None, None));
        for (read, expected) in [(Some(10), 10), (None, 10), (Some(15), 15)] {
            totals.add(Run(1), &usage(0, read));
            assert_eq!(totals.read_bytes, Some(expected));
        }
        totals.add(Run(2), &usage(0, Some(4)));
        assert_eq!(totals.read_bytes, Some(19));
    }

    #[test]
    fn a_kill_for_memory_counts_once() {
        let mut totals = Totals::default();
        totals.add(Run(1), &Usage { oom_kills: Some(0), ..Usage::default() });
        assert_eq!(totals.oom_kills, Some(0));
        totals.killed_for_memory();
        assert_eq!(totals.oom_kills, Some(1));
        totals.add(Run(2), &Usage { oom_kills: Some(1), ..Usage::default() });
        totals.killed_for_memory();
        assert_eq!(totals.oom_kills, Some(2));
    }
}
