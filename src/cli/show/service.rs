//! `everup status SVC`: one service in full.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::cli::output::{Paint, Tone, tame};
use crate::cli::show::state::{end_words, words};
use crate::cli::show::why::certainty_words;
use crate::cli::time::{ago, bytes, coarse, length, percent};
use crate::model::names::InstanceId;
use crate::model::plan::{Kind, LogsTo, Policy, ServicePlan, Until};
use crate::model::probe::{ProbeAddress, ProbeKind, ProbePlan, ProbeRole};
use crate::model::status::{InstanceStatus, ServiceStatus};
use crate::model::units::{Timestamp, format_duration};
use crate::model::usage::{IoWaitFrom, Usage};

/// Everything known about it, as it stands in the file and as it is; each line ended.
pub(crate) fn full(
    service: &ServiceStatus,
    plan: Option<&ServicePlan>,
    logs: &Path,
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut sheet = Sheet { out: String::new(), paint };
    sheet.heading(service);
    if let Some(held) = &service.held {
        sheet.row(
            "held",
            &format!("stopped by {}, {}; `everup start {}` releases it", held.by, ago(held.at, now), service.name),
        );
    }
    if let Some(reason) = &service.reason {
        sheet.row("reason", reason);
    }
    sheet.row("restarts", &format!("{}, {} of them in the last hour", service.restarts, service.restarts_last_hour));
    for warning in &service.warnings {
        sheet.row("warning", &format!("{} ({})", warning.message, warning.code));
    }
    if let Some(plan) = plan {
        sheet.configured(plan);
    }
    for instance in &service.instances {
        sheet.instance(service, instance, now);
        sheet.logs(service, instance, plan, logs);
    }
    sheet.out
}

/// Labelled lines under headings.
struct Sheet {
    out: String,
    paint: Paint,
}

impl Sheet {
    fn heading(&mut self, service: &ServiceStatus) {
        let (tone, state) = match service.instances.first() {
            Some(only) if service.instances.len() == 1 => words(service, only),
            _ => (Tone::Plain, service.state.to_string()),
        };
        let name = self.paint.text(Tone::Strong, service.name.as_str());
        let _ = writeln!(self.out, "{name}  {}", self.paint.text(tone, &state));
    }

