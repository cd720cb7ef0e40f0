//! The engine's memory: what it has decided is written into a file in RAM before it is done, and the guardian holds that
//! file. When the engine dies, its successor goes on from there.
//!
//! Only changes are written, a whole state when the file has grown: a probe that passes costs one small write.

mod frame;
pub(super) mod record;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::Serialize;

use crate::core::action::Action;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::memory::Common;
use crate::daemon::ledger::record::Record;
use crate::daemon::startup::FileMark;
use crate::guardian::protocol::SocketKey;
use crate::history::run::RunRecord;
use crate::model::event::{EventRecord, Fact};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::plan::{ListenAddress, Plan, ServicePlan};
use crate::model::units::Timestamp;
use crate::os::killpoint;

/// Beyond this many bytes more than a whole state needs, the file is written anew.
const ROOM: u64 = 256 << 10;

/// Where the numbers begin of what the shell tells of itself.
const EXTRA: u64 = 1 << 62;

/// Numbers what is to be told, from the decision until it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FactNumber(u64);

/// Writes the engine's memory.
#[derive(Debug)]
pub(super) struct Ledger {
    started_at: Timestamp,
    /// None: nothing is kept, and the engine's death is the end.
    file: Option<File>,
    length: u64,
    /// How long the file was when it held a whole state alone.
    whole: u64,
    written: Written,
    mark: FileMark,
    sockets: BTreeMap<ServiceName, Vec<(SocketKey, ListenAddress)>>,
    notify: BTreeMap<InstanceId, (SocketKey, String)>,
    /// Facts decided and told so far.
    decided: u64,
    taken: u64,
    extra: u64,
    open: BTreeMap<u64, Open>,
    /// Ends of runs on their way into the history, each with the number of the latest event before it.
    ends: VecDeque<(u64, RunRecord)>,
}

/// What the file says now.
#[derive(Debug, Default)]
struct Written {
    plan: Option<Arc<Plan>>,
    common: Option<Common>,
    services: BTreeMap<ServiceName, Option<u64>>,
    plans: BTreeMap<ServiceName, Vec<(InstanceId, Arc<ServicePlan>)>>,
}

/// A fact on its way into the history.
#[derive(Debug)]
enum Open {
    Decided(Fact, Timestamp),
    Told(Arc<EventRecord>, Option<RunRecord>),
}

