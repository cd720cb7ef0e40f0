//! Tree → plan: every key decoded, every default filled in, every error of the file collected.

mod checks;
mod health;
mod listen;
mod logs;
mod measure;
mod needs;
mod notify;
mod ports;
mod project;
mod restart;
mod service;
mod url;
mod watch;

pub(super) use project::{default_state_dir, name_of_folder, project, usable_name};
