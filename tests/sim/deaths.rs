//! The engine's death: what was kept before each deed is all that its successor has, beside what the guardian knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use everup::core::supervisor::Supervisor;
use everup::core::supervisor::memory::{Common, Memory, Service};
use everup::model::names::{InstanceId, ServiceName};
use everup::model::plan::{Plan, ServicePlan};

use crate::invariants::{Checked, ensure};

/// What an engine has written down, as text, as the ledger does.
#[derive(Debug)]
pub(crate) struct Book {
    plan: Arc<Plan>,
    common: String,
    services: BTreeMap<ServiceName, String>,
    plans: BTreeMap<ServiceName, Vec<(InstanceId, Arc<ServicePlan>)>>,
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

impl Book {
    /// All of it.
    pub(crate) fn new(core: &mut Supervisor) -> Self {
        let mut book = Self {
            plan: core.plan().clone(),
            common: text(&core.common()),
            services: BTreeMap::new(),
            plans: BTreeMap::new(),
        };
        core.touched();
        let names: Vec<ServiceName> = core.services().map(|service| service.name().clone()).collect();
        for name in &names {
            book.write(core, name);
        }
        book
    }

    fn write(&mut self, core: &Supervisor, name: &ServiceName) {
        match core.service(name) {
            Some(service) => self.services.insert(name.clone(), text(service)),
            None => self.services.remove(name),
        };
        let plans: Vec<_> = core.other_plans(name).map(|(id, plan)| (id.clone(), plan.clone())).collect();
        self.plans.insert(name.clone(), plans);
    }

    /// Keeps what has changed; what is not said to have changed must be as it was.
    pub(crate) fn keep(&mut self, core: &mut Supervisor) -> Checked {
        let touched = core.touched();
        self.plan = core.plan().clone();
        self.common = text(&core.common());
        for name in &touched {
            self.write(core, name);
        }
        let there: BTreeSet<&ServiceName> = core.services().map(Service::name).collect();
        for name in there.iter().copied().chain(self.services.keys()) {
            let now = core.service(name).map(text);
            ensure(now.as_ref() == self.services.get(name), "every change is told to be one", || {
                format!(
                    "{name}:\n{}\n{}",
                    now.unwrap_or_default(),
                    self.services.get(name).cloned().unwrap_or_default()
                )
            })?;
            let plans: Vec<_> = core.other_plans(name).map(|(id, plan)| (id.clone(), plan.clone())).collect();
            let same = self.plans.get(name).is_some_and(|known| {
                known.len() == plans.len()
                    && known.iter().zip(&plans).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1))
            });
            ensure(same, "every change of a plan is told to be one", || format!("{name}"))?;
        }
        Ok(())
    }

    /// The plan in force.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plan.clone()
    }

    /// Reads it as a successor does.
    pub(crate) fn read(&self) -> Memory {
        let common: Common = serde_json::from_str(&self.common).unwrap();
        let of = |(name, text): (&ServiceName, &String)| (name.clone(), serde_json::from_str(text).unwrap());
        Memory {
            common: Some(common),
            services: self.services.iter().map(of).collect(),
            plans: self.plans.values().flatten().cloned().collect(),
        }
    }
}
