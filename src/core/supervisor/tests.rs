//! The rules of the contract, as cases on a bench.

mod changes;
mod ends;
mod people;
mod probes;
mod together;
