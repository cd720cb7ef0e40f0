//! Turns answers into texts for people.

pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod outcome;
pub(crate) mod plot;
pub(crate) mod service;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod why;

#[cfg(test)]
mod tests;
