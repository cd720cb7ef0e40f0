//! `everup dev`: develop. Files are watched, and the code that was saved last is the one that serves.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Args;

use crate::cli::command::run::{ProgramArgs, find_program, refuse_unknown_option};
use crate::cli::command::up::{LogFormat, become_guardian, chosen, wanted};
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{Project, file, here, load, surroundings};
use crate::cli::{Context, console, keys, remark};
use crate::config;
use crate::config::develop::{Developed, develop};
use crate::daemon::{self, Launch, Mode};
use crate::guardian::link::Link;
use crate::model::names::ServiceName;
use crate::model::plan::Plan;

/// Options of `dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup dev                          all services of supervisor.yaml, each restarted when its files change\n  everup dev web                      only web and what it needs\n  everup dev -- python app.py         no file needed: this folder is watched\n  everup dev --port 8000 -- uvicorn app:app --port 8000\n\nA save that fails its check leaves the running program up; a start that fails waits for your next save. With one service\nthe terminal is the program's (input, colours, breakpoint(), Ctrl-C); with several the keys are r restart, s status, q quit.\nCommands that reload themselves (--reload, nodemon, vite) are left to it. supervisor.yaml applies itself when it is saved."
)]
pub(crate) struct Dev {
    /// Only these services and what they need
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// How the program of `-- CMD` is run.
    #[command(flatten)]
    program: ProgramArgs,
    /// The program and its arguments, instead of a file
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Becomes the parent of the services; comes back when the person is done.
///
/// # Errors
/// What is wrong with the file or the command, or what went wrong.
pub(crate) fn run(args: Dev, context: &Context) -> Result<ExitCode, Failure> {
    let (developed, start) =
        if args.command.is_empty() { of_file(&args, context)? } else { of_command(args, context)? };
    let Developed { plan, notes } = developed;
    if context.is_engine() {
        return supervise(plan, start, &notes, context);
    }
    if let Some(client) = Project::of(&plan).connect_if_live()? {
        let pid = client.status()?.pid;
        return Err(Failure::failed(format!("cannot develop {}: it runs already (everup pid {pid})", plan.project))
            .hint("`everup down` ends that one first"));
    }
    become_guardian()
}

fn of_file(args: &Dev, context: &Context) -> Result<(Developed, Vec<ServiceName>), Failure> {
    if let Some(option) = args.program.first_given() {
        return Err(Failure::new(Exit::Usage, format!("cannot use {option} without a program"))
            .hint("it goes with `everup dev -- CMD`; services have it in supervisor.yaml"));
    }
    let folder = here()?;
    if context.globals.config.is_none() && config::find(&folder).is_none() {
        return Err(Failure::new(Exit::ConfigInvalid, "cannot find supervisor.yaml here or in a folder above")
            .hint("`everup dev -- CMD` needs none, as in `everup dev -- python app.py`; `everup init` proposes one"));
    }
    let plan = load(&file(context)?, context)?;
    let start = chosen(&args.services, &plan)?;
    Ok((develop(plan, &surroundings()), start))
}

fn of_command(args: Dev, context: &Context) -> Result<(Developed, Vec<ServiceName>), Failure> {
    if let Some(service) = args.services.first() {
        return Err(Failure::new(Exit::Usage, format!("cannot take both a service ({service}) and a program"))
            .hint("`everup dev SVC…` takes services of supervisor.yaml, `everup dev -- CMD` a program"));
    }
    refuse_unknown_option(&args.command, "dev")?;
    let folder = here()?;
    find_program(&args.command, &folder)?;
    let options = args.program.options(args.command, folder);
    let plan = config::wrap_dev(&options, &surroundings()).map_err(|diagnostics| {
        context.out.trouble(&diagnostics.render(context.out.talk_paint().0));
        Failure::new(Exit::ConfigInvalid, "cannot run it: its options make no sense")
    })?;
    Ok((develop(plan, &surroundings()), vec![]))
}

fn supervise(plan: Plan, start: Vec<ServiceName>, notes: &[String], context: &Context) -> Result<ExitCode, Failure> {
    let link = Link::from_env()
        .ok_or_else(|| Failure::failed("cannot find the parent process: EVERUP_GUARDIAN_FD is missing"))?;
    let out = context.out;
    let wanted = wanted(&plan, &start);
    let alone =
        plan.services.iter().filter(|service| wanted.contains(&service.name)).map(|s| s.instances).sum::<u32>() == 1;
    let terminal = alone && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    for note in notes {
        out.talk(&format!("everup: {note}"));
    }
    let services = console::shown_of(&plan);
    let launch =
        Launch { plan, mode: Mode::Dev { alone, terminal }, link, start, surroundings: surroundings(), legacy: None };
    Ok(daemon::run(launch, |handle| {
        let shown: std::pin::Pin<Box<dyn Future<Output = ()>>> = if alone {
            Box::pin(remark::remark(handle, terminal, out))
        } else {
            // What follows the files begins now, before the first service does.
            let shown = console::show(handle.clone(), services, LogFormat::Text, out);
            Box::pin(async move {
                tokio::select! {
                    () = shown => {}
                    () = forever_after(keys::listen(handle, out)) => {}
                }
            })
        };
        shown
    }))
}

/// Keys end when nobody can press them; what is shown goes on.
async fn forever_after(keys: impl Future<Output = ()>) {
    keys.await;
    std::future::pending::<()>().await;
}
