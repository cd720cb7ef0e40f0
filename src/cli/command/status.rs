//! `everup status`: who runs, and how.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{Project, here, locate};
use crate::cli::select::Known;
use crate::cli::show::state::in_trouble;
use crate::cli::show::{service, status as table};
use crate::client::registry;
use crate::model::command::Target;
use crate::model::status::{self, ServiceStatus};

/// How often `-w` draws anew.
const REDRAW: Duration = Duration::from_secs(1);

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup status               all services; outside a project: all live projects\n  everup status web           one in full: configuration, processes, probe, last end, log files\n  everup status -w            redrawn every second until Ctrl-C\n  everup status --json | jq .\n\nEnds with 3 when something that should run does not, or runs unhealthy."
)]
pub(crate) struct Status {
    /// A service: web, web/2, 'web*'; none: all
    #[arg(value_name = "SVC")]
    service: Option<String>,
    /// Redraw every second until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// Every live project, for JSON.
#[derive(Debug, Serialize)]
struct Projects<'a> {
    v: u32,
    projects: &'a [status::Status],
}

/// Shows it once, or again and again.
pub(crate) fn run(args: &Status, context: &Context) -> Result<Exit, Failure> {
    let globals = &context.globals;
    let named = globals.config.is_some() || globals.project.is_some() || globals.socket.is_some();
    if !named && args.service.is_none() && outside()? {
        return repeat(args, context, || everything(context));
    }
    let project = locate(context, args.service.as_deref())?;
    repeat(args, context, || one_project(args, &project, context))
}

/// Whether there is neither a file nor anything live for this folder.
fn outside() -> Result<bool, Failure> {
    let here = here()?;
    let lives_here = registry::list().iter().any(|entry| {
        entry
            .state_dir
            .ancestors()
            .any(|dir| dir.ends_with(".everup") && dir.parent().is_some_and(|folder| here.starts_with(folder)))
    });
    Ok(!lives_here && crate::config::find(&here).is_none())
}

/// Draws once, or every second in place of what was drawn before.
fn repeat(
    args: &Status,
    context: &Context,
    draw: impl Fn() -> Result<(String, Exit), Failure>,
) -> Result<Exit, Failure> {
    loop {
        let (text, exit) = draw()?;
        if !args.watch {
            context.out.data(&text)?;
            return Ok(exit);
        }
        if context.out.stdout.terminal && !context.out.json {
            // Home, each line to its end, and what is left below: no flicker, unlike clearing first.
            let rows = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
            context.out.data(&format!("\x1b[H{}\x1b[J", screen(&text, rows)))?;
        } else {
            context.out.data(&text)?;
        }
        std::thread::park_timeout(REDRAW);
    }
}

/// The text as it fits on a screen of so many rows, each line cleared to its end.
fn screen(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // The cursor takes the last row.
    let room = rows.saturating_sub(1).max(1);
    let fitting = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    let mut out = String::new();
    for line in &lines[..fitting] {
        out.extend([*line, "\x1b[K\n"]);
    }
    if fitting < lines.len() {
        let _ = writeln!(out, "… {} more lines\x1b[K", lines.len() - fitting);
    }
    out
}

fn one_project(args: &Status, project: &Project, context: &Context) -> Result<(String, Exit), Failure> {
    let client = project.connect()?;
    let mut status = client.status()?;
    if let Some(selector) = &args.service {
        let targets = Known::of(&status).select(std::slice::from_ref(selector))?;
        status.services.retain_mut(|service| keep(service, &targets));
        for service in &mut status.services {
            // What it uses in full is a help, not a condition: it may just have been taken out of the file.
            if let Ok(mut in_full) = client.service_with_pss(service.name.as_str()) {
                keep(&mut in_full, &targets);
                *service = in_full;
            }
        }
    }
    let exit = if status.services.iter().any(in_trouble) { Exit::NotHealthy } else { Exit::Done };
    if context.out.json {
        let json = match (args.service.as_ref(), status.services.as_slice()) {
            (Some(_), [only]) => crate::cli::output::json(only)?,
            _ => crate::cli::output::json(&status)?,
        };
        return Ok((format!("{json}\n"), exit));
    }
    if args.service.is_some() {
        return Ok((in_full(&status, project, context), exit));
    }
    let text = table::services(status.services.iter(), context.now(), &context.out.stdout);
    if !args.watch {
        let of_services = status.services.iter().flat_map(|service| {
            service.warnings.iter().map(move |warning| {
                // Most name the instance they are about.
                let named = warning.message.starts_with(service.name.as_str());
                if named { warning.message.clone() } else { format!("{}: {}", service.name, warning.message) }
            })
        });
        for warning in status.warnings.iter().map(|warning| warning.message.clone()).chain(of_services) {
            context.out.talk(&format!("warning: {warning}"));
        }
        if status.services.is_empty() {
            context.out.talk("no services");
        }
    }
    Ok((text, exit))
}

/// Whether the service is among the targets; drops the instances that are not.
fn keep(service: &mut ServiceStatus, targets: &[Target]) -> bool {
    let of_it: Vec<&Target> = targets.iter().filter(|target| target.service == service.name).collect();
    service
        .instances
        .retain(|instance| of_it.iter().any(|target| target.index.is_none_or(|index| index == instance.index)));
    !of_it.is_empty()
}

fn in_full(status: &status::Status, project: &Project, context: &Context) -> String {
    // What the file says is a help, not a condition: it may have changed or gone since.
    let file = status.config.as_ref().map(std::path::PathBuf::from);
    let plan = file.and_then(|file| crate::cli::project::read(&file).ok());
    let logs = project.state_dir.join("logs");
    let sheets = status.services.iter().map(|one| {
        let configured = plan.as_ref().and_then(|plan| plan.service(&one.name));
        service::full(one, configured.map(AsRef::as_ref), &logs, context.now(), context.out.stdout.paint)
    });
    sheets.collect::<Vec<_>>().join("\n")
}

/// All live projects; one that does not answer is left out with a word on stderr.
fn everything(context: &Context) -> Result<(String, Exit), Failure> {
    let mut all = vec![];
    for entry in registry::list() {
        let project = Project::from(entry);
        match project.connect().and_then(|client| Ok(client.status()?)) {
            Ok(status) => all.push(status),
            Err(failure) => context.out.trouble(&failure.text()),
        }
    }
    if context.out.json {
        return Ok((format!("{}\n", crate::cli::output::json(&Projects { v: 1, projects: &all })?), Exit::Done));
    }
    if all.is_empty() {
        return Err(Failure::new(
            Exit::NoSupervisor,
            "cannot show anything: no supervisor.yaml here or above, and no project is live",
        )
        .hint("`everup init` proposes a file, `everup run -- CMD` needs none, `everup demo` shows what there is"));
    }
    let exit = if all.iter().any(crate::cli::show::state::project_in_trouble) { Exit::NotHealthy } else { Exit::Done };
    Ok((table::projects(&all, &context.out.stdout), exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_never_scrolls() {
        assert_eq!(screen("a\nb\n", 24), "a\x1b[K\nb\x1b[K\n");
        assert_eq!(screen("a\nb\nc\nd\n", 4), "a\x1b[K\nb\x1b[K\n… 2 more lines\x1b[K\n");
        assert_eq!(screen("a\nb\nc\n", 4), "a\x1b[K\nb\x1b[K\nc\x1b[K\n");
    }
}
