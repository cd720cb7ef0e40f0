//! Looks at a folder and proposes a supervisor.yaml for what it finds.

mod procfile;
mod python;
mod toolchains;

use std::path::Path;

use crate::config::resolve::name_of_folder;
use crate::config::write::{Context, scalar};

/// A proposed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The text of the file; it passes the check as it is.
    pub text: String,
    /// What it rests on, one sentence each; empty when nothing was found.
    pub found: Vec<String>,
}

/// One service to propose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Idea {
    name: String,
    command: String,
    shell: bool,
    /// The usual port of such a thing.
    port: Option<u16>,
    /// The path of its health check, when one was seen.
    health: Option<String>,
    /// Whether the folder has a readable `.env`.
    env_file: bool,
    /// A hint for people, beside the command.
    remark: String,
    /// What the idea rests on.
    found: String,
}

/// Proposes a file for `folder`.
pub fn propose(folder: &Path) -> Proposal {
    let mut ideas = procfile::ideas(folder);
    if ideas.is_empty() {
        ideas.extend(python::idea(folder));
        ideas.extend(toolchains::ideas(folder));
    }
    let nothing = ideas.is_empty();
    if nothing {
        ideas.push(Idea {
            name: "web".to_owned(),
            command: "${EVERUP} demo-app --port ${PORT}".to_owned(),
            port: Some(8888),
            health: Some("/health".to_owned()),
            remark: "everup's built-in demo app: put your own command here".to_owned(),
            ..Idea::default()
        });
    }
    let env_file = crate::config::dotenv::read(&read(&folder.join(".env"))).is_ok_and(|values| !values.is_empty());
    for idea in &mut ideas {
        idea.env_file = env_file && !nothing;
    }
    settle(&mut ideas);
    let found = if nothing { vec![] } else { ideas.iter().map(|idea| idea.found.clone()).collect() };
    Proposal { text: write(folder, &ideas), found }
}

/// Gives every idea a name and a port of its own.
fn settle(ideas: &mut [Idea]) {
    let mut names: Vec<String> = Vec::new();
    let mut ports: Vec<u16> = Vec::new();
    for idea in ideas {
        let wanted = crate::config::resolve::usable_name(&idea.name).unwrap_or_else(|| "app".to_owned());
        let wanted: String = wanted.chars().take(60).collect();
        let mut name = wanted.clone();
        let mut number = 2;
        while names.iter().any(|taken| taken.eq_ignore_ascii_case(&name)) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        names.push(name.clone());
        idea.name = name;
        if let Some(port) = &mut idea.port {
            while ports.contains(port) {
                *port = port.saturating_add(100);
            }
            ports.push(*port);
        }
    }
}

fn write(folder: &Path, ideas: &[Idea]) -> String {
    let mut lines = vec![
        "# Keeps these programs up: `everup up` starts them, `everup status` shows them.".to_owned(),
        "# `everup check` reads this file without starting anything; `everup schema` tells every key.".to_owned(),
        format!("name: {}", scalar(&name_of_folder(folder), Context::Alone)),
        String::new(),
        "services:".to_owned(),
    ];
    for (at, idea) in ideas.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        service(idea, &mut lines);
    }
    lines.join("\n") + "\n"
}

fn service(idea: &Idea, lines: &mut Vec<String>) {
    lines.push(format!("  {}:", scalar(&idea.name, Context::Inside)));
    let remark = if idea.remark.is_empty() { String::new() } else { format!(" # {}", one_line(&idea.remark)) };
    lines.push(format!("    command: {}{remark}", scalar(&idea.command, Context::Alone)));
    if idea.shell {
        lines.push("    shell: true".to_owned());
    }
    match (idea.port, &idea.health) {
        (Some(port), health) => {
            lines.push(format!("    port: {port} # ${{PORT}} in strings, PORT in its environment"));
            lines.push(match health {
                Some(path) => format!("    health: http://127.0.0.1:${{PORT}}{path}"),
                None => "    health: tcp://127.0.0.1:${PORT} # better: a URL that says whether it is well".to_owned(),
            });
        }
        (None, _) => lines.push("    # health: http://127.0.0.1:8888/health".to_owned()),
    }
    if idea.env_file {
        lines.push("    env_file: .env".to_owned());
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of a text file, at most 256 KiB; empty when there is none.
pub(in crate::config) fn read(path: &Path) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let Ok(about) = std::fs::metadata(path) else { return String::new() };
    if about.is_file()
        && let Ok(file) = std::fs::File::open(path)
        && file.take(256 << 10).read_to_end(&mut bytes).is_ok()
    {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    String::new()
}

/// A dollar sign of the found text is the program's business, except where it names what everup gives.
fn guard_dollars(text: &str) -> String {
    let doubled = text.replace('$', "$$");
    doubled.replace("$${PORT}", "${PORT}").replace("$$PORT", "${PORT}")
}

/// A path such as `/health` that the source seems to serve.
fn health_path(source: &str) -> Option<String> {
    ["/healthz", "/health", "/livez", "/ping"]
        .iter()
        .find(|path| {
            ['"', '\''].iter().any(|quote| {
                source.contains(&format!("{quote}{path}{quote}")) || source.contains(&format!("{quote}{path}/{quote}"))
            })
        })
        .map(|path| (*path).to_owned())
}
