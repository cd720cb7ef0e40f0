//! What should be: the file after reading, with every default filled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::ServiceName;
use crate::model::probe::{ProbePlan, ProbeRole};
use crate::model::service::Cause;
use crate::model::signal::Signal;
use crate::model::template::{Slots, Template};
use crate::model::watch::{DevDefaults, WatchPlan, WatchWhen};

/// A whole project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The project's name.
    pub project: String,
    /// The file it was read from; none for `run`.
    pub file: Option<PathBuf>,
    /// The files it was read from: that one, and every `env_file`; absolute.
    pub read_from: Vec<PathBuf>,
    /// The folder relative paths are taken from.
    pub root: PathBuf,
    /// Where logs, history and socket are kept; absolute.
    pub state_dir: PathBuf,
    /// The service whose end ends everup.
    pub exit_with: Option<ServiceName>,
    /// Who may talk to the control socket.
    pub control: ControlPlan,
    /// The door over TCP.
    pub web: WebPlan,
    /// How often usage is read, and what of it is kept for how long.
    pub history: HistoryPlan,
    /// Whom to tell of trouble.
    pub notify: Vec<NotifyPlan>,
    /// Whether `watch:` of services acts under `up`, too.
    pub watch: WatchWhen,
    /// What becomes of everything should everup itself be killed.
    pub on_supervisor_death: OnSupervisorDeath,
    /// The services, in the file's order.
    pub services: Vec<Arc<ServicePlan>>,
}

impl Plan {
    /// Where the control socket is.
    pub fn socket_path(&self) -> PathBuf {
        self.control.socket.clone().unwrap_or_else(|| self.state_dir.join("everup.sock"))
    }

    /// The service of that name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<ServicePlan>> {
        self.services.iter().find(|service| &service.name == name)
    }
}

/// What becomes of the services when everup itself is killed. `run` and `dev` always end everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSupervisorDeath {
    /// They go on, and everup comes back to them.
    #[default]
    Keep,
    /// Everything ends.
    Kill,
}

/// `control:` of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlan {
    /// The socket's path; none: `everup.sock` in the state folder.
    pub socket: Option<PathBuf>,
    /// Permission bits of the socket.
    pub mode: u32,
    /// Further users who may talk to it, by name or number.
    pub users: Vec<String>,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
}

/// `web:` of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebPlan {
    /// Where to listen; none: off.
    pub listen: Option<SocketAddr>,
    /// The file holding the bearer token that changes need.
    pub token_file: Option<PathBuf>,
}

/// `history:` of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPlan {
    /// How often usage is read while nobody looks.
    pub interval: Duration,
    /// How long the coarsest rows (an hour each) are kept; finer ones no longer than 48 h and 30 d.
    pub keep: Duration,
    /// The size of `history.db`, in bytes, above which the oldest usage is forgotten.
    pub max_size: u64,
}

impl Default for HistoryPlan {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), keep: Duration::from_hours(400 * 24), max_size: 400 << 20 }
    }
}

/// One entry of `notify:`: whom to tell of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifyPlan {
    /// Of what.
    pub on: Vec<NotifyOn>,
    /// How.
    pub to: NotifyTo,
}

/// What somebody may want to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyOn {
    /// A service was given up.
    Failed,
    /// It reached its restart limit and is tried slowly.
    CrashLooping,
    /// It is ready and healthy again after one of the others.
    Recovered,
    /// The kernel killed it for memory, or probably did.
    Oom,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NotifyTo {
    /// By a command, which reads `why --json` on its stdin.
    Exec(Vec<Template>),
    /// By POSTing `why --json` to a URL.
    Webhook(Template),
}

/// A service or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Meant to keep running.
    Service,
    /// Runs once; success means completed.
    Task,
}

