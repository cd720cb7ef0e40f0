//! `Procfile`: one `name: command` a line.

use std::path::Path;

use crate::config::init::{Idea, guard_dollars, read};
use crate::config::split::split;

/// The services of a Procfile; empty without one.
pub(super) fn ideas(folder: &Path) -> Vec<Idea> {
    let text = read(&folder.join("Procfile"));
    let mut ports = (5000_u16..).step_by(100);
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, command)| !name.trim_start().starts_with('#') && !command.trim().is_empty())
        .take(50)
        .map(|(name, command)| {
            let command = guard_dollars(command.trim());
            let listens = command.contains("${PORT}") || name.trim() == "web";
            let plain = split(&command).is_ok_and(|parts| {
                let assigns = parts.words.first().is_some_and(|word| word.raw().contains('='));
                parts.shell.is_empty() && !assigns
            });
            Idea {
                name: name.trim().to_owned(),
                port: if listens { ports.next() } else { None },
                shell: !plain,
                found: format!("Procfile: {}", name.trim()),
                command,
                ..Idea::default()
            }
        })
        .collect()
}
