//! `state.json`: what must survive everup's own death, replaced as a whole whenever it changed.
//!
//! A thread writes, so that a stalled disk never stops the loop; only the latest state matters.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::names::{InstanceId, Pid, Run};
use crate::model::status::Held;
use crate::model::units::Timestamp;
use crate::os::clock;
use crate::os::identity::Identity;
use crate::os::killpoint;

const FILE: &str = "state.json";

/// The version of the shape that is written.
pub(super) const VERSION: u32 = 2;

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    v: u32,
    /// Whether everup ended in order; then only lasting holds are kept.
    pub(super) clean: bool,
    /// What the guardian's children carry in their environment, to recognise those that nobody holds any more.
    pub(super) mark: Option<String>,
    /// The process that decides.
    pub(super) engine: Option<Identity>,
    /// The process that holds the children.
    pub(super) guardian: Option<Identity>,
    /// Per instance, by its `name/index`.
    pub(super) instances: BTreeMap<String, Kept>,
}

/// What is kept of an instance. Version 1 had its run, its pid and its hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// Its latest run.
    pub(super) run: Run,
    /// Its main process, while one lives.
    pub(super) pid: Option<Pid>,
    /// That process among all of its number.
    pub(super) identity: Option<Identity>,
    /// The control group of its tree.
    pub(super) cgroup: Option<PathBuf>,
    /// The inodes of the pipes that are its stdout and stderr.
    pub(super) pipes: [Option<u64>; 2],
    /// A fingerprint of the plan it was started with.
    pub(super) plan: Option<u64>,
    /// When it started.
    pub(super) since: Option<Timestamp>,
    /// How often it was restarted.
    pub(super) restarts: u64,
    /// Whether it is not wanted, e.g. being stopped.
    pub(super) down: bool,
    /// The person's stop that holds it.
    pub(super) held: Option<Held>,
}

/// Why what an earlier everup left cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// Services of that everup may still run, and only it knows which.
    #[error(
        "{path:?} was written by a newer everup (v{version}): start that one, or stop its services there and move the \
         file away to begin anew"
    )]
    Newer {
        /// Its version.
        version: u32,
        /// The file.
        path: PathBuf,
    },
}

/// What every version has.
#[derive(Deserialize)]
struct Shape {
    v: u32,
}

/// Version 1: its guardian was a bare number, which tells nobody for sure, and everything of it ended with it.
#[derive(Deserialize)]
struct First {
    clean: bool,
    instances: BTreeMap<String, Kept>,
}

/// Nothing is known.
impl Default for State {
    fn default() -> Self {
        Self::new(None)
    }
}

impl State {
    pub(super) fn new(guardian: Option<Identity>) -> Self {
        Self { v: VERSION, clean: false, mark: None, engine: None, guardian, instances: BTreeMap::new() }
    }

    /// Reads what an earlier life left; nothing is known where there is nothing. What is damaged is set aside as
    /// `state.json.corrupt-<unix time>`, with a warning.
    pub(super) fn read(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; what an earlier everup left is not known", path.display());
                return Ok(Self::default());
            }
        };
        match Self::parse(&bytes) {
            Ok(state) => Ok(state),
            Err(Unusable::Newer(version)) => Err(StateError::Newer { version, path }),
            Err(Unusable::Damaged(damage)) => {
                set_aside(&path, &damage);
                Ok(Self::default())
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        // What a newer version writes beside its number may be anything.
        let Shape { v } = serde_json::from_slice(bytes).map_err(Unusable::damaged)?;
        match v {
            0 => Err(Unusable::Damaged("it has no version".to_owned())),
            1 => {
                let First { clean, instances } = serde_json::from_slice(bytes).map_err(Unusable::damaged)?;
                Ok(Self { clean, instances, ..Self::default() })
            }
            VERSION => serde_json::from_slice(bytes).map_err(Unusable::damaged),
            newer => Err(Unusable::Newer(newer)),
        }
    }

    /// The instances with what is kept of them.
    pub(super) fn by_instance(&self) -> impl Iterator<Item = (InstanceId, &Kept)> {
        self.instances.iter().filter_map(|(name, kept)| {
            let (service, index) = name.rsplit_once('/')?;
            let service = crate::model::names::ServiceName::new(service).ok()?;
            Some((InstanceId { service, index: index.parse().ok()? }, kept))
        })
    }
}

/// Why bytes are no state.
enum Unusable {
    Newer(u32),
    Damaged(String),
}

