//! What `run` says while its program has the terminal: how it ended and what follows, one line each, not too many.

use tokio::sync::broadcast::error::RecvError;

use crate::cli::console::is_trouble;
use crate::cli::output::{Output, say};
use crate::cli::show::event::sentence;
use crate::handle::Handle;
use crate::model::event::{EventRecord, EventWord};

/// Remarks of `run` shown in any [`WINDOW_MS`]; further ones are counted.
const REMARKS: u32 = 5;
/// The span in which [`REMARKS`] are counted.
const WINDOW_MS: u64 = 10_000;

/// everup's short remarks while the program of `run` has the terminal to itself; `raw` where the terminal is in raw mode.
pub(crate) async fn remark(handle: Handle, raw: bool, out: Output) {
    let mut events = handle.events.subscribe();
    let mut progress = handle.log_progress.clone();
    drop(handle);
    let mut limit = Limit::default();
    let mut ended: Option<String> = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            grown = progress.changed() => {
                match grown {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
        };
        let event = match event {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Some(text) = wrapped(&event, &mut ended) else { continue };
        if out.quiet && !is_trouble(event.event) {
            continue;
        }
        match limit.allow(crate::os::clock::now().moment.0) {
            Allowed::Yes(0) => say_line(&text, raw),
            Allowed::Yes(left_out) => {
                say_line(&format!("everup: {left_out} remarks were left out; `everup events` has them"), raw);
                say_line(&text, raw);
            }
            Allowed::No => {}
        }
    }
}

fn say_line(text: &str, raw: bool) {
    say(&if raw { format!("\r{text}\r\n") } else { format!("{text}\n") });
}

/// The remark of `run` about an event. How a run ended is kept until it is known what follows from it.
fn wrapped(event: &EventRecord, ended: &mut Option<String>) -> Option<String> {
    let app = event.instance.clone().or_else(|| event.service.as_ref().map(ToString::to_string))?;
    match event.event {
        EventWord::Ended => {
            *ended = Some(end(event));
            None
        }
        EventWord::Backoff => {
            let how = ended.take().unwrap_or_else(|| end(event));
            let when = match event.delay_ms {
                None | Some(0) => "restarting".to_owned(),
                Some(ms) => format!("restarting in {}", crate::cli::time::length(std::time::Duration::from_millis(ms))),
            };
            Some(format!("everup: {app} {how}, {when} (why: everup why {app})"))
        }
        EventWord::Starting => {
            ended.take().map(|how| format!("everup: {app} {how}, restarting (why: everup why {app})"))
        }
        EventWord::Unhealthy | EventWord::Failed | EventWord::CrashLooping | EventWord::LogLost => {
            Some(format!("everup: {}", sentence(event)))
        }
        _ => None,
    }
}

fn end(event: &EventRecord) -> String {
    match (event.code, event.signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match event.cause {
            Some(cause) if cause != crate::model::service::Cause::Signal => {
                format!("ended ({})", crate::cli::show::state::cause_words(cause))
            }
            _ => format!("ended by signal {signal}"),
        },
        (None, None) => event
            .message
            .clone()
            .map_or_else(|| "ended".to_owned(), |message| format!("ended ({})", crate::cli::output::tame(&message))),
    }
}

/// Lets some remarks through in each window and counts the others.
#[derive(Debug, Default)]
struct Limit {
    since_ms: u64,
    said: u32,
    left_out: u32,
}

/// Whether a remark may be made.
#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    /// Yes, after so many that could not.
    Yes(u32),
    /// Not now.
    No,
}

impl Limit {
    fn allow(&mut self, now_ms: u64) -> Allowed {
        if now_ms.saturating_sub(self.since_ms) >= WINDOW_MS {
            self.since_ms = now_ms;
            self.said = 0;
        }
        if self.said >= REMARKS {
            self.left_out += 1;
            return Allowed::No;
        }
        self.said += 1;
        Allowed::Yes(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::event::tests::event;
    use crate::model::service::Cause;
    use crate::model::signal::Signal;

    #[test]
    fn run_says_how_it_ended_and_what_follows_in_one_line() {
        let mut kept = None;
        let ended = EventRecord { code: Some(3), cause: Some(Cause::Exit), ..event(EventWord::Ended) };
        assert_eq!(wrapped(&ended, &mut kept), None);
        let backoff = EventRecord { delay_ms: Some(250), ..event(EventWord::Backoff) };
        assert_eq!(
            wrapped(&backoff, &mut kept).as_deref(),
            Some("everup: web ended with exit code 3, restarting in 250ms (why: everup why web)")
        );
        assert_eq!(kept, None);
        assert_eq!(wrapped(&event(EventWord::Starting), &mut kept), None);
        let killed = EventRecord { signal: Some(Signal::KILL), cause: Some(Cause::Probe), ..event(EventWord::Ended) };
        assert_eq!(wrapped(&killed, &mut kept), None);
        assert_eq!(
            wrapped(&event(EventWord::Starting), &mut kept).as_deref(),
            Some("everup: web ended (probe failed), restarting (why: everup why web)")
        );
    }

    #[test]
    fn a_crash_loop_does_not_flood_the_terminal() {
        let mut limit = Limit::default();
        let said = (0..20).filter(|at| limit.allow(100_000 + at) != Allowed::No).count();
        assert_eq!(said, 5);
        assert_eq!(limit.allow(110_000), Allowed::Yes(15));
        assert_eq!(limit.allow(110_001), Allowed::Yes(0));
    }
}
