//! everup: a process supervisor for web apps.
//!
//! One idea: *decide apart from do*. [`core`] decides: plain data, pure functions, no clock, no I/O.
//! [`daemon`] does: one loop that owns the core. Everything else is a pair of hands or a door.
//!
//! | room | |
//! |---|---|
//! | [`model`] | the words everyone shares |
//! | [`core`] | decides: states, restarts, probes' thresholds, dependencies, causes |
//! | [`config`] | reads: text → plan |
//! | [`os`] | touches the kernel; the only room with `unsafe` |
//! | [`probe`] | asks a service how it is |
//! | [`watch`] | sees which files have changed |
//! | [`logs`] | keeps what children say |
//! | [`history`] | remembers events and runs |
//! | [`meter`] | counts what happened and what was used, for whoever looks |
//! | [`notify`] | tells somebody outside |
//! | [`chart`] | draws series of figures: SVG and PNG |
//! | [`handle`] | what doors hold |
//! | [`server`] | lets in: HTTP on the control socket and on TCP |
//! | [`client`] | the other side of that door |
//! | [`guardian`] | the small parent process of every child |
//! | [`daemon`] | the engine's shell around the core |
//! | [`cli`] | talks to people |

pub mod chart;
pub mod cli;
pub mod client;
pub mod config;
pub mod core;
pub mod daemon;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guardian;
pub mod handle;
pub mod history;
pub mod logs;
pub mod meter;
pub mod model;
pub mod notify;
pub mod os;
pub mod probe;
pub mod server;
pub mod watch;
