//! The resolved file as YAML: defaults filled in, secrets hidden. It reads back as the same plan but for the secrets.

use std::path::Path;
use std::time::Duration;

use crate::config::secret::is_secret_value;
use crate::config::words::word;
use crate::config::write::{Out, write};
use crate::model::names::ServiceName;
use crate::model::plan::{
    AccessFormat, CodeRange, HealthPlan, LogsPlan, LogsTo, Need, NotifyPlan, NotifyTo, Plan, ReloadPlan, RestartPlan,
    Rule, ServicePlan, StopPlan,
};
use crate::model::probe::{HttpProbe, ProbeAddress, ProbeKind, ProbePlan};
use crate::model::template::{Part, Template};
use crate::model::units::{format_duration, format_size};
use crate::model::watch::{CheckWord, DevDefaults, WatchPlan};

/// The whole file, or one of its services; empty when there is no such service.
pub(super) fn show(plan: &Plan, only: Option<&ServiceName>) -> String {
    match only {
        Some(name) => plan.service(name).map(|service| write(&Out::Map(vec![named(service)]))).unwrap_or_default(),
        None => write(&project(plan)),
    }
}

fn project(plan: &Plan) -> Out {
    let control = &plan.control;
    map([
        ("name", Out::Text(plan.project.clone())),
        ("state_dir", path(&plan.state_dir)),
        ("exit_with", Out::text_or_null(plan.exit_with.as_ref())),
        ("on_supervisor_death", Out::bare(word(&plan.on_supervisor_death))),
        ("watch", Out::bare(word(&plan.watch))),
        (
            "control",
            map([
                ("socket", control.socket.as_deref().map_or_else(null, path)),
                ("mode", mode(control.mode)),
                ("users", texts(&control.users)),
                ("groups", texts(&control.groups)),
            ]),
        ),
        (
            "web",
            map([
                ("listen", Out::text_or_null(plan.web.listen)),
                ("token_file", plan.web.token_file.as_deref().map_or_else(null, path)),
            ]),
        ),
        (
            "history",
            map([
                ("interval", duration(plan.history.interval)),
                ("keep", duration(plan.history.keep)),
                ("max_size", size(plan.history.max_size)),
            ]),
        ),
        ("notify", Out::Maps(plan.notify.iter().map(of_notify).collect())),
        ("services", Out::Map(plan.services.iter().map(|service| named(service)).collect())),
    ])
}

fn of_notify(notify: &NotifyPlan) -> Out {
    let (how, whom) = match &notify.to {
        NotifyTo::Exec(argv) => ("exec", command(argv)),
        NotifyTo::Webhook(url) => ("webhook", template(url)),
    };
    map([("on", Out::List(notify.on.iter().map(|on| Out::bare(word(on))).collect())), (how, whom)])
}

fn named(service: &ServicePlan) -> (String, Out) {
    (service.name.to_string(), of_service(service))
}

fn of_service(service: &ServicePlan) -> Out {
    let limit = |value: Option<u64>| match value {
        Some(u64::MAX) => Out::bare("unlimited"),
        Some(number) => Out::bare(number),
        None => null(),
    };
    let env = service.env.iter().map(|(name, value)| (name.clone(), whole(value))).collect();
    let listen = service.listen.iter();
    let listen = listen.map(|socket| (socket.name.clone(), Out::Text(literal(&socket.address.to_string())))).collect();
    let needs = service.needs.iter().map(|(name, need)| (name.to_string(), of_need(*need))).collect();
    map([
        ("command", command(&service.command)),
        ("cwd", path(&service.cwd)),
        ("env", Out::Map(env)),
        ("instances", Out::bare(service.instances)),
        ("port", service.port.map_or_else(null, Out::bare)),
        ("enabled", Out::bare(service.enabled)),
        ("needs", Out::Map(needs)),
        ("type", Out::bare(word(&service.kind))),
        ("user", Out::text_or_null(service.user.as_deref().map(literal))),
        ("group", Out::text_or_null(service.group.as_deref().map(literal))),
        ("umask", service.umask.map_or_else(null, mode)),
        ("nice", service.nice.map_or_else(null, Out::bare)),
        (
            "limits",
            map([
                ("open_files", limit(service.limits.open_files)),
                ("core", limit(service.limits.core)),
                ("processes", limit(service.limits.processes)),
                ("memory", service.limits.memory.map_or_else(null, size)),
                ("cpu", service.limits.cpu_millis.map_or_else(null, |millis| Out::bare(millis as f64 / 1_000.0))),
            ]),
        ),
        ("restart", of_restart(&service.restart)),
        ("health", of_health(&service.health)),
        ("stop", of_stop(&service.stop)),
        (
            "hooks",
            map([
                ("before_start", service.hooks.before_start.as_deref().map_or_else(null, command)),
                ("after_ready", service.hooks.after_ready.as_deref().map_or_else(null, command)),
                ("after_end", service.hooks.after_end.as_deref().map_or_else(null, command)),
            ]),
        ),
        ("watchdog", service.watchdog.map_or_else(null, duration)),
        ("watch", of_watch(service)),
        ("reload", of_reload(service.reload)),
        ("listen", Out::Map(listen)),
        ("logs", of_logs(&service.logs)),
        ("memory_restart", of_memory_restart(service)),
        ("metrics", of_metrics(service)),
        ("log_metrics", Out::List(service.log_metrics.iter().map(of_access_lines).collect())),
    ])
}

