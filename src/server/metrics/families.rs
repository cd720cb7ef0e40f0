//! The metrics of services. Their names are a contract: they are never renamed.

use crate::meter::counters::{ExitKind, ProbeOutcome, Trigger};
use crate::model::event::ReloadOutcome;
use crate::model::probe::ProbeRole;
use crate::model::service::{Cause, Desired, State};
use crate::model::usage::Usage;
use crate::server::metrics::page::{Family, Kind, Out, Value};
use crate::server::metrics::scene::{Row, Scene};

const ROW: &[&str] = &["service", "instance"];

type Written = Result<(), std::fmt::Error>;

/// Writes one sample an instance, where there is one.
fn each(scene: &Scene, out: &mut Out<'_, '_>, value: impl Fn(&Row) -> Option<Value>) -> Written {
    scene.rows.iter().try_for_each(|row| match value(row) {
        Some(value) => out.of(row, &[], value),
        None => Ok(()),
    })
}

/// Writes one figure of what runs.
fn used(scene: &Scene, out: &mut Out<'_, '_>, value: impl Fn(&Usage) -> Option<Value>) -> Written {
    each(scene, out, |row| row.usage.as_ref().and_then(&value))
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1_000_000.0
}

fn role(role: ProbeRole) -> &'static str {
    match role {
        ProbeRole::Startup => "startup",
        ProbeRole::Readiness => "readiness",
        ProbeRole::Liveness => "liveness",
    }
}

