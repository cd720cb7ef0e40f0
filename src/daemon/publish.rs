//! Facts become records with a time and a number; the core's state becomes the snapshot that doors show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::core::event::Event;
use crate::daemon::adopt::Found;
use crate::daemon::ledger::{FactNumber, Ledger};
use crate::daemon::news::News;
use crate::daemon::state::State;
use crate::history::record::Recorder;
use crate::history::run::RunRecord;
use crate::meter::Meter;
use crate::model::event::{CHECKED_BY, EventRecord, EventWord, Fact};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::service::{Cause, Certainty};
use crate::model::status::Status;
use crate::model::units::{Now, Timestamp};
use crate::model::why::Change;
use crate::os::killpoint;

/// Events a slow reader may lag behind before it is told how many it lost.
pub(super) const FOLLOWED: usize = 1_024;
/// What changed this long before an end is shown beside it.
const BEFORE: Duration = Duration::from_secs(600);
/// Changes kept per service.
const CHANGES: usize = 32;

/// Writes down what happens and tells whoever follows.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) recorder: Recorder,
    pub(super) events: broadcast::Sender<Arc<EventRecord>>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) sampled: watch::Sender<Now>,
    pub(super) meter: Meter,
    pub(super) ledger: Ledger,
    seq: u64,
    started: BTreeMap<InstanceId, Timestamp>,
    changes: BTreeMap<ServiceName, VecDeque<Change>>,
}

