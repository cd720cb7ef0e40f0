//! `restart:` of a service.

use std::time::Duration;

use crate::config::decode::{Decoder, Fields};
use crate::config::document::Node;
use crate::config::keys;
use crate::config::shape::{Range, Shape};
use crate::config::words::words_of;
use crate::model::plan::{CodeRange, Kind, LimitPlan, Policy, RestartPlan, Rule};

/// When and how a service is restarted.
pub(super) fn restart(decoder: &mut Decoder<'_>, service: &Fields<'_>, kind: Kind) -> RestartPlan {
    let usual = match kind {
        Kind::Service => Policy::Always,
        Kind::Task => Policy::Never,
    };
    let Some(node) = service.get("restart") else {
        return long(decoder, &Fields::none(&keys::RESTART), usual);
    };
    if node.scalar().is_some() {
        let policy = decoder.read(node, &Shape::Words(words_of::<Policy>)).unwrap_or(usual);
        return long(decoder, &Fields::none(&keys::RESTART), policy);
    }
    let fields = decoder.section(node, &keys::RESTART).unwrap_or(Fields::none(&keys::RESTART));
    let policy = decoder.optional(&fields, "policy").unwrap_or(usual);
    long(decoder, &fields, policy)
}

fn long(decoder: &mut Decoder<'_>, fields: &Fields<'_>, policy: Policy) -> RestartPlan {
    let delay: Duration = decoder.value(fields, "delay");
    let max_delay: Duration = decoder.value(fields, "max_delay");
    if delay > max_delay
        && let Some(node) = fields.get("max_delay")
    {
        decoder.faults.add(node.place, "expected `max_delay` to be at least `delay`");
    }
    RestartPlan {
        policy,
        delay,
        factor: decoder.value(fields, "factor"),
        // Whoever sets only a long delay means it.
        max_delay: max_delay.max(delay),
        jitter: decoder.value(fields, "jitter"),
        reset_after: decoder.value(fields, "reset_after"),
        limit: limit(decoder, fields),
        slow_delay: decoder.value(fields, "slow_delay"),
        success_codes: codes(decoder, fields, "success_codes").unwrap_or_else(|| vec![CodeRange(0, 0)]),
        rules: decoder.items(fields, "rules").iter().filter_map(|node| rule(decoder, node)).collect(),
    }
}

fn limit(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> LimitPlan {
    let fields =
        fields.get("limit").and_then(|node| decoder.section(node, &keys::LIMIT)).unwrap_or(Fields::none(&keys::LIMIT));
    LimitPlan {
        count: decoder.value(&fields, "count"),
        within: decoder.value(&fields, "within"),
        then: decoder.value(&fields, "then"),
    }
}

fn rule(decoder: &mut Decoder<'_>, node: &Node) -> Option<Rule> {
    let fields = decoder.section(node, &keys::RULE)?;
    let codes = codes(decoder, &fields, "codes").unwrap_or_default();
    let signals = decoder.list(&fields, "signals").unwrap_or_default();
    let causes = decoder.list(&fields, "causes").unwrap_or_default();
    if ["codes", "signals", "causes"].iter().all(|name| fields.get(name).is_none()) {
        decoder.faults.add(node.place, "expected `codes`, `signals` or `causes`: this rule never matches");
    }
    if fields.get("then").is_none() {
        let words = fields.shape("then").describe();
        decoder.faults.add_with(node.place, "expected `then`: this rule does nothing", format!("`then` is {words}"));
    }
    let then = decoder.optional(&fields, "then")?;
    Some(Rule { codes, signals, causes, then })
}

fn codes(decoder: &mut Decoder<'_>, fields: &Fields<'_>, name: &str) -> Option<Vec<CodeRange>> {
    let ranges: Vec<Range> = decoder.list(fields, name)?;
    let narrow = |number: i64| i32::try_from(number).unwrap_or_default();
    Some(ranges.into_iter().map(|Range(first, last)| CodeRange(narrow(first), narrow(last))).collect())
}
