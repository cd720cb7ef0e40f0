//! Touches the kernel, without policy. The only room with `unsafe`.

pub mod cgroup;
pub mod clock;
pub mod environment;
pub mod limits;
pub mod pipe;
mod procfs;
pub mod reap;
pub mod seqpacket;
pub mod signals;
pub mod spawn;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
