//! What the machine uses, read again and again.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use sysinfo::{MemoryRefreshKind, System};

use crate::model::usage::{CpuSeconds, Disk, HostUsage};
use crate::os::procfs;

/// Reads the machine's CPUs, memory, load and the file systems that matter to us.
#[derive(Debug)]
pub struct Reader {
    /// sysinfo's memory and load; its CPUs come without seconds by mode, so `/proc/stat` is read here.
    system: Option<System>,
    stat: Option<File>,
    /// Asked one by one: sysinfo looks at everything that is mounted, whether it answers or not.
    mountpoints: Vec<PathBuf>,
    ticks_per_second: f64,
    /// Busy ticks and all ticks at the reading before.
    before: Option<(u64, u64)>,
}

/// Modes of CPU time in proc_stat(5), up to `steal`: what follows is contained in `user` and `nice`.
type Modes = [u64; 8];

impl Reader {
    /// Looks at the file systems of `state` (a folder that exists) and of `/`.
    pub fn new(state: &Path) -> Self {
        let mut mountpoints = vec![mountpoint(state)];
        if mountpoints[0] != Path::new("/") {
            mountpoints.push(PathBuf::from("/"));
        }
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
        Self {
            system: System::new().ok(),
            stat: File::open("/proc/stat").ok(),
            mountpoints,
            ticks_per_second: ticks.filter(|ticks| *ticks > 0).map_or(100.0, |ticks| ticks as f64),
            before: None,
        }
    }

    /// Reads it all; what cannot be read is zero or left out. CPU from the second reading on.
    pub fn read(&mut self) -> HostUsage {
        let memory = self.system.as_mut().map(|system| {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            (system.total_memory(), system.available_memory())
        });
        let (memory_bytes, memory_available_bytes) = memory.unwrap_or_default();
        let load = System::load_average().map(|load| [load.one, load.five, load.fifteen]).unwrap_or_default();
        let modes = self.stat.as_ref().and_then(modes_of).unwrap_or_default();
        HostUsage {
            cpus: u32::try_from(super::cpus()).unwrap_or(u32::MAX),
            cpu_percent: self.cpu_percent(&modes),
            cpu_seconds: self.seconds(modes),
            memory_bytes,
            memory_available_bytes,
            load,
            disks: self.mountpoints.iter().filter_map(|path| disk(path)).collect(),
        }
    }

    fn cpu_percent(&mut self, modes: &Modes) -> Option<f64> {
        let [.., idle, iowait, _, _, _] = *modes;
        let all: u64 = modes.iter().sum();
        let busy = all - idle - iowait;
        let (busy_before, all_before) = self.before.replace((busy, all))?;
        // The kernel may take back a tick of idleness; a reading at once after another one says nothing.
        let (used, elapsed) =
            (busy.saturating_sub(busy_before), all.checked_sub(all_before).filter(|ticks| *ticks > 0)?);
        Some((100.0 * used as f64 / elapsed as f64).min(100.0))
    }

    fn seconds(&self, modes: Modes) -> CpuSeconds {
        let [user, nice, system, idle, iowait, irq, softirq, steal] =
            modes.map(|ticks| ticks as f64 / self.ticks_per_second);
        CpuSeconds { user, nice, system, idle, iowait, irq, softirq, steal }
    }
}

fn modes_of(stat: &File) -> Option<Modes> {
    // The first line is the sum; the kernel writes out all CPUs whatever is asked for.
    let mut buffer = [0; 256];
    let length = stat.read_at(&mut buffer, 0).ok()?;
    let line = buffer.get(..length)?.split(|byte| *byte == b'\n').next()?.strip_prefix(b"cpu ")?;
    let mut modes = Modes::default();
    let figures = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    for (mode, word) in modes.iter_mut().zip(figures) {
        *mode = procfs::number(word)?;
    }
    Some(modes)
}

fn disk(mountpoint: &Path) -> Option<Disk> {
    let about = statvfs(mountpoint).ok()?;
    let block = about.fragment_size();
    Some(Disk {
        mountpoint: mountpoint.display().to_string(),
        total_bytes: about.blocks().saturating_mul(block),
        available_bytes: about.blocks_available().saturating_mul(block),
    })
}

/// Where the file system of a folder is mounted: the highest folder above it on the same device.
fn mountpoint(folder: &Path) -> PathBuf {
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let device = |path: &Path| std::fs::metadata(path).ok().map(|about| about.dev());
    let own = device(&folder);
    folder.ancestors().take_while(|path| device(path) == own).last().unwrap_or(&folder).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock;

    #[test]
    fn the_machine_is_read_and_its_cpu_from_the_second_reading_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(folder.path());
        let first = reader.read();
        assert_eq!(first.cpu_percent, None);
        assert!(first.cpu_seconds.user > 0.0 && first.cpu_seconds.idle > 0.0, "{first:?}");
        assert!(first.memory_available_bytes > 0 && first.memory_available_bytes <= first.memory_bytes, "{first:?}");
        assert!(first.disks.iter().any(|disk| disk.mountpoint == "/"), "{first:?}");
        for disk in &first.disks {
            assert!(disk.total_bytes > 0 && disk.available_bytes <= disk.total_bytes, "{disk:?}");
        }
        let until = clock::monotonic_us() + 200_000;
        while clock::monotonic_us() < until {}
        let second = reader.read();
        assert!(second.cpu_percent.is_some_and(|percent| percent > 0.0 && percent <= 100.0), "{second:?}");
        assert!(second.cpu_seconds.user >= first.cpu_seconds.user);
    }

    #[test]
    fn cpu_is_what_was_not_idle() {
        let mut reader = Reader::new(Path::new("/"));
        assert_eq!(reader.mountpoints, [PathBuf::from("/")]);
        assert_eq!(reader.cpu_percent(&[10, 0, 10, 70, 10, 0, 0, 0]), None);
        assert_eq!(reader.cpu_percent(&[20, 0, 30, 120, 20, 0, 10, 0]), Some(40.0));
        assert_eq!(reader.cpu_percent(&[20, 0, 30, 120, 20, 0, 10, 0]), None, "no time has gone by");
    }

    #[test]
    fn a_folder_lies_where_its_file_system_is_mounted() {
        assert_eq!(mountpoint(Path::new("/proc/sys/kernel")), PathBuf::from("/proc"));
    }
}
