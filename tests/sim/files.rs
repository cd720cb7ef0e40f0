//! The files of services: edited at any moment, told of in windows, checked, and written by some apps themselves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::PathBuf;

use everup::core::event::Event;
use everup::model::names::ServiceName;
use everup::model::plan::Plan;
use everup::model::units::Moment;
use everup::model::watch::{Content, FileChange};

use crate::dice::Dice;

/// What no check lets pass.
pub(crate) const BAD: u64 = 3;

/// Where a service's files are.
pub(crate) fn folder(service: &ServiceName) -> PathBuf {
    PathBuf::from("/srv").join(service.as_str())
}

/// The files of one service.
#[derive(Clone, Debug, Default)]
struct Folder {
    disk: BTreeMap<PathBuf, Content>,
    /// As the core was last told.
    told: BTreeMap<PathBuf, Content>,
    /// The window that is open: when the first of it was seen, and when it is told of.
    window: Option<(u64, u64)>,
    disregarded: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    folders: BTreeMap<ServiceName, Folder>,
    /// What apps will write: when, where.
    writes: BinaryHeap<Reverse<(u64, ServiceName, PathBuf)>>,
    /// The results of checks under way.
    checks: Vec<(u64, Event)>,
    count: u64,
}

impl Files {
    pub(crate) fn next_at(&self) -> Option<u64> {
        let told = self.folders.values().filter_map(|folder| folder.window).map(|(_, at)| at);
        let written = self.writes.peek().map(|Reverse((at, _, _))| *at);
        told.chain(written).chain(self.checks.iter().map(|(at, _)| *at)).min()
    }

    /// A person saves something.
    pub(crate) fn save(&mut self, dice: &mut Dice, now: u64, service: &ServiceName) {
        for _ in 0..dice.between(1, 3) {
            let path = folder(service).join(*dice.pick(&["app.py", "lib.py", "page.html"]));
            let content = Some(dice.between(0, 4)).filter(|content| *content > 0).map(Content);
            self.write(dice, now, service, path, content);
        }
    }

    fn write(&mut self, dice: &mut Dice, now: u64, service: &ServiceName, path: PathBuf, content: Option<Content>) {
        let folder = self.folders.entry(service.clone()).or_default();
        match content {
            Some(content) => folder.disk.insert(path, content),
            None => folder.disk.remove(&path),
        };
        let delay = if dice.percent(70) { dice.between(20, 60) } else { dice.between(0, 2_500) };
        folder.window.get_or_insert((now, now + delay));
    }

    /// An app will write into its own folder.
    pub(crate) fn app_writes(&mut self, at: u64, service: &ServiceName) {
        self.writes.push(Reverse((at, service.clone(), folder(service).join("cache.json"))));
    }

    /// A check is run over files as they are now.
    pub(crate) fn check(&mut self, dice: &mut Dice, now: u64, service: &ServiceName, seq: u64, files: &[PathBuf]) {
        let folder = self.folders.entry(service.clone()).or_default();
        let bad = files.iter().any(|path| folder.disk.get(path) == Some(&Content(BAD)));
        let result = if bad { Err("SyntaxError".to_owned()) } else { Ok(()) };
        self.drop_check(dice, service);
        let at = now + if dice.percent(70) { dice.between(5, 200) } else { dice.between(0, 20_000) };
        self.checks.push((at, Event::Checked { service: service.clone(), seq, result }));
    }

    /// Nobody waits for a check any more; its result may be on its way already.
    pub(crate) fn drop_check(&mut self, dice: &mut Dice, service: &ServiceName) {
        let late = dice.percent(30);
        self.checks.retain(|(_, event)| late || !matches!(event, Event::Checked { service: of, .. } if of == service));
    }

    pub(crate) fn disregard(&mut self, service: &ServiceName, path: PathBuf) {
        self.folders.entry(service.clone()).or_default().disregarded.insert(path);
    }

    /// A plan watches `service` differently; with `whole`, from now on and from the files as they are.
    pub(crate) fn watch_anew(&mut self, service: &ServiceName, whole: bool) {
        if let Some(folder) = self.folders.get_mut(service) {
            folder.disregarded.clear();
            if whole {
                folder.told.clone_from(&folder.disk);
                folder.window = None;
            }
        }
    }

    /// The engine has died, and the checks that it had run with it.
    pub(crate) fn lose_engine(&mut self) {
        self.checks.clear();
    }

    /// Lets everything up to `now` happen, and returns the news that have arrived.
    pub(crate) fn run_until(&mut self, dice: &mut Dice, now: u64, plan: &Plan) -> Vec<Event> {
        while let Some(Reverse((at, service, path))) = self.writes.peek().filter(|write| write.0.0 <= now).cloned() {
            self.writes.pop();
            self.count += 1;
            self.write(dice, at, &service, path, Some(Content(100 + self.count)));
        }
        let mut news = vec![];
        for (service, folder) in &mut self.folders {
            let Some((since, _)) = folder.window.filter(|(_, at)| *at <= now) else { continue };
            folder.window = None;
            let watched = plan.service(service).is_some_and(|plan| plan.watch.is_some());
            let paths: BTreeSet<&PathBuf> = folder.disk.keys().chain(folder.told.keys()).collect();
            let changed = |path: &&PathBuf| FileChange {
                path: (*path).clone(),
                before: folder.told.get(*path).copied(),
                after: folder.disk.get(*path).copied(),
            };
            // What is disregarded may slip through once more.
            let counts = |change: &FileChange| {
                change.before != change.after && (!folder.disregarded.contains(&change.path) || dice.percent(20))
            };
            let files: Vec<FileChange> = paths.iter().map(changed).filter(counts).collect();
            folder.told.clone_from(&folder.disk);
            if watched && !files.is_empty() {
                news.push(Event::Changed { service: service.clone(), files, since: Moment(since) });
            }
        }
        self.checks.sort_by_key(|(at, _)| *at);
        while self.checks.first().is_some_and(|(at, _)| *at <= now) {
            news.push(self.checks.remove(0).1);
        }
        news
    }
}
