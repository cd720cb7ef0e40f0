//! `everup uninstall`: takes away what `everup install` wrote.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{file, read};
use crate::cli::unit::{self, Owner};

/// Options of `uninstall`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo everup uninstall                stops the project in order and takes its unit away; logs and history stay\n  everup uninstall --user\n  sudo everup uninstall /srv/shop/supervisor.yaml\n\nOnly a unit that everup install wrote for this file is touched. The file may be gone."
)]
pub(crate) struct Uninstall {
    /// The project's file [default: as -c says]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// From your own manager instead of the machine's
    #[arg(long)]
    user: bool,
}

/// What was done, for JSON.
#[derive(Debug, Serialize)]
struct Uninstalled {
    v: u32,
    file: PathBuf,
    removed: Vec<PathBuf>,
    /// What is left to be done, as commands.
    next: Vec<String>,
}

/// Stops the unit, and takes it away.
///
/// # Errors
/// When it may not or cannot, and when the unit is another's.
pub(crate) fn run(args: &Uninstall, context: &Context) -> Result<Exit, Failure> {
    let owner = Owner::of(args.user);
    let file = named(args.file.as_deref(), context)?;
    let folder = owner.folder()?;
    let units = unit::all_for(&folder, &file);
    if units.is_empty() {
        refuse_foreign(&folder, &file)?;
        context.out.talk(&format!("no unit of {} is installed in {}", file.display(), folder.display()));
    } else if owner == Owner::System && !nix::unistd::geteuid().is_root() {
        return Err(unit::only_root("uninstall"));
    }
    let mut done = Uninstalled { v: 1, file, removed: vec![], next: vec![] };
    for name in units {
        remove(owner, &folder, &name, &mut done, context)?;
    }
    if context.out.json {
        context.out.object(&done)?;
        return Ok(Exit::Done);
    }
    for path in &done.removed {
        context.out.line(&format!("removed {}", path.display()))?;
    }
    if !done.next.is_empty() {
        context.out.talk(&format!("next, where a manager runs: {}", done.next.join(" && ")));
    }
    Ok(Exit::Done)
}

fn remove(owner: Owner, folder: &Path, name: &str, done: &mut Uninstalled, context: &Context) -> Result<(), Failure> {
    let path = folder.join(name);
    let manager = owner.has_manager();
    if manager {
        context.out.talk(&format!("stopping {name} in order"));
        owner.tell(&["disable", "--now", name], "nothing was taken away")?;
    }
    std::fs::remove_file(&path)
        .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", path.display())))?;
    // Where no manager runs, nobody else takes the link away that starts it.
    let _ = std::fs::remove_file(folder.join(format!("{}.wants", owner.target())).join(name));
    done.removed.push(path);
    if manager {
        owner.tell(&["daemon-reload"], "the unit is gone; systemd is yet to notice")?;
    } else {
        done.next = vec![owner.systemctl("daemon-reload")];
    }
    Ok(())
}

/// The file that is meant, absolute; it need not be there any more.
fn named(file_named: Option<&Path>, context: &Context) -> Result<PathBuf, Failure> {
    match file_named.or(context.globals.config.as_deref()) {
        Some(path) => path
            .canonicalize()
            .or_else(|_| std::path::absolute(path))
            .map_err(|error| Failure::failed(format!("cannot tell where {} is: {error}", path.display()))),
        None => file(context),
    }
}

/// A unit of the name that ours would have, written by somebody else, is left alone.
fn refuse_foreign(folder: &Path, file: &Path) -> Result<(), Failure> {
    let Ok(plan) = read(file) else { return Ok(()) };
    let path = folder.join(unit::name(&plan.project));
    if !path.exists() {
        return Ok(());
    }
    let whose = unit::written_for(&path)
        .map_or("everup install did not write it".to_owned(), |of| format!("it is the unit of {}", of.display()));
    Err(Failure::failed(format!("cannot take {} away: {whose}", path.display()))
        .hint("remove it by hand if you mean it"))
}
