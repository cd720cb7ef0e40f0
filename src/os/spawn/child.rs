//! The child's way from clone to execve.
//!
//! It may work in its parent's own memory, beside the running parent, or in a copy of a process that had other threads
//! and held locks: nothing here allocates, locks, panics or returns, nothing but its own stack and the report is
//! written to, and every step is a bare system call.
#![expect(unsafe_code, reason = "system calls between clone and execve, where std must not be used")]

use std::ffi::{c_char, c_long};
use std::ptr;

use crate::model::service::SpawnStage;
use crate::os::spawn::bare::{Argument, call};
use crate::os::spawn::spec::Session;

/// Everything the child needs, prepared before the clone. Nobody changes it until the child has left.
pub(super) struct Orders {
    pub(super) program: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    pub(super) cwd: *const c_char,
    pub(super) session: Session,
    /// Resource and value, soft and hard.
    pub(super) limits: [Option<(u32, libc::rlimit64)>; 3],
    pub(super) nice: Option<i32>,
    pub(super) umask: Option<u32>,
    /// What becomes stdin, stdout and stderr; none: as it is. All above 2.
    pub(super) stdio: [Option<i32>; 3],
    /// What becomes 3, 4, …, and how many these are. They and whatever is used later lie above.
    pub(super) numbered: (*const i32, usize),
    /// From which number on everything is closed by execve.
    pub(super) closed_from: u32,
    /// A further descriptor that stays open under its number.
    pub(super) keep: Option<i32>,
    /// User, group, and the supplementary groups.
    pub(super) credentials: Option<(u32, u32, *const u32, usize)>,
    /// Bit n-1: signal n goes back to its default action.
    pub(super) reset: u64,
    /// Where the child writes its own process id in digits; see [`PID_DIGITS`].
    pub(super) pid_digits: Option<*mut u8>,
    /// The `cgroup.procs` to join by hand, where clone could not.
    pub(super) join: Option<i32>,
    /// Further `cgroup.procs` to join: those of cgroup v1, which clone knows nothing of.
    pub(super) joins: [Option<i32>; MOST_JOINS],
    /// Where a failure is written down, for a parent that shares this memory …
    pub(super) report: *mut Report,
    /// … or the pipe where it is told to one that does not. A parent that shares the memory must hear nothing but the
    /// end of the pipe: execve and exit close it only after the memory is left.
    pub(super) told: Option<i32>,
}

/// How many control groups of cgroup v1 a child can join: one for its memory, one for its CPU.
pub(super) const MOST_JOINS: usize = 2;

/// Room for any process id and the NUL after it.
pub(super) const PID_DIGITS: usize = 12;

/// A failure.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// 0: none.
    pub(super) errno: i32,
    /// At which step: its place in [`STAGES`].
    pub(super) stage: u32,
}

/// The steps that can fail here.
pub(super) const STAGES: [SpawnStage; 8] = [
    SpawnStage::Cgroup,
    SpawnStage::Session,
    SpawnStage::Limits,
    SpawnStage::Nice,
    SpawnStage::Cwd,
    SpawnStage::Fds,
    SpawnStage::Credentials,
    SpawnStage::Exec,
];
const CGROUP: u32 = 0;
const SESSION: u32 = 1;
const LIMITS: u32 = 2;
const NICE: u32 = 3;
const CWD: u32 = 4;
const FDS: u32 = 5;
const CREDENTIALS: u32 = 6;
const EXEC: u32 = 7;

impl Report {
    /// As bytes for the pipe.
    fn bytes(self) -> [u8; 8] {
        (u64::from(self.stage) << 32 | u64::from(self.errno.cast_unsigned())).to_ne_bytes()
    }

    /// From the bytes of the pipe.
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_ne_bytes(bytes);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        Self { errno: half(both).cast_signed(), stage: half(both >> 32) }
    }
}

/// A system call with up to five arguments; its failure is a failure of the given step.
macro_rules! step {
    ($stage:expr, $number:ident $(, $argument:expr)*) => {{
        let arguments: &[c_long] = &[$(Argument::bits($argument)),*];
        // SAFETY: every pointer comes from `Orders` or from this stack.
        unsafe { call(libc::$number, arguments) }.map_err(|errno| Report { errno, stage: $stage })
    }};
}

