//! `everup why`: one block for each end of a run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::output::{Paint, Tone, tame};
use crate::cli::show::state::cause_words;
use crate::cli::time::{ago, length};
use crate::history::telling;
use crate::model::service::{Cause, Certainty};
use crate::model::units::Timestamp;
use crate::model::why::{Why, WhyEntry};

/// All entries, newest first, an empty line between them.
pub(crate) fn blocks(why: &Why, now: Timestamp, paint: Paint) -> String {
    let blocks: Vec<String> = why.entries.iter().map(|entry| block(entry, now, paint)).collect();
    blocks.join("\n")
}

fn block(entry: &WhyEntry, now: Timestamp, paint: Paint) -> String {
    let mut out = format!("{}\n", headline(entry, now, paint));
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {}{}", paint.text(Tone::Dim, &format!("{label:<10}")), text);
    };
    row("cause", &format!("{}, {}", cause_words(entry.cause), certainty_words(entry.certainty)));
    for (place, evidence) in entry.evidence.iter().enumerate() {
        row(if place == 0 { "evidence" } else { "" }, &tame(evidence));
    }
    if let Some(trend) = entry.trend.as_ref().and_then(telling::line) {
        row("trend", &trend);
    }
    if let Some(then) = &entry.then {
        row("then", &tame(then));
    }
    if !entry.last_lines.is_empty() {
        let _ = writeln!(out, "  {}", paint.text(Tone::Dim, "last lines"));
        for line in &entry.last_lines {
            let _ = writeln!(out, "    {}", tame(line));
        }
    }
    if !entry.changed_before.is_empty() {
        let _ = writeln!(out, "  {}", paint.text(Tone::Dim, "changed just before (which does not make it the reason)"));
        for change in &entry.changed_before {
            let _ = writeln!(out, "    {}, {} before", tame(&change.what), length(entry.at.since(change.at)));
        }
    }
    out
}

fn headline(entry: &WhyEntry, now: Timestamp, paint: Paint) -> String {
    let who = match entry.run {
        Some(run) => format!("{}, run {run}", entry.instance),
        None => entry.instance.clone(),
    };
    let after = entry.ran_ms.map(|ms| format!(" after {}", length(Duration::from_millis(ms)))).unwrap_or_default();
    format!("{}: {}{after}, {}", paint.text(Tone::Strong, &who), how(entry), ago(entry.at, now))
}

/// What happened, as far as it was seen: the cause has its own line.
fn how(entry: &WhyEntry) -> String {
    match (entry.cause, entry.code, entry.signal, entry.run) {
        (Cause::SpawnError, ..) => "could not be started".to_owned(),
        (_, Some(code), ..) => format!("ended with exit code {code}"),
        (_, None, Some(signal), _) => format!("ended by signal {signal}"),
        (Cause::Dependency, None, None, None) => "did not start".to_owned(),
        (_, None, None, Some(_)) => "ended".to_owned(),
        (_, None, None, None) => "did not run".to_owned(),
    }
}

/// How well the cause is known.
pub(crate) fn certainty_words(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "certain",
        Certainty::Likely => "likely",
        Certainty::Guess => "a guess",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{Run, ServiceName};
    use crate::model::signal::Signal;
    use crate::model::why::{Change, Trend};

    const NOW: Timestamp = Timestamp(1_763_632_800_000);

    fn entry() -> WhyEntry {
        WhyEntry {
            instance: "web".to_owned(),
            run: Some(Run(3)),
            at: Timestamp(NOW.0 - 192_000),
            cause: Cause::Exit,
            certainty: Certainty::Certain,
            code: Some(1),
            signal: None,
            ran_ms: Some(2_300),
            evidence: vec!["exit code 1".to_owned(), "stderr ends with a Python traceback".to_owned()],
            last_lines: vec!["Traceback (most recent call last):".to_owned(), "TypeError: \x1b[2Jno".to_owned()],
            changed_before: vec![Change { at: Timestamp(NOW.0 - 252_000), what: "env.DATABASE_URL".to_owned() }],
            then: Some("restarted after 250ms".to_owned()),
            trend: None,
        }
    }

    #[test]
    fn a_block_reads_from_what_happened_to_what_was_done() {
        let killed = WhyEntry {
            cause: Cause::Oom,
            certainty: Certainty::Guess,
            code: None,
            signal: Some(Signal::KILL),
            ran_ms: Some(17_160_000),
            evidence: vec!["nobody here sent KILL".to_owned()],
            last_lines: vec![],
            changed_before: vec![],
            then: None,
            trend: Some(Trend {
                over_ms: 720_000,
                memory_start_bytes: 92 << 20,
                memory_end_bytes: 2 << 30,
                memory_peak_bytes: 2 << 30,
                ..Trend::default()
            }),
            ..entry()
        };
        let why = Why { v: 1, service: ServiceName::new("web").unwrap(), entries: vec![entry(), killed] };
        let expected = "\
web, run 3: ended with exit code 1 after 2.3s, 3m ago
  cause     exit, certain
  evidence  exit code 1
            stderr ends with a Python traceback
  then      restarted after 250ms
  last lines
    Traceback (most recent call last):
    TypeError: \\x1b[2Jno
  changed just before (which does not make it the reason)
    env.DATABASE_URL, 1m before

web, run 3: ended by signal KILL after 4h46m, 3m ago
  cause     out of memory, a guess
  evidence  nobody here sent KILL
  trend     memory 92 MiB → 2.0 GiB in 12m
";
        assert_eq!(blocks(&why, NOW, Paint(false)), expected);
    }

    #[test]
    fn what_never_ran_says_so() {
        for (cause, text) in [
            (Cause::SpawnError, "could not be started"),
            (Cause::Dependency, "did not start"),
            (Cause::User, "did not run"),
        ] {
            let idle = WhyEntry { cause, run: None, code: None, signal: None, ran_ms: None, ..entry() };
            assert_eq!(headline(&idle, NOW, Paint(false)), format!("web: {text}, 3m ago"));
        }
    }
}
