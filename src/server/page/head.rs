//! The head of a page: the project, the machine, what everup itself uses, and trouble.

use maud::{Markup, html};

use crate::model::overview::Overview;
use crate::model::status::Warning;
use crate::model::usage::HostUsage;
use crate::server::page::figures::{bytes, exact, length, percent};
use crate::server::page::state::troubles;
use crate::server::page::words::{Words, fill};

/// The bar at the top: where this is, how it is, and whether the page lives.
pub(crate) fn bar(overview: &Overview, about: Option<&str>, words: &Words) -> Markup {
    let troubles = troubles(overview);
    let uptime = length(overview.at.since(overview.started_at), words);
    html! {
        a.skip href="#content" { (words.skip) }
        header.bar {
            @match about {
                None => h1 { (overview.project) },
                Some(about) => {
                    nav.trail aria-label=(words.all_services) { a href="/" title=(words.all_services) { (overview.project) } }
                    h1 { (about) }
                }
            }
            p.summary.bad[troubles > 0] {
                @if troubles > 0 { (fill(words.trouble_count, &[("n", &troubles)])) } @else { (words.all_well) }
            }
            p.version { "everup " (overview.version) " · " time.since datetime=(overview.started_at) title=(exact(overview.started_at)) { (fill(words.up, &[("time", &uptime)])) } }
            p.link role="status" hidden {}
        }
        p.said.unseen role="status" aria-live="polite" {}
        noscript { p.hint { (fill(words.without_script, &[("time", &exact(overview.at))])) } }
    }
}

/// What the machine and everup itself use.
pub(crate) fn machine(overview: &Overview, words: &Words) -> Markup {
    let host = &overview.host;
    let own = [overview.own.cpu_percent.map(percent), overview.own.memory_bytes.map(bytes)];
    let own: Vec<String> = own.into_iter().flatten().collect();
    html! {
        dl.machine aria-label=(words.machine) {
            (fact("cpu", words.cpu, &host_cpu(host, words)))
            (fact("memory", words.memory, &host_memory(host, words)))
            (fact("load", words.load, &host.load.map(|load| format!("{load:.2}")).join("  ")))
            @for disk in &host.disks {
                (fact("disk", &fill(words.disk, &[("at", &disk.mountpoint)]),
                    &fill(words.free_of, &[("free", &bytes(disk.available_bytes)), ("total", &bytes(disk.total_bytes))])))
            }
            (fact("own", words.own_use, &if own.is_empty() { "–".to_owned() } else { own.join(" · ") }))
        }
    }
}

fn host_cpu(host: &HostUsage, words: &Words) -> String {
    match host.cpu_percent {
        Some(value) => fill(words.of_cpus, &[("percent", &percent(value)), ("n", &host.cpus)]),
        None => "–".to_owned(),
    }
}

fn host_memory(host: &HostUsage, words: &Words) -> String {
    if host.memory_bytes == 0 {
        return "–".to_owned();
    }
    let used = host.memory_bytes.saturating_sub(host.memory_available_bytes);
    fill(words.used_of, &[("used", &bytes(used)), ("total", &bytes(host.memory_bytes))])
}

fn fact(key: &str, name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd data-fact=(key) { (value) } } }
}

/// Trouble that does not stop supervision.
pub(crate) fn warnings<'a>(warnings: impl IntoIterator<Item = &'a Warning>, words: &Words) -> Markup {
    let warnings: Vec<&Warning> = warnings.into_iter().collect();
    html! {
        section.warnings data-anew="warnings" aria-label=(words.warnings) {
            @if !warnings.is_empty() {
                ul { @for warning in warnings { li lang="en" { (warning.message) } } }
            }
        }
    }
}
