//! The machine as a whole.

use sysinfo::System;

/// What the machine has and how busy it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// CPUs that we may use.
    pub cpus: usize,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Of it, what programs could still get.
    pub available_bytes: u64,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// The kernel's release, e.g. `6.18.1`; empty when unknown.
    pub kernel: String,
    /// The system's name and version, e.g. `Linux (Debian GNU/Linux 13)`; empty when unknown.
    pub system: String,
}

/// Looks at the machine; what cannot be read is zero or empty.
pub fn host() -> Host {
    let memory = System::new().map(|mut system| {
        system.refresh_memory();
        (system.total_memory(), system.available_memory())
    });
    let (memory_bytes, available_bytes) = memory.unwrap_or_default();
    Host {
        cpus: cpus(),
        memory_bytes,
        available_bytes,
        load: System::load_average().map(|load| [load.one, load.five, load.fifteen]).unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        system: System::long_os_version().unwrap_or_default(),
    }
}

/// How much of the last ten seconds some program waited for a CPU, in percent. Where the kernel does not count that,
/// a rough figure from the load; none when that is unknown too.
pub fn cpu_pressure() -> Option<f32> {
    let counted = std::fs::read_to_string("/proc/pressure/cpu").ok().and_then(|text| some_avg10(&text));
    counted.or_else(|| {
        let text = std::fs::read_to_string("/proc/loadavg").ok()?;
        let load: f64 = text.split(' ').next()?.parse().ok()?;
        Some(pressure_of(load, cpus()))
    })
}

fn some_avg10(text: &str) -> Option<f32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10=")?.parse().ok())
}

fn pressure_of(load: f64, cpus: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many")]
    let per_cpu = load / cpus.max(1) as f64;
    match per_cpu {
        busy if busy > 2.0 => 80.0,
        busy if busy > 1.0 => 50.0,
        _ => 0.0,
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
