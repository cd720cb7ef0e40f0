//! One subject: its folders, what happens in them, and what cannot be watched.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};

use crate::model::status::Warning;
use crate::model::watch::FileChange;
use crate::watch::Subject;
use crate::watch::content::{Hasher, Mark};
use crate::watch::filesystem::silent_kind;
use crate::watch::kernel::{Kernel, Refusal};
use crate::watch::rules::{RULE_FILES, Rules};
use crate::watch::tree::{Seen, Tree};
use crate::watch::window::Window;

/// Where nothing tells of changes files are looked at this often, in microseconds.
const POLL: u64 = 1_000_000;
/// After more signs than this within one window everything is looked at.
const MANY: usize = 1_000;

/// A subject at work.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) subject: Subject,
    rules: Rules,
    tree: Tree,
    roles: HashMap<WatchDescriptor, Vec<Role>>,
    window: Window,
    touched: BTreeSet<PathBuf>,
    /// At the end of the window everything is looked at.
    everything: bool,
    /// The lock files of the repositories it lies in.
    locks: Vec<PathBuf>,
    /// Why files are looked at every second, if they are.
    polling: Option<Polling>,
    next_poll: u64,
    overflows: u32,
    missing: Vec<PathBuf>,
    told: Vec<Warning>,
}

/// What a watched folder is to a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// Files in it may count.
    Folder(PathBuf),
    /// Only this entry of it matters: a watched path, or a link on the way to one.
    Anchor(PathBuf, OsString),
}

/// Why files are looked at every second.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Polling {
    Asked,
    Silent(&'static str),
    Limit { folders: usize },
    Unavailable,
}

impl Watched {
    /// Begins to watch: looks at everything once.
    pub(super) fn new(subject: Subject, kernel: &Kernel) -> Self {
        let rules = Rules::new(&subject.plan, &subject.never, &[]);
        let mut watched = Self {
            rules,
            tree: Tree::default(),
            roles: HashMap::new(),
            window: Window::default(),
            touched: BTreeSet::new(),
            everything: false,
            locks: subject.plan.paths.iter().filter_map(|path| lock_of(path)).collect(),
            polling: subject.plan.poll.then_some(Polling::Asked),
            next_poll: 0,
            overflows: 0,
            missing: vec![],
            told: vec![],
            subject,
        };
        let seen = watched.walk_all(kernel);
        watched.tree.begin(seen);
        watched
    }

    /// How many folders and files are watched.
    pub(super) fn size(&self) -> (usize, usize) {
        let folders = self.roles.values().flatten().filter(|role| matches!(role, Role::Folder(_))).count();
        (folders, self.tree.len())
    }

    /// The kernel's watches it needs.
    pub(super) fn watches(&self, watch: WatchDescriptor) -> bool {
        self.roles.contains_key(&watch)
    }

    /// Every watch it has.
    pub(super) fn all_watches(&self) -> Vec<WatchDescriptor> {
        self.roles.keys().copied().collect()
    }

