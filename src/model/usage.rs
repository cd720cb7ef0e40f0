//! What processes and the machine use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{InstanceId, Run};
use crate::model::units::Timestamp;

/// What a run uses: its main process and all that descends from it, at one moment.
///
/// Totals count from the run's start, hold what ended processes had used, and never go down within a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// CPU since the reading before, in percent of one core; null at the first.
    pub cpu_percent: Option<f64>,
    /// CPU time in user mode, in microseconds: a total.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, in microseconds: a total.
    pub cpu_system_us: u64,
    /// Resident memory, summed over the processes; what they share counts for each.
    pub memory_bytes: u64,
    /// `memory_bytes` as a share of the machine's memory, in percent.
    pub memory_percent: Option<f64>,
    /// Proportional set size: what is shared counts once. Null unless asked for, for the kernel walks every page.
    #[serde(default)]
    pub pss_bytes: Option<u64>,
    /// What lies in swap. This, open descriptors, I/O wait and context switches are read anew at every third reading.
    pub swap_bytes: u64,
    /// Living processes.
    pub processes: u32,
    /// Their threads.
    pub threads: u32,
    /// Open descriptors; those of processes everup may not look into are missing.
    pub open_fds: u32,
    /// How many the main process may have (its soft RLIMIT_NOFILE); null: unlimited, or not to be read.
    pub max_fds: Option<u64>,
    /// Read from storage, in bytes: a total. Null where everup may not look.
    pub read_bytes: Option<u64>,
    /// Written to storage, in bytes: a total. Null where everup may not look.
    pub written_bytes: Option<u64>,
    /// Time in which some of it waited for storage, in microseconds: a total. Null where the kernel counts it nowhere.
    pub io_wait_us: Option<u64>,
    /// Where `io_wait_us` comes from.
    pub io_wait_from: Option<IoWaitFrom>,
    /// Context switches of its own accord, of each process's main thread: a total.
    pub voluntary_switches: u64,
    /// Context switches the scheduler forced, likewise: a total.
    pub involuntary_switches: u64,
    /// Page faults without I/O: a total.
    pub minor_faults: u64,
    /// Page faults that read from storage: a total.
    pub major_faults: u64,
    /// Kills for memory in its own control group: a total. Null without a group that counts them.
    pub oom_kills: Option<u64>,
    /// The memory limit in force on its control group (`limits.memory`); null: none.
    pub memory_limit_bytes: Option<u64>,
}

/// Where the time spent waiting for storage comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IoWaitFrom {
    /// `io.pressure` of the run's own control group: time in which at least one of its tasks waited.
    CgroupPressure,
    /// The kernel's delay accounting (`kernel.task_delayacct`): the waits of all tasks, summed.
    DelayAccounting,
}

/// One reading of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whose.
    pub instance: InstanceId,
    /// The instance's name at that time: `web`, or `web/2` where there are several.
    pub label: String,
    /// Which life.
    pub run: Run,
    /// When.
    pub at: Timestamp,
    /// What it uses.
    pub usage: Usage,
    /// How long its latest probe took, in milliseconds; none without one since the reading before.
    pub probe_ms: Option<f64>,
}

/// What the machine uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostUsage {
    /// CPUs that everup may use.
    pub cpus: u32,
    /// CPU of the whole machine since the reading before, in percent of all its CPUs; null at the first.
    pub cpu_percent: Option<f64>,
    /// CPU time by mode, in seconds since boot.
    pub cpu_seconds: CpuSeconds,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Of it, what programs could still get.
    pub memory_available_bytes: u64,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// File systems: that of the state folder, and that of `/`.
    pub disks: Vec<Disk>,
}

/// CPU time of the machine, in seconds since boot, by proc_stat(5)'s modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the kernel's own words")]
pub struct CpuSeconds {
    pub user: f64,
    pub nice: f64,
    pub system: f64,
    pub idle: f64,
    pub iowait: f64,
    pub irq: f64,
    pub softirq: f64,
    pub steal: f64,
}

/// One file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Its size.
    pub total_bytes: u64,
    /// What everup's user may still write.
    pub available_bytes: u64,
}