/// Carries the orders out and executes the program; on failure reports and exits.
///
/// # Safety
/// Only in a child, and with valid `Orders`: it never comes back.
pub(super) unsafe extern "C" fn run(orders: *const Orders) -> ! {
    // SAFETY: the caller vouches for the orders.
    let orders = unsafe { &*orders };
    if let Err(report) = carry_out(orders) {
        // SAFETY: the place is ours alone until we have left.
        unsafe { ptr::write_volatile(orders.report, report) };
        if let Some(told) = orders.told {
            let bytes = report.bytes();
            let _ = step!(EXEC, SYS_write, told, bytes.as_ptr(), bytes.len());
        }
    }
    loop {
        let _ = step!(EXEC, SYS_exit_group, 127);
    }
}

fn carry_out(orders: &Orders) -> Result<(), Report> {
    for procs in orders.join.iter().chain(orders.joins.iter().flatten()) {
        step!(CGROUP, SYS_write, *procs, c"0".as_ptr(), 1)?;
    }
    if orders.session != Session::Keep {
        step!(SESSION, SYS_setsid)?;
    }
    for (resource, limit) in orders.limits.iter().flatten() {
        step!(LIMITS, SYS_prlimit64, 0, *resource, ptr::from_ref(limit), 0)?;
    }
    if let Some(nice) = orders.nice {
        step!(NICE, SYS_setpriority, libc::PRIO_PROCESS, 0, nice)?;
    }
    if let Some(umask) = orders.umask {
        step!(EXEC, SYS_umask, umask)?;
    }
    step!(CWD, SYS_chdir, orders.cwd)?;
    wire(orders)?;
    if let Some((uid, gid, groups, count)) = orders.credentials {
        step!(CREDENTIALS, SYS_setgroups, count, groups)?;
        step!(CREDENTIALS, SYS_setresgid, gid, gid, gid)?;
        step!(CREDENTIALS, SYS_setresuid, uid, uid, uid)?;
    }
    if let Some(digits) = orders.pid_digits {
        write_own_pid(digits)?;
    }
    reset_signals(orders.reset)?;
    step!(EXEC, SYS_execve, orders.program, orders.argv, orders.envp)?;
    Ok(())
}

fn wire(orders: &Orders) -> Result<(), Report> {
    for (target, source) in (0_i32..).zip(&orders.stdio) {
        if let Some(source) = source {
            step!(FDS, SYS_dup3, *source, target, 0)?;
        }
    }
    let (first, count) = orders.numbered;
    // SAFETY: a list that the parent keeps for us.
    let numbered = unsafe { std::slice::from_raw_parts(first, count) };
    for (target, source) in (3_i32..).zip(numbered) {
        // Never onto itself, which would leave it close-on-exec.
        step!(FDS, SYS_dup3, *source, target, 0)?;
    }
    // Ours are close-on-exec anyway; this catches what came to us open. Before Linux 5.11 those few stay open.
    let _ = step!(FDS, SYS_close_range, orders.closed_from, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    if let Some(keep) = orders.keep {
        step!(FDS, SYS_fcntl, keep, libc::F_SETFD, 0)?;
    }
    if orders.session == Session::Terminal {
        step!(SESSION, SYS_ioctl, 0, libc::TIOCSCTTY, 0)?;
    }
    Ok(())
}

/// Writes it into zeroed memory at least [`PID_DIGITS`] long.
fn write_own_pid(digits: *mut u8) -> Result<(), Report> {
    let pid = step!(EXEC, SYS_getpid)?;
    let (mut length, mut above) = (1, pid / 10);
    while above > 0 && length < PID_DIGITS - 1 {
        length += 1;
        above /= 10;
    }
    let mut rest = pid;
    for place in (0..length).rev() {
        let digit = u8::try_from(rest % 10).unwrap_or(0);
        // SAFETY: within that memory, which is ours alone until we have left.
        unsafe { ptr::write_volatile(digits.add(place), b'0' + digit) };
        rest /= 10;
    }
    Ok(())
}

fn reset_signals(reset: u64) -> Result<(), Report> {
    // The kernel's sigaction, all zero: default action, no flags.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        if reset & (1 << (signal - 1)) != 0 {
            // Two of them cannot be changed and need not be.
            let _ = step!(EXEC, SYS_rt_sigaction, signal, default.as_ptr(), 0, 8_usize);
        }
    }
    let none = 0_u64;
    step!(EXEC, SYS_rt_sigprocmask, libc::SIG_SETMASK, ptr::from_ref(&none), 0, 8_usize)?;
    Ok(())
}
