//! The words everyone shares: plain data, no behaviour beyond its own validity.
//!
//! May use std, serde, schemars and jiff (to write a point in time down); never another room.

pub mod command;
pub mod event;
pub mod log;
pub mod names;
pub mod plan;
pub mod probe;
pub mod service;
pub mod signal;
pub mod status;
pub mod template;
pub mod units;
pub mod why;
