//! Where a reader of a stream is, so that it goes on there when the engine dies and another takes its place.

use std::collections::BTreeMap;

use crate::client::lines::{EventArgs, LogArgs};
use crate::model::event::EventRecord;
use crate::model::log::{LogLine, Stream};
use crate::model::overview::Overview;
use crate::model::units::Timestamp;
use crate::os::clock;

/// How far a stream was read.
#[derive(Debug)]
pub struct Cursor(Place);

#[derive(Debug)]
enum Place {
    /// It cannot be gone on with, or need not.
    None,
    /// Events are numbered.
    Events {
        /// What was asked for.
        args: EventArgs,
        /// The number of the latest.
        last: Option<u64>,
    },
    /// Lines have a time, and an order within their output.
    Logs {
        /// What was asked for.
        args: LogArgs,
        /// When.
        began: Timestamp,
        /// The latest of each output.
        read: BTreeMap<Output, Latest>,
        /// The same as it was when the connection ended; none while what comes is new.
        before: BTreeMap<Output, Latest>,
    },
}

type Output = (String, Stream);

/// The latest line of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Latest {
    at: Timestamp,
    /// How many lines of that time there have been.
    count: usize,
}

impl Cursor {
    /// That of a stream that is not gone on with.
    pub(crate) const NONE: Self = Self(Place::None);

    /// At the beginning of these lines.
    pub(crate) fn of_logs(args: &LogArgs) -> Self {
        if !args.follow {
            return Self::NONE;
        }
        let (read, before) = (BTreeMap::new(), BTreeMap::new());
        Self(Place::Logs { args: args.clone(), began: clock::now().wall, read, before })
    }

    /// At the beginning of these events.
    pub(crate) fn of_events(args: &EventArgs) -> Self {
        if args.follow { Self(Place::Events { args: args.clone(), last: None }) } else { Self::NONE }
    }

    /// The connection has ended: what to ask for to go on.
    pub(crate) fn go_on(&mut self) -> Option<String> {
        match &mut self.0 {
            Place::None => None,
            Place::Events { args, last } => {
                let behind = last.map(|last| format!("seq:{last}"));
                Some(if behind.is_some() {
                    EventArgs { since: behind, n: None, ..args.clone() }.path()
                } else {
                    args.path()
                })
            }
            Place::Logs { args, began, read, before } => {
                // What was read after an earlier connection ended counts from the beginning of its time.
                before.clone_from(read);
                let since = read.values().map(|latest| latest.at).min().unwrap_or(*began);
                Some(LogArgs { since: Some(since.to_string()), n: None, ..args.clone() }.path())
            }
        }
    }
}

/// What a stream is made of, and how it is told whether one of them was read before.
pub trait Followed {
    /// Whether it has not been read before; moves on behind it.
    fn is_new(&self, cursor: &mut Cursor) -> bool;
}

impl Followed for Overview {
    fn is_new(&self, _: &mut Cursor) -> bool {
        true
    }
}

impl Followed for EventRecord {
    fn is_new(&self, cursor: &mut Cursor) -> bool {
        if let Place::Events { last, .. } = &mut cursor.0 {
            *last = Some(self.seq);
        }
        true
    }
}

impl Followed for LogLine {
    fn is_new(&self, cursor: &mut Cursor) -> bool {
        let Place::Logs { read, before, .. } = &mut cursor.0 else { return true };
        let output = (self.instance.clone(), self.stream);
        if let Some(latest) = before.get_mut(&output) {
            if self.at < latest.at {
                return false;
            }
            if self.at == latest.at && latest.count > 0 {
                latest.count -= 1;
                return false;
            }
            // Nothing before this one comes any more.
            before.remove(&output);
        }
        let latest = read.entry(output).or_insert(Latest { at: self.at, count: 0 });
        if latest.at == self.at {
            latest.count += 1;
        } else {
            *latest = Latest { at: self.at, count: 1 };
        }
        true
    }
}
