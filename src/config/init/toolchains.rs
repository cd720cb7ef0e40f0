//! Node, Rust and Go projects by their manifests.

use std::path::Path;

use crate::config::init::{Idea, health_path, read};

/// The services that manifests suggest.
pub(super) fn ideas(folder: &Path) -> Vec<Idea> {
    [node(folder), rust(folder), go(folder)].into_iter().flatten().collect()
}

fn node(folder: &Path) -> Option<Idea> {
    let text = read(&folder.join("package.json"));
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let script = |name: &str| manifest.get("scripts").and_then(|scripts| scripts.get(name)).is_some();
    let main = manifest.get("main").and_then(serde_json::Value::as_str).filter(|main| folder.join(main).is_file());
    let (command, found) = if script("start") {
        ("npm start".to_owned(), "package.json: scripts.start")
    } else if script("dev") {
        ("npm run dev".to_owned(), "package.json: scripts.dev")
    } else {
        let main =
            main.or_else(|| ["server.js", "index.js", "app.js"].into_iter().find(|name| folder.join(name).is_file()))?;
        (format!("node {}", word(main)?), "package.json: main")
    };
    let source: String =
        main.into_iter().chain(["server.js", "index.js", "app.js"]).map(|name| read(&folder.join(name))).collect();
    Some(Idea {
        name: "web".to_owned(),
        command,
        port: Some(3000),
        health: health_path(&source),
        found: found.to_owned(),
        ..Idea::default()
    })
}

fn rust(folder: &Path) -> Option<Idea> {
    let text = read(&folder.join("Cargo.toml"));
    let has_main = folder.join("src/main.rs").is_file() || text.contains("[[bin]]") || folder.join("src/bin").is_dir();
    if !has_main || !text.contains("[package]") {
        return None;
    }
    let package = text.split("[package]").nth(1)?.split("\n[").next()?;
    let name = package.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })?;
    // `cargo run` would stay as the program's parent; the built binary is supervised directly.
    Some(Idea {
        command: format!("target/release/{}", word(&name)?),
        remark: "after `cargo build --release`".to_owned(),
        found: "Cargo.toml: a binary".to_owned(),
        name,
        ..Idea::default()
    })
}

fn go(folder: &Path) -> Option<Idea> {
    let text = read(&folder.join("go.mod"));
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "))?.trim();
    let name = module.rsplit('/').next()?.to_owned();
    folder.join("main.go").is_file().then_some(())?;
    Some(Idea {
        command: format!("./{}", word(&name)?),
        remark: "after `go build`".to_owned(),
        found: "go.mod: a program".to_owned(),
        name,
        ..Idea::default()
    })
}

/// A name that is one word of a command without quotes; None when it is something else.
fn word(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    (!text.is_empty() && text.chars().all(plain)).then_some(text)
}
