//! Whether the kernel killed a process for memory: its count of such kills, and its log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::model::names::Pid;
use crate::os::clock;

/// What is known about one death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OomReading {
    /// There is no count to read.
    Unknown,
    /// The count did not move: it was not that.
    Excluded,
    /// The count moved, but nothing says for whom.
    Possible,
    /// The kernel's own line about it.
    Proven(String),
}

/// Looks out for such kills from the moment it is made.
#[derive(Debug)]
pub struct Watch {
    count: Option<u64>,
    /// When the count was last seen to move, in microseconds.
    moved_us: Option<u64>,
    /// The kernel's log from the moment we were made; none when we may not read it.
    log: Option<File>,
    /// Kills read from it that nobody has asked for, the oldest first, at most [`KEPT`].
    kills: Vec<(Pid, String)>,
}

/// Several may die of one shortage and be asked for one after the other: for so long a movement counts for all.
const ONE_SHORTAGE_US: u64 = 5_000_000;
/// The most kills remembered.
const KEPT: usize = 64;
/// The most records read at one look; the kernel's buffer rarely holds more.
const RECORDS: usize = 20_000;
/// The longest record that the kernel gives out.
const RECORD_BYTES: usize = 8192;
/// The inode of the machine's first pid namespace.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// Remembers the count of now.
    pub fn new() -> Self {
        Self { count: read_count(), moved_us: None, log: open_log(), kills: Vec::new() }
    }

    /// Whether every such kill is read from the kernel's log: then one that it does not name was no victim.
    pub fn reads_log(&self) -> bool {
        self.log.is_some()
    }

    /// What speaks for or against `pid`, which SIGKILL has just ended, having been killed for memory.
    pub fn trace(&mut self, pid: Pid) -> OomReading {
        let (Some(before), Some(now)) = (self.count, read_count()) else { return OomReading::Unknown };
        self.weigh(pid, now != before, clock::monotonic_us(), now)
    }

    fn weigh(&mut self, pid: Pid, moved: bool, now_us: u64, count: u64) -> OomReading {
        self.count = Some(count);
        if moved {
            self.moved_us = Some(now_us);
            self.read_log();
        }
        if self.moved_us.is_none_or(|at| now_us.saturating_sub(at) > ONE_SHORTAGE_US) {
            self.kills.clear();
            return OomReading::Excluded;
        }
        match self.kills.iter().position(|(killed, _)| *killed == pid) {
            Some(index) => OomReading::Proven(self.kills.remove(index).1),
            None => OomReading::Possible,
        }
    }

    fn read_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut record = [0; RECORD_BYTES];
        for _ in 0..RECORDS {
            match log.read(&mut record) {
                Ok(length) if length > 0 => {
                    let Some(kill) = record.get(..length).and_then(kill_in) else { continue };
                    if self.kills.len() == KEPT {
                        self.kills.remove(0);
                    }
                    self.kills.push(kill);
                }
                // Records were overwritten before they were read; the next read goes on with the oldest one left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

fn read_count() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The log names processes by their numbers in the first pid namespace; from inside another they mean nothing.
fn open_log() -> Option<File> {
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?;
    if namespace.ino() != FIRST_PID_NAMESPACE {
        return None;
    }
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// Reads a record `priority,sequence,time,…;text`, further lines being about the device.
fn kill_in(record: &[u8]) -> Option<(Pid, String)> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    // From 8 on it was not the kernel that wrote it.
    if priority >= 8 {
        return None;
    }
    let line = text.lines().next()?;
    let (_, after) = line.split_once("Killed process ")?;
    let number = after.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((Pid(number.parse().ok()?), line.to_owned()))
}

/// Whether this process is spared when memory runs out (`OOMScoreAdjust=` of a unit), which children inherit.
pub fn is_spared() -> bool {
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    score.trim().parse::<i32>().is_ok_and(|score| score < 0)
}

/// Gives a process that was born spared an ordinary score.
///
/// # Errors
/// When it is gone, or not ours.
pub fn spare_no_longer(pid: Pid) -> std::io::Result<()> {
    // Not between clone and execve: while the memory is shared, the kernel takes it for the parent's score, too.
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(kills: &[i32]) -> Watch {
        let kills = kills.iter().map(|pid| (Pid(*pid), format!("Killed process {pid}"))).collect();
        Watch { count: Some(1), moved_us: None, log: None, kills }
    }

    #[test]
    fn a_count_that_stands_still_excludes_it() {
        let mut watch = watch(&[]);
        assert_eq!(watch.weigh(Pid(7), false, 1_000, 1), OomReading::Excluded);
    }

    #[test]
    fn a_count_that_moved_makes_it_possible_and_a_line_proves_it() {
        let mut watch = watch(&[7]);
        assert_eq!(watch.weigh(Pid(8), true, 1_000, 2), OomReading::Possible);
        assert_eq!(watch.weigh(Pid(7), false, 2_000, 2), OomReading::Proven("Killed process 7".to_owned()));
        assert_eq!(watch.weigh(Pid(7), false, 3_000, 2), OomReading::Possible, "a line proves one death");
    }

    #[test]
    fn one_shortage_counts_for_all_that_die_soon_and_for_none_later() {
        let mut watch = watch(&[7, 9]);
        assert_eq!(watch.weigh(Pid(8), true, 1_000, 3), OomReading::Possible);
        assert!(matches!(watch.weigh(Pid(9), false, ONE_SHORTAGE_US, 3), OomReading::Proven(_)));
        assert_eq!(watch.weigh(Pid(8), false, ONE_SHORTAGE_US + 1_001, 3), OomReading::Excluded);
        assert!(watch.kills.is_empty(), "the next bearer of the number is another process");
    }

    #[test]
    fn without_a_count_nothing_is_known() {
        let mut watch = Watch { count: None, moved_us: None, log: None, kills: Vec::new() };
        assert_eq!(watch.trace(Pid(7)), OomReading::Unknown);
    }

    #[test]
    fn kills_are_read_from_the_kernels_own_records() {
        let line = "Out of memory: Killed process 1234 (python3) total-vm:9kB, anon-rss:8kB, UID:0 pgtables:1kB";
        let group = "Memory cgroup out of memory: Killed process 77 (a;b) total-vm:1kB";
        for (record, expected) in [
            (format!("3,4711,98765,-;{line}\n SUBSYSTEM=x\n"), Some((Pid(1234), line))),
            (format!("3,4712,98766,-,caller=T1;{group}"), Some((Pid(77), group))),
            (format!("12,4713,98767,-;{line}"), None),
            ("6,1,2,-;eth0: link up\n X=Killed process 5".to_owned(), None),
            ("3,1,2,-;Killed process x".to_owned(), None),
            ("3,1,2,-;Killed process 99999999999".to_owned(), None),
            ("no record".to_owned(), None),
            (String::new(), None),
        ] {
            let expected = expected.map(|(pid, text)| (pid, text.to_owned()));
            assert_eq!(kill_in(record.as_bytes()), expected, "{record}");
        }
    }

    #[test]
    fn on_this_machine_it_can_be_made_and_asked() {
        let mut watch = Watch::new();
        watch.read_log();
        let reading = watch.trace(Pid(i32::MAX));
        assert!(!matches!(reading, OomReading::Proven(_)), "{reading:?}");
    }
}
