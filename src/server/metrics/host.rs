//! The metrics of the machine and of everup's own engine process.

use crate::os::own::OwnProcess;
use crate::server::metrics::page::{Family, Kind, Out, Value};
use crate::server::metrics::scene::Scene;

type Written = Result<(), std::fmt::Error>;

/// Writes one figure of everup's engine, where it can be read.
fn own(scene: &Scene, out: &mut Out<'_, '_>, value: impl Fn(&OwnProcess) -> Option<Value>) -> Written {
    match scene.own.as_ref().and_then(value) {
        Some(value) => out.plain(&[], value),
        None => Ok(()),
    }
}

/// Writes one figure of the machine, once it has been read.
fn machine(scene: &Scene, out: &mut Out<'_, '_>, value: Value) -> Written {
    if scene.host.memory_bytes > 0 { out.plain(&[], value) } else { Ok(()) }
}

pub(super) static FAMILIES: [Family; 10] = [
    Family {
        name: "everup_host_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &["mode"],
        help: "CPU time of the machine since boot by mode, in seconds.",
        write: |scene, out| {
            if scene.host.memory_bytes == 0 {
                return Ok(());
            }
            let cpu = &scene.host.cpu_seconds;
            for (mode, seconds) in [
                ("user", cpu.user),
                ("nice", cpu.nice),
                ("system", cpu.system),
                ("idle", cpu.idle),
                ("iowait", cpu.iowait),
                ("irq", cpu.irq),
                ("softirq", cpu.softirq),
                ("steal", cpu.steal),
            ] {
                out.plain(&[mode], seconds)?;
            }
            Ok(())
        },
    },
    Family {
        name: "everup_host_memory_available_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that programs could still get, in bytes.",
        write: |scene, out| machine(scene, out, scene.host.memory_available_bytes.into()),
    },
    Family {
        name: "everup_host_filesystem_avail_bytes",
        kind: Kind::Gauge,
        labels: &["mountpoint"],
        help: "What everup's user may still write to the file system of the state folder and to that of /, in bytes.",
        write: |scene, out| {
            let disks = &scene.host.disks;
            disks.iter().enumerate().try_for_each(|(place, disk)| {
                // One mount may be both.
                let told = disks.iter().take(place).any(|other| other.mountpoint == disk.mountpoint);
                if told { Ok(()) } else { out.plain(&[&disk.mountpoint], disk.available_bytes) }
            })
        },
    },
    Family {
        name: "everup_host_load1",
        kind: Kind::Gauge,
        labels: &[],
        help: "Load average of one minute.",
        write: |scene, out| machine(scene, out, scene.host.load[0].into()),
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        help: "CPU time of everup's engine process, user and system, in seconds.",
        write: |scene, out| own(scene, out, |own| Some(own.cpu_seconds.into())),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Resident memory of everup's engine process, in bytes.",
        write: |scene, out| own(scene, out, |own| Some(own.resident_bytes.into())),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Address space of everup's engine process, in bytes.",
        write: |scene, out| own(scene, out, |own| Some(own.virtual_bytes.into())),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Open descriptors of everup's engine process.",
        write: |scene, out| own(scene, out, |own| Some(own.open_fds.into())),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "How many descriptors everup's engine process may have; absent where that is unlimited.",
        write: |scene, out| own(scene, out, |own| own.max_fds.map(Value::from)),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When everup's engine process started, in seconds since 1970.",
        write: |scene, out| own(scene, out, |own| Some(own.start_seconds.into())),
    },
];
