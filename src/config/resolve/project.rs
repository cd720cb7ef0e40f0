//! The top of the file: name, folders, doors, and the services beneath.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::decode::{Decoder, Fields, join};
use crate::config::diagnose::Faults;
use crate::config::document::{Entry, Node, Place, Value};
use crate::config::expand::{Budget, Scope};
use crate::config::resolve::{checks, listen, notify, ports, service};
use crate::config::shape::{Bytes, Mode, Shape, read_name};
use crate::config::{Surroundings, keys};
use crate::model::names::ServiceName;
use crate::model::plan::{ControlPlan, HistoryPlan, Plan, WebPlan};
use crate::model::watch::WatchWhen;

/// The bits of a mode that let others than the owner connect.
const WRITABLE_FOR_OTHERS: u32 = 0o022;
/// How many values `defaults` may stand for once they are laid under every service.
const MAX_DEFAULTS: usize = 500_000;

/// Reads the whole tree. The plan is only good when `faults` holds no error.
pub(in crate::config) fn project(
    tree: &Node,
    source: &str,
    file: Option<&Path>,
    root: &Path,
    around: &Surroundings,
    faults: &mut Faults,
) -> Plan {
    let budget = Budget::new();
    let everup = around.everup.to_string_lossy();
    let scope = Scope {
        everup: &everup,
        has_port: false,
        has_index: false,
        sockets: vec![],
        used_fd: Cell::default(),
        env: RefCell::default(),
        env_file: BTreeMap::new(),
        environment: &around.environment,
        budget: &budget,
    };
    let mut decoder = Decoder { source, root, scope: &scope, faults };
    let fields = if tree.is_null() { None } else { decoder.section(tree, &keys::ROOT) };
    let fields = fields.unwrap_or(Fields::none(&keys::ROOT));
    let name = project_name(&mut decoder, &fields, root);
    let state_dir = decoder.path(&fields, "state_dir").unwrap_or_else(|| default_state_dir(&name, root, around));
    let control = control(&mut decoder, &fields);
    let web = web(&mut decoder, &fields);
    let history = history(&mut decoder, &fields);
    let notify = notify::notify(&mut decoder, &fields);
    let watch: WatchWhen = decoder.value(&fields, "watch");
    let on_supervisor_death = decoder.value(&fields, "on_supervisor_death");
    let exit_with = fields.get("exit_with").and_then(|node| Some((decoder.name(node)?, node.place)));

    let mut services = Vec::new();
    let mut sightings = Vec::new();
    for (name, key, node) in service_nodes(&mut decoder, &fields) {
        let (plan, seen) = service::service(&name, key, &node, &mut decoder, around);
        services.push(Arc::new(plan));
        sightings.push(seen);
    }
    let env_files: Vec<PathBuf> = sightings.iter().filter_map(|seen| seen.env_file.clone()).collect();
    checks::check(&services, &sightings, exit_with.as_ref(), watch, decoder.faults);
    ports::check(&services, &sightings, web.as_ref(), source, decoder.faults);
    Plan {
        project: name,
        file: file.map(Path::to_owned),
        root: root.to_owned(),
        state_dir,
        exit_with: exit_with.map(|(name, _)| name),
        control,
        web: web.map(|(web, _)| web).unwrap_or_default(),
        history,
        notify,
        watch,
        on_supervisor_death,
        read_from: file.map(Path::to_owned).into_iter().chain(env_files).collect(),
        services,
    }
}

fn project_name(decoder: &mut Decoder<'_>, fields: &Fields<'_>, root: &Path) -> String {
    let given = fields.get("name").and_then(|node| decoder.name(node));
    given.map_or_else(|| name_of_folder(root), |name| name.to_string())
}

/// The folder's name, with what a name cannot hold replaced.
pub(in crate::config) fn name_of_folder(folder: &Path) -> String {
    let text = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    usable_name(&text).unwrap_or_else(|| "project".to_owned())
}

/// `text` with what a name cannot hold replaced; None when nothing is left of it.
pub(in crate::config) fn usable_name(text: &str) -> Option<String> {
    let replaced: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(64)
        .collect();
    let name = replaced.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).trim_end_matches('-');
    ServiceName::new(name).ok().map(|name| name.to_string())
}

/// `.everup` beside the file, or, where that cannot be written, the place for root or for this user.
pub(in crate::config) fn default_state_dir(name: &str, root: &Path, around: &Surroundings) -> PathBuf {
    let beside = root.join(".everup");
    if (around.can_write)(&beside) {
        return beside;
    }
    if around.is_root {
        return Path::new("/var/lib/everup").join(name);
    }
    let set = |name: &str| around.environment.get(name).filter(|value| value.starts_with('/'));
    match (set("XDG_STATE_HOME"), set("HOME")) {
        (Some(state), _) => Path::new(state).join("everup").join(name),
        (None, Some(home)) => Path::new(home).join(".local/state/everup").join(name),
        (None, None) => beside,
    }
}

