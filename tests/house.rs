//! The layering of ARCHITECTURE.md, held against the `use crate::…` lines of `src`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. A room may always use itself.
const ROOMS: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("core", &["model"]),
    ("config", &["model"]),
    ("os", &["model"]),
    ("probe", &["model", "os", "logs"]),
    ("logs", &["model", "os"]),
    ("watch", &["model", "os"]),
    ("history", &["model", "os"]),
    ("meter", &["model"]),
    ("chart", &["model"]),
    ("notify", &["model", "os"]),
    ("handle", &["model", "logs", "history", "meter"]),
    ("server", &["model", "handle", "os", "logs", "history", "meter", "chart"]),
    ("client", &["model", "os"]),
    ("guardian", &["model", "os"]),
    (
        "daemon",
        &[
            "model", "core", "config", "os", "probe", "watch", "logs", "history", "meter", "notify", "handle",
            "server", "guardian", "client",
        ],
    ),
    // Not in the program: what a fuzzer feeds.
    ("fuzzing", &["config", "os", "guardian", "logs", "server", "daemon"]),
    ("cli", &["model", "config", "os", "client", "handle", "logs", "history", "chart", "daemon", "guardian"]),
];

/// What the core must not touch: it has no clock, no I/O and no luck of its own.
const BANNED_IN_CORE: [&str; 11] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "rand::",
    "tracing",
    "HashMap",
    "panic!(",
];

#[test]
fn every_room_uses_only_the_rooms_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let mut wrong = vec![];
    for (file, text) in sources() {
        let room = room_of(&file);
        let Some(may) = allowed.get(room.as_str()) else {
            assert!(["lib", "main"].contains(&room.as_str()), "{} is in no known room", file.display());
            continue;
        };
        for (number, line) in code(&text) {
            for used in crate_paths(line) {
                if used != room && allowed.contains_key(used.as_str()) && !may.contains(&used.as_str()) {
                    wrong.push(format!("{}:{number}: {room} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "walls broken:\n{}", wrong.join("\n"));
}

#[test]
fn the_core_has_no_clock_no_io_and_no_luck() {
    let mut wrong = vec![];
    for (file, text) in sources().into_iter().filter(|(file, _)| room_of(file) == "core") {
        for (number, line) in code(&text) {
            for word in BANNED_IN_CORE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the core reaches outside:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_in_os_alone() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(file, _)| room_of(file) != "os")
        .flat_map(|(file, text)| {
            code(&text)
                .filter(|(_, line)| {
                    line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("(unsafe_code")
                })
                .map(|(number, _)| format!("{}:{number}", file.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "unsafe outside os:\n{}", wrong.join("\n"));
}

/// `println!` and its kin panic when nobody reads: `os::stderr::say`, or the cli's output.
#[test]
fn nothing_dies_of_a_reader_that_has_gone() {
    let mut wrong = vec![];
    for (file, text) in sources() {
        let printed = ["println!(", "eprintln!(", "print!(", "eprint!("];
        for (number, line) in code(&text) {
            let line = line.trim_start();
            if printed.iter().any(|print| line.starts_with(print)) {
                wrong.push(format!("{}:{number}: {line}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "use os::stderr::say:\n{}", wrong.join("\n"));
}

#[test]
fn there_is_no_drawer_for_odds_and_ends() {
    for (file, _) in sources() {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!["utils", "util", "helpers", "common", "misc"].contains(&stem), "{}", file.display());
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            let text = fs::read_to_string(&path).expect("a readable file");
            found.push((path, text));
        }
    }
}

/// Tests may use more than the code they test.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests") || file.file_stem().is_some_and(|stem| stem == "tests")
}

/// The first folder (or file) below `src`.
fn room_of(file: &Path) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = file.strip_prefix(src).expect("a file of src");
    let first = inside.components().next().expect("a file name");
    let name = first.as_os_str().to_str().expect("a UTF-8 name");
    name.trim_end_matches(".rs").to_owned()
}

/// Lines of code with their numbers: comments left out, and the tests of a file, which may use more.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// The rooms named by `crate::…` paths in a line.
fn crate_paths(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .map(|(at, word)| line[at + word.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn the_guides_pictures_exist_and_no_blank_is_left_to_fill_in() {
    let mut wrong = vec![];
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("docs can be read") {
            let path = entry.expect("docs can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("docs can be read");
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let local = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
            let gone = local.filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists());
            wrong.extend(gone.map(|link| format!("{}: {link}", path.display())));
            let is_blank = |line: &&str| line.starts_with('@') && line.ends_with('@');
            wrong.extend(text.lines().filter(is_blank).map(|line| format!("{}: {line}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "the documentation points nowhere:\n{}", wrong.join("\n"));
}
