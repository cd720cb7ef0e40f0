//! `everup plot`: usage as a picture.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::chart::{self, Chart, Text};
use crate::cli::Context;
use crate::cli::args::Since;
use crate::cli::command::why::{one, selector};
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::project::locate;
use crate::cli::select::Known;
use crate::cli::show::plot::{DRAWN, chart};
use crate::cli::time::bytes;
use crate::client::lines::EventArgs;
use crate::client::{Client, HistoryArgs};
use crate::history::query::{self, EventQuery, Reader, UsageQuery};
use crate::model::command::Target;
use crate::model::event::EventRecord;
use crate::model::history::{HistoryReport, Metric};
use crate::model::units::Timestamp;

/// How far back people look who do not say.
const USUAL: Duration = Duration::from_secs(3_600);
/// More events than this cannot be told apart in a picture.
const EVENTS: usize = 20_000;
/// Pixels of a PNG for one of the chart.
const SCALE: f32 = 2.0;

/// Options of `plot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup plot web                        the last hour, to usage.svg\n  everup plot web --since 24h -o day.png\n  everup plot web/2 --metric memory --since 2026-11-20T10:00:00Z --until 2026-11-20T11:00:00Z\n  everup plot web -o - > web.svg\n\nLines are the course of each instance, bands between what it lay; ▶ marks a start, ■ an end with its cause, ◆ new\ncode. Times are in UTC."
)]
pub(crate) struct Plot {
    /// A service or one instance: web, web/2 [default: the only service there is]
    #[arg(value_name = "SVC")]
    service: Option<String>,
    /// From when on: 24h, 2026-11-20T10:00:00Z [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = Since::parse_time)]
    since: Option<Since>,
    /// Until when, written as --since [default: now]
    #[arg(long, value_name = "TIME", value_parser = Since::parse_time)]
    until: Option<Since>,
    /// Where to: a name that ends in .svg or .png, or - for SVG to stdout
    #[arg(short, long, value_name = "FILE", default_value = "usage.svg")]
    output: PathBuf,
    /// What to draw: cpu, memory, probe [default: all that there is]
    #[arg(long = "metric", value_name = "METRICS", value_delimiter = ',')]
    metrics: Vec<Drawn>,
}

/// `--metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawn {
    /// CPU, in percent of one core.
    Cpu,
    /// Resident memory.
    Memory,
    /// How long probes took.
    Probe,
}

impl From<Drawn> for Metric {
    fn from(drawn: Drawn) -> Self {
        match drawn {
            Drawn::Cpu => Self::Cpu,
            Drawn::Memory => Self::Memory,
            Drawn::Probe => Self::Probe,
        }
    }
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl Format {
    fn of(file: &Path) -> Result<Self, Failure> {
        let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            _ if file == Path::new("-") => Ok(Self::Svg),
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Failure::new(Exit::Usage, format!("cannot tell what picture {} is to be", file.display()))
                .hint("write a name that ends in .svg or .png, or - for SVG to stdout")),
        }
    }
}

/// Draws it, from what the supervisor keeps or what it left behind.
pub(crate) fn run(args: &Plot, context: &Context) -> Result<Exit, Failure> {
    let format = Format::of(&args.output)?;
    let time = |since: Option<Since>| since.and_then(|since| since.time(context.now()));
    let until = time(args.until).unwrap_or_else(|| context.now());
    let since = time(args.since).unwrap_or_else(|| until.before(USUAL));
    if since >= until {
        return Err(Failure::new(Exit::Usage, "cannot draw a time that ends before it begins")
            .hint(format!("it would be from {since} to {until}")));
    }
    let project = locate(context, args.service.as_deref())?;
    let service = args.service.as_deref();
    let (target, report, events) = if let Some(client) = project.connect_if_live()? {
        let target = one(&Known::of(&client.status()?), service)?;
        online(&client, target, since, until)?
    } else {
        offline::announce(&project, context)?;
        let target = one(&offline::known(&project), service)?;
        from_files(&Reader::new(&project.state_dir), target, since, until)?
    };
    let name = selector(&target);
    if report.rows.is_empty() {
        return Err(Failure::failed(format!("cannot draw {name}: nothing of it was recorded from {since} to {until}"))
            .hint("usage is recorded while it runs; --since looks further back"));
    }
    let chart = chart(&name, &report, &metrics(args, &report), &of_target(events, &target));
    write(args, format, &chart, report.rows.len(), context)?;
    Ok(Exit::Done)
}

