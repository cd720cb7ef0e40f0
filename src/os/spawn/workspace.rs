//! The memory a child works in until it executes its program.
#![expect(unsafe_code, reason = "a mapping with a guard page")]

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::rc::Rc;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::os::spawn::child::{Orders, PID_DIGITS, Report};
use crate::os::spawn::spec::SpawnSpec;

/// A stack; at its lower end a page that nobody may touch catches an overflow.
#[derive(Debug)]
pub(super) struct Stack(NonNull<u8>);

/// The size of the whole mapping and of its guard, which holds on machines with pages of up to 64 KiB.
const STACK: usize = 192 * 1024;
const GUARD: usize = 64 * 1024;

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        let length = NonZeroUsize::new(STACK).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let area = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE) }?;
        let stack = Self(area.cast());
        // SAFETY: the lower end of the mapping, which nobody uses yet.
        unsafe { mprotect(area, GUARD, ProtFlags::PROT_NONE) }?;
        Ok(stack)
    }

    /// Where it begins and how long it is, as clone3 wants to know.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.0.as_ptr() as u64 + GUARD as u64, (STACK - GUARD) as u64)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; whoever drops it vouches that no child is on it (see `Workspace`).
        let _ = unsafe { munmap(self.0.cast(), STACK) };
    }
}

/// All that one child reads and writes of our memory. Dropped before the child has left it, it stays where it is, for
/// good: a leak, but no harm.
pub(super) struct Workspace {
    memory: Option<Box<Memory>>,
}

/// What a child sees.
pub(super) struct Memory {
    pub(super) stack: Option<Stack>,
    /// The child writes to it, so it is only read once the child has left.
    pub(super) report: UnsafeCell<Report>,
    pub(super) orders: Option<Orders>,
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the child to write the rest.
    pub(super) listen_pid: UnsafeCell<[u8; LISTEN_PID.len() + PID_DIGITS]>,
    pub(super) numbered: Vec<i32>,
    pub(super) spec: Rc<SpawnSpec>,
}

/// What the variable with the child's own process id begins with.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

impl Memory {
    /// What the child is to have of `spec`, with all that only the kernel's answer decides still open.
    pub(super) fn new(spec: &Rc<SpawnSpec>, stack: Option<Stack>, numbered: Vec<i32>) -> Box<Self> {
        let mut listen_pid = [0; LISTEN_PID.len() + PID_DIGITS];
        for (place, byte) in listen_pid.iter_mut().zip(LISTEN_PID) {
            *place = *byte;
        }
        let mut memory = Box::new(Self {
            stack,
            report: UnsafeCell::new(Report { errno: 0, stage: 0 }),
            orders: None,
            argv: spec.argv.pointers(None),
            envp: Vec::new(),
            listen_pid: UnsafeCell::new(listen_pid),
            numbered,
            spec: Rc::clone(spec),
        });
        let own = spec.listen_pid.then(|| memory.listen_pid.get().cast_const().cast());
        memory.envp = spec.env.pointers(own);
        memory
    }

    /// Where the child writes its process id, if it is to.
    pub(super) fn pid_digits(&self) -> Option<*mut u8> {
        self.spec.listen_pid.then(|| self.listen_pid.get().cast::<u8>().wrapping_add(LISTEN_PID.len()))
    }
}

impl Workspace {
    pub(super) fn new(memory: Box<Memory>) -> Self {
        Self { memory: Some(memory) }
    }

    /// The child has left: what it reported, and its stack for the next one.
    pub(super) fn close(&mut self) -> (Option<Report>, Option<Stack>) {
        match self.memory.take() {
            Some(memory) => (Some(memory.report.into_inner()), memory.stack),
            None => (None, None),
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Only a child that shares our memory, which is when there is a stack, can still be in it.
        if let Some(memory) = self.memory.take().filter(|memory| memory.stack.is_some()) {
            std::mem::forget(memory);
        }
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("open", &self.memory.is_some()).finish()
    }
}
