//! Every key of the file with its shape, default and meaning: the one table behind decoder, messages and schema.

use std::time::Duration;

use crate::config::shape::{LEAST_SPAN, Shape};
use crate::config::words::words_of;
use crate::model::plan::{AccessFormat, Kind, LimitThen, NotifyOn, OnSupervisorDeath, Policy, RuleThen, Until};
use crate::model::service::Cause;
use crate::model::watch::WatchWhen;

/// A map with fixed keys.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name in the schema.
    pub(super) name: &'static str,
    /// Where its keys stand, for "belongs …".
    pub(super) title: &'static str,
    /// What it is for.
    pub(super) doc: &'static str,
    /// Its keys, in the order people read them.
    pub(super) keys: &'static [Key],
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What its value may look like.
    pub(super) shape: Shape,
    /// Its default as YAML; empty: none.
    pub(super) default: &'static str,
    /// What it means.
    pub(super) doc: &'static str,
}

const fn key(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key { name, shape, default, doc }
}

/// A key that is refused by name, so that nobody believes it acts.
const fn later(name: &'static str) -> Key {
    Key { name, shape: Shape::Later, default: "", doc: "" }
}

/// Every section, the outermost first.
pub(super) fn sections() -> [&'static Section; 22] {
    [
        &ROOT,
        &SERVICE,
        &NOTIFY,
        &CONTROL,
        &WEB,
        &NEED,
        &LIMITS,
        &RESTART,
        &LIMIT,
        &RULE,
        &PROBE,
        &KINDS,
        &HTTP,
        &STOP,
        &HOOKS,
        &WATCH,
        &RELOAD,
        &LOGS,
        &MEMORY_RESTART,
        &METRICS,
        &ACCESS,
        &HISTORY,
    ]
}

const DURATION: Shape = Shape::Duration { least: Duration::ZERO };
const SPAN: Shape = Shape::Duration { least: LEAST_SPAN };
const SIZE: Shape = Shape::Size { least: 1 };
const TEXTS: Shape = Shape::List(&Shape::Text);
const CODE: Shape = Shape::Range { min: 0, max: 255 };
const GLOBS: Shape = Shape::Any(&[Shape::Glob, Shape::List(&Shape::Glob)]);
const PATHS: Shape = Shape::Any(&[Shape::Path, Shape::List(&Shape::Path)]);
const STATUS: Shape = Shape::Range { min: 100, max: 999 };
const ON: Shape = Shape::Words(words_of::<NotifyOn>);
const ACCESS_LINES: Shape = Shape::Any(&[Shape::Words(words_of::<AccessFormat>), Shape::Section(&ACCESS)]);

/// The file.
pub(super) static ROOT: Section = Section {
    name: "file",
    title: "at the top of the file",
    doc: "A project: its services and what surrounds them.",
    keys: &[
        key("name", Shape::Name, "", "The project's name; by default the folder's."),
        key(
            "state_dir",
            Shape::Path,
            "",
            "Where logs, history and socket are kept; by default .everup beside the file, or, where that cannot be written, /var/lib/everup/NAME for root and $XDG_STATE_HOME/everup/NAME for others.",
        ),
        key("exit_with", Shape::Name, "", "The service whose end ends everup, with its exit code."),
        key(
            "on_supervisor_death",
            Shape::Words(words_of::<OnSupervisorDeath>),
            "keep",
            "What becomes of the services when everup itself is killed: they go on and everup comes back to them, or everything ends. `run` and `dev` always end everything.",
        ),
        key(
            "watch",
            Shape::Words(words_of::<WatchWhen>),
            "dev",
            "Whether `watch` of services acts under `up` too, there with a quiet window of at least 2s, or only in `dev`.",
        ),
        key(
            "notify",
            Shape::List(&Shape::Section(&NOTIFY)),
            "[]",
            "Whom to tell when a service fails, crash-loops, recovers or runs out of memory.",
        ),
        key(
            "defaults",
            Shape::Section(&SERVICE),
            "",
            "Keys of a service, merged under each of them: maps key by key, everything else is replaced.",
        ),
        key("control", Shape::Section(&CONTROL), "", "Who else may talk to the control socket."),
        key(
            "web",
            Shape::Section(&WEB),
            "",
            "Status page, JSON API and /metrics over TCP; off unless `listen` is set.",
        ),
        key("history", Shape::Section(&HISTORY), "", "How often usage is read, and how much of it is kept."),
        key("services", Shape::Map(&Shape::Section(&SERVICE)), "", "What to keep up, by name."),
    ],
};

