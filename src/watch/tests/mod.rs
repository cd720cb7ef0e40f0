//! Real folders, a real thread, the kernel's news.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use super::*;
use crate::model::watch::WatchPlan;

mod costs;
mod folders;
mod roots;
mod saves;
mod trouble;

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// A folder that is watched, and what is told of it.
struct Desk {
    folder: tempfile::TempDir,
    /// Watched beside it, without a quiet window: a file written here brings the thread to a known place.
    hook: tempfile::TempDir,
    watcher: Watcher,
    news: Receiver<News>,
    thread: Arc<AtomicI32>,
    /// What was told last of trouble.
    trouble: RefCell<Vec<String>>,
    /// While it is locked the thread stays at its next news.
    pause: Arc<Mutex<()>>,
}

/// What became of a file: whether it was there before, and is now.
type Became = (String, bool, bool);

const CREATED: (bool, bool) = (false, true);
const CHANGED: (bool, bool) = (true, true);
const DELETED: (bool, bool) = (true, false);

fn became(name: &str, how: (bool, bool)) -> Became {
    (name.to_owned(), how.0, how.1)
}

impl Desk {
    /// A folder with these files (`name` holds `name`), not watched so far.
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, news) = sync_channel(10_000);
        let thread = Arc::new(AtomicI32::new(0));
        let pause = Arc::new(Mutex::new(()));
        let (id, gate) = (Arc::clone(&thread), Arc::clone(&pause));
        let watcher = Watcher::start(move |news| {
            id.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
            let _ = sender.send(news);
            drop(gate.lock());
        });
        let hook = tempfile::tempdir().unwrap();
        let desk = Self { folder, hook, watcher: watcher.unwrap(), news, thread, trouble: RefCell::default(), pause };
        for file in files {
            desk.write(file, file);
        }
        desk
    }

    /// The same, watched as a whole, with every file read.
    fn watched(files: &[&str]) -> Self {
        let desk = Self::new(files);
        desk.watch(vec![desk.subject(&[""])]);
        desk
    }

    /// Watches these, and waits until it is so and all files are read.
    fn watch(&self, subjects: Vec<Subject>) {
        let mut names: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
        self.begin(subjects);
        while !names.is_empty() {
            match self.next() {
                News::Watching { subject, .. } => names.retain(|name| *name != subject),
                other => panic!("{other:?}"),
            }
        }
        self.rest();
    }

    /// Watches these.
    fn begin(&self, mut subjects: Vec<Subject>) {
        let mut hook = self.subject(&[]);
        hook.name = "hook".to_owned();
        hook.plan.paths = vec![self.hook.path().to_owned()];
        hook.quiet = Duration::ZERO;
        subjects.push(hook);
        self.watcher.watch(subjects);
    }

    /// Does something while the thread stands still, so that all of it falls into one window however busy the machine is.
    fn at_once(&self, work: impl FnOnce()) {
        self.rest();
        let paused = self.pause.lock().unwrap();
        fs::write(self.hook.path().join("x"), crate::os::clock::monotonic_us().to_string()).unwrap();
        match self.next() {
            News::Changed { subject, .. } if subject == "hook" => {}
            other => panic!("{other:?}"),
        }
        work();
        drop(paused);
    }

    /// Watches these paths.
    fn subject(&self, paths: &[&str]) -> Subject {
        let path = |path: &&str| if path.is_empty() { self.path("") } else { self.path(path) };
        Subject {
            name: "web".to_owned(),
            plan: WatchPlan::new(paths.iter().map(path).collect()),
            quiet: Duration::from_millis(10),
            cap: None,
            never: vec![],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let top = self.folder.path();
        if name.is_empty() { top.to_owned() } else { top.join(name) }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// The next news but for trouble, which is kept aside.
    fn next(&self) -> News {
        loop {
            if let Some(news) = self.receive() {
                return news;
            }
        }
    }

    /// Waits for this trouble and no other. It comes when the thread looks, not in step with changes.
    fn trouble(&self, expected: &[&str]) {
        while *self.trouble.borrow() != expected {
            if let Some(news) = self.receive() {
                panic!("{news:?}");
            }
        }
    }

    /// Waits for something to be told; that the hook is watched is no news.
    fn receive(&self) -> Option<News> {
        match self.news.recv_timeout(LONG).expect("news") {
            News::Watching { subject, .. } if subject == "hook" => None,
            News::Trouble { warnings, .. } => {
                *self.trouble.borrow_mut() = warnings.into_iter().map(|warning| warning.code).collect();
                None
            }
            news => Some(news),
        }
    }

    /// The next change.
    fn changed(&self) -> Vec<Became> {
        match self.next() {
            News::Changed { files, .. } => self.names(&files),
            other => panic!("{other:?}"),
        }
    }

    /// All that is told until every one of these files was.
    fn changed_until(&self, names: &[&str]) -> Vec<Became> {
        let mut seen = vec![];
        while !names.iter().all(|name| seen.iter().any(|(known, ..): &Became| known == name)) {
            seen.extend(self.changed());
        }
        seen.sort();
        seen
    }

    fn names(&self, files: &[FileChange]) -> Vec<Became> {
        let name = |path: &Path| path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
        for file in files {
            assert_ne!(file.before, file.after, "{file:?}");
        }
        files.iter().map(|file| (name(&file.path), file.before.is_some(), file.after.is_some())).collect()
    }

    /// Sees that nothing else was told: another file is written, and it alone must be told.
    fn nothing_else(&self) {
        self.write("the last", "x");
        assert_eq!(self.changed(), [became("the last", CREATED)]);
        self.remove("the last");
        assert_eq!(self.changed(), [became("the last", DELETED)]);
    }

    /// Waits until the thread has read everything and sleeps, and answers how often it has woken so far.
    fn rest(&self) -> u64 {
        let mut seen = None;
        let mut times = 0;
        eventually("the thread to rest", || {
            let now = self.sleeps();
            times = if now.is_some() && now == seen { times + 1 } else { 0 };
            seen = now;
            times >= 5
        });
        seen.unwrap()
    }

    /// How often the thread went to sleep; none while it works.
    fn sleeps(&self) -> Option<u64> {
        let id = self.thread.load(Ordering::SeqCst);
        let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).ok()?;
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next())
        };
        (field("State:") == Some("S")).then(|| field("voluntary_ctxt_switches:").unwrap().parse().unwrap())
    }
}

/// Waits until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = crate::os::clock::monotonic_us() + u64::try_from(LONG.as_micros()).unwrap();
    while !is_so() {
        assert!(crate::os::clock::monotonic_us() < until, "waited for {what}");
        pass_time(1);
    }
}

/// Lets milliseconds pass.
fn pass_time(ms: u16) {
    let _ = poll(&mut [], PollTimeout::from(ms));
}
