//! Descriptors that tokio watches.
#![expect(unsafe_code, reason = "tokio wants a promise that the type system cannot give")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor until it is readable. Needs a runtime with I/O.
///
/// # Errors
/// When the kernel cannot watch it (a regular file), or watches too many.
pub fn readable<T: AsRawFd + AsFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: by `AsFd` the value lends a descriptor that is valid and its own for as long as it lives, and the
    // `AsyncFd` owns the value.
    Ok(unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }?)
}
