//! How runs ended: what `everup why` says.

use maud::{Markup, html};

use crate::history::telling;
use crate::model::service::Certainty;
use crate::model::units::Timestamp;
use crate::model::why::{Why, WhyEntry};
use crate::server::page::figures::{length_ms, moment};
use crate::server::page::lines::plain;
use crate::server::page::state::{certainty_word, end_words};
use crate::server::page::words::{Words, fill};

/// The latest ends, newest first; the newest is shown in full, the others on demand.
pub(crate) fn list(why: &Why, now: Timestamp, words: &Words) -> Markup {
    if why.entries.is_empty() {
        return html! { p.hint { (words.runs_empty) } };
    }
    html! {
        @for (place, entry) in why.entries.iter().enumerate() {
            details.run open[place == 0] { (heading(entry, now, words)) (body(entry, now, words)) }
        }
    }
}

fn heading(entry: &WhyEntry, now: Timestamp, words: &Words) -> Markup {
    let signal = entry.signal.map(|signal| signal.to_string());
    html! {
        summary {
            strong { (end_words(entry.cause, Certainty::Certain, entry.code, signal, words)) }
            span.certainty { (certainty_word(entry.certainty, words)) }
            span.whose {
                (entry.instance)
                @if let Some(run) = entry.run { " · " (fill(words.run, &[("n", &run)])) }
                @if let Some(ms) = entry.ran_ms { " · " (fill(words.ran_for, &[("time", &length_ms(ms, words))])) }
            }
            (moment(entry.at, now, words))
        }
    }
}

fn body(entry: &WhyEntry, now: Timestamp, words: &Words) -> Markup {
    html! {
        dl {
            @if !entry.evidence.is_empty() {
                dt { (words.evidence) }
                dd lang="en" { ul { @for line in &entry.evidence { li { (line) } } } }
            }
            @if let Some(trend) = entry.trend.as_ref().and_then(telling::line) {
                dt { (words.trend) }
                dd lang="en" { (trend) }
            }
            @if !entry.changed_before.is_empty() {
                dt { (words.changed_before) }
                dd lang="en" { ul { @for change in &entry.changed_before { li { (change.what) " " (moment(change.at, now, words)) } } } }
            }
            @if !entry.last_lines.is_empty() {
                dt { (words.last_lines) }
                dd { pre tabindex="0" { @for line in &entry.last_lines { (plain(line)) "\n" } } }
            }
            @if let Some(then) = &entry.then { dt { (words.then) } dd lang="en" { (then) } }
        }
    }
}
