//! One service: its command, environment, limits and the sections beneath.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use crate::config::decode::{Decoder, Fields};
use crate::config::document::{Node, Place};
use crate::config::expand::{EnvValue, Scope};
use crate::config::resolve::checks::Sighting;
use crate::config::resolve::project::relative;
use crate::config::resolve::{health, listen, logs, measure, needs, restart, watch};
use crate::config::shape::{Bytes, Limit, Mode, Shape};
use crate::config::{Surroundings, dotenv, keys, split};
use crate::model::names::ServiceName;
use crate::model::plan::{HooksPlan, Kind, LimitsPlan, ServicePlan, StopPlan};
use crate::model::signal::Signal;
use crate::model::template::{Part, Template};

/// The largest `env_file` that is read, in bytes.
const MAX_ENV_FILE: u64 = 1 << 20;

/// Reads one service; `outer` knows the project, `key` is where the service's name stands.
pub(super) fn service(
    name: &ServiceName,
    key: Place,
    node: &Node,
    outer: &mut Decoder<'_>,
    around: &Surroundings,
) -> (ServicePlan, Sighting) {
    let fields = outer.section(node, &keys::SERVICE).unwrap_or(Fields::none(&keys::SERVICE));
    let mut scope = Scope {
        everup: outer.scope.everup,
        // Within `env_file`, `port` and `instances` itself PORT is what the environment says.
        has_port: false,
        has_index: false,
        sockets: vec![],
        used_fd: Cell::default(),
        env: RefCell::default(),
        env_file: BTreeMap::new(),
        environment: &around.environment,
        budget: outer.scope.budget,
    };
    let env_file = env_file(&mut inner(outer, &scope), &fields);
    scope.env_file = env_file;
    let written = env_texts(&mut inner(outer, &scope), &fields);
    let texts = || written.iter().map(|(name, _, text)| (name.clone(), EnvValue::Text(text.clone()))).collect();
    scope.env = RefCell::new(texts());
    let mut decoder = inner(outer, &scope);
    let port: Option<u16> = decoder.optional(&fields, "port");
    let instances: u32 = decoder.value(&fields, "instances");

    scope.has_port = fields.get("port").is_some();
    scope.has_index = true;
    scope.sockets = listen::names(&fields);
    scope.env = RefCell::new(texts());
    let mut decoder = inner(outer, &scope);
    let env = env(&mut decoder, &written);
    let kind: Kind = decoder.value(&fields, "type");
    let command = command(&mut decoder, &fields, key);
    let names_fds = scope.used_fd.get();
    let (needs, needs_places) = needs::needs(&mut decoder, &fields);
    let cwd = decoder.path(&fields, "cwd").unwrap_or_else(|| decoder.root.to_owned());
    let watched = watch::watch(&mut decoder, &fields, &cwd);
    let (metrics, metrics_place) = measure::metrics(&mut decoder, &fields, port).unzip();
    let (sockets, socket_places) = listen::listen(&mut decoder, &fields);
    let plan = ServicePlan {
        name: name.clone(),
        kind,
        command,
        cwd,
        env,
        instances,
        port,
        enabled: decoder.value(&fields, "enabled"),
        needs,
        user: name_or_number(&mut decoder, &fields, "user"),
        group: name_or_number(&mut decoder, &fields, "group"),
        umask: decoder.optional::<Mode>(&fields, "umask").map(|mode| mode.0),
        nice: decoder.optional(&fields, "nice"),
        limits: limits(&mut decoder, &fields),
        restart: restart::restart(&mut decoder, &fields, kind),
        health: health::health(&mut decoder, &fields),
        stop: stop(&mut decoder, &fields),
        hooks: hooks(&mut decoder, &fields),
        watchdog: decoder.optional(&fields, "watchdog"),
        logs: logs::logs(&mut decoder, &fields),
        watch: watched.plan,
        dev_defaults: watched.dev,
        reload: watch::reload(&mut decoder, &fields),
        listen: sockets,
        names_fds,
        waits_for_change: false,
        memory_restart: measure::memory_restart(&mut decoder, &fields),
        metrics,
        log_metrics: measure::log_metrics(&mut decoder, &fields),
    };
    let seen = Sighting {
        name: name.clone(),
        env_file: decoder.path(&fields, "env_file"),
        port: fields.get("port").map(|node| node.place),
        listen: socket_places,
        metrics: metrics_place,
        debounce: watched.debounce,
        needs: needs_places,
    };
    (plan, seen)
}

/// A decoder that looks variables up in the service's scope.
fn inner<'b>(outer: &'b mut Decoder<'_>, scope: &'b Scope<'b>) -> Decoder<'b> {
    Decoder { source: outer.source, root: outer.root, scope, faults: outer.faults }
}

fn command(decoder: &mut Decoder<'_>, fields: &Fields<'_>, key: Place) -> Vec<Template> {
    let shell: bool = decoder.value(fields, "shell");
    let Some(node) = fields.get("command") else {
        decoder.faults.add_with(key, "expected a `command`", "write `command: python app.py` beneath it");
        return vec![];
    };
    if !shell {
        return decoder.argv(node, "set `shell: true`, or quote it").unwrap_or_default();
    }
    let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
        decoder.faults.add_with(
            node.place,
            format!("expected a command as one text for the shell, found {}", node.describe()),
            "write one text, or leave `shell: true` out",
        );
        return vec![];
    };
    let text = scalar.text.trim();
    if text.is_empty() {
        decoder.faults.add(node.place, "expected a program, found nothing");
        return vec![];
    }
    // The shell replaces itself where it would only wait, so that signals reach the program.
    let prefix = if split::is_simple(text) { "exec " } else { "" };
    let node = Node { value: crate::config::document::Value::Scalar(scalar_of(&format!("{prefix}{text}"))), ..*node };
    match decoder.template(&node) {
        Some(script) => vec![Template::text("sh"), Template::text("-c"), script],
        None => vec![],
    }
}

