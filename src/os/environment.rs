//! Changes to this process's own environment and name, possible only before there is a second thread.
#![expect(unsafe_code, reason = "std calls these unsafe: another thread could be reading the environment")]

use std::ffi::{CString, OsString};

/// Takes a variable out of the environment: returns its value and removes it, so that no child inherits it.
///
/// Does nothing but read once the process has a second thread.
pub fn take(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    if is_single_threaded() {
        // SAFETY: checked: there is no other thread that could read the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    Some(value)
}

/// Puts a variable into the environment, for a program about to be executed in our place.
///
/// Does nothing once the process has a second thread.
pub fn put(name: &str, value: &str) {
    if is_single_threaded() {
        // SAFETY: checked: there is no other thread that could read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Names this process in `ps` and `top`; the kernel keeps 15 bytes.
pub fn set_process_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // Only cosmetic, so a refusal is no trouble.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

fn is_single_threaded() -> bool {
    // Without /proc there is no telling; all callers run before the first thread is made.
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}
