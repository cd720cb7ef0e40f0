//! The doors, driven through real sockets with a made-up loop behind them.

pub(super) mod canned;
