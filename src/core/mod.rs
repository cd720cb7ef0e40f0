//! Decides: events and the time go in, actions come out. Plain data; no clock, no I/O, no panic.

pub mod action;
pub mod event;
pub mod supervisor;

pub(crate) mod alarm;
pub(crate) mod backoff;
pub(crate) mod budget;
pub(crate) mod cause;
pub(crate) mod context;
pub(crate) mod drift;
pub(crate) mod graph;
pub(crate) mod habit;
pub(crate) mod health;
pub(crate) mod instance;
pub(crate) mod reconcile;
pub(crate) mod reload;
pub(crate) mod service;
pub(crate) mod swap;
pub(crate) mod verdict;