    /// Hears an event; gives the watches that it has no more need of.
    pub(super) fn hear(&mut self, event: &InotifyEvent, kernel: &Kernel, now: u64) -> Vec<WatchDescriptor> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.overflows += 1;
            self.look_at_everything(now);
            return vec![];
        }
        let Some(roles) = self.roles.get(&event.wd).cloned() else { return vec![] };
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.roles.remove(&event.wd);
        }
        let mut unneeded = vec![];
        for role in roles {
            match (role, &event.name) {
                (Role::Folder(folder), Some(name)) => {
                    unneeded.extend(self.hear_of(&folder.join(name), event.mask, kernel, now));
                }
                (Role::Folder(folder), None) => {
                    if self.subject.plan.paths.contains(&folder) {
                        self.look_at_everything(now);
                    }
                }
                (Role::Anchor(folder, wanted), Some(name)) if *name == wanted => {
                    let path = folder.join(name);
                    if self.subject.plan.paths.contains(&path) && !path.is_dir() && self.tree.below(&path).len() <= 1 {
                        self.touch(path, now);
                    } else {
                        self.look_at_everything(now);
                    }
                }
                // The folder in which something was waited for has gone itself.
                (Role::Anchor(..), None) => self.look_at_everything(now),
                (Role::Anchor(..), Some(_)) => {}
            }
        }
        unneeded
    }

    fn hear_of(&mut self, path: &Path, mask: AddWatchFlags, kernel: &Kernel, now: u64) -> Vec<WatchDescriptor> {
        let came = mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        if mask.contains(AddWatchFlags::IN_ISDIR) {
            if came && self.rules.opens(path) {
                let mut seen = Seen::new();
                self.walk(path, kernel, &mut seen);
                for path in seen.into_keys() {
                    self.touch(path.into_path_buf(), now);
                }
                return vec![];
            }
            return if came { vec![] } else { self.lose_folder(path, now) };
        }
        // A fresh file is told once it is closed; a link is there at once.
        if mask.contains(AddWatchFlags::IN_CREATE) && !is_link(path) {
            return vec![];
        }
        let is_rules = path.file_name().is_some_and(|name| RULE_FILES.iter().any(|rules| name == *rules));
        if (is_rules && self.subject.plan.gitignore) || (is_link(path) && path.is_dir()) {
            self.look_at_everything(now);
        } else if self.rules.counts(path) {
            self.touch(path.to_owned(), now);
        }
        vec![]
    }

    fn lose_folder(&mut self, folder: &Path, now: u64) -> Vec<WatchDescriptor> {
        for path in self.tree.below(folder) {
            self.touch(path, now);
        }
        let is_below = |role: &Role| matches!(role, Role::Folder(known) if known.starts_with(folder));
        let lost: Vec<WatchDescriptor> =
            self.roles.iter().filter(|(_, roles)| roles.iter().any(is_below)).map(|(watch, _)| *watch).collect();
        for watch in &lost {
            if let Some(roles) = self.roles.get_mut(watch) {
                roles.retain(|role| !is_below(role));
            }
        }
        self.roles.retain(|_, roles| !roles.is_empty());
        lost
    }

    fn touch(&mut self, path: PathBuf, now: u64) {
        self.window.touch(now);
        if self.touched.len() < MANY {
            self.touched.insert(path);
        } else {
            self.everything = true;
        }
    }

    fn look_at_everything(&mut self, now: u64) {
        self.window.touch(now);
        self.everything = true;
    }

    /// When it wants to act next.
    pub(super) fn due(&self) -> Option<u64> {
        let told = self.window.due(self.subject.quiet, self.subject.cap);
        let poll = self.polling.is_some().then_some(self.next_poll);
        told.into_iter().chain(poll).min()
    }

    /// Looks at all files where nobody tells about them.
    pub(super) fn poll(&mut self, kernel: &Kernel, now: u64) {
        if self.polling.is_none() || now < self.next_poll {
            return;
        }
        self.next_poll = now.saturating_add(POLL);
        let seen = self.walk_all(kernel);
        for path in self.tree.differing(&seen) {
            self.touch(path, now);
        }
    }

    /// The changes of a window that is over at `now`, with its beginning.
    pub(super) fn close(&mut self, kernel: &Kernel, hasher: &mut Hasher, now: u64) -> Option<(Vec<FileChange>, u64)> {
        if self.window.due(self.subject.quiet, self.subject.cap).is_none_or(|due| due > now) {
            return None;
        }
        // In the middle of a checkout; its end will come soon.
        if self.locks.iter().any(|lock| lock.exists()) && self.window.hold(now) {
            return None;
        }
        let since = self.window.close()?;
        if std::mem::take(&mut self.everything) {
            self.rules = Rules::new(&self.subject.plan, &self.subject.never, self.rules.disregarded());
            let seen = self.walk_all(kernel);
            self.touched.extend(self.tree.differing(&seen));
        }
        let (tree, rules) = (&mut self.tree, &self.rules);
        let touched = std::mem::take(&mut self.touched);
        let changes = touched.iter().filter_map(|path| tree.look(path, rules.counts(path), hasher)).collect();
        Some((changes, since))
    }

    /// Reads some of what nobody has read so far.
    pub(super) fn read_some(&mut self, hasher: &mut Hasher) {
        self.tree.read_some(hasher);
    }

    pub(super) fn has_unread(&self) -> bool {
        self.tree.has_unread()
    }

    /// Pays no more attention to a file.
    pub(super) fn disregard(&mut self, path: &Path) {
        self.rules.disregard(path);
        self.tree.forget(path);
        self.touched.remove(path);
    }

    /// What cannot be watched as wanted, if that is news.
    pub(super) fn news_of_trouble(&mut self) -> Option<Vec<Warning>> {
        let warnings = self.troubles();
        (warnings != self.told).then(|| {
            self.told.clone_from(&warnings);
            warnings
        })
    }

    fn troubles(&self) -> Vec<Warning> {
        let warning = |code: &str, message: String| Warning { code: code.to_owned(), message };
        let every = "files are looked at every second instead of being told by the kernel";
        let polling = self.polling.as_ref().and_then(|why| match why {
            Polling::Asked => None,
            Polling::Silent(kind) => Some(warning("polling", format!("{every}: {kind} does not tell what others write"))),
            Polling::Limit { folders } => Some(warning(
                "watch_limit",
                format!(
                    "{every}: {folders} folders and no watch left for them; as root: sysctl fs.inotify.max_user_watches=524288"
                ),
            )),
            Polling::Unavailable => Some(warning("polling", format!("{every}: inotify cannot be had here"))),
        });
        let missing = self
            .missing
            .iter()
            .map(|path| warning("watch_missing", format!("{} is not there; it is watched once it is", path.display())));
        let overflow = (self.overflows > 0).then(|| {
            let times = if self.overflows == 1 { "once".to_owned() } else { format!("{} times", self.overflows) };
            warning(
                "watch_overflow",
                format!("files changed faster than the kernel could tell, {times}; all were looked at"),
            )
        });
        polling.into_iter().chain(missing).chain(overflow).collect()
    }

    /// Looks at everything and watches every folder on the way.
    fn walk_all(&mut self, kernel: &Kernel) -> Seen {
        let before = std::mem::take(&mut self.roles);
        self.missing.clear();
        let mut seen = Seen::new();
        for root in self.subject.plan.paths.clone() {
            if self.polling.is_none()
                && let Some(kind) = silent_kind(&root)
            {
                self.polling = Some(Polling::Silent(kind));
            }
            self.anchor(&root, kernel);
            match std::fs::metadata(&root) {
                Ok(about) if about.is_dir() => self.walk(&root, kernel, &mut seen),
                Ok(about) if about.is_file() => drop(seen.insert(root.as_path().into(), Mark::from(&about))),
                Ok(_) | Err(_) => self.missing.push(root),
            }
        }
        // What has no role any more is let go of by `drop_unneeded`.
        for watch in before.into_keys() {
            self.roles.entry(watch).or_default();
        }
        seen
    }

    /// The watches it had before it looked at everything and needs no more.
    pub(super) fn drop_unneeded(&mut self) -> Vec<WatchDescriptor> {
        self.roles.extract_if(|_, roles| roles.is_empty()).map(|(watch, _)| watch).collect()
    }

    /// Watches for a watched path itself to come, go or be swapped, and for every link on the way to it.
    fn anchor(&mut self, root: &Path, kernel: &Kernel) {
        let mut wanted: Vec<(PathBuf, OsString)> = vec![];
        for path in root.ancestors() {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { break };
            let is_link = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
            let is_wanted = path == root || is_link || !path.exists();
            if is_wanted && folder.is_dir() {
                wanted.push((folder.to_owned(), name.to_owned()));
            }
        }
        for (folder, name) in wanted {
            self.add(&folder.clone(), Role::Anchor(folder, name), kernel);
        }
    }

    /// Watches a folder and all in it that may count, and notes the files that do.
    fn walk(&mut self, start: &Path, kernel: &Kernel, seen: &mut Seen) {
        let mut folders = vec![start.to_owned()];
        while let Some(folder) = folders.pop() {
            // Before it is read: what comes in between is told.
            self.add(&folder, Role::Folder(folder.clone()), kernel);
            self.rules.enter(&folder);
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => {
                        if self.rules.opens(&path) {
                            folders.push(path);
                        }
                    }
                    Ok(_) => {
                        if self.rules.counts(&path)
                            && let Some(mark) = Mark::of(&path)
                        {
                            seen.insert(path.into_boxed_path(), mark);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
    }

    fn add(&mut self, folder: &Path, role: Role, kernel: &Kernel) {
        match &mut self.polling {
            Some(Polling::Limit { folders }) => {
                *folders += 1;
                return;
            }
            Some(Polling::Asked | Polling::Silent(_) | Polling::Unavailable) => return,
            None => {}
        }
        match kernel.add(folder) {
            Ok(watch) => {
                let roles = self.roles.entry(watch).or_default();
                if !roles.contains(&role) {
                    roles.push(role);
                }
            }
            Err(Refusal::Missing) => {}
            Err(Refusal::Limit) => self.polling = Some(Polling::Limit { folders: self.size().0 + 1 }),
            Err(Refusal::Unavailable) => self.polling = Some(Polling::Unavailable),
        }
    }
}

/// Whether a new entry is complete at once: a symbolic link, or another name of a file that was there before.
fn is_link(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    path.symlink_metadata().is_ok_and(|about| about.is_symlink() || about.nlink() > 1)
}

/// The file that says that git is at work in the repository a path lies in.
fn lock_of(path: &Path) -> Option<PathBuf> {
    let top = path.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    if top.is_dir() {
        return Some(top.join("index.lock"));
    }
    // A worktree: a file that names the folder.
    let text = std::fs::read_to_string(&top).ok()?;
    let named = PathBuf::from(text.trim().strip_prefix("gitdir: ")?);
    Some(top.parent()?.join(named).join("index.lock"))
}
