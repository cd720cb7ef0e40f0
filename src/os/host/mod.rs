//! The machine as a whole.

mod reader;

use sysinfo::System;

pub use crate::os::host::reader::Reader;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_a_name() {
        let host = host();
        assert!(host.cpus >= 1 && host.memory_bytes > 1 << 20, "{host:?}");
        assert!(host.available_bytes <= host.memory_bytes, "{host:?}");
        assert!(host.kernel.contains('.') && !host.system.is_empty(), "{host:?}");
        assert!(cpu_pressure().is_some_and(|percent| (0.0..=100.0).contains(&percent)));
    }

    #[test]
    fn pressure_is_read_from_the_line_of_some() {
        let text = "full avg10=9.00 avg60=1.00 avg300=1.00 total=1\nsome avg10=70.15 avg60=47.39 avg300=5.52 total=5\n";
        assert_eq!(some_avg10(text), Some(70.15));
        for broken in ["", "some", "some avg10=x", "full avg10=1.00"] {
            assert_eq!(some_avg10(broken), None, "{broken}");
        }
    }

    #[test]
    fn load_stands_in_for_pressure() {
        for (load, cpus, expected) in [(0.5, 1, 0.0), (2.0, 2, 0.0), (2.5, 2, 50.0), (9.0, 4, 80.0), (1.5, 0, 50.0)] {
            assert!((pressure_of(load, cpus) - expected).abs() < f32::EPSILON, "{load} on {cpus}");
        }
    }
}
