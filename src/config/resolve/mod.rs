//! Tree → plan: every key decoded, every default filled in, every error of the file collected.

mod checks;
mod health;
mod logs;
mod needs;
mod project;
mod restart;
mod service;
mod url;

pub(super) use project::{default_state_dir, name_of_folder, project, usable_name};