impl Unusable {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn damaged(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

fn set_aside(path: &Path, damage: &str) {
    let aside = path.with_file_name(format!("{FILE}.corrupt-{}", clock::now().wall.0 / 1_000));
    let done = match std::fs::rename(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be set aside: {error}"),
    };
    tracing::warn!(%damage, "{} was damaged, so what an earlier everup left is not known; {done}", path.display());
}

/// Writes the state in the background; of several that wait only the latest.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<(Mutex<Slot>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Slot {
    next: Option<State>,
    trouble: Option<String>,
    over: bool,
}

impl Keeper {
    pub(super) fn start(dir: PathBuf) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(Slot::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let work = move || keep(&dir, &theirs);
        let thread = std::thread::Builder::new().name("state".to_owned()).stack_size(128 * 1024).spawn(work)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn write(&self, state: State) {
        let (slot, bell) = &*self.shared;
        slot.lock().unwrap_or_else(PoisonError::into_inner).next = Some(state);
        bell.notify_one();
    }

    /// Why the latest write failed, if it did.
    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// Writes `state` as the last and ends the thread.
    pub(super) fn finish(mut self, state: State) {
        self.write(state);
        let (slot, bell) = &*self.shared;
        slot.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

fn keep(dir: &Path, shared: &(Mutex<Slot>, Condvar)) {
    let (slot, bell) = shared;
    loop {
        let mut guard = slot.lock().unwrap_or_else(PoisonError::into_inner);
        while guard.next.is_none() && !guard.over {
            guard = bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(state) = guard.next.take() else { return };
        drop(guard);
        let trouble =
            replace(dir, &state).err().map(|error| format!("cannot write {}: {error}", dir.join(FILE).display()));
        slot.lock().unwrap_or_else(PoisonError::into_inner).trouble = trouble;
    }
}

/// Puts a whole new file in the old one's place: whoever reads finds one or the other, also when this process is killed
/// in between or the disk is full.
///
/// It is not forced onto the disk. After a power loss the file may be the one before, or (on some file systems) empty,
/// which is set aside as damaged: no process lives then, run numbers and events are in the history, and lost are the
/// latest holds.
fn replace(dir: &Path, state: &State) -> io::Result<()> {
    let text = serde_json::to_vec(state)?;
    let fresh = dir.join("state.json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&text)?;
    killpoint::pass("state-before");
    std::fs::rename(fresh, dir.join(FILE))?;
    killpoint::pass("state-after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::ServiceName;

    fn full() -> State {
        let own = Identity::of(Pid(std::process::id().cast_signed())).unwrap();
        let kept = Kept {
            run: Run(4),
            pid: Some(own.pid),
            identity: Some(own.clone()),
            cgroup: Some("/sys/fs/cgroup/everup/web.4".into()),
            pipes: [Some(u64::MAX), None],
            plan: Some(u64::MAX - 1),
            since: Some(Timestamp(1_700_000_000_123)),
            restarts: 3,
            down: true,
            held: Some(Held { by: "uid 0".to_owned(), at: Timestamp(5) }),
        };
        let instances = [("web/2".to_owned(), kept), ("db/1".to_owned(), Kept::default())].into();
        State { mark: Some("m".to_owned()), engine: Some(own.clone()), instances, ..State::new(Some(own)) }
    }

    fn corrupt(dir: &Path) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let aside = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix("state.json.corrupt-").is_some_and(|time| time.parse::<u64>().is_ok())
        };
        files.filter(aside).map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn the_latest_state_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), State::default(), "nothing yet");
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        keeper.write(State::new(None));
        keeper.finish(full());
        let read = State::read(dir.path()).unwrap();
        assert_eq!(read, full());
        let id = |service, index| InstanceId { service: ServiceName::new(service).unwrap(), index };
        let runs: Vec<_> = read.by_instance().map(|(id, kept)| (id, kept.run)).collect();
        assert_eq!(runs, [(id("db", 1), Run(0)), (id("web", 2), Run(4))]);
    }

    #[test]
    fn what_version_1_left_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"v":1,"clean":true,"guardian":71,"instances":{"web/1":{"run":9,"pid":77,"held":null},
            "db/1":{"run":2,"pid":null,"held":{"by":"uid 0","at":"2026-11-20T10:00:00.000Z"}}}}"#;
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let state = State::read(dir.path()).unwrap();
        assert_eq!((state.v, state.clean, &state.guardian), (VERSION, true, &None));
        assert_eq!(state.instances["web/1"], Kept { run: Run(9), pid: Some(Pid(77)), ..Kept::default() });
        assert_eq!(state.instances["db/1"].held.as_ref().unwrap().by, "uid 0");
    }

    #[test]
    fn what_a_newer_everup_left_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = br#"{"v":3,"instances":["another","shape"]}"#;
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let error = State::read(dir.path()).unwrap_err();
        let StateError::Newer { version, path } = &error;
        assert_eq!((*version, path), (3, &dir.path().join(FILE)));
        assert!(error.to_string().contains("newer everup (v3): start that one"), "{error}");
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), text);
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let whole = serde_json::to_vec(&full()).unwrap();
        let cut = &whole[..whole.len() / 2];
        let zeros = vec![0; 4096];
        for damaged in [cut, b"", &zeros, b"{}", b"{\"v\":2}", b"{\"v\":-1}", b"{\"v\":0}", b"\xff\xfe", b"[2]"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(State::read(dir.path()).unwrap(), State::default());
            assert_eq!(corrupt(dir.path()), [damaged], "kept as it was");
            assert!(!dir.path().join(FILE).exists());
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_state_whole() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), &full()).unwrap();
        let fresh = dir.path().join("state.json.new");
        std::os::unix::fs::symlink("/dev/full", &fresh).unwrap();
        assert_eq!(replace(dir.path(), &State::default()).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(State::read(dir.path()).unwrap(), full());
        std::fs::remove_file(&fresh).unwrap();
        std::fs::write(&fresh, "longer than what comes, left by one that was killed".repeat(100)).unwrap();
        replace(dir.path(), &State::default()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), State::default());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_trouble_and_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(dir.path().join("missing")).unwrap();
        let shared = Arc::clone(&keeper.shared);
        keeper.finish(State::new(None));
        assert!(shared.0.lock().unwrap().trouble.as_ref().unwrap().contains("state.json"));
    }
}
