//! `everup up`: make reality match the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::command::acting::{Acting, carry_out, put};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::cli::project::{Project, file, load, surroundings};
use crate::cli::select::Known;
use crate::cli::{Context, console, detach};
use crate::client::Client;
use crate::client::action::Action;
use crate::client::registry;
use crate::daemon::resume::Legacy;
use crate::daemon::{self, Launch, Mode};
use crate::guardian;
use crate::guardian::link::Link;
use crate::model::command::{Outcome, PlanChange, PlanChangeKind};
use crate::model::names::ServiceName;
use crate::model::plan::Plan;
use crate::model::units::parse_duration;
use crate::os::notify::Manager;
use crate::os::terminal;

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// The service's name before each line.
    #[default]
    Text,
    /// One JSON object a line, for containers.
    Json,
}

/// Options of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup up                   in the foreground, lines of all services behind their names; Ctrl-C stops in order\n  everup up -d --wait         in the background; returns once everything is ready\n  everup up --dry-run         what would be done\n  everup up web               only web and what it needs; on a running project, web too\n\nOn a running project only the difference is applied: what is unchanged keeps its process."
)]
pub(crate) struct Up {
    /// Only these and what they need; on a running project: these too, though they were stopped or are not enabled
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// In the background; returns once the supervisor answers
    #[arg(short, long)]
    detach: bool,
    /// With -d or on a running project: wait until all is ready, at most that long [default: 30s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Swap services to new code when their files change, this once (`watch: always` in the file does it every time)
    #[arg(long)]
    watch: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How lines are written in the foreground: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    log_format: LogFormat,
}

/// Applies the file to the running project, or starts it.
///
/// # Errors
/// What is wrong with the file, or what went wrong.
pub(crate) fn run(args: &Up, context: &Context) -> Result<ExitCode, Failure> {
    let link = if context.is_engine() { Some(link()?) } else { None };
    let legacy = link.as_ref().map(Legacy::of).transpose().map_err(|error| Failure::failed(error.to_string()))?;
    let (file, plan, start) = match legacy.as_ref().and_then(Option::as_ref) {
        // What is in force counts, whatever the file says by now.
        Some(legacy) => (PathBuf::new(), legacy.plan().clone(), vec![]),
        None => {
            let file = file(context)?;
            let plan = load(&file, context)?;
            let start = chosen(&args.services, &plan)?;
            (file, plan, start)
        }
    };
    if let Some(link) = link {
        return Ok(supervise(args, link, plan, start, legacy.flatten(), context));
    }
    if detach::is_detached() {
        return become_guardian();
    }
    if args.detach && std::process::id() == 1 {
        return Err(Failure::new(
            Exit::Usage,
            "cannot go into the background as PID 1: a container ends with its first process",
        )
        .hint("leave out -d: `everup up` stays in the foreground, and its output is the container's"));
    }
    let project = registry::find_by_config(&file).map_or_else(|| Project::of(&plan), Project::from);
    if let Some(client) = project.connect_if_live()? {
        if let Some(manager) = manager() {
            return hand_over(&manager, &client).map(Into::into);
        }
        return reconcile(args, &client, &file, start, context).map(Into::into);
    }
    if args.dry_run {
        return would_start(&plan, &start, context).map(Into::into);
    }
    if args.detach { in_background(args, &project, &plan, start, context).map(Into::into) } else { become_guardian() }
}

/// The services named, each of them in the file.
pub(crate) fn chosen(services: &[String], plan: &Plan) -> Result<Vec<ServiceName>, Failure> {
    let known = Known::named(
        plan.project.clone(),
        plan.services.iter().map(|service| (service.name.clone(), service.instances)),
    );
    Ok(known.select(services)?.into_iter().map(|target| target.service).collect())
}

fn link() -> Result<Link, Failure> {
    Link::from_env().ok_or_else(|| Failure::failed("cannot find the parent process: EVERUP_GUARDIAN_FD is missing"))
}

fn supervise(
    args: &Up,
    link: Link,
    plan: Plan,
    start: Vec<ServiceName>,
    legacy: Option<Legacy>,
    context: &Context,
) -> ExitCode {
    let (format, out) = (args.log_format, context.out);
    let services = console::shown_of(&plan);
    let mode = Mode::Up { detached: args.detach || !terminal::is_controlled(), watch: args.watch };
    let detach = args.detach;
    let launch = Launch { plan, mode, link, start, surroundings: surroundings(), legacy };
    daemon::run(launch, |handle| {
        // What follows the files begins now, before the first service does.
        let shown = (!detach).then(|| console::show(handle, services, format, out));
        async {
            if let Some(shown) = shown {
                shown.await;
            }
        }
    })
}

