//! One file a verb: its options and what it does.

pub(crate) mod acting;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod probe;
pub(crate) mod reload;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod schema;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod why;
