//! The thread: sleeps until the kernel, an order or a deadline wakes it.

use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::inotify::AddWatchFlags;
use nix::sys::time::TimeSpec;

use crate::os::clock;
use crate::watch::inotify::{Kernel, Key};
use crate::watch::subject::Watched;
use crate::watch::{Inbox, News, Order, Subject};

/// Events are read at most this many times in a row, so that a flood of them delays no deadline.
const READS: usize = 64;

/// All that is watched.
pub(super) struct Worker<T> {
    inbox: Arc<Inbox>,
    kernel: Result<Kernel, Errno>,
    watched: Vec<Watched>,
    next: Key,
    tell: T,
}

impl<T: FnMut(News)> Worker<T> {
    pub(super) fn new(inbox: Arc<Inbox>, tell: T) -> Self {
        Self { inbox, kernel: Kernel::open(), watched: vec![], next: 0, tell }
    }

    /// Works until the watcher is dropped.
    pub(super) fn run(mut self) {
        loop {
            self.sleep();
            // Events first: what came before an order belongs to what was watched then.
            let heard = self.hear();
            for order in self.inbox.take() {
                match order {
                    Order::Watch(subjects) => self.watch(subjects),
                    Order::Disregard { subject, path } => {
                        let named = self.watched.iter_mut().filter(|watched| watched.subject.name == subject);
                        named.for_each(|watched| watched.disregard(&path));
                    }
                    Order::End => return,
                }
            }
            let now = clock::monotonic_us();
            for watched in &mut self.watched {
                watched.look(&mut self.kernel, now);
                watched.tell(&mut self.kernel, now, &mut self.tell);
            }
            if !heard && let Some(watched) = self.watched.iter_mut().find(|watched| watched.has_unread()) {
                watched.read_one();
            }
        }
    }

    fn sleep(&self) {
        let unread = self.watched.iter().any(Watched::has_unread);
        let due = if unread { Some(0) } else { self.watched.iter().filter_map(Watched::due).min() };
        let left = due.map(|due| Duration::from_micros(due.saturating_sub(clock::monotonic_us())));
        let mut fds = vec![PollFd::new(self.inbox.bell.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.kernel.as_ref().ok().map(|kernel| PollFd::new(kernel.as_fd(), PollFlags::POLLIN)));
        // An interrupted sleep is followed by a look around, as any other.
        let _ = ppoll(&mut fds, left.map(TimeSpec::from_duration), None);
    }

    /// Takes in what the kernel tells; answers whether it told anything.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for _ in 0..READS {
            let events = self.kernel.as_mut().map(Kernel::read).unwrap_or_default();
            if events.is_empty() {
                break;
            }
            heard = true;
            let now = clock::monotonic_us();
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.watched.iter_mut().for_each(|watched| watched.overflowed(now));
                    continue;
                }
                let listeners = self.kernel.as_ref().map(|kernel| kernel.listeners(&event)).unwrap_or_default();
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    if let Ok(kernel) = &mut self.kernel {
                        kernel.ended(event.wd);
                    }
                    continue;
                }
                for (key, folder) in listeners {
                    if let Some(watched) = self.watched.iter_mut().find(|watched| watched.key == key) {
                        watched.hear(&event, &folder, &mut self.kernel, now);
                    }
                }
            }
        }
        heard
    }

    /// Replaces the set of subjects.
    fn watch(&mut self, subjects: Vec<Subject>) {
        let mut before = mem::take(&mut self.watched);
        for subject in subjects {
            let equal = before.iter().position(|watched| watched.subject == subject);
            let named = || before.iter().position(|watched| watched.subject.name == subject.name);
            let watched = match equal.or_else(named).map(|at| before.swap_remove(at)) {
                Some(watched) if watched.subject == subject => watched,
                Some(mut watched) => {
                    watched.change(subject, &mut self.kernel);
                    watched
                }
                None => {
                    self.next = self.next.wrapping_add(1);
                    Watched::begin(self.next, subject, &mut self.kernel)
                }
            };
            (self.tell)(watched.watching());
            self.watched.push(watched);
        }
        for watched in before {
            watched.end(&mut self.kernel);
        }
    }
}
