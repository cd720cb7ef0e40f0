//! Opens everything the engine works with, in an order that leaves nothing behind when a step fails.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::registry::{self, Registered};
use crate::core::supervisor::{Seeds, Supervisor};
use crate::daemon::accesses::Accesses;
use crate::daemon::adopt::Found;
use crate::daemon::announce::Announcer;
use crate::daemon::engine::Engine;
use crate::daemon::ledger::{Ledger, fingerprint};
use crate::daemon::listeners::Listeners;
use crate::daemon::news::INBOX;
use crate::daemon::notices::Notices;
use crate::daemon::notifying::Notifying;
use crate::daemon::processes::Processes;
use crate::daemon::publish::Publisher;
use crate::daemon::resume::Legacy;
use crate::daemon::state::{Keeper, State};
use crate::daemon::terminal::Terminal;
use crate::daemon::usage::Usages;
use crate::daemon::watching::Watching;
use crate::daemon::{Launch, Mode, StartError, journal, spawn};
use crate::guardian::protocol::{Capabilities, SocketKey};
use crate::handle::Handle;
use crate::history::record::Recorder;
use crate::logs::pump::Pump;
use crate::model::names::{InstanceId, Pid, ServiceName};
use crate::model::plan::{Plan, ServicePlan};
use crate::model::status::{OwnUsage, Status, Warning};
use crate::model::units::Timestamp;
use crate::os::identity::Identity;
use crate::os::lock::StateLock;
use crate::os::{clock, socket};
use crate::server;

/// Requests that may wait for the loop; the caller after that is told to try again.
const REQUESTS: usize = 256;
/// In a container everything must have ended before the runtime loses patience (Kubernetes: 30 s).
const CONTAINER_BUDGET: Duration = Duration::from_secs(25);
/// How long the doors may take to deliver their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What lets people in, and keeps a second everup out.
#[derive(Debug)]
pub(super) struct Doors {
    servers: Vec<JoinHandle<()>>,
    socket: PathBuf,
    listed: Option<Registered>,
    lock: StateLock,
    /// What listens, for the guardian to hold, too.
    listening: Vec<(SocketKey, OwnedFd)>,
}

impl Doors {
    /// Lets the guardian hold what keeps others out and lets people in: should the engine die, nobody is refused.
    pub(super) fn hold(&self, processes: &Processes) {
        processes.hold_as(SocketKey::LOCK, self.lock.as_fd());
        for (key, socket) in &self.listening {
            processes.hold_as(*key, socket.as_fd());
        }
    }

    /// What serves, for somebody else to wait for.
    pub(super) fn take_servers(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.servers)
    }

    /// Lets the last answers out, then takes the socket and the listing away.
    pub(super) async fn close(&mut self) {
        for server in self.servers.drain(..) {
            // One that does not end is ended with the process.
            let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
        }
        // It may be gone already.
        let _ = std::fs::remove_file(&self.socket);
        self.listed = None;
    }
}

/// The file as it was when it was applied, to notice that it is another now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark(Option<(PathBuf, Option<(u64, std::time::SystemTime)>)>);

impl FileMark {
    pub(super) fn of(path: &Path) -> Self {
        Self(Some((path.to_owned(), stamp(path))))
    }

