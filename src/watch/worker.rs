//! The thread: sleeps until the kernel, the caller or a window wakes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::WatchDescriptor;

use crate::model::units::Moment;
use crate::os::clock::monotonic_us;
use crate::watch::content::Hasher;
use crate::watch::kernel::{Kernel, hush};
use crate::watch::watched::Watched;
use crate::watch::{News, Subject, Wish};

/// Rounds of events taken before windows are looked at again.
const ROUNDS: usize = 64;

/// How long a new subject's files are read before it is said to be watched, in microseconds.
const FIRST_READING: u64 = 20_000;

/// Works until it is told to end.
pub(super) fn work(bell: &OwnedFd, inbox: &Receiver<Wish>, mut tell: impl FnMut(News)) {
    let kernel = Kernel::new();
    let mut all: Vec<Watched> = vec![];
    let mut hasher = Hasher::new();
    loop {
        sleep(bell, &kernel, &all);
        hush(bell);
        while let Ok(wish) = inbox.try_recv() {
            match wish {
                Wish::Watch(subjects) => follow(subjects, &mut all, &kernel, &mut hasher, &mut tell),
                Wish::Disregard { subject, path } => {
                    for watched in all.iter_mut().filter(|watched| watched.subject.name == subject) {
                        watched.disregard(&path);
                    }
                }
                Wish::End => return,
            }
        }
        let mut quiet = true;
        for _ in 0..ROUNDS {
            let events = kernel.events();
            if events.is_empty() {
                break;
            }
            quiet = false;
            let now = monotonic_us();
            for event in &events {
                let unneeded = all.iter_mut().flat_map(|watched| watched.hear(event, &kernel, now)).collect();
                remove(unneeded, &all, &kernel);
            }
        }
        for at in 0..all.len() {
            let Some(watched) = all.get_mut(at) else { break };
            let now = monotonic_us();
            watched.poll(&kernel, now);
            if let Some((files, since)) = watched.close(&kernel, &mut hasher, now)
                && !files.is_empty()
            {
                let subject = watched.subject.name.clone();
                tell(News::Changed { subject, files, since: Moment(since / 1_000) });
            }
            if let Some(warnings) = watched.news_of_trouble() {
                tell(News::Trouble { subject: watched.subject.name.clone(), warnings });
            }
            let unneeded = watched.drop_unneeded();
            remove(unneeded, &all, &kernel);
        }
        if quiet {
            // A little at a time, so that what happens meanwhile is heard.
            if let Some(watched) = all.iter_mut().find(|watched| watched.has_unread()) {
                watched.read_some(&mut hasher);
            }
        }
    }
}

/// Waits for something to do.
fn sleep(bell: &OwnedFd, kernel: &Kernel, all: &[Watched]) {
    let now = monotonic_us();
    let timeout = if all.iter().any(Watched::has_unread) {
        PollTimeout::ZERO
    } else {
        match all.iter().filter_map(Watched::due).min() {
            // Rounded up, so that it is due when we wake.
            Some(due) => PollTimeout::try_from(due.saturating_sub(now).div_ceil(1_000)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        }
    };
    let mut fds = vec![PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
    fds.extend(kernel.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    // A signal is a reason to look, too.
    let _ = poll(&mut fds, timeout);
}

/// Watches these and nothing else.
fn follow(
    subjects: Vec<Subject>,
    all: &mut Vec<Watched>,
    kernel: &Kernel,
    hasher: &mut Hasher,
    tell: &mut impl FnMut(News),
) {
    let dropped: Vec<Watched> = all.extract_if(.., |watched| !subjects.contains(&watched.subject)).collect();
    for subject in subjects {
        if !all.iter().any(|watched| watched.subject == subject) {
            let mut watched = Watched::new(subject, kernel);
            // What is small is known by heart from the start.
            let until = monotonic_us() + FIRST_READING;
            while watched.has_unread() && monotonic_us() < until {
                watched.read_some(hasher);
            }
            all.push(watched);
        }
    }
    remove(dropped.iter().flat_map(Watched::all_watches).collect(), all, kernel);
    for watched in all {
        let (folders, files) = watched.size();
        tell(News::Watching { subject: watched.subject.name.clone(), folders, files });
    }
}

/// Lets go of the watches that nobody needs.
fn remove(watches: Vec<WatchDescriptor>, all: &[Watched], kernel: &Kernel) {
    for watch in watches {
        if !all.iter().any(|watched| watched.watches(watch)) {
            kernel.remove(watch);
        }
    }
}
