//! What is measured of a service: `memory_restart`, `metrics`, `log_metrics`.

use std::time::Duration;

use crate::config::decode::{Decoder, Fields};
use crate::config::document::{Node, Place, Value, short};
use crate::config::keys;
use crate::config::shape::{Bytes, Misfit, Shape};
use crate::config::words::words_of;
use crate::model::plan::{AccessFormat, MemoryRestart, MetricsPlan};

/// Cores in thousandths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the shape of the key")]
pub(super) fn millis(cores: f64) -> u64 {
    (cores * 1_000.0).round() as u64
}

/// Above which memory a service is restarted.
pub(super) fn memory_restart(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> Option<MemoryRestart> {
    let node = service.get("memory_restart")?;
    if node.scalar().is_some() {
        let above: Bytes = decoder.read(node, &Shape::Size { least: 1 })?;
        let hold = decoder.value(&Fields::none(&keys::MEMORY_RESTART), "for");
        return Some(MemoryRestart { above: above.0, hold });
    }
    let fields = decoder.section(node, &keys::MEMORY_RESTART)?;
    let hold: Duration = decoder.value(&fields, "for");
    if fields.get("above").is_none() {
        decoder.faults.add_with(node.place, "expected `above`", "such as `above: 512MiB`");
    }
    let above: Bytes = decoder.optional(&fields, "above")?;
    Some(MemoryRestart { above: above.0, hold })
}

/// Where a service serves metrics itself, and where that stands; `own` is the service's `port`.
pub(super) fn metrics(
    decoder: &mut Decoder<'_>,
    service: &Fields<'_>,
    own: Option<u16>,
) -> Option<(MetricsPlan, Place)> {
    let node = service.get("metrics")?;
    let fields = decoder.section(node, &keys::METRICS)?;
    let path: String = decoder.value(&fields, "path");
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let place = fields.get("path").map_or(node.place, |path| path.place);
        decoder.faults.add(place, format!("expected a path such as /metrics, found {:?}", short(&path)));
    }
    // `${PORT}` differs between instances, and so does this port: it is the same one.
    let is_own = |node: &Node| node.scalar().is_some_and(|scalar| matches!(scalar.text.as_str(), "$PORT" | "${PORT}"));
    let port = match (fields.get("port"), own) {
        (None, Some(own)) => own,
        (Some(node), Some(own)) if is_own(node) => own,
        (None, None) => {
            let help = "such as `port: 9100`; a service with a `port` of its own can leave it out";
            decoder.faults.add_with(node.place, "expected a `port`", help);
            return None;
        }
        (Some(_), _) => decoder.optional(&fields, "port")?,
    };
    Some((MetricsPlan { port, path }, fields.get("port").unwrap_or(node).place))
}

/// What a service's access lines look like.
pub(super) fn log_metrics(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> Vec<AccessFormat> {
    let Some(node) = service.get("log_metrics") else { return vec![] };
    let items = if let Value::List(items) = &node.value { items } else { std::slice::from_ref(node) };
    let mut formats = Vec::new();
    for item in items {
        let format = if matches!(item.value, Value::Map(_)) {
            pattern(decoder, item)
        } else {
            decoder.read(item, &Shape::Words(words_of::<AccessFormat>))
        };
        formats.extend(format.filter(|format| !formats.contains(format)));
    }
    formats
}

fn pattern(decoder: &mut Decoder<'_>, node: &Node) -> Option<AccessFormat> {
    let fields = decoder.section(node, &keys::ACCESS)?;
    let Some(at) = fields.get("pattern") else {
        decoder.faults.add_with(node.place, "expected a `pattern`", PATTERN_HELP);
        return None;
    };
    let pattern = decoder.pattern(&fields, "pattern")?;
    let groups = groups_problem(&pattern);
    decoder.fit(at.place, groups.map(|()| AccessFormat::Pattern(pattern)))
}

const PATTERN_HELP: &str = "such as `(?<method>[A-Z]+) \\S+ (?<code>\\d{3}) (?<ms>[\\d.]+)ms`";

/// Whether the groups that tell a request are all there.
fn groups_problem(pattern: &str) -> Result<(), Misfit> {
    let problem = |message: String| Err(Misfit { message, help: PATTERN_HELP.to_owned() });
    let Ok(regex) = regex::Regex::new(pattern) else { return Ok(()) };
    let has = |group: &str| regex.capture_names().flatten().any(|name| name == group);
    if let Some(missing) = ["method", "code"].into_iter().find(|group| !has(group)) {
        return problem(format!("expected a group called `{missing}` in this pattern"));
    }
    if has("ms") && has("s") {
        return problem("cannot take the time from both `ms` and `s`".to_owned());
    }
    Ok(())
}
