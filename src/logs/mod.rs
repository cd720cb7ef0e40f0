//! Keeps what children say: every byte of a stream once, in files that are rotated by size, beside an index of times and runs.
//!
//! [`pump`] moves bytes from pipes into files, [`read`] turns files into lines.

pub mod blame;
mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod index;
mod names;
pub mod pump;
pub mod read;
mod rotate;

/// A longer line is read in pieces of this many bytes, and may be torn by a rotation.
const LONGEST_LINE: usize = 64 * 1024;
