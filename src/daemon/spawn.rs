//! From a service's plan to what the guardian executes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::core::action::Ending;
use crate::core::event::Hook;
use crate::model::names::{InstanceId, Run};
use crate::model::plan::ServicePlan;
use crate::model::service::{Cause, SpawnStage};
use crate::model::units::millis;
use crate::os::cgroup::bounds::Most;
use crate::os::spawn::{Limits, Session, SpawnFailure, SpawnSpec};

/// Variables of everup's own that would mislead a child.
const OWN: [&str; 7] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID"];

/// Variables that belong to a person: a service with `user` gets that user's.
const PERSONAL: [&str; 3] = ["HOME", "USER", "LOGNAME"];

/// everup's environment as children inherit it.
pub(super) type Inherited = BTreeMap<OsString, OsString>;

/// Takes everup's environment, without what is about everup itself.
pub(super) fn inherited() -> Inherited {
    std::env::vars_os().filter(|(name, _)| !OWN.iter().any(|own| name == own)).collect()
}

/// What a child is told beside its service's own environment.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) instance: InstanceId,
    pub(super) label: String,
    pub(super) run: Run,
    pub(super) notify: Option<String>,
    /// `run` without a terminal: Python is to write its lines as they come.
    pub(super) unbuffered: bool,
    pub(super) hook: Option<Occasion>,
}

/// What a hook is told of why it runs.
#[derive(Clone, Debug)]
pub(super) struct Occasion {
    pub(super) hook: Hook,
    pub(super) cause: Option<Cause>,
    /// After the end of a run: how it ended.
    pub(super) end: Option<Ending>,
}

/// The specification of the service's own program.
///
/// # Errors
/// With the stage when program, user or group cannot be found.
pub(super) fn program(plan: &ServicePlan, inherited: &Inherited, told: &Told) -> Result<SpawnSpec, SpawnFailure> {
    let slots = plan.slots(told.instance.index);
    let argv: Vec<String> = plan.command.iter().map(|word| word.render(slots)).collect();
    let mut environment = environment(plan, inherited, told);
    let says_listen = !plan.listen.is_empty() && !plan.names_fds;
    if says_listen {
        let names: Vec<&str> = plan.listen.iter().map(|listen| listen.name.as_str()).collect();
        environment.insert("LISTEN_FDS".into(), names.len().to_string().into());
        environment.insert("LISTEN_FDNAMES".into(), names.join(":").into());
        environment.remove(OsStr::new("LISTEN_PID"));
    }
    let mut spec = specification(plan, environment, &argv)?;
    spec.listen_pid = says_listen;
    spec.limits =
        Limits { open_files: plan.limits.open_files, core: plan.limits.core, processes: plan.limits.processes };
    spec.most = Most { memory: plan.limits.memory, cpu_millis: plan.limits.cpu_millis };
    Ok(spec)
}

/// The specification of a command beside the service (hook, exec probe): same folder, user and environment, but
/// without its sockets.
///
/// # Errors
/// As [`program`].
pub(super) fn command(
    plan: &ServicePlan,
    inherited: &Inherited,
    told: &Told,
    argv: &[String],
) -> Result<SpawnSpec, SpawnFailure> {
    specification(plan, environment(plan, inherited, told), argv)
}

/// The specification of a command of everup's own, in this folder, as everup's own user.
///
/// # Errors
/// As [`program`].
pub(super) fn own(
    folder: &Path,
    inherited: &Inherited,
    variables: Vec<(String, String)>,
    argv: &[String],
) -> Result<SpawnSpec, SpawnFailure> {
    let mut environment = inherited.clone();
    environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
    found(folder, environment, argv)
}

fn specification(plan: &ServicePlan, environment: Inherited, argv: &[String]) -> Result<SpawnSpec, SpawnFailure> {
    let mut spec = found(&plan.cwd, environment, argv)?;
    let credentials = crate::os::users::resolve(plan.user.as_deref(), plan.group.as_deref())
        .map_err(|error| SpawnFailure { stage: SpawnStage::User, errno: error.errno() })?;
    spec.credentials = credentials;
    spec.umask = plan.umask;
    spec.nice = plan.nice;
    Ok(spec)
}

/// The program of `argv`, looked up, in a session of its own.
fn found(folder: &Path, environment: Inherited, argv: &[String]) -> Result<SpawnSpec, SpawnFailure> {
    let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
    let name = argv.first().map(String::as_str).unwrap_or_default();
    let program = crate::os::program::find(OsStr::new(name), path, folder)
        .map_err(|errno| SpawnFailure { stage: SpawnStage::Program, errno })?;
    let mut spec = SpawnSpec::new(&program, argv, environment, folder)?;
    spec.session = Session::New;
    Ok(spec)
}

fn environment(plan: &ServicePlan, inherited: &Inherited, told: &Told) -> Inherited {
    let slots = plan.slots(told.instance.index);
    let mut all = inherited.clone();
    if let Some(user) = &plan.user {
        // Those of whoever runs everup would lead a program into a folder that it may not read.
        for name in PERSONAL {
            all.remove(OsStr::new(name));
        }
        all.extend(crate::os::users::variables(user).into_iter().map(|(name, value)| (name.into(), value)));
    }
    let mut put = |name: &str, value: String| all.insert(name.into(), value.into());
    if told.unbuffered && !inherited.contains_key(OsStr::new("PYTHONUNBUFFERED")) {
        put("PYTHONUNBUFFERED", "1".to_owned());
    }
    if let Some(port) = slots.port {
        put("PORT", port.to_string());
    }
    for (name, value) in &plan.env {
        put(name, value.render(slots));
    }
    put("EVERUP_SERVICE", plan.name.to_string());
    put("EVERUP_INSTANCE", told.label.clone());
    put("EVERUP_RUN", told.run.to_string());
    if let Some(socket) = &told.notify {
        put("NOTIFY_SOCKET", socket.clone());
        if let Some(watchdog) = plan.watchdog {
            put("WATCHDOG_USEC", millis(watchdog).saturating_mul(1_000).to_string());
        }
    }
    if let Some(Occasion { hook, cause, end }) = &told.hook {
        put("EVERUP_HOOK", hook_name(*hook).to_owned());
        let known = [
            ("EVERUP_CAUSE", cause.map(|cause| cause.to_string())),
            ("EVERUP_CERTAINTY", end.as_ref().map(|end| end.certainty.to_string())),
            ("EVERUP_EXIT_CODE", end.as_ref().and_then(|end| end.code).map(|code| code.to_string())),
            ("EVERUP_SIGNAL", end.as_ref().and_then(|end| end.signal).map(|signal| signal.to_string())),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                put(name, value);
            }
        }
    }
    all
}

/// A hook's key in the file.
pub(super) fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::BeforeStart => "before_start",
        Hook::AfterReady => "after_ready",
        Hook::AfterEnd => "after_end",
        Hook::Stop => "stop.command",
    }
}
