//! What the engine's successor is told, one change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::service::Service;
use crate::core::supervisor::memory::Common;
use crate::daemon::ledger::frame;
use crate::daemon::startup::FileMark;
use crate::guardian::protocol::SocketKey;
use crate::history::run::RunRecord;
use crate::model::event::{EventRecord, Fact};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::plan::{ListenAddress, Plan, ServicePlan};
use crate::model::units::Timestamp;

/// The version of these records.
pub(super) const VERSION: u32 = 1;

/// One change. What an older version does not know it refuses, so that an upgrade finds out before it matters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// The first: who writes.
    Begun { v: u32, everup: String, started_at: Timestamp },
    /// The plan in force.
    Plan(std::borrow::Cow<'a, Plan>),
    /// The file as it was when it was applied.
    File(FileMark),
    /// What the core keeps beside its services.
    Common(Common),
    /// A service as it is now; none: it is gone.
    Service { name: ServiceName, service: Option<std::borrow::Cow<'a, Service>> },
    /// What instances of a service run as where that is not what the plan says; replaces what was said before.
    Plans { name: ServiceName, plans: Vec<(InstanceId, Arc<ServicePlan>)> },
    /// The listening sockets of a service; none: it has none any more.
    Sockets { name: ServiceName, sockets: Vec<(SocketKey, ListenAddress)> },
    /// The notify socket of an instance.
    Notify { instance: InstanceId, key: SocketKey, address: String },
    /// Something was decided that is to be told; numbered in order.
    Fact { number: u64, fact: Fact, wall: Timestamp },
    /// It was told so, and where it was the end of a run that is to be written down, this is its beginning.
    Told { number: u64, event: Arc<EventRecord>, run: Option<RunRecord> },
    /// The end of a run with its last lines, on its way into the history.
    Written(RunRecord),
}

/// All that an engine left behind.
#[derive(Debug)]
pub(in crate::daemon) struct Remembered {
    /// When the first engine began.
    pub(in crate::daemon) started_at: Timestamp,
    /// The plan in force.
    pub(in crate::daemon) plan: Plan,
    /// The file it was read from, as it was then.
    pub(in crate::daemon) file: FileMark,
    pub(in crate::daemon) common: Option<Common>,
    pub(in crate::daemon) services: BTreeMap<ServiceName, Service>,
    pub(in crate::daemon) plans: BTreeMap<InstanceId, Arc<ServicePlan>>,
    pub(in crate::daemon) sockets: BTreeMap<ServiceName, Vec<(SocketKey, ListenAddress)>>,
    pub(in crate::daemon) notify: BTreeMap<InstanceId, (SocketKey, String)>,
    /// What was decided and not told, in order.
    pub(in crate::daemon) untold: BTreeMap<u64, (Fact, Timestamp)>,
    /// What was told last, in order; with the beginning of an end of a run whose last lines are not known.
    pub(in crate::daemon) told: Vec<(Arc<EventRecord>, Option<RunRecord>)>,
    /// Ends of runs that may not have reached the history.
    pub(in crate::daemon) written: Vec<RunRecord>,
}

/// Why a successor cannot go on from what it was left.
#[derive(Debug, thiserror::Error)]
pub enum Illegible {
    /// Another version wrote it.
    #[error("cannot read what everup {everup} has kept in memory (format {found}; this is everup {}, format {VERSION})", env!("CARGO_PKG_VERSION"))]
    Version {
        /// Who wrote it.
        everup: String,
        /// In which format.
        found: u32,
    },
    /// It says something unknown.
    #[error("cannot read what the engine before has kept in memory: {0}")]
    Foreign(#[from] serde_json::Error),
    /// It does not say enough.
    #[error("cannot go on from what the engine before has kept in memory: it does not say what to supervise")]
    Empty,
    /// The kernel refused.
    #[error("cannot read what the engine before has kept in memory: {0}")]
    Memory(#[from] io::Error),
}

/// The first record in whatever version.
#[derive(Deserialize)]
enum Opening {
    Begun {
        v: u32,
        everup: String,
    },
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

/// Reads what an engine left behind.
///
/// # Errors
/// When it cannot be read, or not in this version.
pub(in crate::daemon) fn read(memory: OwnedFd) -> Result<Remembered, Illegible> {
    let mut bytes = vec![];
    let mut file = File::from(memory);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let openings = frame::read::<Opening>(&bytes)?;
    if let Some(Opening::Begun { v, everup }) = openings.into_iter().next()
        && v > VERSION
    {
        return Err(Illegible::Version { everup, found: v });
    }
    gather(frame::read::<Record<'static>>(&bytes)?)
}

fn gather(records: Vec<Record<'static>>) -> Result<Remembered, Illegible> {
    let (mut began, mut plan, mut common, mut file) = (None, None, None, FileMark::default());
    let (mut services, mut plans) = (BTreeMap::new(), BTreeMap::new());
    let (mut sockets, mut notify) = (BTreeMap::new(), BTreeMap::new());
    let (mut untold, mut told) = (BTreeMap::new(), vec![]);
    let mut written: Vec<RunRecord> = vec![];
    for record in records {
        match record {
            Record::Begun { started_at, .. } => began = Some(started_at),
            Record::Plan(now) => plan = Some(now.into_owned()),
            Record::File(now) => file = now,
            Record::Common(now) => common = Some(now),
            Record::Service { name, service: Some(service) } => {
                services.insert(name, service.into_owned());
            }
            Record::Service { name, service: None } => {
                services.remove(&name);
            }
            Record::Plans { name, plans: now } => {
                plans.retain(|id: &InstanceId, _| id.service != name);
                plans.extend(now);
            }
            Record::Sockets { name, sockets: now } => {
                sockets.insert(name, now);
            }
            Record::Notify { instance, key, address } => {
                notify.insert(instance, (key, address));
            }
            Record::Fact { number, fact, wall } => {
                untold.insert(number, (fact, wall));
            }
            Record::Told { number, event, run } => {
                untold.remove(&number);
                told.push((event, run));
            }
            Record::Written(end) => written.push(end),
        }
    }
    let known: BTreeSet<(&InstanceId, Option<Run>)> = written.iter().map(|end| (&end.instance, end.run)).collect();
    let is_open = |end: &RunRecord| !known.contains(&(&end.instance, end.run));
    let told = told.into_iter().map(|(event, end)| (event, end.filter(is_open))).collect();
    let (Some(started_at), Some(plan)) = (began, plan) else { return Err(Illegible::Empty) };
    Ok(Remembered { started_at, plan, file, common, services, plans, sockets, notify, untold, told, written })
}