pub(super) static FAMILIES: [Family; 38] = [
    Family {
        name: "everup_service_up",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Whether its program runs and nobody is ending it.",
        write: |scene, out| each(scene, out, |row| Some(row.status.started_at.is_some().into())),
    },
    Family {
        name: "everup_service_ready",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Whether it is ready: it passed its probes, or has none and runs; of a task, whether it is completed.",
        write: |scene, out| each(scene, out, |row| Some(row.status.ready.into())),
    },
    Family {
        name: "everup_service_state",
        kind: Kind::Gauge,
        labels: &["service", "instance", "state"],
        help: "What it is doing: 1 for the state it is in, 0 for all others.",
        write: |scene, out| {
            let words = State::ALL.map(|state| (state, state.to_string()));
            scene.rows.iter().try_for_each(|row| {
                words.iter().try_for_each(|(state, word)| out.of(row, &[word.as_str()], row.status.state == *state))
            })
        },
    },
    Family {
        name: "everup_service_desired_up",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Whether it is to run.",
        write: |scene, out| each(scene, out, |row| Some((row.status.desired == Desired::Up).into())),
    },
    Family {
        name: "everup_service_start_time_seconds",
        kind: Kind::Gauge,
        labels: ROW,
        help: "When its current run started, in seconds since 1970; absent while nothing runs.",
        write: |scene, out| each(scene, out, |row| row.status.started_at.map(|at| (at.0 as f64 / 1_000.0).into())),
    },
    Family {
        name: "everup_service_starts_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Starts, those that failed included.",
        write: |scene, out| each(scene, out, |row| Some(row.counters.starts.into())),
    },
    Family {
        name: "everup_service_restarts_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "reason"],
        help: "Restarts by their cause; together what status calls restarts.",
        write: |scene, out| {
            let words = Cause::ALL.map(|cause| (cause, cause.to_string()));
            scene.rows.iter().try_for_each(|row| {
                words
                    .iter()
                    .try_for_each(|(cause, word)| out.of(row, &[word.as_str()], row.counters.restarts[*cause as usize]))
            })
        },
    },
    Family {
        name: "everup_service_exits_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "kind"],
        help: "Ends by kind, the first that fits: oom (the kernel killed it for memory), timeout (not ready in time, watchdog missed, or killed after its stop's timeout), signal (also everup's own), success (exit code 0), error.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                ExitKind::ALL
                    .iter()
                    .try_for_each(|kind| out.of(row, &[kind.word()], row.counters.exits[*kind as usize]))
            })
        },
    },
    Family {
        name: "everup_service_last_exit_code",
        kind: Kind::Gauge,
        labels: ROW,
        help: "The exit code of its latest end, 128 + n where signal n ended it; absent before a first end.",
        write: |scene, out| each(scene, out, |row| row.exit_code().map(|code| f64::from(code).into())),
    },
    Family {
        name: "everup_service_backoff_seconds",
        kind: Kind::Gauge,
        labels: ROW,
        help: "The wait before its next attempt that is in force now, in seconds; 0 while it does not wait.",
        write: |scene, out| each(scene, out, |row| Some(row.backoff().as_secs_f64().into())),
    },
    Family {
        name: "everup_service_startup_duration_seconds",
        kind: Kind::Histogram,
        labels: ROW,
        help: "Time from its start until it was ready (of a task: until its program ran), in seconds.",
        write: |scene, out| scene.rows.iter().try_for_each(|row| out.histogram(row, &[], &row.counters.startup)),
    },
    Family {
        name: "everup_service_stop_duration_seconds",
        kind: Kind::Histogram,
        labels: ROW,
        help: "Time from everup's request to end until its last process was gone, in seconds.",
        write: |scene, out| scene.rows.iter().try_for_each(|row| out.histogram(row, &[], &row.counters.stop)),
    },
    Family {
        name: "everup_service_kills_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Times it was killed by SIGKILL because it did not end within its stop's timeout.",
        write: |scene, out| each(scene, out, |row| Some(row.counters.kills.into())),
    },
    Family {
        name: "everup_service_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "mode"],
        help: "CPU time of its process trees, all runs together, in seconds; mode is user or system.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                let totals = &row.counters.totals;
                out.of(row, &["user"], seconds(totals.cpu_user_us))?;
                out.of(row, &["system"], seconds(totals.cpu_system_us))
            })
        },
    },
    Family {
        name: "everup_service_memory_rss_bytes",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Resident memory, summed over its process tree, in bytes; absent while nothing runs.",
        write: |scene, out| used(scene, out, |usage| Some(usage.memory_bytes.into())),
    },
    Family {
        name: "everup_service_memory_limit_bytes",
        kind: Kind::Gauge,
        labels: ROW,
        help: "The memory limit in force on its control group, in bytes; absent where there is none.",
        write: |scene, out| used(scene, out, |usage| usage.memory_limit_bytes.map(Value::from)),
    },
    Family {
        name: "everup_service_open_fds",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Open descriptors of its process tree; absent while nothing runs.",
        write: |scene, out| used(scene, out, |usage| Some(usage.open_fds.into())),
    },
    Family {
        name: "everup_service_max_fds",
        kind: Kind::Gauge,
        labels: ROW,
        help: "How many descriptors its main process may have; absent where that is unlimited.",
        write: |scene, out| used(scene, out, |usage| usage.max_fds.map(Value::from)),
    },
    Family {
        name: "everup_service_threads",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Threads of its process tree; absent while nothing runs.",
        write: |scene, out| used(scene, out, |usage| Some(usage.threads.into())),
    },
    Family {
        name: "everup_service_processes",
        kind: Kind::Gauge,
        labels: ROW,
        help: "Processes of its tree; absent while nothing runs.",
        write: |scene, out| used(scene, out, |usage| Some(usage.processes.into())),
    },
    Family {
        name: "everup_service_io_read_bytes_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Bytes read from storage by its process trees, all runs together; absent where everup may not look.",
        write: |scene, out| each(scene, out, |row| row.counters.totals.read_bytes.map(Value::from)),
    },
    Family {
        name: "everup_service_io_write_bytes_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Bytes written to storage by its process trees, all runs together; absent where everup may not look.",
        write: |scene, out| each(scene, out, |row| row.counters.totals.written_bytes.map(Value::from)),
    },
    Family {
        name: "everup_service_io_wait_seconds_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Time in which its process trees waited for storage, all runs together, in seconds; absent where the kernel counts it nowhere.",
        write: |scene, out| each(scene, out, |row| row.counters.totals.io_wait_us.map(|us| seconds(us).into())),
    },
    Family {
        name: "everup_service_context_switches_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "type"],
        help: "Context switches of its process trees, all runs together; type is voluntary or involuntary.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                let totals = &row.counters.totals;
                out.of(row, &["voluntary"], totals.voluntary_switches)?;
                out.of(row, &["involuntary"], totals.involuntary_switches)
            })
        },
    },
    Family {
        name: "everup_service_page_faults_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "type"],
        help: "Page faults of its process trees, all runs together; type is major (read from storage) or minor.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                let totals = &row.counters.totals;
                out.of(row, &["major"], totals.major_faults)?;
                out.of(row, &["minor"], totals.minor_faults)
            })
        },
    },
    Family {
        name: "everup_service_oom_kills_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Kills for memory by the kernel, all runs together; absent where nothing counts them and none was proven.",
        write: |scene, out| each(scene, out, |row| row.counters.totals.oom_kills.map(Value::from)),
    },
    Family {
        name: "everup_probe_duration_seconds",
        kind: Kind::Histogram,
        labels: &["service", "instance", "probe"],
        help: "How long its probes took, in seconds; probe is startup, readiness or liveness.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                row.counters.probes.iter().try_for_each(|(of, probe)| out.histogram(row, &[role(*of)], &probe.duration))
            })
        },
    },
    Family {
        name: "everup_probe_results_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "probe", "outcome"],
        help: "What came of its probes: success, failure (answered, but not as wanted), timeout, refused (nobody listens) or error.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                row.counters.probes.iter().try_for_each(|(of, probe)| {
                    ProbeOutcome::ALL.iter().try_for_each(|outcome| {
                        let labels = [role(*of), outcome.word()];
                        out.of(row, &labels, probe.results[*outcome as usize])
                    })
                })
            })
        },
    },
    Family {
        name: "everup_probe_success",
        kind: Kind::Gauge,
        labels: &["service", "instance", "probe"],
        help: "Whether its latest probe passed.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                let mut probes = row.counters.probes.iter();
                probes.try_for_each(|(of, probe)| out.of(row, &[role(*of)], probe.passed))
            })
        },
    },
    Family {
        name: "everup_reloads_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "trigger", "outcome"],
        help: "Reloads of its service, which count for each of its instances; trigger is watch (a file), signal or api (somebody asked), outcome ok, rolled_back (the old code serves on) or failed.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                Trigger::ALL.iter().try_for_each(|trigger| {
                    ReloadOutcome::ALL.iter().try_for_each(|outcome| {
                        let labels = [trigger.word(), outcome.word()];
                        out.of(row, &labels, row.counters.reloads[*trigger as usize][*outcome as usize])
                    })
                })
            })
        },
    },
    Family {
        name: "everup_reload_duration_seconds",
        kind: Kind::Histogram,
        labels: ROW,
        help: "How long reloads of its service took from the change to the outcome, in seconds, where that can be seen.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| out.histogram(row, &[], &row.counters.reload_duration))
        },
    },
    Family {
        name: "everup_log_bytes_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "stream"],
        help: "Bytes of its output that were kept; stream is stdout (also both where they are merged) or stderr. Absent where no output is kept.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                let Some(bytes) = row.counters.logs else { return Ok(()) };
                out.of(row, &["stdout"], bytes.stdout)?;
                out.of(row, &["stderr"], bytes.stderr)
            })
        },
    },
    Family {
        name: "everup_log_dropped_bytes_total",
        kind: Kind::Counter,
        labels: ROW,
        help: "Bytes of its output that could not be kept, as when the disk was full. Absent where no output is kept.",
        write: |scene, out| each(scene, out, |row| row.counters.logs.map(|bytes| bytes.dropped.into())),
    },
    Family {
        name: "everup_http_requests_total",
        kind: Kind::Counter,
        labels: &["service", "instance", "method", "code"],
        help: "Requests by its access lines (log_metrics); method is GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS or OTHER. Absent until a line is seen.",
        write: |scene, out| {
            scene.rows.iter().try_for_each(|row| {
                row.requests
                    .counts
                    .iter()
                    .try_for_each(|((method, code), count)| out.of(row, &[method.word(), &code.to_string()], *count))
            })
        },
    },
    Family {
        name: "everup_http_request_duration_seconds",
        kind: Kind::Histogram,
        labels: ROW,
        help: "How long its requests took by its access lines (log_metrics), in seconds. Absent where no line says so.",
        write: |scene, out| {
            let timed = scene.rows.iter().filter(|row| row.requests.duration.count() > 0);
            timed.into_iter().try_for_each(|row| out.histogram(row, &[], &row.requests.duration))
        },
    },
    Family {
        name: "everup_config_reloads_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "How often the file was to be applied while everup ran; outcome is ok or failed (refused, nothing changed).",
        write: |scene, out| {
            out.plain(&["ok"], scene.config.ok)?;
            out.plain(&["failed"], scene.config.failed)
        },
    },
    Family {
        name: "everup_build_info",
        kind: Kind::Info,
        labels: &["version"],
        help: "Which everup this is.",
        write: |scene, out| out.plain(&[scene.version.as_str()], 1_u64),
    },
    Family {
        name: "everup_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When everup started, in seconds since 1970.",
        write: |scene, out| out.plain(&[], scene.started),
    },
];
