//! The languages whose defaults are known: which files count, and what their new code must pass.

use std::path::{Path, PathBuf};

use crate::config::develop::build;
use crate::config::develop::call::{Call, base_name, extension};
use crate::config::{Surroundings, init};
use crate::model::plan::ServicePlan;
use crate::model::template::Template;
use crate::model::watch::{CheckWord, WatchPlan};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    Node,
    Rust,
    Go,
}

/// The languages with the files that tell of them, and the programs that run them.
const LANGUAGES: &[(Language, &[&str], &[&str])] = &[
    (
        Language::Python,
        &["pyproject.toml", "requirements.txt", "setup.py", "manage.py", "Pipfile"],
        &[
            "uvicorn",
            "gunicorn",
            "flask",
            "hypercorn",
            "daphne",
            "fastapi",
            "granian",
            "litestar",
            "quart",
            "sanic",
            "waitress-serve",
            "uwsgi",
            "twistd",
            "celery",
            "rq",
            "dramatiq",
            "streamlit",
            "django-admin",
            "poetry",
            "pipenv",
            "uv",
            "pdm",
            "hatch",
        ],
    ),
    (
        Language::Node,
        &["package.json"],
        &["node", "nodejs", "npm", "npx", "yarn", "pnpm", "tsx", "ts-node", "bun", "deno"],
    ),
    (Language::Rust, &["Cargo.toml"], &["cargo"]),
    (Language::Go, &["go.mod"], &["go"]),
];

/// Servers that people start beside their own code.
const FOREIGN: &[&str] = &[
    "redis-server",
    "valkey-server",
    "postgres",
    "mysqld",
    "mariadbd",
    "mongod",
    "memcached",
    "rabbitmq-server",
    "nats-server",
    "etcd",
    "consul",
    "minio",
    "meilisearch",
    "nginx",
    "caddy",
    "traefik",
    "haproxy",
    "mailpit",
    "mailhog",
    "MailHog",
    "docker",
    "docker-compose",
    "podman",
    "ngrok",
    "cloudflared",
    "ssh",
    "stripe",
];

/// What a language brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    include: &'static [&'static str],
    /// Its check; empty: none.
    pub(super) check: Vec<CheckWord>,
}

impl Defaults {
    /// Puts all of it into `watch`.
    pub(super) fn fill(self, watch: &mut WatchPlan) {
        watch.include = self.include.iter().map(|text| (*text).to_owned()).collect();
        watch.check = self.check;
    }
}

/// The program when it is a server that runs no code of this project.
pub(super) fn foreign(calls: &[Call]) -> Option<&str> {
    let mut calls = calls.iter();
    let first = calls.next().filter(|call| FOREIGN.contains(&call.name.as_str()))?;
    calls.all(|call| FOREIGN.contains(&call.name.as_str())).then_some(first.name.as_str())
}

/// The defaults for a service: by its command, else by the files of its folder, else by those of `root`. Of a folder
/// with several languages everything counts.
pub(super) fn find(service: &ServicePlan, calls: &[Call], root: &Path, around: &Surroundings) -> Defaults {
    let by_command = calls.iter().find_map(|call| Some((of_call(call)?, Some(call))));
    let by_folder = || [service.cwd.as_path(), root].into_iter().find_map(of_folder);
    let found = by_command.or_else(|| by_folder().flatten().map(|language| (language, calls.last())));
    let Some((language, call)) = found else { return Defaults::default() };
    match language {
        Language::Python => Defaults {
            include: &["*.py", "*.toml", ".env"],
            check: [interpreter(service, call, around), "-m".to_owned(), "py_compile".to_owned()]
                .into_iter()
                .map(text)
                .chain([CheckWord::Changed(vec!["*.py".to_owned()])])
                .collect(),
        },
        Language::Node => Defaults {
            include: &["*.js", "*.mjs", "*.cjs", "*.ts", "*.tsx", "*.jsx", "*.json", ".env"],
            check: node_check(service, call),
        },
        Language::Rust => Defaults {
            include: &["*.rs", "Cargo.toml", "Cargo.lock"],
            check: build::cargo(call).into_iter().map(text).collect(),
        },
        Language::Go => Defaults {
            include: &["*.go", "!*_test.go", "go.mod", "go.sum", "*.tmpl"],
            check: build::go(call, &service.cwd).into_iter().map(text).collect(),
        },
    }
}

