//! The real binary, real processes. Tests wait for conditions with a deadline; no timing is asserted.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and is a process of its own beside everup"
)]

mod support;

mod adopt;
mod attack;
mod deaths;
mod dev;
mod developing;
mod doors;
mod faults;
mod history;
mod hooks;
mod init;
mod life;
mod limits;
mod listen;
mod logs;
mod manager;
mod metrics;
mod notifications;
mod notify;
mod openapi;
mod page;
mod people;
mod plot;
mod policies;
mod privileges;
mod probes;
mod reconnect;
mod resume;
mod secrets;
mod terminal;
mod top;
mod tornado;
mod trees;
mod upgrade;
mod usage;
mod why;
