//! System calls as the kernel takes them, for a child that may share our memory: it must not write to our `errno`.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_long;

/// An argument as its register holds it.
pub(super) trait Argument {
    fn bits(self) -> c_long;
}

impl Argument for c_long {
    fn bits(self) -> c_long {
        self
    }
}

impl Argument for i32 {
    fn bits(self) -> c_long {
        c_long::from(self)
    }
}

impl Argument for u32 {
    fn bits(self) -> c_long {
        c_long::from(self)
    }
}

impl Argument for u64 {
    fn bits(self) -> c_long {
        self.cast_signed()
    }
}

impl Argument for usize {
    fn bits(self) -> c_long {
        self.cast_signed() as c_long
    }
}

impl<T> Argument for *const T {
    fn bits(self) -> c_long {
        self as c_long
    }
}

/// Makes a system call of at most five arguments; what it returns, or its error number.
///
/// # Safety
/// As the call itself demands of its arguments.
pub(super) unsafe fn call(number: c_long, arguments: &[c_long]) -> Result<c_long, i32> {
    let mut registers = [0; 5];
    for (register, argument) in registers.iter_mut().zip(arguments) {
        *register = *argument;
    }
    // SAFETY: as the caller vouches.
    let result = unsafe { raw(number, registers) };
    // The kernel keeps this range for error numbers.
    if (-4095..0).contains(&result) { Err(i32::try_from(-result).unwrap_or(libc::EINVAL)) } else { Ok(result) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: c_long, [first, second, third, fourth, fifth]: [c_long; 5]) -> c_long {
    let result;
    // SAFETY: the kernel changes rax, rcx and r11 only; what the call does to memory the caller vouches for.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Here a child always has a copy of our memory, `errno` included.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn raw(number: c_long, [first, second, third, fourth, fifth]: [c_long; 5]) -> c_long {
    // SAFETY: as the caller vouches.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth) };
    if result >= 0 {
        return result;
    }
    // SAFETY: the address of this thread's errno, always valid.
    -c_long::from(unsafe { *libc::__errno_location() })
}
