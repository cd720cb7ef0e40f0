//! Python apps: Django by its manage.py, Tornado, Flask and FastAPI by their main file.

use std::path::{Path, PathBuf};

use crate::config::init::{Idea, health_path, read};

/// Where main files usually are called.
const MAINS: [&str; 8] =
    ["app.py", "main.py", "server.py", "wsgi.py", "asgi.py", "run.py", "src/main.py", "app/main.py"];

/// The Python service of a folder, when there is one.
pub(super) fn idea(folder: &Path) -> Option<Idea> {
    let python = interpreter(folder);
    if folder.join("manage.py").is_file() {
        return Some(Idea {
            name: "web".to_owned(),
            // Its own reloader would start a second process beside the one that is supervised.
            command: format!("{python} manage.py runserver --noreload 127.0.0.1:${{PORT}}"),
            port: Some(8000),
            remark: "in production: gunicorn PROJECT.wsgi --bind 127.0.0.1:${PORT}".replace("${PORT}", "PORT"),
            found: "manage.py: Django".to_owned(),
            ..Idea::default()
        });
    }
    let declared: String = ["pyproject.toml", "requirements.txt", "Pipfile"]
        .iter()
        .map(|name| read(&folder.join(name)).to_lowercase())
        .collect();
    let mains = MAINS.iter().map(|name| (*name, read(&folder.join(name)))).filter(|(_, text)| !text.is_empty());
    let mut mains: Vec<(&str, String)> = mains.collect();
    // The file that says which framework it uses is the main file rather than the first by name.
    mains.sort_by_key(|(_, text)| framework(text).is_none());
    let (file, text) = mains.into_iter().next()?;
    let framework = framework(&text).or_else(|| framework_of_project(&declared));
    let health = health_path(&text);
    let (command, port, found) = match framework {
        Some("fastapi") => {
            (format!("{python} -m uvicorn {} --port ${{PORT}}", object(file, &text, "FastAPI")), 8000, "FastAPI")
        }
        Some("flask") => (format!("{python} -m flask --app {} run --port ${{PORT}}", module(file)), 5000, "Flask"),
        Some("tornado") => (format!("{python} {file}"), listened(&text).unwrap_or(8888), "Tornado"),
        Some(_) | None => {
            return Some(Idea {
                name: stem(file),
                command: format!("{python} {file}"),
                found: format!("{file}: Python"),
                ..Idea::default()
            });
        }
    };
    Some(Idea {
        name: "web".to_owned(),
        command,
        port: Some(port),
        health,
        found: format!("{file}: {found}"),
        ..Idea::default()
    })
}

/// The folder's own virtual environment where it has one.
fn interpreter(folder: &Path) -> String {
    let own: Option<PathBuf> =
        [".venv", "venv"].iter().map(|name| Path::new(name).join("bin/python")).find(|path| folder.join(path).exists());
    own.map_or_else(|| "python3".to_owned(), |path| path.display().to_string())
}

fn framework(text: &str) -> Option<&'static str> {
    let imports = |name: &str| {
        text.lines().map(str::trim_start).any(|line| {
            [format!("import {name}"), format!("from {name}")].iter().any(|start| line.starts_with(start.as_str()))
        })
    };
    ["fastapi", "flask", "tornado"].into_iter().find(|name| imports(name))
}

fn framework_of_project(declared: &str) -> Option<&'static str> {
    ["fastapi", "flask", "tornado"].into_iter().find(|name| declared.contains(name))
}

fn module(file: &str) -> String {
    file.trim_end_matches(".py").replace('/', ".")
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "app".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// `module:object` of the app that `class(…)` makes.
fn object(file: &str, text: &str, class: &str) -> String {
    let made = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.split(':').next().unwrap_or(name).trim();
        (value.trim_start().starts_with(&format!("{class}(")) && crate::config::dotenv::is_variable(name))
            .then(|| name.to_owned())
    });
    format!("{}:{}", module(file), made.unwrap_or_else(|| "app".to_owned()))
}

/// The port in `.listen(8888)` or `bind(8888)`, or the default of `define("port", default=8888)`.
fn listened(text: &str) -> Option<u16> {
    ["listen(", "bind(", "default="].iter().find_map(|before| {
        text.match_indices(before).find_map(|(at, _)| {
            let digits: String = text[at + before.len()..].chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u16>().ok().filter(|port| *port >= 80)
        })
    })
}
