//! `everup history`: what a service used over time.

use std::time::Duration;

use clap::Args;

use crate::cli::Context;
use crate::cli::args::Since;
use crate::cli::command::why::{one, selector};
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::project::locate;
use crate::cli::select::Known;
use crate::cli::show::history::{csv, table};
use crate::client::HistoryArgs;
use crate::history::query::{Reader, UsageQuery, step_for};
use crate::model::history::{HistoryReport, Metric};
use crate::model::units::{Timestamp, format_duration, parse_duration};

/// How far back people look who do not say.
const USUAL: Duration = Duration::from_secs(3_600);
/// About so many rows of a run are shown to people who do not say.
const SOME: u32 = 30;
/// The seconds of the shortest rows.
const SHORTEST: u64 = 10;

/// Options of `history`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup history web                    the last hour\n  everup history web --since 24h --step 1h\n  everup history web --metric cpu,memory,probe\n  everup history web --since 7d --csv > web.csv\n  everup history web --json | jq '[.rows[].memory_bytes] | max'\n\nMetrics: cpu, memory, processes, threads, fds, read, written, probe, swap, io_wait, switches, faults.\nRows of 10s are kept for 48h, of 1m for 30d, of 1h as long as `history.keep` says; a row of more than 10s shows means,\nand in --json the least and the most as well."
)]
pub(crate) struct History {
    /// A service or one instance: web, web/2 [default: the only service there is]
    #[arg(value_name = "SVC")]
    service: Option<String>,
    /// From when on: 24h, 2026-11-20T10:00:00Z [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = Since::parse_time)]
    since: Option<Since>,
    /// Until when, written as --since [default: now]
    #[arg(long, value_name = "TIME", value_parser = Since::parse_time)]
    until: Option<Since>,
    /// How long each row lasts, 10s at least [default: what fits]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    step: Option<Duration>,
    /// Only these, separated by commas: cpu,memory
    #[arg(long, value_name = "NAMES", value_parser = Metric::parse, value_delimiter = ',')]
    metric: Vec<Metric>,
    /// All rows as comma-separated values, with a heading
    #[arg(long)]
    csv: bool,
}

/// Shows it, from the supervisor or from what it left behind.
pub(crate) fn run(args: &History, context: &Context) -> Result<Exit, Failure> {
    if args.csv && context.out.json {
        return Err(Failure::new(Exit::Usage, "cannot answer both in CSV and in JSON").hint("leave out one of them"));
    }
    let time = |since: Option<Since>| since.and_then(|since| since.time(context.now()));
    let until = time(args.until).unwrap_or_else(|| context.now());
    let since = time(args.since).unwrap_or_else(|| until.before(USUAL));
    if since > until {
        return Err(Failure::new(Exit::Usage, "cannot look at a time that ends before it begins")
            .hint("--since is the earlier time, --until the later one"));
    }
    let project = locate(context, args.service.as_deref())?;
    let mut metrics = vec![];
    for metric in &args.metric {
        if !metrics.contains(metric) {
            metrics.push(*metric);
        }
    }
    let ask: Box<dyn Fn(Timestamp, Option<Duration>) -> Result<HistoryReport, Failure>> =
        if let Some(client) = project.connect_if_live()? {
            let name = selector(&one(&Known::of(&client.status()?), args.service.as_deref())?);
            let metrics = metrics.clone();
            Box::new(move |since, step| {
                Ok(client.history(&name, &HistoryArgs { since, until, step, metrics: metrics.clone() })?)
            })
        } else {
            offline::announce(&project, context)?;
            let target = one(&offline::known(&project), args.service.as_deref())?;
            let (reader, metrics) = (Reader::new(project.state_dir.clone()), metrics.clone());
            Box::new(move |since, step| {
                let (service, metrics) = (target.service.clone(), metrics.clone());
                let query = UsageQuery { service, index: target.index, since, until, step, metrics };
                reader.usage(&query).map_err(|error| Failure::failed(error.to_string()))
            })
        };
    let mut report = ask(since, args.step)?;
    if context.out.json {
        context.out.object(&report)?;
        return Ok(Exit::Done);
    }
    if args.csv {
        context.out.data(&csv(&report, &metrics))?;
    }
    let Some(first) = report.rows.first() else {
        context.out.talk(&nothing(&report, since, until));
        return Ok(Exit::Done);
    };
    if !args.csv {
        // What began only now is shown in short steps, however far back was looked.
        let begun = first.at.max(since);
        let step = step_for(until.since(begun), SOME);
        if args.step.is_none() && step.as_secs() > report.step_s {
            report = ask(begun, Some(step))?;
        }
        context.out.data(&table(&report, &metrics, &context.out.stdout))?;
        if report.step_s > SHORTEST {
            let step = format_duration(Duration::from_secs(report.step_s));
            context
                .out
                .talk(&format!("a row is the mean of {step}; --step 10s shows shorter ones, --csv all there are"));
        }
    }
    Ok(Exit::Done)
}

/// Why there is nothing, and what to do.
fn nothing(report: &HistoryReport, since: Timestamp, until: Timestamp) -> String {
    let service = &report.service;
    format!(
        "nothing of {service} was recorded from {since} to {until}: it did not run then, or everup did not\n  \
         `everup history {service} --since 30d` looks further back; `everup status {service}` shows how it is now"
    )
}