fn online(
    client: &Client,
    target: Target,
    since: Timestamp,
    until: Timestamp,
) -> Result<(Target, HistoryReport, Vec<EventRecord>), Failure> {
    let args = HistoryArgs { since, until, step: None, metrics: DRAWN.to_vec() };
    let report = client.history(&selector(&target), &args)?;
    let asked =
        EventArgs { service: Some(target.service.to_string()), since: Some(since.to_string()), ..EventArgs::default() };
    let mut events = vec![];
    for event in client.events(&asked)?.take(EVENTS) {
        if let crate::client::lines::Streamed::Item(event) = event? {
            events.push(event);
        }
    }
    Ok((target, report, events))
}

fn from_files(
    reader: &Reader,
    target: Target,
    since: Timestamp,
    until: Timestamp,
) -> Result<(Target, HistoryReport, Vec<EventRecord>), Failure> {
    let failed = |error: crate::history::HistoryError| Failure::failed(error.to_string());
    let usage = UsageQuery {
        service: target.service.clone(),
        index: target.index,
        since,
        until,
        step: None,
        metrics: DRAWN.to_vec(),
    };
    let report = reader.usage(&usage).map_err(failed)?;
    let asked =
        EventQuery { service: Some(target.service.clone()), since: Some(query::Since::Time(since)), limit: EVENTS };
    Ok((target, report, reader.events(&asked).map_err(failed)?))
}

/// What was asked for; else everything of which there is a figure.
fn metrics(args: &Plot, report: &HistoryReport) -> Vec<Metric> {
    if !args.metrics.is_empty() {
        let asked: Vec<Metric> = args.metrics.iter().copied().map(Metric::from).collect();
        return DRAWN.into_iter().filter(|metric| asked.contains(metric)).collect();
    }
    let has_probes = report.rows.iter().any(|row| row.probe_ms.is_some());
    DRAWN.into_iter().filter(|metric| *metric != Metric::Probe || has_probes).collect()
}

/// Those about one instance, where only one is drawn.
fn of_target(events: Vec<EventRecord>, target: &Target) -> Vec<EventRecord> {
    let name = selector(target);
    let is_meant = |event: &EventRecord| match (target.index, &event.instance) {
        // The only instance of a service goes by the service's name.
        (Some(_), Some(instance)) => *instance == name || *instance == target.service.as_str(),
        _ => true,
    };
    events.into_iter().filter(is_meant).collect()
}

fn write(args: &Plot, format: Format, chart: &Chart, readings: usize, context: &Context) -> Result<(), Failure> {
    let picture = match format {
        Format::Svg => chart::svg(chart, Text::Glyphs).into_bytes(),
        Format::Png => chart::png(chart, SCALE).map_err(|error| Failure::failed(error.to_string()))?,
    };
    if args.output == Path::new("-") {
        return context.out.data(&String::from_utf8_lossy(&picture));
    }
    let file = args.output.display();
    std::fs::write(&args.output, &picture).map_err(|error| Failure::failed(format!("cannot write {file}: {error}")))?;
    let size = bytes(u64::try_from(picture.len()).unwrap_or(u64::MAX));
    let readings = if readings == 1 { "1 reading".to_owned() } else { format!("{readings} readings") };
    context.out.talk(&format!("wrote {file}: {}, {readings}, {size}", chart.title));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_what_its_name_ends_in() {
        for (file, expected) in [
            ("usage.svg", Some(Format::Svg)),
            ("a/b.PNG", Some(Format::Png)),
            ("-", Some(Format::Svg)),
            ("usage.pdf", None),
            ("usage", None),
            (".png", None),
        ] {
            assert_eq!(Format::of(Path::new(file)).ok(), expected, "{file}");
        }
        let said = Format::of(Path::new("x.gif")).unwrap_err();
        assert!(said.text().contains(".svg or .png"), "{}", said.text());
        assert_eq!(said.exit(), Exit::Usage);
    }
}
