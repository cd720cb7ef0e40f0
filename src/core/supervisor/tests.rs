//! The rules of the contract, as cases on a bench.

mod changes;
mod checks;
mod development;
mod ends;
mod memory;
mod own_files;
mod people;
mod probes;
mod reloads;
mod requests;
mod sockets;
mod together;
