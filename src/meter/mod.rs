//! COUNTS: what happened and what was used since everup started, kept in memory for whoever looks.
//!
//! The daemon reports; doors read. Nothing is decided here, and nothing is written down: that is `history`'s part.

pub mod recent;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::meter::recent::Recent;
use crate::model::names::{InstanceId, ServiceName};
use crate::model::overview::ProbeTick;
use crate::model::probe::ProbeRole;
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
}

/// What is kept of one instance.
#[derive(Debug, Default)]
pub struct InstanceFigures {
    /// The latest readings and probes.
    pub recent: Recent,
}

impl Meter {
    /// Takes one reading of everything that runs. What is not in it runs no more.
    pub fn sampled(&self, samples: &[Sample], host: HostUsage) {
        let mut figures = self.read();
        figures.host = host;
        for (id, instance) in &mut figures.instances {
            if !samples.iter().any(|sample| &sample.instance == id) {
                instance.recent.ended();
            }
        }
        for sample in samples {
            figures.instances.entry(sample.instance.clone()).or_default().recent.sampled(sample);
        }
    }

    /// Takes the answer of a probe.
    pub fn probed(&self, instance: &InstanceId, role: ProbeRole, tick: ProbeTick) {
        self.read().instances.entry(instance.clone()).or_default().recent.probed(role, tick);
    }

    /// How long the latest probe took, if there was one since this was asked last.
    pub fn take_probe_ms(&self, instance: &InstanceId) -> Option<f64> {
        self.read().instances.get_mut(instance)?.recent.take_probe_ms()
    }

    /// Forgets every service but these.
    pub fn keep(&self, services: &[ServiceName]) {
        self.read().instances.retain(|id, _| services.contains(&id.service));
    }

    /// All figures. Hold it only to copy from it.
    pub fn read(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
