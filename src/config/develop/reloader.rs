//! Knows commands that reload themselves.

use std::path::Path;

use crate::config::develop::call::{Call, base_name};
use crate::config::{Surroundings, init};
use crate::model::plan::ServicePlan;

/// How a program is told to reload itself.
struct Reloader {
    names: &'static [&'static str],
    /// Its first word must be one of these; empty: any.
    verbs: &'static [&'static str],
    /// One of these must be among its words; empty: none is needed.
    signs: &'static [&'static str],
    /// None of these may be.
    unless: &'static [&'static str],
}

const fn always(names: &'static [&'static str]) -> Reloader {
    Reloader { names, verbs: &[], signs: &[], unless: &[] }
}

const fn verb(names: &'static [&'static str], verbs: &'static [&'static str]) -> Reloader {
    Reloader { names, verbs, signs: &[], unless: &[] }
}

const fn sign(names: &'static [&'static str], signs: &'static [&'static str]) -> Reloader {
    Reloader { names, verbs: &[], signs, unless: &[] }
}

const RELOADERS: &[Reloader] = &[
    sign(
        &["uvicorn", "gunicorn", "hypercorn", "granian", "litestar", "sanic", "pserve", "fastapi"],
        &["--reload", "--auto-reload"],
    ),
    Reloader { names: &["flask", "quart"], verbs: &[], signs: &["--debug", "--reload"], unless: &["--no-reload"] },
    Reloader {
        names: &["manage.py", "django-admin"],
        verbs: &["runserver", "runserver_plus"],
        signs: &[],
        unless: &["--noreload"],
    },
    Reloader { names: &["fastapi"], verbs: &["dev"], signs: &[], unless: &["--no-reload"] },
    always(&["tornado.autoreload", "watchfiles", "watchmedo", "hupper", "jurigged"]),
    always(&["nodemon", "node-dev", "ts-node-dev", "tsnd", "webpack-dev-server", "live-server", "browser-sync"]),
    always(&["watchexec", "entr", "reflex", "modd", "air", "wgo", "gow", "CompileDaemon", "bacon", "cargo-watch"]),
    sign(&["node", "nodejs"], &["--watch", "--watch-path"]),
    sign(&["tsx", "ts-node", "bun", "deno"], &["--watch", "--hot", "--watch-hmr"]),
    verb(&["tsx"], &["watch"]),
    verb(&["next", "nuxt", "nuxi", "astro", "remix", "react-router", "svelte-kit", "wrangler", "vinxi"], &["dev"]),
    verb(&["gatsby", "strapi"], &["develop"]),
    verb(&["ng", "nx", "ember", "webpack", "rspack", "vue-cli-service"], &["serve", "s"]),
    verb(&["react-scripts"], &["start"]),
    Reloader { names: &["vite"], verbs: &[], signs: &[], unless: &["build", "preview", "optimize"] },
    Reloader { names: &["parcel"], verbs: &[], signs: &[], unless: &["build"] },
    sign(
        &[
            "vite",
            "webpack",
            "rspack",
            "rollup",
            "esbuild",
            "parcel",
            "tsc",
            "tsup",
            "nest",
            "swc",
            "babel",
            "babel-node",
        ],
        &["--watch", "-w"],
    ),
    verb(&["cargo"], &["watch"]),
    verb(&["trunk", "dx", "mkdocs", "hugo"], &["serve", "server", "watch"]),
];

/// What of a command says that it reloads itself; None: nothing does.
pub(super) fn reloads_itself(calls: &[Call], service: &ServicePlan, around: &Surroundings) -> Option<String> {
    calls.iter().find_map(|call| {
        let known = RELOADERS.iter().find_map(|reloader| reloader.sees(call));
        known.or_else(|| flask_by_variable(call, service, around))
    })
}

impl Reloader {
    /// What of `call` says that it reloads.
    fn sees(&self, call: &Call) -> Option<String> {
        if !self.names.contains(&call.name.as_str()) {
            return None;
        }
        // What follows node's script is the script's own.
        let own = match call.name.as_str() {
            "node" | "nodejs" => call.args.iter().take_while(|word| word.starts_with('-')).count(),
            _ => call.args.len(),
        };
        let words = || call.args[..own].iter().map(|word| word.split('=').next().unwrap_or(word));
        if words().any(|word| self.unless.contains(&word)) {
            return None;
        }
        // `cargo +nightly watch`
        let first = words().find(|word| !word.starts_with(['-', '+']));
        let verb = first.filter(|word| self.verbs.contains(word));
        let sign = words().find(|word| self.signs.contains(word));
        match (verb, sign) {
            (None, _) if !self.verbs.is_empty() => None,
            (_, None) if !self.signs.is_empty() => None,
            (_, Some(sign)) => Some(sign.to_owned()),
            (Some(verb), None) => Some(format!("{} {verb}", call.name)),
            (None, None) => Some(call.name.clone()),
        }
    }
}

/// Flask is also told by FLASK_DEBUG.
fn flask_by_variable(call: &Call, service: &ServicePlan, around: &Surroundings) -> Option<String> {
    if call.name != "flask" || call.args.iter().any(|word| matches!(word.as_str(), "--no-reload" | "--no-debug")) {
        return None;
    }
    let written = call.env.iter().rev().find(|(name, _)| name == "FLASK_DEBUG").map(|(_, value)| value.clone());
    let value = written
        .or_else(|| service.env.get("FLASK_DEBUG").map(|value| value.render(service.slots(1))))
        .or_else(|| around.environment.get("FLASK_DEBUG").cloned())?;
    let off = matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false" | "no");
    (!off).then(|| "FLASK_DEBUG".to_owned())
}

/// Advice for a script that asks its framework to reload while everup does.
pub(super) fn asks_to_reload(calls: &[Call], cwd: &Path) -> Option<String> {
    let script = calls.iter().find_map(|call| call.script.as_deref())?;
    let text = init::read(&cwd.join(script));
    let dense: String = text.split_whitespace().collect();
    let file = base_name(script);
    for (framework, signs, instead) in [
        ("tornado", &["autoreload=True", "debug=True"][..], "autoreload=False"),
        ("flask", &["use_reloader=True", "debug=True"], "use_reloader=False"),
    ] {
        let imports = dense.contains(&format!("import{framework}")) || dense.contains(&format!("from{framework}"));
        if let Some(sign) = signs.iter().find(|sign| dense.contains(**sign))
            && imports
            && !dense.contains(instead)
        {
            return Some(format!("{file} reloads itself too ({sign}); with {instead} only everup does"));
        }
    }
    None
}
