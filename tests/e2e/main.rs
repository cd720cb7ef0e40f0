//! The real binary, real processes. Tests wait for conditions with a deadline; no timing is asserted.

mod support;

mod life;
mod logs;
mod people;
mod secrets;
mod tornado;
mod trees;
mod why;
