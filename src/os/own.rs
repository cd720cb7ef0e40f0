//! What this process itself uses, by the names every Prometheus client uses for it.

use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use crate::os::procfs::read_up_to;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnProcess {
    /// CPU time, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// How many it may have; none: unlimited.
    pub max_fds: Option<u64>,
    /// When it started, in seconds since 1970.
    pub start_seconds: f64,
}

/// Reads what this process uses now.
///
/// # Errors
/// When /proc cannot be read.
pub fn own_process() -> io::Result<OwnProcess> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat reads unlike proc_pid_stat(5)");
    let stat = String::from_utf8_lossy(&read_up_to("/proc/self/stat", 4096)?).into_owned();
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(odd)?.1.split_ascii_whitespace().collect();
    // Numbered as in proc_pid_stat(5), where the first of these is field 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).ok_or_else(odd);
    let unit = |name| sysconf(name).ok().flatten().and_then(|n| u64::try_from(n).ok());
    let per_second = unit(SysconfVar::CLK_TCK).unwrap_or(100) as f64;
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(OwnProcess {
        cpu_seconds: field(14)?.saturating_add(field(15)?) as f64 / per_second,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(unit(SysconfVar::PAGE_SIZE).unwrap_or(4096)),
        // The descriptor that lists them is one of them.
        open_fds: (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
        max_fds: (soft != nix::libc::RLIM_INFINITY).then_some(soft),
        start_seconds: booted_at() + field(22)? as f64 / per_second,
    })
}

/// When the machine was booted, in seconds since 1970; 0 where the kernel does not say.
fn booted_at() -> f64 {
    static BOOTED: OnceLock<f64> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let text = read_up_to("/proc/stat", 1 << 20).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_reads_itself() {
        let own = own_process().unwrap();
        assert!(own.resident_bytes > 0 && own.virtual_bytes >= own.resident_bytes, "{own:?}");
        assert!(own.open_fds >= 3 && own.max_fds.is_none_or(|max| max >= own.open_fds), "{own:?}");
        let age = crate::os::clock::now().wall.0 as f64 / 1_000.0 - own.start_seconds;
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
    }
}
