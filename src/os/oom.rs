//! Traces of the kernel's killing for memory. A signal 9 alone proves nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::model::names::Pid;
use crate::os::clock;

/// What the kernel says about one process that was ended by signal 9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OomReading {
    /// There is nothing to ask.
    Unknown,
    /// The machine's count of such kills did not move: it was not one.
    Excluded,
    /// The count moved, but nothing says it was this process.
    Possible,
    /// The kernel's log names it: a sentence of evidence.
    Proven(String),
}

/// How long a movement of the count counts for ends that are asked about after it, in microseconds: several processes
/// may go in one shortage, and each is asked about by itself.
const FRESH: u64 = 10_000_000;
/// How old a line of the kernel's log may be to speak of a process that has just ended, in microseconds.
const RECENT: u64 = 600_000_000;
/// How many kills of the log are remembered; older ones are forgotten.
const REMEMBERED: usize = 64;

/// Remembers where the count and the log stood.
#[derive(Debug)]
pub struct Watch {
    count: Option<u64>,
    moved_at: Option<u64>,
    /// The kernel's log from here on; none: not ours to read, or its process numbers are not ours.
    log: Option<File>,
    kills: VecDeque<Kill>,
}

/// One line of the kernel's log about a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kill {
    /// In microseconds of the monotonic clock, roughly.
    at: u64,
    pid: Pid,
    text: String,
}

impl Watch {
    /// Starts with what there is now: later readings speak of what came after.
    pub fn new() -> Self {
        Self { count: read_count(), moved_at: None, log: open_log(), kills: VecDeque::new() }
    }

    /// What the kernel says about `pid`, which has ended by signal 9 just now.
    pub fn trace(&mut self, pid: Pid) -> OomReading {
        let now = clock::monotonic_us();
        let count = read_count();
        let (Some(before), Some(after)) = (self.count, count) else { return OomReading::Unknown };
        if after != before {
            self.count = count;
            self.moved_at = Some(now);
            self.read_log();
        }
        if self.moved_at.is_none_or(|moved| now.saturating_sub(moved) > FRESH) {
            return OomReading::Excluded;
        }
        // Taken out, so that a later process of the same number is not proven dead by it.
        let found = self.kills.iter().position(|kill| kill.pid == pid && now.abs_diff(kill.at) < RECENT);
        match found.and_then(|index| self.kills.remove(index)) {
            Some(kill) => OomReading::Proven(format!("kernel log: {}", kill.text)),
            None => OomReading::Possible,
        }
    }

    fn read_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut record = [0; 8192];
        // One record a read. An error says that records were overwritten before we came; the next read goes on.
        for _ in 0..100_000 {
            match log.read(&mut record) {
                Ok(0) => return,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    if let Some(kill) = parse_record(&text) {
                        if self.kills.len() >= REMEMBERED {
                            self.kills.pop_front();
                        }
                        self.kills.push_back(kill);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return,
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// How many processes the kernel has killed for memory since boot, on the whole machine.
fn read_count() -> Option<u64> {
    parse_count(&std::fs::read_to_string("/proc/vmstat").ok()?)
}

fn parse_count(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

fn open_log() -> Option<File> {
    // The log has the numbers of the machine's own pid namespace, whose name never changes.
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    if namespace.as_os_str() != "pid:[4026531836]" {
        return None;
    }
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// Reads a record of `/dev/kmsg` (`priority,sequence,microseconds,flags;text`), if it tells of a kill.
fn parse_record(record: &str) -> Option<Kill> {
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    if !text.contains("ut of memory") && !text.contains("oom_reaper") && !text.contains("oom-kill") {
        return None;
    }
    let number = text.split_once("Killed process ").or_else(|| text.split_once("Kill process "))?.1;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some(Kill {
        at: head.split(',').nth(2)?.parse().ok()?,
        pid: Pid(number.get(..digits)?.parse().ok()?),
        text: text.trim().chars().take(200).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_vmstat() {
        assert_eq!(parse_count("nr_free_pages 1\noom_kill 7\noom_kill_extra 9\n"), Some(7));
        assert_eq!(parse_count("nr_free_pages 1\n"), None);
    }

    #[test]
    fn a_log_record_names_the_process_that_was_killed() {
        for (record, pid) in [
            ("3,812,5140900,-;Out of memory: Killed process 4242 (python3) total-vm:1kB, anon-rss:2kB\n", Some(4242)),
            ("3,9,77,-;Memory cgroup out of memory: Killed process 17 (x) total-vm:1kB\n SUBSYSTEM=x\n", Some(17)),
            ("6,9,77,-;systemd[1]: Killed process 17 (x) out of spite\n", None),
            ("6,9,77,-;out of memory\n", None),
            ("6,9,x,-;Out of memory: Killed process 17 (x)\n", None),
            ("Out of memory: Killed process 17 (x)", None),
            ("6,9,7,-;Out of memory: Killed process 99999999999999999999\n", None),
        ] {
            assert_eq!(parse_record(record).map(|kill| kill.pid.0), pid, "{record}");
        }
    }

    #[test]
    fn a_kill_by_hand_is_not_taken_for_one_of_memory() {
        let mut watch = Watch::new();
        let reading = watch.trace(Pid(4_000_000));
        // Only a machine that runs out of memory right now, or hides its count, may say otherwise.
        assert!(!matches!(reading, OomReading::Proven(_)), "{reading:?}");
    }

    #[test]
    fn a_movement_of_the_count_makes_it_possible_and_the_log_proves_it_once() {
        let Some(count) = read_count() else { return };
        let kill =
            Kill { at: clock::monotonic_us(), pid: Pid(77), text: "Out of memory: Killed process 77".to_owned() };
        let mut watch =
            Watch { count: Some(count.wrapping_sub(1)), moved_at: None, log: None, kills: VecDeque::from([kill]) };
        assert_eq!(watch.trace(Pid(78)), OomReading::Possible);
        assert!(matches!(watch.trace(Pid(77)), OomReading::Proven(_)));
        assert_eq!(watch.trace(Pid(77)), OomReading::Possible);
        watch.moved_at = Some(1);
        assert_eq!(watch.trace(Pid(79)), OomReading::Excluded);
        watch.count = None;
        assert_eq!(watch.trace(Pid(79)), OomReading::Unknown);
    }
}
