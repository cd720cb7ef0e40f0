//! clone3(2): a child that shares our memory until it executes its program, or one with a copy.
#![expect(unsafe_code, reason = "clone3 has no wrapper in libc")]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use crate::os::spawn::Home;
use crate::os::spawn::child::{self, Orders};
use crate::os::spawn::workspace::Stack;

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

impl Arguments {
    fn new(home: Home<'_>) -> Self {
        let mut arguments = Self { flags: CLONE_CLEAR_SIGHAND, ..Self::default() };
        if home.beside {
            // What our parent is told of our own end, it is told of this one's.
            arguments.flags |= u64::from(libc::CLONE_PARENT.cast_unsigned());
        } else {
            arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        }
        if let Some(folder) = home.born {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = u64::from(folder.as_raw_fd().cast_unsigned());
        }
        arguments
    }
}

/// Whether [`sharing_memory`] is to be had on this machine.
pub(super) const CAN_SHARE: bool = cfg!(target_arch = "x86_64");

/// Makes a child that carries `orders` out in our own memory, at a third of the price of a copy.
///
/// # Errors
/// As clone3(2).
///
/// # Safety
/// `orders`, all that it points to, and `stack` stay as they are, used by nobody else, until the child has executed its
/// program or ended. All signals are blocked in this thread.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn sharing_memory(orders: *const Orders, stack: &Stack, home: Home<'_>) -> io::Result<i32> {
    let mut arguments = Arguments::new(home);
    arguments.flags |= u64::from(libc::CLONE_VM.cast_unsigned());
    (arguments.stack, arguments.stack_size) = stack.extent();
    let result: i64;
    // SAFETY: in the parent only rax, rcx and r11 change. The child starts on its own empty, aligned stack, calls
    // `child::run`, which never returns, and so never touches this frame.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, rdx",
            "call r8",
            "ud2",
            "2:",
            // Named registers: of its own choice the compiler may take rbp, which is cleared above.
            in("r8") child::run as unsafe extern "C" fn(*const Orders) -> !,
            in("rdx") orders,
            inout("rax") libc::SYS_clone3 => result,
            in("rdi") ptr::from_ref(&arguments),
            in("rsi") size_of::<Arguments>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL))),
    }
}

/// Not on this machine.
///
/// # Errors
/// Always.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn sharing_memory(_orders: *const Orders, _stack: &Stack, _home: Home<'_>) -> io::Result<i32> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Makes a child that carries `orders` out in a copy of our memory.
///
/// # Errors
/// As clone3(2).
pub(super) fn with_a_copy(orders: &Orders, home: Home<'_>) -> io::Result<i32> {
    let arguments = Arguments::new(home);
    // SAFETY: without CLONE_VM the child has a copy of all our memory, this stack included, and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&arguments), size_of::<Arguments>()) };
    both_sides(pid, orders)
}

/// As [`with_a_copy`], the way older kernels and sandboxes know: our signal handlers are copied too, and it is born in
/// our own control group.
///
/// # Errors
/// As fork(2).
pub(super) fn by_fork(orders: &Orders) -> io::Result<i32> {
    // SAFETY: a fork(2) without the library's own preparations, which the child does not need: it never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    both_sides(pid, orders)
}

fn both_sides(pid: i64, orders: &Orders) -> io::Result<i32> {
    match i32::try_from(pid) {
        // SAFETY: this is the child, with its own copy of the orders.
        Ok(0) => unsafe { child::run(orders) },
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}
