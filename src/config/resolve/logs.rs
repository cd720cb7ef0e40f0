//! `logs:` of a service.

use crate::config::decode::{Decoder, Fields, join};
use crate::config::document::Node;
use crate::config::shape::{Bytes, Shape};
use crate::config::{keys, suggest};
use crate::model::plan::{LogsPlan, LogsTo};

/// Where a service's output goes.
pub(super) fn logs(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> LogsPlan {
    let none = Fields::none(&keys::LOGS);
    match service.get("logs") {
        None => long(decoder, &none),
        Some(node) if node.scalar().is_some() => {
            let to = short(decoder, node).unwrap_or(LogsTo::Streams);
            LogsPlan { to, ..long(decoder, &none) }
        }
        Some(node) => {
            let fields = decoder.section(node, &keys::LOGS).unwrap_or(none);
            long(decoder, &fields)
        }
    }
}

/// `none`, `inherit` or a path.
fn short(decoder: &mut Decoder<'_>, node: &Node) -> Option<LogsTo> {
    let text: String = decoder.read(node, &Shape::Text)?;
    match text.as_str() {
        "none" => return Some(LogsTo::None),
        "inherit" => return Some(LogsTo::Inherit),
        "" => {
            decoder.faults.add(node.place, "expected none, inherit or a path, found an empty text");
            return None;
        }
        _ => {}
    }
    // A bare word that is nearly one of ours is a slip, not a file.
    let near = suggest::nearest(&text, ["none", "inherit"]).filter(|_| !text.contains(['/', '.']));
    if let Some(near) = near {
        let message = format!("expected none, inherit or a path, found {text:?}");
        decoder.faults.add_with(node.place, message, format!("did you mean `{near}`? A file is `./{text}`"));
        return None;
    }
    Some(LogsTo::Merged(Some(join(decoder.root, &text))))
}

fn long(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> LogsPlan {
    let file = decoder.path(fields, "file");
    let merge: bool = decoder.value(fields, "merge");
    LogsPlan {
        to: if file.is_some() || merge { LogsTo::Merged(file) } else { LogsTo::Streams },
        max_size: decoder.value::<Bytes>(fields, "max_size").0,
        keep: decoder.value(fields, "keep"),
        terminal: decoder.value(fields, "terminal"),
    }
}
