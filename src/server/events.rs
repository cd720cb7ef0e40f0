//! The timeline: what the history holds, what it has not written yet, and what comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::history::query::{EventQuery, Since as HistorySince};
use crate::model::command::{Denied, Target};
use crate::model::event::EventRecord;
use crate::server::arguments::{MOST, Since};
use crate::server::dispatch::Call;
use crate::server::door::Desk;
use crate::server::listener::closed;
use crate::server::reply::Reply;
use crate::server::selector::resolve;
use crate::server::stream::{CHUNK, Format, Source};

/// How many events are shown to those who do not say.
const USUAL: usize = 100;

/// Events read at a time while catching up.
const PAGE: usize = 1_000;

type Event = Arc<EventRecord>;

pub(crate) async fn events(call: &Call) -> Reply {
    let format = Format::of(&call.headers);
    let n = call.arguments.count("n")?;
    // A reader that comes back knows best where it stopped.
    let resumed =
        call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok()).map(Since::Seq);
    let since = resumed.or(call.arguments.since((call.desk.handle.clock)())?);
    let follow = call.arguments.flag("follow")?;
    let place = if follow { Some(call.desk.place()?) } else { None };

    let mut timeline = Timeline::of(&call.desk, Only::read(call)?, format);
    match since {
        Some(Since::Seq(seq)) => {
            timeline.behind(seq);
            if !follow {
                timeline.catch_up_to(n.unwrap_or(MOST)).await?;
            }
        }
        Some(Since::Time(_)) | None => {
            let from = match since {
                Some(Since::Time(time)) => Some(HistorySince::Time(time)),
                Some(Since::Seq(_)) | None => None,
            };
            timeline.latest(from, n.unwrap_or(if from.is_some() { MOST } else { USUAL })).await?;
        }
    }
    match place {
        Some(place) => Ok(format.endless(timeline, place, &call.connection)),
        None => Ok(format.whole(timeline.written())),
    }
}

/// The latest `n` events of a target, oldest first.
pub(crate) async fn latest(desk: &Arc<Desk>, target: &Target, n: usize) -> Result<Vec<Event>, Denied> {
    let mut timeline = Timeline::of(desk, Only::Some(vec![target.clone()]), Format::Lines);
    timeline.latest(None, n).await?;
    let events = timeline.ready.into_iter().filter_map(|piece| match piece {
        Piece::Event(event) => Some(event),
        Piece::Lost(_) => None,
    });
    Ok(events.collect())
}

