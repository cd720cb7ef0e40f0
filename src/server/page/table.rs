//! The table: a row an instance; where a service has several, one above them for the service itself.

use maud::{Markup, html};

use crate::model::overview::{InstanceOverview, ProbeTick, Requests, ServiceOverview};
use crate::model::units::Timestamp;
use crate::server::page::draw::{cpu_scale, memory_scale, range, spark, ticks};
use crate::server::page::figures::{bytes, count, exact, latency, length_ms, percent};
use crate::server::page::state::{Tone, note, shown, state_words, tone, tone_of};
use crate::server::page::words::{Words, fill};

/// The table of these services at this time.
pub(crate) fn table(services: &[&ServiceOverview], now: Timestamp, words: &Words) -> Markup {
    let heads = [
        words.service,
        words.state,
        words.uptime,
        words.restarts,
        words.cpu,
        words.memory,
        words.probes,
        words.requests,
        words.note,
    ];
    html! {
        // The roles are said, for on a narrow screen the rows are laid out as blocks.
        table.services role="table" {
            caption.unseen { (words.caption) }
            thead role="rowgroup" { tr role="row" { @for head in heads { th scope="col" role="columnheader" { (head) } } } }
            @for service in services { (group(service, now, words)) }
        }
    }
}

fn group(service: &ServiceOverview, now: Timestamp, words: &Words) -> Markup {
    html! {
        tbody role="rowgroup" data-service=(service.name) {
            @match service.instances.as_slice() {
                [only] => (row(service, only, false, now, words)),
                [] => (whole(service, words)),
                several => {
                    (whole(service, words))
                    @for instance in several { (row(service, instance, true, now, words)) }
                }
            }
        }
    }
}

/// The row of a service that has not exactly one instance.
fn whole(service: &ServiceOverview, words: &Words) -> Markup {
    let tone = tone(service, service.state, service.ready, service.healthy, None);
    let text = state_words(service, service.state, service.ready, service.healthy, words);
    let ready = service.instances.iter().filter(|instance| instance.ready).count();
    let sum = |value: fn(&InstanceOverview) -> Option<f64>| {
        service
            .instances
            .iter()
            .filter_map(value)
            .fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
    };
    let cpu = sum(|instance| instance.usage.as_ref()?.cpu_percent);
    let memory = service
        .instances
        .iter()
        .filter_map(|instance| Some(instance.usage.as_ref()?.memory_bytes))
        .reduce(|a, b| a + b);
    html! {
        tr.whole.is-bad[tone == Tone::Bad] role="row" {
            th scope="row" role="rowheader" { a href={ "/s/" (service.name) } { (service.name) } }
            td.state role="cell" { (shown(tone, &text)) }
            td.ready role="cell" {
                @if service.instances.is_empty() { (words.no_instance) }
                @else { (fill(words.instances_ready, &[("ready", &ready), ("n", &service.instances.len())])) }
            }
            td.restarts role="cell" data-label=(words.restarts) { (count(service.restarts)) }
            td.cpu role="cell" data-label=(words.cpu) { (figure_or_dash(cpu.map(percent))) }
            td.memory role="cell" data-label=(words.memory) { (figure_or_dash(memory.map(bytes))) }
            td.probes role="cell" {}
            td.requests role="cell" data-label=(words.requests) { (requests(service.requests.as_ref(), words)) }
            td.note role="cell" { @if let Some(reason) = &service.reason { span.reason lang="en" { (reason) } } }
        }
    }
}

fn row(service: &ServiceOverview, instance: &InstanceOverview, among: bool, now: Timestamp, words: &Words) -> Markup {
    let text = state_words(service, instance.state, instance.ready, instance.healthy, words);
    html! {
        tr.instance.among[among].is-bad[tone_of(service, instance) == Tone::Bad] role="row" data-instance=(instance.name) {
            th scope="row" role="rowheader" { a href={ "/s/" (instance.name) } { (instance.name) } }
            td.state role="cell" { (shown(tone_of(service, instance), &text)) }
            td.uptime role="cell" data-label=(words.uptime) { (uptime(instance, words)) }
            td.restarts role="cell" data-label=(words.restarts) { (count(instance.restarts)) }
            td.cpu role="cell" data-label=(words.cpu) { (cpu(instance, now, words)) }
            td.memory role="cell" data-label=(words.memory) { (memory(instance, now, words)) }
            td.probes role="cell" data-label=(words.probes) { (probes(instance, words)) }
            td.requests role="cell" data-label=(words.requests) {
                @if !among { (requests(service.requests.as_ref(), words)) }
            }
            td.note role="cell" { (note(service, instance, now, words)) }
        }
    }
}

