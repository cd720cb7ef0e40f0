//! Keeps what children say.
pub mod read;
