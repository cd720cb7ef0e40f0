//! Asks a service how it is: one question, one answer, within one deadline. Counts nothing and judges nothing.

pub mod ask;
pub mod command;
pub mod lines;
pub mod tools;

mod connect;
mod http;
mod names;
mod reason;
