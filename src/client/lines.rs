//! Streams: what services wrote and what happened, an object a line.

use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::client::http::{Answer, Fault, encode};
use crate::client::{ClientError, Refusal, parse};
use crate::model::history::Metric;
use crate::model::log::{Lost, Stream};
use crate::model::units::format_duration;

/// A line, in bytes: a child's longest line with every byte escaped fits, and a project of thousands of instances.
const LINE_SIZE: u64 = 64 << 20;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogArgs {
    /// `web`, `web/2`, `web*`; empty: all.
    pub selectors: Vec<String>,
    /// The latest so many; 50 unless given, with `since` as many as there are.
    pub n: Option<usize>,
    /// A duration back or an RFC 3339 time.
    pub since: Option<String>,
    /// Go on with what comes.
    pub follow: bool,
    /// Only one of the outputs.
    pub stream: Option<Stream>,
    /// The run before the current one.
    pub previous: bool,
    /// Only lines this regular expression matches.
    pub grep: Option<String>,
}

impl LogArgs {
    pub(crate) fn path(&self) -> String {
        let stream = self.stream.map(|stream| match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        });
        let mut path = Path::new("/v1/logs");
        path.add("services", (!self.selectors.is_empty()).then(|| self.selectors.join(",")));
        path.add("n", self.n.map(|n| n.to_string()));
        path.add("since", self.since.clone());
        path.add("follow", self.follow.then(|| "true".to_owned()));
        path.add("stream", stream.map(str::to_owned));
        path.add("previous", self.previous.then(|| "true".to_owned()));
        path.add("grep", self.grep.clone());
        path.0
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventArgs {
    /// `web`, `web/2`, `web*`; none: all.
    pub service: Option<String>,
    /// The latest so many; 100 unless given, with `since` as many as there are.
    pub n: Option<usize>,
    /// A duration back, an RFC 3339 time, or `seq:N` for what came after event N.
    pub since: Option<String>,
    /// Go on with what comes.
    pub follow: bool,
}

impl EventArgs {
    pub(crate) fn path(&self) -> String {
        let mut path = Path::new("/v1/events");
        path.add("service", self.service.clone());
        path.add("n", self.n.map(|n| n.to_string()));
        path.add("since", self.since.clone());
        path.add("follow", self.follow.then(|| "true".to_owned()));
        path.0
    }
}

/// Which usage is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryArgs {
    /// A duration back or an RFC 3339 time; none: an hour before `until`.
    pub since: Option<String>,
    /// As `since`; none: now.
    pub until: Option<String>,
    /// How long each row lasts; none: what fits.
    pub step: Option<Duration>,
    /// Only these; empty: all.
    pub metrics: Vec<Metric>,
}

impl HistoryArgs {
    pub(crate) fn path(&self, name: &str) -> String {
        let words: Vec<&str> = self.metrics.iter().map(|metric| metric.word()).collect();
        let mut path = Path::new(&format!("/v1/services/{}/history", encode(name)));
        path.add("since", self.since.clone());
        path.add("until", self.until.clone());
        path.add("step", self.step.map(format_duration));
        path.add("metric", (!words.is_empty()).then(|| words.join(",")));
        path.0
    }
}

/// A path that grows arguments.
struct Path(String);

impl Path {
    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn add(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            let mark = if self.0.contains('?') { "&" } else { "?" };
            for part in [mark, name, "=", &encode(&value)] {
                self.0.push_str(part);
            }
        }
    }
}

/// One thing of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streamed<T> {
    /// What was asked for.
    Item(T),
    /// So many are missing here: we were too slow.
    Lost(u64),
}

/// A stream of objects; ends when the other side has no more, or goes.
#[derive(Debug)]
pub struct Lines<T> {
    socket: PathBuf,
    body: BufReader<Answer>,
    over: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Lines<T> {
    pub(crate) fn new(socket: PathBuf, answer: Answer) -> Result<Self, Fault> {
        answer.endless()?;
        Ok(Self { socket, body: BufReader::new(answer), over: false, of: PhantomData })
    }

    /// Ends it with [`ClientError::Silent`] when nothing comes for so long.
    pub(crate) fn silent_at_most(self, limit: Duration) -> Result<Self, ClientError> {
        match self.body.get_ref().patience(Some(limit)) {
            Ok(()) => Ok(self),
            Err(fault) => Err(fault.at(&self.socket)),
        }
    }

    /// What ends it from another thread.
    ///
    /// # Errors
    /// [`ClientError::Broken`] without a descriptor left for it.
    pub fn hang_up(&self) -> Result<HangUp, ClientError> {
        let connection = self.body.get_ref().connection().try_clone();
        connection.map(HangUp).map_err(|error| Fault::Io(error).at(&self.socket))
    }

    /// The next line as it came, without its end; waits for it.
    pub fn next_text(&mut self) -> Option<Result<String, ClientError>> {
        if self.over {
            return None;
        }
        let mut line = String::new();
        let fault = match (&mut self.body).take(LINE_SIZE).read_line(&mut line) {
            Ok(0) => {
                self.over = true;
                return None;
            }
            Ok(_) if line.ends_with('\n') => {
                line.pop();
                return Some(Ok(line));
            }
            Ok(_) => Fault::Odd("a line does not end".to_owned()),
            Err(error) => error.into(),
        };
        self.over = true;
        Some(Err(fault.at(&self.socket)))
    }
}

/// Ends a stream that another thread reads.
#[derive(Debug)]
pub struct HangUp(UnixStream);

impl HangUp {
    /// Ends it: its reader gets no more, or an error.
    pub fn now(&self) {
        // One that has ended already is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<Streamed<T>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_text()?.and_then(|line| {
            if line.starts_with(r#"{"lost""#) {
                return parse(&self.socket, &line).map(|Lost { lost }| Streamed::Lost(lost));
            }
            if line.starts_with(r#"{"error""#) {
                return Err(parse::<Refusal>(&self.socket, &line)?.error.into());
            }
            parse(&self.socket, &line).map(Streamed::Item)
        }))
    }
}
