//! Where news comes from: a thread for the keyboard, for signals, for the project, for its events, for one log, and for
//! each action. All of them put it into one bounded queue; who is faster than the screen waits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, park_timeout};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::cli::output::{Tone, tame};
use crate::cli::top::app::News;
use crate::client::action::Action;
use crate::client::lines::{EventArgs, HangUp, LogArgs, Streamed};
use crate::client::{Client, ClientError};
use crate::model::command::Outcome;

/// How long until a lost connection is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an action may take.
const WAIT: Duration = Duration::from_secs(30);
/// How many events a connection begins with.
const EVENTS: usize = 200;
/// How many lines a log begins with.
const LINES: usize = 500;

/// Passes news on to the screen; false once nobody takes it.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    news: SyncSender<News>,
    socket: PathBuf,
}

impl Feed {
    pub(super) fn new(news: SyncSender<News>, socket: PathBuf) -> Self {
        Self { news, socket }
    }

    fn tell(&self, news: News) -> bool {
        self.news.send(news).is_ok()
    }

    fn thread(&self, name: &str, work: impl FnOnce(Self) + Send + 'static) -> std::io::Result<()> {
        let feed = self.clone();
        // Nobody waits for them: they end with the process.
        Builder::new().name(name.to_owned()).spawn(move || work(feed)).map(drop)
    }

    /// Begins everything that is always listened to.
    ///
    /// # Errors
    /// When a thread or a signal cannot be had.
    pub(super) fn begin(&self) -> std::io::Result<()> {
        let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
        self.thread("signals", move |feed| feed.signals(signals))?;
        self.thread("keys", |feed| feed.keys())?;
        self.thread("overview", |feed| feed.overviews())?;
        self.thread("events", |feed| feed.events())
    }

    fn signals(&self, mut signals: Signals) {
        for signal in signals.forever() {
            if !self.tell(News::Signal(signal)) {
                return;
            }
        }
    }

    fn keys(&self) {
        loop {
            let goes_on = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => self.tell(News::Key(key)),
                Ok(Event::Resize(..)) => self.tell(News::Resized),
                Ok(_) => true,
                Err(_) => {
                    self.tell(News::KeysGone);
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    fn overviews(&self) {
        loop {
            let reason = match self.overviews_of_one_connection() {
                None => return,
                Some(Ok(())) => "everup has ended".to_owned(),
                Some(Err(error)) => told(&error),
            };
            if !self.tell(News::Lost(reason)) {
                return;
            }
            park_timeout(AGAIN);
        }
    }

    /// None once nobody takes them.
    fn overviews_of_one_connection(&self) -> Option<Result<(), ClientError>> {
        let lines = match Client::connect(&self.socket).and_then(|client| client.overviews()) {
            Ok(lines) => lines,
            Err(error) => return Some(Err(error)),
        };
        let mut goes_on = self.tell(News::Connected);
        for line in lines {
            match line {
                Ok(Streamed::Item(overview)) => goes_on = goes_on && self.tell(News::Overview(Box::new(overview))),
                Ok(Streamed::Lost(_)) => {}
                Err(error) => return Some(Err(error)),
            }
            if !goes_on {
                return None;
            }
        }
        Some(Ok(()))
    }

    fn events(&self) {
        let args = EventArgs { service: None, n: Some(EVENTS), since: None, follow: true };
        loop {
            // Whether the connection works is said by the one for the overview.
            if let Ok(lines) = Client::connect(&self.socket).and_then(|client| client.events(&args)) {
                let mut goes_on = self.tell(News::EventsAnew);
                for line in lines.map_while(Result::ok) {
                    if let Streamed::Item(event) = line {
                        goes_on = goes_on && self.tell(News::Event(Box::new(event)));
                    }
                    if !goes_on {
                        return;
                    }
                }
            }
            park_timeout(AGAIN);
        }
    }

    /// Asks for an action in a thread of its own.
    pub(super) fn act(&self, action: Action) {
        let done = self.thread("action", move |feed| {
            let asked = Client::connect(&feed.socket).and_then(|client| client.act(&action, Some(WAIT)));
            feed.tell(match asked {
                Ok(outcome) => News::Done(Tone::Good, outcome_words(&outcome)),
                Err(error) => News::Done(Tone::Bad, told(&error)),
            });
        });
        if let Err(error) = done {
            // The queue may be full of what the screen has not taken, and it is the screen that asks here.
            let _ = self.news.try_send(News::Done(Tone::Bad, format!("cannot start a thread: {error}")));
        }
    }

    /// Follows the log of this instance under this number until the follower is dropped.
    pub(super) fn log(&self, number: u64, selector: String) -> std::io::Result<Follower> {
        let follower = Follower::default();
        let shared = Arc::clone(&follower.0);
        self.thread("log", move |feed| {
            while !shared.is_over.load(Ordering::Acquire) {
                feed.lines_of_one_connection(number, &selector, &shared);
                park_timeout(AGAIN);
            }
        })?;
        Ok(follower)
    }

    fn lines_of_one_connection(&self, number: u64, selector: &str, shared: &Shared) {
        let args = LogArgs { selectors: vec![selector.to_owned()], n: Some(LINES), follow: true, ..LogArgs::default() };
        let Ok(lines) = Client::connect(&self.socket).and_then(|client| client.logs(&args)) else { return };
        let lines = lines.of_one_connection();
        let Ok(hang_up) = lines.hang_up() else { return };
        *shared.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(hang_up);
        if !self.tell(News::LogAnew(number)) {
            return;
        }
        for line in lines.map_while(Result::ok) {
            // Also where it was dropped before there was a connection to hang up.
            if shared.is_over.load(Ordering::Acquire) {
                return;
            }
            let told = match line {
                Streamed::Item(line) => self.tell(News::Line(number, Box::new(line))),
                Streamed::Lost(count) => self.tell(News::LinesLost(number, count)),
            };
            if !told {
                return;
            }
        }
    }
}

/// A log that is followed; dropped, it is no longer.
#[derive(Debug, Default)]
pub(super) struct Follower(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    connection: Mutex<Option<HangUp>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        if let Some(hang_up) = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).take() {
            hang_up.now();
        }
    }
}

/// What an action came to, in one line.
fn outcome_words(outcome: &Outcome) -> String {
    let services = outcome.services.iter().map(|service| {
        let message = if service.message.is_empty() { service.state.to_string() } else { service.message.clone() };
        format!("{}: {message}", service.name)
    });
    let parts: Vec<String> = services.chain(outcome.notes.iter().cloned()).collect();
    if parts.is_empty() { "done".to_owned() } else { tame(&parts.join(" · ")) }
}

/// An error in one line, with what to do next where that is known.
fn told(error: &ClientError) -> String {
    match error {
        ClientError::Denied(denied) => {
            let hint = denied.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            tame(&format!("{}{hint}", denied.message))
        }
        ClientError::NoSupervisor { .. } => "no everup runs there".to_owned(),
        ClientError::Silent { .. } => "everup does not answer".to_owned(),
        ClientError::Restarted { .. } => "everup's engine was restarted before it answered".to_owned(),
        error @ (ClientError::Cut { .. } | ClientError::Broken { .. }) => tame(&error.to_string()),
    }
}
