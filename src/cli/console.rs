//! What `up` in the foreground shows: the children's lines behind their names, and what happens to them, one dim line each.
//!
//! Files are read and the terminal is written on a thread of its own: a terminal that is held up (Ctrl-S, a slow pipe)
//! holds up this thread, never supervision. What it is slow to show stays in the files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::broadcast::error::RecvError;

use crate::cli::command::up::LogFormat;
use crate::cli::output::{Output, json, say};
use crate::cli::show::event::{details, rejection, reload_words, sentence};
use crate::cli::show::log::Prefix;
use crate::handle::Handle;
use crate::logs::read::{Follower, Query};
use crate::model::event::{EventRecord, EventWord};
use crate::model::log::LogLine;
use crate::model::names::ServiceName;
use crate::model::plan::{Plan, ServicePlan};
use crate::model::service::Cause;

/// What the printer is told. The queue holds this many; beyond it events are dropped and counted, and news of
/// grown files is not needed, for the printer looks at them anyway.
const QUEUE: usize = 256;
/// Lines taken from the files at once.
const BATCH: usize = 256;
/// What the printer is told.
enum News {
    /// Files may have grown.
    Grown,
    /// Something happened.
    Event(Arc<EventRecord>),
    /// That many events could not be followed.
    Missed(u64),
    /// Print what is left and end.
    End(tokio::sync::oneshot::Sender<()>),
}

/// Which services' output belongs on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of them, later ones too.
    All,
    /// Only these.
    Only(Vec<ServiceName>),
}

/// What a plan says about it.
pub(crate) fn shown_of(plan: &Plan) -> Shown {
    let hidden = |service: &ServicePlan| !service.logs.terminal;
    if !plan.services.iter().any(|service| hidden(service)) {
        return Shown::All;
    }
    Shown::Only(plan.services.iter().filter(|service| !hidden(service)).map(|service| service.name.clone()).collect())
}

/// Shows the lines of services and what happens to them until the engine ends. Follows the files from the moment it is
/// called, not from when it is first awaited.
pub(crate) fn show(handle: Handle, services: Shown, format: LogFormat, out: Output) -> impl Future<Output = ()> {
    let names = names(&handle);
    let printer = Printer {
        follower: follower(&handle, services),
        prefix: Prefix::new(names.iter().map(String::as_str), true, &out.stdout),
        remarks: Prefix::new(names.iter().map(String::as_str), true, &out.stderr),
        format,
        quiet: out.quiet,
        events: true,
        reloading: BTreeSet::new(),
    };
    print(handle, printer)
}

fn names(handle: &Handle) -> Vec<String> {
    let status = handle.snapshot.borrow();
    status.services.iter().flat_map(|service| service.instances.iter().map(|instance| instance.name.clone())).collect()
}

fn follower(handle: &Handle, services: Shown) -> Option<Follower> {
    let services = match services {
        Shown::All => vec![],
        Shown::Only(none) if none.is_empty() => return None,
        Shown::Only(some) => some.into_iter().map(|service| (service, None)).collect(),
    };
    let counts = handle
        .snapshot
        .borrow()
        .services
        .iter()
        .map(|service| (service.name.clone(), u32::try_from(service.instances.len()).unwrap_or(u32::MAX)))
        .collect();
    match handle.logs.follow(&Query { services, lines: 0, labels: counts, ..Query::default() }) {
        Ok(follower) => Some(follower),
        Err(error) => {
            say(&format!("everup: cannot show the services' output: {error}\n"));
            None
        }
    }
}

async fn print(handle: Handle, printer: Printer) {
    let (news, inbox) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("console".to_owned()).spawn(move || printer.work(&inbox));
    if let Err(error) = thread {
        say(&format!("everup: cannot show the services' output: {error}\n"));
        return;
    }
    tell(&handle, &news).await;
    let (done, finished) = tokio::sync::oneshot::channel();
    if send_last(&news, News::End(done)).await {
        // The printer has ended by itself when nobody reads; then there is nothing to wait for.
        let _ = finished.await;
    }
}

