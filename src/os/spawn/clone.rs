//! clone3(2) into the parent's own memory, on a stack of its own.
//!
//! `CLONE_VM | CLONE_VFORK` costs about 35 µs whatever the parent's size; the parent sleeps until execve or exit.
#![expect(unsafe_code, reason = "clone3 with a stack of its own has no wrapper in libc")]

use std::io;

use crate::os::spawn::child::Orders;

/// `struct clone_args` of the kernel, up to `cgroup` (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where the child starts; never returns.
pub(super) type Entry = unsafe extern "C" fn(*const Orders) -> !;

/// Makes a child that runs `entry(orders)` on `stack` in our memory, born in `cgroup`; returns its pid once it has
/// executed its program or ended.
///
/// # Errors
/// As clone3(2); `ENOSYS` where this machine or kernel has no such call.
///
/// # Safety
/// `stack` is a writable area of `stack_size` bytes used by nobody else; `entry` keeps to what `child` promises; all
/// signals are blocked in this thread.
pub(super) unsafe fn into_our_memory(
    entry: Entry,
    orders: *const Orders,
    stack: *mut u8,
    stack_size: usize,
    cgroup: Option<i32>,
) -> io::Result<i32> {
    let memory = libc::CLONE_VM as u64 | libc::CLONE_VFORK as u64 | CLONE_CLEAR_SIGHAND;
    let arguments = Arguments {
        flags: memory | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        exit_signal: libc::SIGCHLD as u64,
        stack: stack as u64,
        stack_size: stack_size as u64,
        cgroup: cgroup.map_or(0, |fd| fd as u64),
        ..Arguments::default()
    };
    // SAFETY: as the caller vouches.
    let result = unsafe { raw(&arguments, entry, orders) };
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL))),
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn raw(arguments: &Arguments, entry: Entry, orders: *const Orders) -> i64 {
    let result: i64;
    // SAFETY: in the parent only rax, rcx and r11 change. The child starts on its own empty, aligned stack, calls
    // `entry`, which never returns, and so never touches this frame.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {orders}",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            orders = in(reg) orders,
            inout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<Arguments>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn raw(arguments: &Arguments, entry: Entry, orders: *const Orders) -> i64 {
    let result: i64;
    // SAFETY: in the parent only x0 changes. The child starts on its own empty, aligned stack, calls `entry`, which
    // never returns, and so never touches this frame.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {orders}",
            "blr {entry}",
            "brk #1",
            "2:",
            entry = in(reg) entry,
            orders = in(reg) orders,
            in("x8") libc::SYS_clone3,
            inout("x0") std::ptr::from_ref(arguments) => result,
            in("x1") size_of::<Arguments>(),
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw(_arguments: &Arguments, _entry: Entry, _orders: *const Orders) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Makes a child with a copy of our memory, the way every kernel and sandbox knows; returns its pid once it has
/// executed its program or ended. Costs more the larger we are.
///
/// # Errors
/// As fork(2).
///
/// # Safety
/// `entry` keeps to what `child` promises; all signals are blocked in this thread.
pub(super) unsafe fn into_a_copy(entry: Entry, orders: *const Orders) -> io::Result<i32> {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has its own copy of this stack, so returning twice is sound.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        // SAFETY: this is the child, and its parent is suspended.
        0 => unsafe { entry(orders) },
        pid if pid > 0 => Ok(i32::try_from(pid).unwrap_or(i32::MAX)),
        _ => Err(io::Error::last_os_error()),
    }
}
