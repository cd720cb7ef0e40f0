//! The machine as a whole.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// What the machine has and how busy it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Processors that we may run on.
    pub cpus: usize,
    /// Memory in all, in bytes; none: unknown.
    pub memory_bytes: Option<u64>,
    /// Memory that can still be had, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// Processes that ran or wanted to, averaged over 1, 5 and 15 minutes; none: unknown.
    pub load: Option<[f64; 3]>,
}

/// Looks at the machine.
pub fn read() -> Host {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok().filter(|system| system.total_memory() > 0);
    let load = System::load_average().ok();
    Host {
        cpus: cpus(),
        memory_bytes: system.as_ref().map(System::total_memory),
        memory_available_bytes: system.as_ref().map(System::available_memory),
        load: load.map(|load| [load.one, load.five, load.fifteen]),
    }
}

/// How much of the last ten seconds something had to wait for a processor, in percent; where the kernel does not
/// measure that, a guess from the load of the last minute. None: neither is known.
pub fn cpu_pressure() -> Option<f32> {
    if let Some(measured) = std::fs::read_to_string("/proc/pressure/cpu").ok().as_deref().and_then(parse_pressure) {
        return Some(measured);
    }
    let load: f32 = std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()?;
    Some(guess_pressure(load, cpus()))
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn parse_pressure(text: &str) -> Option<f32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// With no more runnable than processors nobody waits; with twice as many, half of the wish is waiting.
fn guess_pressure(load: f32, cpus: usize) -> f32 {
    let cpus = u16::try_from(cpus).map_or(f32::from(u16::MAX), f32::from).max(1.0);
    if load <= cpus { 0.0 } else { (1.0 - cpus / load) * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_the_share_of_waiting() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.00 total=5\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse_pressure(text), Some(12.34));
        assert_eq!(parse_pressure("full avg10=1.00\n"), None);
        for (load, cpus, expected) in [(0.5, 2, 0.0), (2.0, 2, 0.0), (4.0, 2, 50.0), (8.0, 2, 75.0), (1.0, 0, 0.0)] {
            assert!((guess_pressure(load, cpus) - expected).abs() < 0.01, "{load} on {cpus}");
        }
    }

    #[test]
    fn the_machine_has_a_processor_and_memory() {
        let host = read();
        assert!(host.cpus >= 1 && host.memory_bytes.is_none_or(|bytes| bytes > 1 << 20), "{host:?}");
    }
}
