//! The pump's thread: waits for pipes, serves each in turn, obeys orders.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::SigSet;
use tokio::sync::{mpsc, watch};

use crate::logs::names::Place;
use crate::logs::pump::drain::{Drain, Next};
use crate::logs::pump::rest::Alarm;
use crate::logs::pump::scratch::Scratch;
use crate::logs::pump::sink::{Sink, Turn};
use crate::logs::pump::tally::Tallies;
use crate::logs::pump::{Attach, Inbox, LogFault, Order};
use crate::logs::read::Reader;
use crate::model::log::Stream;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::LogsTo;
use crate::os::clock;

/// A pipe that cannot be watched is looked at this often.
const RETRY_US: u64 = 100_000;

/// Progress is told at most this often.
const PROGRESS_US: u64 = 5_000;

/// By how much all pipes together may be grown: a quarter of what the kernel allows a user by default.
const GROWTH: usize = 16 << 20;

/// Lines answered when a run ends.
const LAST_LINES: usize = 20;

const BELL: u64 = 0;
const ALARM: u64 = 1;
const FIRST_STREAM: u64 = 2;

#[derive(Debug)]
pub(super) struct Worker {
    dir: PathBuf,
    inbox: Arc<Inbox>,
    epoll: Epoll,
    alarm: Alarm,
    scratch: Scratch,
    streams: BTreeMap<u64, Drain>,
    next_id: u64,
    lives: BTreeMap<InstanceId, Life>,
    flooding: Vec<u64>,
    resting: Vec<u64>,
    /// Streams that have a loss to tell.
    losing: BTreeSet<u64>,
    rested_us: Option<u64>,
    grown: usize,
    growth: Growth,
    faults: Option<mpsc::Sender<LogFault>>,
    tallies: Tallies,
}

/// The attached run of an instance.
#[derive(Debug)]
struct Life {
    run: Run,
    streams: Vec<u64>,
    /// The sinks of streams whose writers are gone; the end of the run is still to be marked.
    ended: Vec<Sink>,
    /// Which stream wrote last.
    latest: Option<u64>,
}

/// Who is told that files grew.
#[derive(Debug)]
struct Growth {
    sender: watch::Sender<u64>,
    due_us: Option<u64>,
    told_us: u64,
}

