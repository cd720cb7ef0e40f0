//! `state.json`: what must survive everup's own death, replaced as a whole whenever it changed.
//!
//! A thread writes, so that a stalled disk never stops the loop; only the latest state matters.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::names::{InstanceId, Pid, Run};
use crate::model::status::Held;

const FILE: &str = "state.json";

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Version of this shape: 1.
    v: u32,
    /// Whether everup ended in order; then only lasting holds are kept.
    pub(super) clean: bool,
    /// The process that holds the children.
    pub(super) guardian: Option<Pid>,
    /// Per instance, by its `name/index`.
    pub(super) instances: BTreeMap<String, Kept>,
}

/// What is kept of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its latest run.
    pub(super) run: Run,
    /// Its main process, while one lives.
    pub(super) pid: Option<Pid>,
    /// The person's stop that holds it.
    pub(super) held: Option<Held>,
}

impl State {
    pub(super) fn new(guardian: Option<Pid>) -> Self {
        Self { v: 1, clean: false, guardian, instances: BTreeMap::new() }
    }

    /// Reads what an earlier life left; nothing when there is nothing usable.
    pub(super) fn read(dir: &Path) -> Self {
        let read = std::fs::read(dir.join(FILE)).ok();
        let state: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        state.filter(|state| state.v == 1).unwrap_or_default()
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

fn replace(dir: &Path, state: &State) -> io::Result<()> {
    let text = serde_json::to_vec(state)?;
    let fresh = dir.join("state.json.new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::ServiceName;

    #[test]
    fn the_latest_state_reads_back_and_garbage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::new(Some(Pid(7)));
        state.instances.insert("web/2".into(), Kept { run: Run(4), pid: None, held: None });
        let keeper = Keeper::start(dir.path().to_owned()).unwrap();
        keeper.write(State::new(None));
        keeper.finish(state.clone());
        let read = State::read(dir.path());
        assert_eq!(read, state);
        let id = InstanceId { service: ServiceName::new("web").unwrap(), index: 2 };
        assert_eq!(read.by_instance().map(|(id, kept)| (id, kept.run)).collect::<Vec<_>>(), [(id, Run(4))]);
        std::fs::write(dir.path().join(FILE), b"{\"v\":1,").unwrap();
        assert_eq!(State::read(dir.path()), State::default());
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
