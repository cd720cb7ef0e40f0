//! Small files of /proc, read without leaving anything behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::model::names::Pid;

/// What `/proc/PID/stat` says, as far as anyone here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// One letter: `R`, `S`, `D`, `T`, `Z`, …
    pub(super) state: u8,
    /// Its parent.
    pub(super) parent: i32,
    /// Its session.
    pub(super) session: i32,
    /// The device number of its controlling terminal; 0: none.
    pub(super) terminal: u32,
    /// CPU time used, in clock ticks, user and system.
    pub(super) ticks: u64,
    /// How many threads it has.
    pub(super) threads: u32,
    /// When it started, in ticks since boot: with the pid it names a process for good.
    pub(super) start: u64,
    /// Resident memory in pages.
    pub(super) pages: u64,
}

impl Stat {
    /// Of the process with this number now.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let mut buffer = [0; 1024];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut buffer).ok()?;
        Self::parse(&buffer[..length])
    }

    /// Reads a `stat` file that was opened earlier; none once its process is gone.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut buffer = [0; 1024];
        let length = file.read_at(&mut buffer, 0).ok()?;
        Self::parse(&buffer[..length])
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may itself hold any byte, so the last closing one ends it.
        let after = text.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(text.get(after + 1..)?).ok()?;
        let mut fields = text.split_ascii_whitespace();
        // Numbered as in proc_pid_stat(5), where the state is field 3.
        let state = fields.next()?.bytes().next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let terminal = fields.next()?.parse::<i32>().ok()?.cast_unsigned();
        let user: u64 = fields.nth(6)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let threads = fields.nth(4)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        let pages = fields.nth(1)?.parse().unwrap_or(0);
        Some(Self { state, parent, session, terminal, ticks: user.saturating_add(system), threads, start, pages })
    }
}

/// At most `limit` bytes of a file.
pub(super) fn read_up_to(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    // These files tell no size; with room from the start one call reads most of them.
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The numbers in a text, one a line or separated by blanks; what is no number is passed over.
pub(super) fn pids(text: &[u8]) -> impl Iterator<Item = Pid> {
    text.split(u8::is_ascii_whitespace).filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok().map(Pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_reads_whatever_the_name_of_the_process() {
        let rest = " S 7 8 9 34816 9 4194560 1 2 3 4 11 12 0 0 20 0 3 0 5555 8192 77 18446744073709551615 1 1";
        for name in ["tiny", "a b", ") S 1", "x(y)z", "\u{fc}"] {
            let line = format!("42 ({name}){rest}");
            let stat = Stat::parse(line.as_bytes()).unwrap();
            let expected = Stat {
                state: b'S',
                parent: 7,
                session: 9,
                terminal: 34816,
                ticks: 23,
                threads: 3,
                start: 5555,
                pages: 77,
            };
            assert_eq!(stat, expected, "{name}");
        }
        for broken in ["", "42 (x", "42 (x) S", "42 (x) S a b c", "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13"] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn our_own_stat_is_there() {
        let own = Pid(std::process::id().cast_signed());
        let stat = Stat::of(own).unwrap();
        assert!(stat.threads >= 1 && stat.pages > 0 && stat.start > 0, "{stat:?}");
    }
}
