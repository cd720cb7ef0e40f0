//! Checks that build: the program is built while the old one runs, with the options it is run with.

use std::path::Path;

use crate::config::develop::call::{Call, base_name, extension};

/// Options of `cargo run` and `cargo build` that take a value.
const CARGO_VALUES: &[&str] = &[
    "-p",
    "--package",
    "--bin",
    "--example",
    "-F",
    "--features",
    "--target",
    "--target-dir",
    "--profile",
    "--manifest-path",
    "-j",
    "--jobs",
    "--color",
    "--config",
    "-Z",
    "--message-format",
];

/// Options of `go run` and `go build` that take a value.
const GO_VALUES: &[&str] = &[
    "-C",
    "-p",
    "-tags",
    "-ldflags",
    "-gcflags",
    "-asmflags",
    "-mod",
    "-modfile",
    "-overlay",
    "-pgo",
    "-buildmode",
    "-compiler",
    "-coverpkg",
    "-covermode",
    "-exec",
    "-toolexec",
    "-pkgdir",
    "-installsuffix",
];

/// `cargo build`, as `cargo run …` or the path of the program say.
pub(super) fn cargo(call: Option<&Call>) -> Vec<String> {
    let plain = || vec!["cargo".to_owned(), "build".to_owned()];
    let Some(call) = call else { return plain() };
    if call.name != "cargo" {
        return match profile(&call.program) {
            None | Some("debug") => plain(),
            Some("release") => [plain(), vec!["--release".to_owned()]].concat(),
            Some(other) => [plain(), vec!["--profile".to_owned(), other.to_owned()]].concat(),
        };
    }
    let mut words = vec![call.program.clone()];
    let mut args = call.args.as_slice();
    if let Some((toolchain, rest)) = args.split_first().filter(|(word, _)| word.starts_with('+')) {
        words.push(toolchain.clone());
        args = rest;
    }
    words.push("build".to_owned());
    if let Some((_, rest)) = args.split_first().filter(|(verb, _)| matches!(verb.as_str(), "run" | "r")) {
        words.extend_from_slice(&rest[..options(rest, CARGO_VALUES)]);
    }
    words
}

/// The profile of a program below a `target` folder of Cargo.
pub(super) fn profile(program: &str) -> Option<&str> {
    let mut parts = program.rsplit('/').skip(1);
    let profile = parts.next()?;
    // `target/PROFILE/name`, or `target/TRIPLE/PROFILE/name`
    parts.take(2).any(|part| part == "target").then_some(profile)
}

/// `go build`, as `go run …` says, or into the program's own file where that lies in `cwd`.
pub(super) fn go(call: Option<&Call>, cwd: &Path) -> Vec<String> {
    let build = |go: &str, options: &[String], to: &str, packages: &[String]| -> Vec<String> {
        let options = options.iter().cloned();
        [go, "build"]
            .map(str::to_owned)
            .into_iter()
            .chain(options)
            .chain(["-o".to_owned(), to.to_owned()])
            .chain(packages.iter().cloned())
            .collect()
    };
    let here = [".".to_owned()];
    let Some(call) = call else { return build("go", &[], "/dev/null", &here) };
    if call.name == "go" {
        let Some((_, args)) = call.args.split_first().filter(|(verb, _)| verb.as_str() == "run") else {
            return build(&call.program, &[], "/dev/null", &here);
        };
        let (options, rest) = args.split_at(options(args, GO_VALUES));
        let files = rest.iter().take_while(|word| extension(word) == Some("go")).count();
        let packages = if rest.is_empty() { &here } else { &rest[..files.max(1)] };
        return build(&call.program, &without_exec(options), "/dev/null", packages);
    }
    let file = Path::new(&call.program);
    let inside =
        file.strip_prefix(cwd).ok().or(Some(file).filter(|_| call.program.contains('/') && file.is_relative()));
    match inside
        .filter(|inside| may_be_built(&cwd.join(inside)))
        .map(|file| file.strip_prefix(".").unwrap_or(file).display().to_string())
    {
        Some(to) => {
            // The usual place of a program's source when the module holds several.
            let package = format!("./cmd/{}", base_name(&to));
            let package = if cwd.join(&package).is_dir() { [package] } else { here };
            build("go", &[], &to, &package)
        }
        None => build("go", &[], "/dev/null", &here),
    }
}

/// Whether a build may write this file: it is a program already, or will be one. Never a script of the same folder.
fn may_be_built(file: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    match std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) => &magic == b"\x7fELF",
        Err(error) => error.kind() == std::io::ErrorKind::NotFound && file.extension().is_none(),
    }
}

/// How many of these words are options, those in `valued` with their values.
fn options(words: &[String], valued: &[&str]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-') && *word != "--") {
        at += if valued.contains(&word.as_str()) { 2 } else { 1 };
    }
    at.min(words.len())
}

/// `-exec` says how to run, which a build does not.
fn without_exec(options: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-exec" => drop(words.next()),
            word if word.starts_with("-exec=") => {}
            _ => kept.push(word.clone()),
        }
    }
    kept
}
