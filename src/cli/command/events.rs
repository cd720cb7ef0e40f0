//! `everup events`: the timeline.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::Since;
use crate::cli::command::why::{one, selector};
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::project::{Project, locate};
use crate::cli::select::Known;
use crate::cli::show::event::line;
use crate::cli::time::{ago, clock};
use crate::client::Client;
use crate::client::lines::{EventArgs, Streamed};
use crate::history::query;
use crate::model::event::EventRecord;

/// How many events are shown where it is not said since when.
const SOME: usize = 50;
/// How many at most otherwise.
const MANY: usize = 1_000_000;

/// Options of `events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup events               the latest, oldest first\n  everup events web -f\n  everup events --since 1h --json\n  everup events --since seq:812 --json    go on where you left off"
)]
pub(crate) struct Events {
    /// One service; none: all
    #[arg(value_name = "SVC")]
    service: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Not older: 1h, 2026-11-20T10:00:00Z, or after an event: seq:812
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    since: Option<Since>,
}

/// Shows them, from the supervisor or from what it left behind.
pub(crate) fn run(args: &Events, context: &Context) -> Result<Exit, Failure> {
    let project = locate(context, args.service.as_deref())?;
    if let Some(client) = project.connect_if_live()? {
        online(args, &client, context)?;
    } else {
        offline::announce(&project, context)?;
        from_files(args, &project, context)?;
    }
    Ok(Exit::Done)
}

fn online(args: &Events, client: &Client, context: &Context) -> Result<(), Failure> {
    let service = match &args.service {
        Some(text) => Some(selector(&one(&Known::of(&client.status()?), Some(text))?)),
        None => None,
    };
    let since = args.since.map(|since| match since {
        Since::Seq(number) => format!("seq:{number}"),
        time => time.time(context.now()).map(|time| time.to_string()).unwrap_or_default(),
    });
    let n = if since.is_some() { None } else { Some(SOME) };
    for event in client.events(&EventArgs { service, n, since, follow: args.follow })? {
        match event? {
            Streamed::Item(event) => show(&event, args, context)?,
            Streamed::Lost(count) => {
                context.out.trouble(&format!(
                    "everup: {count} events are missing here: they came faster than they were read\n"
                ));
            }
        }
    }
    Ok(())
}

fn from_files(args: &Events, project: &Project, context: &Context) -> Result<(), Failure> {
    let service = args
        .service
        .as_ref()
        .map(|text| one(&offline::known(project), Some(text)))
        .transpose()?
        .map(|target| target.service);
    let since = args.since.map(|since| match since {
        Since::Seq(number) => query::Since::Seq(number),
        time => query::Since::Time(time.time(context.now()).unwrap_or_default()),
    });
    let limit = if since.is_some() { MANY } else { SOME };
    let events = query::Reader::new(project.state_dir.clone())
        .events(&query::EventQuery { service, since, limit })
        .map_err(|error| Failure::failed(error.to_string()))?;
    events.iter().try_for_each(|event| show(event, args, context))
}

fn show(event: &EventRecord, args: &Events, context: &Context) -> Result<(), Failure> {
    if context.out.json {
        return context.out.object(event);
    }
    // What is still to come would make "now" of every line, so there the clock says more.
    let when = if args.follow { clock(event.at) } else { ago(event.at, context.now()) };
    context.out.line(&line(event, &when, context.out.stdout.paint))
}
