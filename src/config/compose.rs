//! YAML text → tree. The only file that knows the YAML crate.
//!
//! It reads the parser's events rather than decoding through serde, because the tree must keep what serde drops: the
//! exact text of a scalar (`1.10`), whether it was quoted, the place of every key, and every duplicate key at once.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, Tag};

use crate::config::diagnose::Faults;
use crate::config::document::{Entry, Node, Place, Scalar, Value, short};

/// The largest file that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// How many values a file may stand for, aliases counted as often as they are used and anchors once more.
const MAX_NODES: usize = 200_000;
/// How deep lists and maps may be nested.
const MAX_DEPTH: usize = 48;

/// Reads one document; what is wrong with it lands in `faults`. None: it could not be read to its end.
pub(super) fn compose(text: &str, faults: &mut Faults) -> Option<Node> {
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer = Composer { text, parser, anchors: HashMap::new(), nodes: 0, faults };
    composer.document().ok()
}

/// The text cannot be read any further; the reason is in the faults.
struct Stopped;

struct Composer<'t, 'f> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Finished anchors with their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    faults: &'f mut Faults,
}

impl<'t> Composer<'t, '_> {
    fn document(&mut self) -> Result<Node, Stopped> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_none() => {
                    let (event, place) = self.next()?;
                    root = Some(self.node(event, place, 0)?);
                }
                Event::DocumentStart(..) => {
                    self.faults.add_with(
                        place,
                        "cannot read several documents in one file",
                        "remove `---` and what follows, or put it in a file of its own",
                    );
                    return Err(Stopped);
                }
                _ => {}
            }
        }
        Ok(root.unwrap_or(Node { place: Place::default(), value: Value::Scalar(Scalar::plain("")) }))
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), Stopped> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place_of(&span))),
            Some(Err(error)) => {
                self.refuse(&error);
                Err(Stopped)
            }
            None => Ok((Event::StreamEnd, Place { start: self.text.len(), end: self.text.len() })),
        }
    }

    fn refuse(&mut self, error: &ScanError) {
        let start = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let indent = &line[..line.len() - line.trim_start().len()];
        let place = Place { start, end: start };
        let message = format!("cannot read this as YAML: {}", error.info());
        match indent.find('\t') {
            Some(tab) => {
                let place = Place { start: line_start + tab, end: line_start + tab + 1 };
                self.faults.add_with(place, message, "indent with spaces: YAML does not allow tabs there");
            }
            // Between braces the } of ${NAME} ends the map.
            None if line.contains("${") => {
                let help = "put a text that holds ${…} in quotes when it stands between { } or [ ]";
                self.faults.add_with(place, message, help);
            }
            None => self.faults.add(place, message),
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Stopped> {
        self.count(1, place)?;
        if depth > MAX_DEPTH {
            self.faults.add(place, format!("cannot read more than {MAX_DEPTH} lists and maps inside each other"));
            return Err(Stopped);
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = self.is_tagged_text(tag.as_deref(), place);
                let plain = style == ScalarStyle::Plain && !tagged;
                (Node { place, value: Value::Scalar(Scalar { text: text.into_owned(), plain }) }, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.is_tagged_text(tag.as_deref(), place);
                (self.list(style, place, depth)?, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.is_tagged_text(tag.as_deref(), place);
                (self.map(style, place, depth)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, place),
            Event::UnresolvedAlias(name) => {
                self.faults.add_with(
                    place,
                    format!("unknown anchor `{}`", short(&name)),
                    "an anchor (`&name`) stands before the aliases (`*name`) that use it",
                );
                (Node { place, value: Value::Scalar(Scalar::plain("")) }, 0)
            }
            _ => (Node { place, value: Value::Scalar(Scalar::plain("")) }, 0),
        };
        if anchor != 0 {
            let size = node.size();
            self.count(size, place)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    /// Whether the tag says "text"; other tags mean nothing here and are refused.
    fn is_tagged_text(&mut self, tag: Option<&Tag>, place: Place) -> bool {
        match tag {
            Some(tag) if tag.is_yaml_core_schema_tag("str") => true,
            Some(tag) if tag.is_yaml_core_schema() => false,
            Some(tag) => {
                self.faults.add(place, format!("cannot use the tag `{}`", short(&tag.original())));
                false
            }
            None => false,
        }
    }

    fn list(&mut self, style: StructureStyle, mut place: Place, depth: usize) -> Result<Node, Stopped> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                close(&mut place, style, at);
                return Ok(Node { place, value: Value::List(items) });
            }
            let item = self.node(event, at, depth + 1)?;
            // An alias stands here but is defined elsewhere, so only its token counts for the extent.
            place.end = place.end.max(at.end).max(if item.place.start >= place.start { item.place.end } else { 0 });
            items.push(item);
        }
    }

    fn map(&mut self, style: StructureStyle, mut place: Place, depth: usize) -> Result<Node, Stopped> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                close(&mut place, style, at);
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event, at, depth + 1)?;
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            let value_end = if node.place.start >= place.start { node.place.end } else { 0 };
            place.end = place.end.max(at.end).max(value_at.end).max(value_end);
            let Some(text) = key.scalar().map(|scalar| scalar.text.clone()) else {
                self.faults.add(key.place, format!("expected a text as the key, found {}", key.describe()));
                continue;
            };
            if let Some(first) = seen.get(&text) {
                let line = self.text[..first.start.min(self.text.len())].matches('\n').count() + 1;
                self.faults.add_with(
                    at,
                    format!("duplicate key `{}`", short(&text)),
                    format!("it stands on line {line} already"),
                );
                continue;
            }
            seen.insert(text.clone(), at);
            if merges {
                self.collect_merged(node, &mut merged);
            } else {
                entries.push(Entry { key: text, place: at, node });
            }
        }
        let mut known: HashSet<String> = seen.into_keys().collect();
        for base in merged {
            if let Value::Map(more) = base.value {
                entries.extend(more.into_iter().filter(|entry| known.insert(entry.key.clone())));
            }
        }
        Ok(Node { place, value: Value::Map(entries) })
    }

    /// What `<<:` names, in the order of precedence.
    fn collect_merged(&mut self, node: Node, merged: &mut Vec<Node>) {
        match node.value {
            Value::Map(_) => merged.push(node),
            Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => merged.extend(items),
            Value::Scalar(_) | Value::List(_) => {
                self.faults.add(node.place, "expected a map, or a list of maps, to merge with `<<`");
            }
        }
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<Node, Stopped> {
        let Some((node, size)) = self.anchors.get(&id) else {
            self.faults.add(place, "cannot use an anchor inside itself");
            return Err(Stopped);
        };
        let (node, size) = (node.clone_if(self.nodes + size <= MAX_NODES), *size);
        self.count(size, place)?;
        node.ok_or(Stopped)
    }

    fn count(&mut self, more: usize, place: Place) -> Result<(), Stopped> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        self.faults.add_with(
            place,
            format!("cannot read a file that stands for more than {MAX_NODES} values"),
            "an alias counts as often as it is used; use fewer of them inside each other",
        );
        Err(Stopped)
    }
}

impl Node {
    fn clone_if(&self, wanted: bool) -> Option<Node> {
        wanted.then(|| self.clone())
    }
}

fn close(place: &mut Place, style: StructureStyle, end: Place) {
    // The end of a block is found only at the next key; what it holds says better how far it goes.
    if style == StructureStyle::Flow {
        place.end = place.end.max(end.end);
    }
}

fn place_of(span: &Span) -> Place {
    span.byte_range().map_or_else(Place::default, |range| Place { start: range.start, end: range.end })
}
