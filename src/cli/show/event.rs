//! `everup events`: one line an event.

use std::time::Duration;

use crate::cli::output::{Paint, Tone, tame};
use crate::cli::show::state::cause_words;
use crate::cli::show::why::certainty_words;
use crate::cli::time::length;
use crate::model::event::{CHECKED_BY, EventRecord, EventWord};
use crate::model::service::{Cause, Certainty};

/// The columns in which names stand.
const NAME_WIDTH: usize = 12;

/// One line without its end: when (as the caller puts it), who, what, and why.
pub(crate) fn line(event: &EventRecord, when: &str, paint: Paint) -> String {
    let who = event
        .instance
        .clone()
        .or_else(|| event.service.as_ref().map(ToString::to_string))
        .unwrap_or_else(|| "-".to_owned());
    let word = paint.text(tone(event.event), &format!("{:<14}", event.event.to_string()));
    let text =
        format!("{}  {who:<NAME_WIDTH$}  {word}  {}", paint.text(Tone::Dim, &format!("{when:>9}")), details(event));
    text.trim_end().to_owned()
}

/// One short sentence: `web ended with exit code 3 after 2.3s`, `web waits 250ms (exit 3)`.
pub(crate) fn sentence(event: &EventRecord) -> String {
    let who = event.instance.clone().or_else(|| event.service.as_ref().map(ToString::to_string)).unwrap_or_default();
    let details = details(event);
    let word = event.event.to_string().replace('_', " ");
    let text = if details.is_empty() { format!("{who} {word}") } else { format!("{who} {word}: {details}") };
    text.trim().to_owned()
}

/// What somebody who watches is told of a reload: `app.py changed → restarting`, `ready, 212ms after the save`, `not
/// reloaded: app.py:3: SyntaxError` and in further lines what the check wrote; none for other events.
pub(crate) fn reload_words(event: &EventRecord) -> Option<String> {
    let message = event.message.as_deref().map(tame_lines).unwrap_or_default();
    let by_save = event.cause == Some(Cause::Watch);
    Some(match event.event {
        EventWord::ReloadStarted if message.contains(CHECKED_BY) => message.replacen(CHECKED_BY, " → ", 1),
        EventWord::ReloadStarted if by_save => format!("{message} → restarting"),
        EventWord::ReloadStarted => format!("reload {message}").trim_end().to_owned(),
        EventWord::ReloadDone => match event.ran_ms.map(|ms| length(Duration::from_millis(ms))) {
            Some(after) if by_save => format!("ready, {after} after the save"),
            Some(after) => format!("ready, {after} after it was asked for"),
            None => message,
        },
        EventWord::ReloadRolledBack => format!("not reloaded: {message}"),
        EventWord::Starting
        | EventWord::Started
        | EventWord::Ready
        | EventWord::Unready
        | EventWord::Healthy
        | EventWord::Unhealthy
        | EventWord::ProbeFailed
        | EventWord::Stopping
        | EventWord::Ended
        | EventWord::Backoff
        | EventWord::Failed
        | EventWord::Completed
        | EventWord::CrashLooping
        | EventWord::Recovered
        | EventWord::Held
        | EventWord::ReloadSwitched
        | EventWord::ConfigApplied
        | EventWord::ConfigRejected
        | EventWord::Scaled
        | EventWord::Adopted
        | EventWord::EngineRestarted
        | EventWord::Upgraded
        | EventWord::UpgradeFailed
        | EventWord::LogLost
        | EventWord::Notified => return None,
    })
}

/// What is wrong with a file that was not applied, whole: several lines.
pub(crate) fn rejection(event: &EventRecord) -> Option<String> {
    event.message.as_deref().filter(|_| event.event == EventWord::ConfigRejected).map(tame_lines)
}

/// A text of several lines, each in check.
pub(crate) fn tame_lines(text: &str) -> String {
    text.lines().map(tame).collect::<Vec<_>>().join("\n")
}

/// Everything but when, who and what.
pub(crate) fn details(event: &EventRecord) -> String {
    let reload = matches!(event.event, EventWord::ReloadStarted | EventWord::ReloadDone | EventWord::ReloadRolledBack);
    if let Some(message) = event.message.as_deref().filter(|_| reload) {
        // It names the files, and how long it took; what a check wrote besides is not for a line.
        return message.lines().next().map(tame).unwrap_or_default();
    }
    let mut parts = vec![];
    match (event.code, event.signal) {
        (Some(code), _) => parts.push(format!("exit code {code}")),
        (None, Some(signal)) => parts.push(format!("signal {signal}")),
        (None, None) => {}
    }
    if let Some(cause) = event.cause.filter(|cause| !matches!(cause, Cause::Exit | Cause::Signal) || parts.is_empty()) {
        let certainty = event.certainty.filter(|certainty| *certainty != Certainty::Certain);
        let sure = certainty.map(|certainty| format!(" ({})", certainty_words(certainty))).unwrap_or_default();
        parts.push(format!("{}{sure}", cause_words(cause)));
    }
    // It says so itself.
    let upgrade = matches!(event.event, EventWord::Upgraded | EventWord::UpgradeFailed);
    if let Some(ms) = event.ran_ms.filter(|_| !upgrade) {
        let verb = if event.event == EventWord::Ended { "ran" } else { "after" };
        parts.push(format!("{verb} {}", length(Duration::from_millis(ms))));
    }
    if let Some(ms) = event.delay_ms {
        parts.push(format!("next attempt in {}", length(Duration::from_millis(ms))));
    }
    if let (EventWord::Started, Some(pid)) = (event.event, event.pid) {
        parts.push(format!("pid {pid}"));
    }
    // How it ended stands there already.
    let told = event.event == EventWord::Ended && (event.code.is_some() || event.signal.is_some());
    parts.extend(event.message.as_deref().filter(|_| !told).map(tame));
    parts.join(", ")
}

