//! The timeline: what the history holds, what it has not written yet, and what comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::handle::Handle;
use crate::history::query::{EventQuery, Since as HistorySince};
use crate::model::command::{Denied, Target};
use crate::model::event::EventRecord;
use crate::server::arguments::{MOST, Since};
use crate::server::listener::closed;
use crate::server::reply::Reply;
use crate::server::routes::Call;
use crate::server::selector::resolve;
use crate::server::stream::{CHUNK, Format, Source};

/// Events of the present kept for those who ask before the history has written them.
const KEPT: usize = 1024;

/// How many events are shown to those who do not say.
const USUAL: usize = 100;

/// The latest events, without a task that keeps them: the channel does, and they are taken out when somebody asks.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    arriving: broadcast::Receiver<Arc<EventRecord>>,
    /// Without a gap; at most [`KEPT`].
    events: VecDeque<Arc<EventRecord>>,
}

impl Recent {
    pub(crate) fn new(handle: &Handle) -> Self {
        Self(Mutex::new(Kept { arriving: handle.events.subscribe(), events: VecDeque::new() }))
    }

    /// The latest events and a line on which all later ones come; an event may be on both, none is on neither.
    fn and_later(&self, handle: &Handle) -> (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>) {
        let later = handle.events.subscribe();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take_arrived();
        (kept.events.iter().cloned().collect(), later)
    }
}

impl Kept {
    fn take_arrived(&mut self) {
        loop {
            match self.arriving.try_recv() {
                Ok(event) => {
                    if self.events.len() == KEPT {
                        self.events.pop_front();
                    }
                    self.events.push_back(event);
                }
                Err(TryRecvError::Lagged(_)) => self.events.clear(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

pub(crate) async fn events(call: &Call) -> Reply {
    let format = Format::of(&call.headers);
    let handle = &call.desk.handle;
    let n = call.arguments.count("n")?;
    // A reader that comes back knows best where it stopped.
    let resumed =
        call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok()).map(Since::Seq);
    let since = resumed.or(call.arguments.since((handle.clock)())?);
    let only = Only::read(call)?;
    let place = if call.arguments.flag("follow")? { Some(call.desk.place()?) } else { None };

    let (recent, live) = call.desk.recent.and_later(handle);
    let past = past(call, &only, since, n, recent).await?;
    let before = match since {
        Some(Since::Seq(seq)) => Some(seq),
        Some(Since::Time(_)) | None => None,
    };
    let mut head = Vec::new();
    if let (Some(seq), None, Only::All, Some(first)) = (before, n, &only, past.front()) {
        let missing = first.seq.saturating_sub(seq.saturating_add(1));
        if missing > 0 {
            format.write_lost(&mut head, missing);
        }
    }
    let Some(place) = place else {
        for event in &past {
            format.write(&mut head, Some(event.seq), event);
        }
        return Ok(format.whole(head));
    };
    let last = past.back().map(|event| event.seq).max(before).unwrap_or(0);
    let closing = call.desk.closing.clone();
    let stream = EventStream { head, past, live, last, only, closing, format };
    Ok(format.endless(stream, place, &call.connection))
}

/// What has happened, oldest first.
async fn past(
    call: &Call,
    only: &Only,
    since: Option<Since>,
    n: Option<usize>,
    recent: Vec<Arc<EventRecord>>,
) -> Result<VecDeque<Arc<EventRecord>>, Denied> {
    let limit = n.unwrap_or(if since.is_some() { MOST } else { USUAL });
    let reader = call.desk.handle.history.clone();
    let query = EventQuery {
        service: match only {
            Only::All => None,
            Only::Some(targets) => match targets.as_slice() {
                [one] => Some(one.service.clone()),
                _ => None,
            },
        },
        since: since.map(|since| match since {
            Since::Time(time) => HistorySince::Time(time),
            Since::Seq(seq) => HistorySince::Seq(seq),
        }),
        // What is picked out here must not use up the places.
        limit: if only.picks() { MOST } else { limit },
    };
    let written = if limit == 0 { Ok(vec![]) } else { call.desk.read(move || reader.events(&query)).await? };
    let written = written.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the history; only recent events are shown");
        vec![]
    });
    let wanted = |event: &EventRecord| {
        only.holds(event)
            && match since {
                None => true,
                Some(Since::Time(time)) => event.at >= time,
                Some(Since::Seq(seq)) => event.seq > seq,
            }
    };
    let events: BTreeMap<u64, Arc<EventRecord>> = written
        .into_iter()
        .map(Arc::new)
        .chain(recent)
        .filter(|event| wanted(event))
        .map(|event| (event.seq, event))
        .collect();
    let surplus = events.len().saturating_sub(limit);
    Ok(events.into_values().skip(surplus).collect())
}

/// Whose events are wanted.
#[derive(Debug)]
enum Only {
    All,
    Some(Vec<Target>),
}

impl Only {
    fn read(call: &Call) -> Result<Self, Denied> {
        match call.arguments.text("service") {
            None => Ok(Self::All),
            Some(selector) => resolve(selector, &call.desk.handle.snapshot.borrow()).map(Self::Some),
        }
    }

    /// Whether more is asked for than the history can pick out itself.
    fn picks(&self) -> bool {
        match self {
            Self::All => false,
            Self::Some(targets) => targets.len() != 1 || targets.iter().any(|target| target.index.is_some()),
        }
    }

    fn holds(&self, event: &EventRecord) -> bool {
        match self {
            Self::All => true,
            Self::Some(targets) => targets.iter().any(|target| {
                event.service.as_ref() == Some(&target.service)
                    && target
                        .index
                        .is_none_or(|index| event.instance.as_deref().is_some_and(|name| is_instance(name, index)))
            }),
        }
    }
}

/// An only instance carries no number.
fn is_instance(name: &str, index: u32) -> bool {
    name.split_once('/').map_or(index == 1, |(_, number)| number.parse() == Ok(index))
}

/// The timeline for one reader. The channel bounds what waits for it; what it misses is counted.
#[derive(Debug)]
struct EventStream {
    head: Vec<u8>,
    past: VecDeque<Arc<EventRecord>>,
    live: broadcast::Receiver<Arc<EventRecord>>,
    /// The latest one that was dealt with.
    last: u64,
    only: Only,
    closing: watch::Receiver<bool>,
    format: Format,
}

impl EventStream {
    /// Writes a live event, unless the past held it already.
    fn take(&mut self, out: &mut Vec<u8>, event: &EventRecord) {
        if event.seq > self.last {
            self.last = event.seq;
            if self.only.holds(event) {
                self.format.write(out, Some(event.seq), event);
            }
        }
    }

    /// Writes what is there already.
    fn gather(&mut self, out: &mut Vec<u8>) {
        while out.len() < CHUNK {
            if let Some(event) = self.past.pop_front() {
                self.format.write(out, Some(event.seq), &event);
                continue;
            }
            match self.live.try_recv() {
                Ok(event) => self.take(out, &event),
                Err(TryRecvError::Lagged(lost)) => self.format.write_lost(out, lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl Source for EventStream {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = std::mem::take(&mut self.head);
        loop {
            self.gather(&mut out);
            if !out.is_empty() {
                return Some(out);
            }
            tokio::select! {
                biased;
                event = self.live.recv() => match event {
                    Ok(event) => self.take(&mut out, &event),
                    Err(RecvError::Lagged(lost)) => self.format.write_lost(&mut out, lost),
                    Err(RecvError::Closed) => return None,
                },
                () = closed(&mut self.closing) => return None,
                () = self.format.silence() => return Some(Format::beat()),
            }
        }
    }
}
