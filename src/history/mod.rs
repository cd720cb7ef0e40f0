//! Remembers.
pub mod query;
