//! `everup upgrade`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Line;
use crate::cli::output::tame;
use crate::cli::project::locate;
use crate::client::lines::{EventArgs, Streamed};
use crate::client::{Client, ClientError};
use crate::model::command::Upgrading;
use crate::model::event::{EventRecord, EventWord};
use crate::model::names::{Pid, Run};
use crate::model::status::Status;
use crate::os::clock;

/// How long it may take until one of both programs answers, once the change has begun.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked for.
const GLANCE: Duration = Duration::from_millis(20);

/// Options of `upgrade`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup upgrade                     to the program that this command is\n  everup upgrade ./everup-0.2.0      to that one\n\nServices go on as they are. The new program is tried first; one that cannot take over leaves the running one in charge.\nOnly the engine is replaced: the small process that holds the services stays until the next `down` and `up`."
)]
pub(crate) struct Upgrade {
    /// The program that is to take over [default: this one]
    binary: Option<PathBuf>,
}

/// What became of it, for JSON.
#[derive(Debug, Serialize)]
struct Report {
    v: u32,
    upgraded: bool,
    from: String,
    to: String,
    /// How long there was no engine.
    gap_ms: Option<u64>,
    /// Services that run as they did before: with the same processes.
    untouched: usize,
    message: Option<String>,
}

/// Has another program take over, and tells what became of it.
pub(crate) fn run(args: &Upgrade, context: &Context) -> Result<Exit, Failure> {
    let binary = match &args.binary {
        Some(path) => std::path::absolute(path).map_err(|error| cannot_take(path, &error.to_string()))?,
        None => own()?,
    };
    let client = locate(context, None)?.connect()?;
    let before = client.status()?;
    let upgrading = client.upgrade(&binary)?;
    let event = outcome(&client, &upgrading, &before, context)?;
    let after = client.status().map(|after| untouched(&before, &after)).unwrap_or_default();
    let upgraded = event.as_ref().is_none_or(|event| event.event == EventWord::Upgraded);
    let report = Report {
        v: 1,
        upgraded,
        gap_ms: event.as_ref().and_then(|event| event.ran_ms),
        message: event.and_then(|event| event.message),
        from: upgrading.from,
        to: upgrading.to,
        untouched: after,
    };
    if context.out.json {
        context.out.object(&report)?;
    } else if upgraded && !context.out.quiet {
        context.out.line(&report.line())?;
    }
    if upgraded {
        return Ok(Exit::Done);
    }
    let why = tame(report.message.as_deref().unwrap_or_default());
    Err(Failure::failed(format!("not upgraded {why}")).hint("everup's own log says more: .everup/everup.log"))
}

impl Report {
    fn line(&self) -> String {
        let Self { from, to, gap_ms, untouched, .. } = self;
        let gap = gap_ms.map(|ms| format!(", {ms} ms without an engine")).unwrap_or_default();
        let services = if *untouched == 1 { "1 service" } else { &format!("{untouched} services") };
        format!("upgraded: {from} → {to}{gap}, {services} untouched")
    }
}

/// The program that this command is, by its path.
fn own() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe().map_err(|error| cannot_take(Path::new("this program"), &error.to_string()))?;
    if path.exists() {
        return Ok(path);
    }
    Err(cannot_take(&path, "it has been replaced or removed since").hint("name the program: everup upgrade BINARY"))
}

fn cannot_take(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("cannot take {} as a program: {why}", path.display()))
}

/// Waits for what the timeline says of it; none: the other program answers, and nothing was said.
fn outcome(
    client: &Client,
    upgrading: &Upgrading,
    before: &Status,
    context: &Context,
) -> Result<Option<EventRecord>, Failure> {
    let mut line = Line::new(&context.out);
    let begun = clock::now().moment;
    loop {
        // Whoever is asked may end over it.
        if let Ok(event) = told(client, upgrading.seq)
            && event.is_some()
        {
            return Ok(event);
        }
        if clock::now().moment.since(begun) > PATIENCE {
            let taken_over = client.status().is_ok_and(|status| status.engine_pid != before.engine_pid);
            if taken_over {
                return Ok(None);
            }
            let message = format!("cannot tell whether {} has taken over: nothing was said of it", upgrading.to);
            return Err(
                Failure::new(Exit::TimedOut, message).hint("everup status and everup events tell how things are")
            );
        }
        line.keep_up(&mut || Some(format!("waiting for everup {} to take over", upgrading.to)));
        std::thread::park_timeout(GLANCE);
    }
}

/// What the timeline says of an upgrade after event number `seq`.
fn told(client: &Client, seq: u64) -> Result<Option<EventRecord>, ClientError> {
    for event in client.events(&EventArgs { since: Some(format!("seq:{seq}")), ..EventArgs::default() })? {
        if let Streamed::Item(event) = event?
            && matches!(event.event, EventWord::Upgraded | EventWord::UpgradeFailed)
        {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// How many services run with the same processes as before.
fn untouched(before: &Status, after: &Status) -> usize {
    let living = |status: &Status, name: &str| -> Vec<(u32, Run, Option<Pid>)> {
        let service = status.services.iter().find(|service| service.name.as_str() == name);
        let instances = service.into_iter().flat_map(|service| &service.instances);
        instances.map(|instance| (instance.index, instance.run.unwrap_or_default(), instance.pid)).collect()
    };
    let runs = |service: &&crate::model::status::ServiceStatus| service.instances.iter().any(|one| one.pid.is_some());
    let names = before.services.iter().filter(runs).map(|service| service.name.as_str());
    names.filter(|name| living(before, name) == living(after, name)).count()
}
