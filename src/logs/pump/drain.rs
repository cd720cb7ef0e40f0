//! One pipe being drained: how much it brought, how large it is, whether it floods.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::logs::pump::scratch::Scratch;
use crate::logs::pump::sink::{Pulled, Sink, Turn};
use crate::logs::pump::tally::Tally;
use crate::model::log::Stream;
use crate::model::names::InstanceId;

/// A stream takes at most this much of a turn, so that a flood delays nobody.
const TURN: usize = 256 * 1024;

/// What a run that ended may have left: more than any pipe holds, and an end to a flooding orphan's.
const LEFTOVER: usize = 4 << 20;

/// How long a trickling stream rests.
const REST_US: u64 = 500;

/// How long a stream with a larger pipe rests: more can gather before its writer has to wait.
const LONG_REST_US: u64 = 1_000;

/// The size of a new pipe.
const USUAL: usize = 64 * 1024;

/// A pipe is not grown beyond this.
const LARGEST: usize = 1 << 20;

/// A pipe that was found full so often within a second each is grown.
const FULL_OFTEN: u32 = 3;

/// A grown pipe that was not full for this long may be needed elsewhere.
const CALM_US: u64 = 10_000_000;

/// A stream silent for this long is no trickle: its next byte is waited for at once.
const QUIET_US: u64 = 5_000;

/// A stream: a pipe and the file it ends in.
#[derive(Debug)]
pub(super) struct Drain {
    /// Whose output it is.
    pub instance: InstanceId,
    /// The read end.
    pub pipe: OwnedFd,
    /// The file.
    pub sink: Sink,
    registration: Registration,
    capacity: usize,
    /// By how much it was grown.
    extra: usize,
    fulls: u32,
    full_us: u64,
    active_us: u64,
    /// Where its bytes are counted.
    tally: (Stream, Arc<Tally>),
}

/// Whether the pipe wakes the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    None,
    /// For one event; it may have happened since.
    OneShot,
}

/// When a stream wants to be served again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At once: there is more.
    Now,
    /// After a rest of so many microseconds, so that more can gather.
    Rest(u64),
    /// When there is something.
    Wait,
    /// Never: its writers are gone.
    End,
}

