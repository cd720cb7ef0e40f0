//! The project as it was seen so far: each overview brings only what is new.

use crate::model::overview::{InstanceOverview, Overview, Point, ProbeTick};

/// How many points are kept: as many as a first overview brings.
const POINTS: usize = 60;
/// How many probes.
const PROBES: usize = 50;
/// A point takes the place of the one before it within the same span of so many milliseconds.
const SLOT_MS: i64 = 5_000;

/// The new overview, with what the one before it knew and it does not repeat.
pub(super) fn merged(mut new: Overview, before: Option<Overview>) -> Overview {
    let Some(before) = before else { return new };
    let mut known: Vec<InstanceOverview> = before.services.into_iter().flat_map(|service| service.instances).collect();
    for instance in new.services.iter_mut().flat_map(|service| &mut service.instances) {
        if let Some(place) = known.iter().position(|old| old.name == instance.name) {
            let old = known.swap_remove(place);
            instance.recent = points(old.recent, std::mem::take(&mut instance.recent));
            instance.probes = probes(old.probes, std::mem::take(&mut instance.probes));
        }
    }
    new
}

fn points(mut old: Vec<Point>, new: Vec<Point>) -> Vec<Point> {
    let slot = |point: &Point| point.at.0.div_euclid(SLOT_MS);
    for point in new {
        old.retain(|known| slot(known) < slot(&point));
        old.push(point);
    }
    last(old, POINTS)
}

fn probes(mut old: Vec<ProbeTick>, new: Vec<ProbeTick>) -> Vec<ProbeTick> {
    old.extend(new);
    last(old, PROBES)
}

fn last<T>(mut all: Vec<T>, most: usize) -> Vec<T> {
    drop(all.drain(..all.len().saturating_sub(most)));
    all
}
