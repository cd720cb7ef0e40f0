//! What tests need of the kernel.
#![expect(unsafe_code, reason = "fork")]

use std::os::fd::AsFd;
use std::process::{Child, Command};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Does `work` in a process that has no other thread, and returns its exit code: tests have a thread each, but the
/// signals of a process are not for one thread to block.
pub(crate) fn in_a_process_of_its_own(work: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the library's fork leaves its own locks usable in the child, and the child runs on in a thread that
    // holds none.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Child => leave(work().into()),
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            other => panic!("{other:?}"),
        },
    }
}

/// Ends this process with `code`, without what the test harness does at its end.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(code) }
}

/// Starts a process, which the test waits for.
#[expect(clippy::disallowed_methods, reason = "a test needs something to look at")]
pub(crate) fn start(command: &mut Command) -> Child {
    command.spawn().expect("a process")
}

/// Waits until `fd` becomes readable, as a pidfd does when its process ends.
pub(crate) fn wait_for(fd: impl AsFd) {
    let mut watched = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, 20_000_u16), Ok(1), "in vain");
}