/// One service with everything decided but what differs between its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: ServiceName,
    /// Service or task.
    pub kind: Kind,
    /// Program and arguments; never empty. `shell: true` has become `sh -c "exec …"` already.
    pub command: Vec<Template>,
    /// Where it runs; absolute.
    pub cwd: PathBuf,
    /// `env_file` and `env` merged; what it inherits comes beneath.
    pub env: BTreeMap<String, Template>,
    /// How many copies.
    pub instances: u32,
    /// The port of instance 1.
    pub port: Option<u16>,
    /// Whether `up` starts it.
    pub enabled: bool,
    /// What it needs, by name.
    pub needs: BTreeMap<ServiceName, Need>,
    /// Who it runs as, by name or number.
    pub user: Option<String>,
    /// Its group, by name or number; none: the user's.
    pub group: Option<String>,
    /// Its umask; none: everup's.
    pub umask: Option<u32>,
    /// Its nice value, -20 to 19; none: everup's.
    pub nice: Option<i32>,
    /// Resource limits.
    pub limits: LimitsPlan,
    /// When and how it is restarted.
    pub restart: RestartPlan,
    /// How it is asked.
    pub health: HealthPlan,
    /// How it is ended.
    pub stop: StopPlan,
    /// Commands around its life.
    pub hooks: HooksPlan,
    /// WATCHDOG=1 must come at least this often.
    pub watchdog: Option<Duration>,
    /// Where its output goes.
    pub logs: LogsPlan,
    /// Which files it is made of; none: it is not watched.
    pub watch: Option<WatchPlan>,
    /// What `dev` adds to `watch`.
    pub dev_defaults: DevDefaults,
    /// How it is swapped for new code.
    pub reload: ReloadPlan,
    /// The sockets everup holds for it, in the file's order: descriptors 3, 4, … of every run.
    pub listen: Vec<ListenPlan>,
    /// Whether its command or environment names one of them by `${FD_name}`. Then LISTEN_FDS is not set: a server told
    /// both ways (gunicorn) takes the descriptor twice and fails.
    pub names_fds: bool,
    /// A run that fails before its files have proven good waits for their next change instead of being tried again
    /// (`dev`).
    pub waits_for_change: bool,
    /// Above which memory it is restarted.
    pub memory_restart: Option<MemoryRestart>,
    /// Where the child serves Prometheus metrics itself.
    pub metrics: Option<MetricsPlan>,
    /// What its access lines look like.
    pub log_metrics: Vec<AccessFormat>,
}

/// `memory_restart:` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRestart {
    /// Resident memory of the whole tree, in bytes.
    pub above: u64,
    /// How long it must stay above.
    pub hold: Duration,
}

/// `metrics:` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsPlan {
    /// The port of instance 1; each further one's is one higher.
    pub port: u16,
    /// The path, `/metrics` unless given.
    pub path: String,
}

/// One entry of `log_metrics:`: what an access line looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessFormat {
    /// tornado.log: `200 GET /health (127.0.0.1) 0.81ms`.
    Tornado,
    /// uvicorn.access: `127.0.0.1:52800 - "GET /health HTTP/1.1" 200 OK`.
    Uvicorn,
    /// gunicorn's default access log.
    Gunicorn,
    /// nginx's combined format.
    Nginx,
    /// A regular expression with the groups `method`, `code` and, where there is one, `ms` or `s`.
    Pattern(String),
}

impl ServicePlan {
    /// What is filled into the texts of instance `index`: its port is `port + index - 1`.
    pub fn slots(&self, index: u32) -> Slots {
        let port = self.port.and_then(|first| u16::try_from(u32::from(first) + index.saturating_sub(1)).ok());
        Slots { index, port }
    }

    /// Whether anything must come over NOTIFY_SOCKET.
    pub fn wants_notify(&self) -> bool {
        self.watchdog.is_some() || self.health.uses_notify()
    }
}

/// How far a needed service must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// Its process runs.
    Started,
    /// It is ready.
    Ready,
    /// It ended with success.
    Completed,
}

/// One dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// How far it must be.
    pub until: Until,
    /// Whether its failure is ours; if not, it is waited for but may fail.
    pub required: bool,
}

/// Resource limits, as setrlimit(2) takes them; none: inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsPlan {
    /// RLIMIT_NOFILE.
    pub open_files: Option<u64>,
    /// RLIMIT_CORE, in bytes.
    pub core: Option<u64>,
    /// RLIMIT_NPROC.
    pub processes: Option<u64>,
    /// Memory of the whole tree, in bytes, by its control group.
    pub memory: Option<u64>,
    /// CPU of the whole tree, in thousandths of a core, by its control group.
    pub cpu_millis: Option<u64>,
}

/// When a service is restarted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Whatever its end.
    Always,
    /// Unless it ended with success.
    OnFailure,
    /// Never.
    Never,
    /// Always, but a person's stop holds also after `down` and `up`.
    UnlessStopped,
}

/// `restart:` of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartPlan {
    /// When at all.
    pub policy: Policy,
    /// The first delay.
    pub delay: Duration,
    /// By what it grows.
    pub factor: f64,
    /// Where it ends growing.
    pub max_delay: Duration,
    /// Share of the delay, 0 to 1, by which it is varied up and down.
    pub jitter: f64,
    /// Time ready and healthy after which earlier attempts are forgiven.
    pub reset_after: Duration,
    /// How many automatic restarts are too many.
    pub limit: LimitPlan,
    /// The delay of a crash-looping service.
    pub slow_delay: Duration,
    /// Exit codes that are a success.
    pub success_codes: Vec<CodeRange>,
    /// Exceptions; the first that matches wins.
    pub rules: Vec<Rule>,
}

