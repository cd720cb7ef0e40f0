//! `everup probe`: ask a service's health once, now.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::cli::Context;
use crate::cli::command::why::{one, selector};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Paint, Tone, say, tame};
use crate::cli::project::locate;
use crate::cli::select::Known;
use crate::cli::time::length;
use crate::model::probe::{ProbeReport, ProbeRole};

/// Options of `probe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup probe web            what was asked, what was answered, how long it took\n  everup probe web && echo healthy\n\nEnds with 3 when a probe fails. It counts for nothing: neither `ready` nor restarts."
)]
pub(crate) struct Probe {
    /// A service or one instance: web, web/2
    #[arg(value_name = "SVC")]
    service: String,
}

/// Runs the probes and shows their answers.
pub(crate) fn run(args: &Probe, context: &Context) -> Result<Exit, Failure> {
    let client = locate(context, Some(&args.service))?.connect()?;
    let target = one(&Known::of(&client.status()?), Some(&args.service))?;
    let asked = selector(&target);
    let reports = {
        let _line = Asking::of(&args.service, context);
        client.probe(&asked)?
    };
    if context.out.json {
        context.out.object(&reports)?;
    } else if reports.is_empty() {
        context.out.talk(&format!("{} has no probe; `health: URL` in the file gives it one", args.service));
    } else {
        let texts: Vec<String> = reports.iter().map(|report| text(report, context.out.stdout.paint)).collect();
        context.out.data(&texts.concat())?;
    }
    Ok(if reports.iter().all(|report| report.ok) { Exit::Done } else { Exit::NotHealthy })
}

/// Says who is asked for as long as it lives; only on a terminal, for the answer follows anyway.
struct Asking(bool);

impl Asking {
    fn of(service: &str, context: &Context) -> Self {
        let shown = context.out.stderr.terminal && !context.out.quiet;
        if shown {
            say(&format!("waiting for the answer of {service}"));
        }
        Self(shown)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.0 {
            say("\r\x1b[K");
        }
    }
}

fn text(report: &ProbeReport, paint: Paint) -> String {
    let role = match report.role {
        ProbeRole::Startup => "startup",
        ProbeRole::Readiness => "readiness",
        ProbeRole::Liveness => "liveness",
    };
    let verdict = if report.ok { paint.text(Tone::Good, "pass") } else { paint.text(Tone::Bad, "FAIL") };
    let took = length(Duration::from_secs_f64((report.latency_ms / 1_000.0).clamp(0.0, 1e9)));
    let took = if report.latency_ms < 1_000.0 { format!("{:.1}ms", report.latency_ms) } else { took };
    let mut out = format!(
        "{verdict}  {}  {role}  {}\n      {} in {took}\n",
        paint.text(Tone::Strong, &report.instance),
        tame(&report.request),
        tame(&report.message),
    );
    for line in report.body.iter().flat_map(|body| body.lines()).take(20) {
        let _ = writeln!(out, "      {} {}", paint.text(Tone::Dim, ">"), tame(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_asked_and_what_came_back() {
        let report = ProbeReport {
            instance: "web".to_owned(),
            role: ProbeRole::Liveness,
            request: "GET http://127.0.0.1:8888/health".to_owned(),
            ok: false,
            message: "503 Service Unavailable".to_owned(),
            body: Some("{\"status\":\"down\"}\n\x1b[2J".to_owned()),
            latency_ms: 4.12,
        };
        assert_eq!(
            text(&report, Paint(false)),
            "FAIL  web  liveness  GET http://127.0.0.1:8888/health\n      503 Service Unavailable in 4.1ms\n      > {\"status\":\"down\"}\n      > \\x1b[2J\n"
        );
        let slow = ProbeReport { ok: true, body: None, latency_ms: 1_240.0, message: "200 OK".to_owned(), ..report };
        assert!(text(&slow, Paint(false)).ends_with("200 OK in 1.2s\n"));
    }
}
