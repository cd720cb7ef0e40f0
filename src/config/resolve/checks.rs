//! What only shows when all services are known: names, circles, windows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnose::Faults;
use crate::config::document::Place;
use crate::config::suggest;
use crate::model::names::ServiceName;
use crate::model::plan::{Kind, Policy, ServicePlan, Until};
use crate::model::watch::WatchWhen;

/// Where things of one service stand.
#[derive(Debug)]
pub(super) struct Sighting {
    /// The service.
    pub(super) name: ServiceName,
    /// The file that `env_file` names; absolute.
    pub(super) env_file: Option<PathBuf>,
    /// Its `port`.
    pub(super) port: Option<Place>,
    /// The addresses of `listen`, in the plan's order.
    pub(super) listen: Vec<Place>,
    /// Its `metrics`.
    pub(super) metrics: Option<Place>,
    /// Its `watch.debounce`.
    pub(super) debounce: Option<Place>,
    /// What it needs.
    pub(super) needs: Vec<(ServiceName, Place)>,
}

/// The shortest time that nothing must change under `up`, until a change counts.
const LEAST_WINDOW: Duration = Duration::from_secs(2);

/// Holds the services against each other.
pub(super) fn check(
    services: &[Arc<ServicePlan>],
    sightings: &[Sighting],
    exit_with: Option<&(ServiceName, Place)>,
    watch: WatchWhen,
    faults: &mut Faults,
) {
    let plans: BTreeMap<&ServiceName, &ServicePlan> = services.iter().map(|plan| (&plan.name, plan.as_ref())).collect();
    if let Some((name, place)) = exit_with
        && !plans.contains_key(name)
    {
        unknown(name, *place, &plans, faults);
    }
    for sighting in sightings {
        for (name, place) in &sighting.needs {
            match plans.get(name) {
                None => unknown(name, *place, &plans, faults),
                Some(_) if *name == sighting.name => faults.add(*place, format!("`{name}` cannot need itself")),
                Some(needed) => completable(sighting, needed, *place, &plans, faults),
            }
        }
    }
    circles(sightings, &plans, faults);
    if watch == WatchWhen::Always {
        windows(services, sightings, faults);
    }
}

fn unknown(name: &ServiceName, place: Place, plans: &BTreeMap<&ServiceName, &ServicePlan>, faults: &mut Faults) {
    let help = match suggest::nearest(name.as_str(), plans.keys().map(|name| name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None if plans.len() <= 20 => {
            let names: Vec<&str> = plans.keys().map(|name| name.as_str()).collect();
            format!("the services are {}", names.join(", "))
        }
        None => String::new(),
    };
    faults.add_with(place, format!("no service is called `{name}`"), help);
}

fn completable(
    sighting: &Sighting,
    needed: &ServicePlan,
    place: Place,
    plans: &BTreeMap<&ServiceName, &ServicePlan>,
    faults: &mut Faults,
) {
    let until = plans.get(&sighting.name).and_then(|plan| plan.needs.get(&needed.name)).map(|need| need.until);
    let endless = match needed.restart.policy {
        Policy::Always | Policy::UnlessStopped => true,
        Policy::OnFailure | Policy::Never => false,
    };
    if until == Some(Until::Completed) && needed.kind == Kind::Service && endless {
        faults.add_with(
            place,
            format!("`{}` never completes: it is restarted whenever it ends", needed.name),
            format!("give `{}` `type: task`, or wait until it is ready", needed.name),
        );
    }
}

/// Names one circle for every group of services that wait for each other.
fn circles(sightings: &[Sighting], plans: &BTreeMap<&ServiceName, &ServicePlan>, faults: &mut Faults) {
    let mut done: BTreeSet<&ServiceName> = BTreeSet::new();
    let places: BTreeMap<&ServiceName, &Sighting> = sightings.iter().map(|one| (&one.name, one)).collect();
    for start in sightings {
        // Depth first with a path of its own: a chain of services may be longer than the stack is deep.
        let mut path: Vec<(&ServiceName, usize)> = vec![(&start.name, 0)];
        while let Some((name, next)) = path.last().copied() {
            let needs = if done.contains(name) { None } else { places.get(name).and_then(|one| one.needs.get(next)) };
            let Some((needed, place)) = needs else {
                done.insert(name);
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            if needed == name || !plans.contains_key(needed) {
                continue;
            }
            if let Some(at) = path.iter().position(|(seen, _)| *seen == needed) {
                let names: Vec<&str> = path[at..].iter().map(|(name, _)| name.as_str()).collect();
                faults.add_with(
                    *place,
                    format!("services need each other in a circle: {} → {needed}", names.join(" → ")),
                    "take one of these out of `needs`",
                );
            } else {
                path.push((needed, 0));
            }
        }
    }
}

/// Says where a window is shorter than `up` takes it.
fn windows(services: &[Arc<ServicePlan>], sightings: &[Sighting], faults: &mut Faults) {
    for (plan, sighting) in services.iter().zip(sightings) {
        if let (Some(watch), Some(place)) = (&plan.watch, sighting.debounce)
            && watch.debounce < LEAST_WINDOW
        {
            let message = "under `up` a change counts once nothing has changed for at least 2s";
            faults.note(place, message, "this shorter window acts in `dev` alone");
        }
    }
}
