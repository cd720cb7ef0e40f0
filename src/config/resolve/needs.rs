//! `needs:` of a service.

use std::collections::BTreeMap;

use crate::config::decode::{Decoder, Fields};
use crate::config::document::{Node, Place, Value};
use crate::config::keys;
use crate::config::shape::Shape;
use crate::config::words::words_of;
use crate::model::names::ServiceName;
use crate::model::plan::{Need, Until};

/// What a service needs, and where each name stands.
pub(super) fn needs(
    decoder: &mut Decoder<'_>,
    fields: &Fields<'_>,
) -> (BTreeMap<ServiceName, Need>, Vec<(ServiceName, Place)>) {
    let mut found: Vec<(ServiceName, Place, Need)> = Vec::new();
    match fields.get("needs").map(|node| (&node.value, node)) {
        Some((Value::List(items), _)) => {
            for item in items {
                if let Some(name) = decoder.name(item) {
                    found.push((name, item.place, Need { until: Until::Ready, required: true }));
                }
            }
        }
        Some((Value::Map(entries), _)) => {
            for entry in entries {
                let name = decoder.fit(entry.place, crate::config::shape::read_name(&entry.key));
                let need = need(decoder, &entry.node);
                if let (Some(name), Some(need)) = (name, need) {
                    found.push((name, entry.place, need));
                }
            }
        }
        Some((Value::Scalar(scalar), node)) => decoder.faults.add_with(
            node.place,
            format!("expected a list of services, found {}", node.describe()),
            format!("write [{}]", scalar.text),
        ),
        None => {}
    }
    let places = found.iter().map(|(name, place, _)| (name.clone(), *place)).collect();
    (found.into_iter().map(|(name, _, need)| (name, need)).collect(), places)
}

fn need(decoder: &mut Decoder<'_>, node: &Node) -> Option<Need> {
    if node.is_null() {
        return Some(Need { until: Until::Ready, required: true });
    }
    if node.scalar().is_some() {
        let until = decoder.read(node, &Shape::Words(words_of::<Until>))?;
        return Some(Need { until, required: true });
    }
    let fields = decoder.section(node, &keys::NEED)?;
    Some(Need { until: decoder.value(&fields, "until"), required: decoder.value(&fields, "required") })
}