fn of_memory_restart(service: &ServicePlan) -> Out {
    let Some(restart) = service.memory_restart else { return null() };
    map([("above", size(restart.above)), ("for", duration(restart.hold))])
}

fn of_metrics(service: &ServicePlan) -> Out {
    let Some(metrics) = &service.metrics else { return null() };
    map([("port", Out::bare(metrics.port)), ("path", Out::Text(literal(&metrics.path)))])
}

fn of_access_lines(format: &AccessFormat) -> Out {
    match format {
        AccessFormat::Pattern(pattern) => map([("pattern", Out::Text(literal(pattern)))]),
        named => Out::bare(word(named)),
    }
}

fn of_need(need: Need) -> Out {
    map([("until", Out::bare(word(&need.until))), ("required", Out::bare(need.required))])
}

fn of_restart(restart: &RestartPlan) -> Out {
    let limit = &restart.limit;
    map([
        ("policy", Out::bare(word(&restart.policy))),
        ("delay", duration(restart.delay)),
        ("factor", Out::bare(restart.factor)),
        ("max_delay", duration(restart.max_delay)),
        ("jitter", Out::bare(restart.jitter)),
        ("reset_after", duration(restart.reset_after)),
        (
            "limit",
            map([
                ("count", Out::bare(limit.count)),
                ("within", duration(limit.within)),
                ("then", Out::bare(word(&limit.then))),
            ]),
        ),
        ("slow_delay", duration(restart.slow_delay)),
        ("success_codes", codes(&restart.success_codes)),
        ("rules", Out::Maps(restart.rules.iter().map(of_rule).collect())),
    ])
}

fn of_rule(rule: &Rule) -> Out {
    map([
        ("codes", codes(&rule.codes)),
        ("signals", Out::List(rule.signals.iter().map(Out::bare).collect())),
        ("causes", Out::List(rule.causes.iter().map(Out::bare).collect())),
        ("then", Out::bare(word(&rule.then))),
    ])
}

fn codes(codes: &[CodeRange]) -> Out {
    Out::List(codes.iter().map(|CodeRange(first, last)| range(*first, *last)).collect())
}

fn range<T: Copy + PartialEq + std::fmt::Display>(first: T, last: T) -> Out {
    if first == last { Out::bare(first) } else { Out::bare(format!("{first}-{last}")) }
}

fn of_health(health: &HealthPlan) -> Out {
    match health {
        HealthPlan::None => null(),
        HealthPlan::One(probe) => of_probe(probe),
        HealthPlan::Kinds { startup, readiness, liveness } => {
            let kinds = [("startup", startup), ("readiness", readiness), ("liveness", liveness)];
            let given =
                kinds.into_iter().filter_map(|(name, probe)| Some((name.to_owned(), of_probe(probe.as_ref()?))));
            Out::Map(given.collect())
        }
    }
}

fn of_probe(probe: &ProbePlan) -> Out {
    let (kind, how) = match &probe.how {
        ProbeKind::Http(http) => ("http", of_http(http)),
        ProbeKind::Tcp(ProbeAddress::Tcp(address)) => ("tcp", template(address)),
        ProbeKind::Tcp(ProbeAddress::Unix(socket)) => {
            ("tcp", Out::Text(literal(&format!("unix:{}", socket.display()))))
        }
        ProbeKind::Exec(argv) => ("exec", command(argv)),
        ProbeKind::Notify => ("notify", Out::bare(true)),
        ProbeKind::Log(pattern) => ("log", Out::Text(literal(pattern))),
    };
    map([
        (kind, how),
        ("interval", duration(probe.interval)),
        ("timeout", duration(probe.timeout)),
        ("failures", Out::bare(probe.failures)),
        ("successes", Out::bare(probe.successes)),
        ("start_timeout", duration(probe.start_timeout)),
    ])
}