/// One entry of `notify:`.
pub(super) static NOTIFY: Section = Section {
    name: "notify",
    title: "under an entry of `notify`",
    doc: "Whom to tell of what: exactly one of exec and webhook.",
    keys: &[
        key("on", Shape::Any(&[ON, Shape::List(&ON)]), "[failed, crash_looping, recovered, oom]", "Of what."),
        key(
            "exec",
            Shape::Command,
            "",
            "A command, run beside the file; what `why --json` says comes on its stdin, EVERUP_EVENT, EVERUP_SERVICE and EVERUP_MESSAGE are set.",
        ),
        key(
            "webhook",
            Shape::Url,
            "",
            "An http:// or https:// URL to which the same is POSTed. Only its host is ever shown.",
        ),
    ],
};

/// `control:`.
pub(super) static CONTROL: Section = Section {
    name: "control",
    title: "under `control`",
    doc: "Who may talk to the control socket.",
    keys: &[
        key(
            "socket",
            Shape::Path,
            "",
            "The socket's path, relative to the file; by default everup.sock in the state folder.",
        ),
        key("mode", Shape::Mode, "\"0600\"", "Permission bits of the socket, in octal."),
        key("users", TEXTS, "[]", "Further users who may talk to it, by name or number."),
        key("groups", TEXTS, "[]", "Further groups, by name or number."),
    ],
};

/// `web:`.
pub(super) static WEB: Section = Section {
    name: "web",
    title: "under `web`",
    doc: "The door over TCP.",
    keys: &[
        key("listen", Shape::Address, "", "Where to listen, such as 127.0.0.1:9876."),
        key(
            "token_file",
            Shape::Path,
            "",
            "The file with the bearer token that changes need; required beyond loopback.",
        ),
    ],
};

/// `history:`.
pub(super) static HISTORY: Section = Section {
    name: "history",
    title: "under `history`",
    doc: "How often usage is read, and how much of it is kept.",
    keys: &[
        key(
            "interval",
            Shape::Duration { least: Duration::from_secs(1) },
            "5s",
            "How often usage is read; every second while somebody looks.",
        ),
        key(
            "keep",
            Shape::Duration { least: Duration::from_hours(1) },
            "400d",
            "How long usage is kept: rows of 10s at most 48h, of 1m at most 30d, of 1h all the time.",
        ),
        key(
            "max_size",
            Shape::Size { least: 1 << 20 },
            "400MiB",
            "The size of history.db above which the oldest usage is forgotten.",
        ),
    ],
};