/// Becomes everup's own parent process, which starts this command again as the engine.
///
/// # Errors
/// It only comes back when that fails.
pub(crate) fn become_guardian() -> Result<ExitCode, Failure> {
    Err(Failure::no_guardian(Exit::Failed, &guardian::enter()))
}

/// The manager that started this very process as the main process of a unit.
fn manager() -> Option<Manager> {
    let started = std::env::var("SYSTEMD_EXEC_PID").ok()?;
    if started == std::process::id().to_string() { Manager::from_env() } else { None }
}

/// The project outlived its main process, and its manager starts another: that one is told who it is now.
fn hand_over(manager: &Manager, client: &Client) -> Result<Exit, Failure> {
    let status = client.status()?;
    let groups = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    if groups("self") != groups(&status.pid.to_string()) {
        return Err(Failure::failed(format!(
            "cannot start {}: it runs already, outside of this unit (pid {})",
            status.project, status.pid
        ))
        .hint("`everup down` ends that one; the unit can then be started"));
    }
    manager.tell(&format!("MAINPID={}\nREADY=1", status.pid)).map_err(|error| {
        Failure::failed(format!("cannot tell the service manager about pid {}: {error}", status.pid))
    })?;
    Ok(Exit::Done)
}

fn reconcile(
    args: &Up,
    client: &Client,
    file: &Path,
    start: Vec<ServiceName>,
    context: &Context,
) -> Result<Exit, Failure> {
    let status = client.status()?;
    if status.config.as_deref().map(Path::new) != Some(file) {
        let other = status.config.as_deref().unwrap_or("a program of `everup run`");
        return Err(Failure::failed(format!(
            "cannot start {}: its state folder is in use by {other} (everup pid {})",
            file.display(),
            status.pid
        ))
        .hint("stop that one first, or give this file a `state_dir` of its own"));
    }
    if args.watch {
        context
            .out
            .talk("note: it runs already, and --watch is taken at the start only: everup down, then everup up --watch");
    }
    if !args.dry_run && !args.detach {
        context.out.talk(&format!(
            "{} runs already (pid {}): applying the difference; `everup logs -f` follows it",
            status.project, status.pid
        ));
    }
    let actions = vec![Action::Up { config: None, start, dry_run: args.dry_run }];
    let wait = args.wait.filter(|_| !args.dry_run);
    carry_out(client, &Acting { actions, targets: vec![], goal: Goal::Ready, wait }, context)
}

/// What `up --dry-run` says where nothing runs.
fn would_start(plan: &Plan, start: &[ServiceName], context: &Context) -> Result<Exit, Failure> {
    let wanted = wanted(plan, start);
    let changes = plan
        .services
        .iter()
        .filter(|service| wanted.contains(&service.name))
        .map(|service| PlanChange { service: service.name.clone(), what: PlanChangeKind::Added, keys: vec![] })
        .collect();
    let outcome = Outcome { done: true, changes, ..Outcome::default() };
    crate::cli::command::acting::report(&outcome, true, context)?;
    Ok(Exit::Done)
}

/// Those named and what they need; none named: all that are enabled and what they need.
pub(crate) fn wanted(plan: &Plan, start: &[ServiceName]) -> BTreeSet<ServiceName> {
    let enabled = plan.services.iter().filter(|service| service.enabled).map(|service| service.name.clone());
    let mut open: Vec<ServiceName> = if start.is_empty() { enabled.collect() } else { start.to_vec() };
    let mut wanted = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(service) = plan.service(&name).filter(|_| wanted.insert(name.clone())) {
            open.extend(service.needs.keys().cloned());
        }
    }
    wanted
}

fn in_background(
    args: &Up,
    project: &Project,
    plan: &Plan,
    start: Vec<ServiceName>,
    context: &Context,
) -> Result<Exit, Failure> {
    let (client, pid) = detach::start(project, context)?;
    if args.wait.is_some() {
        // It runs just as the file says; what is left to do is to wait for it.
        let actions = vec![Action::Up { config: None, start, dry_run: false }];
        let acting = Acting { actions, targets: vec![], goal: Goal::Ready, wait: args.wait };
        if let (_, Some(failure)) = put(&client, &acting, context)? {
            return Err(failure);
        }
    }
    if context.out.json {
        context
            .out
            .object(&serde_json::json!({"v": 1, "project": plan.project, "pid": pid, "socket": project.socket}))?;
    } else {
        let ready = if args.wait.is_some() { " and ready" } else { "" };
        context.out.talk(&format!("{} is up{ready} (pid {pid}); `everup status` shows how it is", plan.project));
    }
    Ok(Exit::Done)
}
