//! The programs that a command really runs: wrappers taken off, scripts of a shell and of package.json followed.

use std::path::{Path, PathBuf};

use crate::config::{init, split};
use crate::model::plan::ServicePlan;

/// How many scripts may call each other.
const MAX_DEPTH: usize = 4;

/// One program with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// What runs: a program's name, a Python module, or a Python script's file name.
    pub(super) name: String,
    /// The program as it is written; for a module or script its interpreter.
    pub(super) program: String,
    /// Whether `program` is a Python interpreter.
    pub(super) is_python: bool,
    /// The script, as it is written, where `name` is one.
    pub(super) script: Option<String>,
    /// What follows.
    pub(super) args: Vec<String>,
    /// Variables set in front of it.
    pub(super) env: Vec<(String, String)>,
}

/// Programs that only start another one, with those of their options that take a value.
const WRAPPERS: &[(&[&str], &[&str])] = &[
    (&["exec"], &["-a"]),
    (&["env"], &["-u", "--unset", "-C", "--chdir"]),
    (&["nice"], &["-n", "--adjustment"]),
    (&["ionice"], &["-c", "-n"]),
    (&["timeout"], &["-k", "-s"]),
    (&["stdbuf"], &["-i", "-o", "-e"]),
    (&["time", "nohup", "command", "setsid", "unbuffer", "tini", "dumb-init", "cross-env", "cross-env-shell"], &[]),
    (&["dotenv"], &["-e", "-f"]),
    (&["npx", "bunx", "pnpx"], &["-p", "--package", "-c"]),
];

/// Tools that run a program by a word of theirs, with those of their options that take a value.
const RUNNERS: &[(&[&str], &[&str], &[&str])] = &[
    (
        &["poetry", "pipenv", "uv", "pdm", "hatch", "rye", "pixi"],
        &["run"],
        &["--with", "--extra", "--group", "--env-file", "--directory", "--project", "-p", "--python", "-e", "--env"],
    ),
    (&["npm", "pnpm", "yarn", "bun"], &["exec", "dlx", "x"], &["-p", "--package"]),
    (&["bundle"], &["exec"], &[]),
];

/// The calls that the command of a service comes to, the first that runs first.
pub(super) fn calls(service: &ServicePlan) -> Vec<Call> {
    let slots = service.slots(1);
    let words: Vec<String> = service.command.iter().map(|word| word.render(slots)).collect();
    let mut calls = Vec::new();
    follow(words, &mut service.cwd.clone(), 0, &mut calls);
    calls
}

fn follow(words: Vec<String>, folder: &mut PathBuf, depth: usize, calls: &mut Vec<Call>) {
    let Some(call) = unwrapped(words) else { return };
    let script = match (call.name.as_str(), call.args.first()) {
        ("cd", Some(to)) => {
            *folder = folder.join(to);
            return;
        }
        ("sh" | "bash" | "dash" | "zsh", Some(option)) if option.starts_with('-') && option.ends_with('c') => {
            call.args.get(1).cloned().map(|script| (script, false))
        }
        ("npm" | "pnpm" | "yarn" | "bun", Some(_)) => package_script(&call, folder).map(|script| (script, true)),
        _ => None,
    };
    let Some((script, stays)) = script.filter(|_| depth < MAX_DEPTH) else {
        calls.push(call);
        return;
    };
    let mut inside = folder.clone();
    for part in simple_commands(&script) {
        // What cannot be split is left to the shell.
        let words = split::split(&part).map(|command| command.words.iter().map(split::Word::raw).collect());
        follow(words.unwrap_or_default(), &mut inside, depth + 1, calls);
    }
    if stays {
        calls.push(call);
    }
}

/// The call behind wrappers and variables.
fn unwrapped(mut words: Vec<String>) -> Option<Call> {
    let mut env = Vec::new();
    loop {
        let first = words.first()?;
        if let Some((name, value)) = first.split_once('=').filter(|(name, _)| crate::config::dotenv::is_variable(name))
        {
            env.push((name.to_owned(), value.to_owned()));
            words.remove(0);
            continue;
        }
        let name = base_name(first);
        let wrapper = WRAPPERS.iter().find(|(names, _)| names.contains(&name)).map(|(_, options)| (1, *options));
        let runner = || {
            let (_, _, options) = RUNNERS.iter().find(|(names, verbs, _)| {
                names.contains(&name) && words.get(1).is_some_and(|word| verbs.contains(&word.as_str()))
            })?;
            Some((2, *options))
        };
        let Some((count, options)) = wrapper.or_else(runner) else { break };
        let duration = usize::from(name == "timeout");
        let skipped = count + leading_options(&words[count..], options);
        let rest = words.split_off((skipped + duration).min(words.len()));
        if rest.is_empty() {
            break;
        }
        words = rest;
    }
    let program = words.remove(0);
    let name = base_name(&program).to_owned();
    if name.starts_with("python") || name.starts_with("pypy") {
        return Some(python(program, &words, env));
    }
    let script = (extension(&name) == Some("py")).then(|| program.clone());
    Some(Call { name, program, is_python: false, script, args: words, env })
}

/// A call of the interpreter is known by its module or script.
fn python(program: String, words: &[String], env: Vec<(String, String)>) -> Call {
    let options = leading_options(words, &["-X", "-W"]);
    let module = words.get(options).is_some_and(|word| word == "-m");
    let at = options + usize::from(module);
    let (name, script) = match words.get(at) {
        Some(word) if module => (word.clone(), None),
        Some(word) if !word.starts_with('-') => (base_name(word).to_owned(), Some(word.clone())),
        Some(_) | None => (base_name(&program).to_owned(), None),
    };
    let args = words.get(at + 1..).unwrap_or_default().to_vec();
    Call { name, program, is_python: true, script, args, env }
}

/// How many of these words are options, those in `valued` with their values; `-m` and `-c` say what runs.
fn leading_options(words: &[String], valued: &[&str]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        match word.as_str() {
            "--" => return at + 1,
            "-m" | "-c" if !valued.contains(&word.as_str()) => return at,
            option => at += if valued.contains(&option) { 2 } else { 1 },
        }
    }
    at
}

/// The text of the script that `npm run X` and the like run.
fn package_script(call: &Call, folder: &Path) -> Option<String> {
    let mut words = call.args.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    let name = match words.next()? {
        "run" | "run-script" => words.next()?,
        "start" => "start",
        // npm knows more words of its own than the others, which take any script's name.
        other if call.name != "npm" => other,
        _ => return None,
    };
    let manifest: serde_json::Value = serde_json::from_str(&init::read(&folder.join("package.json"))).ok()?;
    manifest.get("scripts")?.get(name)?.as_str().map(str::to_owned)
}

/// The simple commands of a shell's script.
fn simple_commands(script: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut quote = None;
    for c in script.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '&' | '|' | ';' | '\n' | '(' | ')') => {
                commands.push(String::new());
                continue;
            }
            (_, _) => {}
        }
        if let Some(last) = commands.last_mut() {
            last.push(c);
        }
    }
    commands.retain(|command| !command.trim().is_empty());
    commands
}

/// What follows the last dot of a file's name.
pub(super) fn extension(file: &str) -> Option<&str> {
    Path::new(file).extension().and_then(|extension| extension.to_str())
}

/// The last part of a program's path.
pub(super) fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
