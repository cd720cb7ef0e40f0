//! (room)
pub mod clock;