    pub(super) fn has_changed(&self) -> bool {
        self.0.as_ref().is_some_and(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

/// Opens state folder, lock, logs, history and doors, and makes the engine.
pub(super) fn open(launch: Launch) -> Result<Engine, StartError> {
    let Launch { plan, mode, link, start, surroundings, mut legacy } = launch;
    let failed = |what: String| move |source| StartError::System { what, source };
    let dir = plan.state_dir.clone();
    crate::os::dirs::prepare(&dir).map_err(|error| StartError::Refused(error.to_string()))?;
    let held = |legacy: &mut Option<Legacy>, key| legacy.as_mut().and_then(|legacy| legacy.take(key));
    let lock = match held(&mut legacy, SocketKey::LOCK).and_then(StateLock::adopt) {
        Some(lock) => lock,
        None => StateLock::take(&dir).map_err(|error| match error.holder() {
            Some(pid) => StartError::Running { pid: pid.to_string() },
            None => StartError::Refused(error.to_string()),
        })?,
    };
    journal::begin(&dir, false);
    // Without it the inherited limit holds; what does not fit is told where it happens.
    let _ = crate::os::limits::raise_open_files();
    let pump = Pump::start(dir.join("logs")).map_err(failed("start the log pump".to_owned()))?;
    let recorder = Recorder::open(&dir);
    let keeper = Keeper::start(dir.clone()).map_err(failed("start the state keeper".to_owned()))?;
    let link = crate::os::readiness::readable(link).map_err(failed("listen to the guardian".to_owned()))?;
    let plan = Arc::new(plan);
    let started = clock::now();
    let before = match &legacy {
        // What the engine before knew is newer.
        Some(_) => State::default(),
        None => State::read(&dir).map_err(|error| StartError::Refused(error.to_string()))?,
    };
    let found = Found::of(&before, &plan);
    let mut seeds = seeds(&before, &recorder, started.moment.0 ^ u64::from(std::process::id()));
    seeds.adopted = found.adopted(&plan, started);
    let mut core = Supervisor::new(plan.clone(), seeds, &start);
    let mut began = started.wall;
    if let Some(legacy) = &mut legacy {
        core = legacy.wake(core);
        began = legacy.began();
    }
    let mut publisher = Publisher::new(recorder, Arc::new(first_status(&plan, began)), Ledger::new(began));
    publisher.lost(&before, &found, started.wall);
    let (inbox, news) = mpsc::channel(INBOX);
    let (asking, requests) = mpsc::channel(REQUESTS);
    let (stopping, stop_seen) = watch::channel(false);
    let handle = Handle {
        snapshot: publisher.status.subscribe(),
        sampled: publisher.sampled.subscribe(),
        requests: asking,
        events: publisher.events.clone(),
        logs: crate::logs::read::Reader::new(dir.join("logs")),
        log_progress: pump.progress(),
        history: publisher.recorder.reader(),
        meter: publisher.meter.clone(),
        clock: clock::now,
    };
    let socket_path = plan.socket_path();
    // The control socket comes last: whoever finds it may rely on all the rest.
    let (mut servers, mut listening) = (vec![], vec![]);
    let mut warnings = vec![];
    let web = held(&mut legacy, SocketKey::WEB).map(TcpListener::from);
    match open_tcp(&plan, web, &handle, &stop_seen) {
        Ok(Some((server, socket))) => {
            servers.push(server);
            listening.push((SocketKey::WEB, socket));
        }
        Ok(None) => {}
        // What runs is not to end for a door that cannot be opened again.
        Err(error) if legacy.is_some() => {
            warnings.push(Warning { code: "no_web".to_owned(), message: error.to_string() });
        }
        Err(error) => return Err(error),
    }
    let control = held(&mut legacy, SocketKey::CONTROL).map(UnixListener::from);
    let (server, socket) = open_unix(&plan, &socket_path, control, &handle, &stop_seen)?;
    servers.push(server);
    listening.push((SocketKey::CONTROL, socket));
    let entry = registry::Entry {
        project: plan.project.clone(),
        config: plan.file.clone(),
        state_dir: dir.clone(),
        socket: socket_path.clone(),
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
    };
    warnings.extend(plan.web.token_file.as_deref().and_then(readable_token));
    let listed = registry::register(&entry)
        .map_err(|error| warnings.push(Warning { code: "not_listed".to_owned(), message: error.to_string() }))
        .ok();
    let terminal = match &mode {
        Mode::Run { terminal } | Mode::Dev { alone: true, terminal } => the_one(&plan, &start)
            .map(|service| Terminal::open(InstanceId { service, index: 1 }, *terminal))
            .transpose()
            .map_err(failed("take over the terminal".to_owned()))?,
        Mode::Up { .. } | Mode::Dev { alone: false, .. } => None,
    };
    let file = plan.file.as_deref().map(FileMark::of).unwrap_or_default();
    let mut engine = Engine {
        core,
        mode,
        surroundings,
        now: started,
        capabilities: None,
        guardian: None,
        own_identity: Identity::of(Pid(std::process::id().cast_signed())),
        processes: Processes::new(link),
        inherited: Rc::new(spawn::inherited()),
        listeners: Listeners::default(),
        faults: pump.faults(),
        pump,
        publisher,
        watching: Watching::default(),
        checks: std::collections::BTreeMap::new(),
        usages: Usages::new(&dir),
        accesses: Accesses::default(),
        oom: crate::os::oom::Watch::new(),
        notices: Notices::default(),
        notifying: Notifying::default(),
        announcer: Announcer::from_env(),
        terminal,
        keeper,
        state_dirty: None,
        published_at: crate::model::units::Moment::default(),
        publish_due: None,
        slim_at: None,
        slim_bytes: None,
        tasks: std::collections::BTreeMap::new(),
        replies: std::collections::HashMap::new(),
        waits: std::collections::BTreeMap::new(),
        undertakings: crate::daemon::upgrade::Undertakings::default(),
        upgrade: None,
        last_request: 0,
        inbox,
        news,
        requests,
        handle,
        doors: Doors { servers, socket: socket_path, listed, lock, listening },
        stopping,
        warnings,
        file,
        has_drifted: false,
        exit_code: None,
        stop_signals: 0,
        interrupted_at: None,
        log_troubles: std::collections::BTreeMap::new(),
        records_due: std::collections::BTreeSet::new(),
        failures: std::collections::BTreeMap::new(),
        blamed: std::collections::BTreeMap::new(),
        forgettable: std::collections::BTreeMap::new(),
        finishing: std::collections::BTreeMap::new(),
        legacy: None,
        adopted: std::collections::BTreeSet::new(),
        hang_up_due: None,
        hung_up_at: None,
        told_to_stop: None,
    };
    match legacy {
        Some(legacy) => engine.inherit(legacy),
        None => engine.adopt(found),
    }
    Ok(engine)
}

impl Engine {
    /// The guardian said what it can do here.
    pub(super) fn welcome(&mut self, capabilities: Capabilities) {
        self.warnings.retain(|warning| warning.code != "no_cgroup");
        if let Err(reason) = &capabilities.cgroup {
            self.warnings.push(Warning {
                code: "no_cgroup".to_owned(),
                message: format!("process trees are followed by descent, not by control groups: {reason}"),
            });
        }
        self.doors.lock.name(capabilities.guardian);
        self.guardian = Identity::of(capabilities.guardian);
        self.capabilities = Some(capabilities);
    }

    /// Lets people in again, through the sockets that were never closed.
    pub(super) fn open_doors(&mut self) -> Result<(), StartError> {
        let plan = self.core.plan().clone();
        let again = |key| {
            let socket = self.doors.listening.iter().find(|(known, _)| *known == key);
            socket.and_then(|(_, socket)| socket.try_clone().ok())
        };
        let (control, web) = (again(SocketKey::CONTROL).map(UnixListener::from), again(SocketKey::WEB));
        let stop_seen = self.stopping.subscribe();
        let path = self.doors.socket.clone();
        let (server, _) = open_unix(&plan, &path, control, &self.handle, &stop_seen)?;
        self.doors.servers.push(server);
        if let Some(web) = web.map(TcpListener::from)
            && let Some((server, _)) = open_tcp(&plan, Some(web), &self.handle, &stop_seen)?
        {
            self.doors.servers.push(server);
        }
        Ok(())
    }

    /// What must survive everup's own death.
    pub(super) fn state(&self, clean: bool) -> State {
        let mut state = State::new(self.guardian.clone());
        state.clean = clean;
        state.mark = self.capabilities.as_ref().map(|capabilities| capabilities.mark.clone());
        state.engine.clone_from(&self.own_identity);
        self.processes.identify();
        for (id, run) in self.core.runs() {
            state.instances.entry(id.to_string()).or_default().run = *run;
        }
        for (id, _, pid) in self.core.live() {
            state.instances.entry(id.to_string()).or_default().pid = Some(pid);
        }
        for (id, at) in self.core.begun() {
            state.instances.entry(id.to_string()).or_default().since = Some(at);
        }
        for (_, running) in self.processes.running() {
            let kept = state.instances.entry(running.instance.to_string()).or_default();
            (kept.identity, kept.cgroup, kept.pipes) = (running.identity, running.cgroup, running.pipes);
        }
        self.core.for_state(|id, restarts, down, plan| {
            let kept = state.instances.entry(id.to_string()).or_default();
            (kept.restarts, kept.down, kept.plan) = (restarts, down, Some(fingerprint::<ServicePlan>(plan)));
        });
        for (id, held) in self.core.holds(clean) {
            state.instances.entry(id.to_string()).or_default().held = Some(held);
        }
        state
    }
}

fn seeds(before: &State, recorder: &Recorder, dice: u64) -> Seeds {
    let mut runs = recorder.last_runs().clone();
    let mut held = std::collections::BTreeMap::new();
    for (id, kept) in before.by_instance() {
        let run = runs.entry(id.clone()).or_default();
        *run = (*run).max(kept.run);
        if let Some(hold) = &kept.held {
            held.insert(id, hold.clone());
        }
    }
    // As PID 1 everup is a container's init.
    let in_container = std::os::unix::process::parent_id() == 1;
    Seeds {
        runs,
        held,
        adopted: std::collections::BTreeMap::new(),
        dice,
        shutdown_budget: in_container.then_some(CONTAINER_BUDGET),
    }
}

fn first_status(plan: &Plan, started_at: Timestamp) -> Status {
    Status {
        v: 1,
        project: plan.project.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: Pid(0),
        engine_pid: Pid(i32::try_from(std::process::id()).unwrap_or(i32::MAX)),
        started_at,
        config: plan.file.as_ref().map(|path| path.display().to_string()),
        web: plan.web.listen.map(|address| address.to_string()),
        own: OwnUsage::default(),
        stopping: false,
        warnings: vec![],
        services: vec![],
    }
}

/// The service that has the terminal: the one that is named, else the first that starts by itself.
fn the_one(plan: &Plan, start: &[ServiceName]) -> Option<ServiceName> {
    let by_itself = || plan.services.iter().find(|service| service.enabled).map(|service| service.name.clone());
    start.first().cloned().or_else(by_itself)
}

fn open_unix(
    plan: &Plan,
    path: &Path,
    held: Option<UnixListener>,
    handle: &Handle,
    stop_seen: &watch::Receiver<bool>,
) -> Result<(JoinHandle<()>, OwnedFd), StartError> {
    let failed = |source| StartError::System { what: format!("open the control socket {}", path.display()), source };
    // One whose file was taken away meanwhile lets nobody in.
    let held = held.filter(|_| path.exists());
    let listener = held.map_or_else(|| socket::listen_unix(path, plan.control.mode), Ok).map_err(failed)?;
    let socket = listener.try_clone().map_err(failed)?.into();
    let (users, groups) = crate::os::users::numbers(&plan.control.users, &plan.control.groups)
        .map_err(|error| StartError::Refused(error.to_string()))?;
    let options = server::UnixOptions { users, groups };
    let serving = server::serve_unix(handle.clone(), listener, options, stop_seen.clone());
    let server = tokio::task::spawn_local(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the control socket is closed");
        }
    });
    Ok((server, socket))
}

fn open_tcp(
    plan: &Plan,
    held: Option<TcpListener>,
    handle: &Handle,
    stop_seen: &watch::Receiver<bool>,
) -> Result<Option<(JoinHandle<()>, OwnedFd)>, StartError> {
    let Some(address) = plan.web.listen else { return Ok(None) };
    let token = match &plan.web.token_file {
        Some(path) => Some(read_token(path)?),
        None => None,
    };
    let failed = |source| StartError::System { what: format!("listen on web.listen {address}"), source };
    let listener = held.map_or_else(|| TcpListener::bind(address), Ok).map_err(failed)?;
    let socket = listener.try_clone().map_err(failed)?.into();
    let options = server::TcpOptions { token };
    let serving = server::serve_tcp(handle.clone(), listener, options, stop_seen.clone());
    let server = tokio::task::spawn_local(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the TCP door is closed");
        }
    });
    Ok(Some((server, socket)))
}

/// Whoever can read the token can change every service.
fn readable_token(path: &Path) -> Option<Warning> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o044 != 0).then(|| Warning {
        code: "token_readable".to_owned(),
        message: format!(
            "web.token_file {} can be read by others (mode {mode:04o}): `chmod 600` keeps it to its owner",
            path.display()
        ),
    })
}

fn read_token(path: &Path) -> Result<String, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::System { what: format!("read web.token_file {}", path.display()), source })?;
    let token = text.trim().to_owned();
    if token.is_empty() {
        return Err(StartError::Refused(format!("cannot use web.token_file {}: it is empty", path.display())));
    }
    Ok(token)
}
