//! What happened, newest first. Words of events are those of `everup events`, in every language.

use std::sync::Arc;

use maud::{Markup, html};

use crate::model::event::{EventRecord, EventWord};
use crate::model::units::Timestamp;
use crate::server::page::figures::{latency, length_ms, moment};
use crate::server::page::state::end_words;
use crate::server::page::words::{Words, fill};

/// These events, given oldest first.
pub(crate) fn table(events: &[Arc<EventRecord>], now: Timestamp, words: &Words) -> Markup {
    if events.is_empty() {
        return html! { p.hint { (words.events_empty) } };
    }
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="events" {
            table.events {
                thead { tr {
                    th scope="col" { (words.time) } th scope="col" { (words.instance) }
                    th scope="col" { (words.event) } th scope="col" { (words.why) }
                } }
                tbody { @for event in events.iter().rev() { tr {
                    td { (moment(event.at, now, words)) }
                    td { @if let Some(name) = &event.instance { (name) @if let Some(run) = event.run { span.run { " " (fill(words.run, &[("n", &run)])) } } } }
                    td { code lang="en" { (event.event) } }
                    td { (detail(event, words)) }
                } } }
            }
        }
    }
}

fn detail(event: &EventRecord, words: &Words) -> Markup {
    let signal = event.signal.map(|signal| signal.to_string());
    let cause = event.cause.map(|cause| {
        end_words(
            cause,
            event.certainty.unwrap_or(crate::model::service::Certainty::Certain),
            event.code,
            signal,
            words,
        )
    });
    let ran = event.ran_ms.map(|ms| match event.event {
        EventWord::Ended => fill(words.ran_for, &[("time", &length_ms(ms, words))]),
        _ if ms == 0 => String::new(),
        _ => fill(words.took, &[("time", &latency(ms as f64))]),
    });
    let delay = event.delay_ms.map(|ms| fill(words.next_try, &[("time", &length_ms(ms, words))]));
    html! {
        @if let Some(cause) = cause { span.cause { (cause) } }
        @for time in [ran, delay].into_iter().flatten().filter(|time| !time.is_empty()) { span.took { (time) } }
        @if let Some(message) = &event.message { span.message lang="en" { (message) } }
    }
}