impl Publisher {
    pub(super) fn new(recorder: Recorder, first: Arc<Status>, ledger: Ledger) -> Self {
        let seq = recorder.last_seq();
        Self {
            recorder,
            events: broadcast::Sender::new(FOLLOWED),
            status: watch::Sender::new(first),
            sampled: watch::Sender::new(Now::default()),
            meter: Meter::default(),
            ledger,
            seq,
            started: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// Gives a fact its time and number, keeps it and tells followers. The end of a run comes back as a record that
    /// still lacks its last lines.
    pub(super) fn fact(&mut self, fact: Fact, wall: Timestamp) -> Option<RunRecord> {
        let number = self.ledger.extra_fact();
        self.fact_numbered(number, fact, wall)
    }

    /// As [`Self::fact`], of one that was numbered when it was decided.
    pub(super) fn fact_numbered(&mut self, number: FactNumber, fact: Fact, wall: Timestamp) -> Option<RunRecord> {
        self.seq += 1;
        let id = fact.instance();
        self.note(&fact, id.as_ref(), wall);
        let over = self.over(&fact, id.as_ref(), wall);
        let record = Arc::new(EventRecord {
            v: 1,
            at: wall,
            seq: self.seq,
            event: fact.event,
            instance: id.as_ref().map(|id| id.label(fact.instances)),
            service: fact.service,
            run: fact.run,
            cause: fact.cause,
            certainty: fact.certainty,
            code: fact.code,
            signal: fact.signal,
            pid: fact.pid,
            ran_ms: fact.ran_ms,
            delay_ms: fact.delay_ms,
            message: fact.message,
        });
        self.ledger.tell(number, &record, over.as_ref());
        killpoint::pass("tell");
        self.recorder.event(record.clone());
        killpoint::pass("told");
        // Without followers there is nobody to tell.
        let _ = self.events.send(record);
        over
    }

    /// The number of the latest event.
    pub(super) fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Keeps an end of a run that is about to be written down.
    pub(super) fn keep_end(&mut self, end: &RunRecord) {
        killpoint::pass("end-before");
        self.ledger.write(end, self.seq);
        killpoint::pass("end-after");
    }

    /// Goes on after an earlier engine: writes down what it told, and numbers what follows behind it.
    pub(super) fn recall(
        &mut self,
        told: &[(Arc<EventRecord>, Option<RunRecord>)],
        ends: Vec<RunRecord>,
        begun: impl Iterator<Item = (InstanceId, Timestamp)>,
    ) {
        let written = self.recorder.last_seq();
        for (event, _) in told.iter().filter(|(event, _)| event.seq > written) {
            self.recorder.event(event.clone());
        }
        self.seq = told.iter().map(|(event, _)| event.seq).max().unwrap_or_default().max(written);
        for end in ends {
            self.keep_end(&end);
            self.recorder.run(end);
        }
        self.started.extend(begun);
    }

    /// Writes down the runs that an everup which did not end in order left unexplained.
    pub(super) fn lost(&mut self, before: &State, found: &Found, wall: Timestamp) {
        if before.clean {
            return;
        }
        for (id, kept) in before.by_instance().filter(|(id, kept)| kept.pid.is_some() && !found.has(id)) {
            let fact = Fact {
                service: Some(id.service.clone()),
                index: Some(id.index),
                instances: id.index,
                run: Some(kept.run),
                cause: Some(Cause::SupervisorLost),
                certainty: Some(Certainty::Likely),
                message: Some("everup itself was killed or crashed".to_owned()),
                evidence: vec![
                    "everup itself had ended without stopping it in order (killed, crashed, or the machine went down)"
                        .to_owned(),
                    "how this run ended was not seen".to_owned(),
                ],
                then: Some("started anew with everup".to_owned()),
                ..Fact::new(EventWord::Ended)
            };
            if let Some(record) = self.fact(fact, wall) {
                self.recorder.run(record);
            }
        }
    }

    fn note(&mut self, fact: &Fact, id: Option<&InstanceId>, wall: Timestamp) {
        match (fact.event, id, &fact.service) {
            (EventWord::Starting, Some(id), _) => {
                self.started.insert(id.clone(), wall);
            }
            (EventWord::ReloadStarted, _, Some(service)) if fact.cause == Some(Cause::Watch) => {
                let message = fact.message.as_deref().unwrap_or_default();
                let what = message.split(CHECKED_BY).next().unwrap_or_default().to_owned();
                self.changes.entry(service.clone()).or_default().push_back(Change { at: wall, what });
            }
            (EventWord::ConfigApplied, _, Some(service)) => {
                let changes = self.changes.entry(service.clone()).or_default();
                for what in fact.message.iter().flat_map(|keys| keys.split(", ")) {
                    changes.push_back(Change { at: wall, what: what.to_owned() });
                }
            }
            _ => {}
        }
        if let Some(changes) = fact.service.as_ref().and_then(|service| self.changes.get_mut(service)) {
            changes.drain(..changes.len().saturating_sub(CHANGES));
        }
    }

    fn over(&self, fact: &Fact, id: Option<&InstanceId>, wall: Timestamp) -> Option<RunRecord> {
        let for_another = fact.event == EventWord::Failed && fact.cause == Some(Cause::Dependency);
        if fact.event != EventWord::Ended && !for_another {
            return None;
        }
        let id = id?;
        // What everup restarted it for is the reason already; what changed twice is told once.
        let mut told: Vec<&str> = match fact.cause {
            Some(Cause::Watch) => fact.evidence.iter().map(String::as_str).collect(),
            _ => vec![],
        };
        let changes = self.changes.get(&id.service).into_iter().flatten().rev().filter(|change| {
            let is_new = !told.contains(&change.what.as_str());
            told.push(&change.what);
            is_new
        });
        Some(RunRecord {
            instance: id.clone(),
            label: id.label(fact.instances),
            run: fact.run.filter(|_| !for_another),
            started: self.started.get(id).copied().filter(|_| !for_another),
            ended: wall,
            cause: fact.cause.unwrap_or(Cause::Exit),
            certainty: fact.certainty.unwrap_or(Certainty::Guess),
            code: fact.code,
            signal: fact.signal,
            ran_ms: fact.ran_ms,
            evidence: fact.evidence.clone(),
            last_lines: vec![],
            changed_before: changes.filter(|change| wall.since(change.at) < BEFORE).cloned().collect(),
            then: fact.then.clone(),
            trend: None,
        })
    }
}

/// A core event as news.
impl From<Event> for News {
    fn from(event: Event) -> Self {
        Self::Core(event)
    }
}