/// Passes on what happens until the engine ends: then nobody sends progress any more.
async fn tell(handle: &Handle, news: &SyncSender<News>) {
    let mut events = handle.events.subscribe();
    let mut progress = handle.log_progress.clone();
    let mut missed = 0;
    loop {
        let told = tokio::select! {
            grown = progress.changed() => {
                if grown.is_err() {
                    return;
                }
                News::Grown
            }
            event = events.recv() => match event {
                Ok(event) => News::Event(event),
                Err(RecvError::Lagged(count)) => {
                    missed += count;
                    continue;
                }
                Err(RecvError::Closed) => return,
            },
        };
        if missed > 0 && news.try_send(News::Missed(missed)).is_ok() {
            missed = 0;
        }
        match news.try_send(told) {
            Err(TrySendError::Full(News::Event(_))) => missed += 1,
            Ok(()) | Err(TrySendError::Full(_)) => {}
            // Nobody reads our output any more; the services run on all the same.
            Err(TrySendError::Disconnected(_)) => return std::future::pending().await,
        }
    }
}

/// Sends the last word, as soon as there is room for it; false when nobody listens.
async fn send_last(news: &SyncSender<News>, mut word: News) -> bool {
    loop {
        match news.try_send(word) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => word = back,
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Reads the files and writes the terminal.
struct Printer {
    follower: Option<Follower>,
    prefix: Prefix,
    remarks: Prefix,
    format: LogFormat,
    quiet: bool,
    /// Whether what happens is shown too.
    events: bool,
    /// Services whose steps are told by the end of their reload.
    reloading: BTreeSet<ServiceName>,
}

impl Printer {
    fn work(mut self, inbox: &Receiver<News>) {
        while let Ok(news) = inbox.recv() {
            let shown = match &news {
                News::Grown | News::End(_) => self.lines(),
                // What a child wrote before it ended stands before the word about its end.
                News::Event(event) => self.lines().map(|()| self.event(event)),
                News::Missed(count) => {
                    say(&format!(
                        "everup: {count} events were not shown: they came faster than they could be written\n"
                    ));
                    Ok(())
                }
            };
            if let News::End(done) = news {
                let _ = done.send(());
                return;
            }
            if shown.is_err() {
                return;
            }
        }
        // Dropped without a last word: what is there is still shown, as far as time allows.
        let _ = self.lines();
    }

    /// Writes all lines there are; fails when nobody reads.
    fn lines(&mut self) -> Result<(), std::io::Error> {
        use std::io::Write as _;
        loop {
            let Some(follower) = &mut self.follower else { return Ok(()) };
            let lines = match follower.next_lines(BATCH) {
                Ok(lines) => lines,
                Err(error) => {
                    say(&format!("everup: cannot show the services' output any more: {error}\n"));
                    self.follower = None;
                    return Ok(());
                }
            };
            let full = lines.len() >= BATCH;
            let text: String = lines.iter().map(|line| self.text(line)).collect();
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()?;
            if !full {
                return Ok(());
            }
        }
    }

    fn text(&mut self, line: &LogLine) -> String {
        let mut text = match self.format {
            LogFormat::Text => self.prefix.line(line),
            LogFormat::Json => json(line).unwrap_or_default(),
        };
        text.push('\n');
        text
    }

    fn event(&mut self, event: &EventRecord) {
        let who = event.instance.clone().or_else(|| event.service.as_ref().map(ToString::to_string));
        if let Some(who) = &who {
            self.prefix.learn(who);
        }
        let step = self.follow_reload(event);
        if !self.events || step || (self.quiet && !is_trouble(event.event)) {
            return;
        }
        let Some(words) = worth_showing(event) else { return };
        let text = match (self.format, who) {
            (LogFormat::Text, None) if let Some(diagnostics) = rejection(event) => {
                format!("{}\n{diagnostics}\n", self.remarks.remark("everup", "· the saved file is not applied"))
            }
            (LogFormat::Json, _) => format!("everup: {}\n", sentence(event)),
            (LogFormat::Text, Some(who)) => words.lines().map(|line| self.remarks.remark(&who, line) + "\n").collect(),
            (LogFormat::Text, None) => format!("{}\n", self.remarks.remark("everup", &words)),
        };
        say(&text);
    }
}

impl Printer {
    /// Whether this is but a step of a reload, whose end tells what matters.
    fn follow_reload(&mut self, event: &EventRecord) -> bool {
        let Some(service) = &event.service else { return false };
        match event.event {
            EventWord::ReloadStarted => {
                self.reloading.insert(service.clone());
                false
            }
            EventWord::ReloadDone | EventWord::ReloadRolledBack => {
                self.reloading.remove(service);
                false
            }
            word => self.reloading.contains(service) && is_step(word, event.cause),
        }
    }
}

/// Whether a run that makes way for new code, or starts with it, does as it should.
fn is_step(word: EventWord, cause: Option<Cause>) -> bool {
    let swapped = word == EventWord::Ended && matches!(cause, Some(Cause::Watch | Cause::User));
    swapped
        || matches!(
            word,
            EventWord::Starting | EventWord::Started | EventWord::Ready | EventWord::Unready | EventWord::Stopping
        )
}

/// Whether it is shown even with `-q`.
pub(crate) fn is_trouble(word: EventWord) -> bool {
    matches!(
        word,
        EventWord::Failed
            | EventWord::CrashLooping
            | EventWord::Unhealthy
            | EventWord::ConfigRejected
            | EventWord::ReloadRolledBack
            | EventWord::LogLost
    )
}

/// What happened, in words for people; none for what says nothing to somebody who watches.
fn worth_showing(event: &EventRecord) -> Option<String> {
    if let Some(words) = reload_words(event) {
        return Some(format!("· {words}"));
    }
    let word = match event.event {
        EventWord::Starting | EventWord::Stopping | EventWord::Healthy | EventWord::Notified => return None,
        word => word.to_string().replace('_', " "),
    };
    let details = details(event);
    Some(if details.is_empty() { format!("· {word}") } else { format!("· {word}: {details}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Paint, Surface};
    use crate::cli::show::event::tests::{event, reload};

    #[test]
    fn what_happens_is_one_line_and_steps_in_between_are_none() {
        let ended =
            EventRecord { code: Some(3), cause: Some(Cause::Exit), ran_ms: Some(2_300), ..event(EventWord::Ended) };
        for (event, expected) in [
            (event(EventWord::Starting), None),
            (event(EventWord::Ready), Some("· ready")),
            (EventRecord { pid: Some(7), ..event(EventWord::Started) }, Some("· started: pid 7")),
            (ended, Some("· ended: exit code 3, ran 2.3s")),
            (
                EventRecord { delay_ms: Some(250), ..event(EventWord::Backoff) },
                Some("· backoff: next attempt in 250ms"),
            ),
        ] {
            assert_eq!(worth_showing(&event).as_deref(), expected);
        }
    }

    #[test]
    fn a_reload_is_told_by_its_beginning_and_its_end() {
        let plain = Surface { terminal: false, paint: Paint(false), width: None };
        let mut printer = Printer {
            follower: None,
            prefix: Prefix::new(std::iter::empty(), true, &plain),
            remarks: Prefix::new(std::iter::empty(), true, &plain),
            format: LogFormat::Text,
            quiet: false,
            events: true,
            reloading: BTreeSet::new(),
        };
        let ended = |cause| EventRecord { cause: Some(cause), ..event(EventWord::Ended) };
        for (event, step) in [
            (event(EventWord::Ready), false),
            (reload(EventWord::ReloadStarted, "app.py changed"), false),
            (ended(Cause::Watch), true),
            (event(EventWord::Started), true),
            (event(EventWord::Ready), true),
            (ended(Cause::Exit), false),
            (event(EventWord::Failed), false),
            (reload(EventWord::ReloadDone, "app.py: ready after 212ms"), false),
            (event(EventWord::Started), false),
            (ended(Cause::Watch), false),
        ] {
            assert_eq!(printer.follow_reload(&event), step, "{event:?}");
        }
    }
}