/// The crash-loop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitPlan {
    /// Automatic restarts allowed …
    pub count: u32,
    /// … within this window.
    pub within: Duration,
    /// What then.
    pub then: LimitThen,
}

/// What becomes of a service that reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitThen {
    /// Tried on, every `slow_delay`.
    Slow,
    /// Given up.
    Stop,
    /// everup ends with the program's code.
    Exit,
}

/// An inclusive range of exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRange(pub i32, pub i32);

impl CodeRange {
    /// Whether `code` lies in it.
    pub fn holds(self, code: i32) -> bool {
        (self.0..=self.1).contains(&code)
    }
}

/// One exception to the policy: matches when any of its lists does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Exit codes.
    pub codes: Vec<CodeRange>,
    /// Signals that ended the run.
    pub signals: Vec<Signal>,
    /// Causes.
    pub causes: Vec<Cause>,
    /// What then.
    pub then: RuleThen,
}

/// What a [`Rule`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleThen {
    /// Restart after the backoff.
    Restart,
    /// Restart at once.
    RestartNow,
    /// Restart after `slow_delay`.
    Slow,
    /// Give up.
    Stop,
    /// End everup with the program's code.
    Exit,
}

/// The probes of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one a service, behind an Arc")]
pub enum HealthPlan {
    /// None: ready when it runs.
    #[default]
    None,
    /// One, which gates the start and then is both readiness and liveness.
    One(ProbePlan),
    /// By kind.
    Kinds {
        /// Gates the start.
        startup: Option<ProbePlan>,
        /// Sets ready.
        readiness: Option<ProbePlan>,
        /// Restarts.
        liveness: Option<ProbePlan>,
    },
}

impl HealthPlan {
    /// The configured probes with their roles; a single probe is named by the liveness role.
    pub fn probes(&self) -> Vec<(ProbeRole, &ProbePlan)> {
        match self {
            Self::None => vec![],
            Self::One(probe) => vec![(ProbeRole::Liveness, probe)],
            Self::Kinds { startup, readiness, liveness } => {
                [(ProbeRole::Startup, startup), (ProbeRole::Readiness, readiness), (ProbeRole::Liveness, liveness)]
                    .into_iter()
                    .filter_map(|(role, probe)| probe.as_ref().map(|probe| (role, probe)))
                    .collect()
            }
        }
    }

    /// Whether one of them waits for READY=1.
    pub fn uses_notify(&self) -> bool {
        self.probes().iter().any(|(_, probe)| matches!(probe.how, crate::model::probe::ProbeKind::Notify))
    }
}

/// `stop:` of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopPlan {
    /// The first request.
    pub signal: Signal,
    /// How long it may take before KILL.
    pub timeout: Duration,
    /// A command instead of the signal.
    pub command: Option<Vec<Template>>,
}

/// `hooks:` of a service; each a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HooksPlan {
    /// Before each start; its failure fails the start.
    pub before_start: Option<Vec<Template>>,
    /// After it has become ready.
    pub after_ready: Option<Vec<Template>>,
    /// After its tree is gone; the next start waits for it.
    pub after_end: Option<Vec<Template>>,
}

/// `reload:` of a service: how running code is replaced by new code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadPlan {
    /// By a new process after the old one; one instance at a time, each once the one before is ready.
    #[default]
    Restart,
    /// By this signal to the main process, which reads its code anew itself.
    Signal(Signal),
}

/// One entry of `listen:`: a socket that everup opens and every run inherits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenPlan {
    /// Its name, in LISTEN_FDNAMES and `${FD_name}`.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenAddress {
    /// TCP; a host name has been looked up already.
    Tcp(SocketAddr),
    /// A unix socket at this path; absolute.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `logs:` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsPlan {
    /// Where it goes.
    pub to: LogsTo,
    /// A file's size at which it is rotated, in bytes.
    pub max_size: u64,
    /// Older files kept beside the current one.
    pub keep: u32,
    /// Whether `up` in the foreground shows its lines.
    pub terminal: bool,
}

/// Where a service's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogsTo {
    /// One file a stream in the state folder.
    Streams,
    /// One file for both, in exact order; in the state folder unless a path is given (absolute).
    Merged(Option<PathBuf>),
    /// To everup's own stdout and stderr, unrecorded.
    Inherit,
    /// Nowhere.
    None,
}
