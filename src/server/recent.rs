//! The latest events, for those who ask before the history has written them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::handle::Handle;
use crate::model::event::EventRecord;

/// How many are kept; the oldest goes first.
const KEPT: usize = 1024;

/// Keeps events without a task: the channel holds them, and they are taken out when somebody asks.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    arriving: broadcast::Receiver<Arc<EventRecord>>,
    /// Without a gap.
    events: VecDeque<Arc<EventRecord>>,
}

impl Recent {
    pub(crate) fn new(handle: &Handle) -> Self {
        Self(Mutex::new(Kept { arriving: handle.events.subscribe(), events: VecDeque::new() }))
    }

    /// The latest events, and a line on which all later ones come; an event may be on both, none is on neither.
    pub(crate) fn and_later(&self, handle: &Handle) -> (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>) {
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
