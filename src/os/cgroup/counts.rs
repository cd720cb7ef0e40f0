//! What a control group counts: waits for storage, kills for memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::os::procfs;

/// From here on a limit of memory stands for none: v1 rounds the largest number down to whole pages.
const UNLIMITED: u64 = 1 << 60;

/// The counters of a run's control groups, kept open. A group that is gone, or has no such counter, counts nothing.
#[derive(Debug)]
pub struct Counts {
    pressure: Option<File>,
    kills: Option<File>,
    limit: Option<File>,
}

impl Counts {
    /// Of the run's own v2 group, and of the group that limits its memory, which may be the same one.
    pub fn open(group: Option<&Path>, memory: Option<&Path>) -> Self {
        // A group of its own may count memory without limiting it.
        let memory = memory.or(group);
        let file = |folder: Option<&Path>, name: &str| File::open(folder?.join(name)).ok();
        Self {
            pressure: file(group, "io.pressure"),
            kills: file(memory, V2_KILLS).or_else(|| file(memory, V1_KILLS)),
            limit: file(memory, V2_LIMIT).or_else(|| file(memory, V1_LIMIT)),
        }
    }

    /// How many descriptors they keep open.
    pub fn kept(&self) -> usize {
        [&self.pressure, &self.kills, &self.limit].into_iter().flatten().count()
    }

    /// Time in which at least one task of the group waited for storage, in microseconds.
    pub fn io_wait_us(&self) -> Option<u64> {
        read(self.pressure.as_ref()?, |text| {
            let some = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"some "))?;
            procfs::number(some.rsplit(|byte| *byte == b'=').next()?)
        })
    }

    /// Kills for memory within the group.
    pub fn oom_kills(&self) -> Option<u64> {
        read(self.kills.as_ref()?, kills)
    }

    /// The limit of memory in force, in bytes; none: unlimited.
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        read(self.limit.as_ref()?, |text| procfs::number(text.trim_ascii()).filter(|bytes| *bytes < UNLIMITED))
    }
}

const V2_KILLS: &str = "memory.events";
const V2_LIMIT: &str = "memory.max";
const V1_KILLS: &str = "memory.oom_control";
const V1_LIMIT: &str = "memory.limit_in_bytes";

/// Kills for memory that the group in this folder has counted by now; none when it does not count them, or is gone.
pub fn oom_kills(folder: &Path) -> Option<u64> {
    let file = [V2_KILLS, V1_KILLS].into_iter().find_map(|name| File::open(folder.join(name)).ok())?;
    read(&file, kills)
}

/// Both kinds of file say it the same way.
fn kills(text: &[u8]) -> Option<u64> {
    procfs::figure(text, b"oom_kill ")
}

fn read<T>(file: &File, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let mut buffer = [0; 512];
    let length = file.read_at(&mut buffer, 0).ok()?;
    parse(buffer.get(..length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_kinds_are_read() {
        let v2 = tempfile::tempdir().unwrap();
        let put = |folder: &Path, name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        put(v2.path(), "io.pressure", "some avg10=0.00 avg60=0.10 total=249205079\nfull avg10=0.00 total=7\n");
        put(v2.path(), V2_KILLS, "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n");
        put(v2.path(), V2_LIMIT, "max\n");
        let counts = Counts::open(Some(v2.path()), Some(v2.path()));
        assert_eq!((counts.io_wait_us(), counts.oom_kills(), counts.kept()), (Some(249_205_079), Some(3), 3));
        assert_eq!(counts.memory_limit_bytes(), None);
        put(v2.path(), V2_LIMIT, "67108864\n");
        assert_eq!(counts.memory_limit_bytes(), Some(64 << 20));

        let v1 = tempfile::tempdir().unwrap();
        put(v1.path(), V1_KILLS, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        put(v1.path(), V1_LIMIT, "9223372036854771712\n");
        let counts = Counts::open(None, Some(v1.path()));
        assert_eq!((counts.io_wait_us(), counts.oom_kills(), counts.memory_limit_bytes()), (None, Some(1), None));
        assert_eq!(oom_kills(v1.path()), Some(1));
        assert_eq!((oom_kills(Path::new("/nowhere")), Counts::open(None, None).kept()), (None, 0));
    }
}