    fn row(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.out, "  {}{}", self.paint.text(Tone::Dim, &format!("{label:<11}")), tame(text));
    }

    fn configured(&mut self, plan: &ServicePlan) {
        let command: Vec<String> = plan.command.iter().map(ToString::to_string).collect();
        self.row("command", &shown_command(&command));
        self.row("cwd", &plan.cwd.display().to_string());
        if let Some(port) = plan.port {
            self.row("port", &port.to_string());
        }
        if let Some(user) = &plan.user {
            self.row("user", user);
        }
        if !plan.needs.is_empty() {
            let needs = plan.needs.iter().map(|(name, need)| {
                let optional = if need.required { "" } else { " (optional)" };
                format!("{name} {}{optional}", until_words(need.until))
            });
            self.row("needs", &needs.collect::<Vec<_>>().join(", "));
        }
        self.row("restart", &restart_words(plan));
        for (role, probe) in plan.health.probes() {
            let only = plan.health.probes().len() == 1;
            self.row(if only { "health" } else { role_words(role) }, &probe_words(probe));
        }
        self.row("stop", &format!("{}, KILL after {}", plan.stop.signal, format_duration(plan.stop.timeout)));
    }

    fn instance(&mut self, service: &ServiceStatus, instance: &InstanceStatus, now: Timestamp) {
        let (tone, state) = words(service, instance);
        let _ = writeln!(
            self.out,
            "\n{}  {}",
            self.paint.text(Tone::Strong, &instance.name),
            self.paint.text(tone, &state)
        );
        if let Some(reason) = instance.reason.as_ref().filter(|_| instance.reason != service.reason) {
            self.row("reason", reason);
        }
        match (instance.pid, instance.run) {
            (Some(pid), Some(run)) => self.row("process", &format!("pid {pid}, run {run}")),
            (None, Some(run)) => self.row("process", &format!("none; the latest was run {run}")),
            (Some(pid), None) => self.row("process", &format!("pid {pid}")),
            (None, None) => self.row("process", "none so far"),
        }
        if let Some(ms) = instance.uptime_ms {
            self.row("uptime", &coarse(Duration::from_millis(ms)));
        }
        let usage = [
            instance.cpu_percent.map(|value| format!("cpu {}", percent(value))),
            instance.memory_bytes.map(|value| format!("memory {}", bytes(value))),
            instance.processes.map(|count| counted(count, "process", "processes")),
            instance.open_fds.map(|count| counted(count, "open file", "open files")),
        ];
        let usage: Vec<String> = usage.into_iter().flatten().collect();
        match &instance.usage {
            Some(usage) => self.usage(usage),
            None if !usage.is_empty() => self.row("usage", &usage.join(", ")),
            None => {}
        }
        if let Some(probe) = &instance.probe {
            let verdict = if probe.ok { "passes" } else { "fails" };
            let streak = format!("{} in a row", probe.streak);
            self.row("probe", &format!("{verdict}: {} in {:.1} ms, {streak}", probe.message, probe.latency_ms));
        }
        if let Some(end) = &instance.last_end {
            let ran = length(Duration::from_millis(end.ran_ms));
            let certainty = certainty_words(end.certainty);
            self.row(
                "last end",
                &format!("run {}: {} ({certainty}) after {ran}, {}", end.run, end_words(end), ago(end.at, now)),
            );
        }
    }

    fn usage(&mut self, usage: &Usage) {
        let time = |us: u64| length(Duration::from_micros(us));
        let now = usage.cpu_percent.map(|value| format!("{} of a core; ", percent(value))).unwrap_or_default();
        self.row("cpu", &format!("{now}{} user, {} system", time(usage.cpu_user_us), time(usage.cpu_system_us)));
        let mut memory = vec![format!("{} resident", bytes(usage.memory_bytes))];
        memory.extend(usage.memory_percent.map(|share| format!("{} of the machine", percent(share))));
        memory.extend(usage.pss_bytes.map(|pss| format!("{} with what is shared counted once", bytes(pss))));
        memory.push(format!("{} swapped out", bytes(usage.swap_bytes)));
        memory.extend(usage.memory_limit_bytes.map(|most| format!("limit {}", bytes(most))));
        self.row("memory", &memory.join(", "));
        if let Some(kills) = usage.oom_kills.filter(|kills| *kills > 0) {
            self.row("oom", &format!("{kills} killed for memory in this run"));
        }
        let (processes, threads) =
            (counted(usage.processes, "process", "processes"), counted(usage.threads, "thread", "threads"));
        self.row("tasks", &format!("{processes}, {threads}"));
        let most = usage.max_fds.map(|most| format!(", the main process may have {most}")).unwrap_or_default();
        self.row("open files", &format!("{}{most}", usage.open_fds));
        let storage = match (usage.read_bytes, usage.written_bytes) {
            (Some(read), Some(written)) => format!("{} read, {} written", bytes(read), bytes(written)),
            _ => "not shown to everup: it runs as another user".to_owned(),
        };
        self.row("storage", &storage);
        let wait = match (usage.io_wait_us, usage.io_wait_from) {
            (Some(us), Some(IoWaitFrom::CgroupPressure)) => format!("{} by its control group", time(us)),
            (Some(us), Some(IoWaitFrom::DelayAccounting) | None) => format!("{} by its main threads", time(us)),
            (None, _) => "not counted here: it has no control group with io.pressure, and kernel.task_delayacct is off"
                .to_owned(),
        };
        self.row("I/O wait", &wait);
        self.row(
            "switches",
            &format!("{} of its own accord, {} forced", usage.voluntary_switches, usage.involuntary_switches),
        );
        self.row("faults", &format!("{} without I/O, {} with", usage.minor_faults, usage.major_faults));
    }

    fn logs(&mut self, service: &ServiceStatus, instance: &InstanceStatus, plan: Option<&ServicePlan>, logs: &Path) {
        let stem = InstanceId { service: service.name.clone(), index: instance.index }.file_stem();
        let to = plan.map(|plan| &plan.logs.to);
        match to {
            None | Some(LogsTo::Streams) => {
                self.row("stdout", &logs.join(format!("{stem}.out.log")).display().to_string());
                self.row("stderr", &logs.join(format!("{stem}.err.log")).display().to_string());
            }
            Some(LogsTo::Merged(None)) => self.row("output", &logs.join(format!("{stem}.log")).display().to_string()),
            Some(LogsTo::Merged(Some(path))) => self.row("output", &path.display().to_string()),
            Some(LogsTo::Inherit) => self.row("output", "everup's own stdout and stderr"),
            Some(LogsTo::None) => self.row("output", "not kept"),
        }
    }
}

/// A command as a shell would take it.
pub(crate) fn shown_command(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=@%+,${}".contains(c));
        if plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn until_words(until: Until) -> &'static str {
    match until {
        Until::Started => "started",
        Until::Ready => "ready",
        Until::Completed => "completed",
    }
}

fn role_words(role: ProbeRole) -> &'static str {
    match role {
        ProbeRole::Startup => "startup",
        ProbeRole::Readiness => "readiness",
        ProbeRole::Liveness => "liveness",
    }
}

fn restart_words(plan: &ServicePlan) -> String {
    let policy = match plan.restart.policy {
        Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::Never => "never",
        Policy::UnlessStopped => "unless-stopped",
    };
    if plan.restart.policy == Policy::Never || plan.kind == Kind::Task && plan.restart.policy == Policy::OnFailure {
        return policy.to_owned();
    }
    format!("{policy}, after {} to {}", format_duration(plan.restart.delay), format_duration(plan.restart.max_delay))
}

fn probe_words(probe: &ProbePlan) -> String {
    let what = match &probe.how {
        ProbeKind::Http(http) => format!("{} {}", http.method, http.url),
        ProbeKind::Tcp(ProbeAddress::Tcp(address)) => format!("tcp {address}"),
        ProbeKind::Tcp(ProbeAddress::Unix(path)) => format!("tcp unix:{}", path.display()),
        ProbeKind::Exec(command) => {
            format!("exec {}", shown_command(&command.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        ProbeKind::Notify => "READY=1 on NOTIFY_SOCKET".to_owned(),
        ProbeKind::Log(pattern) => format!("a line that matches {pattern}"),
    };
    let (interval, timeout) = (format_duration(probe.interval), format_duration(probe.timeout));
    format!(
        "{what}, every {interval}, at most {timeout}, {} in a row count",
        counted(probe.failures, "failure", "failures")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        for (words, expected) in [
            (vec!["python", "app.py", "--port", "${PORT}"], "python app.py --port ${PORT}"),
            (vec!["sh", "-c", "echo 'a b' > x", ""], "sh -c 'echo '\\''a b'\\'' > x' ''"),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(shown_command(&words), expected);
        }
    }
}
