//! What a page is written from: a copy of everything, taken in one moment.

use std::time::Duration;

use crate::meter::counters::Counters;
use crate::meter::requests::RequestCounts;
use crate::meter::{ConfigReloads, Figures};
use crate::model::names::InstanceId;
use crate::model::status::{InstanceStatus, Status};
use crate::model::usage::{HostUsage, Usage};
use crate::os::own::OwnProcess;

/// The project at one moment.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) version: String,
    /// When everup started, in seconds since 1970.
    pub(super) started: f64,
    /// Every instance, in the order of the file.
    pub(super) rows: Vec<Row>,
    pub(super) config: ConfigReloads,
    pub(super) host: HostUsage,
    /// None where /proc cannot be read.
    pub(super) own: Option<OwnProcess>,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) status: InstanceStatus,
    pub(super) counters: Counters,
    /// None while nothing runs.
    pub(super) usage: Option<Usage>,
    pub(super) requests: RequestCounts,
}

impl Scene {
    pub(super) fn new(status: Status, figures: &Figures, own: Option<OwnProcess>) -> Self {
        let mut rows = vec![];
        for service in status.services {
            for instance in service.instances {
                let id = InstanceId { service: service.name.clone(), index: instance.index };
                let known = figures.instances.get(&id);
                rows.push(Row {
                    service: service.name.to_string(),
                    instance: instance.index.to_string(),
                    counters: known.map(|known| known.counters.clone()).unwrap_or_default(),
                    usage: known.and_then(|known| known.recent.usage()).filter(|_| instance.pid.is_some()).cloned(),
                    requests: known.map(|known| known.requests.clone()).unwrap_or_default(),
                    status: instance,
                });
            }
        }
        Self {
            version: status.version,
            started: status.started_at.0 as f64 / 1_000.0,
            rows,
            config: figures.config,
            host: figures.host.clone(),
            own,
        }
    }
}

impl Row {
    /// The wait before the next attempt, while it waits.
    pub(super) fn backoff(&self) -> Duration {
        let waits = self.status.state == crate::model::service::State::Backoff;
        if waits { self.counters.backoff } else { Duration::ZERO }
    }

    /// How the latest run ended, as a shell would say it; none: it has not, or it never ran.
    pub(super) fn exit_code(&self) -> Option<i32> {
        let end = self.status.last_end.as_ref()?;
        end.code.or_else(|| end.signal.map(|signal| 128 + signal.number()))
    }
}
