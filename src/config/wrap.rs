//! A plan for one program that no file describes: `everup run` and `everup dev -- CMD`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Surroundings;
use crate::config::decode::join;
use crate::config::diagnose::{Diagnostics, Faults};
use crate::config::document::{Entry, Node, Place, Scalar, Value};
use crate::config::{develop, resolve};
use crate::model::names::ServiceName;
use crate::model::plan::{LimitThen, Plan, Policy, Rule, RuleThen};
use crate::model::service::Cause;
use crate::model::watch::DevDefaults;

/// What `everup run` or `everup dev` was asked for.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Program and arguments, taken as they are; never empty.
    pub command: Vec<String>,
    /// The folder it runs in; absolute.
    pub folder: PathBuf,
    /// `--name`; none: [`name_for`] the command.
    pub name: Option<String>,
    /// `--health`: a URL, as `health:` takes it.
    pub health: Option<String>,
    /// `--restart`: a policy; none: on-failure.
    pub restart: Option<String>,
    /// `--env`: each `NAME=value`, or `NAME` for what the environment says.
    pub env: Vec<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--stop`: a signal.
    pub stop: Option<String>,
    /// `--watch`: files and folders, relative to `folder`; which of their files count, and their check, is the
    /// language's.
    pub watch: Vec<PathBuf>,
}

/// For `run`: restarted after failures until there are too many, then everup ends with its code.
///
/// # Errors
/// What is wrong with the options, drawn as if they were a file.
pub(super) fn wrap(options: &RunOptions, around: &Surroundings) -> Result<Plan, Diagnostics> {
    let mut plan = plan(options, "everup run", around)?;
    plan.exit_with = plan.services.first().map(|service| service.name.clone());
    for service in &mut plan.services {
        let service = Arc::make_mut(service);
        service.restart.limit.then = LimitThen::Exit;
        // What cannot be executed ends `run` with the shell's own code (126, 127) instead of being tried again.
        let ends = Rule { codes: vec![], signals: vec![], causes: vec![Cause::SpawnError], then: RuleThen::Exit };
        service.restart.rules.push(ends);
    }
    Ok(plan)
}

/// For `dev`: everup stays when the program has ended, for the next change of its files.
///
/// # Errors
/// What is wrong with the options, drawn as if they were a file.
pub(super) fn wrap_dev(options: &RunOptions, around: &Surroundings) -> Result<Plan, Diagnostics> {
    plan(options, "everup dev", around)
}

fn plan(options: &RunOptions, shown: &str, around: &Surroundings) -> Result<Plan, Diagnostics> {
    let mut text = Sheet::default();
    let mut faults = Faults::default();
    let name = service_name(options, &mut text, &mut faults);
    let keys =
        [("health", &options.health), ("restart", &options.restart), ("port", &options.port), ("stop", &options.stop)];
    let mut entries: Vec<Entry> =
        keys.into_iter().filter_map(|(key, value)| Some(text.option(key, value.as_deref()?))).collect();
    let env = options.env.iter().filter_map(|pair| text.variable(pair, around, &mut faults)).collect();
    entries.push(Entry { key: "env".to_owned(), place: Place::default(), node: node(Value::Map(env)) });
    entries.push(text.command(&options.command));
    let key = name.as_ref().map_or_else(|| "app".to_owned(), ServiceName::to_string);
    let service = Entry { key, place: Place::default(), node: node(Value::Map(entries)) };
    let services = Entry { key: "services".to_owned(), place: Place::default(), node: node(Value::Map(vec![service])) };
    let tree = node(Value::Map(vec![services]));

    let mut plan = resolve::project(&tree, &text.0, None, &options.folder, around, &mut faults);
    faults.finish();
    let Some(name) = name.filter(|_| !faults.has_errors()) else {
        return Err(Diagnostics::new(Path::new(shown), &text.0, None, faults));
    };
    plan.project = name.to_string();
    plan.state_dir = resolve::default_state_dir(plan.project.as_str(), &options.folder, around);
    if plan.state_dir == options.folder.join(".everup") {
        plan.state_dir.push(&plan.project);
    }
    for service in &mut plan.services {
        let service = Arc::make_mut(service);
        if options.restart.is_none() {
            service.restart.policy = Policy::OnFailure;
        }
        if !options.watch.is_empty() {
            let paths: Vec<PathBuf> =
                options.watch.iter().map(|path| join(&options.folder, &path.to_string_lossy())).collect();
            service.watch = Some(develop::paths_of_language(service, &options.folder, &paths, around));
            service.dev_defaults = DevDefaults::Nothing;
        }
    }
    Ok(plan)
}

/// The name of a command: its script's stem, else its program's name.
pub fn name_for(command: &[String]) -> String {
    let stem = |word: &str| Path::new(word).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let script = command.iter().skip(1).find(|word| is_script(word));
    // `python -m http.server` is known by its module.
    let module = command.windows(2).find(|pair| pair[0] == "-m").map(|pair| pair[1].replace('.', "-"));
    let program =
        command.first().and_then(|word| Path::new(word).file_name()).map(|name| name.to_string_lossy().into_owned());
    module
        .or_else(|| script.and_then(|word| stem(word)))
        .or(program)
        .and_then(|text| resolve::usable_name(&text))
        .unwrap_or_else(|| "app".to_owned())
}

fn is_script(word: &str) -> bool {
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("py" | "js" | "mjs" | "cjs" | "ts" | "rb" | "sh" | "pl" | "php" | "lua" | "jar" | "exs"))
        && !word.starts_with('-')
}

fn service_name(options: &RunOptions, text: &mut Sheet, faults: &mut Faults) -> Option<ServiceName> {
    let (name, place) = match options.name.as_deref() {
        Some(given) => (given.to_owned(), text.option("name", given).node.place),
        None => (name_for(&options.command), Place::default()),
    };
    ServiceName::new(&name).map_err(|error| faults.add(place, format!("cannot use {name:?} as a name: {error}"))).ok()
}

/// The options written down line by line, so that errors can be drawn like those of a file.
#[derive(Debug, Default)]
struct Sheet(String);

impl Sheet {
    fn write(&mut self, text: &str) -> Place {
        let start = self.0.len();
        self.0.push_str(text);
        Place { start, end: self.0.len() }
    }

    fn option(&mut self, key: &str, value: &str) -> Entry {
        let place = self.write(&format!("--{key}"));
        self.write(" ");
        let at = self.write(&value.replace('\n', " "));
        self.write("\n");
        // What the command line says has no quotes left, so numbers are taken as numbers.
        Entry { key: key.to_owned(), place, node: Node { place: at, value: Value::Scalar(Scalar::plain(value)) } }
    }

    fn variable(&mut self, pair: &str, around: &Surroundings, faults: &mut Faults) -> Option<Entry> {
        let entry = self.option("env", pair);
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, around.environment.get(pair).map(String::as_str)),
        };
        let Some(value) = value.filter(|_| crate::config::dotenv::is_variable(name)) else {
            faults.add_with(entry.node.place, format!("cannot take {name:?} as a variable"), "write --env NAME=value");
            return None;
        };
        // The shell has expanded already what was meant to be.
        let scalar = Scalar { text: value.replace('$', "$$"), plain: false };
        Some(Entry {
            key: name.to_owned(),
            place: entry.place,
            node: Node { place: entry.node.place, value: Value::Scalar(scalar) },
        })
    }

    fn command(&mut self, command: &[String]) -> Entry {
        let place = self.write("-- ");
        let start = self.0.len();
        let items = command
            .iter()
            .map(|word| {
                let at = self.write(&word.replace('\n', " "));
                self.write(" ");
                Node { place: at, value: Value::Scalar(Scalar { text: word.replace('$', "$$"), plain: false }) }
            })
            .collect();
        let end = self.0.len();
        Entry {
            key: "command".to_owned(),
            place,
            node: Node { place: Place { start, end }, value: Value::List(items) },
        }
    }
}

fn node(value: Value) -> Node {
    Node { place: Place::default(), value }
}
