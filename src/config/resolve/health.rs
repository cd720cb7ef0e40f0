//! `health:` of a service: a URL, one probe, or probes by kind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::decode::{Decoder, Fields, join};
use crate::config::document::{Node, Place, Value};
use crate::config::keys;
use crate::config::resolve::url::{self, Target};
use crate::config::shape::{Range, Shape};
use crate::model::plan::HealthPlan;
use crate::model::probe::{HttpProbe, ProbeAddress, ProbeKind, ProbePlan};
use crate::model::template::{Part, Template};

/// The kinds of question, of which a probe has exactly one.
const KINDS: [&str; 5] = ["http", "tcp", "exec", "notify", "log"];
/// The roles a probe can have.
const ROLES: [&str; 3] = ["startup", "readiness", "liveness"];

/// How a service is asked.
pub(super) fn health(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> HealthPlan {
    let Some(node) = service.get("health") else { return HealthPlan::None };
    if !ROLES.iter().any(|role| node.get(role).is_some_and(|probe| !probe.is_null())) {
        return probe(decoder, node).map_or(HealthPlan::None, HealthPlan::One);
    }
    if let Value::Map(entries) = &node.value
        && let Some(odd) = entries.iter().find(|entry| keys::PROBE.key(&entry.key).is_some())
    {
        decoder.faults.add_with(
            odd.place,
            format!("cannot mix `{}` with startup, readiness and liveness", odd.key),
            format!("move `{}` into each of the probes", odd.key),
        );
        return HealthPlan::None;
    }
    let Some(fields) = decoder.section(node, &keys::KINDS) else { return HealthPlan::None };
    let mut role = |name| fields.get(name).and_then(|node| Some((probe(decoder, node)?, node)));
    let (startup, readiness, liveness) = (role("startup"), role("readiness"), role("liveness"));
    for (name, found) in [("readiness", &readiness), ("liveness", &liveness)] {
        if let Some((plan, node)) = found
            && let Some(kind) = once_only(&plan.how)
        {
            let place = key_of(node, kind).unwrap_or(node.place);
            decoder.faults.add_with(
                place,
                format!("`{kind}` says only that the service has started, so it cannot tell {name}"),
                "use it as `startup`, and ask something else here",
            );
        }
    }
    let plan = |found: Option<(ProbePlan, &Node)>| found.map(|(plan, _)| plan);
    HealthPlan::Kinds { startup: plan(startup), readiness: plan(readiness), liveness: plan(liveness) }
}

/// The kind's key, when a probe of this kind passes once and then says nothing more.
fn once_only(how: &ProbeKind) -> Option<&'static str> {
    match how {
        ProbeKind::Notify => Some("notify"),
        ProbeKind::Log(_) => Some("log"),
        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_) => None,
    }
}

fn key_of(node: &Node, key: &str) -> Option<Place> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.place),
        Value::Scalar(_) | Value::List(_) => None,
    }
}

fn probe(decoder: &mut Decoder<'_>, node: &Node) -> Option<ProbePlan> {
    if node.scalar().is_some() {
        let how = short(decoder, node)?;
        return Some(plan(decoder, &Fields::none(&keys::PROBE), how));
    }
    let fields = decoder.section(node, &keys::PROBE)?;
    // Read first, so that also the numbers beside a question that is wrong tell their own errors.
    let numbers = plan(decoder, &fields, ProbeKind::Notify);
    let mut given = KINDS.iter().filter_map(|kind| Some((*kind, fields.key_place(kind)?, fields.get(kind)?)));
    let Some((kind, _, value)) = given.next() else {
        decoder.faults.add_with(
            node.place,
            "expected one of http, tcp, exec, notify or log: this probe asks nothing",
            "such as `http: http://127.0.0.1:${PORT}/health`",
        );
        return None;
    };
    if let Some((second, place, _)) = given.next() {
        decoder.faults.add_with(
            place,
            format!("cannot ask in two ways in one probe: `{kind}` and `{second}`"),
            "keep one, or give each a kind: startup, readiness, liveness",
        );
        return None;
    }
    let how = match kind {
        "http" => http(decoder, value).map(ProbeKind::Http),
        "tcp" => tcp(decoder, value).map(ProbeKind::Tcp),
        "exec" => decoder.command(&fields, "exec").map(ProbeKind::Exec),
        "notify" => decoder.optional::<bool>(&fields, "notify").map(|_| ProbeKind::Notify),
        _ => decoder.pattern(&fields, "log").map(ProbeKind::Log),
    };
    how.map(|how| ProbePlan { how, ..numbers })
}

