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
    /// Page faults without I/O: its own, and those of children it has waited for.
    pub(super) minor: [u64; 2],
    /// Page faults that read from storage, likewise.
    pub(super) major: [u64; 2],
    /// CPU time in user mode, in clock ticks, likewise.
    pub(super) user: [u64; 2],
    /// CPU time in the kernel, likewise.
    pub(super) system: [u64; 2],
    /// How many threads it has.
    pub(super) threads: u32,
    /// When it started, in ticks since boot: with the pid it names a process for good.
    pub(super) start: u64,
    /// Resident memory in pages.
    pub(super) pages: u64,
    /// Time its main thread waited for storage, in clock ticks; 0 unless the kernel accounts for delays.
    pub(super) io_wait: u64,
    /// The wait status of a zombie; 0 for everybody else, and for whoever may not look into the process.
    pub(super) exit_code: i32,
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
        let mut fields = text.get(after + 2..)?.trim_ascii_end().split(|byte| *byte == b' ');
        // Numbered as in proc_pid_stat(5), where the state is field 3.
        let state = *fields.next()?.first()?;
        let parent = i32::try_from(number(fields.next()?)?).ok()?;
        let session = i32::try_from(number(fields.nth(1)?)?).ok()?;
        let terminal = signed(fields.next()?)?.cast_unsigned();
        let mut next = |skip| fields.nth(skip).and_then(number);
        let (minor, waited_minor, major, waited_major) = (next(2)?, next(0)?, next(0)?, next(0)?);
        let (user, system, waited_user, waited_system) = (next(0)?, next(0)?, next(0)?, next(0)?);
        let threads = u32::try_from(next(2)?).ok()?;
        let start = next(1)?;
        let pages = next(1).unwrap_or(0);
        let io_wait = next(17).unwrap_or(0);
        let exit_code = next(9).and_then(|status| i32::try_from(status).ok()).unwrap_or(0);
        Some(Self {
            state,
            parent,
            session,
            terminal,
            minor: [minor, waited_minor],
            major: [major, waited_major],
            user: [user, waited_user],
            system: [system, waited_system],
            threads,
            start,
            pages,
            io_wait,
            exit_code,
        })
    }
}

/// A number without a sign; none when it is anything else, or too large.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn signed(word: &[u8]) -> Option<i32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The number after `key` at the beginning of a line, as in `read_bytes: 4096` and `VmSwap:\t  12 kB`.
pub(super) fn figure(text: &[u8], key: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key))?;
    number(line.split(|byte| !byte.is_ascii_digit()).find(|word| !word.is_empty())?)
}

/// As [`figure`], for a key that begins with the line break before it; also what follows its line, so that several can
/// be taken in one go.
pub(super) fn next_figure<'a>(text: &'a [u8], key: &[u8]) -> Option<(u64, &'a [u8])> {
    let at = text.windows(key.len()).position(|part| part == key)?;
    let after = text.get(at + key.len()..)?;
    let line = after.split(|byte| *byte == b'\n').next()?;
    let value = number(line.split(|byte| !byte.is_ascii_digit()).find(|word| !word.is_empty())?)?;
    Some((value, after.get(line.len()..)?))
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
        let rest = " S 7 8 9 34816 9 4194560 1 2 3 4 11 12 13 14 20 0 3 0 5555 8192 77 18446744073709551615 1 1 0 0 0 0 \
                    0 0 0 0 0 0 17 1 0 0 42 0 0 1 2 3 4 5 6 7 1792\n";
        for name in ["tiny", "a b", ") S 1", "x(y)z", "\u{fc}"] {
            let line = format!("42 ({name}){rest}");
            let stat = Stat::parse(line.as_bytes()).unwrap();
            let expected = Stat {
                state: b'S',
                parent: 7,
                session: 9,
                terminal: 34816,
                minor: [1, 2],
                major: [3, 4],
                user: [11, 13],
                system: [12, 14],
                threads: 3,
                start: 5555,
                pages: 77,
                io_wait: 42,
                exit_code: 1792,
            };
            assert_eq!(stat, expected, "{name}");
        }
        for broken in ["", "42 (x", "42 (x) S", "42 (x) S a b c", "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13"] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn figures_are_found_by_their_key() {
        let text = b"Name:\tx\nVmSwap:\t      12 kB\nvoluntary_ctxt_switches:\t345\nnonvoluntary_ctxt_switches:\t6\n";
        assert_eq!(figure(text, b"VmSwap:"), Some(12));
        assert_eq!(figure(text, b"voluntary_ctxt_switches:"), Some(345));
        assert_eq!(figure(text, b"VmRSS:"), None);
        let (swap, after) = next_figure(text, b"\nVmSwap:").unwrap();
        assert_eq!((swap, next_figure(after, b"\nvoluntary_ctxt_switches:").map(|found| found.0)), (12, Some(345)));
        assert_eq!(next_figure(after, b"\nVmSwap:"), None);
        assert_eq!(figure(b"Max open files            123                  456  files", b"Max open files"), Some(123));
        assert_eq!((number(b""), number(b"1x"), number(b"99999999999999999999")), (None, None, None));
    }

    #[test]
    fn our_own_stat_is_there() {
        let own = Pid(std::process::id().cast_signed());
        let stat = Stat::of(own).unwrap();
        assert!(stat.threads >= 1 && stat.pages > 0 && stat.start > 0, "{stat:?}");
    }
}
