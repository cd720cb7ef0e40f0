//! Who needs whom: closures and orders over the services' `needs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::names::ServiceName;
use crate::model::plan::ServicePlan;

/// `roots` and everything they need, directly or not, required or only waited for.
pub(crate) fn with_needs(
    plans: &BTreeMap<ServiceName, &Arc<ServicePlan>>,
    roots: impl IntoIterator<Item = ServiceName>,
) -> BTreeSet<ServiceName> {
    let mut found = BTreeSet::new();
    let mut open: Vec<ServiceName> = roots.into_iter().collect();
    while let Some(name) = open.pop() {
        let Some(plan) = plans.get(&name) else { continue };
        if found.insert(name) {
            open.extend(plan.needs.keys().cloned());
        }
    }
    found
}
