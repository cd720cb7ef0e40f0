//! Points at which a test lets this process die. With the feature `killpoints` alone; without it nothing of them is left.
//!
//! `EVERUP_KILLPOINT` names a file. While it says `name`, whoever passes the point of that name removes it and is killed
//! by that; `name:3`: at the third passing; `name:3:panic`: it panics there. So one life ends of all that pass.

/// Passes the point `name`.
#[cfg(not(feature = "killpoints"))]
#[inline]
pub const fn pass(_: &str) {}

/// Passes the point `name`; does not come back where this life is to end here.
#[cfg(feature = "killpoints")]
pub fn pass(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Some(file) = std::env::var_os("EVERUP_KILLPOINT") else { return };
    let Ok(told) = std::fs::read_to_string(&file) else { return };
    let mut words = told.trim().split(':');
    if words.next() != Some(name) {
        return;
    }
    let count = words.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 < count || std::fs::remove_file(&file).is_err() {
        return;
    }
    if words.next() == Some("panic") {
        std::panic::panic_any("a kill point");
    }
    // The signal takes effect before the call returns.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
}
