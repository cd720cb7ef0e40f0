//! Turns log files into lines: the last ones, those since a time, those of a run, those still to come.

mod cutter;
mod file;
mod follow;
mod source;
mod tail;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::logs::read::source::Source;
use crate::model::log::{LogLine, Stream};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::units::Timestamp;

pub use crate::logs::read::follow::Follower;

/// Reads what children wrote, whether everup runs or not. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

/// Which lines.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of these services, or these instances of them; empty: of all.
    pub services: Vec<(ServiceName, Option<u32>)>,
    /// Of this output only; a merged log counts as stdout.
    pub stream: Option<Stream>,
    /// At most so many, the latest ones.
    pub lines: usize,
    /// That arrived at this time or later.
    pub since: Option<Timestamp>,
    /// Of this run only.
    pub run: Option<Run>,
    /// Of each instance's run before its latest one; overrides `run`.
    pub previous: bool,
    /// That match.
    pub grep: Option<regex::Regex>,
    /// How many instances each known service has: decides the instances' names, and whose a file is. For services
    /// that are not in it the files decide.
    pub labels: BTreeMap<ServiceName, u32>,
}

impl Default for Query {
    /// The last 50 lines of everything.
    fn default() -> Self {
        Self {
            services: Vec::new(),
            stream: None,
            lines: 50,
            since: None,
            run: None,
            previous: false,
            grep: None,
            labels: BTreeMap::new(),
        }
    }
}

/// One line, before it gets the names of its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: Timestamp,
    run: Run,
    text: String,
}

/// Which lines of one stream.
#[derive(Clone, Debug, Default)]
struct Filter {
    since: Option<Timestamp>,
    run: Option<Run>,
    grep: Option<regex::Regex>,
}

impl Filter {
    fn takes(&self, line: &Line) -> bool {
        !self.is_before(line)
            && self.run.is_none_or(|run| run == line.run)
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(&line.text))
    }

    /// Whether neither this line nor any earlier one of its stream can be taken.
    fn is_before(&self, line: &Line) -> bool {
        self.since.is_some_and(|since| line.at < since)
            || self.run.is_some_and(|run| line.run != Run(0) && line.run < run)
    }
}

impl Reader {
    /// Reads the logs in this folder. It need not exist: then there are none.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The lines there are, oldest first, streams merged by time in whole lines. The last line of a stream counts
    /// even without its newline.
    ///
    /// # Errors
    /// When the folder or a log cannot be read; a missing one is no error.
    pub fn tail(&self, query: &Query) -> io::Result<Vec<LogLine>> {
        let mut merged = Vec::new();
        let all = self.with_runs(query)?;
        for source in source::find(&self.dir, query)? {
            let filter = filter(query, &source.instance, &all)?;
            let tail = tail::tail(&source, &filter, query.lines)?;
            merged.push((source, tail.lines.into_iter().chain(tail.partial.filter(|line| filter.takes(line)))));
        }
        let lines = merge(merged);
        Ok(last(lines, query.lines))
    }

    /// The last lines of the query (none with `lines: 0`), then those to come.
    ///
    /// # Errors
    /// As [`Reader::tail`].
    pub fn follow(&self, query: &Query) -> io::Result<Follower> {
        Follower::start(self.clone(), query.clone())
    }

    /// The last `n` lines of a run, oldest first: of stderr if it wrote any there, else of stdout.
    ///
    /// # Errors
    /// As [`Reader::tail`].
    pub fn last_lines(&self, instance: &InstanceId, run: Run, n: usize) -> io::Result<Vec<String>> {
        for stream in [Stream::Stderr, Stream::Stdout] {
            let services = vec![(instance.service.clone(), Some(instance.index))];
            let lines =
                self.tail(&Query { services, stream: Some(stream), lines: n, run: Some(run), ..Query::default() })?;
            if !lines.is_empty() {
                return Ok(lines.into_iter().map(|line| line.line).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Both streams of all that the query asks for, where its runs must be known; found once, as a folder may hold
    /// thousands of logs.
    fn with_runs(&self, query: &Query) -> io::Result<Vec<Source>> {
        if !query.previous {
            return Ok(Vec::new());
        }
        let (services, labels) = (query.services.clone(), query.labels.clone());
        source::find(&self.dir, &Query { services, labels, ..Query::default() })
    }
}

/// What is taken of this instance; `all` is what [`Reader::with_runs`] found.
fn filter(query: &Query, instance: &InstanceId, all: &[Source]) -> io::Result<Filter> {
    let run = if query.previous { Some(previous_run(instance, all)?) } else { query.run };
    Ok(Filter { since: query.since, run, grep: query.grep.clone() })
}

/// The run before the instance's latest one, as its logs know them; one that never is when there is none.
fn previous_run(instance: &InstanceId, all: &[Source]) -> io::Result<Run> {
    let mut runs = std::collections::BTreeSet::new();
    for source in all.iter().filter(|source| source.instance == *instance) {
        for file in source.files()? {
            runs.extend(file.index.runs());
            // Two runs in one file: an older file holds no later ones.
            if runs.len() > 1 {
                break;
            }
        }
    }
    Ok(runs.iter().rev().nth(1).copied().unwrap_or(NO_RUN))
}

/// A run that never is.
const NO_RUN: Run = Run(u64::MAX);

/// The last `n` of `lines`.
fn last<T>(mut lines: Vec<T>, n: usize) -> Vec<T> {
    lines.drain(..lines.len().saturating_sub(n));
    lines
}

/// Puts the lines of several streams in the order of their times, keeping each stream's own order.
fn merge(streams: Vec<(Source, impl Iterator<Item = Line>)>) -> Vec<LogLine> {
    let mut lines = Vec::new();
    for (source, stream) in streams {
        let mut latest = Timestamp(i64::MIN);
        for line in stream {
            // A clock that was set back must not reorder a stream.
            latest = latest.max(line.at);
            lines.push((latest, source.line(line)));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests;
