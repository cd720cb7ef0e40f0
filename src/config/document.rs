//! The tree a text becomes: plain data in which every key and value knows its place.

use std::fmt::Write as _;

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte after its last.
    pub(super) end: usize,
}

impl Place {
    /// The first occurrence of `needle` within this place, else the place itself.
    pub(super) fn of(self, source: &str, needle: &str) -> Self {
        match source.get(self.start..self.end).and_then(|text| text.find(needle)) {
            Some(at) if !needle.is_empty() => Self { start: self.start + at, end: self.start + at + needle.len() },
            _ => self,
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where; for what comes from an alias, where it was defined.
    pub(super) place: Place,
    /// What.
    pub(super) value: Value,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text, number, flag or nothing.
    Scalar(Scalar),
    /// `[…]`.
    List(Vec<Node>),
    /// `{…}`, in the text's order; every key once.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Place,
    /// Its value.
    pub(super) node: Node,
}

/// A scalar as it was written: `1.10` stays `1.10` until somebody wants a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scalar {
    /// Its text, without quotes.
    pub(super) text: String,
    /// Whether it stood without quotes, so that its text decides its type.
    pub(super) plain: bool,
}

impl Scalar {
    /// A scalar without quotes.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), plain: true }
    }

    /// Whether it stands for nothing.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The flag it stands for.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    /// The whole number it stands for.
    pub(super) fn whole(&self) -> Option<i64> {
        if !self.plain {
            return None;
        }
        match self.text.split_at_checked(2) {
            Some(("0x", digits)) if unsigned(digits) => i64::from_str_radix(digits, 16).ok(),
            Some(("0o", digits)) if unsigned(digits) => i64::from_str_radix(digits, 8).ok(),
            _ => self.text.parse().ok(),
        }
    }

    /// The number it stands for; never infinite.
    pub(super) fn number(&self) -> Option<f64> {
        let begins = self.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
        if !self.plain || !begins {
            return None;
        }
        self.text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

fn unsigned(digits: &str) -> bool {
    digits.starts_with(|c: char| c.is_ascii_hexdigit())
}

impl Node {
    /// The scalar, when it is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing stands there.
    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// The value of `key`, when this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// How many values it consists of, itself included.
    pub(super) fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }

    /// What it is, for "expected …, found …".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) if scalar.flag().is_some() => scalar.text.clone(),
            Value::Scalar(scalar) if scalar.number().is_some() => format!("the number {}", short(&scalar.text)),
            Value::Scalar(scalar) => format!("the text {:?}", short(&scalar.text)),
        }
    }

    /// This map laid over `base`: maps merge key by key, everything else replaces what was there.
    pub(super) fn over(&self, base: &Node) -> Node {
        let (Value::Map(ours), Value::Map(theirs)) = (&self.value, &base.value) else {
            return self.clone();
        };
        let beneath: std::collections::HashMap<&str, &Node> =
            theirs.iter().map(|entry| (entry.key.as_str(), &entry.node)).collect();
        let known: std::collections::HashSet<&str> = ours.iter().map(|entry| entry.key.as_str()).collect();
        let mut entries: Vec<Entry> = ours
            .iter()
            .map(|entry| match beneath.get(entry.key.as_str()) {
                Some(base) => Entry { node: entry.node.over(base), ..entry.clone() },
                None => entry.clone(),
            })
            .collect();
        entries.extend(theirs.iter().filter(|entry| !known.contains(entry.key.as_str())).cloned());
        Node { place: self.place, value: Value::Map(entries) }
    }

    /// The path of the innermost key or value at `place`, such as `services.web.needs[0]`.
    pub(super) fn path_at(&self, place: Place) -> String {
        let mut path = String::new();
        let mut node = self;
        loop {
            let inside = |outer: Place| outer.start <= place.start && place.start < outer.end.max(outer.start + 1);
            match &node.value {
                Value::Scalar(_) => return path,
                Value::List(items) => {
                    let Some((at, item)) = items.iter().enumerate().find(|(_, item)| inside(item.place)) else {
                        return path;
                    };
                    let _ = write!(path, "[{at}]");
                    node = item;
                }
                Value::Map(entries) => {
                    let Some(entry) = entries.iter().find(|e| inside(e.place) || inside(e.node.place)) else {
                        return path;
                    };
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&short(&entry.key));
                    if inside(entry.place) {
                        return path;
                    }
                    node = &entry.node;
                }
            }
        }
    }
}

/// The first 60 characters, for messages.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_scalar_takes_its_type_from_its_text() {
        for (text, whole, number, flag, null) in [
            ("12", Some(12), Some(12.0), None, false),
            ("-3", Some(-3), Some(-3.0), None, false),
            ("0x1F", Some(31), None, None, false),
            ("0o17", Some(15), None, None, false),
            ("1.50", None, Some(1.5), None, false),
            (".inf", None, None, None, false),
            ("1e400", None, None, None, false),
            ("true", None, None, Some(true), false),
            ("~", None, None, None, true),
            ("", None, None, None, true),
            ("nan", None, None, None, false),
            ("0x-1", None, None, None, false),
        ] {
            let scalar = Scalar::plain(text);
            assert_eq!(
                (scalar.whole(), scalar.number(), scalar.flag(), scalar.is_null()),
                (whole, number, flag, null),
                "{text}"
            );
            let quoted = Scalar { text: text.to_owned(), plain: false };
            assert_eq!(
                (quoted.whole(), quoted.number(), quoted.flag(), quoted.is_null()),
                (None, None, None, false),
                "{text}"
            );
        }
    }
}
