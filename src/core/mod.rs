//! Decides: events and the time go in, actions come out. Plain data; no clock, no I/O, no panic.

pub mod action;
pub mod event;