/// One service.
pub(super) static SERVICE: Section = Section {
    name: "service",
    title: "under a service",
    doc: "One service and how it is kept up.",
    keys: &[
        key(
            "command",
            Shape::Command,
            "",
            "The program and its arguments. A text is split into words as a shell would, but run without one; a list is taken as it is.",
        ),
        key("shell", Shape::Flag, "false", "Whether the command is run by `sh -c`."),
        key("cwd", Shape::Path, ".", "The folder it runs in, relative to the file."),
        key("env", Shape::Map(&Shape::Text), "{}", "Its environment, on top of everup's own and `env_file`."),
        key(
            "env_file",
            Shape::Path,
            "",
            "A dotenv file, relative to the file; its values are not expanded and never shown.",
        ),
        key("instances", Shape::Whole { min: 0, max: 1000 }, "1", "How many copies run."),
        key(
            "port",
            Shape::Whole { min: 1, max: 65535 },
            "",
            "Instance 1 gets it as PORT, instance 2 the next one, and so on.",
        ),
        key("enabled", Shape::Flag, "true", "Whether `up` starts it."),
        key(
            "needs",
            Shape::Any(&[
                Shape::List(&Shape::Name),
                Shape::Map(&Shape::Any(&[Shape::Words(words_of::<Until>), Shape::Section(&NEED)])),
            ]),
            "{}",
            "Other services it waits for; a list means ready.",
        ),
        key("type", Shape::Words(words_of::<Kind>), "service", "A service keeps running, a task runs once."),
        key("user", Shape::Text, "", "Who it runs as, by name or number; HOME, USER and LOGNAME are that user's."),
        key("group", Shape::Text, "", "Its group, by name or number; by default the user's."),
        key("umask", Shape::Mode, "", "Its umask in octal; by default everup's."),
        key("nice", Shape::Whole { min: -20, max: 19 }, "", "Its nice value; by default everup's."),
        key("limits", Shape::Section(&LIMITS), "", "Resource limits."),
        key(
            "restart",
            Shape::Any(&[Shape::Words(words_of::<Policy>), Shape::Section(&RESTART)]),
            "",
            "When and how it is restarted; a task by default never.",
        ),
        key(
            "health",
            Shape::Any(&[Shape::Url, Shape::Section(&PROBE), Shape::Section(&KINDS)]),
            "",
            "How it is asked whether it is well: a URL, one probe, or probes by kind.",
        ),
        key("stop", Shape::Any(&[Shape::Signal, Shape::Section(&STOP)]), "", "How it is ended."),
        key(
            "hooks",
            Shape::Section(&HOOKS),
            "",
            "Commands around its life; the cause is in EVERUP_CAUSE, after an end also EVERUP_EXIT_CODE or EVERUP_SIGNAL.",
        ),
        key("watchdog", SPAN, "", "WATCHDOG=1 must come on NOTIFY_SOCKET at least this often, or it is restarted."),
        key(
            "watch",
            Shape::Any(&[Shape::Only(false), Shape::Path, Shape::List(&Shape::Path), Shape::Section(&WATCH)]),
            "",
            "The files it is made of: a change of their content swaps it for the new code. Without it `dev` watches by the language it finds; `false` or `none`: nothing.",
        ),
        key(
            "reload",
            Shape::Any(&[Shape::Reload, Shape::Section(&RELOAD)]),
            "restart",
            "How it is swapped for new code: restarted, or told by a signal such as `signal HUP` to read it anew.",
        ),
        key(
            "listen",
            Shape::Map(&Shape::Listen),
            "{}",
            "Sockets that everup opens, holds across restarts and passes on as descriptors 3, 4, …, by name: HOST:PORT, [v6]:PORT or unix:PATH. ${FD_name} is the descriptor; LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES tell of them where no ${FD_name} is used. Every interface is 0.0.0.0:PORT or [::]:PORT.",
        ),
        key(
            "logs",
            Shape::Any(&[Shape::Text, Shape::Section(&LOGS)]),
            "",
            "Where its output goes: none, inherit, a path for both streams, or in full.",
        ),
        key(
            "memory_restart",
            Shape::Any(&[SIZE, Shape::Section(&MEMORY_RESTART)]),
            "",
            "Above which resident memory of its processes together it is restarted gracefully: a size, or in full.",
        ),
        key(
            "metrics",
            Shape::Section(&METRICS),
            "",
            "Where it serves Prometheus metrics itself, to be listed under /sd.",
        ),
        key(
            "log_metrics",
            Shape::Any(&[ACCESS_LINES, Shape::List(&ACCESS_LINES)]),
            "[]",
            "What its access lines look like, so that its requests are counted: tornado, uvicorn, gunicorn, nginx, or a pattern.",
        ),
    ],
};

/// The long form of one entry of `needs`.
pub(super) static NEED: Section = Section {
    name: "need",
    title: "under an entry of `needs`",
    doc: "How far a needed service must be.",
    keys: &[
        key("until", Shape::Words(words_of::<Until>), "ready", "How far it must be."),
        key("required", Shape::Flag, "true", "Whether its failure is ours; if not, it is waited for but may fail."),
    ],
};

/// `limits:`.
pub(super) static LIMITS: Section = Section {
    name: "limits",
    title: "under `limits`",
    doc: "Resource limits: of each process as setrlimit(2) takes them, of all together by their control group. What is not given is inherited.",
    keys: &[
        key("open_files", Shape::Limit, "", "Open files."),
        key("core", Shape::Limit, "", "The size of a core file."),
        key("processes", Shape::Limit, "", "Processes of its user."),
        key(
            "memory",
            SIZE,
            "",
            "Memory of all its processes together; beyond it the kernel kills. `everup doctor` says whether this machine can.",
        ),
        key(
            "cpu",
            Shape::Decimal { min: 0.01, max: 10_000.0 },
            "",
            "CPU of all its processes together, in cores: 0.5 is half of one.",
        ),
    ],
};

