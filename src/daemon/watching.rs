//! Which files are watched for whom, and what their changes mean to the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::event::Event;
use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::daemon::news::News;
use crate::model::event::{EventWord, Fact};
use crate::model::names::ServiceName;
use crate::model::plan::Plan;
use crate::model::status::Warning;
use crate::model::watch::{WatchPlan, WatchWhen};
use crate::watch::{News as Sight, Subject, Watcher};

/// The subject that is the project's own file with what it reads; no service can be called that.
const FILE: &str = "/file";
/// In `dev` a burst of changes is answered at the latest after this time.
const CAP: Duration = Duration::from_millis(500);
/// In production files must rest at least this long: a deploy copies for a while.
const PRODUCTION_QUIET: Duration = Duration::from_secs(2);
/// How long the first start waits until the watched folders have been looked at once, so that no save after it is missed.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// Who is told about which files.
#[derive(Debug, Default)]
pub(super) struct Watching {
    watcher: Option<Watcher>,
    /// The plan whose files are followed.
    plan: Option<Arc<Plan>>,
    /// The subjects that have not been looked at once.
    unseen: BTreeSet<String>,
    troubles: BTreeMap<String, Vec<Warning>>,
}

/// How soon changes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Windows {
    /// Never: nothing is watched.
    Off,
    /// As `debounce` says.
    Quick,
    /// Once all has rested for a while.
    Slow,
}

impl Watching {
    /// Pays no more attention to a file of a service.
    pub(super) fn disregard(&self, service: &ServiceName, path: &Path) {
        if let Some(watcher) = &self.watcher {
            watcher.disregard(service.as_str(), path);
        }
    }

    /// What of a service's files cannot be watched as wanted.
    pub(super) fn troubles_of(&self, service: &ServiceName) -> &[Warning] {
        self.troubles.get(service.as_str()).map(Vec::as_slice).unwrap_or_default()
    }

    /// The same of the project's own file.
    pub(super) fn troubles_of_file(&self) -> &[Warning] {
        self.troubles.get(FILE).map(Vec::as_slice).unwrap_or_default()
    }

    fn follow(&mut self, subjects: Vec<Subject>, inbox: &mpsc::Sender<News>) -> std::io::Result<()> {
        self.troubles.retain(|name, _| subjects.iter().any(|subject| &subject.name == name));
        if subjects.is_empty() && self.watcher.is_none() {
            return Ok(());
        }
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let inbox = inbox.clone();
                // Once the loop has ended nobody needs to be told.
                none.insert(Watcher::start(move |sight| drop(inbox.blocking_send(News::Watch(sight))))?)
            }
        };
        self.unseen = subjects.iter().map(|subject| subject.name.clone()).collect();
        watcher.watch(subjects);
        Ok(())
    }
}

impl Engine {
    /// Follows the files of the plan in force, if they are not followed yet.
    pub(super) fn follow_files(&mut self) {
        let plan = self.core.plan();
        if self.watching.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan)) {
            return;
        }
        let plan = plan.clone();
        let subjects = subjects(&plan, self.mode);
        if let Err(error) = self.watching.follow(subjects, &self.inbox) {
            let message = format!("files are not watched: cannot start watching: {error}");
            self.warnings.push(Warning { code: "not_watched".to_owned(), message });
        }
        self.watching.plan = Some(plan);
    }

    /// Pays no more attention to a file of a service, and says so.
    pub(super) fn disregard(&mut self, service: ServiceName, path: &Path) {
        self.watching.disregard(&service, path);
        let folder = self.core.plan_of(&service).map(|plan| plan.cwd.clone()).unwrap_or_default();
        let shown = path.strip_prefix(&folder).unwrap_or(path).display();
        let message = format!("{service} writes {shown} itself right after each start: it is watched no more");
        let fact = Fact { service: Some(service), message: Some(message), ..Fact::new(EventWord::ReloadRolledBack) };
        self.publisher.fact(fact, self.now.wall);
    }

    /// Waits until every watched folder has been looked at once, not for ever.
    pub(super) async fn await_first_look(&mut self) {
        let first_look = async {
            while !self.watching.unseen.is_empty()
                && let Some(news) = self.news.recv().await
            {
                // Nothing runs yet, so only files are news.
                self.take_news(news);
            }
        };
        // What takes longer is watched a little later.
        let _ = tokio::time::timeout(FIRST_LOOK, first_look).await;
    }

    /// What was seen, as an event for the core where it is about a service.
    pub(super) fn take_sight(&mut self, sight: Sight) -> Option<Event> {
        match sight {
            Sight::Changed { subject, .. } if subject == FILE => {
                self.apply_file("its file was saved");
                None
            }
            Sight::Changed { subject, files, since } => {
                let service = ServiceName::new(&subject).ok()?;
                Some(Event::Changed { service, files, since })
            }
            Sight::Watching { subject, folders, files } => {
                tracing::info!(subject, folders, files, "watching");
                self.watching.unseen.remove(&subject);
                None
            }
            Sight::Trouble { subject, warnings } => {
                for warning in &warnings {
                    tracing::warn!(subject, code = warning.code, "{}", warning.message);
                }
                self.watching.troubles.insert(subject, warnings);
                None
            }
        }
    }
}

/// What is to be watched for whom.
fn subjects(plan: &Plan, mode: Mode) -> Vec<Subject> {
    let windows = match mode {
        Mode::Run { .. } | Mode::Dev { .. } => Windows::Quick,
        Mode::Up { watch: true, .. } => Windows::Slow,
        Mode::Up { watch: false, .. } => match plan.watch {
            WatchWhen::Always => Windows::Slow,
            WatchWhen::Dev => Windows::Off,
        },
    };
    if windows == Windows::Off {
        return vec![];
    }
    // What the file says is applied by what differs, not by a restart of everybody who lives beside it.
    let own_files = match mode {
        Mode::Dev { .. } => plan.read_from.clone(),
        Mode::Run { .. } | Mode::Up { .. } => plan.file.clone().into_iter().collect(),
    };
    let never: Vec<PathBuf> = own_files.into_iter().chain([plan.state_dir.clone()]).collect();
    let of_services = plan.services.iter().filter_map(|service| {
        let watch = service.watch.clone()?;
        let (quiet, cap) = match windows {
            Windows::Quick | Windows::Off => (watch.debounce, Some(CAP)),
            Windows::Slow => (watch.debounce.max(PRODUCTION_QUIET), None),
        };
        Some(Subject { name: service.name.to_string(), plan: watch, quiet, cap, never: never.clone() })
    });
    let own = file_subject(plan).filter(|_| matches!(mode, Mode::Dev { .. }));
    of_services.chain(own).collect()
}

/// The project's own file with what it reads.
fn file_subject(plan: &Plan) -> Option<Subject> {
    plan.file.as_ref()?;
    let watch = WatchPlan { gitignore: false, ..WatchPlan::new(plan.read_from.clone()) };
    Some(Subject { name: FILE.to_owned(), quiet: watch.debounce, plan: watch, cap: Some(CAP), never: vec![] })
}
