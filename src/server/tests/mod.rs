//! The doors, driven through real sockets with a made-up loop behind them.

mod abuse;
mod answers;
pub(crate) mod canned;
mod client;
mod page;
mod streams;
mod visitors;
mod world;