/// The long form of `restart`.
pub(super) static RESTART: Section = Section {
    name: "restart",
    title: "under `restart`",
    doc: "When and how it is restarted.",
    keys: &[
        key("policy", Shape::Words(words_of::<Policy>), "always", "When at all; a task by default never."),
        key("delay", DURATION, "250ms", "The first delay."),
        key("factor", Shape::Decimal { min: 1.0, max: 100.0 }, "2", "By what the delay grows."),
        key("max_delay", DURATION, "30s", "Where it ends growing."),
        key(
            "jitter",
            Shape::Decimal { min: 0.0, max: 1.0 },
            "0.2",
            "The share of the delay by which it varies up and down.",
        ),
        key("reset_after", DURATION, "10s", "Time ready and healthy after which earlier attempts are forgiven."),
        key("limit", Shape::Section(&LIMIT), "", "How many restarts are too many, and what then."),
        key("slow_delay", SPAN, "60s", "The delay of a crash-looping service."),
        key("success_codes", Shape::List(&CODE), "[0]", "Exit codes that are a success."),
        key("rules", Shape::List(&Shape::Section(&RULE)), "[]", "Exceptions; the first that matches wins."),
    ],
};

/// `restart.limit`.
pub(super) static LIMIT: Section = Section {
    name: "restart_limit",
    title: "under `restart.limit`",
    doc: "How many automatic restarts are too many.",
    keys: &[
        key("count", Shape::Whole { min: 1, max: 1_000_000 }, "10", "Restarts allowed …"),
        key("within", SPAN, "5m", "… within this window."),
        key(
            "then",
            Shape::Words(words_of::<LimitThen>),
            "slow",
            "Then it is tried every `slow_delay`, given up, or everup ends with its code.",
        ),
    ],
};

/// One entry of `restart.rules`.
pub(super) static RULE: Section = Section {
    name: "restart_rule",
    title: "under an entry of `restart.rules`",
    doc: "An exception to the policy: it matches when any of its lists does.",
    keys: &[
        key("codes", Shape::List(&CODE), "[]", "Exit codes or ranges of them."),
        key("signals", Shape::List(&Shape::Signal), "[]", "Signals that ended it."),
        key("causes", Shape::List(&Shape::Words(words_of::<Cause>)), "[]", "Causes of its end."),
        key("then", Shape::Words(words_of::<RuleThen>), "", "What is done about it."),
    ],
};

/// One probe.
pub(super) static PROBE: Section = Section {
    name: "probe",
    title: "under `health`",
    doc: "One probe: exactly one of http, tcp, exec, notify, log, and how often it is asked.",
    keys: &[
        key(
            "http",
            Shape::Any(&[Shape::Url, Shape::Section(&HTTP)]),
            "",
            "An HTTP request that must be answered well.",
        ),
        key("tcp", Shape::Text, "", "A connection to host:port or unix:PATH that must succeed."),
        key("exec", Shape::Command, "", "A command that must exit with 0."),
        key("notify", Shape::Only(true), "", "READY=1 must come on NOTIFY_SOCKET."),
        key("log", Shape::Regex, "", "A line of its output must match this."),
        key("interval", SPAN, "10s", "From the start of one question to the start of the next."),
        key("timeout", SPAN, "5s", "The whole of one question."),
        key("failures", Shape::Whole { min: 1, max: 1_000_000 }, "3", "Failures in a row that count."),
        key("successes", Shape::Whole { min: 1, max: 1_000_000 }, "1", "Passes in a row that count."),
        key("start_timeout", SPAN, "60s", "How long a start may take until the probe has passed."),
    ],
};

/// Probes by kind.
pub(super) static KINDS: Section = Section {
    name: "probes",
    title: "under `health`",
    doc: "Probes by kind.",
    keys: &[
        key(
            "startup",
            Shape::Any(&[Shape::Url, Shape::Section(&PROBE)]),
            "",
            "Gates the start: until it passes the others are not asked.",
        ),
        key("readiness", Shape::Any(&[Shape::Url, Shape::Section(&PROBE)]), "", "Sets ready; never restarts anything."),
        key("liveness", Shape::Any(&[Shape::Url, Shape::Section(&PROBE)]), "", "Restarts after `failures` in a row."),
    ],
};

/// The long form of `http`.
pub(super) static HTTP: Section = Section {
    name: "http",
    title: "under `http`",
    doc: "An HTTP question.",
    keys: &[
        key("url", Shape::Url, "", "http://, https:// or http://unix:/path.sock:/health."),
        key("socket", Shape::Path, "", "A unix socket to connect to instead of the URL's host."),
        key("method", Shape::Text, "GET", "The method."),
        key("headers", Shape::Map(&Shape::Text), "{}", "Headers added to the request."),
        key("status", Shape::Any(&[STATUS, Shape::List(&STATUS)]), "200-399", "Statuses that pass."),
        key("body", Shape::Regex, "", "A regular expression the body's first 64 KiB must match."),
        key("insecure", Shape::Flag, "false", "Whether the server's certificate is taken as it is."),
    ],
};

