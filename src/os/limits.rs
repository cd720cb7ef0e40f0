//! Our own resource limits.
#![expect(unsafe_code, reason = "the 64-bit calls have no safe wrapper")]

use std::io;

/// The limit of open files, soft and hard, as it holds for us now.
pub(crate) fn open_files() -> io::Result<libc::rlimit64> {
    get(libc::RLIMIT_NOFILE)
}

/// The limit of core dumps, soft and hard, as it holds for us now.
pub(crate) fn core() -> io::Result<libc::rlimit64> {
    get(libc::RLIMIT_CORE)
}

/// Raises our own soft limit of open files to the hard one; children of the guardian get the original back.
///
/// # Errors
/// As setrlimit(2); nothing is changed then.
pub fn raise_open_files() -> io::Result<()> {
    let mut limit = open_files()?;
    limit.rlim_cur = limit.rlim_max;
    set(libc::RLIMIT_NOFILE, &limit)
}

/// Sets our own soft limit of core dumps to nothing; children of the guardian get the original back.
///
/// # Errors
/// As setrlimit(2).
pub(crate) fn no_core() -> io::Result<()> {
    let limit = core()?;
    set(libc::RLIMIT_CORE, &libc::rlimit64 { rlim_cur: 0, ..limit })
}

fn get(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into `limit`.
    match unsafe { libc::getrlimit64(resource, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(resource: libc::__rlimit_resource_t, limit: &libc::rlimit64) -> io::Result<()> {
    // SAFETY: only reads `limit`.
    match unsafe { libc::setrlimit64(resource, limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
