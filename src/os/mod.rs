//! Touches the kernel, without policy. The only room with `unsafe`.

pub mod cgroup;
pub mod clock;
pub mod dirs;
pub mod environment;
pub mod executable;
pub mod host;
pub mod identity;
pub mod job;
pub mod killpoint;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod memfd;
pub mod memory;
mod message;
pub mod notify;
pub mod oom;
pub mod own;
pub mod pidfd;
pub mod pipe;
pub mod privacy;
mod procfs;
pub mod program;
pub mod readiness;
pub mod reap;
pub mod seqpacket;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod stderr;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod usage;
pub mod users;
