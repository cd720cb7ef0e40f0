//! COUNTS: what happened and what was used since everup started, kept in memory for whoever looks.
//!
//! The daemon reports; doors read. Nothing is decided here, and nothing is written down: that is `history`'s part.

pub mod access_line;
pub mod counters;
pub mod histogram;
pub mod recent;
pub mod requests;
pub mod totals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::meter::counters::{Counters, ProbeOutcome};
use crate::meter::recent::Recent;
use crate::meter::requests::{Access, RequestCounts};
use crate::model::event::Fact;
use crate::model::log::LogBytes;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::overview::ProbeTick;
use crate::model::plan::{Kind, MetricsPlan, Plan};
use crate::model::probe::{ProbeRole, Verdict};
use crate::model::units::{Moment, Timestamp};
use crate::model::usage::{HostUsage, Sample};

/// All figures of the running project. Cheap to clone; its lock is only ever held to move memory.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Figures>>);

/// What is kept.
#[derive(Debug, Default)]
pub struct Figures {
    /// The machine, at the last reading.
    pub host: HostUsage,
    /// The instances that are configured, or were and still run.
    pub instances: BTreeMap<InstanceId, InstanceFigures>,
    /// What the file says about the figures of each service.
    pub services: BTreeMap<ServiceName, ServicePlanned>,
    /// Files that were to be applied while everup runs.
    pub config: ConfigReloads,
}

/// What the file says about the figures of a service.
#[derive(Clone, Debug)]
pub struct ServicePlanned {
    /// Service or task.
    pub kind: Kind,
    /// Where its instances serve metrics themselves.
    pub metrics: Option<MetricsPlan>,
    /// Whether its access lines are read.
    pub reads_requests: bool,
}

/// How often the file was to be applied while everup runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigReloads {
    /// It was applied.
    pub ok: u64,
    /// It was refused, and nothing changed.
    pub failed: u64,
}

/// What is kept of one instance.
#[derive(Debug, Default)]
pub struct InstanceFigures {
    /// The latest readings and probes.
    pub recent: Recent,
    /// What happened since everup started.
    pub counters: Counters,
    /// What its access lines tell.
    pub requests: RequestCounts,
}

impl Meter {
    /// Takes one reading of everything that runs. What is not in it runs no more.
    pub fn sampled(&self, samples: &[Sample], host: HostUsage) {
        let mut figures = self.read();
        figures.host = host;
        for instance in figures.instances.values_mut() {
            instance.recent.ended();
        }
        for sample in samples {
            let instance = figures.instances.entry(sample.instance.clone()).or_default();
            instance.recent.sampled(sample);
            instance.counters.totals.add(sample.run, &sample.usage);
        }
    }

    /// Takes the answer of a probe, which took `ms`.
    pub fn probed(&self, instance: &InstanceId, role: ProbeRole, verdict: &Verdict, ms: f64, at: Timestamp) {
        let Some(outcome) = ProbeOutcome::of(verdict) else { return };
        let message = match verdict {
            Verdict::Fail { message, .. } => Some(message.clone()),
            Verdict::Pass { .. } | Verdict::Skip { .. } => None,
        };
        self.of(instance, |instance| {
            instance.counters.probed(role, outcome, ms);
            let tick = ProbeTick { at, ok: outcome == ProbeOutcome::Success, ms, message };
            instance.recent.probed(role, tick);
        });
    }

    /// Takes what the core decided or saw. What is about a whole service counts for each of its instances.
    pub fn happened(&self, fact: &Fact, now: Moment) {
        let Some(service) = &fact.service else { return };
        let mut figures = self.read();
        let kind = figures.services.get(service).map_or(Kind::Service, |planned| planned.kind);
        match fact.instance() {
            Some(id) => figures.instances.entry(id).or_default().counters.happened(fact, kind, now),
            None => {
                for (_, instance) in figures.instances.iter_mut().filter(|(id, _)| &id.service == service) {
                    instance.counters.happened(fact, kind, now);
                }
            }
        }
    }

    /// The last process of the instance's run is gone.
    pub fn gone(&self, instance: &InstanceId, now: Moment) {
        self.of(instance, |instance| instance.counters.gone(now));
    }

    /// The run did not end within its stop's timeout and is killed.
    pub fn killed(&self, instance: &InstanceId, run: Run) {
        self.of(instance, |instance| instance.counters.killed(run));
    }

    /// Takes how much each instance has written since everup started.
    pub fn logged(&self, bytes: Vec<(InstanceId, LogBytes)>) {
        let mut figures = self.read();
        for (id, bytes) in bytes {
            if let Some(instance) = figures.instances.get_mut(&id) {
                instance.counters.logs = Some(bytes);
            }
        }
    }

    /// Takes access lines of an instance.
    pub fn requested(&self, instance: &InstanceId, accesses: &[Access], now: Moment) {
        self.of(instance, |instance| accesses.iter().for_each(|access| instance.requests.add(*access, now)));
    }

    /// The file was to be applied.
    pub fn config_reloaded(&self, ok: bool) {
        let config = &mut self.read().config;
        *(if ok { &mut config.ok } else { &mut config.failed }) += 1;
    }

    fn of(&self, id: &InstanceId, with: impl FnOnce(&mut InstanceFigures)) {
        with(self.read().instances.entry(id.clone()).or_default());
    }

    /// How long the latest probe took, if there was one since this was asked last.
    pub fn take_probe_ms(&self, instance: &InstanceId) -> Option<f64> {
        self.read().instances.get_mut(instance)?.recent.take_probe_ms()
    }

    /// Takes the plan in force; what is not in it is forgotten.
    pub fn configured(&self, plan: &Plan) {
        let mut figures = self.read();
        figures.services = plan
            .services
            .iter()
            .map(|service| {
                let reads_requests = !service.log_metrics.is_empty();
                let planned = ServicePlanned { kind: service.kind, metrics: service.metrics.clone(), reads_requests };
                (service.name.clone(), planned)
            })
            .collect();
        let Figures { instances, services, .. } = &mut *figures;
        instances.retain(|id, _| services.contains_key(&id.service));
    }

    /// All figures. Hold it only to copy from it.
    pub fn read(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