/// What an event means.
pub(crate) fn tone(word: EventWord) -> Tone {
    match word {
        EventWord::Ready | EventWord::Healthy | EventWord::Completed | EventWord::Recovered | EventWord::ReloadDone => {
            Tone::Good
        }
        EventWord::Unready
        | EventWord::ProbeFailed
        | EventWord::Backoff
        | EventWord::ReloadRolledBack
        | EventWord::UpgradeFailed
        | EventWord::LogLost => Tone::Busy,
        EventWord::Unhealthy | EventWord::Failed | EventWord::CrashLooping | EventWord::ConfigRejected => Tone::Bad,
        EventWord::Starting
        | EventWord::Started
        | EventWord::Stopping
        | EventWord::Ended
        | EventWord::Held
        | EventWord::ReloadStarted
        | EventWord::ReloadSwitched
        | EventWord::ConfigApplied
        | EventWord::Scaled
        | EventWord::Adopted
        | EventWord::EngineRestarted
        | EventWord::Upgraded
        | EventWord::Notified => Tone::Plain,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::names::{Run, ServiceName};
    use crate::model::signal::Signal;
    use crate::model::units::Timestamp;

    /// An event about `web` with nothing but its word.
    pub(crate) fn event(word: EventWord) -> EventRecord {
        EventRecord {
            v: 1,
            at: Timestamp(1_763_632_805_000),
            seq: 812,
            event: word,
            service: Some(ServiceName::new("web").unwrap()),
            instance: Some("web".to_owned()),
            run: Some(Run(3)),
            cause: None,
            certainty: None,
            code: None,
            signal: None,
            pid: None,
            ran_ms: None,
            delay_ms: None,
            message: None,
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_cause() {
        let exit = EventRecord {
            cause: Some(Cause::Exit),
            certainty: Some(Certainty::Certain),
            code: Some(3),
            ran_ms: Some(2_300),
            message: Some("exit code 3".to_owned()),
            ..event(EventWord::Ended)
        };
        let oom = EventRecord {
            cause: Some(Cause::Oom),
            certainty: Some(Certainty::Guess),
            signal: Some(Signal::KILL),
            ran_ms: Some(61_000),
            ..event(EventWord::Ended)
        };
        let backoff = EventRecord {
            cause: Some(Cause::Probe),
            certainty: Some(Certainty::Certain),
            delay_ms: Some(250),
            ..event(EventWord::Backoff)
        };
        let started = EventRecord { pid: Some(48_213), ..event(EventWord::Started) };
        let whole = EventRecord {
            service: None,
            instance: None,
            run: None,
            message: Some("a\nb".to_owned()),
            ..event(EventWord::ConfigApplied)
        };
        for (event, expected) in [
            (exit, "   3m ago  web           ended           exit code 3, ran 2.3s"),
            (oom, "   3m ago  web           ended           signal KILL, out of memory (a guess), ran 1m1s"),
            (backoff, "   3m ago  web           backoff         probe failed, next attempt in 250ms"),
            (started, "   3m ago  web           started         pid 48213"),
            (whole, "   3m ago  -             config_applied  a\\nb"),
            (event(EventWord::Ready), "   3m ago  web           ready"),
            (
                reload(EventWord::ReloadDone, "app.py: ready after 212ms\nand more"),
                "   3m ago  web           reload_done     app.py: ready after 212ms",
            ),
        ] {
            assert_eq!(line(&event, "3m ago", Paint(false)), expected);
        }
    }

    /// Of a save, 212 ms ago.
    pub(crate) fn reload(word: EventWord, message: &str) -> EventRecord {
        let message = Some(message.to_owned());
        EventRecord { instance: None, run: None, cause: Some(Cause::Watch), ran_ms: Some(212), message, ..event(word) }
    }

    #[test]
    fn a_reload_is_told_in_few_words() {
        let asked = EventRecord { cause: Some(Cause::User), ..reload(EventWord::ReloadStarted, "asked for by key r") };
        let done = EventRecord { cause: Some(Cause::User), ..reload(EventWord::ReloadDone, "ready after 212ms") };
        for (event, expected) in [
            (reload(EventWord::ReloadStarted, "app.py changed"), Some("app.py changed → restarting")),
            (asked, Some("reload asked for by key r")),
            (reload(EventWord::ReloadDone, "app.py: ready after 212ms"), Some("ready, 212ms after the save")),
            (done, Some("ready, 212ms after it was asked for")),
            (reload(EventWord::ReloadRolledBack, "app.py:3: a\n\u{1b}b"), Some("not reloaded: app.py:3: a\n\\x1bb")),
            (event(EventWord::Ready), None),
        ] {
            assert_eq!(reload_words(&event).as_deref(), expected);
        }
    }

    #[test]
    fn a_rejected_file_is_shown_whole_but_steers_no_terminal() {
        let message = Some("error: a\n  |\n1 | \u{1b}[2Jb\n".to_owned());
        let event = EventRecord { message, ..event(EventWord::ConfigRejected) };
        assert_eq!(rejection(&event).as_deref(), Some("error: a\n  |\n1 | \\x1b[2Jb"));
        assert_eq!(rejection(&reload(EventWord::ReloadDone, "x")), None);
    }
}
