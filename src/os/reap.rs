//! Takes the ends of children: the one place that calls wait(2) for children at large.
#![expect(unsafe_code, reason = "wait4 has no safe wrapper that tells what the child used")]

use crate::model::names::Pid;
use crate::model::service::End;
use crate::model::signal::Signal;

/// One child that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its number, free for reuse from now on.
    pub pid: Pid,
    /// How it ended.
    pub end: End,
    /// CPU time it and its waited-for children used, in microseconds.
    pub cpu_us: u64,
    /// The largest resident memory it or one of its waited-for children had, in bytes.
    pub max_rss: u64,
}

/// The next child that has ended, if there is one now. Never waits.
pub fn next() -> Option<Reaped> {
    let mut status = 0;
    loop {
        // SAFETY: all zero is a valid value of this plain C struct.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes into both places.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut used) };
        if pid <= 0 {
            return None;
        }
        let Some(end) = end(status) else { continue };
        let us = |time: libc::timeval| {
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
        };
        return Some(Reaped {
            pid: Pid(pid),
            end,
            cpu_us: us(used.ru_utime) + us(used.ru_stime),
            max_rss: u64::try_from(used.ru_maxrss).unwrap_or(0) * 1024,
        });
    }
}

/// What a wait status says about an end; none for a stop or a continuation.
pub(super) fn end(status: i32) -> Option<End> {
    if libc::WIFEXITED(status) {
        return Some(End::Code(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        let core = libc::WCOREDUMP(status);
        return Some(
            Signal::from_number(libc::WTERMSIG(status)).map_or(End::Unknown, |signal| End::Signal { signal, core }),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_says_how_it_ended() {
        let signal = |number, core| End::Signal { signal: Signal::from_number(number).unwrap(), core };
        for (status, expected) in [
            (0, Some(End::Code(0))),
            (137 << 8, Some(End::Code(137))),
            (9, Some(signal(9, false))),
            (0x8b, Some(signal(11, true))),
            (0x137f, None),
            (0xffff, None),
        ] {
            assert_eq!(end(status), expected, "{status:#x}");
        }
    }
}
