//! The words everyone shares: plain data, no behaviour beyond its own validity.
//!
//! May use std, serde, schemars, jiff (to write a point in time down) and strsim (to find the nearest name); never another
//! room.

pub(crate) mod bare;
pub mod command;
pub mod event;
pub mod history;
pub mod log;
pub mod names;
pub mod overview;
pub mod plan;
pub mod probe;
pub mod selector;
pub mod service;
pub mod signal;
pub mod status;
pub mod template;
pub mod units;
pub mod usage;
pub mod watch;
pub mod why;