impl Worker {
    pub(super) fn new(
        dir: PathBuf,
        inbox: Arc<Inbox>,
        progress: watch::Sender<u64>,
        tallies: Tallies,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let alarm = Alarm::new()?;
        epoll.add(&inbox.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        epoll.add(alarm.timer(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ALARM))?;
        Ok(Self {
            dir,
            inbox,
            epoll,
            alarm,
            scratch: Scratch::new()?,
            streams: BTreeMap::new(),
            next_id: FIRST_STREAM,
            lives: BTreeMap::new(),
            flooding: Vec::new(),
            resting: Vec::new(),
            losing: BTreeSet::new(),
            rested_us: None,
            grown: 0,
            growth: Growth { sender: progress, due_us: None, told_us: 0 },
            faults: None,
            tallies,
        })
    }

    pub(super) fn run(mut self) {
        // Signals are the business of other threads.
        let _ = SigSet::all().thread_block();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let timeout = if self.flooding.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                // The descriptor itself is broken: nothing can be served any more.
                Err(_) => return,
            };
            let mut ready = std::mem::take(&mut self.flooding);
            let mut rings = false;
            for event in &events[..count] {
                match event.data() {
                    BELL => rings = true,
                    ALARM => {}
                    id => ready.push(id),
                }
            }
            let mut turn = now();
            if self.rested_us.is_some_and(|due| due <= turn.now_us) {
                self.rested_us = None;
                ready.append(&mut self.resting);
            }
            for id in ready {
                self.serve(id, &mut turn);
            }
            if rings && !self.obey() {
                return;
            }
            self.settle(turn.now_us);
        }
    }

    fn serve(&mut self, id: u64, turn: &mut Turn) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let life = self.lives.get_mut(&stream.instance);
        turn.interleaved = life.as_ref().is_some_and(|life| life.latest.is_some_and(|latest| latest != id));
        let (pulled, next) = stream.serve(turn, &mut self.scratch);
        if pulled.kept > 0 {
            self.growth.grew(turn.now_us);
            if let Some(life) = life {
                life.latest = Some(id);
            }
        }
        if stream.sink.loss.due_us().is_some() {
            self.losing.insert(id);
        }
        let floods = stream.floods();
        match next {
            Next::Now => self.flooding.push(id),
            Next::Rest(us) => {
                self.resting.push(id);
                // Counted from here, not from the turn's beginning: gathering is what the rest is for.
                let due = clock::monotonic_us() + us;
                self.rested_us = Some(self.rested_us.map_or(due, |other| other.min(due)));
            }
            Next::Wait => {
                // It was watched before; only a kernel out of memory can refuse, and then the next rest tries again.
                if stream.watch(&self.epoll, id).is_err() {
                    self.resting.push(id);
                    self.rested_us.get_or_insert(turn.now_us + RETRY_US);
                }
            }
            Next::End => self.let_go(id, turn.now_us),
        }
        if matches!(next, Next::Now | Next::Rest(_))
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.ignore(&self.epoll);
        }
        if floods {
            self.grow(id, turn.now_us);
        }
    }

    /// Gives a flooding stream a larger pipe, at the cost of calm ones when all have grown too much together.
    fn grow(&mut self, id: u64, now_us: u64) {
        let wanted = self.streams.get(&id).map_or(0, Drain::lacks);
        if self.grown + wanted > GROWTH {
            self.grown -= self.streams.values_mut().map(|stream| stream.shrink(now_us)).sum::<usize>();
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            self.grown += stream.grow(GROWTH.saturating_sub(self.grown));
        }
    }

    /// Closes a pipe.
    fn let_go(&mut self, id: u64, now_us: u64) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        self.losing.remove(&id);
        let (faults, instance) = (self.faults.as_ref(), &stream.instance);
        stream.sink.loss.report(now_us, |bytes, reason| tell(faults, instance, bytes, reason));
        stream.ignore(&self.epoll);
        self.grown -= stream.extra();
        if let Some(life) = self.lives.get_mut(&stream.instance) {
            life.streams.retain(|other| *other != id);
            life.ended.push(stream.sink);
        }
    }

    /// Carries out the orders; false: the pump is to end.
    fn obey(&mut self) -> bool {
        for order in self.inbox.take() {
            match order {
                Order::Attach(attach) => self.attach(attach),
                Order::Finish { instance, run, reply } => {
                    let lines = if self.lives.get(&instance).is_some_and(|life| life.run == run) {
                        self.finish(&instance);
                        Reader::new(self.dir.clone()).last_lines(&instance, run, LAST_LINES).unwrap_or_default()
                    } else {
                        Vec::new()
                    };
                    // The asker may have gone.
                    let _ = reply.send(lines);
                }
                Order::Drain { reply } => {
                    self.drain();
                    // The asker may have gone.
                    let _ = reply.send(());
                }
                Order::Faults(sender) => self.faults = Some(sender),
                Order::End => return false,
            }
        }
        true
    }

    fn attach(&mut self, attach: Attach) {
        let Attach { instance, run, plan, stdout, stderr, goes_on } = attach;
        if goes_on && self.lives.get(&instance).is_some_and(|life| life.run == run) {
            self.forget(&instance);
        } else {
            self.finish(&instance);
        }
        let (out, err) = match &plan.to {
            LogsTo::Streams => (
                Place::stream(&self.dir, &instance, Stream::Stdout),
                Place::stream(&self.dir, &instance, Stream::Stderr),
            ),
            LogsTo::Merged(path) => {
                let place = Place::merged(&self.dir, &instance, path.as_deref());
                (place.clone(), place)
            }
            LogsTo::Inherit | LogsTo::None => return,
        };
        let began = clock::now().wall;
        self.lives.insert(instance.clone(), Life { run, streams: Vec::new(), ended: Vec::new(), latest: None });
        for (stream, place, pipe) in [(Stream::Stdout, out, stdout), (Stream::Stderr, err, stderr)] {
            if pipe.is_none() && (!goes_on || matches!((&plan.to, stream), (LogsTo::Merged(_), Stream::Stderr))) {
                continue;
            }
            let sink = Sink::new(place, plan.max_size, plan.keep, run, began, goes_on);
            let Some(pipe) = pipe else {
                // The pipe is lost; the end of what it brought before is still to be marked.
                if let Some(life) = self.lives.get_mut(&instance) {
                    life.ended.push(sink);
                }
                continue;
            };
            if let Err(errno) = self.open(&instance, stream, pipe, sink) {
                self.tell(&instance, 0, &format!("cannot read the output of {instance}: {errno}"));
            }
        }
    }

    fn open(&mut self, instance: &InstanceId, of: Stream, pipe: OwnedFd, sink: Sink) -> nix::Result<()> {
        let id = self.next_id;
        let mut stream = Drain::new(instance.clone(), pipe, sink, (of, self.tallies.of(instance)))?;
        stream.watch(&self.epoll, id)?;
        self.next_id += 1;
        self.grown += stream.extra();
        self.streams.insert(id, stream);
        if let Some(life) = self.lives.get_mut(instance) {
            life.streams.push(id);
        }
        Ok(())
    }

    /// Lets go of the instance's pipes, which come again as other descriptors: what is in them stays there.
    fn forget(&mut self, instance: &InstanceId) {
        let ids = self.lives.get(instance).map(|life| life.streams.clone()).unwrap_or_default();
        let now_us = clock::monotonic_us();
        for id in ids {
            self.let_go(id, now_us);
        }
    }

    /// Keeps what is in the pipes, and goes on with them.
    fn drain(&mut self) {
        let mut turn = now();
        turn.interleaved = true;
        for stream in self.streams.values_mut() {
            stream.empty(&turn, &mut self.scratch);
        }
        self.growth.grew(turn.now_us);
    }

    /// Keeps what is left of the instance's run and marks its end.
    fn finish(&mut self, instance: &InstanceId) {
        let Some(life) = self.lives.get(instance) else { return };
        let ids = life.streams.clone();
        let mut turn = now();
        turn.interleaved = true;
        for id in ids {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.empty(&turn, &mut self.scratch);
            }
            self.let_go(id, turn.now_us);
        }
        let Some(life) = self.lives.remove(instance) else { return };
        for mut sink in life.ended {
            sink.end(&turn);
        }
        self.growth.grew(turn.now_us);
    }

    /// Tells what is due and sets the alarm for what is not.
    fn settle(&mut self, now_us: u64) {
        let mut due = self.rested_us;
        let mut sooner = |at: u64| due = Some(due.map_or(at, |due| due.min(at)));
        if let Some(at) = self.growth.tell(now_us) {
            sooner(at);
        }
        if self.faults.as_ref().is_some_and(mpsc::Sender::is_closed) {
            self.faults = None;
        }
        if let Some(faults) = &self.faults {
            self.losing.retain(|id| {
                let Some(stream) = self.streams.get_mut(id) else { return false };
                let (loss, instance) = (&mut stream.sink.loss, &stream.instance);
                if loss.due_us().is_some_and(|at| at <= now_us) {
                    loss.report(now_us, |bytes, reason| tell(Some(faults), instance, bytes, reason));
                }
                loss.due_us().inspect(|at| sooner(*at)).is_some()
            });
        }
        if self.flooding.is_empty() {
            self.alarm.set(due, now_us);
        }
    }

    fn tell(&self, instance: &InstanceId, bytes_lost: u64, reason: &str) {
        tell(self.faults.as_ref(), instance, bytes_lost, reason);
    }
}

impl Growth {
    fn grew(&mut self, now_us: u64) {
        self.due_us.get_or_insert(now_us.max(self.told_us + PROGRESS_US));
    }

    /// Tells if it is due; answers when it will be.
    fn tell(&mut self, now_us: u64) -> Option<u64> {
        if self.due_us.is_some_and(|due| due <= now_us) {
            self.due_us = None;
            self.told_us = now_us;
            self.sender.send_modify(|count| *count += 1);
        }
        self.due_us
    }
}

fn tell(faults: Option<&mpsc::Sender<LogFault>>, instance: &InstanceId, bytes_lost: u64, reason: &str) -> bool {
    let fault = LogFault { instance: instance.clone(), bytes_lost, reason: reason.to_owned() };
    faults.is_some_and(|faults| faults.try_send(fault).is_ok())
}

fn now() -> Turn {
    Turn { now_us: clock::monotonic_us(), wall: clock::now().wall, interleaved: false }
}
