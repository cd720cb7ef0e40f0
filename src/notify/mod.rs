//! Tells somebody outside: what a message says, and how it gets to where it is to go.
//!
//! Decided is elsewhere (`core::alarm`). Here a [`courier::Courier`] per target delivers one message after the other and
//! tries again for a while; nobody who sends one ever waits for it.

pub mod courier;
pub mod message;
pub mod secrets;
pub mod webhook;