/// The long form of `stop`.
pub(super) static STOP: Section = Section {
    name: "stop",
    title: "under `stop`",
    doc: "How it is ended.",
    keys: &[
        key("signal", Shape::Signal, "TERM", "The first request."),
        key("timeout", DURATION, "10s", "How long it may take until KILL."),
        key("command", Shape::Command, "", "A command instead of the signal."),
    ],
};

/// `hooks:`.
pub(super) static HOOKS: Section = Section {
    name: "hooks",
    title: "under `hooks`",
    doc: "Commands around a service's life.",
    keys: &[
        key("before_start", Shape::Command, "", "Before each start; its failure fails the start."),
        key("after_ready", Shape::Command, "", "Once it is ready."),
        key("after_end", Shape::Command, "", "Once its processes are gone; the next start waits for it."),
    ],
};

/// The long form of `watch`.
pub(super) static WATCH: Section = Section {
    name: "watch",
    title: "under `watch`",
    doc: "Which files a service is made of, and what its new code must pass.",
    keys: &[
        key("paths", PATHS, ".", "Folders and files, relative to `cwd`."),
        key(
            "include",
            GLOBS,
            "[]",
            "gitignore-style globs: without a slash at any depth, with one from the watched path. Where there are any only what matches one counts, also when it is ignored otherwise.",
        ),
        key(
            "ignore",
            GLOBS,
            "[]",
            "gitignore-style globs of what does not count, beside .git, node_modules and the like.",
        ),
        key("gitignore", Shape::Flag, "true", "Whether what .gitignore and .ignore name does not count."),
        key(
            "debounce",
            DURATION,
            "20ms",
            "How long nothing must change until a change counts; under `up` at least 2s.",
        ),
        key(
            "check",
            Shape::Any(&[Shape::Only(false), Shape::Command]),
            "",
            "A command that the new code must pass while the old one serves. {changed} stands for the changed files, {changed:*.py,*.pyi} for those that match; with {file} or {file:*.js} it runs once for each. Without it `dev` takes that of the language; `false` or `none`: no check.",
        ),
        key(
            "poll",
            Shape::Flag,
            "false",
            "Whether files are looked at every second instead of being told by the kernel.",
        ),
    ],
};

/// The long form of `reload`.
pub(super) static RELOAD: Section = Section {
    name: "reload",
    title: "under `reload`",
    doc: "How running code is swapped for new code.",
    keys: &[
        key("how", Shape::Reload, "restart", "By a restart, or by a signal such as `signal HUP`."),
        later("drain"),
        later("soak"),
    ],
};

/// The long form of `logs`.
pub(super) static LOGS: Section = Section {
    name: "logs",
    title: "under `logs`",
    doc: "Where its output goes.",
    keys: &[
        key("max_size", SIZE, "10MiB", "A file's size at which it is rotated."),
        key("keep", Shape::Whole { min: 0, max: 10_000 }, "5", "Older files kept beside the current one."),
        key("file", Shape::Path, "", "One file for both streams, in exact order."),
        key("terminal", Shape::Flag, "true", "Whether `up` in the foreground shows its lines."),
        key("merge", Shape::Flag, "false", "One file for both streams, in exact order, in the state folder."),
    ],
};

/// The long form of `memory_restart`.
pub(super) static MEMORY_RESTART: Section = Section {
    name: "memory_restart",
    title: "under `memory_restart`",
    doc: "Above which memory it is restarted.",
    keys: &[
        key("above", SIZE, "", "Resident memory of all its processes together."),
        key("for", DURATION, "30s", "How long it must stay above."),
    ],
};

/// `metrics:`.
pub(super) static METRICS: Section = Section {
    name: "metrics",
    title: "under `metrics`",
    doc: "Where it serves metrics itself, for Prometheus.",
    keys: &[
        key(
            "port",
            Shape::Whole { min: 1, max: 65535 },
            "",
            "The port of instance 1, the next one of instance 2, and so on; by default the service's `port`.",
        ),
        key("path", Shape::Text, "/metrics", "The path."),
    ],
};

/// The long form of one entry of `log_metrics`.
pub(super) static ACCESS: Section = Section {
    name: "access_lines",
    title: "under an entry of `log_metrics`",
    doc: "What an access line looks like.",
    keys: &[key(
        "pattern",
        Shape::Regex,
        "",
        "A regular expression with the groups `method` and `code` and, where the line tells the time taken, `ms` or `s`, such as (?<method>[A-Z]+) \\S+ (?<code>\\d{3}) (?<ms>[\\d.]+)ms.",
    )],
};