fn plan(decoder: &mut Decoder<'_>, fields: &Fields<'_>, how: ProbeKind) -> ProbePlan {
    ProbePlan {
        how,
        interval: decoder.value(fields, "interval"),
        timeout: decoder.value(fields, "timeout"),
        failures: decoder.value(fields, "failures"),
        successes: decoder.value(fields, "successes"),
        start_timeout: decoder.value(fields, "start_timeout"),
    }
}

/// A URL or `tcp://…` in place of the long form.
fn short(decoder: &mut Decoder<'_>, node: &Node) -> Option<ProbeKind> {
    let template = decoder.template(node)?;
    match url::scheme(template.parts()).as_str() {
        "tcp" | "unix" => tcp(decoder, node).map(ProbeKind::Tcp),
        "" => {
            decoder.faults.add_with(
                node.place,
                format!("expected a URL to ask, found {}", node.describe()),
                "write http://…, https://…, tcp://host:port or unix:PATH; commands are `{exec: …}`",
            );
            None
        }
        _ => http(decoder, node).map(ProbeKind::Http),
    }
}

fn http(decoder: &mut Decoder<'_>, node: &Node) -> Option<HttpProbe> {
    let (fields, url) = if node.scalar().is_some() {
        (Fields::none(&keys::HTTP), Some(node))
    } else {
        let fields = decoder.section(node, &keys::HTTP)?;
        (fields, fields.get("url"))
    };
    if url.is_none() {
        decoder.faults.add_with(node.place, "expected a `url`", "such as `url: http://127.0.0.1:${PORT}/health`");
    }
    let target = url.and_then(|url| {
        let template = decoder.template(url)?;
        decoder.fit(url.place, url::http(template.parts()))
    });
    let socket = decoder.path(&fields, "socket");
    let method = method(decoder, &fields);
    let headers = headers(decoder, &fields);
    let status = status(decoder, &fields);
    let body = decoder.pattern(&fields, "body");
    let insecure = decoder.value(&fields, "insecure");
    let Target { url, socket: within } = target?;
    let within: Option<PathBuf> = within.map(|path| join(decoder.root, &path));
    Some(HttpProbe { url, socket: within.or(socket), method, headers, status, body, insecure })
}

fn method(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> String {
    let method: String = decoder.value(fields, "method");
    if let Some(node) = fields.get("method")
        && (method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-'))
    {
        decoder.faults.add(node.place, format!("expected a method such as GET or HEAD, found {method:?}"));
    }
    method
}

fn headers(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> BTreeMap<String, Template> {
    let mut headers = BTreeMap::new();
    for entry in decoder.entries(fields, "headers") {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(token) {
            decoder.faults.add(entry.place, format!("cannot use {:?} as a header's name", entry.key));
        }
        let Some(value) = decoder.template(&entry.node) else { continue };
        let odd = |part: &Part| matches!(part, Part::Text(text) | Part::Hidden(text) if text.contains(['\r', '\n']));
        if value.parts().iter().any(odd) {
            decoder.faults.add(entry.node.place, "a header's value is one line");
        }
        let secret =
            crate::config::secret::is_secret_name(&entry.key) || entry.key.eq_ignore_ascii_case("authorization");
        headers.insert(entry.key.clone(), if secret { hidden(&value) } else { value });
    }
    headers
}

fn hidden(value: &Template) -> Template {
    let hide = |part: &Part| match part {
        Part::Text(text) | Part::Hidden(text) => Part::Hidden(text.clone()),
        Part::Port | Part::Index | Part::Fd { .. } => part.clone(),
    };
    Template::new(value.parts().iter().map(hide).collect())
}

fn status(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<(u16, u16)> {
    let shape = Shape::Range { min: 100, max: 999 };
    let ranges: Vec<Range> = match fields.get("status").map(|node| (&node.value, node)) {
        Some((Value::List(items), _)) => items.iter().filter_map(|item| decoder.read(item, &shape)).collect(),
        Some((_, node)) => decoder.read(node, &shape).into_iter().collect(),
        None => vec![Range(200, 399)],
    };
    let narrow = |number: i64| u16::try_from(number).unwrap_or_default();
    ranges.into_iter().map(|Range(first, last)| (narrow(first), narrow(last))).collect()
}

fn tcp(decoder: &mut Decoder<'_>, node: &Node) -> Option<ProbeAddress> {
    let template = decoder.template(node)?;
    match decoder.fit(node.place, url::tcp(template.parts()))? {
        Target { socket: Some(path), .. } => Some(ProbeAddress::Unix(join(decoder.root, &path))),
        Target { url, .. } => Some(ProbeAddress::Tcp(url)),
    }
}
