//! `everup logs`: what the services wrote.

use std::path::PathBuf;

use clap::Args;
use regex::Regex;

use crate::cli::Context;
use crate::cli::args::Since;
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::project::{Project, locate};
use crate::cli::select::Known;
use crate::cli::show::log::Prefix;
use crate::client::Client;
use crate::client::lines::{LogArgs, Streamed};
use crate::logs::read::{Query, Reader};
use crate::model::command::Target;
use crate::model::log::{LogLine, Stream};

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup logs                 the last lines of all services, merged by time\n  everup logs web -f\n  everup logs web --since 10m --grep 'error|timeout'\n  everup logs web --previous  of the run before: what it said when it crashed\n  everup logs web --json | jq -r .line"
)]
pub(crate) struct Logs {
    /// Services: web, web/2, 'web*'; none: all
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// How many lines [default: 50, with --since all of them]
    #[arg(short = 'n', long = "lines", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    lines: Option<u32>,
    /// Not older: 10m, or 2026-11-20T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = Since::parse_time)]
    since: Option<Since>,
    /// Only lines that match
    #[arg(long, value_name = "REGEX", value_parser = pattern)]
    grep: Option<Regex>,
    /// Of the run before the current one
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
    /// Only standard error
    #[arg(long)]
    stderr: bool,
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("cannot read it as a regular expression: {error}"))
}

impl Logs {
    fn lines(&self) -> usize {
        let default = if self.since.is_some() { 10_000_000 } else { 50 };
        self.lines.map_or(default, |lines| usize::try_from(lines).unwrap_or(default))
    }

    fn stream(&self) -> Option<Stream> {
        self.stderr.then_some(Stream::Stderr)
    }
}

/// As many lines as the supervisor answers with at once; more are read from its files.
const SERVED: usize = 10_000;

/// Shows them, from the supervisor or from what it left behind.
pub(crate) fn run(args: &Logs, context: &Context) -> Result<Exit, Failure> {
    let project = locate(context, args.services.first().map(String::as_str))?;
    if let Some(client) = project.connect_if_live()? {
        let known = Known::of(&client.status()?);
        if args.lines() > SERVED && !args.follow && folder(&project).is_dir() {
            from_files(args, &project, &known, context)?;
        } else {
            online(args, &client, &known, context)?;
        }
    } else {
        offline::announce(&project, context)?;
        from_files(args, &project, &offline::known(&project), context)?;
    }
    Ok(Exit::Done)
}

fn folder(project: &Project) -> PathBuf {
    project.state_dir.join("logs")
}

fn online(args: &Logs, client: &Client, known: &Known, context: &Context) -> Result<(), Failure> {
    let targets = known.select(&args.services)?;
    let wanted = LogArgs {
        selectors: args.services.clone(),
        n: Some(args.lines().min(SERVED)),
        since: args.since.and_then(|since| since.time(context.now())).map(|time| time.to_string()),
        follow: args.follow,
        stream: args.stream(),
        previous: args.previous,
        grep: args.grep.as_ref().map(|grep| grep.as_str().to_owned()),
    };
    let mut shown = Shown::new(known, &targets, context);
    for line in client.logs(&wanted)? {
        match line? {
            Streamed::Item(line) => shown.line(&line)?,
            Streamed::Lost(count) => {
                context.out.trouble(&format!(
                    "everup: {count} lines are missing here: they came faster than they were read\n"
                ));
            }
        }
    }
    Ok(())
}

fn from_files(args: &Logs, project: &Project, known: &Known, context: &Context) -> Result<(), Failure> {
    let targets = known.select(&args.services)?;
    let query = Query {
        services: targets.iter().map(|target| (target.service.clone(), target.index)).collect(),
        stream: args.stream(),
        lines: args.lines(),
        since: args.since.and_then(|since| since.time(context.now())),
        previous: args.previous,
        grep: args.grep.clone(),
        labels: known.counts(),
        ..Query::default()
    };
    let lines = Reader::new(folder(project)).tail(&query).map_err(|error| {
        Failure::failed(format!("cannot read the logs in {}: {error}", project.state_dir.display()))
    })?;
    let mut shown = Shown::new(known, &targets, context);
    lines.iter().try_for_each(|line| shown.line(line))
}

/// Writes lines: JSON, or with their instance before them unless there is only one.
struct Shown<'a> {
    prefix: Prefix,
    context: &'a Context,
}

impl<'a> Shown<'a> {
    fn new(known: &Known, targets: &[Target], context: &'a Context) -> Self {
        let labels = known.labels(targets);
        let named = labels.len() != 1;
        Self { prefix: Prefix::new(labels.iter().map(String::as_str), named, &context.out.stdout), context }
    }

    fn line(&mut self, line: &LogLine) -> Result<(), Failure> {
        if self.context.out.json {
            return self.context.out.object(line);
        }
        let text = self.prefix.line(line);
        self.context.out.line(&text)
    }
}
