//! Streams: what services wrote and what happened, an object a line.

use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub use crate::client::cursor::Followed;

use crate::client::cursor::Cursor;
use crate::client::http::{Answer, Ask, Fault, encode};
use crate::client::{ClientError, Refusal, again, begun, parse, reach};
use crate::model::log::{Lost, Stream};

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

/// A stream of objects; ends when the other side has no more, or goes. One that follows goes on where it was when the
/// engine dies and another takes its place.
#[derive(Debug)]
pub struct Lines<T> {
    socket: PathBuf,
    body: BufReader<Answer>,
    cursor: Cursor,
    over: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Lines<T> {
    pub(crate) fn new(socket: PathBuf, answer: Answer, cursor: Cursor) -> Result<Self, Fault> {
        answer.endless()?;
        Ok(Self { socket, body: BufReader::new(answer), cursor, over: false, of: PhantomData })
    }

    /// Ends with its connection, whoever answers there afterwards.
    #[must_use]
    pub fn of_one_connection(self) -> Self {
        Self { cursor: Cursor::NONE, ..self }
    }

    /// Asks for what comes behind the last that was read.
    fn reconnect(&mut self) -> Result<bool, ClientError> {
        let Some(path) = self.cursor.go_on() else { return Ok(false) };
        let ask = Ask::get(path);
        let answer = again(|| {
            let answer = Answer::to(&ask, reach(&self.socket)?).map_err(|fault| fault.at(&self.socket))?;
            begun(answer, &self.socket)
        })?;
        answer.endless().map_err(|fault| fault.at(&self.socket))?;
        self.body = BufReader::new(answer);
        Ok(true)
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
    fn next_text(&mut self) -> Option<Result<String, ClientError>> {
        while !self.over {
            let mut line = String::new();
            let fault = match (&mut self.body).take(LINE_SIZE).read_line(&mut line) {
                Ok(0) => break,
                Ok(_) if line.ends_with('\n') => {
                    line.pop();
                    return Some(Ok(line));
                }
                Ok(_) => Fault::Odd("a line does not end".to_owned()),
                Err(error) => error.into(),
            };
            let went_on = match fault {
                Fault::Cut => self.reconnect(),
                Fault::Silent | Fault::Odd(_) | Fault::Io(_) => Ok(false),
            };
            match went_on {
                Ok(true) => {}
                Ok(false) => {
                    self.over = true;
                    return Some(Err(fault.at(&self.socket)));
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        self.over = true;
        None
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

impl<T: DeserializeOwned + Followed> Iterator for Lines<T> {
    type Item = Result<Streamed<T>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.next_text()?.and_then(|line| {
                if line.starts_with(r#"{"lost""#) {
                    return parse(&self.socket, &line).map(|Lost { lost }| Streamed::Lost::<T>(lost));
                }
                if line.starts_with(r#"{"error""#) {
                    return Err(parse::<Refusal>(&self.socket, &line)?.error.into());
                }
                parse(&self.socket, &line).map(Streamed::Item)
            });
            match &next {
                Ok(Streamed::Item(item)) if !item.is_new(&mut self.cursor) => {}
                _ => return Some(next),
            }
        }
    }
}
