//! `everup install`: this project as a service of systemd.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{Project, diagnosed, file, load, surroundings};
use crate::cli::unit::{self, Owner};
use crate::client::registry;
use crate::config::{self, Surroundings};
use crate::model::plan::Plan;

/// Where systemd looks for programs unless a unit says otherwise.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a user's manager knows of the user besides.
const OF_A_USER: [&str; 7] = ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "XDG_RUNTIME_DIR", "PATH"];

/// Options of `install`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo everup install                  a unit for the supervisor.yaml of this folder, started now and at every boot\n  sudo everup install /srv/shop/supervisor.yaml\n  everup install --user                a unit of your own; `loginctl enable-linger` keeps it after you log out\n  everup install --print               only show the unit\n\nThe unit is everup-NAME.service. Installing again writes it anew where program or file have moved; a unit that\neverup install did not write is left alone."
)]
pub(crate) struct Install {
    /// The project's file [default: as -c says]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// For your own manager instead of the machine's
    #[arg(long)]
    user: bool,
    /// Show the unit instead of writing it
    #[arg(long)]
    print: bool,
}

/// What was done, for JSON.
#[derive(Debug, Serialize)]
struct Installed<'a> {
    v: u32,
    unit: &'a str,
    path: &'a Path,
    file: &'a Path,
    /// The unit's text is another than before.
    written: bool,
    /// It starts by itself from now on.
    enabled: bool,
    /// It runs now.
    started: bool,
    /// What is left to be done, as commands.
    next: Vec<String>,
    text: &'a str,
}

/// Writes the unit, has it started now and by itself from now on, or says how.
///
/// # Errors
/// When it may not or cannot; then nothing was changed.
pub(crate) fn run(args: &Install, context: &Context) -> Result<Exit, Failure> {
    let owner = Owner::of(args.user);
    let file = named(args.file.as_deref(), context)?;
    let plan = load(&file, context)?;
    let program = program()?;
    let unit = unit::name(&plan.project);
    let text = unit::text(owner, &program, &file, plan.on_supervisor_death)?;
    let path = owner.folder()?.join(&unit);
    if args.print && !context.out.json {
        context.out.data(&text)?;
        return Ok(Exit::Done);
    }
    let mut done = Installed {
        v: 1,
        unit: &unit,
        path: &path,
        file: &file,
        written: false,
        enabled: false,
        started: false,
        next: vec![],
        text: &text,
    };
    if !args.print {
        install(owner, &plan, &mut done, context)?;
    }
    if context.out.json {
        context.out.object(&done)?;
        return Ok(Exit::Done);
    }
    tell(owner, &plan, &done, context)?;
    Ok(Exit::Done)
}

fn install(owner: Owner, plan: &Plan, done: &mut Installed<'_>, context: &Context) -> Result<(), Failure> {
    if owner == Owner::System && !nix::unistd::geteuid().is_root() {
        return Err(unit::only_root("install"));
    }
    if !unit::has_systemctl() {
        return Err(Failure::failed("cannot install a unit: this machine has no systemd (no systemctl in PATH)")
            .hint("`everup up -d` starts the project without it; in a container `everup up` is the entry point"));
    }
    understood_there(owner, done.file, context)?;
    let there = std::fs::symlink_metadata(done.path).is_ok();
    match unit::written_for(done.path) {
        Some(of) if of == done.file => {}
        Some(of) => {
            return Err(Failure::failed(format!(
                "cannot write {}: it is the unit of {}",
                done.path.display(),
                of.display()
            ))
            .hint("give this project another `name:`, or take that unit away with everup uninstall"));
        }
        None if there => {
            return Err(Failure::failed(format!(
                "cannot write {}: it is there already, and everup install did not write it",
                done.path.display()
            ))
            .hint("move it away, or give this project another `name:`"));
        }
        None => {}
    }
    if std::fs::read_to_string(done.path).is_ok_and(|text| text == done.text) {
        context.out.talk(&format!("{} is up to date", done.path.display()));
    } else {
        unit::write(done.path, done.text)?;
        done.written = true;
    }
    // Started by hand, it is nobody's service: systemd cannot take it over while it runs.
    let runs = running(plan, done.file);
    let in_unit = runs.is_some_and(|pid| unit::holds(done.unit, pid));
    if !owner.has_manager() {
        let words = format!("enable --now {}", done.unit);
        done.next = vec![owner.systemctl("daemon-reload"), owner.systemctl(&words)];
        return Ok(());
    }
    let hint = format!("the unit is written; `{}` shows how it is", owner.systemctl(&format!("status {}", done.unit)));
    owner.tell(&["daemon-reload"], &hint)?;
    owner.tell(&["enable", done.unit], &hint)?;
    done.enabled = true;
    if let Some(pid) = runs.filter(|_| !in_unit) {
        context
            .out
            .talk(&format!("{} runs already, started by hand (pid {pid}): it goes on until you stop it", plan.project));
        let down = format!("everup -c '{}' down", done.file.display());
        done.next = vec![down, owner.systemctl(&format!("start {}", done.unit))];
        return Ok(());
    }
    if in_unit {
        done.started = true;
        if done.written {
            context.out.talk("it runs on as it was started; what is new in the unit holds from the next start on");
            done.next = vec![owner.systemctl(&format!("restart {}", done.unit))];
        }
        return Ok(());
    }
    context.out.talk(&format!("starting {}, until its services are ready", done.unit));
    let log = match owner {
        Owner::System => format!("journalctl -u {} -n 20", done.unit),
        Owner::User => format!("journalctl --user -u {} -n 20", done.unit),
    };
    owner.tell(&["start", done.unit], &format!("it is installed and enabled; `{log}` tells what it said"))?;
    done.started = true;
    Ok(())
}

