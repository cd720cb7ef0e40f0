//! What `run` and `dev` say while their one program has the terminal: how it ended and what follows, one line each, not
//! too many.

use tokio::sync::broadcast::error::RecvError;

use crate::cli::console::is_trouble;
use crate::cli::output::{Output, say};
use crate::cli::show::event::{rejection, reload_words, sentence, tame_lines, tone};
use crate::handle::Handle;
use crate::model::event::{EventRecord, EventWord};
use crate::model::service::Cause;
use crate::model::status::Status;

/// Remarks of `run` shown in any [`WINDOW_MS`]; further ones are counted.
const REMARKS: u32 = 5;
/// The span in which [`REMARKS`] are counted.
const WINDOW_MS: u64 = 10_000;

/// everup's short remarks while one program has the terminal to itself; `raw` where the terminal is in raw mode.
pub(crate) async fn remark(handle: Handle, raw: bool, out: Output) {
    let mut events = handle.events.subscribe();
    let mut progress = handle.log_progress.clone();
    let snapshot = handle.snapshot.clone();
    drop(handle);
    let mut limit = Limit::default();
    let mut told = Told::default();
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
        let text = told.remark(&event, || runs(&snapshot.borrow(), &event));
        let Some(text) = text.filter(|_| !out.quiet || is_trouble(event.event)) else { continue };
        let text = out.talk_paint().text(tone(event.event), &text);
        if answers_a_save(event.event) {
            say_lines(&text, raw);
            continue;
        }
        match limit.allow(crate::os::clock::now().moment.0) {
            Allowed::Yes(0) => say_lines(&text, raw),
            Allowed::Yes(left_out) => {
                say_lines(&format!("everup: {left_out} remarks were left out; `everup events` has them"), raw);
                say_lines(&text, raw);
            }
            Allowed::No => {}
        }
    }
}

fn say_lines(text: &str, raw: bool) {
    say(&if raw { format!("\r{}\r\n", text.replace('\n', "\r\n")) } else { format!("{text}\n") });
}

/// Whether it is what somebody who has just saved a file waits for: said however often they save.
fn answers_a_save(word: EventWord) -> bool {
    matches!(
        word,
        EventWord::ReloadStarted
            | EventWord::ReloadDone
            | EventWord::ReloadRolledBack
            | EventWord::Failed
            | EventWord::ConfigApplied
            | EventWord::ConfigRejected
    )
}

/// Whether anything of the event's service runs.
fn runs(status: &Status, event: &EventRecord) -> bool {
    let service = status.services.iter().find(|service| Some(&service.name) == event.service.as_ref());
    service.is_some_and(|service| service.instances.iter().any(|instance| instance.pid.is_some()))
}

/// What was told, as far as it decides what is worth telling next.
#[derive(Debug, Default)]
struct Told {
    /// How a run ended, kept until it is known what follows from it.
    ended: Option<String>,
    /// A reload is under way; whether the new code has been started.
    reloading: Option<bool>,
    /// It failed since the last reload began.
    failed: bool,
}

