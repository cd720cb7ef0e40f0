//! Our own memory.
#![expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]

/// Gives memory that a burst of work needed back to the system; takes about 0.1 ms. Does nothing where the C library
/// has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
