//! What services wrote: the latest lines, and what comes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use crate::logs::read::{Follower, Query};
use crate::model::command::{Denied, Target};
use crate::model::log::LogLine;
use crate::model::names::ServiceName;
use crate::model::status::{ServiceStatus, Status};
use crate::server::arguments::MOST;
use crate::server::dispatch::Call;
use crate::server::door::Desk;
use crate::server::listener::closed;
use crate::server::reply::{ErrorBody, Reply, bad, internal};
use crate::server::selector::resolve;
use crate::server::stream::{Format, Source};

/// How many lines are shown to those who do not say.
const USUAL: usize = 50;

/// Lines read at a time while following.
const BATCH: usize = 256;

pub(crate) async fn logs(call: &Call) -> Reply {
    let format = Format::of(&call.headers);
    let query = query(call)?;
    let reader = call.desk.handle.logs.clone();
    if !call.arguments.flag("follow")? {
        let lines = call.desk.read(move || reader.tail(&query)).await?.map_err(|e| unreadable(&e))?;
        return Ok(format.whole(written(format, &lines)));
    }
    if query.previous {
        return Err(bad("cannot follow the previous run: it is over"));
    }
    let place = call.desk.place()?;
    let follower = call.desk.read(move || reader.follow(&query)).await?.map_err(|e| unreadable(&e))?;
    let stream = LogStream {
        desk: call.desk.clone(),
        follower: Some(follower),
        progress: call.desk.handle.log_progress.clone(),
        closing: call.desk.closing.clone(),
        ending: false,
        format,
    };
    Ok(format.endless(stream, place, &call.connection))
}

/// The last `n` lines of a target, oldest first.
pub(crate) async fn tail(desk: &Desk, target: &Target, n: usize) -> Result<Vec<LogLine>, Denied> {
    let labels = labels(&desk.handle.snapshot.borrow());
    let query = Query { services: vec![(target.service.clone(), target.index)], lines: n, labels, ..Query::default() };
    let reader = desk.handle.logs.clone();
    desk.read(move || reader.tail(&query)).await?.map_err(|e| unreadable(&e))
}

fn query(call: &Call) -> Result<Query, Denied> {
    let arguments = &call.arguments;
    let since = arguments.since_time((call.desk.handle.clock)())?;
    let lines = arguments.count("n")?.unwrap_or(if since.is_some() { MOST } else { USUAL });
    let status = call.desk.handle.snapshot.borrow().clone();
    Ok(Query {
        services: services(call, &status)?,
        stream: arguments.stream()?,
        lines,
        since,
        previous: arguments.flag("previous")?,
        grep: arguments.grep()?,
        labels: labels(&status),
        ..Query::default()
    })
}

/// Those of the path, or of `services=a,b`; empty: all.
fn services(call: &Call, status: &Status) -> Result<Vec<(ServiceName, Option<u32>)>, Denied> {
    let selectors =
        if call.selector.is_empty() { call.arguments.text("services").unwrap_or_default() } else { &call.selector };
    let mut found = Vec::new();
    for selector in selectors.split(',').map(str::trim).filter(|selector| !selector.is_empty()) {
        for target in resolve(selector, status)? {
            let named = (target.service, target.index);
            if !found.contains(&named) {
                found.push(named);
            }
        }
    }
    Ok(found)
}

/// How many instances each service has: decides how they are called.
fn labels(status: &Status) -> BTreeMap<ServiceName, u32> {
    let count = |service: &ServiceStatus| u32::try_from(service.instances.len()).unwrap_or(u32::MAX);
    status.services.iter().map(|service| (service.name.clone(), count(service))).collect()
}

fn written(format: Format, lines: &[LogLine]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.iter().map(|line| line.line.len() + 160).sum());
    for line in lines {
        format.write(&mut out, None, line);
    }
    out
}

fn unreadable(error: &io::Error) -> Denied {
    internal(format!("cannot read the logs: {error}"))
}

/// The lines for one reader. What waits for it waits in the files.
#[derive(Debug)]
struct LogStream {
    desk: Arc<Desk>,
    /// Away only while it reads.
    follower: Option<Follower>,
    progress: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    /// Nothing more will come: what is there is still read.
    ending: bool,
    format: Format,
}

impl LogStream {
    async fn read(&mut self) -> Result<Vec<LogLine>, Denied> {
        let Some(mut follower) = self.follower.take() else {
            return Ok(vec![]);
        };
        let (follower, lines) = self
            .desk
            .read(move || {
                let lines = follower.next_lines(BATCH);
                (follower, lines)
            })
            .await?;
        self.follower = Some(follower);
        lines.map_err(|e| unreadable(&e))
    }
}

impl Source for LogStream {
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            // Marked before the reading, so that what is written during it wakes us.
            self.progress.borrow_and_update();
            match self.read().await {
                Ok(lines) if lines.is_empty() && (self.ending || self.follower.is_none()) => return None,
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => return Some(written(self.format, &lines)),
                Err(error) => {
                    self.follower = None;
                    let mut out = Vec::new();
                    self.format.write(&mut out, None, &ErrorBody { error });
                    return Some(out);
                }
            }
            tokio::select! {
                biased;
                grown = self.progress.changed() => self.ending = grown.is_err(),
                () = closed(&mut self.closing) => self.ending = true,
                () = self.format.silence() => return Some(Format::beat()),
            }
        }
    }
}
