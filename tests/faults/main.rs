//! Every fault of the catalogue (docs/reliability.md) that can be produced on one machine, by its number. The real
//! binary, real processes, real injections. Tests that need root print that they were skipped without it.
//!
//! What takes long is ignored here and run by `tests/faults/run`.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and is a process of its own beside everup"
)]

#[expect(dead_code, reason = "shared with tests/e2e, which uses all of it")]
#[path = "../e2e/support.rs"]
mod support;
mod tools;

mod child;
mod control;
mod files;
mod kernel;
mod logs;
mod probe;
mod supervisor;
mod time;
mod trees;
