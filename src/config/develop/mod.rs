//! What `everup dev` makes of a plan: quick stops, probes that only gate the start, and files to watch by the language.

mod build;
mod call;
mod language;
mod reloader;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Surroundings;
use crate::config::develop::call::calls;
use crate::model::plan::{HealthPlan, Kind, Plan, ServicePlan};
use crate::model::watch::{CheckWord, DevDefaults, WatchPlan};

/// How long a service may take to stop, at most.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// A plan for `everup dev`.
#[derive(Clone, Debug, PartialEq)]
pub struct Developed {
    /// The plan.
    pub plan: Plan,
    /// What to tell people before it starts, a line each: what is watched, and what is not.
    pub notes: Vec<String>,
}

/// Makes a plan one for `everup dev`. Looks at the services' folders; developing twice changes nothing more.
pub fn develop(mut plan: Plan, around: &Surroundings) -> Developed {
    let mut notes = Vec::new();
    let root = plan.root.clone();
    // A start that fails is part of writing code; whoever writes it watches.
    plan.notify.clear();
    for service in &mut plan.services {
        let service = std::sync::Arc::make_mut(service);
        service.stop.timeout = service.stop.timeout.min(STOP_WITHIN);
        service.watchdog = None;
        service.health = gate(std::mem::take(&mut service.health));
        watch(service, &root, around, &mut notes);
        service.waits_for_change = service.watch.is_some() && service.kind == Kind::Service;
    }
    Developed { plan, notes }
}

/// What `--watch` of `everup run` watches: these paths, with the defaults of the language.
pub(super) fn paths_of_language(
    service: &ServicePlan,
    root: &Path,
    paths: &[PathBuf],
    around: &Surroundings,
) -> WatchPlan {
    let mut watch = WatchPlan::new(paths.to_vec());
    language::find(service, &calls(service), root, around).fill(&mut watch);
    watch
}

/// The probes as a gate: asked until it has started, and then no more, so that a breakpoint is not a hang.
fn gate(health: HealthPlan) -> HealthPlan {
    let probe = match health {
        HealthPlan::None => None,
        HealthPlan::One(probe) => Some(probe),
        HealthPlan::Kinds { startup, readiness, liveness } => {
            let patience = startup.as_ref().map_or(Duration::ZERO, |probe| probe.start_timeout);
            let mut probe = readiness.or(startup).or(liveness);
            if let Some(probe) = &mut probe {
                probe.start_timeout = probe.start_timeout.max(patience);
            }
            probe
        }
    };
    match probe {
        Some(probe) => HealthPlan::Kinds { startup: Some(probe), readiness: None, liveness: None },
        None => HealthPlan::None,
    }
}

fn watch(service: &mut ServicePlan, root: &Path, around: &Surroundings, notes: &mut Vec<String>) {
    let name = service.name.clone();
    let calls = calls(service);
    match (&mut service.watch, service.dev_defaults) {
        // A task runs once: a migration is not repeated for every save.
        (None, DevDefaults::Whole | DevDefaults::Check) if service.kind == Kind::Service => {
            if let Some(sign) = reloader::reloads_itself(&calls, service, around) {
                notes.push(format!(
                    "{name} reloads itself ({sign}): everup leaves that to it; give it `watch:` to have everup do it"
                ));
            } else if let Some(program) = language::foreign(&calls) {
                notes.push(format!(
                    "{name} is not watched: {program} runs no code of yours; give it `watch:` if it does"
                ));
            } else {
                let mut watch = WatchPlan::new(vec![service.cwd.clone()]);
                language::find(service, &calls, root, around).fill(&mut watch);
                service.watch = Some(watch);
            }
        }
        (Some(_), DevDefaults::Whole | DevDefaults::Check) => {
            let check = language::find(service, &calls, root, around).check;
            if let Some(watch) = &mut service.watch {
                watch.check = check;
            }
        }
        (None, _) | (Some(_), DevDefaults::Nothing) => {}
    }
    service.dev_defaults = DevDefaults::Nothing;
    let Some(watch) = &service.watch else { return };
    notes.push(format!("{name}: watches {}", described(watch, &service.cwd, root)));
    notes.extend(reloader::asks_to_reload(&calls, &service.cwd).map(|advice| format!("{name}: {advice}")));
}

/// `*.py, .env here; check: python -m py_compile`.
fn described(watch: &WatchPlan, cwd: &Path, root: &Path) -> String {
    let shown = |path: &PathBuf| match path.strip_prefix(root) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => path.display().to_string(),
    };
    let own_folder = watch.paths.as_slice() == [cwd.to_owned()];
    let paths: Vec<String> = watch.paths.iter().map(shown).collect();
    let place = if own_folder && cwd == root { "here".to_owned() } else { format!("in {}", paths.join(", ")) };
    let what = match watch.include.as_slice() {
        [] if own_folder => format!("everything {place} that is not ignored"),
        [] => paths.join(", "),
        include => format!("{} {place}", include.join(", ")),
    };
    let check: Vec<String> = watch
        .check
        .iter()
        .filter_map(|word| match word {
            CheckWord::Text(text) => Some(text.to_string()),
            CheckWord::Changed(_) | CheckWord::File(_) => None,
        })
        .collect();
    if check.is_empty() { what } else { format!("{what}; check: {}", check.join(" ")) }
}
