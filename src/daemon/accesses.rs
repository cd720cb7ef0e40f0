//! Reads access lines out of the logs of services with `log_metrics`: only what is new, and only when there is something.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::daemon::engine::Engine;
use crate::logs::read::{Follower, Query, Reader};
use crate::meter::Meter;
use crate::meter::access_line::AccessLines;
use crate::meter::requests::Access;
use crate::model::names::{InstanceId, ServiceName};
use crate::model::plan::{AccessFormat, Plan};
use crate::os::clock;

/// Lines are read at most this often: counting may lag a little, and many small writes cost one reading.
const RESTS: Duration = Duration::from_millis(250);
/// Lines read at a time.
const LINES: usize = 1_000;
/// After a log that cannot be read.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The services whose access lines are read.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    plan: Option<Arc<Plan>>,
    readers: BTreeMap<ServiceName, (Vec<AccessFormat>, AbortHandle)>,
}

impl Engine {
    /// Tells the meter of the plan in force, and reads the access lines it asks for.
    pub(super) fn follow_plan(&mut self) {
        let plan = self.core.plan();
        if self.accesses.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan)) {
            return;
        }
        let plan = plan.clone();
        self.publisher.meter.configured(&plan);
        self.accesses.readers.retain(|name, (formats, reader)| {
            let stays = plan.service(name).is_some_and(|service| service.log_metrics == *formats);
            if !stays {
                reader.abort();
            }
            stays
        });
        for service in plan.services.iter().filter(|service| !service.log_metrics.is_empty()) {
            if self.accesses.readers.contains_key(&service.name) {
                continue;
            }
            let lines = match AccessLines::new(&service.log_metrics) {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::warn!(service = %service.name, %error, "access lines are not read");
                    continue;
                }
            };
            let query = Query {
                services: vec![(service.name.clone(), None)],
                // What is new from now on: what is there already is of an earlier everup.
                lines: 0,
                ..Query::default()
            };
            let reading = Reading { lines, meter: self.publisher.meter.clone(), logs: self.handle.logs.clone(), query };
            let reader = tokio::task::spawn_local(reading.go_on(self.pump.progress())).abort_handle();
            self.accesses.readers.insert(service.name.clone(), (service.log_metrics.clone(), reader));
        }
        self.accesses.plan = Some(plan);
    }
}

/// The reading of one service's access lines.
#[derive(Debug)]
struct Reading {
    lines: AccessLines,
    meter: Meter,
    logs: Reader,
    query: Query,
}

impl Reading {
    async fn go_on(self, mut progress: watch::Receiver<u64>) {
        let mut follower = None;
        loop {
            progress.mark_unchanged();
            match self.read(follower.take()).await {
                Ok(read) => follower = Some(read),
                Err(error) => {
                    let services = &self.query.services;
                    tracing::warn!(?services, %error, "access lines cannot be read");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
            // Without the pump there is nothing left to read.
            if progress.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(RESTS).await;
        }
    }

    /// Reads what there is by now, on another thread: a slow disk must not hold up the loop.
    async fn read(&self, follower: Option<Follower>) -> io::Result<Follower> {
        let (lines, meter, logs, query) =
            (self.lines.clone(), self.meter.clone(), self.logs.clone(), self.query.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut follower = follower.map_or_else(|| logs.follow(&query), Ok)?;
            loop {
                let new = follower.next_lines(LINES)?;
                if new.is_empty() {
                    return Ok(follower);
                }
                let mut accesses: BTreeMap<InstanceId, Vec<Access>> = BTreeMap::new();
                for line in new {
                    if let Some(access) = lines.read(&line.line) {
                        // An instance's name has its number where there are several.
                        let index = line.instance.rsplit_once('/').and_then(|(_, index)| index.parse().ok());
                        let id = InstanceId { service: line.service, index: index.unwrap_or(1) };
                        accesses.entry(id).or_default().push(access);
                    }
                }
                let now = clock::now().moment;
                for (id, accesses) in accesses {
                    meter.requested(&id, &accesses, now);
                }
            }
        });
        read.await.unwrap_or_else(|_| Err(io::Error::other("the reading was given up")))
    }
}
