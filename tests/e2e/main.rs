//! The real binary, real processes. Tests wait for conditions with a deadline; no timing is asserted.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and is a process of its own beside everup"
)]

mod support;

mod deaths;
mod dev;
mod developing;
mod doors;
mod faults;
mod history;
mod hooks;
mod life;
mod limits;
mod listen;
mod logs;
mod metrics;
mod notifications;
mod notify;
mod page;
mod people;
mod plot;
mod policies;
mod probes;
mod reconnect;
mod resume;
mod secrets;
mod terminal;
mod top;
mod tornado;
mod trees;
mod usage;
mod why;