fn tell(owner: Owner, plan: &Plan, done: &Installed<'_>, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    if done.written {
        out.line(&format!("wrote {}", done.path.display()))?;
    }
    match (done.started, done.enabled) {
        (true, _) => out.line(&format!("{} runs, and starts by itself from now on", done.unit))?,
        (false, true) => out.line(&format!("{} starts by itself from now on", done.unit))?,
        (false, false) => {}
    }
    if !done.next.is_empty() {
        out.talk(&format!("next: {}", done.next.join(" && ")));
    }
    for missing in not_found_there(owner, plan) {
        out.talk(&format!("note: {missing} is not on the search path of systemd ({SEARCH_PATH}): name it by its path"));
    }
    if owner == Owner::System && !is_roots(done.file) {
        out.talk(&format!(
            "note: the unit runs as root, and {} can be changed by others: what they write there runs as root",
            done.file.display()
        ));
    }
    if owner == Owner::User && !lingers() {
        out.talk("note: it ends when you log out; `loginctl enable-linger` keeps it");
    }
    Ok(())
}

/// The file that is meant, absolute.
fn named(file_named: Option<&Path>, context: &Context) -> Result<PathBuf, Failure> {
    let Some(path) = file_named else { return file(context) };
    path.canonicalize().map_err(|error| {
        Failure::new(Exit::ConfigInvalid, format!("cannot read {}: {error}", path.display()))
            .hint("`everup init` proposes a supervisor.yaml for a folder")
    })
}

/// This program, where systemd will find it.
fn program() -> Result<PathBuf, Failure> {
    let cannot = |why: String| {
        Failure::failed(format!("cannot tell where this program is: {why}")).hint("call it by its path, and try again")
    };
    let program = std::env::current_exe().map_err(|error| cannot(error.to_string()))?;
    // The kernel appends ` (deleted)` to what was replaced since.
    if program.is_file() { Ok(program) } else { Err(cannot(format!("{} is gone", program.display()))) }
}

/// The file must be understood with what systemd gives, too: not with the variables of this shell.
fn understood_there(owner: Owner, file: &Path, context: &Context) -> Result<(), Failure> {
    let here = surroundings();
    let given: &[&str] = if owner == Owner::User { &OF_A_USER } else { &["LANG"] };
    let mut environment: BTreeMap<String, String> =
        here.environment.into_iter().filter(|(name, _)| given.contains(&name.as_str())).collect();
    environment.entry("PATH".to_owned()).or_insert_with(|| SEARCH_PATH.to_owned());
    config::load(file, &Surroundings { environment, ..surroundings() }).map(drop).map_err(|diagnostics| {
        diagnosed(file, &diagnostics, context).hint(
            "these variables are set in this shell, and systemd does not know them: put them into an `env_file:` or give them a default",
        )
    })
}

/// Programs that this shell finds and systemd will not.
fn not_found_there(owner: Owner, plan: &Plan) -> Vec<String> {
    if owner == Owner::User {
        return vec![];
    }
    let finds =
        |name: &str, path: &OsStr, cwd: &Path| crate::os::program::find(OsStr::new(name), Some(path), cwd).is_ok();
    let here = std::env::var_os("PATH").unwrap_or_default();
    let words = plan.services.iter().filter_map(|service| {
        let word = service.command.first()?.render(service.slots(1));
        (finds(&word, &here, &service.cwd) && !finds(&word, OsStr::new(SEARCH_PATH), &service.cwd)).then_some(word)
    });
    let mut missing: Vec<String> = words.collect();
    missing.dedup();
    missing
}

/// The pid of the everup that runs this project now.
fn running(plan: &Plan, file: &Path) -> Option<i32> {
    let project = registry::find_by_config(file).map_or_else(|| Project::of(plan), Project::from);
    let status = project.connect_if_live().ok()??.status().ok()?;
    Some(status.pid.0)
}

/// Whether only root can change the file.
fn is_roots(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let safe = |path: &Path| path.metadata().is_ok_and(|about| about.uid() == 0 && about.mode() & 0o022 == 0);
    safe(file) && file.parent().is_none_or(safe)
}

/// Whether this user's manager runs without a session.
fn lingers() -> bool {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    user.is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user.name).exists())
}