impl Ledger {
    /// One that keeps nothing until [`Self::open`].
    pub(super) fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            file: None,
            length: 0,
            whole: 0,
            written: Written::default(),
            mark: FileMark::default(),
            sockets: BTreeMap::new(),
            notify: BTreeMap::new(),
            decided: 0,
            taken: 0,
            extra: 0,
            open: BTreeMap::new(),
            ends: VecDeque::new(),
        }
    }

    /// When the first engine began.
    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Begins to keep: writes a whole state into a new file, which the guardian is to be given.
    ///
    /// # Errors
    /// When the kernel has no memory for it, or something in the plan cannot be written; then nothing is kept.
    pub(super) fn open(&mut self, core: &mut Supervisor) -> io::Result<&File> {
        self.file = None;
        let file = crate::os::memfd::empty("everup")?;
        self.written = Written::default();
        core.touch_all();
        let begun = Record::Begun {
            v: record::VERSION,
            everup: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
        };
        let mut batch = vec![begun, Record::File(self.mark.clone())];
        self.changes(core, &mut batch);
        for (name, sockets) in &self.sockets {
            batch.push(Record::Sockets { name: name.clone(), sockets: sockets.clone() });
        }
        for (instance, (key, address)) in &self.notify {
            batch.push(Record::Notify { instance: instance.clone(), key: *key, address: address.clone() });
        }
        for (number, open) in &self.open {
            batch.push(match open {
                Open::Decided(fact, wall) => Record::Fact { number: *number, fact: fact.clone(), wall: *wall },
                Open::Told(event, run) => Record::Told { number: *number, event: event.clone(), run: run.clone() },
            });
        }
        batch.extend(self.ends.iter().map(|(_, end)| Record::Written(end.clone())));
        self.length = frame::write(&file, 0, &batch)?;
        self.whole = self.length;
        Ok(self.file.insert(file))
    }

    /// All that the file says now; none: nothing is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn copy(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(self.length).map_err(|_| io::ErrorKind::FileTooLarge)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    /// Whether the file has grown so far that [`Self::open`] should begin another.
    pub(super) fn is_full(&self) -> bool {
        self.file.is_some() && self.length > self.whole * 2 + ROOM
    }

    /// Whether anything is kept.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives up: the guardian must be told that there is nothing to go on from.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.open.clear();
        self.ends.clear();
    }

    /// Keeps what the core has become and what of `actions` is to be told, before any of it is done.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn decide(&mut self, core: &mut Supervisor, actions: &[Action], wall: Timestamp) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut batch = vec![];
        self.changes(core, &mut batch);
        for action in actions {
            if let Action::Record(fact) = action {
                self.decided += 1;
                self.open.insert(self.decided, Open::Decided(fact.clone(), wall));
                batch.push(Record::Fact { number: self.decided, fact: fact.clone(), wall });
            }
        }
        self.append(&batch)
    }

    /// The number of the next fact that is recorded: they are, in the order of their decision.
    pub(super) fn next_fact(&mut self) -> FactNumber {
        self.taken += 1;
        FactNumber(self.taken)
    }

    /// A number for a fact that the core did not decide, however many of its own are yet to be recorded.
    pub(super) fn extra_fact(&mut self) -> FactNumber {
        self.extra += 1;
        FactNumber(EXTRA + self.extra)
    }

    /// Keeps how a fact was told, before anybody hears of it.
    pub(super) fn tell(&mut self, fact: FactNumber, event: &Arc<EventRecord>, run: Option<&RunRecord>) {
        let FactNumber(number) = fact;
        self.open.remove(&number);
        if self.file.is_some() {
            self.open.insert(number, Open::Told(event.clone(), run.cloned()));
            self.append_or_close(&[Record::Told { number, event: event.clone(), run: run.cloned() }]);
        }
    }

    /// The end of a run goes into the history, after the event numbered `seq`.
    pub(super) fn write(&mut self, end: &RunRecord, seq: u64) {
        let mut told = self.open.values_mut().filter_map(|open| match open {
            Open::Told(_, end) => Some(end),
            Open::Decided(..) => None,
        });
        let is_it = |open: &RunRecord| (&open.instance, open.run) == (&end.instance, end.run);
        if let Some(open) = told.find(|open| open.as_ref().is_some_and(is_it)) {
            *open = None;
        }
        if self.file.is_some() {
            self.ends.push_back((seq, end.clone()));
            self.append_or_close(&[Record::Written(end.clone())]);
        }
    }

    /// Events up to number `seq` are in the history.
    pub(super) fn forget_up_to(&mut self, seq: u64) {
        self.open.retain(|_, open| !matches!(open, Open::Told(event, None) if event.seq <= seq));
        // What waits for the disk is taken in one go: a later event is not there before them.
        while self.ends.front().is_some_and(|(before, _)| *before < seq) {
            self.ends.pop_front();
        }
    }

    /// The plan is to be that of the file as it is there.
    pub(super) fn reads(&mut self, mark: &FileMark) {
        self.append_or_close(&[Record::File(mark.clone())]);
        self.mark = mark.clone();
    }

    /// The listening sockets of a service have changed.
    pub(super) fn listens(&mut self, name: &ServiceName, sockets: Vec<(SocketKey, ListenAddress)>) {
        if self.sockets.get(name).is_some_and(|before| *before == sockets) {
            return;
        }
        self.append_or_close(&[Record::Sockets { name: name.clone(), sockets: sockets.clone() }]);
        self.sockets.insert(name.clone(), sockets);
    }

    /// An instance has a notify socket.
    pub(super) fn hears(&mut self, instance: &InstanceId, key: SocketKey, address: &str) {
        let (record, address) = (address.to_owned(), address.to_owned());
        self.append_or_close(&[Record::Notify { instance: instance.clone(), key, address: record }]);
        self.notify.insert(instance.clone(), (key, address));
    }

    /// Goes on after an earlier engine: keeps what it told that may not be in the history, and what is `untold`, which is
    /// to be recorded next, in this order.
    pub(super) fn recall(
        &mut self,
        told: impl IntoIterator<Item = (Arc<EventRecord>, Option<RunRecord>)>,
        untold: impl IntoIterator<Item = (Fact, Timestamp)>,
    ) {
        for (event, end) in told {
            self.taken += 1;
            self.open.insert(self.taken, Open::Told(event, end));
        }
        self.decided = self.taken;
        for (fact, wall) in untold {
            self.decided += 1;
            self.open.insert(self.decided, Open::Decided(fact, wall));
        }
    }

    fn changes<'a>(&mut self, core: &'a mut Supervisor, batch: &mut Vec<Record<'a>>) {
        let touched = core.touched();
        let core = &*core;
        if self.written.plan.as_ref().is_none_or(|plan| !Arc::ptr_eq(plan, core.plan())) {
            self.written.plan = Some(core.plan().clone());
            batch.push(Record::Plan(std::borrow::Cow::Borrowed(core.plan())));
        }
        let common = core.common();
        if self.written.common.as_ref() != Some(&common) {
            self.written.common = Some(common.clone());
            batch.push(Record::Common(common));
        }
        for name in touched {
            let service = core.service(&name);
            let fingerprint = service.map(fingerprint);
            if self.written.services.get(&name) != Some(&fingerprint) || fingerprint.is_some_and(|print| print == 0) {
                self.written.services.insert(name.clone(), fingerprint);
                batch.push(Record::Service { name: name.clone(), service: service.map(std::borrow::Cow::Borrowed) });
            }
            let plans = core.other_plans(&name);
            let known = self.written.plans.get(&name).map(Vec::as_slice).unwrap_or_default();
            let plans: Vec<_> = plans.collect();
            let pairs = plans.iter().zip(known);
            let mut same = pairs.map(|((id, plan), before)| **id == before.0 && Arc::ptr_eq(plan, &before.1));
            if plans.len() != known.len() || !same.all(|same| same) {
                let plans: Vec<_> = plans.into_iter().map(|(id, plan)| (id.clone(), plan.clone())).collect();
                self.written.plans.insert(name.clone(), plans.clone());
                batch.push(Record::Plans { name, plans });
            }
        }
    }

    fn append(&mut self, batch: &[Record<'_>]) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| !batch.is_empty()) {
            killpoint::pass("ledger-before");
            self.length += frame::write(file, self.length, batch)?;
            killpoint::pass("ledger-after");
        }
        Ok(())
    }

    fn append_or_close(&mut self, batch: &[Record<'_>]) {
        if let Err(error) = self.append(batch) {
            tracing::error!(%error, "cannot keep what a successor must know");
            self.close();
        }
    }
}

/// Tells one state of a service, or one plan, from another; 0 where it cannot be told.
pub(super) fn fingerprint<T: Serialize>(value: &T) -> u64 {
    postcard::serialize_with_flavor::<T, Fnv, u64>(value, Fnv(0xcbf2_9ce4_8422_2325)).unwrap_or(0)
}

/// FNV-1a over what would be written.
struct Fnv(u64);

impl postcard::ser_flavors::Flavor for Fnv {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.0)
    }
}
