//! What this process holds and makes is its user's alone.

use std::io;

use nix::sys::stat::Mode;

use crate::os::limits;

/// From now on this process leaves no core dump, and only root can look into its memory: it holds the secrets of all
/// services. Children are as they would have been: execve(2) ends the one, the guardian gives the limit back.
///
/// # Errors
/// As prctl(2) and setrlimit(2).
pub fn keep_memory() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    limits::no_core()
}

/// From now on the files of this process are for its user alone, and for that user they are, whatever umask it was
/// started with.
pub fn keep_files() {
    nix::sys::stat::umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