fn scalar_of(text: &str) -> crate::config::document::Scalar {
    crate::config::document::Scalar { text: text.to_owned(), plain: false }
}

/// The values of `env_file`, empty without one.
fn env_file(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let (Some(path), Some(node)) = (decoder.path(fields, "env_file"), fields.get("env_file")) else {
        return BTreeMap::new();
    };
    let shown = relative(decoder.root, &path);
    match read_env_file(&path) {
        Ok((values, open)) => {
            if open && values.iter().any(|(name, value)| is_secret(name, value)) {
                decoder.faults.note(
                    node.place,
                    format!("`{shown}` holds secrets and can be read by everybody on this machine"),
                    format!("chmod 600 {shown}"),
                );
            }
            values
        }
        Err((message, help)) => {
            decoder.faults.add_with(node.place, format!("cannot read `{shown}`: {message}"), help);
            BTreeMap::new()
        }
    }
}

/// The values, and whether anybody may read the file.
fn read_env_file(path: &Path) -> Result<(BTreeMap<String, String>, bool), (String, String)> {
    use std::os::unix::fs::PermissionsExt as _;
    let plain = |error: std::io::Error| (error.to_string(), String::new());
    let about = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            ("there is no such file".to_owned(), "create it, or take `env_file` out".to_owned())
        }
        _ => plain(error),
    })?;
    if !about.is_file() || about.len() > MAX_ENV_FILE {
        return Err(("it is no file, or larger than 1 MiB".to_owned(), String::new()));
    }
    let bytes = std::fs::read(path).map_err(plain)?;
    let text = String::from_utf8(bytes).map_err(|_| ("it is not UTF-8".to_owned(), String::new()))?;
    let values = dotenv::read(&text).map_err(|error| (error.to_string(), String::new()))?;
    Ok((values, about.permissions().mode() & 0o004 != 0))
}

fn is_secret(name: &str, value: &str) -> bool {
    crate::config::secret::is_secret_name(name) || crate::config::secret::is_secret_value(value)
}

/// The entries of `env` as they are written.
fn env_texts(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<(String, Place, String)> {
    let mut texts = Vec::new();
    for entry in decoder.entries(fields, "env") {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            decoder.faults.add(entry.place, "a variable's name cannot be empty or hold = or NUL");
        }
        match entry.node.scalar() {
            Some(scalar) if scalar.is_null() => decoder.faults.add_with(
                entry.place,
                format!("expected a value for `{}`, found nothing", entry.key),
                "write \"\" for an empty one, or take the line out",
            ),
            Some(scalar) => texts.push((entry.key.clone(), entry.node.place, scalar.text.clone())),
            None => decoder.expected(&entry.node, &Shape::Text),
        }
    }
    texts
}

/// `env` over `env_file`, expanded.
fn env(decoder: &mut Decoder<'_>, written: &[(String, Place, String)]) -> BTreeMap<String, Template> {
    let file = decoder.scope.env_file.iter();
    let mut env: BTreeMap<String, Template> =
        file.map(|(name, value)| (name.clone(), Template::new(vec![Part::Hidden(value.clone())]))).collect();
    for (name, place, _) in written {
        match decoder.scope.env_value(name) {
            Ok(parts) => {
                if parts.iter().any(|part| matches!(part, Part::Text(text) | Part::Hidden(text) if text.contains('\0')))
                {
                    decoder.faults.add(*place, "a text for a program cannot hold a NUL character");
                }
                env.insert(name.clone(), Template::new(parts));
            }
            Err(trouble) => decoder.trouble(*place, trouble),
        }
    }
    env
}

fn name_or_number(decoder: &mut Decoder<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
    let text: String = decoder.optional(fields, key)?;
    if text.is_empty() || text.contains(char::is_whitespace) {
        let place = fields.get(key).map_or(fields.place, |node| node.place);
        decoder.faults.add(place, format!("expected a {key}'s name or number, found {text:?}"));
        return None;
    }
    Some(text)
}

fn limits(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> LimitsPlan {
    let Some(fields) = fields.get("limits").and_then(|node| decoder.section(node, &keys::LIMITS)) else {
        return LimitsPlan::default();
    };
    let mut limit = |key| decoder.optional::<Limit>(&fields, key).map(|limit| limit.0);
    LimitsPlan {
        open_files: limit("open_files"),
        core: limit("core"),
        processes: limit("processes"),
        memory: decoder.optional::<Bytes>(&fields, "memory").map(|bytes| bytes.0),
        cpu_millis: decoder.optional(&fields, "cpu").map(measure::millis),
    }
}

fn stop(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> StopPlan {
    let none = Fields::none(&keys::STOP);
    let (fields, short) = match service.get("stop") {
        Some(node) if node.scalar().is_some() => (none, decoder.read::<Signal>(node, &Shape::Signal)),
        Some(node) => (decoder.section(node, &keys::STOP).unwrap_or(none), None),
        None => (none, None),
    };
    let signal = decoder.value(&fields, "signal");
    StopPlan {
        signal: short.unwrap_or(signal),
        timeout: decoder.value(&fields, "timeout"),
        command: decoder.command(&fields, "command"),
    }
}

fn hooks(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> HooksPlan {
    let Some(fields) = fields.get("hooks").and_then(|node| decoder.section(node, &keys::HOOKS)) else {
        return HooksPlan::default();
    };
    HooksPlan {
        before_start: decoder.command(&fields, "before_start"),
        after_ready: decoder.command(&fields, "after_ready"),
        after_end: decoder.command(&fields, "after_end"),
    }
}