fn text(word: String) -> CheckWord {
    CheckWord::Text(Template::text(word))
}

fn of_call(call: &Call) -> Option<Language> {
    if call.is_python {
        return Some(Language::Python);
    }
    let by_extension = |file: &str| match extension(file)? {
        "py" => Some(Language::Python),
        "js" | "mjs" | "cjs" => Some(Language::Node),
        _ => None,
    };
    let script = || call.args.iter().find(|word| !word.starts_with('-')).map(String::as_str);
    let by_name = LANGUAGES.iter().find(|(_, _, programs)| programs.contains(&call.name.as_str())).map(|row| row.0);
    let built = build::profile(&call.program).filter(|profile| matches!(*profile, "debug" | "release"));
    let built = built.map(|_| Language::Rust);
    by_name.or(built).or_else(|| by_extension(&call.name)).or_else(|| by_extension(script()?))
}

/// The language of a folder: None when nothing tells, none inside when several do.
#[expect(clippy::option_option, reason = "nothing is known here, or too much is")]
fn of_folder(folder: &Path) -> Option<Option<Language>> {
    let marked = |markers: &[&str]| markers.iter().any(|name| folder.join(name).is_file());
    let mut found = LANGUAGES.iter().filter(|(_, markers, _)| marked(markers)).map(|row| row.0);
    let first = found.next()?;
    Some(found.next().is_none().then_some(first))
}

/// The interpreter that runs the service, as it is written where it is.
fn interpreter(service: &ServicePlan, call: Option<&Call>, around: &Surroundings) -> String {
    let of_call = call.and_then(|call| {
        // What a shell would fill in cannot be filled in here.
        let program = Some(call.program.as_str()).filter(|program| !program.contains(['$', '`', '~']))?;
        if call.is_python { Some(program.to_owned()) } else { beside(program, service, around) }
    });
    let own = || [".venv/bin/python", "venv/bin/python"].into_iter().find(|path| service.cwd.join(path).is_file());
    of_call.or_else(|| own().map(str::to_owned)).unwrap_or_else(|| "python3".to_owned())
}

/// The interpreter in the folder of the program, such as a virtual environment's bin.
fn beside(program: &str, service: &ServicePlan, around: &Surroundings) -> Option<String> {
    let folder = match program.rsplit_once('/') {
        Some((folder, _)) => PathBuf::from(folder),
        None => {
            let own = service.env.get("PATH").map(|path| path.render(service.slots(1)));
            let path = own.or_else(|| around.environment.get("PATH").cloned())?;
            path.split(':').map(PathBuf::from).find(|dir| dir.is_absolute() && dir.join(program).is_file())?
        }
    };
    ["python", "python3"]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|python| service.cwd.join(python).is_file())
        .map(|python| python.display().to_string())
}

fn node_check(service: &ServicePlan, call: Option<&Call>) -> Vec<CheckWord> {
    // What Babel takes as it runs, node alone may not.
    let manifest = init::read(&service.cwd.join("package.json"));
    if ["@babel/node", "@babel/register"].iter().any(|name| manifest.contains(name)) {
        return vec![];
    }
    let node = call.map(|call| call.program.as_str()).filter(|program| matches!(base_name(program), "node" | "nodejs"));
    let files = ["*.js", "*.mjs", "*.cjs"].map(str::to_owned);
    vec![text(node.unwrap_or("node").to_owned()), text("--check".to_owned()), CheckWord::File(files.into())]
}