/// A figure, or a dash that says there is none.
pub(crate) fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "–".to_owned())
}

fn figure_or_dash(figure: Option<String>) -> Markup {
    html! { span.figure.none[figure.is_none()] { (or_dash(figure)) } }
}

fn uptime(instance: &InstanceOverview, words: &Words) -> Markup {
    html! {
        @match (instance.uptime_ms, instance.started_at) {
            (Some(ms), Some(at)) => time.up datetime=(at) title=(exact(at)) { (length_ms(ms, words)) },
            _ => span.none title=(words.not_running) { "–" },
        }
    }
}

fn cpu(instance: &InstanceOverview, now: Timestamp, words: &Words) -> Markup {
    let figure = instance.usage.as_ref().and_then(|usage| usage.cpu_percent).map(percent);
    let range = range(instance.recent.iter().filter_map(|point| point.cpu_percent));
    let label = spark_label(words.cpu, range.map(|(low, high)| (percent(low), percent(high))), words);
    html! {
        (figure_or_dash(figure))
        (spark(&instance.recent, now, &label, cpu_scale(range), |point| point.cpu_percent))
    }
}

fn memory(instance: &InstanceOverview, now: Timestamp, words: &Words) -> Markup {
    let figure = instance.usage.as_ref().map(|usage| bytes(usage.memory_bytes));
    let range = range(instance.recent.iter().map(|point| point.memory_bytes as f64));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they were whole numbers of bytes")]
    let label = spark_label(words.memory, range.map(|(low, high)| (bytes(low as u64), bytes(high as u64))), words);
    html! {
        (figure_or_dash(figure))
        (spark(&instance.recent, now, &label, memory_scale(range), |point| Some(point.memory_bytes as f64)))
    }
}

fn spark_label(what: &str, range: Option<(String, String)>, words: &Words) -> String {
    match range {
        Some((low, high)) => fill(words.spark_range, &[("what", &what), ("low", &low), ("high", &high)]),
        None => fill(words.spark_none, &[("what", &what)]),
    }
}

fn probes(instance: &InstanceOverview, words: &Words) -> Markup {
    let Some(took) = &instance.latency else {
        let why = if instance.healthy.is_none() { words.no_probe } else { words.no_answer_yet };
        return html! { span.none { (why) } };
    };
    let figures = fill(
        words.probe_figures,
        &[("last", &latency(took.last_ms)), ("p50", &latency(took.p50_ms)), ("p99", &latency(took.p99_ms))],
    );
    html! {
        (ticks(&instance.probes, &passed(&instance.probes, words)))
        span.took title=(figures) { (latency(took.last_ms)) " · p50 " (latency(took.p50_ms)) " · p99 " (latency(took.p99_ms)) }
    }
}

/// `50 of the last 50 probes passed`.
pub(crate) fn passed(probes: &[ProbeTick], words: &Words) -> String {
    let ok = probes.iter().filter(|tick| tick.ok).count();
    fill(words.probes_passed, &[("ok", &ok), ("n", &probes.len())])
}

/// What the access lines say; never a zero where none were seen.
pub(crate) fn requests(requests: Option<&Requests>, words: &Words) -> Markup {
    html! {
        @match requests {
            None => span.none title=(words.no_log_metrics) { "–" span.unseen { " " (words.no_log_metrics) } },
            Some(Requests { seen: 0, .. }) => span.none title=(words.no_access_lines_why) { (words.no_access_lines) },
            Some(Requests { seen, last_minute, errors_last_minute }) => {
                span.figure title=(fill(words.seen_in_all, &[("n", &count(*seen))])) { (fill(words.per_minute, &[("n", &count(*last_minute))])) }
                @if *errors_last_minute > 0 { span.errors { (fill(words.errors, &[("n", &count(*errors_last_minute))])) } }
            }
        }
    }
}