/// Whose events are wanted.
#[derive(Clone, Debug)]
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

    /// The part of it that the history can pick out itself, and whether that is all of it.
    fn service(&self) -> (Option<&Target>, bool) {
        match self {
            Self::All => (None, true),
            Self::Some(targets) => match targets.as_slice() {
                [one] => (Some(one), one.index.is_none()),
                _ => (None, false),
            },
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

/// One line for a reader.
#[derive(Debug)]
enum Piece {
    Event(Event),
    /// So many are missing here.
    Lost(u64),
}

/// The timeline for one reader. The channel bounds what waits for it; what it misses is counted.
#[derive(Debug)]
struct Timeline {
    desk: Arc<Desk>,
    only: Only,
    format: Format,
    closing: watch::Receiver<bool>,
    /// Read and not written.
    ready: VecDeque<Piece>,
    /// The number of the latest one that was dealt with.
    last: u64,
    /// What comes; none while the past is being caught up with.
    live: Option<broadcast::Receiver<Event>>,
}

impl Timeline {
    fn of(desk: &Arc<Desk>, only: Only, format: Format) -> Self {
        let (desk, closing) = (desk.clone(), desk.closing.clone());
        Self { desk, only, format, closing, ready: VecDeque::new(), last: 0, live: None }
    }

    /// Begins behind the event with this number.
    fn behind(&mut self, seq: u64) {
        self.last = seq;
    }

    /// Reads the latest `n` events and what comes behind them.
    async fn latest(&mut self, since: Option<HistorySince>, n: usize) -> Result<(), Denied> {
        let (recent, live) = self.desk.recent.and_later(&self.desk.handle);
        // What is picked out here must not use up the places.
        let (_, whole) = self.only.service();
        let stored = if n == 0 { vec![] } else { self.stored(since, if whole { n } else { MOST }).await? };
        let young = |event: &Event| match since {
            Some(HistorySince::Time(time)) => event.at >= time,
            Some(HistorySince::Seq(_)) | None => true,
        };
        let newest = recent.last().map(|event| event.seq);
        let events: BTreeMap<u64, Event> = stored
            .into_iter()
            .chain(recent.into_iter().filter(young))
            .filter(|event| self.only.holds(event))
            .map(|event| (event.seq, event))
            .collect();
        self.last = events.keys().next_back().copied().max(newest).unwrap_or(0);
        let surplus = events.len().saturating_sub(n);
        self.ready = events.into_values().skip(surplus).map(Piece::Event).collect();
        self.live = Some(live);
        Ok(())
    }

    /// Reads on until `n` events are ready or there are no more.
    async fn catch_up_to(&mut self, n: usize) -> Result<(), Denied> {
        while self.ready.len() < n && self.live.is_none() {
            self.catch_up().await?;
        }
        let gaps = usize::from(matches!(self.ready.front(), Some(Piece::Lost(_))));
        self.ready.truncate(n + gaps);
        Ok(())
    }

    /// Reads one page of what came behind `last`; after the last page, what comes is live.
    async fn catch_up(&mut self) -> Result<(), Denied> {
        // Before the page: what happens while it is read is then on the line.
        let (recent, live) = self.desk.recent.and_later(&self.desk.handle);
        let page = self.stored(Some(HistorySince::Seq(self.last)), PAGE).await?;
        let full = page.len() >= PAGE;
        // Numbers begin anew when the history was lost: then the reader goes on with what there is.
        if page.is_empty()
            && let Some(newest) = recent.last()
        {
            self.last = self.last.min(newest.seq);
        }
        let newer = if full { vec![] } else { recent };
        for event in page.into_iter().chain(newer) {
            let gap = event.seq.saturating_sub(self.last.saturating_add(1));
            // Of one service the numbers have gaps by nature.
            if gap > 0 && matches!(self.only, Only::All) {
                self.ready.push_back(Piece::Lost(gap));
            }
            self.take(event);
        }
        if !full {
            self.live = Some(live);
        }
        Ok(())
    }

    /// Asks the history; one that cannot be read is empty, and the status says so.
    async fn stored(&self, since: Option<HistorySince>, limit: usize) -> Result<Vec<Event>, Denied> {
        let reader = self.desk.handle.history.clone();
        let service = self.only.service().0.map(|target| target.service.clone());
        let query = EventQuery { service, since, limit };
        let stored = self.desk.read(move || reader.events(&query)).await?.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the history; only recent events are shown");
            vec![]
        });
        Ok(stored.into_iter().map(Arc::new).collect())
    }

    /// All that is ready.
    fn written(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.ready.iter().for_each(|piece| self.format.write_piece(&mut out, piece));
        out
    }

    /// Takes the next event, unless it was dealt with already.
    fn take(&mut self, event: Event) {
        if event.seq > self.last {
            self.last = event.seq;
            if self.only.holds(&event) {
                self.ready.push_back(Piece::Event(event));
            }
        }
    }

    /// Writes what is there already, up to a chunk.
    fn gather(&mut self, out: &mut Vec<u8>) {
        while out.len() < CHUNK {
            if let Some(piece) = self.ready.pop_front() {
                self.format.write_piece(out, &piece);
                continue;
            }
            match self.live.as_mut().map(broadcast::Receiver::try_recv) {
                Some(Ok(event)) => self.take(event),
                Some(Err(TryRecvError::Lagged(lost))) => self.ready.push_back(Piece::Lost(lost)),
                Some(Err(TryRecvError::Empty | TryRecvError::Closed)) | None => return,
            }
        }
    }
}

impl Format {
    fn write_piece(self, out: &mut Vec<u8>, piece: &Piece) {
        match piece {
            Piece::Event(event) => self.write(out, Some(event.seq), event),
            Piece::Lost(lost) => self.write_lost(out, *lost),
        }
    }
}

impl Source for Timeline {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            self.gather(&mut out);
            if !out.is_empty() {
                return Some(out);
            }
            let Some(live) = &mut self.live else {
                if self.catch_up().await.is_err() {
                    return None;
                }
                continue;
            };
            tokio::select! {
                biased;
                event = live.recv() => match event {
                    Ok(event) => self.take(event),
                    Err(RecvError::Lagged(lost)) => self.ready.push_back(Piece::Lost(lost)),
                    Err(RecvError::Closed) => return None,
                },
                () = closed(&mut self.closing) => return None,
                () = self.format.silence() => return Some(Format::beat()),
            }
        }
    }
}
