//! The child's way from clone to execve.
//!
//! It runs in a copy of a process that may have had other threads and held locks: nothing here allocates, locks,
//! panics or returns, and every step is a bare system call.
#![expect(unsafe_code, reason = "system calls between clone and execve, where std must not be used")]

use std::ffi::{c_char, c_long};
use std::ptr;

use crate::model::service::SpawnStage;
use crate::os::spawn::spec::{Session, SpawnFailure};

/// Everything the child needs, prepared before the clone: its copy stays as it is, whatever the parent does next.
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
    /// A further descriptor that stays open under its number.
    pub(super) keep: Option<i32>,
    /// User, group, and the supplementary groups.
    pub(super) credentials: Option<(u32, u32, *const u32, usize)>,
    /// Bit n-1: signal n goes back to its default action.
    pub(super) reset: u64,
    /// The `cgroup.procs` to join by hand, where clone could not.
    pub(super) join: Option<i32>,
    /// The pipe where a failure is told, as [`report`] encodes it; execve closes it.
    pub(super) report: i32,
}

/// How many bytes a report has.
pub(super) const REPORT: usize = 5;

/// The steps that can fail here, by the number that stands for them in a report.
const STAGES: [SpawnStage; 8] = [
    SpawnStage::Cgroup,
    SpawnStage::Session,
    SpawnStage::Limits,
    SpawnStage::Nice,
    SpawnStage::Cwd,
    SpawnStage::Fds,
    SpawnStage::Credentials,
    SpawnStage::Exec,
];

/// A failure as bytes: the step, then the error number.
fn report(stage: SpawnStage, errno: i32) -> [u8; REPORT] {
    let mut number = 0;
    for (index, known) in (0_u8..).zip(STAGES) {
        if known == stage {
            number = index;
        }
    }
    let [a, b, c, d] = errno.to_ne_bytes();
    [number, a, b, c, d]
}

/// The failure that a report tells.
pub(super) fn read_report([number, a, b, c, d]: [u8; REPORT]) -> SpawnFailure {
    let stage = STAGES.get(usize::from(number)).copied().unwrap_or(SpawnStage::Exec);
    SpawnFailure { stage, errno: i32::from_ne_bytes([a, b, c, d]) }
}

macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: a bare system call; every pointer comes from `Orders` or from this stack.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

/// Carries the orders out and executes the program; on failure reports and exits.
///
/// Only in a child: it never comes back.
pub(super) fn run(orders: &Orders) -> ! {
    let (stage, errno) = carry_out(orders);
    let bytes = report(stage, errno);
    call!(SYS_write, orders.report, bytes.as_ptr(), bytes.len());
    loop {
        call!(SYS_exit_group, 127);
    }
}

/// Comes back only with the step that failed.
fn carry_out(orders: &Orders) -> (SpawnStage, i32) {
    match steps(orders) {
        Ok(()) => {
            call!(SYS_execve, orders.program, orders.argv, orders.envp);
            (SpawnStage::Exec, errno())
        }
        Err(stage) => (stage, errno()),
    }
}

fn steps(orders: &Orders) -> Result<(), SpawnStage> {
    if let Some(procs) = orders.join {
        check(call!(SYS_write, procs, c"0".as_ptr(), 1), SpawnStage::Cgroup)?;
    }
    if orders.session != Session::Keep {
        check(call!(SYS_setsid), SpawnStage::Session)?;
    }
    for (resource, limit) in orders.limits.iter().flatten() {
        let keep_old = ptr::null_mut::<libc::rlimit64>();
        check(call!(SYS_prlimit64, 0, *resource, ptr::from_ref(limit), keep_old), SpawnStage::Limits)?;
    }
    if let Some(nice) = orders.nice {
        check(call!(SYS_setpriority, libc::PRIO_PROCESS, 0, nice), SpawnStage::Nice)?;
    }
    if let Some(umask) = orders.umask {
        call!(SYS_umask, umask);
    }
    check(call!(SYS_chdir, orders.cwd), SpawnStage::Cwd)?;
    wire(orders)?;
    if let Some((uid, gid, groups, count)) = orders.credentials {
        check(call!(SYS_setgroups, count, groups), SpawnStage::Credentials)?;
        check(call!(SYS_setresgid, gid, gid, gid), SpawnStage::Credentials)?;
        check(call!(SYS_setresuid, uid, uid, uid), SpawnStage::Credentials)?;
    }
    reset_signals(orders.reset);
    Ok(())
}

fn wire(orders: &Orders) -> Result<(), SpawnStage> {
    for (target, source) in (0_i32..).zip(&orders.stdio) {
        if let Some(source) = source {
            check(call!(SYS_dup3, *source, target, 0), SpawnStage::Fds)?;
        }
    }
    // Ours are close-on-exec anyway; this catches what came to us open. Before Linux 5.11 those few stay open.
    call!(SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    if let Some(keep) = orders.keep {
        check(call!(SYS_fcntl, keep, libc::F_SETFD, 0), SpawnStage::Fds)?;
    }
    if orders.session == Session::Terminal {
        check(call!(SYS_ioctl, 0, libc::TIOCSCTTY, 0), SpawnStage::Session)?;
    }
    Ok(())
}

fn reset_signals(reset: u64) {
    // The kernel's sigaction, all zero: default action, no flags.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        if reset & (1 << (signal - 1)) != 0 {
            call!(SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8_usize);
        }
    }
    let none = 0_u64;
    call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, ptr::from_ref(&none), ptr::null_mut::<u64>(), 8_usize);
}

fn check(result: c_long, stage: SpawnStage) -> Result<(), SpawnStage> {
    if result < 0 { Err(stage) } else { Ok(()) }
}

fn errno() -> i32 {
    // SAFETY: the address of this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}