/// The services with their names and `defaults` laid beneath.
fn service_nodes(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<(ServiceName, Place, Node)> {
    let defaults = fields.get("defaults");
    // Read by itself too, so that an error in it is found although every service replaces the key.
    if let Some(node) = defaults {
        decoder.section(node, &keys::SERVICE);
    }
    let defaults = defaults.filter(|node| matches!(node.value, Value::Map(_)));
    let entries: &[Entry] = match fields.get("services") {
        Some(node) if matches!(&node.value, Value::Map(entries) if entries.is_empty()) => {
            no_services(decoder, node.place);
            &[]
        }
        Some(_) => decoder.entries(fields, "services"),
        None => {
            let end = decoder.source.trim_end().len();
            no_services(decoder, fields.key_place("services").unwrap_or(Place { start: end, end }));
            &[]
        }
    };
    if let Some(node) = defaults.filter(|node| node.size().saturating_mul(entries.len()) > MAX_DEFAULTS) {
        decoder.faults.add(node.place, "cannot lay defaults of this size under so many services");
        return vec![];
    }
    let mut seen = HashSet::new();
    let mut services = Vec::new();
    for entry in entries {
        let Some(name) = decoder.fit(entry.place, read_name(&entry.key)) else { continue };
        // Names become file names, and some file systems do not tell Web from web.
        if !seen.insert(entry.key.to_ascii_lowercase()) {
            decoder.faults.add(entry.place, format!("another service is called `{name}` but for upper and lower case"));
        }
        if !matches!(entry.node.value, Value::Map(_)) && !entry.node.is_null() {
            let message = format!("expected the keys of `{name}`, found {}", entry.node.describe());
            decoder.faults.add_with(entry.node.place, message, "write `command: …` beneath its name");
            continue;
        }
        let own = if entry.node.is_null() {
            Node { place: entry.place, value: Value::Map(vec![]) }
        } else {
            entry.node.clone()
        };
        let node = defaults.map_or(own.clone(), |defaults| own.over(defaults));
        services.push((name, entry.place, node));
    }
    services
}

fn no_services(decoder: &mut Decoder<'_>, place: Place) {
    decoder.faults.add_with(
        place,
        "expected at least one service under `services`",
        "the smallest file is `services: {web: {command: python app.py}}`; `everup init` proposes one",
    );
}

fn control(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> ControlPlan {
    let fields = fields
        .get("control")
        .and_then(|node| decoder.section(node, &keys::CONTROL))
        .unwrap_or(Fields::none(&keys::CONTROL));
    let plan = ControlPlan {
        socket: decoder.path(&fields, "socket"),
        mode: decoder.value::<Mode>(&fields, "mode").0,
        users: decoder.list(&fields, "users").unwrap_or_default(),
        groups: decoder.list(&fields, "groups").unwrap_or_default(),
    };
    let invited = !plan.users.is_empty() || !plan.groups.is_empty();
    if invited && (plan.socket.is_none() || plan.mode & WRITABLE_FOR_OTHERS == 0) {
        decoder.faults.note(
            fields.place,
            "the state folder and a socket of mode 0600 are closed to those listed here",
            "set `socket` to a path outside the state folder and `mode: \"0666\"`; whoever is not listed is refused",
        );
    }
    plan
}

/// The door over TCP, and where `listen` stands.
fn web(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<(WebPlan, Place)> {
    let fields = decoder.section(fields.get("web")?, &keys::WEB)?;
    let token_file = decoder.path(&fields, "token_file");
    let Some(node) = fields.get("listen") else {
        return Some((WebPlan { listen: None, token_file }, fields.place));
    };
    let text: String = decoder.read(node, &Shape::Address)?;
    let listen = decoder.fit(node.place, listen::address(&text))?;
    if !listen.ip().is_loopback() && fields.get("token_file").is_none() {
        decoder.faults.add_with(
            node.place,
            "cannot listen beyond this machine without a token",
            "set `token_file`, or listen on 127.0.0.1",
        );
    }
    Some((WebPlan { listen: Some(listen), token_file }, node.place))
}

fn history(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> HistoryPlan {
    let fields = fields
        .get("history")
        .and_then(|node| decoder.section(node, &keys::HISTORY))
        .unwrap_or(Fields::none(&keys::HISTORY));
    HistoryPlan {
        interval: decoder.value(&fields, "interval"),
        keep: decoder.value(&fields, "keep"),
        max_size: decoder.value::<Bytes>(&fields, "max_size").0,
    }
}

/// The path of an `env_file` and such, as people wrote it.
pub(super) fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(join(root, ".")).unwrap_or(path).display().to_string()
}