impl Told {
    /// The remark about an event.
    fn remark(&mut self, event: &EventRecord, runs: impl FnOnce() -> bool) -> Option<String> {
        if let Some(diagnostics) = rejection(event) {
            return Some(format!("everup: the saved file is not applied\n{diagnostics}"));
        }
        let app = event.instance.clone().or_else(|| event.service.as_ref().map(ToString::to_string))?;
        match event.event {
            EventWord::ReloadStarted => {
                (self.reloading, self.failed) = (Some(false), false);
                reload_words(event).map(|words| format!("everup: {words}"))
            }
            EventWord::ReloadDone => {
                (self.reloading, self.ended) = (None, None);
                reload_words(event).map(|words| format!("everup: {app} {words}"))
            }
            EventWord::ReloadRolledBack => {
                let follows = match (self.reloading.take(), runs()) {
                    (_, true) => "the running one stays",
                    // How the new one ended, and that it waits for a save, is told of the instance.
                    (Some(true), false) => return None,
                    (Some(false) | None, false) if self.failed => return None,
                    (Some(false) | None, false) => "waits for your next save",
                };
                let message = event.message.as_deref().map(tame_lines).unwrap_or_default();
                let (first, rest) = message.split_once('\n').unwrap_or((&message, ""));
                Some(format!("everup: {first} ({follows})\n{rest}").trim_end().to_owned())
            }
            EventWord::Ended => {
                // Whoever saved knows why the old one ended.
                let swapped = self.reloading == Some(false) && matches!(event.cause, Some(Cause::Watch | Cause::User));
                self.ended = (!swapped).then(|| end(event));
                None
            }
            EventWord::Backoff => {
                let how = self.ended.take().unwrap_or_else(|| end(event));
                let when = match event.delay_ms {
                    None | Some(0) => "restarting".to_owned(),
                    Some(ms) => {
                        format!("restarting in {}", crate::cli::time::length(std::time::Duration::from_millis(ms)))
                    }
                };
                Some(format!("everup: {app} {how}, {when} (why: everup why {app})"))
            }
            EventWord::Starting => {
                self.reloading = self.reloading.map(|_| true);
                let how = self.ended.take()?;
                Some(format!("everup: {app} {how}, restarting (why: everup why {app})"))
            }
            EventWord::Failed => {
                (self.ended, self.failed) = (None, true);
                Some(format!("everup: {}", sentence(event)))
            }
            EventWord::Unhealthy | EventWord::CrashLooping | EventWord::LogLost | EventWord::ConfigApplied => {
                Some(format!("everup: {}", sentence(event)))
            }
            EventWord::Started
            | EventWord::Ready
            | EventWord::Unready
            | EventWord::Healthy
            | EventWord::ProbeFailed
            | EventWord::Stopping
            | EventWord::Completed
            | EventWord::Recovered
            | EventWord::Held
            | EventWord::ReloadSwitched
            | EventWord::ConfigRejected
            | EventWord::Scaled
            | EventWord::Adopted
            | EventWord::EngineRestarted
            | EventWord::Upgraded
            | EventWord::UpgradeFailed
            | EventWord::Notified => None,
        }
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
    use crate::cli::show::event::tests::{event, reload};
    use crate::model::signal::Signal;

    #[test]
    fn run_says_how_it_ended_and_what_follows_in_one_line() {
        let ended = EventRecord { code: Some(3), cause: Some(Cause::Exit), ..event(EventWord::Ended) };
        let backoff = EventRecord { delay_ms: Some(250), ..event(EventWord::Backoff) };
        let killed = EventRecord { signal: Some(Signal::KILL), cause: Some(Cause::Probe), ..event(EventWord::Ended) };
        says(&[
            (ended, true, None),
            (backoff, false, Some("everup: web ended with exit code 3, restarting in 250ms (why: everup why web)")),
            (event(EventWord::Starting), false, None),
            (killed, true, None),
            (
                event(EventWord::Starting),
                false,
                Some("everup: web ended (probe failed), restarting (why: everup why web)"),
            ),
        ]);
    }

    #[test]
    fn a_save_is_answered_by_what_became_of_it() {
        let started = || reload(EventWord::ReloadStarted, "app.py changed");
        let old_ended = || EventRecord { cause: Some(Cause::Watch), ..event(EventWord::Ended) };
        let new_ended = || EventRecord { cause: Some(Cause::Exit), code: Some(1), ..event(EventWord::Ended) };
        let place = "app.py:3: NameError: name 'x' is not defined";
        let waits = format!("{place} (waits for a change of its files)");
        let failed = || EventRecord { code: Some(1), message: Some(waits.clone()), ..event(EventWord::Failed) };
        let on = Some("everup: app.py changed → restarting");
        let done = reload(EventWord::ReloadDone, "app.py: ready after 212ms");
        says(&[
            (started(), true, on),
            (old_ended(), false, None),
            (event(EventWord::Starting), false, None),
            (done, true, Some("everup: web ready, 212ms after the save")),
        ]);
        let broken = || reload(EventWord::ReloadRolledBack, "app.py:3: SyntaxError: invalid syntax");
        let checked = reload(EventWord::ReloadRolledBack, "src/a.rs:3: error\n  |\n3 | x\n");
        says(&[
            (started(), true, on),
            (checked, true, Some("everup: src/a.rs:3: error (the running one stays)\n  |\n3 | x")),
        ]);
        says(&[
            (started(), true, on),
            (broken(), true, Some("everup: app.py:3: SyntaxError: invalid syntax (the running one stays)")),
            (started(), false, on),
            (broken(), false, Some("everup: app.py:3: SyntaxError: invalid syntax (waits for your next save)")),
        ]);
        let told = format!("everup: web failed: exit code 1, {waits}");
        says(&[
            (started(), true, on),
            (old_ended(), false, None),
            (event(EventWord::Starting), false, None),
            (new_ended(), false, None),
            (reload(EventWord::ReloadRolledBack, place), false, None),
            (failed(), false, Some(&told)),
            (started(), false, on),
            (event(EventWord::Starting), false, None),
        ]);
        // Saved so fast that the run before read it too.
        says(&[
            (started(), true, on),
            (new_ended(), false, None),
            (failed(), false, Some(&told)),
            (broken(), false, None),
        ]);
    }

    #[test]
    fn a_file_with_mistakes_is_told_of_with_all_of_them() {
        let message = Some("error: no key `comand`\n  |\n3 | comand\n".to_owned());
        let rejected = EventRecord { service: None, instance: None, message, ..event(EventWord::ConfigRejected) };
        says(&[(
            rejected,
            true,
            Some("everup: the saved file is not applied\nerror: no key `comand`\n  |\n3 | comand"),
        )]);
    }

    /// What is said of these events, one after the other; with each whether anything of the service runs then.
    fn says(story: &[(EventRecord, bool, Option<&str>)]) {
        let mut told = Told::default();
        for (event, runs, expected) in story {
            assert_eq!(told.remark(event, || *runs).as_deref(), *expected, "{event:?}");
        }
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
