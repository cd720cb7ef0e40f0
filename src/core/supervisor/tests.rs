//! The rules of the contract, as cases on a bench.

mod changes;
mod development;
mod ends;
mod people;
mod probes;
mod reloads;
mod sockets;
mod together;
