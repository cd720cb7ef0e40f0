//! What runs use, figure by figure, an instance a column.

use maud::{Markup, html};

use crate::model::overview::InstanceOverview;
use crate::model::usage::Usage;
use crate::server::page::figures::{bytes, count, length_ms, percent};
use crate::server::page::table::or_dash;
use crate::server::page::words::{Words, fill};

/// All figures of these instances.
pub(crate) fn list(instances: &[&InstanceOverview], words: &Words) -> Markup {
    let running: Vec<(&InstanceOverview, &Usage)> =
        instances.iter().filter_map(|instance| Some((*instance, instance.usage.as_ref()?))).collect();
    if running.is_empty() {
        return html! { p.hint { (words.not_running) } };
    }
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="usage" {
            table.usage {
                thead { tr { td {} @for (instance, _) in &running { th scope="col" { (instance.name) } } } }
                tbody {
                    tr {
                        th scope="row" { (words.pid) }
                        @for (instance, _) in &running { td { (or_dash(instance.pid.map(|pid| pid.to_string()))) } }
                    }
                    @for (name, figure) in figures(words) {
                        @let values: Vec<Option<String>> = running.iter().map(|(_, usage)| figure(usage, words)).collect();
                        tr {
                            th scope="row" { (name) }
                            @for value in values {
                                td { @match value { Some(value) => (value), None => span.none title=(words.not_to_be_read) { "–" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

type Figure = fn(&Usage, &Words) -> Option<String>;

fn figures(words: &Words) -> [(&'static str, Figure); 13] {
    [
        (words.processes, |usage, _| Some(count(usage.processes.into()))),
        (words.threads, |usage, _| Some(count(usage.threads.into()))),
        (words.open_fds, |usage, words| {
            Some(match usage.max_fds {
                Some(limit) => fill(words.fds_of, &[("n", &usage.open_fds), ("limit", &count(limit))]),
                None => count(usage.open_fds.into()),
            })
        }),
        (words.share, |usage, _| usage.memory_percent.map(percent)),
        (words.memory_limit, |usage, _| usage.memory_limit_bytes.map(bytes)),
        (words.swap, |usage, _| Some(bytes(usage.swap_bytes))),
        (words.cpu_time, |usage, words| {
            let (user, system) = (micros(usage.cpu_user_us, words), micros(usage.cpu_system_us, words));
            Some(fill(words.cpu_times, &[("user", &user), ("system", &system)]))
        }),
        (words.read, |usage, _| usage.read_bytes.map(bytes)),
        (words.written, |usage, _| usage.written_bytes.map(bytes)),
        (words.io_wait, |usage, words| usage.io_wait_us.map(|us| micros(us, words))),
        (words.switches, |usage, words| {
            let (own, forced) = (count(usage.voluntary_switches), count(usage.involuntary_switches));
            Some(fill(words.switches_kinds, &[("own", &own), ("forced", &forced)]))
        }),
        (words.faults, |usage, words| {
            let (minor, major) = (count(usage.minor_faults), count(usage.major_faults));
            Some(fill(words.faults_kinds, &[("minor", &minor), ("major", &major)]))
        }),
        (words.oom_kills, |usage, _| usage.oom_kills.map(count)),
    ]
}

/// Microseconds: `0.84 s`, and from a minute on as a length of time.
fn micros(us: u64, words: &Words) -> String {
    if us < 60_000_000 { format!("{:.2} s", us as f64 / 1e6) } else { length_ms(us / 1_000, words) }
}