impl Drain {
    /// Takes a pipe's read end, and makes it non-blocking.
    pub(super) fn new(
        instance: InstanceId,
        pipe: OwnedFd,
        sink: Sink,
        tally: (Stream, Arc<Tally>),
    ) -> nix::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let capacity = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).ok().and_then(|n| usize::try_from(n).ok());
        // An earlier pump may have grown it.
        let extra = capacity.map_or(0, |capacity| capacity.saturating_sub(USUAL));
        // Other things than pipes have no size: they never count as full.
        let capacity = capacity.unwrap_or(usize::MAX);
        Ok(Self {
            instance,
            pipe,
            sink,
            registration: Registration::None,
            capacity,
            extra,
            fulls: 0,
            full_us: 0,
            active_us: 0,
            tally,
        })
    }

    /// Lets the pipe wake the thread once, with `id`.
    pub(super) fn watch(&mut self, epoll: &Epoll, id: u64) -> nix::Result<()> {
        // One event each: what wakes the thread is served until it is empty, and a closed pipe would wake it for ever.
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, id);
        match self.registration {
            Registration::None => epoll.add(&self.pipe, event)?,
            Registration::OneShot => epoll.modify(&self.pipe, &mut event)?,
        }
        self.registration = Registration::OneShot;
        Ok(())
    }

    /// Takes the pipe off the list of those watched. A listed pipe costs its writer a call at each write; and closing
    /// it would not take it off, since the guardian holds the same pipe.
    pub(super) fn ignore(&mut self, epoll: &Epoll) {
        if self.registration == Registration::OneShot {
            // A listed descriptor can always be taken off.
            let _ = epoll.delete(&self.pipe);
            self.registration = Registration::None;
        }
    }

    /// Takes one turn's worth.
    pub(super) fn serve(&mut self, turn: &Turn, scratch: &mut Scratch) -> (Pulled, Next) {
        let pulled = self.pull(turn, scratch);
        let quiet = turn.now_us.saturating_sub(self.active_us) > QUIET_US;
        if pulled.taken > 0 {
            self.active_us = turn.now_us;
        }
        // Pages of a pipe are not always filled to their end.
        if pulled.taken >= self.capacity / 4 * 3 {
            self.fulls = if turn.now_us.saturating_sub(self.full_us) < 1_000_000 { self.fulls + 1 } else { 1 };
            self.full_us = turn.now_us;
        }
        let next = match pulled {
            Pulled { end: true, .. } => Next::End,
            Pulled { taken: 0, .. } => Next::Wait,
            Pulled { taken, .. } if taken >= TURN.min(self.capacity / 4) => Next::Now,
            _ if quiet => Next::Wait,
            _ if self.extra > 0 => Next::Rest(LONG_REST_US),
            _ => Next::Rest(REST_US),
        };
        (pulled, next)
    }

    fn pull(&mut self, turn: &Turn, scratch: &mut Scratch) -> Pulled {
        let pulled = self.sink.pull(self.pipe.as_fd(), TURN, turn, scratch);
        let (stream, tally) = &self.tally;
        tally.add(*stream, pulled.taken, pulled.kept);
        pulled
    }

    /// Takes what is in the pipe now; at most 4 MiB.
    pub(super) fn empty(&mut self, turn: &Turn, scratch: &mut Scratch) -> Pulled {
        let mut sum = Pulled::default();
        while sum.taken < LEFTOVER && !sum.end {
            let pulled = self.pull(turn, scratch);
            sum = Pulled { taken: sum.taken + pulled.taken, kept: sum.kept + pulled.kept, end: pulled.end };
            if pulled.taken == 0 {
                break;
            }
        }
        sum
    }

    /// Whether a larger pipe would serve it.
    pub(super) fn floods(&self) -> bool {
        self.fulls >= FULL_OFTEN && self.capacity < LARGEST
    }

    /// How many bytes larger its pipe should be.
    pub(super) fn lacks(&self) -> usize {
        self.capacity.saturating_mul(4).min(LARGEST).saturating_sub(self.capacity)
    }

    /// Makes the pipe four times as large, within `allowed` further bytes; answers how much it grew.
    pub(super) fn grow(&mut self, allowed: usize) -> usize {
        self.fulls = 0;
        let wanted = self.capacity + self.lacks();
        if self.lacks() > allowed {
            return 0;
        }
        let size = i32::try_from(wanted).unwrap_or(i32::MAX);
        // Refused beyond what the user may have; the pipe then stays as it is.
        let grown = fcntl(&self.pipe, FcntlArg::F_SETPIPE_SZ(size)).ok().and_then(|n| usize::try_from(n).ok());
        let grown = grown.unwrap_or(self.capacity);
        let more = grown.saturating_sub(self.capacity);
        self.capacity = grown;
        self.extra += more;
        more
    }

    /// By how much its pipe was grown.
    pub(super) fn extra(&self) -> usize {
        self.extra
    }

    /// Gives a grown pipe its first size back if it was not full for a while; answers by how much it shrank.
    pub(super) fn shrink(&mut self, now_us: u64) -> usize {
        if self.extra == 0 || now_us.saturating_sub(self.full_us) < CALM_US {
            return 0;
        }
        let size = i32::try_from(self.capacity - self.extra).unwrap_or(i32::MAX);
        // Refused while more than that is in it.
        if fcntl(&self.pipe, FcntlArg::F_SETPIPE_SZ(size)).is_err() {
            return 0;
        }
        self.capacity -= self.extra;
        std::mem::take(&mut self.extra)
    }
}