fn of_http(http: &HttpProbe) -> Out {
    let headers = http.headers.iter().map(|(name, value)| (name.clone(), whole(value))).collect();
    map([
        ("url", template(&http.url)),
        ("socket", http.socket.as_deref().map_or_else(null, path)),
        ("method", Out::Text(http.method.clone())),
        ("headers", Out::Map(headers)),
        ("status", Out::List(http.status.iter().map(|(first, last)| range(*first, *last)).collect())),
        ("body", Out::text_or_null(http.body.as_deref().map(literal))),
        ("insecure", Out::bare(http.insecure)),
    ])
}

fn of_stop(stop: &StopPlan) -> Out {
    map([
        ("signal", Out::bare(stop.signal)),
        ("timeout", duration(stop.timeout)),
        ("command", stop.command.as_deref().map_or_else(null, command)),
    ])
}

fn of_watch(service: &ServicePlan) -> Out {
    let Some(watch) = &service.watch else {
        return match service.dev_defaults {
            DevDefaults::Whole | DevDefaults::Check => null(),
            DevDefaults::Nothing => Out::bare(false),
        };
    };
    map([
        ("paths", Out::List(watch.paths.iter().map(|one| path(one)).collect())),
        ("include", texts(&watch.include)),
        ("ignore", texts(&watch.ignore)),
        ("gitignore", Out::bare(watch.gitignore)),
        ("debounce", duration(watch.debounce)),
        ("check", of_check(watch, service.dev_defaults)),
        ("poll", Out::bare(watch.poll)),
    ])
}

fn of_check(watch: &WatchPlan, dev: DevDefaults) -> Out {
    if watch.check.is_empty() {
        return match dev {
            DevDefaults::Whole | DevDefaults::Check => null(),
            DevDefaults::Nothing => Out::bare(false),
        };
    }
    let slot = |kind: &str, globs: &[String]| {
        let globs = if globs.is_empty() { String::new() } else { format!(":{}", globs.join(",")) };
        Out::Text(literal(&format!("{{{kind}{globs}}}")))
    };
    let words = watch.check.iter().map(|word| match word {
        CheckWord::Text(text) => template(text),
        CheckWord::Changed(globs) => slot("changed", globs),
        CheckWord::File(globs) => slot("file", globs),
    });
    Out::List(words.collect())
}

fn of_reload(reload: ReloadPlan) -> Out {
    match reload {
        ReloadPlan::Restart => Out::bare("restart"),
        ReloadPlan::Signal(signal) => Out::bare(format!("signal {signal}")),
    }
}

fn of_logs(logs: &LogsPlan) -> Out {
    let (file, merge) = match &logs.to {
        LogsTo::None => return Out::bare("none"),
        LogsTo::Inherit => return Out::bare("inherit"),
        LogsTo::Streams => (null(), false),
        LogsTo::Merged(file) => (file.as_deref().map_or_else(null, path), true),
    };
    map([
        ("max_size", size(logs.max_size)),
        ("keep", Out::bare(logs.keep)),
        ("file", file),
        ("terminal", Out::bare(logs.terminal)),
        ("merge", Out::bare(merge)),
    ])
}

fn map<const N: usize>(entries: [(&str, Out); N]) -> Out {
    Out::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn null() -> Out {
    Out::bare("null")
}

fn duration(duration: Duration) -> Out {
    Out::bare(format_duration(duration))
}

fn size(bytes: u64) -> Out {
    Out::bare(format_size(bytes))
}

fn mode(mode: u32) -> Out {
    Out::bare(format!("\"{mode:04o}\""))
}

fn texts(texts: &[String]) -> Out {
    Out::List(texts.iter().map(|text| Out::Text(literal(text))).collect())
}

fn path(path: &Path) -> Out {
    Out::Text(literal(&path.display().to_string()))
}

fn command(argv: &[Template]) -> Out {
    Out::List(argv.iter().map(template).collect())
}

fn template(template: &Template) -> Out {
    if is_secret_value(&template.to_string()) {
        return hidden();
    }
    let escaped = |part: &Part| match part {
        Part::Text(text) => Part::Text(literal(text)),
        Part::Hidden(_) | Part::Port | Part::Index | Part::Fd { .. } => part.clone(),
    };
    Out::Text(Template::new(template.parts().iter().map(escaped).collect()).to_string())
}

/// A value that is hidden as a whole when any of it is a secret.
fn whole(value: &Template) -> Out {
    let is_hidden = |part: &Part| matches!(part, Part::Hidden(_));
    if value.parts().iter().any(is_hidden) { hidden() } else { template(value) }
}

fn hidden() -> Out {
    Out::Text(Template::new(vec![Part::Hidden(String::new())]).to_string())
}

/// `text` as the file says it: a dollar sign that is meant as one is doubled.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}
